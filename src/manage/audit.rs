//! The log, by page: who did what, and when.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Parts,
    input::{self, Query},
    problem::Problem,
    refusals::{Refusals, Unprocessable},
};
use crate::license_ledger::{Actor, EventKind, Holder, LicenseEvent};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Entries after this one. By default from the beginning.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64, default = 0)]
    after: u64,
    /// At most so many entries.
    #[serde(default = "usual_limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u64,
    /// What this one did, such as `key:K`.
    actor: Option<Actor>,
    /// What happened to this key, or to this user.
    key: Option<Holder>,
    /// What happened.
    event: Option<EventName>,
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// In the order in which they happened.
    items: Vec<LicenseEvent>,
    /// What to ask for as `after` next; null where nothing is left. There may be more even where a page
    /// has fewer entries than were asked for, or none: a call looks at 10,000 at most.
    #[schema(required = true)]
    next_after: Option<u64>,
    /// The number of the last entry of the log.
    latest: u64,
}

macro_rules! event_names {
    ($($name:ident),* $(,)?) => {
        /// What can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum EventName {
            $($name,)*
        }

        impl From<&EventKind> for EventName {
            fn from(kind: &EventKind) -> Self {
                match kind {
                    $(EventKind::$name { .. } => Self::$name,)*
                }
            }
        }
    };
}

event_names! {
    KeyCreated, KeyChanged, KeyRegenerated, KeyRevoked, KeyExpired, KeyDeleted, KeyDisabled,
    KeyEnabled, ModuleAssigned, ModuleUnassigned, ModuleMapped, LicenseAdded, LicenseRemoved,
    LicenseExpired, LicenseRenewed, ValidityChanged, CountChanged, LimitedEditionChanged, Reserved,
    ReservationRemoved, ReservationFailed,
}

impl AuditQuery {
    fn is_picky(&self) -> bool {
        self.actor.is_some() || self.key.is_some() || self.event.is_some()
    }

    fn asks_for(&self, event: &LicenseEvent) -> bool {
        let is_actor = |actor: &Actor| event.actor == *actor;
        let is_key = |key: &Holder| event.kind.holder() == Some(key);
        let is_event = |name: &EventName| EventName::from(&event.kind) == *name;
        self.actor.as_ref().is_none_or(is_actor)
            && self.key.as_ref().is_none_or(is_key)
            && self.event.as_ref().is_none_or(is_event)
    }
}

/// Read the log
///
/// From an entry on: who did what, and when.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "log",
    params(AuditQuery),
    responses((status = 200, description = "A page.", body = AuditPage), Refusals, Unprocessable)
)]
pub(super) async fn read_audit(
    State(parts): State<Arc<Parts>>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, Problem> {
    input::check_bounds("after", query.after, 0..=input::GREATEST)?;
    input::check_bounds("limit", query.limit, 1..=MOST_ENTRIES)?;
    // First: what is written from now on is for a later page.
    let latest = parts.manager.overview().await?.seq;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let (mut items, mut after) = (Vec::new(), query.after);
    let end = latest.min(query.after.saturating_add(MOST_LOOKED_AT));
    // All that are read are taken where nothing is left out.
    let at_once = if query.is_picky() {
        ENTRIES_AT_ONCE
    } else {
        limit
    };
    while after < end && items.len() < limit {
        let events = parts.manager.events(after, at_once).await?;
        let Some(last) = events.last() else { break };
        let read = last.seq.min(end);
        let asked_for = events.into_iter().filter(|event| event.seq <= end);
        items.extend(asked_for.filter(|event| query.asks_for(event)));
        after = read;
    }
    if items.len() > limit {
        items.truncate(limit);
        after = items.last().map_or(after, |last| last.seq);
    }
    let next_after = (after < latest).then_some(after);
    Ok(Json(AuditPage {
        items,
        next_after,
        latest,
    }))
}

fn usual_limit() -> u64 {
    100
}

const MOST_ENTRIES: u64 = 500;
/// A filter that matches next to nothing must not read a log of years in one call.
const MOST_LOOKED_AT: u64 = 10_000;
const ENTRIES_AT_ONCE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_called_as_in_the_log() {
        let holder = || Holder::new("k1").unwrap();
        for kind in [
            EventKind::KeyCreated { holder: holder() },
            EventKind::LimitedEditionChanged { enabled: true },
        ] {
            let name = serde_json::to_value(EventName::from(&kind)).unwrap();
            assert_eq!(serde_json::to_value(kind).unwrap()["event"], name);
        }
    }
}
