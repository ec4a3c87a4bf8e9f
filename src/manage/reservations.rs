//! Who uses a license: now, and after a change that is only thought through.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr, Schema,
        schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type},
    },
};

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
    keys::{HeldSeat, Planned, Reservations, ReservationsCursor, ReservationsQuery, WaitingHolder},
    license_ledger::{Holder, LicenseId, Seats},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReservationsParameters {
    /// Of those who hold a seat only the keys that got it before this instant, and were not used
    /// from then on: those whose seats could be released.
    unused_since: Option<Timestamp>,
    /// At most so many of each.
    #[serde(default = "usual_limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u64,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,10}\\.[0-9]{1,10}$")]
    cursor: Option<Cursor>,
    /// Only this one, and its place.
    key_id: Option<Holder>,
}

/// How many of those who hold, and of those who wait, were answered.
#[derive(Debug, Clone, Copy)]
struct Cursor(ReservationsCursor);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.reserved, self.0.waiting)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let is_number =
                (1..=10).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten()
        };
        let (reserved, waiting) = text.split_once('.').unwrap_or_default();
        match (number(reserved), number(waiting)) {
            (Some(reserved), Some(waiting)) => Ok(Self(ReservationsCursor { reserved, waiting })),
            _ => Err("it is no next_cursor of such a list"),
        }
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Who holds the seats of a license, and who waits for one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservations)]
pub(super) struct ReservationsAnswer {
    /// The oldest reservation first.
    reserved: Vec<Reserved>,
    /// The first in line first.
    waiting: Vec<Waiting>,
    /// The `cursor` of the next page; null where this is the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanLicense {
    /// True: it would be removed, and nothing else is given (422).
    #[serde(default, deserialize_with = "input::if_given")]
    remove: Option<bool>,
    /// Left out: as many as it has.
    #[serde(default, deserialize_with = "whole::seats_if_given")]
    seats: Option<Seats>,
    /// Null: it would be valid for ever. Left out: as long as it is.
    #[serde(default, deserialize_with = "input::if_given")]
    valid_until: Option<Option<Limit>>,
}

impl PlanLicense {
    fn of(self, license: LicenseId) -> Result<Planned, Problem> {
        let (seats, valid_until) = (self.seats, self.valid_until);
        match self.remove {
            None => Ok(Planned::SetLicense {
                license,
                seats,
                valid_until: valid_until.map(|end| end.map(|Limit(end)| end)),
            }),
            Some(true) if seats.is_none() && valid_until.is_none() => {
                Ok(Planned::RemoveLicense { license })
            }
            Some(_) => {
                let problem = "can only be true, with nothing beside it";
                Err(Problem::unprocessable("remove", problem))
            }
        }
    }
}

/// Another one, or none.
impl PartialSchema for PlanLicense {
    fn schema() -> RefOr<Schema> {
        let object = || {
            ObjectBuilder::new()
                .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        };
        let end = OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .item(Ref::from_schema_name(Limit::name()))
            .description(Some("Null: it would be valid for ever."));
        let remove = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .enum_values(Some([true]))
            .description(Some("It would be removed."));
        OneOfBuilder::new()
            .item(
                object()
                    .property("seats", Ref::from_schema_name(Seats::name()))
                    .property("valid_until", end),
            )
            .item(object().property("remove", remove).required("remove"))
            .description(Some(
                "What a license would be; what is left out stays as it is.",
            ))
            .into()
    }
}

impl ToSchema for PlanLicense {}

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
            next_cursor: reservations.next.map(|next| Cursor(next).to_string()),
        }
    }
}

/// List reservations
///
/// Who holds the seats of a license and who waits, by pages; or whose seats nobody has used for a
/// while.
#[utoipa::path(
    get,
    path = "/licenses/{id}/reservations",
    tag = "licenses",
    params(("id" = LicenseId, Path, description = "The license."), ReservationsParameters),
    responses(
        (status = 200, description = "Who has it.", body = ReservationsAnswer),
        Refusals, Missing, Unprocessable
    )
)]
pub(super) async fn list_reservations(
    State(parts): State<Arc<Parts>>,
    Named(id): Named<LicenseId>,
    Query(query): Query<ReservationsParameters>,
) -> Result<Json<ReservationsAnswer>, Problem> {
    input::check_bounds("limit", query.limit, 1..=MOST_HOLDERS)?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let query = ReservationsQuery::first(limit)
        .with_after(query.cursor.map(|cursor| cursor.0).unwrap_or_default())
        .with_unused_since(query.unused_since)
        .with_holder(query.key_id);
    let reservations = parts.manager.reservations(&id, &query).await?;
    Ok(Json(reservations.into()))
}

/// Plan a change of a license
///
/// Who would lose a seat and who would get one if it were changed or removed now. Changes nothing.
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
    let planned = planned.of(license)?;
    Ok(Json(parts.manager.plan(&planned).await?.into()))
}

fn usual_limit() -> u64 {
    100
}

const MOST_HOLDERS: u64 = 500;
