//! What is known of a caller against what a route asks for: pure functions of both and of the time.

use crate::{
    clock::Timestamp,
    denial::{Denial, DenialCode},
    grant::has_scope,
    key_store::{Environment, Scope},
    license_ledger::{Module, Reason, Standing, Standings, Status},
    module_map::{Modules, Requirement},
    pass::{Pass, State},
};

/// What is known of a caller says this about a request.
pub(crate) enum Judgement {
    Cleared,
    Refused(Denial),
    /// The ledger has to be asked first.
    NeedsStandings,
}

/// Step 2: why the key itself does not work, if it does not.
pub(crate) fn key_trouble(
    pass: &Pass,
    environments: Option<&[Environment]>,
    now: Timestamp,
) -> Option<DenialCode> {
    let past = pass.is_past(now);
    if past && pass.is_superseded() {
        return Some(DenialCode::InvalidKey);
    }
    let own = pass.rights().environment.as_ref();
    if let (Some(own), Some(admitted)) = (own, environments)
        && !admitted.contains(own)
    {
        return Some(DenialCode::WrongEnvironment);
    }
    match pass.state() {
        // Revoked before disabled: nobody can enable it again.
        State::Revoked => Some(DenialCode::RevokedKey),
        State::Disabled => Some(DenialCode::DisabledKey),
        State::Enabled | State::Token if past => Some(DenialCode::ExpiredKey),
        State::Enabled | State::Token => None,
    }
}

/// Steps 4 and 5: modules, then scopes, then licenses.
pub(crate) fn check(
    pass: &Pass,
    needs: &Requirement,
    standings: Option<&Standings>,
    now: Timestamp,
) -> Judgement {
    let outcome = match needs {
        // Nothing that could be asked for is not the same as nothing asked for.
        Requirement::Modules { modules, .. } if modules.as_slice().is_empty() => {
            Err(DenialCode::RouteNotMapped.into())
        }
        Requirement::Modules { modules, scopes } => {
            let Some(standings) = standings else {
                return Judgement::NeedsStandings;
            };
            check_assigned(modules, standings)
                .and_then(|()| check_scopes(scopes, &pass.rights().scopes))
                .and_then(|()| check_licenses(modules, standings, now))
        }
        other => check_scopes(other.scopes(), &pass.rights().scopes),
    };
    outcome.map_or_else(Judgement::Refused, |()| Judgement::Cleared)
}

/// Step 4, first half: which modules the key is assigned.
fn check_assigned(modules: &Modules, standings: &Standings) -> Result<(), Denial> {
    let assigned = |module: &Module| standings.standing(module).is_some();
    let missing = match modules {
        Modules::One(module) => (!assigned(module)).then_some(module),
        Modules::All(modules) => modules.iter().find(|module| !assigned(module)),
        Modules::Any(modules) if modules.iter().any(assigned) => None,
        Modules::Any(modules) => modules.first(),
    };
    match missing {
        Some(module) => Err(Denial::new(DenialCode::ModuleAccessMissing).with_module(module)),
        None => Ok(()),
    }
}

/// Step 4, second half: whether the key has every scope that is asked for.
fn check_scopes(required: &[Scope], granted: &[Scope]) -> Result<(), Denial> {
    if required
        .iter()
        .all(|scope| has_scope(granted, scope.as_str()))
    {
        return Ok(());
    }
    let lacking = |scope: &&Scope| !has_scope(granted, scope.as_str());
    let missing = required.iter().filter(lacking).cloned().collect();
    Err(Denial::new(DenialCode::InsufficientScope).with_scopes(required, missing))
}

/// Step 5: whether the licenses of the modules are reserved.
fn check_licenses(modules: &Modules, standings: &Standings, now: Timestamp) -> Result<(), Denial> {
    let check = |module: &Module| check_license(module, standings, now);
    match modules {
        Modules::One(module) => check(module),
        Modules::All(modules) => modules.iter().try_for_each(check),
        Modules::Any(modules) => {
            let assigned = modules
                .iter()
                .filter(|module| standings.standing(module).is_some());
            let mut first = Ok(());
            for module in assigned {
                match check(module) {
                    Ok(()) => return Ok(()),
                    refused if first.is_ok() => first = refused,
                    _ => {}
                }
            }
            first
        }
    }
}

fn check_license(module: &Module, standings: &Standings, now: Timestamp) -> Result<(), Denial> {
    let Some(standing) = standings.standing(module) else {
        return Err(Denial::new(DenialCode::ModuleAccessMissing).with_module(module));
    };
    let code = match standings.judge(standing, now) {
        Status::Reserved | Status::NotRequired => return Ok(()),
        Status::NotAssigned => DenialCode::ModuleAccessMissing,
        Status::Expired(_) => DenialCode::LicenseExpired,
        Status::ReservationFailed(Reason::LimitReached) => DenialCode::LicenseLimitReached,
        Status::ReservationFailed(_) => DenialCode::LicenseNotReserved,
    };
    let denial = Denial::new(code).with_module(module);
    Err(match standing {
        Standing::Licensed {
            license,
            valid_until,
            ..
        } => denial.with_license(license, *valid_until),
        Standing::Unknown(Some(license)) => denial.with_license(license, None),
        Standing::Unknown(None) | Standing::NotRequired => denial,
    })
}
