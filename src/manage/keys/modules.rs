//! Calls on the modules of a key.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;

use super::TAG;
use crate::{
    key_store::KeyId,
    keys::ManagedKey,
    license_ledger::Module,
    manage::{
        Parts,
        caller::Caller,
        input::{NamedPair, Nothing, OptionalBody, Query},
        problem::{Problem, ProblemCode},
        refusals::{BodyRefusals, Conflicting, Missing, Refusals},
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
        Refusals, BodyRefusals, Missing, Conflicting,
    )
)]
pub(in crate::manage) async fn assign_module(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    NamedPair(id, module): NamedPair<KeyId, Module>,
    _: Query<Nothing>,
    _: OptionalBody<Nothing>,
) -> Result<Json<ModuleView>, Problem> {
    let modules = [module];
    let (manager, actor) = (&parts.manager, &caller.actor);
    let before = manager.read(&id).await?;
    caller.check_assignment(&before, &modules)?;
    let assigned = manager.assign(&id, &modules, actor).await?;
    if !caller.is_administrator() {
        // The ledger knows no revisions of keys: what the key has become meanwhile only tells now.
        let after = manager.read(&id).await?;
        if let Err(refused) = caller.check_assignment(&after, &modules) {
            if !has(&before, &modules[0]) {
                manager.unassign(&id, &modules, actor).await?;
            }
            return Err(refused);
        }
    }
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
    responses(
        (status = 204, description = "It is not assigned any more."),
        Refusals, BodyRefusals, Missing,
    )
)]
pub(in crate::manage) async fn unassign_module(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    NamedPair(id, module): NamedPair<KeyId, Module>,
    _: Query<Nothing>,
    _: OptionalBody<Nothing>,
) -> Result<StatusCode, Problem> {
    let modules = [module];
    let (manager, actor) = (&parts.manager, &caller.actor);
    let before = manager.read(&id).await?;
    caller.check_owned(&before)?;
    manager.unassign(&id, &modules, actor).await?;
    if !caller.is_administrator() {
        let after = manager.read(&id).await?;
        if let Err(refused) = caller.check_owned(&after) {
            if has(&before, &modules[0]) {
                // At the end of the line, if there is one.
                manager.assign(&id, &modules, actor).await?;
            }
            return Err(refused);
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

fn has(key: &ManagedKey, module: &Module) -> bool {
    key.modules.iter().any(|known| known.module == *module)
}
