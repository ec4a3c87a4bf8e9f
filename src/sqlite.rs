//! Keys and licenses in SQLite: one file, no server, and every change on the disk before it is
//! answered.
//!
//! 1. Nothing that was answered is lost: not when the process is killed, and, unless
//!    [`with_durability`](OpenSqlite::with_durability) says otherwise, not when the power fails.
//! 2. Several processes may use one file. Each sees what another changed within some 20 ms, and is
//!    out of touch, as [`Changes`](crate::Changes) calls it, while the file cannot be read.
//! 3. Reading waits for nobody who writes; writing goes one after the other, and waits at most five
//!    seconds for another process.
//! 4. A file that cannot be written is read; every writing call then says
//!    [`ReadOnly`](crate::BackendError::ReadOnly).
//! 5. A full disk, or a file that cannot be read for a while, is an error of the calls in that
//!    time, and changes nothing.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use tower_api_key::{KeyDigest, KeyId, KeyRecord, KeyStore, SqliteStore, Timestamp};
//!
//! # let path = std::env::temp_dir().join(format!("keys-{}-doc.db", std::process::id()));
//! let store = SqliteStore::open(&path).await?;
//! let digest = KeyDigest::from_bytes([7; 32]);
//! let created_at = Timestamp::from_unix_seconds(1_767_225_600);
//! let record = KeyRecord::new(KeyId::new("k1")?, digest, "Studio A", created_at);
//! store.insert(record.clone()).await?;
//! drop(store);
//!
//! let store = SqliteStore::open(&path).await?;
//! assert_eq!(store.find(&digest).await?, Some(record));
//! # drop(store);
//! # for end in ["", "-wal", "-shm"] {
//! #     let _ = std::fs::remove_file(format!("{}{end}", path.display()));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where you have a pool already, the tables can live in its file, beside yours; their names begin
//! with `tower_`:
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_api_key::SqliteStore;
//!
//! let pool = sqlx::SqlitePool::connect("sqlite:app.db").await?;
//! let store = SqliteStore::with_pool(pool).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The file is put into WAL mode, so two more files lie beside it (`-wal`, `-shm`) that belong to it.
//! It has to be on a disk of this machine: SQLite's locks do not work over a network. While a store
//! is open, do not move it away or copy another one over it.

mod error;
mod follow;
mod keys;
mod ledger;
mod open;
mod readings;
mod tables;

use std::{fmt, path::Path, sync::Arc};

use sqlx::SqlitePool;

use crate::{
    clock::Clock,
    license_ledger::Eviction,
    sql::{ToldOfBoth, Turns},
};

pub use open::{Durability, OpenSqlite};

/// A [`KeyStore`](crate::KeyStore) and [`LicenseLedger`](crate::LicenseLedger) in a SQLite file.
///
/// Cheap to clone; all clones are one store. It uses the tokio runtime in which it was opened to
/// follow what other processes change: where that runtime ends first, layers lose touch after their
/// `max_staleness`.
#[derive(Clone)]
pub struct SqliteStore(Arc<Shared>);

/// What the clones share, and what the follower holds weakly.
struct Shared {
    /// For messages: the path.
    place: String,
    /// For single statements and short snapshots that change nothing.
    readers: SqlitePool,
    /// One connection: whoever has it begins with [`Shared::write`].
    writer: SqlitePool,
    told: ToldOfBoth,
    turns: Turns<Shared>,
    eviction: Eviction,
    clock: Arc<dyn Clock>,
}

impl SqliteStore {
    /// Opens the file at `path`, or makes it where there is none; its folder must be there.
    ///
    /// What is answered is awaited, after settings where there are any:
    ///
    /// ```
    /// # async fn example() -> Result<(), tower_api_key::OpenError> {
    /// use tower_api_key::{Durability, SqliteStore};
    ///
    /// let store = SqliteStore::open("keys.db").await?;
    /// let fast = SqliteStore::open("test.db").with_durability(Durability::ProcessDeath).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`](crate::OpenError) where there is no such folder, where the file is no database,
    /// damaged, or made by a later version of this crate, and where permission or space is missing.
    pub fn open(path: impl AsRef<Path>) -> OpenSqlite {
        OpenSqlite::path(path.as_ref())
    }

    /// Keeps keys in the file of a pool of yours, beside your tables.
    ///
    /// The pool is used for reading. For writing and for following other processes the store opens a
    /// connection each, with the pool's own connect options but for its own busy timeout and
    /// durability; hooks of the pool do not run there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and where the pool's database is in memory.
    pub fn with_pool(pool: SqlitePool) -> OpenSqlite {
        OpenSqlite::pool(pool)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("place", &self.0.place)
            .finish_non_exhaustive()
    }
}
