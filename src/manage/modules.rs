//! Modules, and which license each needs.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Parts,
    caller::Caller,
    input::{self, Body, Named, Nothing, Query},
    policy::MANAGEMENT_MODULE,
    problem::Problem,
    refusals::{BodyRefusals, Missing, Refusals},
};
use crate::license_ledger::{LicenseId, Module};

/// A module, and the license it needs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MappedModule {
    module: Module,
    /// Null: it needs none.
    #[schema(required = true)]
    license: Option<LicenseId>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    /// Null: it needs none. The license may be added later: until then the module's users are refused.
    #[serde(deserialize_with = "input::given")]
    #[schema(required = true)]
    license: Option<LicenseId>,
}

/// List modules
///
/// Those that are known, in order of their name.
#[utoipa::path(
    get,
    path = "/modules",
    tag = "licenses",
    responses((status = 200, description = "All modules.", body = Vec<MappedModule>), Refusals)
)]
pub(super) async fn list_modules(
    State(parts): State<Arc<Parts>>,
    _: Query<Nothing>,
) -> Result<Json<Vec<MappedModule>>, Problem> {
    let modules = parts.manager.overview().await?.modules.into_iter();
    let mapped = |(module, license)| MappedModule { module, license };
    Ok(Json(modules.map(mapped).collect()))
}

/// Map a module
///
/// Makes it known, and says which license it needs. Which one `rest_api_management` needs, only an administrator says.
#[utoipa::path(
    put,
    path = "/modules/{module}",
    tag = "licenses",
    params(("module" = Module, Path, description = "The module.")),
    request_body = Mapping,
    responses(
        (status = 200, description = "The module was known.", body = MappedModule),
        (status = 201, description = "The module is new.", body = MappedModule),
        Refusals, Missing, BodyRefusals
    )
)]
pub(super) async fn map_module(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    Named(module): Named<Module>,
    _: Query<Nothing>,
    Body(Mapping { license }): Body<Mapping>,
) -> Result<(StatusCode, Json<MappedModule>), Problem> {
    if module.as_str() == MANAGEMENT_MODULE {
        caller.check_administrator("says which license rest_api_management needs")?;
    }
    let known = parts.manager.overview().await?.modules;
    let is_known = known.iter().any(|(known, _)| *known == module);
    let manager = &parts.manager;
    manager
        .map_module(&module, license.as_ref(), &caller.actor)
        .await?;
    let status = if is_known {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(MappedModule { module, license })))
}
