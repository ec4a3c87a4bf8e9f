//! Writing to the license ledger.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction, postgres::PgRow, types::Json};

use super::{
    Lease, PgQuery, PostgresStore, Shared,
    ledger::{GONE, json},
    notify::Of,
    write_failed,
};
use crate::{
    clock::Timestamp,
    error::BackendError,
    ledger_state::{
        LedgerState,
        excerpt::{Applied, Delta, Excerpt, Reach},
        remembered::Remembered,
    },
    license_ledger::{Actor, Eviction, Holder, LicenseEvent, Operation},
    sql::{EventRow, RESTORED_AT_ONCE, ToldLog, Transactions, unavailable},
    transfer::{LedgerCopy, RestoreLedger},
};

#[async_trait]
impl Transactions for Shared {
    async fn apply_all(
        &self,
        operations: &[(Operation, Actor)],
    ) -> Result<Vec<Vec<LicenseEvent>>, BackendError> {
        let wanted = || operations.iter().map(|(operation, _)| operation);
        let reach = Reach::of(wanted(), self.given_time());
        let memory = self.memory.take(self.told.ledger.number());
        let mut known = memory.as_ref().and_then(|memory| {
            let now = self.given_time().or_else(|| memory.server_time())?;
            memory.known.excerpt(wanted(), now)
        });
        let memory = memory.map(|memory| memory.known);
        // One question, unless the answer is known, and one call where nobody else writes in
        // between: nothing is locked while this process thinks.
        for _ in 0..UNLOCKED {
            let (excerpt, strangers) = match known.take() {
                Some(known) => known,
                None => (self.excerpt(&reach).await?, Vec::new()),
            };
            let applied = self.apply_to(&excerpt, operations);
            let events = applied.events.iter().flatten();
            let write = self.write(&excerpt, &strangers, &applied.delta, events);
            let written = written(&self.server.change(write).await?)?;
            if let Some(server_time) = written {
                let known = Remembered::after(wanted(), &excerpt, &applied.after, memory);
                self.memory.keep(known, server_time);
                self.announce(applied.events.iter().flatten());
                return Ok(applied.events);
            }
        }
        let events = self.apply_locked(operations, &reach).await?;
        self.announce(events.iter().flatten());
        Ok(events)
    }

    fn told(&self) -> &ToldLog {
        &self.told.ledger
    }
}

impl Shared {
    /// The time of the store's own clock, where it was given one.
    fn given_time(&self) -> Option<Timestamp> {
        let clock = self.server.time.as_ref()?;
        Some(clock.now().wall)
    }

    /// Tells the other processes what was committed.
    fn announce<'e>(&self, events: impl IntoIterator<Item = &'e LicenseEvent>) {
        if let Some(last) = events.into_iter().last() {
            let outbox = &self.server.outbox;
            outbox.put(Of::Ledger, &self.tenant, last.seq);
        }
    }

    pub(super) async fn excerpt(&self, reach: &Reach) -> Result<Excerpt, BackendError> {
        let rows = self.server.fetch(self.ask_for(reach)).await?;
        json(rows.first().ok_or_else(|| unavailable(GONE))?)
    }

    fn ask_for(&self, reach: &Reach) -> PgQuery<'_> {
        let newest_first = self.server.eviction == Eviction::NewestFirst;
        let query = self.server.ledger.excerpt.query();
        query
            .bind(Json(reach))
            .bind(&self.tenant)
            .bind(newest_first)
    }

    fn apply_to(&self, excerpt: &Excerpt, operations: &[(Operation, Actor)]) -> Applied {
        let now = excerpt.instant();
        let each = operations
            .iter()
            .map(|(operation, actor)| (operation, actor, now));
        excerpt.apply(self.server.eviction, each)
    }

    fn write<'e>(
        &self,
        excerpt: &Excerpt,
        strangers: &[Holder],
        delta: &Delta,
        events: impl IntoIterator<Item = &'e LicenseEvent>,
    ) -> PgQuery<'_> {
        let strangers: Vec<_> = strangers.iter().map(Holder::to_string).collect();
        let log: Vec<_> = events.into_iter().map(EventRow::of).collect();
        let query = self.server.ledger.write.query();
        query
            .bind(&self.tenant)
            .bind(excerpt.ops.cast_signed())
            .bind(strangers)
            .bind(Json(delta))
            .bind(Json(log))
    }

    /// Takes the tenant's lock first, so that nobody can come in between.
    async fn apply_locked(
        &self,
        operations: &[(Operation, Actor)],
        reach: &Reach,
    ) -> Result<Vec<Vec<LicenseEvent>>, BackendError> {
        let work = async {
            let connection = self.server.pool.acquire().await.map_err(write_failed)?;
            let mut lease = Lease::new(connection);
            let (mut transaction, excerpt) =
                self.begin_locked(&mut lease.connection, reach).await?;
            let applied = self.apply_to(&excerpt, operations);
            let events = applied.events.iter().flatten();
            let write = self.write(&excerpt, &[], &applied.delta, events);
            write_locked(&mut transaction, write).await?;
            transaction.commit().await.map_err(write_failed)?;
            lease.answered = true;
            Ok(applied.events)
        };
        let limited = tokio::time::timeout(self.server.timeout, work);
        limited.await.map_err(unavailable)?
    }

    /// Begins a transaction in which nobody else writes, and reads.
    async fn begin_locked<'c>(
        &self,
        connection: &'c mut PgConnection,
        reach: &Reach,
    ) -> Result<(Transaction<'c, Postgres>, Excerpt), BackendError> {
        let begun = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED");
        let mut transaction = begun.await.map_err(write_failed)?;
        let lock = self.server.ledger.lock.query().bind(&self.tenant);
        lock.execute(&mut *transaction)
            .await
            .map_err(write_failed)?;
        let row = self.ask_for(reach).fetch_one(&mut *transaction).await;
        let excerpt = json(&row.map_err(write_failed)?)?;
        Ok((transaction, excerpt))
    }

    /// Writes a whole ledger, and answers with its log; nothing where there are events already.
    async fn restore(&self, copy: &LedgerCopy) -> Result<Option<Vec<LicenseEvent>>, BackendError> {
        let reach = Reach::of([&Operation::Tick], self.given_time());
        let connection = self.server.pool.acquire().await.map_err(write_failed)?;
        let mut lease = Lease::new(connection);
        let (mut transaction, mut excerpt) =
            self.begin_locked(&mut lease.connection, &reach).await?;
        let restored = if excerpt.seq > 0 {
            None
        } else {
            let eviction = self.server.eviction;
            let clock = Timestamp::from_unix_micros(excerpt.clock);
            let (state, events) = copy.at(excerpt.instant().max(clock), eviction);
            let delta = Delta::between(&LedgerState::new(eviction), &state);
            for (delta, events) in delta.pieces(&events, RESTORED_AT_ONCE) {
                let write = self.write(&excerpt, &[], &delta, events);
                write_locked(&mut transaction, write).await?;
                excerpt.ops += 1;
            }
            Some(events)
        };
        transaction.commit().await.map_err(write_failed)?;
        lease.answered = true;
        Ok(restored)
    }
}

async fn write_locked(
    transaction: &mut PgConnection,
    write: PgQuery<'_>,
) -> Result<(), BackendError> {
    let row = write.fetch_one(transaction).await.map_err(write_failed)?;
    match written(&row)? {
        Some(_) => Ok(()),
        None => Err(unavailable("somebody wrote past the lock")),
    }
}

/// The server's time, if it was written.
fn written(row: &PgRow) -> Result<Option<Timestamp>, BackendError> {
    let micros: Option<i64> = row.try_get(0).map_err(unavailable)?;
    Ok(micros.map(Timestamp::from_unix_micros))
}

#[async_trait]
impl RestoreLedger for PostgresStore {
    async fn restore(&self, copy: &LedgerCopy) -> Result<bool, BackendError> {
        let shared = &self.0;
        let limited = tokio::time::timeout(RESTORING, shared.restore(copy));
        let Some(events) = limited.await.map_err(unavailable)?? else {
            return Ok(false);
        };
        let latest = events.len() as u64;
        shared.told.ledger.tell_read(0, latest, &events);
        shared.announce(&events);
        Ok(true)
    }
}

/// What this process knows of the ledger since it has last written to it.
#[derive(Default)]
pub(super) struct Memory(Mutex<Option<Kept>>);

struct Kept {
    known: Remembered,
    /// The server's time when this was written, and when the answer came.
    server_time: Timestamp,
    since: Instant,
}

impl Memory {
    fn keep(&self, known: Option<Remembered>, server_time: Timestamp) {
        let kept = known.map(|known| Kept {
            known,
            server_time,
            since: Instant::now(),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// What is kept, unless more has been `told` of since.
    fn take(&self, told: u64) -> Option<Kept> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().filter(|kept| told <= kept.known.seq())
    }
}

impl Kept {
    /// What the server's clock says, within the time of an answer's way: in so short a while clocks
    /// do not drift apart by more.
    fn server_time(&self) -> Option<Timestamp> {
        let passed = self.since.elapsed();
        (passed < A_WHILE).then(|| self.server_time.saturating_add(passed))
    }
}

const A_WHILE: Duration = Duration::from_secs(5);
/// So often others may come in between before this process takes the lock and keeps it.
const UNLOCKED: usize = 3;
/// A whole ledger is written in many statements, each of which has to be done within the timeout.
const RESTORING: Duration = Duration::from_secs(600);
