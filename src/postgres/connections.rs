//! Statements on the pool's connections.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgDatabaseError, PgRow, PgSeverity},
    query::Query,
};
use tokio::{runtime::Handle, time};

use crate::error::BackendError;

/// Connections of a pool. Those that were used a moment ago stay at hand for whoever needs one next.
///
/// A pool asks the server about each connection that is given back, which takes the server and this
/// process nearly as long as a look-up. So they are given back together, from time to time.
pub(super) struct Connections {
    pool: PgPool,
    timeout: Duration,
    at_hand: Mutex<Vec<PoolConnection<Postgres>>>,
    /// Where connections are given back: a store may be dropped elsewhere.
    runtime: Handle,
}

impl Connections {
    /// Of a pool that is used on the runtime of the caller.
    pub(super) fn of(pool: PgPool, timeout: Duration) -> Self {
        Self {
            pool,
            timeout,
            at_hand: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    pub(super) async fn lease(&self) -> Result<Lease<'_>, sqlx::Error> {
        let spare = self.at_hand().pop();
        let connection = match spare {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(Lease {
            connections: self,
            connection: Some(connection),
            answered: false,
        })
    }

    /// Sends one statement and reads its answer, within the timeout.
    pub(super) async fn send(&self, query: PgQuery<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        let answer = async {
            let mut lease = self.lease().await?;
            let answer = query.fetch_all(&mut **lease.connection()).await;
            if answer.as_ref().err().is_none_or(is_answer) {
                lease.is_answered();
            }
            answer
        };
        in_time(self.timeout, answer).await
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Gives back all that are at hand.
    pub(super) fn give_back(&self) {
        let connections = std::mem::take(&mut *self.at_hand());
        let _runtime = self.runtime.enter();
        drop(connections);
    }

    /// Whether somebody else would get a connection, if this one stayed.
    fn may_keep_one(&self) -> bool {
        let most = self.pool.options().get_max_connections();
        self.pool.num_idle() > 0 || self.pool.size() < most
    }

    fn at_hand(&self) -> MutexGuard<'_, Vec<PoolConnection<Postgres>>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A connection that goes neither to the next nor back to the pool where its answer was not read to
/// the end: they would wait for the rest of it, and where the server is gone without a word, for ever.
pub(super) struct Lease<'s> {
    connections: &'s Connections,
    connection: Option<PoolConnection<Postgres>>,
    answered: bool,
}

impl Lease<'_> {
    pub(super) fn connection(&mut self) -> &mut PoolConnection<Postgres> {
        self.connection.as_mut().expect("it is there until the end")
    }

    /// The last answer was read to its end.
    pub(super) fn is_answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if self.answered && self.connections.may_keep_one() {
            return self.connections.at_hand().push(connection);
        }
        let _runtime = self.connections.runtime.enter();
        if !self.answered {
            connection.close_on_drop();
            // Where the server was lost the others are of no use either: the pool will see.
            self.connections.give_back();
        }
        drop(connection);
    }
}

pub(super) type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// Why a writing call failed.
pub(super) fn write_failed(error: sqlx::Error) -> BackendError {
    match code(&error).as_deref() {
        Some(READ_ONLY | NOT_PERMITTED) => BackendError::ReadOnly,
        _ => BackendError::unavailable(error),
    }
}

/// No wait for a server is without an end.
pub(super) async fn in_time<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    time::timeout(limit, work).await.unwrap_or_else(|_elapsed| {
        Err(sqlx::Error::from(io::Error::from(io::ErrorKind::TimedOut)).into())
    })
}

/// Whether the server reported an error and goes on.
pub(super) fn is_answer(error: &sqlx::Error) -> bool {
    let reported = error.as_database_error();
    let reported = reported.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    reported.is_some_and(|error| {
        let severity = error.severity();
        !matches!(severity, PgSeverity::Fatal | PgSeverity::Panic)
    })
}

/// Whether an error says that what was to be written cannot be (PostgreSQL's appendix A, classes 22
/// and 23), whatever else is.
pub(super) fn is_of_the_data(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// The SQLSTATE of an error that the server reported (PostgreSQL's appendix A).
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

pub(super) const READ_ONLY: &str = "25006";
pub(super) const NOT_PERMITTED: &str = "42501";
