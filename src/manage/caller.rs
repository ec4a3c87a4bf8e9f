//! Who calls, and as what.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, header::CACHE_CONTROL, request::Parts as RequestParts};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Applicant, Parts, Role,
    problem::{Problem, ProblemCode},
};
use crate::{
    answers::RefusedRequest, credential::Presented, denial::Denial, future::finish, grant::Grant,
    key_store::KeyId, license_ledger::Actor, service::After,
};

/// Who calls, and as what: what a handler of this router may rely on.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) grant: Grant,
    pub(crate) role: Role,
    /// For the log.
    pub(super) actor: Actor,
}

impl Caller {
    fn new(grant: Grant, role: Role) -> Self {
        let actor = match grant.key_id() {
            Some(key) => Actor::key(&key),
            // A holder is visible ASCII too, and may be longer: what is left of it tells enough.
            None => {
                let principal = grant.principal();
                let short = &principal[..principal.len().min(200)];
                Actor::new(short).unwrap_or_else(|_| Actor::system())
            }
        };
        Self { grant, role, actor }
    }

    pub(super) fn is_administrator(&self) -> bool {
        self.role == Role::Administrator
    }

    /// Whether it calls with this key.
    pub(super) fn is(&self, key: &KeyId) -> bool {
        self.grant.key_id().as_ref() == Some(key)
    }

    /// # Errors
    ///
    /// 403, as in `Only an administrator …`.
    pub(super) fn check_administrator(&self, what: &str) -> Result<(), Problem> {
        match self.is_administrator() {
            true => Ok(()),
            false => Err(Problem::forbidden(what)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut RequestParts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>();
        // Not reachable: no handler runs without the middleware below.
        caller.cloned().ok_or_else(|| {
            let detail = "This route is not guarded.";
            Problem::new(ProblemCode::Internal, detail)
        })
    }
}

/// Lets only those through who may manage.
pub(super) async fn authenticate(
    State(parts): State<Arc<Parts>>,
    request: Request,
    next: Next,
) -> Response {
    let mut after = After::default();
    let mut response = match parts.admit(request, &mut after).await {
        Ok(request) => next.run(request).await,
        Err(response) => response,
    };
    let headers = response.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    finish(&mut response, &mut after);
    response
}

impl Parts {
    /// A request whose caller may manage, with the [`Caller`] among its extensions, or the answer.
    /// `after` is what its caller's quotas and credentials make of either.
    async fn admit(&self, request: Request, after: &mut After) -> Result<Request, Response> {
        self.layer.start_maintenance();
        // What the layer around all of this has granted is not judged again: its credential is gone.
        let is_granted = |grant: &Grant| grant.gate() == self.gate.gate.id;
        let request = match request.extensions().get().is_some_and(is_granted) {
            true => request,
            false => {
                let session = self.cookie.session(request.headers());
                if let Some(session) = &session {
                    check_csrf(request.method(), request.headers(), session)
                        .map_err(IntoResponse::into_response)?;
                }
                let session = session.as_deref().map(String::as_str);
                let judged = self.gate.judge(request, session).await;
                let (request, told) = judged.map_err(|answer| answer.map(Body::from))?;
                *after = told;
                request
            }
        };
        let (mut request, caller) = self.caller_of(request).await?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }

    /// A request that was granted, with who sent it, where he may manage; otherwise the answer.
    pub(crate) async fn caller_of(&self, request: Request) -> Result<(Request, Caller), Response> {
        let grant: Option<&Grant> = request.extensions().get();
        let grant = grant.cloned().ok_or_else(|| {
            let detail = "The request passed without a caller.";
            Problem::new(ProblemCode::Internal, detail).into_response()
        })?;
        match self.caller(grant).await {
            Ok(caller) => Ok((request, caller)),
            Err(denial) => Err(self.refuse(denial, &request)),
        }
    }

    /// The layer's answer to a granted request that is refused all the same.
    pub(super) fn refuse(&self, denial: Denial, request: &Request) -> Response {
        let refused = RefusedRequest::new(request, &Presented::Nothing);
        let answer = self.gate.answers.answer(denial, refused);
        answer.map(Body::from)
    }

    /// A caller whom the layer knows, in his role.
    pub(super) async fn caller(&self, grant: Grant) -> Result<Caller, Denial> {
        let applicant = Applicant::new(&grant, &self.gate.gate);
        let role = self.policy.role(applicant).await?;
        Ok(Caller::new(grant, role))
    }
}

/// What a page of ours sends with a change beside its cookie, and no other page can know.
pub(crate) fn csrf_token(session: &str) -> String {
    use base64::Engine;
    let digest = Sha256::new()
        .chain_update("tower-api-key csrf ")
        .chain_update(session)
        .finalize();
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&digest[..18])
}

/// A cookie is sent by the browser, whichever page asks it to: a change needs what only ours knows.
fn check_csrf(method: &Method, headers: &HeaderMap, session: &str) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let sent = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes);
    let is_ours = sent.is_some_and(|sent| sent.ct_eq(csrf_token(session).as_bytes()).into());
    match is_ours {
        true => Ok(()),
        false => {
            let detail = "A change with a session's cookie needs its token in X-CSRF-Token.";
            Err(Problem::new(ProblemCode::Forbidden, detail)
                .with_field(CSRF_HEADER)
                .with_remediation(
                    "Send the csrf_token of the session, or a key in X-API-Key without the cookie.",
                ))
        }
    }
}

const CSRF_HEADER: &str = "x-csrf-token";
