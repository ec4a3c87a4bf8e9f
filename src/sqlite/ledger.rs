//! The license ledger.

use std::sync::Weak;

use async_trait::async_trait;
use sqlx::{Sqlite, pool::PoolConnection};
use tokio::sync::watch;

use super::{Shared, SqliteStore, error::write_failed, readings, tables};
use crate::{
    changes::Changes,
    error::BackendError,
    ledger_state::excerpt::Reach,
    license_ledger::{
        Actor, Holder, HolderState, LicenseEvent, LicenseId, LicenseLedger, Line, Module,
        Operation, Overview, Standings,
    },
    sql::{Transactions, first_unknown, reach_of_modules, standings_of, tell_latest, unavailable},
    transfer::{LedgerCopy, RestoreLedger},
};

#[async_trait]
impl LicenseLedger for SqliteStore {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.turns.apply(operation, actor).await
    }

    async fn standings(&self, holder: &Holder, _: &[Module]) -> Result<Standings, BackendError> {
        let reach = Reach::about([holder.clone()]);
        let excerpt = tables::excerpt(&mut *self.reader().await?, &reach).await?;
        let mut standings = standings_of(&excerpt, [holder]).into_iter();
        standings.next().ok_or_else(|| unavailable("no answer"))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let holders = || asked.iter().map(|(holder, _)| holder);
        let reach = Reach::about(holders().cloned());
        let excerpt = tables::excerpt(&mut *self.reader().await?, &reach).await?;
        Ok(standings_of(&excerpt, holders()))
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        let reach = reach_of_modules(modules);
        let excerpt = tables::excerpt(&mut *self.reader().await?, &reach).await?;
        Ok(first_unknown(&excerpt, modules))
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        readings::overview(&mut *self.reader().await?).await
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        readings::line(&mut *self.reader().await?, license, at_most(limit)).await
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        readings::holders(&mut *self.reader().await?, after, at_most(limit)).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        readings::events(&mut *self.reader().await?, after, at_most(limit)).await
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.0.latest.subscribe()
    }

    fn changes(&self) -> &Changes {
        self.0.ledger.changes()
    }
}

#[async_trait]
impl RestoreLedger for SqliteStore {
    async fn restore(&self, copy: &LedgerCopy) -> Result<bool, BackendError> {
        let shared = &self.0;
        let mut transaction = shared.write().await?;
        let now = shared.clock.now().wall;
        let restored = tables::restore(&mut transaction, shared.eviction, copy, now).await?;
        let Some(events) = restored else {
            return Ok(false);
        };
        transaction.commit().await.map_err(write_failed)?;
        let latest = events.len() as u64;
        shared.ledger.tell_read(0, latest, &events);
        tell_latest(&shared.latest, latest);
        Ok(true)
    }
}

impl SqliteStore {
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, BackendError> {
        self.0.readers.acquire().await.map_err(unavailable)
    }
}

/// Applies operations as long as the store is open.
pub(super) struct Writer(pub(super) Weak<Shared>);

#[async_trait]
impl Transactions for Writer {
    async fn apply_all(
        &self,
        operations: &[(Operation, Actor)],
    ) -> Result<Vec<Vec<LicenseEvent>>, BackendError> {
        let Some(shared) = self.0.upgrade() else {
            return Err(unavailable("the store was closed"));
        };
        let mut transaction = shared.write().await?;
        let now = shared.clock.now().wall;
        let events = tables::apply(&mut transaction, shared.eviction, operations, now).await?;
        transaction.commit().await.map_err(write_failed)?;
        for event in events.iter().flatten() {
            shared.ledger.tell_own(event);
        }
        if let Some(last) = events.iter().flatten().last() {
            tell_latest(&shared.latest, last.seq);
        }
        Ok(events)
    }
}

fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
