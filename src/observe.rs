//! What the layer tells those who run the service: events through `tracing`, counters through
//! `metrics`. Neither ever carries a key, a part of one, a path or a query.
//!
//! | event (target `tower_api_key`) | level | fields |
//! |---|---|---|
//! | `request refused` | `DEBUG` for 400 and 401, `INFO` for 403 and 429, `WARN` for 503 | `code`, `principal`, `module`, `quota` |
//! | `request would be refused` (shadow mode) | `INFO` | `code`, `principal`, `module` |
//!
//! Refusals by the guard of a single route are told alike.
//!
//! | event | level | fields |
//! |---|---|---|
//! | `backend failed` | `WARN` | `backend`, `error`; of a limiter's server that is away once, and by each try whether it is back |
//! | `look-up failed` | `WARN` | `backend`, `reason` |
//! | `maintenance failed` | `WARN` | `task`, `error` |
//! | `management call failed` | `WARN` | `error`: an outage, or no random bytes |
//! | `unknown tier` | `WARN` | `tier`, `principal`: the default tier counts instead; told once for each credential that is remembered, and again when its tier or the tiers have changed |
//! | `tokens of no type refused` | `WARN` | `issuer`: introspection does not say that they are access tokens, see `without_token_type`; once |
//! | `store and ledger reconciled` | `WARN` | `freed`, `told`, `revoked`: how many keys; only where there was something to repair |
//!
//! | counter | labels |
//! |---|---|
//! | `tower_api_key_requests_total` | `outcome`: `granted`, `anonymous`, `shadowed`, or the code of the refusal. Each request that is not public counts once |
//! | `tower_api_key_shadowed_total` | `outcome`: the code of the refusal that was not made, by layer or guard |
//! | `tower_api_key_route_refusals_total` | `outcome`: the code of a refusal by the guard of a single route; the layer had granted the request |
//! | `tower_api_key_backend_failures_total` | `backend`: `key_store`, `ledger`, `verifier`, `limiter` |
//! | `tower_api_key_limiter_fallback_total` | `outcome`: `admitted` or `refused`, by this process alone because the limiter's server was away |
//! | `tower_api_key_last_used_written_total` | |
//! | `tower_api_key_usage_written_total` | hours of keys, one for each outcome |
//! | `tower_api_key_usage_dropped_total` | requests that are missing in [`usage`](crate::usage), because more than a million counts waited for the store |
//!
//! Without the features `tracing` and `metrics` these calls are empty.

#![cfg_attr(
    not(all(feature = "tracing", feature = "metrics")),
    allow(unused_variables, reason = "the arguments of what is switched off")
)]

use crate::{
    denial::Denial, error::BackendError, flight::Failure, keys::Reconciled, rate_limiter::Subject,
};
#[cfg(feature = "tracing")]
use crate::{key_store::Tier, license_ledger::Module};

/// Who failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backend {
    KeyStore,
    Ledger,
    Verifier,
    Limiter,
}

impl Backend {
    #[cfg_attr(not(any(feature = "tracing", feature = "metrics")), expect(dead_code))]
    fn as_str(self) -> &'static str {
        match self {
            Self::KeyStore => "key_store",
            Self::Ledger => "ledger",
            Self::Verifier => "verifier",
            Self::Limiter => "limiter",
        }
    }
}

#[inline]
pub(crate) fn granted() {
    // Literals, so that the key of the counter is a constant: nothing is allocated for a grant.
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_requests_total", "outcome" => "granted").increment(1);
}

#[inline]
pub(crate) fn anonymous() {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_requests_total", "outcome" => "anonymous").increment(1);
}

pub(crate) fn refused(denial: &Denial, principal: Option<&str>) {
    count(REQUESTS, denial.code().as_str());
    tell_refused(denial, principal);
}

pub(crate) fn refused_at_route(denial: &Denial, principal: Option<&str>) {
    count("tower_api_key_route_refusals_total", denial.code().as_str());
    tell_refused(denial, principal);
}

pub(crate) fn shadowed(denial: &Denial, principal: Option<&str>) {
    count(REQUESTS, "shadowed");
    shadowed_at_route(denial, principal);
}

pub(crate) fn shadowed_at_route(denial: &Denial, principal: Option<&str>) {
    count("tower_api_key_shadowed_total", denial.code().as_str());
    #[cfg(feature = "tracing")]
    tracing::info!(
        target: TARGET,
        code = denial.code().as_str(),
        principal,
        module = denial.module().map(Module::as_str),
        "request would be refused"
    );
}

fn tell_refused(denial: &Denial, principal: Option<&str>) {
    #[cfg(feature = "tracing")]
    {
        let code = denial.code().as_str();
        let (module, quota) = (denial.module().map(Module::as_str), denial.quota());
        match denial.status().as_u16() {
            400 | 401 => {
                tracing::debug!(target: TARGET, code, principal, module, "request refused");
            }
            403 | 429 => {
                tracing::info!(target: TARGET, code, principal, module, quota, "request refused");
            }
            _ => tracing::warn!(target: TARGET, code, principal, module, "request refused"),
        }
    }
}

/// What requests are told that the limiter's server does not count. Why not has been told once for all
/// of them.
#[cfg(feature = "redis")]
#[derive(Debug, thiserror::Error)]
#[error("the rate limiter's server does not count")]
pub(crate) struct Away;

/// Tells why a backend could not be asked, unless that was told before.
pub(crate) fn backend_failed(backend: Backend, error: &BackendError) {
    #[cfg(feature = "redis")]
    if let BackendError::Unavailable(source) = error
        && source.is::<Away>()
    {
        return;
    }
    count_failure(backend);
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: TARGET,
        backend = backend.as_str(),
        error = error as &(dyn std::error::Error + 'static),
        "backend failed"
    );
}

pub(crate) fn lookup_failed(backend: Backend, reason: Failure) {
    count_failure(backend);
    #[cfg(feature = "tracing")]
    tracing::warn!(target: TARGET, backend = backend.as_str(), ?reason, "look-up failed");
}

pub(crate) fn maintenance_failed(task: &'static str, error: &BackendError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: TARGET,
        task,
        error = error as &(dyn std::error::Error + 'static),
        "maintenance failed"
    );
}

/// Tells why a management call failed that nothing was wrong with.
#[cfg(feature = "manage")]
pub(crate) fn management_failed(error: &crate::keys::ManageError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: TARGET,
        error = error as &(dyn std::error::Error + 'static),
        "management call failed"
    );
}

pub(crate) fn unknown_tier(caller: &Subject<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: TARGET,
        tier = caller.tier.map(Tier::as_str),
        principal = caller.principal,
        "unknown tier"
    );
}

#[cfg(feature = "oauth")]
pub(crate) fn untyped_token(issuer: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: TARGET, issuer, "tokens of no type refused");
}

pub(crate) fn reconciled(reconciled: &Reconciled) {
    #[cfg(feature = "tracing")]
    if !reconciled.is_clean() {
        tracing::warn!(
            target: TARGET,
            freed = reconciled.freed.len(),
            told = reconciled.told.len(),
            revoked = reconciled.revoked.len(),
            "store and ledger reconciled"
        );
    }
}

#[cfg(feature = "redis")]
pub(crate) fn limiter_fallback(admitted: bool) {
    let outcome = if admitted { "admitted" } else { "refused" };
    count("tower_api_key_limiter_fallback_total", outcome);
}

pub(crate) fn last_used_written(keys: usize) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_last_used_written_total").increment(keys as u64);
}

pub(crate) fn usage_written(counts: usize) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_usage_written_total").increment(counts as u64);
}

pub(crate) fn usage_dropped(requests: u64) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_usage_dropped_total").increment(requests);
}

fn count_failure(backend: Backend) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_backend_failures_total", "backend" => backend.as_str())
        .increment(1);
}

#[inline]
fn count(name: &'static str, outcome: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(name, "outcome" => outcome).increment(1);
}

const REQUESTS: &str = "tower_api_key_requests_total";
/// The crate, and not this file of it: who filters by it need not know where it is told.
#[cfg(feature = "tracing")]
const TARGET: &str = "tower_api_key";
