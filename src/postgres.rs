//! Keys and licenses in PostgreSQL, shared by any number of processes.
//!
//! ```no_run
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use tower_api_key::{ApiKeyLayer, KeyManager, PostgresStore};
//!
//! let store = PostgresStore::connect("postgres://keys:secret@db.example.net/services").await?;
//! # let _ = store;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! 1. The tables live in a schema of their own, `tower_api_key` by default, which is made where it
//!    is missing. They are brought up to this crate's version when a store is opened, in one
//!    transaction; processes that start at once wait for each other. Tables of a later version are
//!    refused.
//! 2. Several services may share the tables: each names a tenant of its own, and sees nothing of
//!    the others'.
//! 3. A change is one function call, so one round trip and one transaction. It is acknowledged once
//!    the server has committed it, and what that promises is the server's `synchronous_commit`.
//! 4. What other processes change is told to [`Changes`](crate::Changes) within milliseconds by a
//!    notification. That is a hint only: a poll each second finds what no notification told. Both
//!    use one connection beside the pool, which is opened again by itself when it is lost.
//! 5. While the server cannot be reached every call says
//!    [`Unavailable`](crate::BackendError::Unavailable) within the [timeout]; nothing has to be
//!    restarted afterwards. A standby server, or a user who may only read, says
//!    [`ReadOnly`](crate::BackendError::ReadOnly) to every writing call.
//!
//! [timeout]: ConnectPostgres::with_timeout
//!
//! A pool of your own serves as well, also one that other parts of the service use: names are
//! written out, and no setting of a connection is changed.
//!
//! ```no_run
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use tower_api_key::PostgresStore;
//!
//! let pool = sqlx::PgPool::connect("postgres://services:secret@db.example.net/services").await?;
//! let store = PostgresStore::with_pool(pool)
//!     .with_schema("playout_keys")
//!     .with_tenant("studio-7")
//!     .await?;
//! # let _ = store;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Caveats
//!
//! - TLS comes with one of sqlx's features, such as `tls-rustls`: enable it on `sqlx` in your own
//!   `Cargo.toml`.
//! - Notifications pass no pooler in transaction mode. Behind one the poll alone carries changes.
//! - PostgreSQL keeps no U+0000 in a text: a record with one is refused.

mod follow;
mod keys;
mod ledger;
mod migrate;
mod notify;
mod open;
mod schema;
mod write;

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};

use sqlx::{
    PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use tokio::{sync::oneshot, time};

use crate::{
    clock::Clock,
    error::BackendError,
    license_ledger::Eviction,
    sql::{ToldOfBoth, Turns},
};

use follow::Followed;
use notify::Outbox;
pub use open::ConnectPostgres;
use schema::Schema;
use write::Memory;

/// A [`KeyStore`](crate::KeyStore) and [`LicenseLedger`](crate::LicenseLedger) in PostgreSQL: see
/// the [module](self).
///
/// A clone is another handle of the same store.
#[derive(Clone)]
pub struct PostgresStore(Arc<Shared>);

/// What is one tenant's.
struct Shared {
    server: Arc<Server>,
    tenant: String,
    told: Arc<ToldOfBoth>,
    turns: Turns,
    memory: Memory,
}

/// What the stores of all tenants in one schema have in common.
struct Server {
    pool: PgPool,
    timeout: Duration,
    schema: Schema,
    place: String,
    keys: keys::Statements,
    ledger: ledger::Statements,
    eviction: Eviction,
    clock: Arc<dyn Clock>,
    /// Nothing: the server's own time is the ledger's.
    time: Option<Arc<dyn Clock>>,
    followed: Followed,
    outbox: Arc<Outbox>,
    /// Dropped with the last handle, which ends the follower.
    _following: oneshot::Sender<Infallible>,
}

impl Server {
    /// Reads.
    async fn fetch(&self, query: PgQuery<'_>) -> Result<Vec<PgRow>, BackendError> {
        self.send(query).await.map_err(BackendError::unavailable)
    }

    /// Calls a function that writes, and answers its row.
    async fn change(&self, query: PgQuery<'_>) -> Result<PgRow, BackendError> {
        let row = self.send(query).await.map_err(write_failed)?.pop();
        row.ok_or_else(|| BackendError::unavailable(sqlx::Error::RowNotFound))
    }

    /// Sends one statement and reads its answer, within the timeout.
    async fn send(&self, query: PgQuery<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        let answer = async {
            let mut lease = Lease::new(self.pool.acquire().await?);
            let answer = query.fetch_all(&mut *lease.connection).await;
            lease.answered = matches!(answer, Ok(_) | Err(sqlx::Error::Database(_)));
            answer
        };
        in_time(self.timeout, answer).await
    }
}

type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// Why a writing call failed.
fn write_failed(error: sqlx::Error) -> BackendError {
    match code(&error).as_deref() {
        Some(READ_ONLY | NOT_PERMITTED) => BackendError::ReadOnly,
        _ => BackendError::unavailable(error),
    }
}

/// No wait for a server is without an end.
async fn in_time<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    time::timeout(limit, work).await.unwrap_or_else(|_elapsed| {
        Err(sqlx::Error::from(io::Error::from(io::ErrorKind::TimedOut)).into())
    })
}

/// A connection that does not go back to the pool where its answer was not read to the end: the
/// pool would wait for the rest of it, and where the server is gone without a word, for ever.
struct Lease {
    connection: PoolConnection<Postgres>,
    answered: bool,
}

impl Lease {
    fn new(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection,
            answered: false,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}

/// The SQLSTATE of an error that the server reported (PostgreSQL's appendix A).
fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

const READ_ONLY: &str = "25006";
const NOT_PERMITTED: &str = "42501";

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("tenant", &self.0.tenant)
            .finish_non_exhaustive()
    }
}
