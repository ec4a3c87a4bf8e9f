//! Learning what other processes have committed.

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use super::{Shared, readings};
use crate::{error::BackendError, observe, sql::KeyChange};

/// A connection of its own that looks whether others have committed.
pub(super) struct Follower {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// SQLite's count of the commits that this connection did not make; another one after each
    /// reconnect.
    version: Option<i64>,
}

impl Follower {
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self {
            options,
            connection: Some(connection),
            version: None,
        }
    }

    /// Looks again and again, until the store is dropped.
    pub(super) fn follow(mut self, shared: &Arc<Shared>) {
        let shared = Arc::downgrade(shared);
        tokio::spawn(async move {
            let mut pause = EVERY;
            loop {
                tokio::time::sleep(pause).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                pause = match self.look(&shared).await {
                    Ok(()) => EVERY,
                    Err(error) => {
                        let error = BackendError::unavailable(error);
                        observe::maintenance_failed("follow", &error);
                        self.connection = None;
                        AFTER_FAILURE
                    }
                };
            }
        });
    }

    /// Tells what was committed since the last look; that nothing was costs one small statement.
    pub(super) async fn look(&mut self, shared: &Shared) -> Result<(), sqlx::Error> {
        let began = shared.clock.now().monotonic;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                self.version = None;
                none.insert(self.options.connect().await?)
            }
        };
        // Before what it counts is read: what comes in between is seen by the next look.
        let version = sqlx::query_scalar("pragma data_version");
        let version = version.fetch_one(&mut *connection).await?;
        if self.version != Some(version) {
            shared.catch_up(connection).await?;
            self.version = Some(version);
        }
        shared.keys.changes().heard(began);
        shared.ledger.changes().heard(began);
        Ok(())
    }
}

impl Shared {
    /// Reads, at one moment, what the database has numbered since the last time, and tells it.
    async fn catch_up(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let mut moment = connection.begin().await?;
        self.catch_up_keys(&mut moment).await?;
        self.catch_up_ledger(&mut moment).await?;
        moment.rollback().await
    }

    async fn catch_up_keys(&self, moment: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let before = self.keys.number();
        let latest = sqlx::query_scalar::<_, i64>("select key_seq from tower_tenant");
        let latest = latest.fetch_one(&mut *moment).await?.cast_unsigned();
        if self.keys.must_read(before, latest) {
            let rows = "select seq, key, added from tower_key_change where seq > $1 order by seq";
            let rows = sqlx::query(rows).bind(before.cast_signed());
            let rows = rows.try_map(read_change).fetch_all(moment).await?;
            self.keys.tell_read(before, latest, &rows);
        }
        Ok(())
    }
}

impl Shared {
    async fn catch_up_ledger(&self, moment: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let before = self.ledger.number();
        let latest = sqlx::query_scalar::<_, i64>("select seq from tower_tenant");
        let latest = latest.fetch_one(&mut *moment).await?.cast_unsigned();
        if self.ledger.must_read(before, latest) {
            let events = readings::events(moment, before.cast_signed(), -1).await;
            // An entry that cannot be read means what everything means.
            let events = events.unwrap_or_default();
            self.ledger.tell_read(before, latest, &events);
        }
        self.tell_latest(latest);
        Ok(())
    }

    /// Tells who follows the log how far it goes.
    pub(super) fn tell_latest(&self, latest: u64) {
        self.latest.send_if_modified(|known| {
            let is_news = *known < latest;
            *known = latest.max(*known);
            is_news
        });
    }
}

fn read_change(row: SqliteRow) -> Result<KeyChange<String>, sqlx::Error> {
    Ok(KeyChange {
        number: row.try_get::<i64, _>(0)?.cast_unsigned(),
        key: row.try_get(1)?,
        added: row.try_get(2)?,
    })
}

/// A look takes some 20 µs, and how late another process's change is seen hangs on nothing else.
const EVERY: Duration = Duration::from_millis(20);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
