//! Writing to the license ledger.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction, postgres::PgRow, types::Json};
use tokio::time;

use super::{
    PostgresStore, Shared,
    connections::{Connections, PgQuery, is_of_the_data, write_failed},
    ledger::{GONE, json},
    schema::{Schema, Statement},
};
use crate::{
    clock::Timestamp,
    error::BackendError,
    ledger_state::{
        LedgerState,
        excerpt::{Applied, Delta, Excerpt, Reach, is_of_one_holder},
        remembered::Remembered,
    },
    license_ledger::{Actor, Eviction, Holder, LicenseEvent, Operation},
    sql::{EventRow, RESTORED_AT_ONCE, Work, unavailable},
    transfer::{LedgerCopy, RestoreLedger},
};

#[async_trait]
impl Work for Shared {
    type Asked = (Operation, Actor);
    type Answer = Vec<LicenseEvent>;

    fn can_share((operation, _): &Self::Asked) -> bool {
        is_of_one_holder(operation)
    }

    async fn work(&self, asked: &[Self::Asked]) -> Result<Vec<Self::Answer>, BackendError> {
        let events = self.apply_all(asked).await?;
        self.told.ledger.tell_own(events.iter().flatten());
        self.announce(events.iter().flatten());
        Ok(events)
    }
}

impl Shared {
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
        // One question, unless the answer is known, and one transaction where nobody else writes in
        // between: nothing is locked while this process thinks.
        for _ in 0..UNLOCKED {
            let (excerpt, strangers) = match known.take() {
                Some(known) => known,
                None => (self.excerpt(&reach).await?, Vec::new()),
            };
            let applied = self.apply_to(&excerpt, operations);
            let events = applied.events.iter().flatten();
            let write = self.write(&excerpt, strangers, applied.delta, events);
            let written = time::timeout(
                self.server.connections.timeout(),
                self.server.writes.ask(write),
            );
            if let Some(server_time) = written.await.map_err(unavailable)??? {
                let known = Remembered::after(wanted(), &excerpt, &applied.after, memory);
                self.memory.keep(known, server_time);
                return Ok(applied.events);
            }
        }
        self.apply_locked(operations, &reach).await
    }

    /// One reading, which locks nothing.
    pub(super) async fn plan(
        &self,
        operation: &Operation,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        let reach = Reach::of([operation], self.given_time());
        let excerpt = self.excerpt(&reach).await?;
        Ok(excerpt.plan(self.server.eviction, operation))
    }

    /// The time of the store's own clock, where it was given one.
    fn given_time(&self) -> Option<Timestamp> {
        let clock = self.server.time.as_ref()?;
        Some(clock.now().wall)
    }

    /// Tells the other processes what was committed.
    fn announce<'e>(&self, events: impl IntoIterator<Item = &'e LicenseEvent>) {
        if let Some(last) = events.into_iter().last() {
            let outbox = &self.server.outbox;
            outbox.put(&self.tenant, last.seq);
        }
    }

    pub(super) async fn excerpt(&self, reach: &Reach) -> Result<Excerpt, BackendError> {
        let rows = self.fetch(self.ask_for(reach)).await?;
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
        strangers: Vec<Holder>,
        delta: Delta,
        events: impl IntoIterator<Item = &'e LicenseEvent>,
    ) -> Write {
        Write {
            tenant: self.tenant.clone(),
            expected: excerpt.ops,
            strangers,
            delta,
            log: events.into_iter().map(EventRow::of).collect(),
        }
    }

    /// Takes the tenant's lock first, so that nobody can come in between.
    async fn apply_locked(
        &self,
        operations: &[(Operation, Actor)],
        reach: &Reach,
    ) -> Result<Vec<Vec<LicenseEvent>>, BackendError> {
        let work = async {
            let mut lease = self
                .server
                .connections
                .lease()
                .await
                .map_err(write_failed)?;
            let (mut transaction, excerpt) = self.begin_locked(lease.connection(), reach).await?;
            let applied = self.apply_to(&excerpt, operations);
            let events = applied.events.iter().flatten();
            let write = self.write(&excerpt, Vec::new(), applied.delta, events);
            self.write_locked(&mut transaction, write).await?;
            transaction.commit().await.map_err(write_failed)?;
            lease.is_answered();
            Ok(applied.events)
        };
        let limited = time::timeout(self.server.connections.timeout(), work);
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
        let lock = self.ask(&self.server.ledger.lock);
        lock.execute(&mut *transaction)
            .await
            .map_err(write_failed)?;
        let row = self.ask_for(reach).fetch_one(&mut *transaction).await;
        let excerpt = json(&row.map_err(write_failed)?)?;
        Ok((transaction, excerpt))
    }

    async fn write_locked(
        &self,
        transaction: &mut PgConnection,
        write: Write,
    ) -> Result<(), BackendError> {
        let query = self.server.writer.query(&[&write]);
        let rows = query.fetch_all(transaction).await.map_err(write_failed)?;
        match server_time(&rows)? {
            Some(_) => Ok(()),
            None => Err(unavailable("somebody wrote past the lock")),
        }
    }

    /// Writes a whole ledger, and answers with its log; nothing where there are events already.
    async fn restore(&self, copy: &LedgerCopy) -> Result<Option<Vec<LicenseEvent>>, BackendError> {
        let reach = Reach::of([&Operation::Tick], self.given_time());
        let mut lease = self
            .server
            .connections
            .lease()
            .await
            .map_err(write_failed)?;
        let (mut transaction, mut excerpt) = self.begin_locked(lease.connection(), &reach).await?;
        let restored = if excerpt.seq > 0 {
            None
        } else {
            let eviction = self.server.eviction;
            let clock = Timestamp::from_unix_micros(excerpt.clock);
            let (state, events) = copy.at(excerpt.instant().max(clock), eviction);
            let delta = Delta::between(&LedgerState::new(eviction), &state);
            for (delta, events) in delta.pieces(&events, RESTORED_AT_ONCE) {
                let write = self.write(&excerpt, Vec::new(), delta, events);
                self.write_locked(&mut transaction, write).await?;
                excerpt.ops += 1;
            }
            Some(events)
        };
        transaction.commit().await.map_err(write_failed)?;
        lease.is_answered();
        Ok(restored)
    }
}

/// What operations on one tenant's ledger come to.
#[derive(Debug, Serialize)]
pub(super) struct Write {
    tenant: String,
    /// So many writings there were when the operations were applied.
    expected: u64,
    /// Holders that were taken to be unknown.
    strangers: Vec<Holder>,
    #[serde(flatten)]
    delta: Delta,
    log: Vec<EventRow>,
}

/// Writes for all tenants of a schema. Several tenants' writes are one transaction: that costs the
/// server, and its disk, not much more than one of them.
pub(super) struct Writer {
    connections: Arc<Connections>,
    statement: Statement,
}

impl Writer {
    pub(super) fn new(connections: Arc<Connections>, schema: &Schema) -> Self {
        Self {
            connections,
            statement: Statement::new(format!(
                "SELECT written, at FROM {schema}.tower_write($1, $2)"
            )),
        }
    }

    /// The statement that writes for these tenants.
    fn query(&self, writes: &[&Write]) -> PgQuery<'_> {
        let has_more = writes.iter().any(|write| write.delta.has_more());
        let query = self.statement.query();
        query.bind(Json(writes)).bind(has_more)
    }

    async fn write(&self, writes: &[&Write]) -> Result<Vec<PgRow>, sqlx::Error> {
        self.connections.send(self.query(writes)).await
    }
}

/// The server's time, where it was written.
type Written = Option<Timestamp>;

#[async_trait]
impl Work for Writer {
    type Asked = Write;
    type Answer = Result<Written, BackendError>;

    /// What takes long holds nobody else up.
    fn can_share(write: &Write) -> bool {
        !write.delta.has_more() && write.log.len() <= FEW
    }

    async fn work(&self, asked: &[Write]) -> Result<Vec<Self::Answer>, BackendError> {
        // A second write for one tenant comes too late for what it expects, and is not done.
        let mut first: BTreeMap<_, _> = BTreeMap::new();
        for (index, write) in asked.iter().enumerate() {
            first.entry(&*write.tenant).or_insert(index);
        }
        let writes: Vec<_> = first.values().map(|index| &asked[*index]).collect();
        let mut answers: Vec<_> = asked.iter().map(|_| Ok(None)).collect();
        match self.write(&writes).await {
            Ok(rows) => {
                for row in &rows {
                    let (tenant, at) = written(row)?;
                    answers[first[tenant]] = Ok(Some(at));
                }
            }
            // What is wrong with one of them is not the others' fault.
            Err(error) if writes.len() > 1 && is_of_the_data(&error) => {
                for (index, write) in first.into_values().zip(writes) {
                    answers[index] = match self.write(&[write]).await {
                        Ok(rows) => server_time(&rows),
                        Err(error) if is_of_the_data(&error) => Err(write_failed(error)),
                        Err(error) => return Err(write_failed(error)),
                    };
                }
            }
            Err(error) => return Err(write_failed(error)),
        }
        Ok(answers)
    }
}

/// A tenant for which was written, and the server's time.
fn written(row: &PgRow) -> Result<(&str, Timestamp), BackendError> {
    let read = || Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?));
    let (tenant, micros) = read().map_err(unavailable)?;
    Ok((tenant, Timestamp::from_unix_micros(micros)))
}

/// The same where one was asked for.
fn server_time(rows: &[PgRow]) -> Result<Written, BackendError> {
    let written = rows.first().map(written).transpose()?;
    Ok(written.map(|(_, at)| at))
}

#[async_trait]
impl RestoreLedger for PostgresStore {
    async fn restore(&self, copy: &LedgerCopy) -> Result<bool, BackendError> {
        let shared = &self.0;
        let limited = time::timeout(RESTORING, shared.restore(copy));
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

/// So many events a write may have that shares a transaction with others.
const FEW: usize = 64;
const A_WHILE: Duration = Duration::from_secs(5);
/// So often others may come in between before this process takes the lock and keeps it.
const UNLOCKED: usize = 3;
/// A whole ledger is written in many statements, each of which has to be done within the timeout.
const RESTORING: Duration = Duration::from_secs(600);
