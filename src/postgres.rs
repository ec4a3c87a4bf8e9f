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
//!    the others'. One process that serves several opens the others with [`PostgresStore::tenant`].
//! 3. A change is one function call, so one transaction, and nothing is locked while a network is
//!    waited for; only where several processes change one ledger at a time does one lock it first. What
//!    several callers of a process change in the ledgers at a time goes together. A change is
//!    acknowledged once the server has committed it, and what that promises is the server's
//!    `synchronous_commit`.
//! 4. What other processes change is told to [`Changes`](crate::Changes) within milliseconds by a
//!    notification, sent with the commit of a key's change and after that of a ledger's. That is a
//!    hint only: a poll each second finds what no notification told. Both use one connection beside the pool, for all tenants of the
//!    process, which is opened again by itself when it is lost.
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
//! - Transactions have to be READ COMMITTED by default, as PostgreSQL's own default is: a pool of yours
//!   where they are not is refused.
//! - Notifications pass no pooler in transaction mode. Behind one the poll alone carries changes.
//! - PostgreSQL keeps no U+0000 in a text: a record with one is refused.

mod connections;
mod follow;
mod keys;
mod ledger;
mod migrate;
mod notify;
mod open;
mod schema;
mod write;

use std::{convert::Infallible, fmt, sync::Arc};

use sqlx::postgres::PgRow;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    error::BackendError,
    license_ledger::Eviction,
    sql::{ToldOfBoth, Turns},
};

use connections::{Connections, PgQuery, write_failed};
use follow::Followed;
use notify::Outbox;
pub use open::ConnectPostgres;
use schema::{Schema, Statement};
use write::{Memory, Writer};

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
    turns: Turns<Self>,
    memory: Memory,
}

impl Shared {
    /// A statement whose first parameter is the tenant.
    fn ask(&self, statement: &Statement) -> PgQuery<'_> {
        statement.query().bind(&self.tenant)
    }

    /// Reads.
    async fn fetch(&self, query: PgQuery<'_>) -> Result<Vec<PgRow>, BackendError> {
        let rows = self.server.connections.send(query).await;
        rows.map_err(BackendError::unavailable)
    }

    /// Calls a function that writes, and answers its row.
    async fn change(&self, query: PgQuery<'_>) -> Result<PgRow, BackendError> {
        let rows = self.server.connections.send(query).await;
        let row = rows.map_err(write_failed)?.pop();
        row.ok_or_else(|| BackendError::unavailable(sqlx::Error::RowNotFound))
    }
}

/// What the stores of all tenants in one schema have in common.
struct Server {
    connections: Arc<Connections>,
    schema: Schema,
    place: String,
    keys: keys::Statements,
    ledger: ledger::Statements,
    eviction: Eviction,
    clock: Arc<dyn Clock>,
    /// Nothing: the server's own time is the ledger's.
    time: Option<Arc<dyn Clock>>,
    writer: Arc<Writer>,
    writes: Turns<Writer>,
    followed: Followed,
    outbox: Arc<Outbox>,
    /// Dropped with the last handle, which ends the follower.
    _following: oneshot::Sender<Infallible>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("tenant", &self.0.tenant)
            .finish_non_exhaustive()
    }
}
