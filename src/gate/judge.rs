//! What is known of a caller against what a route asks for: pure functions of both and of the time.

use crate::{
    clock::Timestamp,
    denial::{Denial, DenialCode},
    grant::has_scope,
    key_store::{Environment, Scope},
    license_ledger::{Module, Reason, Standing, Standings, Status},
    module_map::{Modules, Requirement},
    pass::{Origin, Pass, State},
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
) -> Option<Denial> {
    let past = pass.is_past(now);
    if past && pass.origin() == Origin::OldText {
        return Some(DenialCode::InvalidKey.into());
    }
    let own = pass.rights().environment.as_ref();
    if let (Some(own), Some(admitted)) = (own, environments)
        && !admitted.contains(own)
    {
        return Some(DenialCode::WrongEnvironment.into());
    }
    let code = match pass.state() {
        // Revoked before disabled: nobody can enable it again.
        State::Revoked => DenialCode::RevokedKey,
        State::Disabled => DenialCode::DisabledKey,
        State::Enabled | State::Token if past => DenialCode::ExpiredKey,
        State::Enabled | State::Token => return None,
    };
    Some(worded(pass.state() == State::Token, code.into()))
}

/// What a code says of keys, said of tokens where it is about one: no administrator renews those.
pub(crate) fn worded(is_token: bool, denial: Denial) -> Denial {
    match denial.code() {
        DenialCode::ExpiredKey if is_token => denial
            .with_detail("The token has expired.")
            .with_remediation("Get a new token where this one came from, or refresh it."),
        DenialCode::StoreUnavailable if is_token => denial
            .with_detail("Tokens cannot be verified at the moment.")
            .with_remediation("Wait as long as Retry-After says, and send the request again."),
        _ => denial,
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
        Requirement::Modules {
            modules, scopes, ..
        } => {
            let Some(standings) = standings else {
                return Judgement::NeedsStandings;
            };
            check_modules(modules, standings, now, || {
                check_scopes(scopes, &pass.rights().scopes)
            })
        }
        other => check_scopes(other.scopes(), &pass.rights().scopes),
    };
    outcome.map_or_else(Judgement::Refused, |()| Judgement::Cleared)
}

/// Steps 4 and 5: which modules the key is assigned, then its scopes, then whether the licenses of
/// the modules are reserved.
fn check_modules(
    modules: &Modules,
    standings: &Standings,
    now: Timestamp,
    check_scopes: impl FnOnce() -> Result<(), Denial>,
) -> Result<(), Denial> {
    let standing = |module| match standings.standing(module) {
        Some(standing) => Ok(standing),
        None => Err(missing(module)),
    };
    let license = |module, standing| check_license(module, standing, standings, now);
    match modules {
        // The usual case looks its module up once.
        Modules::One(module) => {
            let standing = standing(module)?;
            check_scopes()?;
            license(module, standing)
        }
        Modules::All(modules) => {
            modules
                .iter()
                .try_for_each(|module| standing(module).map(drop))?;
            check_scopes()?;
            modules
                .iter()
                .try_for_each(|module| license(module, standing(module)?))
        }
        Modules::Any(modules) => {
            let assigned = || {
                let standings = modules
                    .iter()
                    .map(|module| (module, standings.standing(module)));
                standings.filter_map(|(module, standing)| Some((module, standing?)))
            };
            if let (None, Some(first)) = (assigned().next(), modules.first()) {
                return Err(missing(first));
            }
            check_scopes()?;
            let mut refused = Ok(());
            for (module, standing) in assigned() {
                match license(module, standing) {
                    Ok(()) => return Ok(()),
                    denial if refused.is_ok() => refused = denial,
                    _ => {}
                }
            }
            refused
        }
    }
}

fn missing(module: &Module) -> Denial {
    Denial::new(DenialCode::ModuleAccessMissing).with_module(module)
}

fn check_license(
    module: &Module,
    standing: &Standing,
    standings: &Standings,
    now: Timestamp,
) -> Result<(), Denial> {
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

/// Whether the key has every scope that is asked for.
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
