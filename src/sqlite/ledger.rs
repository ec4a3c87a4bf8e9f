//! The license ledger.

use async_trait::async_trait;
use sqlx::{Connection, Sqlite, pool::PoolConnection};
use tokio::sync::watch;

use super::{Shared, SqliteStore, error::write_failed, readings, tables};
use crate::{
    changes::Changes,
    error::BackendError,
    ledger_state::excerpt::{Excerpt, Reach, is_of_one_holder},
    license_ledger::{
        Actor, Holder, HolderState, LicenseEvent, LicenseId, LicenseLedger, Line, Module,
        Operation, Overview, Standings,
    },
    sql::{ReadExcerpt, Work, at_most, unavailable},
    transfer::{LedgerCopy, RestoreLedger},
};

#[async_trait]
impl LicenseLedger for SqliteStore {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.turns.ask((operation, actor.clone())).await
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        let shared = &self.0;
        let mut reader = self.reader().await?;
        // Several statements see one moment, and no writer waits for it.
        let mut snapshot = reader.begin().await.map_err(unavailable)?;
        let now = shared.clock.now().wall;
        let events = tables::plan(&mut snapshot, shared.eviction, operation, now).await?;
        snapshot.rollback().await.map_err(unavailable)?;
        Ok(events)
    }

    async fn standings(&self, holder: &Holder, _: &[Module]) -> Result<Standings, BackendError> {
        let mut standings = ReadExcerpt::standings_of(self, &[holder]).await?;
        standings.pop().ok_or_else(|| unavailable("no answer"))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let holders: Vec<_> = asked.iter().map(|(holder, _)| holder).collect();
        ReadExcerpt::standings_of(self, &holders).await
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        ReadExcerpt::first_unknown(self, modules).await
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
        self.0.told.ledger.latest()
    }

    fn changes(&self) -> &Changes {
        self.0.told.ledger.changes()
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
        shared.told.ledger.tell_read(0, latest, &events);
        Ok(true)
    }
}

#[async_trait]
impl ReadExcerpt for SqliteStore {
    async fn excerpt(&self, reach: &Reach) -> Result<Excerpt, BackendError> {
        tables::excerpt(&mut *self.reader().await?, reach).await
    }
}

impl SqliteStore {
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, BackendError> {
        self.0.readers.acquire().await.map_err(unavailable)
    }
}

#[async_trait]
impl Work for Shared {
    type Asked = (Operation, Actor);
    type Answer = Vec<LicenseEvent>;

    fn can_share((operation, _): &Self::Asked) -> bool {
        is_of_one_holder(operation)
    }

    async fn work(&self, asked: &[Self::Asked]) -> Result<Vec<Self::Answer>, BackendError> {
        let mut transaction = self.write().await?;
        let now = self.clock.now().wall;
        let events = tables::apply(&mut transaction, self.eviction, asked, now).await?;
        transaction.commit().await.map_err(write_failed)?;
        self.told.ledger.tell_own(events.iter().flatten());
        Ok(events)
    }
}
