//! Who uses a license: now, and after a change that is only thought through.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Parts,
    input::{self, Body, Limit, Named, Nothing, Query},
    plan::PlanAnswer,
    problem::Problem,
    refusals::{BodyRefusals, Missing, Refusals, Unprocessable},
    whole,
};
use crate::{
    clock::Timestamp,
    keys::{HeldSeat, Planned, Reservations, WaitingHolder},
    license_ledger::{Holder, LicenseId, Seats},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReservationsQuery {
    /// Of those who hold a seat only the keys that got it before this instant, and were not used
    /// from then on: those whose seats could be released.
    unused_since: Option<Timestamp>,
    /// At most so many of each.
    #[serde(default = "usual_limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u64,
}

/// Who holds the seats of a license, and who waits for one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservations)]
pub(super) struct ReservationsAnswer {
    /// The oldest reservation first.
    reserved: Vec<Reserved>,
    /// The first in line first.
    waiting: Vec<Waiting>,
}

/// Who holds a seat.
#[derive(Debug, Serialize, ToSchema)]
struct Reserved {
    key_id: Holder,
    /// The key's name; null where it is a user's seat, or the key is gone.
    #[schema(required = true)]
    name: Option<String>,
    /// When it got the seat.
    since: Timestamp,
    /// When the key was last used for anything; null where it never was, or it is a user's seat.
    #[schema(required = true)]
    last_used_at: Option<Timestamp>,
}

/// Who waits for a seat.
#[derive(Debug, Serialize, ToSchema)]
struct Waiting {
    key_id: Holder,
    /// The key's name; null where it is a user who waits, or the key is gone.
    #[schema(required = true)]
    name: Option<String>,
    /// When it was assigned what it waits for.
    since: Timestamp,
    /// Its place in line.
    #[schema(minimum = 1)]
    position: u64,
}

/// What a license would be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanLicense {
    /// Left out: as many as it has.
    #[serde(default, deserialize_with = "whole::seats_if_given")]
    #[schema(value_type = Seats, required = false)]
    seats: Option<Seats>,
    /// Null: it would be valid for ever. Left out: as long as it is.
    #[serde(default, deserialize_with = "input::if_given")]
    #[schema(value_type = Option<Limit>, required = false)]
    valid_until: Option<Option<Limit>>,
}

impl From<Reservations> for ReservationsAnswer {
    fn from(reservations: Reservations) -> Self {
        let reserved = |seat: HeldSeat| Reserved {
            key_id: seat.holder,
            name: seat.name,
            since: seat.since,
            last_used_at: seat.last_used_at,
        };
        let waiting = |holder: WaitingHolder| Waiting {
            key_id: holder.holder,
            name: holder.name,
            since: holder.since,
            position: holder.position,
        };
        Self {
            reserved: reservations.reserved.into_iter().map(reserved).collect(),
            waiting: reservations.waiting.into_iter().map(waiting).collect(),
        }
    }
}

/// Who holds the seats of a license and who waits; or whose seats nobody has used for a while.
#[utoipa::path(
    get,
    path = "/licenses/{id}/reservations",
    tag = "licenses",
    params(("id" = LicenseId, Path, description = "The license."), ReservationsQuery),
    responses(
        (status = 200, description = "Who has it.", body = ReservationsAnswer),
        Refusals, Missing, Unprocessable
    )
)]
pub(super) async fn list_reservations(
    State(parts): State<Arc<Parts>>,
    Named(id): Named<LicenseId>,
    Query(query): Query<ReservationsQuery>,
) -> Result<Json<ReservationsAnswer>, Problem> {
    input::check_bounds("limit", query.limit, 1..=MOST_HOLDERS)?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let manager = &parts.manager;
    let reservations = manager.reservations(&id, query.unused_since, limit).await?;
    Ok(Json(reservations.into()))
}

/// Tells who would lose a seat and who would get one if a license were changed. Changes nothing.
#[utoipa::path(
    post,
    path = "/licenses/{id}/plan",
    tag = "licenses",
    params(("id" = LicenseId, Path, description = "The license.")),
    request_body = PlanLicense,
    responses(
        (status = 200, description = "What it would do.", body = PlanAnswer),
        Refusals, Missing, BodyRefusals
    )
)]
pub(super) async fn plan_license(
    State(parts): State<Arc<Parts>>,
    Named(license): Named<LicenseId>,
    _: Query<Nothing>,
    Body(planned): Body<PlanLicense>,
) -> Result<Json<PlanAnswer>, Problem> {
    let end = |end: Option<Limit>| end.map(|Limit(end)| end);
    let planned = Planned::SetLicense {
        license,
        seats: planned.seats,
        valid_until: planned.valid_until.map(end),
    };
    Ok(Json(parts.manager.plan(&planned).await?.into()))
}

fn usual_limit() -> u64 {
    100
}

const MOST_HOLDERS: u64 = 500;
