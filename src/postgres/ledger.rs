//! The license ledger.

use std::{sync::Weak, time::Duration};

use async_trait::async_trait;
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction, postgres::PgRow, types::Json};
use tokio::sync::watch;

use super::{
    Lease, PgQuery, PostgresStore, Shared,
    schema::{Schema, Statement},
    write_failed,
};
use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    ledger_state::{
        LedgerState,
        excerpt::{Delta, Excerpt, Reach},
    },
    license_ledger::{
        Actor, Eviction, Holder, HolderState, LicenseEvent, LicenseId, LicenseLedger, Line, Module,
        Operation, Overview, Standings,
    },
    sql::{
        EventRow, LineRows, OverviewRow, RESTORED_AT_ONCE, Transactions, first_unknown, from_json,
        reach_of_modules, standings_of, tell_latest, unavailable,
    },
    transfer::{LedgerCopy, RestoreLedger},
};

pub(super) struct Statements {
    excerpt: Statement,
    lock: Statement,
    write: Statement,
    overview: Statement,
    line: Statement,
    holders: Statement,
    events: Statement,
}

impl Statements {
    pub(super) fn new(schema: &Schema) -> Self {
        let text = |text: &str| Statement::new(text.replace("{schema}", &schema.to_string()));
        Self {
            excerpt: text("SELECT {schema}.tower_excerpt($1, $2, $3)"),
            lock: text("SELECT {schema}.tower_lock($1)"),
            write: text("SELECT {schema}.tower_write($1, $2, $3, $4)"),
            overview: text(OVERVIEW),
            line: text(LINE),
            holders: text(
                "SELECT holder, enabled, active_until, revoked FROM {schema}.tower_holder \
                 WHERE tenant = $1 AND holder > $2 ORDER BY holder LIMIT $3",
            ),
            events: text(
                "SELECT seq, at, actor, event FROM {schema}.tower_event \
                 WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            ),
        }
    }
}

const OVERVIEW: &str = "\
    SELECT json_build_object(
        'clock', clock,
        'seq', seq,
        'limited_edition', limited_edition,
        'licenses', (
            SELECT coalesce(json_agg(json_build_array(
                json_build_object('license', license, 'seats', seats, 'valid_until', valid_until),
                (SELECT count(*) FROM {schema}.tower_place p
                 WHERE p.tenant = $1 AND p.license = known.license AND seat IS NOT NULL),
                (SELECT count(*) FROM {schema}.tower_place p
                 WHERE p.tenant = $1 AND p.license = known.license AND seat IS NULL)
            ) ORDER BY license), '[]')
            FROM {schema}.tower_license AS known WHERE tenant = $1
        ),
        'modules', (
            SELECT coalesce(json_agg(
                json_build_object('module', module, 'license', license) ORDER BY module
            ), '[]')
            FROM {schema}.tower_module WHERE tenant = $1
        )
    )::text
    FROM {schema}.tower_tenant WHERE tenant = $1";

const LINE: &str = "\
    SELECT json_build_object(
        'reserved', (
            SELECT coalesce(json_agg(json_build_array(holder, seat_at) ORDER BY seat), '[]') FROM (
                SELECT holder, seat, seat_at FROM {schema}.tower_place
                WHERE tenant = $1 AND license = $2 AND seat IS NOT NULL ORDER BY seat LIMIT $3
            ) AS reserved
        ),
        'waiting', (
            SELECT coalesce(json_agg(json_build_array(holder, at) ORDER BY seq), '[]') FROM (
                SELECT holder, seq, at FROM {schema}.tower_place
                WHERE tenant = $1 AND license = $2 AND seat IS NULL ORDER BY seq LIMIT $3
            ) AS waiting
        )
    )::text
    FROM {schema}.tower_license WHERE tenant = $1 AND license = $2";

#[async_trait]
impl LicenseLedger for PostgresStore {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.turns.apply(operation, actor).await
    }

    async fn standings(&self, holder: &Holder, _: &[Module]) -> Result<Standings, BackendError> {
        let excerpt = self.0.excerpt(&Reach::about([holder.clone()])).await?;
        let mut standings = standings_of(&excerpt, [holder]).into_iter();
        standings.next().ok_or_else(|| unavailable("no answer"))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let holders = || asked.iter().map(|(holder, _)| holder);
        let excerpt = self.0.excerpt(&Reach::about(holders().cloned())).await?;
        Ok(standings_of(&excerpt, holders()))
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        let excerpt = self.0.excerpt(&reach_of_modules(modules)).await?;
        Ok(first_unknown(&excerpt, modules))
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        let query = self.0.ledger_statements.overview.query();
        let rows = self.0.fetch(query.bind(&self.0.tenant)).await?;
        let row = rows.first().ok_or_else(|| unavailable(GONE))?;
        json::<OverviewRow>(row).map(Overview::from)
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        let query = self.0.ledger_statements.line.query().bind(&self.0.tenant);
        let query = query.bind(license.as_str()).bind(at_most(limit));
        let rows = self.0.fetch(query).await?;
        let line = rows.first().map(json::<LineRows>).transpose()?;
        Ok(line.map(Line::from))
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        let query = self.0.ledger_statements.holders.query();
        // No name is empty.
        let query = query
            .bind(&self.0.tenant)
            .bind(after.map_or("", Holder::as_str))
            .bind(at_most(limit));
        let rows = self.0.fetch(query).await?;
        rows.iter().map(holder).collect()
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        let query = self.0.ledger_statements.events.query();
        let query = query
            .bind(&self.0.tenant)
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(at_most(limit));
        let rows = self.0.fetch(query).await?;
        rows.iter().map(event).collect()
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.0.latest.subscribe()
    }

    fn changes(&self) -> &Changes {
        self.0.ledger.changes()
    }
}

impl Shared {
    async fn excerpt(&self, reach: &Reach) -> Result<Excerpt, BackendError> {
        let newest_first = self.eviction == Eviction::NewestFirst;
        let query = self.ledger_statements.excerpt.query();
        let query = query
            .bind(Json(reach))
            .bind(&self.tenant)
            .bind(newest_first);
        let rows = self.fetch(query).await?;
        json(rows.first().ok_or_else(|| unavailable(GONE))?)
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
        let events = shared.apply_all(operations).await?;
        for event in events.iter().flatten() {
            shared.ledger.tell_own(event);
        }
        if let Some(last) = events.iter().flatten().last() {
            tell_latest(&shared.latest, last.seq);
        }
        Ok(events)
    }
}

impl Shared {
    async fn apply_all(
        &self,
        operations: &[(Operation, Actor)],
    ) -> Result<Vec<Vec<LicenseEvent>>, BackendError> {
        let now = self.time.as_ref().map(|clock| clock.now().wall);
        let reach = Reach::of(operations.iter().map(|(operation, _)| operation), now);
        // One question and one call where nobody else writes in between: nothing is locked while
        // this process thinks.
        for _ in 0..UNLOCKED {
            let excerpt = self.excerpt(&reach).await?;
            let (events, delta) = self.apply_to(&excerpt, operations);
            let written = self.change(self.write(&excerpt, &delta, events.iter().flatten()));
            let written = written.await?;
            if written.try_get(0).map_err(unavailable)? {
                return Ok(events);
            }
        }
        self.apply_locked(operations, &reach).await
    }

    fn apply_to(
        &self,
        excerpt: &Excerpt,
        operations: &[(Operation, Actor)],
    ) -> (Vec<Vec<LicenseEvent>>, Delta) {
        let now = excerpt.instant();
        let each = operations
            .iter()
            .map(|(operation, actor)| (operation, actor, now));
        excerpt.apply(self.eviction, each)
    }

    fn write<'e>(
        &self,
        excerpt: &Excerpt,
        delta: &Delta,
        events: impl IntoIterator<Item = &'e LicenseEvent>,
    ) -> PgQuery<'_> {
        let log: Vec<_> = events.into_iter().map(EventRow::of).collect();
        let query = self.ledger_statements.write.query();
        query
            .bind(&self.tenant)
            .bind(excerpt.ops.cast_signed())
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
            let connection = self.pool.acquire().await.map_err(write_failed)?;
            let mut lease = Lease::new(connection);
            let events = self
                .apply_on(&mut lease.connection, operations, reach)
                .await?;
            lease.answered = true;
            Ok(events)
        };
        let limited = tokio::time::timeout(self.timeout, work);
        limited.await.map_err(unavailable)?
    }

    async fn apply_on(
        &self,
        connection: &mut PgConnection,
        operations: &[(Operation, Actor)],
        reach: &Reach,
    ) -> Result<Vec<Vec<LicenseEvent>>, BackendError> {
        let (mut transaction, excerpt) = self.begin_locked(connection, reach).await?;
        let (events, delta) = self.apply_to(&excerpt, operations);
        let write = self.write(&excerpt, &delta, events.iter().flatten());
        self.write_locked(&mut transaction, write).await?;
        transaction.commit().await.map_err(write_failed)?;
        Ok(events)
    }

    /// Begins a transaction in which nobody else writes, and reads.
    async fn begin_locked<'c>(
        &self,
        connection: &'c mut PgConnection,
        reach: &Reach,
    ) -> Result<(Transaction<'c, Postgres>, Excerpt), BackendError> {
        let begun = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED");
        let mut transaction = begun.await.map_err(write_failed)?;
        let lock = self.ledger_statements.lock.query().bind(&self.tenant);
        lock.execute(&mut *transaction)
            .await
            .map_err(write_failed)?;
        let newest_first = self.eviction == Eviction::NewestFirst;
        let query = self.ledger_statements.excerpt.query();
        let query = query
            .bind(Json(reach))
            .bind(&self.tenant)
            .bind(newest_first);
        let row = query.fetch_one(&mut *transaction).await;
        let excerpt = json(&row.map_err(write_failed)?)?;
        Ok((transaction, excerpt))
    }

    async fn write_locked(
        &self,
        transaction: &mut PgConnection,
        write: PgQuery<'_>,
    ) -> Result<(), BackendError> {
        let written = write.fetch_one(transaction).await.map_err(write_failed)?;
        match written.try_get(0).map_err(unavailable)? {
            true => Ok(()),
            false => Err(unavailable("somebody wrote past the lock")),
        }
    }

    /// Writes a whole ledger, and answers with its log; nothing where there are events already.
    async fn restore(&self, copy: &LedgerCopy) -> Result<Option<Vec<LicenseEvent>>, BackendError> {
        let now = self.time.as_ref().map(|clock| clock.now().wall);
        let reach = Reach::of([&Operation::Tick], now);
        let connection = self.pool.acquire().await.map_err(write_failed)?;
        let mut lease = Lease::new(connection);
        let (mut transaction, mut excerpt) =
            self.begin_locked(&mut lease.connection, &reach).await?;
        let restored = if excerpt.seq > 0 {
            None
        } else {
            let clock = Timestamp::from_unix_micros(excerpt.clock);
            let (state, events) = copy.at(excerpt.instant().max(clock), self.eviction);
            let delta = Delta::between(&LedgerState::new(self.eviction), &state);
            for (delta, events) in delta.pieces(&events, RESTORED_AT_ONCE) {
                let write = self.write(&excerpt, &delta, events);
                self.write_locked(&mut transaction, write).await?;
                excerpt.ops += 1;
            }
            Some(events)
        };
        transaction.commit().await.map_err(write_failed)?;
        lease.answered = true;
        Ok(restored)
    }
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
        shared.ledger.tell_read(0, latest, &events);
        tell_latest(&shared.latest, latest);
        Ok(true)
    }
}

fn json<T: serde::de::DeserializeOwned>(row: &PgRow) -> Result<T, BackendError> {
    from_json(row.try_get(0).map_err(unavailable)?)
}

fn holder(row: &PgRow) -> Result<HolderState, BackendError> {
    let read = || {
        Ok::<_, sqlx::Error>((
            row.try_get::<String, _>(0)?,
            row.try_get::<bool, _>(1)?,
            row.try_get::<Option<i64>, _>(2)?,
            row.try_get::<bool, _>(3)?,
        ))
    };
    let (holder, enabled, active_until, revoked) = read().map_err(unavailable)?;
    Ok(HolderState::new(
        Holder::new(holder).map_err(unavailable)?,
        enabled && !revoked,
        active_until.map(Timestamp::from_unix_micros),
        revoked,
    ))
}

/// An entry of the log: `seq, at, actor, event`.
pub(super) fn event(row: &PgRow) -> Result<LicenseEvent, BackendError> {
    let read = || {
        let seq: i64 = row.try_get(0)?;
        let entry = EventRow::new(
            seq.cast_unsigned(),
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
        );
        Ok::<_, sqlx::Error>(entry)
    };
    read().map_err(unavailable)?.event()
}

fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

const GONE: &str = "the tenant is gone";
/// So often others may come in between before this process takes the lock and keeps it.
const UNLOCKED: usize = 3;
/// A whole ledger is written in many statements, each of which has to be done within the timeout.
const RESTORING: Duration = Duration::from_secs(600);
