//! What a change of a key would do to seats.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::TAG;
use crate::{
    key_store::KeyId,
    keys::Planned,
    license_ledger::Module,
    manage::{
        Parts,
        caller::Caller,
        input::{Body, Named, Nothing, Query},
        plan::PlanAnswer,
        problem::Problem,
        refusals::{BodyRefusals, Conflicting, Missing, Refusals},
    },
};

/// A change that may be made of a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlannedChange)]
pub(in crate::manage) struct PlannedBody {
    operation: PlannedOperation,
    /// Those to assign or unassign, in this order; of the other operations none (422).
    #[serde(default)]
    #[schema(max_items = 1000)]
    modules: Vec<Module>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PlannedOperation {
    Disable,
    Enable,
    Revoke,
    Delete,
    Assign,
    Unassign,
}

impl PlannedBody {
    fn of(self, key: KeyId) -> Result<Planned, Problem> {
        let modules = self.modules;
        let has_modules = !modules.is_empty();
        let planned = match self.operation {
            PlannedOperation::Assign => return Ok(Planned::Assign { key, modules }),
            PlannedOperation::Unassign => return Ok(Planned::Unassign { key, modules }),
            PlannedOperation::Disable => Planned::Disable { key },
            PlannedOperation::Enable => Planned::Enable { key },
            PlannedOperation::Revoke => Planned::Revoke { key },
            PlannedOperation::Delete => Planned::Delete { key },
        };
        match has_modules {
            true => {
                let problem = "are only for assign and unassign";
                Err(Problem::unprocessable("modules", problem))
            }
            false => Ok(planned),
        }
    }
}

/// Plan a change of a key
///
/// Who would lose a seat and who would get one if it were made now. Changes nothing.
#[utoipa::path(
    post,
    path = "/keys/{id}/plan",
    tag = TAG,
    params(("id" = KeyId, Path)),
    request_body = PlannedBody,
    responses(
        (status = 200, body = PlanAnswer, description = "Who would lose and gain seats."),
        Refusals, BodyRefusals, Missing, Conflicting,
    )
)]
pub(in crate::manage) async fn plan_key(
    State(parts): State<Arc<Parts>>,
    _: Caller,
    Named(id): Named<KeyId>,
    _: Query<Nothing>,
    Body(body): Body<PlannedBody>,
) -> Result<Json<PlanAnswer>, Problem> {
    let plan = parts.manager.plan(&body.of(id)?).await?;
    Ok(Json(plan.into()))
}
