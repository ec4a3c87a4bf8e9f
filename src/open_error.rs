//! Why something in a database could not be opened.

use thiserror::Error;

use crate::error::BoxError;

/// Why a store or limiter in a database could not be opened: where, what, and the database's own error as
/// source.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use tower_api_key::{OpenErrorKind, SqliteStore};
///
/// let error = SqliteStore::open("no/such/folder/keys.db").await.unwrap_err();
/// assert_eq!(error.kind(), OpenErrorKind::NotFound);
/// assert_eq!(error.to_string(), "no/such/folder/keys.db: not found");
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Error)]
#[error("{place}: {kind}")]
pub struct OpenError {
    place: String,
    kind: OpenErrorKind,
    source: Option<BoxError>,
}

/// What keeps it from being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// The folder, the database or the schema is not there, and nothing here may create it.
    #[error("not found")]
    NotFound,
    /// Something else is there: a folder, a file of another kind.
    #[error("not a database")]
    NotADatabase,
    /// What is there cannot be read: the file was damaged.
    #[error("damaged")]
    Damaged,
    /// Its tables were made by a later version of this crate.
    #[error("its tables are of version {found}, and this crate knows versions up to {known}")]
    Newer {
        /// The version of the tables.
        found: i64,
        /// The latest version that this crate knows.
        known: i64,
    },
    /// The database is in memory, where other connections see nothing of it.
    #[error("a database in memory cannot be shared; `MemoryKeyStore` keeps keys in memory")]
    InMemory,
    /// The operating system or the database does not allow it.
    #[error("no permission")]
    NotPermitted,
    /// It cannot be written, and the tables are not there yet or have to be changed.
    #[error("read-only, and its tables have to be made or changed first")]
    ReadOnly,
    /// Another process has locked it for too long.
    #[error("locked by another process")]
    Locked,
    /// There is no space left.
    #[error("no space left")]
    Full,
    /// The server does not accept the user or the password.
    #[error("user or password not accepted")]
    NotAccepted,
    /// The server cannot be reached, or does not answer.
    #[error("not reachable")]
    Unreachable,
    /// A setting cannot be right: the source tells which.
    #[error("a setting is not valid")]
    InvalidSetting,
    /// Anything else: the source tells.
    #[error("the database failed")]
    Failed,
}

impl OpenError {
    /// `place` must hold no password.
    pub(crate) fn new(place: impl Into<String>, kind: OpenErrorKind) -> Self {
        Self {
            place: place.into(),
            kind,
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Where: a path, or a URL without its password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong there.
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }
}
