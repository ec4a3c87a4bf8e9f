//! What the ledgers in both databases have in common: their rows as JSON, and questions answered
//! from an excerpt.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    clock::Timestamp,
    error::BackendError,
    ledger_state::excerpt::{Excerpt, LicenseRow, ModuleRow, Reach},
    license_ledger::{
        Actor, EventKind, Eviction, Holder, HolderState, LicenseEvent, LicenseUse, Line, Module,
        Overview, Standings,
    },
    sql::unavailable,
};

/// How many rows of a kind are one parameter where a whole ledger is written: it is a text in memory,
/// and databases have limits for one.
pub(crate) const RESTORED_AT_ONCE: usize = 10_000;

/// Rows as the one parameter of a statement.
pub(crate) fn to_json(rows: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(rows).expect("texts, numbers and lists of them")
}

/// The same, or nothing where there are none.
#[cfg(feature = "sqlite")]
pub(crate) fn json_unless_empty<T: Serialize>(rows: &[T]) -> Option<String> {
    (!rows.is_empty()).then(|| to_json(rows))
}

/// What a statement has answered.
pub(crate) fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, BackendError> {
    serde_json::from_str(json).map_err(unavailable)
}

/// An entry of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventRow {
    seq: u64,
    /// Microseconds.
    at: i64,
    actor: String,
    /// Its kind, as JSON.
    event: String,
}

impl EventRow {
    pub(crate) fn new(seq: u64, at: i64, actor: String, event: String) -> Self {
        Self {
            seq,
            at,
            actor,
            event,
        }
    }

    pub(crate) fn of(event: &LicenseEvent) -> Self {
        Self {
            seq: event.seq,
            at: event.at.unix_micros(),
            actor: event.actor.to_string(),
            event: to_json(&event.kind),
        }
    }

    pub(crate) fn event(&self) -> Result<LicenseEvent, BackendError> {
        let actor = Actor::new(&self.actor).map_err(unavailable)?;
        let kind: EventKind = from_json(&self.event)?;
        let at = Timestamp::from_unix_micros(self.at);
        Ok(LicenseEvent::new(self.seq, at, actor, kind))
    }
}

/// What reads excerpts of a ledger.
#[async_trait]
pub(crate) trait ReadExcerpt: Sync {
    async fn excerpt(&self, reach: &Reach) -> Result<Excerpt, BackendError>;

    async fn standings_of(&self, holders: &[&Holder]) -> Result<Vec<Standings>, BackendError> {
        let reach = Reach::about(holders.iter().copied().cloned());
        let excerpt = self.excerpt(&reach).await?;
        // Which one goes first does not matter to who only reads.
        let state = excerpt.state(Eviction::default());
        let standings = holders.iter().map(|holder| state.standings(holder));
        Ok(standings.collect())
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        let reach = Reach {
            modules: modules.to_vec(),
            ..Reach::default()
        };
        let excerpt = self.excerpt(&reach).await?;
        let known: BTreeSet<_> = excerpt.modules.iter().map(|row| &row.module).collect();
        let mut modules = modules.iter();
        Ok(modules.find(|module| !known.contains(module)).cloned())
    }
}

/// A row of `tower_holder`: `holder, enabled, active_until, revoked`.
pub(crate) type HolderColumns = (String, bool, Option<i64>, bool);

pub(crate) fn holder_state(row: HolderColumns) -> Result<HolderState, BackendError> {
    let (holder, enabled, active_until, revoked) = row;
    Ok(HolderState::new(
        Holder::new(holder).map_err(unavailable)?,
        enabled && !revoked,
        active_until.map(Timestamp::from_unix_micros),
        revoked,
    ))
}

/// The limit of a statement.
pub(crate) fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// An overview as one JSON object.
#[derive(Debug, Deserialize)]
pub(crate) struct OverviewRow {
    clock: i64,
    seq: u64,
    limited_edition: bool,
    licenses: Vec<(LicenseRow, u64, u64)>,
    modules: Vec<ModuleRow>,
}

impl From<OverviewRow> for Overview {
    fn from(row: OverviewRow) -> Self {
        let licenses = row.licenses.into_iter();
        let modules = row.modules.into_iter();
        Self::new(
            Timestamp::from_unix_micros(row.clock),
            row.limited_edition,
            row.seq,
            licenses
                .map(|(license, used, waiting)| LicenseUse::new(license.license(), used, waiting))
                .collect(),
            modules.map(|row| (row.module, row.license)).collect(),
        )
    }
}

/// Those who hold a seat and those who wait, with the instants in microseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct LineRows {
    reserved: Vec<(Holder, i64)>,
    waiting: Vec<(Holder, i64)>,
}

impl From<LineRows> for Line {
    fn from(rows: LineRows) -> Self {
        let since = |rows: Vec<(Holder, i64)>| {
            let rows = rows.into_iter();
            rows.map(|(holder, at)| (holder, Timestamp::from_unix_micros(at)))
                .collect()
        };
        Self::new(since(rows.reserved), since(rows.waiting))
    }
}
