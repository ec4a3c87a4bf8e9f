//! Licenses: their seats, their time, and who uses them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Parts,
    caller::Caller,
    etag::{self, IfMatch, IfNoneMatch},
    input::{self, Body, Limit, Named, Nothing, OptionalBody, Query},
    policy::MANAGEMENT_MODULE,
    problem::Problem,
    refusals::{BodyRefusals, Missing, Refusals, Stale},
    whole,
};
use crate::{
    clock::Timestamp,
    keys::ManageError,
    license_ledger::{EventKind, License, LicenseEvent, LicenseId, LicenseUse, Overview, Seats},
};

/// A license, and how much of it is used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = License)]
pub(super) struct UsedLicense {
    id: LicenseId,
    #[schema(required = true)]
    seats: Seats,
    /// The first instant at which it is no longer valid; null: it is valid for ever.
    #[schema(required = true)]
    valid_until: Option<Timestamp>,
    /// How many hold a seat.
    used: u64,
    /// How many wait for one.
    waiting: u64,
    status: LicenseStatus,
    /// The entity tag of `seats` and `valid_until`, for `If-Match`.
    etag: String,
}

/// Whether a license gives out seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LicenseStatus {
    /// It does.
    Valid,
    /// It is past its end.
    Expired,
    /// Limited edition is on, in which every license counts as expired.
    LimitedEdition,
}

/// What a license is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetLicense {
    #[serde(deserialize_with = "whole::seats")]
    #[schema(required = true)]
    seats: Seats,
    /// Null: it is valid for ever.
    #[serde(deserialize_with = "input::given")]
    #[schema(required = true)]
    valid_until: Option<Limit>,
}

impl UsedLicense {
    fn new(
        LicenseUse {
            license,
            used,
            waiting,
            ..
        }: LicenseUse,
        status: LicenseStatus,
    ) -> Self {
        Self {
            etag: entity_tag(&license),
            id: license.id,
            seats: license.seats,
            valid_until: license.valid_until,
            used,
            waiting,
            status,
        }
    }
}

impl LicenseStatus {
    /// As a request that asks now is answered.
    fn of(license: &License, overview: &Overview, now: Timestamp) -> Self {
        let now = now.max(overview.clock);
        match license.valid_until {
            _ if overview.limited_edition => Self::LimitedEdition,
            Some(end) if now >= end => Self::Expired,
            _ => Self::Valid,
        }
    }
}

impl Parts {
    /// All licenses, in order of their id.
    async fn used_licenses(&self) -> Result<Vec<UsedLicense>, Problem> {
        let overview = self.manager.overview().await?;
        let now = self.now().wall;
        let licenses = overview.licenses.iter().map(|used| {
            let status = LicenseStatus::of(&used.license, &overview, now);
            UsedLicense::new(used.clone(), status)
        });
        Ok(licenses.collect())
    }
}

/// List licenses
///
/// In order of their id.
#[utoipa::path(
    get,
    path = "/licenses",
    tag = "licenses",
    responses((status = 200, description = "All licenses.", body = Vec<UsedLicense>), Refusals)
)]
pub(super) async fn list_licenses(
    State(parts): State<Arc<Parts>>,
    _: Query<Nothing>,
) -> Result<Json<Vec<UsedLicense>>, Problem> {
    Ok(Json(parts.used_licenses().await?))
}

/// Add or change a license
///
/// Its seats and its end together. That which `rest_api_management` needs, only an administrator changes.
#[utoipa::path(
    put,
    path = "/licenses/{id}",
    tag = "licenses",
    params(
        ("id" = LicenseId, Path, description = "The license."),
        IfMatch, IfNoneMatch
    ),
    request_body = SetLicense,
    responses(
        (
            status = 200, description = "The license was there.", body = UsedLicense,
            headers(("ETag" = String, description = "Of its seats and its end."))
        ),
        (
            status = 201, description = "The license is new.", body = UsedLicense,
            headers(("ETag" = String, description = "Of its seats and its end."))
        ),
        Refusals, Missing, Stale, BodyRefusals
    )
)]
pub(super) async fn set_license(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    Named(id): Named<LicenseId>,
    _: Query<Nothing>,
    if_match: IfMatch,
    if_none_match: IfNoneMatch,
    Body(set): Body<SetLicense>,
) -> Result<Response, Problem> {
    parts.check_change(&caller, &id).await?;
    let valid_until = set.valid_until.map(|Limit(end)| end);
    let license = License::new(id.clone(), set.seats).with_valid_until(valid_until);
    let (manager, actor) = (&parts.manager, &caller.actor);
    let events = match (if_match, if_none_match) {
        (IfMatch::Absent, IfNoneMatch::Absent) => manager.set_license(license, actor).await?,
        (IfMatch::Absent, IfNoneMatch::Any) => {
            match manager.set_license_if(license, None, actor).await {
                Err(ManageError::Conflict) => return Err(etag::exists()),
                events => events?,
            }
        }
        (_, IfNoneMatch::Any) => return Err(etag::exists()),
        (if_match, IfNoneMatch::Absent) => {
            let change = |seen| manager.set_license_if(license.clone(), Some(seen), actor);
            let changed = parts.change_matching(&if_match, &id, etag::absent, change);
            changed.await?
        }
    };
    let is_new = events.iter().any(
        |event| matches!(&event.kind, EventKind::LicenseAdded { license, .. } if *license == id),
    );
    if if_none_match == IfNoneMatch::Any && !is_new {
        return Err(etag::exists());
    }
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    // Nothing where somebody else has removed it since.
    let licenses = parts.used_licenses().await?;
    let license = licenses.into_iter().find(|license| license.id == id);
    let license = license.ok_or(ManageError::UnknownLicense(id))?;
    let tag = etag::header(&license.etag);
    Ok((status, tag, Json(license)).into_response())
}

/// Remove a license
///
/// Its modules stay mapped to it, and who uses them is refused. That which `rest_api_management` needs, only an administrator removes.
#[utoipa::path(
    delete,
    path = "/licenses/{id}",
    tag = "licenses",
    params(
        ("id" = LicenseId, Path, description = "The license."),
        IfMatch
    ),
    responses(
        (status = 204, description = "It is gone."),
        Refusals, Missing, Stale, BodyRefusals
    )
)]
pub(super) async fn remove_license(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    Named(id): Named<LicenseId>,
    _: Query<Nothing>,
    if_match: IfMatch,
    _: OptionalBody<Nothing>,
) -> Result<StatusCode, Problem> {
    parts.check_change(&caller, &id).await?;
    let (manager, actor) = (&parts.manager, &caller.actor);
    match if_match {
        IfMatch::Absent => manager.remove_license(&id, actor).await?,
        if_match => {
            let remove = |seen| manager.remove_license_if(seen, actor);
            // Of what is not there no condition is asked (RFC 9110 §13.2.1).
            let absent = || ManageError::UnknownLicense(id.clone()).into();
            let removed = parts.change_matching(&if_match, &id, absent, remove);
            removed.await?
        }
    };
    Ok(StatusCode::NO_CONTENT)
}

impl Parts {
    /// Whether the caller may change this license. More seats of the one that managing needs would
    /// let keys manage that wait for one.
    async fn check_change(&self, caller: &Caller, id: &LicenseId) -> Result<(), Problem> {
        if caller.is_administrator() {
            return Ok(());
        }
        let modules = self.manager.overview().await?.modules;
        let is_needed = modules.iter().any(|(module, license)| {
            module.as_str() == MANAGEMENT_MODULE && license.as_ref() == Some(id)
        });
        match is_needed {
            true => caller.check_administrator("changes the license of rest_api_management"),
            false => Ok(()),
        }
    }

    /// Makes a change of the license that `If-Match` means, which `change` makes only where the
    /// license is still the one that was seen. Where there is none, `absent` is the refusal.
    async fn change_matching<F>(
        &self,
        if_match: &IfMatch,
        id: &LicenseId,
        absent: impl Fn() -> Problem,
        change: impl Fn(License) -> F,
    ) -> Result<Vec<LicenseEvent>, Problem>
    where
        F: Future<Output = Result<Vec<LicenseEvent>, ManageError>>,
    {
        // What came in between may match too.
        for _ in 0..ATTEMPTS {
            let licenses = self.manager.overview().await?.licenses.into_iter();
            let mut licenses = licenses.map(|used| used.license);
            let seen = licenses.find(|license| license.id == *id);
            let seen = seen.ok_or_else(&absent)?;
            if_match.check(Some(&entity_tag(&seen)))?;
            match change(seen).await {
                Err(ManageError::Conflict | ManageError::UnknownLicense(_)) => {}
                answer => return Ok(answer?),
            }
        }
        Err(etag::changed())
    }
}

/// Of what a client sets, and of nothing that others change by using it.
fn entity_tag(license: &License) -> String {
    match license.valid_until {
        Some(end) => etag::entity_tag(format_args!("{};{end}", license.seats)),
        None => etag::entity_tag(license.seats),
    }
}

/// How often a license that others keep changing is looked at anew.
const ATTEMPTS: usize = 8;
