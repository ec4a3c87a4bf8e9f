//! What a change would do to seats.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    keys::{Plan, PlannedSeat},
    license_ledger::{Holder, LicenseId},
};

/// Who would lose a seat by a change, and who would get one, if it were made now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub(super) struct PlanAnswer {
    /// In the order in which the seats are taken.
    loses: Vec<PlannedSeatAnswer>,
    /// In the order in which the seats are given.
    gains: Vec<PlannedSeatAnswer>,
}

/// A seat that would be lost or given.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedSeat)]
struct PlannedSeatAnswer {
    license: LicenseId,
    key_id: Holder,
    /// The key's name; null where it is a user's seat, or the key is gone.
    #[schema(required = true)]
    name: Option<String>,
}

impl From<Plan> for PlanAnswer {
    fn from(plan: Plan) -> Self {
        let answers = |seats: Vec<PlannedSeat>| {
            let answer = |seat: PlannedSeat| PlannedSeatAnswer {
                license: seat.license,
                key_id: seat.holder,
                name: seat.name,
            };
            seats.into_iter().map(answer).collect()
        };
        Self {
            loses: answers(plan.loses),
            gains: answers(plan.gains),
        }
    }
}
