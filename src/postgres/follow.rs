//! What other processes change, told to this one.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use futures_util::future::select;
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::{oneshot, watch},
    time,
};

use super::{
    in_time,
    ledger::event,
    schema::{Schema, Statement},
};
use crate::{
    clock::Clock,
    error::BackendError,
    observe,
    sql::{KeyChange, Told, tell_latest},
};

/// Reads what is new after each notification, and at the latest after each interval.
///
/// It has a connection of its own: a pool that is busy holds up no word of a revocation.
pub(super) struct Follower {
    pub(super) options: PgConnectOptions,
    pub(super) channel: String,
    pub(super) tenant: String,
    pub(super) statements: Statements,
    pub(super) keys: Arc<Told>,
    pub(super) ledger: Arc<Told>,
    pub(super) latest: watch::Sender<u64>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) every: Duration,
    pub(super) timeout: Duration,
}

pub(super) struct Statements {
    position: Statement,
    key_changes: Statement,
    events: Statement,
}

impl Statements {
    pub(super) fn new(schema: &Schema) -> Self {
        Self {
            position: Statement::new(format!(
                "SELECT key_seq, seq FROM {schema}.tower_tenant WHERE tenant = $1"
            )),
            key_changes: Statement::new(format!(
                "SELECT seq, key, added FROM {schema}.tower_key_change \
                 WHERE tenant = $1 AND seq > $2 AND seq <= $3 ORDER BY seq"
            )),
            events: Statement::new(format!(
                "SELECT seq, at, actor, event FROM {schema}.tower_event \
                 WHERE tenant = $1 AND seq > $2 AND seq <= $3 ORDER BY seq"
            )),
        }
    }
}

impl Follower {
    /// Follows on the runtime of the caller until the other end of `ended` is dropped.
    pub(super) fn start(self, ended: oneshot::Receiver<Infallible>) {
        tokio::spawn(async move {
            select(ended, pin!(self.follow())).await;
        });
    }

    async fn follow(&self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let Err(error) = self.follow_until_lost(&mut pause).await;
            // Once for each time the connection is lost, not for each attempt.
            if pause == SHORTEST_PAUSE {
                observe::maintenance_failed("follow", &BackendError::unavailable(error));
            }
            time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn follow_until_lost(&self, pause: &mut Duration) -> Result<Infallible, sqlx::Error> {
        let mut listener = in_time(self.timeout, self.listen()).await?;
        loop {
            in_time(self.timeout, self.catch_up(&mut listener)).await?;
            *pause = SHORTEST_PAUSE;
            match time::timeout(self.every, listener.try_recv()).await {
                Err(_elapsed) => {}
                Ok(Ok(Some(_))) => {
                    // One reading answers all that came during the last one.
                    while listener.next_buffered().is_some() {}
                }
                Ok(Ok(None)) => return Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Listens first: what is committed before the first reading is read by it, what is committed
    /// later is notified.
    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.timeout)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        // A lost connection is for `follow` to open again: a reading has to come after it.
        listener.eager_reconnect(false);
        match listener.listen(&self.channel).await {
            // A standby server has no notifications: there the poll is all.
            Ok(()) | Err(sqlx::Error::Database(_)) => Ok(listener),
            Err(error) => Err(error),
        }
    }

    /// Tells what is new, of the keys and of the ledger, and then that all is told.
    async fn catch_up(&self, listener: &mut PgListener) -> Result<(), sqlx::Error> {
        let began = self.clock.now().monotonic;
        let (before, events_before) = (self.keys.number(), self.ledger.number());
        let row = self
            .statements
            .position
            .query()
            .bind(&self.tenant)
            .fetch_one(&mut *listener)
            .await?;
        let latest = row.try_get::<i64, _>(0)?.cast_unsigned();
        if self.keys.must_read(before, latest) {
            let rows = self
                .statements
                .key_changes
                .query()
                .bind(&self.tenant)
                .bind(before.cast_signed())
                .bind(latest.cast_signed())
                .fetch_all(&mut *listener)
                .await?;
            let rows: Result<Vec<_>, sqlx::Error> = rows
                .iter()
                .map(|row| {
                    Ok(KeyChange {
                        number: row.try_get::<i64, _>(0)?.cast_unsigned(),
                        key: row.try_get::<String, _>(1)?,
                        added: row.try_get(2)?,
                    })
                })
                .collect();
            self.keys.tell_read(before, latest, &rows?);
        }
        let latest = row.try_get::<i64, _>(1)?.cast_unsigned();
        if self.ledger.must_read(events_before, latest) {
            let rows = self
                .statements
                .events
                .query()
                .bind(&self.tenant)
                .bind(events_before.cast_signed())
                .bind(latest.cast_signed())
                .fetch_all(&mut *listener)
                .await?;
            // An entry that cannot be read means what everything means.
            let events: Result<Vec<_>, _> = rows.iter().map(event).collect();
            let events = events.unwrap_or_default();
            self.ledger.tell_read(events_before, latest, &events);
        }
        tell_latest(&self.latest, latest);
        self.keys.changes().heard(began);
        self.ledger.changes().heard(began);
        Ok(())
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
