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
        shared.told.heard(began);
        Ok(())
    }
}

impl Shared {
    /// Reads, at one moment, what the database has numbered since the last time, and tells it.
    async fn catch_up(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let (keys, ledger) = (&self.told.keys, &self.told.ledger);
        // Before the moment: what this process commits meanwhile must not seem to be undone.
        let (before_keys, before_events) = (keys.number(), ledger.number());
        let mut moment = connection.begin().await?;
        let latest = sqlx::query_as("select key_seq, seq from tower_tenant");
        let (latest_key, latest_event): (i64, i64) = latest.fetch_one(&mut *moment).await?;
        let (latest_key, latest_event) = (latest_key.cast_unsigned(), latest_event.cast_unsigned());
        if keys.must_read(before_keys, latest_key) {
            let rows = "select seq, key, added from tower_key_change where seq > $1 order by seq";
            let rows = sqlx::query(rows).bind(before_keys.cast_signed());
            let rows = rows.try_map(read_change).fetch_all(&mut *moment).await?;
            keys.tell_read(before_keys, latest_key, &rows);
        }
        if ledger.must_read(before_events, latest_event) {
            let events = readings::events(&mut moment, before_events.cast_signed(), -1).await;
            // An entry that cannot be read means what everything means.
            let events = events.unwrap_or_default();
            ledger.tell_read(before_events, latest_event, &events);
        }
        moment.rollback().await
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        KeyDigest, KeyId, KeyRecord, KeyStore, ManualClock, SqliteStore, Timestamp, clock::Clock,
    };

    /// A file that is removed when the test ends.
    struct File(PathBuf);

    impl File {
        fn new(name: &str) -> Self {
            let name = format!("tower-api-key-{}-{name}.db", std::process::id());
            let file = Self(std::env::temp_dir().join(name));
            file.remove();
            file
        }

        fn remove(&self) {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
            }
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            self.remove();
        }
    }

    fn record(digest: u8) -> KeyRecord {
        let created_at = Timestamp::from_unix_seconds(0);
        let digest = KeyDigest::from_bytes([digest; 32]);
        KeyRecord::new(KeyId::new("k1").unwrap(), digest, "Studio A", created_at)
    }

    async fn open(file: &File, clock: &Arc<ManualClock>) -> SqliteStore {
        let store = SqliteStore::open(&file.0).with_clock(Arc::clone(clock));
        store.await.unwrap()
    }

    /// A follower whose looks are counted by the test.
    fn follower(file: &File) -> Follower {
        let options = SqliteConnectOptions::new().filename(&file.0);
        Follower {
            options: options.disable_statement_logging(),
            connection: None,
            version: None,
        }
    }

    fn in_touch(store: &SqliteStore, clock: &ManualClock) -> bool {
        let now = clock.now().monotonic;
        store.0.told.keys.changes().in_touch(now, Duration::ZERO)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn store_is_in_touch_from_the_first_moment() {
        let (file, clock) = (File::new("first"), Arc::new(ManualClock::new()));
        assert!(in_touch(&open(&file, &clock).await, &clock));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_look_is_a_word_even_where_nothing_happened() {
        let (file, clock) = (File::new("word"), Arc::new(ManualClock::new()));
        let store = open(&file, &clock).await;
        clock.advance(Duration::from_secs(60));
        while !in_touch(&store, &clock) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn added_digests_are_told_and_no_others() {
        let (file, clock) = (File::new("added"), Arc::new(ManualClock::new()));
        let (here, there) = (open(&file, &clock).await, open(&file, &clock).await);
        let (mut look, told) = (follower(&file), there.0.told.keys.changes());
        let before = told.stamp();
        here.insert(record(1)).await.unwrap();
        look.look(&there.0).await.unwrap();
        assert!(!told.absence_is_current(before));

        let before = told.stamp();
        let unchanged = here.update(record(1)).await.unwrap();
        look.look(&there.0).await.unwrap();
        assert!(!told.is_current("k1", before));
        assert!(told.absence_is_current(before));

        let before = told.stamp();
        let mut regenerated = record(2);
        regenerated.revision = unchanged.revision;
        here.update(regenerated).await.unwrap();
        look.look(&there.0).await.unwrap();
        assert!(!told.absence_is_current(before));
    }

    #[tokio::test]
    async fn own_changes_are_told_once() {
        let (file, clock) = (File::new("own"), Arc::new(ManualClock::new()));
        let store = open(&file, &clock).await;
        store.insert(record(1)).await.unwrap();
        let told = store.0.told.keys.changes().stamp();
        follower(&file).look(&store.0).await.unwrap();
        assert_eq!(store.0.told.keys.changes().stamp(), told);
    }

    #[tokio::test]
    async fn database_that_cannot_be_read_is_no_word_until_it_can() {
        let (file, clock) = (File::new("unread"), Arc::new(ManualClock::new()));
        let store = open(&file, &clock).await;
        let tables = |sql| sqlx::raw_sql(sql).execute(&store.0.writer);
        tables("alter table tower_tenant rename to away")
            .await
            .unwrap();
        // The store's own follower fails too, and pauses.
        clock.advance(Duration::from_secs(60));
        let mut look = follower(&file);
        look.look(&store.0).await.unwrap_err();
        assert!(!in_touch(&store, &clock));
        tables("alter table away rename to tower_tenant")
            .await
            .unwrap();
        look.look(&store.0).await.unwrap();
        assert!(in_touch(&store, &clock));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn following_keeps_no_store_alive() {
        let (file, clock) = (File::new("dropped"), Arc::new(ManualClock::new()));
        let store = open(&file, &clock).await;
        let shared = Arc::downgrade(&store.0);
        drop(store);
        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
