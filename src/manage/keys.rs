//! Calls on keys.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::LOCATION};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Parts,
    caller::Caller,
    etag::{self, IfMatch, entity_tag},
    idempotency::IdempotencyKey,
    input::{Body, Named, Nothing, OptionalBody, Query},
    problem::{Problem, ProblemCode},
    refusals::{BodyRefusals, Conflicting, Missing, Refusals, Stale},
    view::{KeyPageView, KeyView, TextView},
};
use crate::{
    key_format::KeyText,
    key_store::KeyId,
    keys::{ManageError, ManagedKey},
};

mod body;
mod modules;
mod plan;
mod rights;

use body::{KeyPatchBody, Listing, NewKeyBody, RegenerationBody};

/// The calls on keys.
pub(super) fn api() -> OpenApiRouter<Arc<Parts>> {
    OpenApiRouter::default()
        .routes(routes!(list_keys, create_key))
        .routes(routes!(read_key, change_key, delete_key))
        .routes(routes!(regenerate_key))
        .routes(routes!(revoke_key))
        .routes(routes!(plan::plan_key))
        .routes(routes!(modules::assign_module, modules::unassign_module))
}

/// Make a key
///
/// Its text is answered this once. With an `Idempotency-Key`, a request that is sent again makes no
/// second key: it completes the first where that was cut short, for 24 hours, and is answered as the
/// first was. Of a key that was deleted it makes another one, with another text.
#[utoipa::path(
    post,
    path = "/keys",
    tag = TAG,
    params(IdempotencyKey),
    request_body = NewKeyBody,
    responses(
        (status = 201, body = TextView<'_>, description = "The key, with its text in `key`.", headers(
            ("Location" = String, description = "The key, relative to this request's URL."),
            ("ETag" = String, description = "Its revision, for `If-Match`."),
        )),
        Refusals, BodyRefusals,
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No license and nothing else is known of a module."),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "The key was made by this `Idempotency-Key`, and is revoked, or its text can no longer be told."),
    )
)]
pub(super) async fn create_key(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    _: Query<Nothing>,
    Body(body): Body<NewKeyBody>,
) -> Result<Response, Problem> {
    let written = serde_json::to_vec(&body).expect("it was read from JSON");
    let new = body.into_new_key()?;
    caller.check_new(&new)?;
    if !parts.gate.gate.admits(&new.environment) {
        let problem = "is not one whose keys this service admits";
        return Err(Problem::unprocessable("environment", problem));
    }
    let (key, text) = match idempotency_key {
        Some(sent) => parts.create_once(new, &written, &sent, &caller).await?,
        None => {
            let created = parts.manager.create(new, &caller.actor).await?;
            (created.key, created.text)
        }
    };
    let location = HeaderValue::try_from(format!("keys/{}", key.record.id));
    let location = location.expect("a key's id is visible ASCII");
    let answer = with_text(key, &text);
    Ok((StatusCode::CREATED, [(LOCATION, location)], answer).into_response())
}

/// List keys
///
/// By pages, the last id first: of those that were given here, the newest key.
#[utoipa::path(
    get,
    path = "/keys",
    tag = TAG,
    params(Listing),
    responses(
        (status = 200, body = KeyPageView, description = "A page."),
        Refusals,
        (status = 422, body = Problem, content_type = "application/problem+json",
            description = "A parameter is out of its bounds; `field` names it."),
    )
)]
pub(super) async fn list_keys(
    State(parts): State<Arc<Parts>>,
    _: Caller,
    Query(listing): Query<Listing>,
) -> Result<Json<KeyPageView>, Problem> {
    let (limit, query) = listing.into_query()?;
    let keys = parts.manager.list(&query).await?;
    Ok(Json(KeyPageView::new(keys, limit)))
}

/// Read a key
#[utoipa::path(
    get,
    path = "/keys/{id}",
    tag = TAG,
    params(("id" = KeyId, Path)),
    responses(
        (status = 200, body = KeyView, description = "The key.", headers(
            ("ETag" = String, description = "Its revision, for `If-Match`."),
        )),
        Refusals, Missing,
    )
)]
pub(super) async fn read_key(
    State(parts): State<Arc<Parts>>,
    _: Caller,
    Named(id): Named<KeyId>,
    _: Query<Nothing>,
) -> Result<Response, Problem> {
    Ok(as_it_is(parts.manager.read(&id).await?))
}

/// Change a key
///
/// What is left out stays. Disabled or expired, it is refused at once, and its seats are freed.
#[utoipa::path(
    patch,
    path = "/keys/{id}",
    tag = TAG,
    params(("id" = KeyId, Path), IfMatch),
    request_body = KeyPatchBody,
    responses(
        (status = 200, body = KeyView, description = "The key as it is now.", headers(
            ("ETag" = String, description = "Its revision, for `If-Match`."),
        )),
        Refusals, BodyRefusals, Missing, Stale, Conflicting,
    )
)]
pub(super) async fn change_key(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    Named(id): Named<KeyId>,
    if_match: IfMatch,
    _: Query<Nothing>,
    Body(body): Body<KeyPatchBody>,
) -> Result<Response, Problem> {
    let patch = body.into_patch()?;
    let may = |key: &ManagedKey| caller.check_patch(key, &patch);
    let (manager, id, actor) = (&parts.manager, &id, &caller.actor);
    let change = |(), revision| {
        let mut patch = patch.clone();
        patch.revision = revision;
        async move { manager.update(id, &patch, actor).await }
    };
    let key = parts.change(&caller, id, &if_match, may, change).await?;
    Ok(as_it_is(key))
}

/// Delete a key
///
/// With all it was assigned; those who wait for its seats are promoted.
#[utoipa::path(
    delete,
    path = "/keys/{id}",
    tag = TAG,
    params(("id" = KeyId, Path), IfMatch),
    responses(
        (status = 204, description = "It is gone."),
        Refusals, BodyRefusals, Missing, Stale, Conflicting,
    )
)]
pub(super) async fn delete_key(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    Named(id): Named<KeyId>,
    if_match: IfMatch,
    _: Query<Nothing>,
    _: OptionalBody<Nothing>,
) -> Result<StatusCode, Problem> {
    let (manager, actor) = (&parts.manager, &caller.actor);
    // A deletion that was cut short has revoked the key: the client saw the revision before.
    let may = |key: &ManagedKey| {
        caller.check_owned(key)?;
        let revision = key.record.revision;
        let seen = revision.checked_sub(1).map(entity_tag);
        let is_begun = key.record.revoked_at.is_some() && if_match.check(seen.as_deref()).is_ok();
        Ok(is_begun.then_some(revision))
    };
    let delete = |begun: Option<u64>, revision: Option<u64>| {
        let revision = revision.and(begun).or(revision);
        manager.delete_if(&id, revision, actor)
    };
    match parts.change(&caller, &id, &if_match, may, delete).await {
        // Or it has come further than to the key.
        Err(problem) if problem.is(ProblemCode::NotFound) => {
            match manager.clear_leftovers(&id, actor).await? {
                true => Ok(StatusCode::NO_CONTENT),
                false => Err(problem),
            }
        }
        outcome => outcome.map(|()| StatusCode::NO_CONTENT),
    }
}

/// Give a key a new text
///
/// The new text is answered this once. Everything else of the key stays. With an `Idempotency-Key`,
/// a request that is sent again is answered with the same text, until the key gets another one or is
/// changed more than 64 times: then it is made anew, with yet another text.
#[utoipa::path(
    post,
    path = "/keys/{id}/regenerate",
    tag = TAG,
    params(("id" = KeyId, Path), IfMatch, IdempotencyKey),
    request_body(content = Option<RegenerationBody>, description = "May be left out."),
    responses(
        (status = 200, body = TextView<'_>, description = "The key, with its new text in `key`.", headers(
            ("ETag" = String, description = "Its revision, for `If-Match`."),
        )),
        Refusals, BodyRefusals, Missing, Stale, Conflicting,
    )
)]
pub(super) async fn regenerate_key(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    Named(id): Named<KeyId>,
    if_match: IfMatch,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    _: Query<Nothing>,
    OptionalBody(body): OptionalBody<RegenerationBody>,
) -> Result<Response, Problem> {
    let grace = body.grace()?;
    let prepare = |key: &ManagedKey| {
        caller.check_new_text(key)?;
        let (text, its_revision) = match &idempotency_key {
            Some(sent) => {
                let text = parts.next_text(&key.record, sent, grace, &caller)?;
                (text, Some(key.record.revision))
            }
            None => (parts.manager.generate(&key.record.environment)?, None),
        };
        Ok((text, its_revision))
    };
    let (manager, id, actor) = (&parts.manager, &id, &caller.actor);
    let regenerate = |(text, its_revision): (KeyText, Option<u64>), revision: Option<u64>| {
        let revision = revision.or(its_revision);
        async move {
            let key = manager.regenerate_as(id, &text, Some(grace), revision, actor);
            Ok((key.await?, text))
        }
    };
    let regenerated = parts.change(&caller, id, &if_match, prepare, regenerate);
    let (key, text) = regenerated.await?;
    Ok(with_text(key, &text))
}

/// Revoke a key
///
/// For good: its modules and seats are taken, and nothing but its record stays.
#[utoipa::path(
    post,
    path = "/keys/{id}/revoke",
    tag = TAG,
    params(("id" = KeyId, Path), IfMatch),
    responses(
        (status = 200, body = KeyView, description = "The key as it is now.", headers(
            ("ETag" = String, description = "Its revision, for `If-Match`."),
        )),
        Refusals, BodyRefusals, Missing, Stale, Conflicting,
    )
)]
pub(super) async fn revoke_key(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    Named(id): Named<KeyId>,
    if_match: IfMatch,
    _: Query<Nothing>,
    _: OptionalBody<Nothing>,
) -> Result<Response, Problem> {
    let may = |key: &ManagedKey| caller.check_owned(key);
    let revoke = |(), revision| parts.manager.revoke_if(&id, revision, &caller.actor);
    let key = parts.change(&caller, &id, &if_match, may, revoke).await?;
    Ok(as_it_is(key))
}

impl Parts {
    /// Makes a change of a key if the caller may make it of the key as it is then, which `prepare`
    /// tells, and the client has seen it so.
    async fn change<P, T, F: Future<Output = Result<T, ManageError>> + Send>(
        &self,
        caller: &Caller,
        id: &KeyId,
        if_match: &IfMatch,
        prepare: impl Fn(&ManagedKey) -> Result<P, Problem>,
        change: impl Fn(P, Option<u64>) -> F,
    ) -> Result<T, Problem> {
        for _ in 0..ATTEMPTS {
            let key = self.manager.read(id).await?;
            let prepared = prepare(&key)?;
            let current = key.record.revision;
            let revision = match if_match {
                // Who may do everything to every key may do it to what the key has become.
                IfMatch::Absent | IfMatch::Any => (!caller.is_administrator()).then_some(current),
                // Whether another revision matters at all the manager knows: not to a change that
                // this client has made already.
                IfMatch::OneOf(_) => match if_match.check(Some(&entity_tag(current))) {
                    Ok(()) => Some(current),
                    Err(_) => Some(NO_REVISION),
                },
            };
            match change(prepared, revision).await {
                Err(ManageError::Conflict) if !matches!(if_match, IfMatch::OneOf(_)) => {}
                outcome => return Ok(outcome?),
            }
        }
        let detail = "Others change this key all the time.";
        Err(Problem::new(ProblemCode::Conflict, detail))
    }
}

/// A key as it is, under its entity tag.
fn as_it_is(key: ManagedKey) -> Response {
    let tag = etag::header(&entity_tag(key.record.revision));
    (tag, Json(KeyView::from(key))).into_response()
}

/// A key with its text, under its entity tag.
fn with_text(key: ManagedKey, text: &KeyText) -> Response {
    let tag = etag::header(&entity_tag(key.record.revision));
    (tag, Json(TextView::new(key, text))).into_response()
}

pub(super) const TAG: &str = "keys";
/// No key has come so far.
const NO_REVISION: u64 = u64::MAX;
/// How often a change is tried anew while others change the same key.
const ATTEMPTS: usize = 16;
