//! What a change of a key would do to seats.

use std::{borrow::Cow, sync::Arc};

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr, Schema,
        schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Type},
    },
};

use super::TAG;
use crate::{
    key_store::KeyId,
    keys::Planned,
    license_ledger::Module,
    manage::{
        Parts,
        caller::Caller,
        input::{Body, Named, Nothing, Query, if_given},
        plan::PlanAnswer,
        problem::Problem,
        refusals::{BodyRefusals, Conflicting, Missing, Refusals},
    },
};

/// A change that may be made of a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::manage) struct PlannedBody {
    operation: PlannedOperation,
    /// Those to assign or unassign, in this order; not with the other operations (422).
    #[serde(default, deserialize_with = "if_given")]
    modules: Option<Vec<Module>>,
}

#[derive(Deserialize)]
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
        let has_modules = self.modules.is_some();
        let modules = self.modules.unwrap_or_default();
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

/// With modules, or without.
impl PartialSchema for PlannedBody {
    fn schema() -> RefOr<Schema> {
        let one_of = |operations: &[&str]| {
            let operation = ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(operations.iter().copied()));
            ObjectBuilder::new()
                .property("operation", operation)
                .required("operation")
                .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        };
        let modules = ArrayBuilder::new()
            .items(Ref::from_schema_name(Module::name()))
            .max_items(Some(1_000))
            .description(Some("Those to assign or unassign, in this order."));
        OneOfBuilder::new()
            .item(one_of(&["disable", "enable", "revoke", "delete"]))
            .item(one_of(&["assign", "unassign"]).property("modules", modules))
            .description(Some("A change that may be made of a key."))
            .into()
    }
}

impl ToSchema for PlannedBody {
    fn name() -> Cow<'static, str> {
        "PlannedChange".into()
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
