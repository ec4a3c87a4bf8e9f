//! Calls on the modules of a key.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;

use super::TAG;
use crate::{
    key_store::KeyId,
    license_ledger::Module,
    manage::{
        Parts,
        caller::Caller,
        input::{NamedPair, Nothing, Query},
        problem::{Problem, ProblemCode},
        refusals::{Conflicting, Missing, Refusals},
        view::ModuleView,
    },
};

/// Assign a module to a key
///
/// That no seat is free is no refusal: the key waits in line, and `status` says so. Again, it keeps
/// its place.
#[utoipa::path(
    put,
    path = "/keys/{id}/modules/{module}",
    tag = TAG,
    params(("id" = KeyId, Path), ("module" = Module, Path)),
    responses(
        (status = 200, body = ModuleView, description = "How it stands."),
        Refusals, Missing, Conflicting,
    )
)]
pub(in crate::manage) async fn assign_module(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    NamedPair(id, module): NamedPair<KeyId, Module>,
    _: Query<Nothing>,
) -> Result<Json<ModuleView>, Problem> {
    let modules = [module];
    let key = parts.manager.read(&id).await?;
    caller.check_assignment(&key, &modules)?;
    let assigned = parts.manager.assign(&id, &modules, &caller.actor).await?;
    let assigned = assigned.into_iter().next().ok_or_else(|| {
        let detail = "The module was taken away again in the meantime.";
        Problem::new(ProblemCode::Conflict, detail).with_field("module")
    })?;
    Ok(Json(assigned.into()))
}

/// Unassign a module from a key
///
/// Those who wait for its seat are promoted. What is not assigned is no refusal.
#[utoipa::path(
    delete,
    path = "/keys/{id}/modules/{module}",
    tag = TAG,
    params(("id" = KeyId, Path), ("module" = Module, Path)),
    responses((status = 204, description = "It is not assigned any more."), Refusals, Missing)
)]
pub(in crate::manage) async fn unassign_module(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    NamedPair(id, module): NamedPair<KeyId, Module>,
    _: Query<Nothing>,
) -> Result<StatusCode, Problem> {
    let key = parts.manager.read(&id).await?;
    caller.check_owned(&key)?;
    let modules = [module];
    let unassigned = parts.manager.unassign(&id, &modules, &caller.actor);
    unassigned.await?;
    Ok(StatusCode::NO_CONTENT)
}
