//! Limited edition, in which every license counts as expired.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Parts,
    caller::Caller,
    input::{Body, Nothing, Query},
    plan::PlanAnswer,
    problem::Problem,
    refusals::{BodyRefusals, Refusals},
};
use crate::keys::Planned;

/// Whether limited edition is on: then every license counts as expired.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitedEdition {
    enabled: bool,
}

/// Read limited edition
///
/// Whether it is on.
#[utoipa::path(
    get,
    path = "/limited-edition",
    tag = "licenses",
    responses((status = 200, description = "Whether it is on.", body = LimitedEdition), Refusals)
)]
pub(super) async fn read_limited_edition(
    State(parts): State<Arc<Parts>>,
    _: Query<Nothing>,
) -> Result<Json<LimitedEdition>, Problem> {
    let enabled = parts.manager.overview().await?.limited_edition;
    Ok(Json(LimitedEdition { enabled }))
}

/// Switch limited edition
///
/// While it is on, every license counts as expired.
#[utoipa::path(
    put,
    path = "/limited-edition",
    tag = "licenses",
    request_body = LimitedEdition,
    responses(
        (status = 200, description = "As it is now.", body = LimitedEdition),
        Refusals, BodyRefusals
    )
)]
pub(super) async fn set_limited_edition(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    _: Query<Nothing>,
    Body(LimitedEdition { enabled }): Body<LimitedEdition>,
) -> Result<Json<LimitedEdition>, Problem> {
    let manager = &parts.manager;
    manager.set_limited_edition(enabled, &caller.actor).await?;
    Ok(Json(LimitedEdition { enabled }))
}

/// Plan limited edition
///
/// Who would lose a seat and who would get one if it were switched now. Changes nothing.
#[utoipa::path(
    post,
    path = "/limited-edition/plan",
    tag = "licenses",
    request_body = LimitedEdition,
    responses(
        (status = 200, description = "What it would do.", body = PlanAnswer),
        Refusals, BodyRefusals
    )
)]
pub(super) async fn plan_limited_edition(
    State(parts): State<Arc<Parts>>,
    _: Query<Nothing>,
    Body(LimitedEdition { enabled }): Body<LimitedEdition>,
) -> Result<Json<PlanAnswer>, Problem> {
    let planned = Planned::SetLimitedEdition { enabled };
    Ok(Json(parts.manager.plan(&planned).await?.into()))
}
