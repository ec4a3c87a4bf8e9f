//! Opening: the file, its tables, the connections.

use std::{
    future::{Future, IntoFuture},
    num::NonZero,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::Instant;

use super::{
    Shared, SqliteStore,
    error::{is_busy, is_read_only, open_failed, write_failed},
    follow::Follower,
};
use crate::{
    clock::{Clock, SystemClock},
    error::BackendError,
    license_ledger::Eviction,
    open_error::{OpenError, OpenErrorKind},
    sql::{ToldOfBoth, Turns},
};

/// A store that is about to be opened: await it, after settings where there are any.
///
/// Made by [`SqliteStore::open`] and [`SqliteStore::with_pool`].
#[must_use = "nothing is opened until it is awaited"]
pub struct OpenSqlite {
    from: From,
    clock: Arc<dyn Clock>,
    durability: Durability,
    eviction: Eviction,
}

enum From {
    Path(PathBuf),
    Pool(SqlitePool),
}

/// What a change survives once its call has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Also the end of the machine's power.
    #[default]
    PowerLoss,
    /// The end of the process, however sudden; the latest changes before a power failure may be
    /// missing afterwards. A change need not wait for the disk.
    ProcessDeath,
}

impl OpenSqlite {
    pub(super) fn path(path: &Path) -> Self {
        Self::from(From::Path(path.to_owned()))
    }

    pub(super) fn pool(pool: SqlitePool) -> Self {
        Self::from(From::Pool(pool))
    }

    fn from(from: From) -> Self {
        Self {
            from,
            clock: Arc::new(SystemClock::new()),
            durability: Durability::default(),
            eviction: Eviction::default(),
        }
    }

    /// Where the time is read. By default [`SystemClock`]; the layer that uses the store must read
    /// the same kind of clock.
    ///
    /// ```
    /// # async fn example() -> Result<(), tower_api_key::OpenError> {
    /// # use {std::sync::Arc, tower_api_key::{ManualClock, SqliteStore}};
    /// let clock = Arc::new(ManualClock::new());
    /// SqliteStore::open("keys.db").with_clock(clock).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What an answered change survives. By default [`Durability::PowerLoss`].
    ///
    /// ```
    /// # async fn example() -> Result<(), tower_api_key::OpenError> {
    /// # use tower_api_key::{Durability, SqliteStore};
    /// SqliteStore::open("keys.db").with_durability(Durability::ProcessDeath).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Which reservation goes first where there are more than seats. By default the oldest. Every
    /// process that uses the file must say the same.
    ///
    /// ```
    /// # async fn example() -> Result<(), tower_api_key::OpenError> {
    /// # use tower_api_key::{Eviction, SqliteStore};
    /// SqliteStore::open("keys.db").with_eviction(Eviction::NewestFirst).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    async fn open(self) -> Result<SqliteStore, OpenError> {
        let options = self.connect_options();
        let place = options.get_filename().to_owned();
        let failed = |error| open_failed(&place, error);

        let mut first = options.connect().await.map_err(failed)?;
        refuse_memory(&mut first, &place).await?;
        write_ahead(&mut first).await.map_err(failed)?;
        migrate(&mut first, &place).await?;

        let readers = match self.from {
            From::Pool(pool) => pool,
            From::Path(_) => read_pool(options.clone()),
        };
        // What was changed before has never been read by anyone here, and need not be told.
        let numbers = sqlx::query_as::<_, (i64, i64)>("select key_seq, seq from tower_tenant");
        let numbers = numbers.fetch_one(&mut first).await.map_err(failed)?;
        let (keys, events) = (numbers.0.cast_unsigned(), numbers.1.cast_unsigned());
        let shared = Arc::new_cyclic(|shared| Shared {
            place: place.display().to_string(),
            readers,
            writer: write_pool(options.clone()),
            told: ToldOfBoth::from(keys, events),
            turns: Turns::begin(shared, 1),
            eviction: self.eviction,
            clock: self.clock,
        });
        let mut follower = Follower::new(options, first);
        follower.look(&shared).await.map_err(failed)?;
        follower.follow(&shared);
        Ok(SqliteStore(shared))
    }

    fn connect_options(&self) -> SqliteConnectOptions {
        let options = match &self.from {
            From::Path(path) => SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true),
            From::Pool(pool) => (*pool.connect_options()).clone(),
        };
        let synchronous = match self.durability {
            Durability::PowerLoss => SqliteSynchronous::Full,
            Durability::ProcessDeath => SqliteSynchronous::Normal,
        };
        // The follower alone would log fifty statements each second.
        let options = options.disable_statement_logging();
        options.busy_timeout(LONGEST_WAIT).synchronous(synchronous)
    }
}

impl IntoFuture for OpenSqlite {
    type Output = Result<SqliteStore, OpenError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl std::fmt::Debug for OpenSqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenSqlite")
            .field("place", &self.connect_options().get_filename())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Begins a change: nobody else writes until it ends.
    ///
    /// DEFERRED, the default, takes the lock at the first statement that writes, too late to wait
    /// for another process.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, BackendError> {
        let begun = self.writer.begin_with("begin immediate").await;
        begun.map_err(write_failed)
    }
}

fn read_pool(options: SqliteConnectOptions) -> SqlitePool {
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get);
    pool_options(threads.clamp(2, 8) as u32).connect_lazy_with(options.pragma("query_only", "on"))
}

fn write_pool(options: SqliteConnectOptions) -> SqlitePool {
    pool_options(1)
        // Where SQLite has rolled back on its own (a full disk), sqlx believes for ever that it is
        // still in a transaction.
        .before_acquire(|connection, _| {
            let is_usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_usable) })
        })
        .connect_lazy_with(options)
}

fn pool_options(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(2 * LONGEST_WAIT)
        // A file does not hang up.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

async fn refuse_memory(connection: &mut SqliteConnection, place: &Path) -> Result<(), OpenError> {
    let file = sqlx::query_scalar::<_, String>(
        "select coalesce(file, '') from pragma_database_list where name = 'main'",
    );
    let file = file.fetch_one(connection).await;
    match file.map_err(|error| open_failed(place, error))?.is_empty() {
        true => Err(open_error(place, OpenErrorKind::InMemory)),
        false => Ok(()),
    }
}

/// Puts the file into WAL mode, in which it stays.
async fn write_ahead(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mode = sqlx::query_scalar::<_, String>("pragma journal_mode");
    if mode.fetch_one(&mut *connection).await? == "wal" {
        return Ok(());
    }
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        let changed = sqlx::query("pragma journal_mode = wal");
        match changed.execute(&mut *connection).await {
            // SQLite does not wait for this lock: another process is opening the file too.
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) if is_read_only(&error) => return Ok(()),
            result => return result.map(drop),
        }
    }
}

/// Brings the tables to the latest version.
async fn migrate(connection: &mut SqliteConnection, place: &Path) -> Result<(), OpenError> {
    let failed = |error| open_failed(place, error);
    let latest = MIGRATIONS.len();
    let check = |found: i64| match usize::try_from(found) {
        Ok(version) if version <= latest => Ok(version),
        Ok(_) => {
            let known = latest as i64;
            Err(open_error(place, OpenErrorKind::Newer { found, known }))
        }
        Err(_) => Err(open_error(place, OpenErrorKind::Damaged)),
    };
    if check(version(connection).await.map_err(failed)?)? == latest {
        return Ok(());
    }
    let begun = connection.begin_with("begin immediate").await;
    let mut change = begun.map_err(failed)?;
    // Again, now that nobody else can be at it.
    let from = check(version(&mut change).await.map_err(failed)?)?;
    for migration in &MIGRATIONS[from..] {
        let migration = sqlx::raw_sql(*migration).execute(&mut *change);
        migration.await.map_err(failed)?;
    }
    let noted = sqlx::query("update tower_schema set version = $1").bind(latest as i64);
    noted.execute(&mut *change).await.map_err(failed)?;
    change.commit().await.map_err(failed)
}

/// The version of the tables; 0 where there are none.
async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let table = "select count(*) from sqlite_schema where type = 'table' and name = 'tower_schema'";
    let tables: i64 = sqlx::query_scalar(table)
        .fetch_one(&mut *connection)
        .await?;
    if tables == 0 {
        return Ok(0);
    }
    let version = sqlx::query_scalar("select version from tower_schema");
    version.fetch_one(connection).await
}

fn open_error(place: &Path, kind: OpenErrorKind) -> OpenError {
    OpenError::new(place.display().to_string(), kind)
}

const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/sqlite/0001.sql")];

/// How long a call waits for another process.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// What SQLite says of a setting of the first connection of a pool.
    async fn pragma(pool: &SqlitePool, sql: &'static str) -> i64 {
        let setting = sqlx::query_scalar(sql);
        setting.fetch_one(pool).await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_what_durability_and_pools_say() {
        let settings = [(Durability::PowerLoss, 2), (Durability::ProcessDeath, 1)];
        for (durability, synchronous) in settings {
            let name = format!("tower-api-key-{}-{synchronous}.db", std::process::id());
            let path = std::env::temp_dir().join(name);
            let store = SqliteStore::open(&path).with_durability(durability);
            let SqliteStore(shared) = store.await.unwrap();
            let writer = pragma(&shared.writer, "pragma synchronous").await;
            assert_eq!(writer, synchronous, "{durability:?}");
            assert_eq!(pragma(&shared.writer, "pragma busy_timeout").await, 5_000);
            assert_eq!(pragma(&shared.readers, "pragma query_only").await, 1);
            let mode = sqlx::query_scalar::<_, String>("pragma journal_mode");
            assert_eq!(mode.fetch_one(&shared.readers).await.unwrap(), "wal");
            drop(shared);
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", path.display()));
            }
        }
    }
}
