//! What can go wrong in a backend.

use thiserror::Error;

/// A backend's own error, kept as the source of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a [`KeyStore`](crate::KeyStore) or a [`LicenseLedger`](crate::LicenseLedger) did not do what
/// it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// It cannot be reached, or did not answer properly: an outage, which a client sees as 503.
    #[error("the backend is unavailable")]
    Unavailable(#[source] BoxError),
    /// It can be read but not written.
    #[error("the backend is read-only")]
    ReadOnly,
    /// A record with this id is already there.
    #[error("a key with this id is already there")]
    DuplicateId,
    /// A record with this digest is already there.
    #[error("a key with this text is already there")]
    DuplicateDigest,
    /// The record was changed since it was read.
    #[error("the key was changed in the meantime")]
    Conflict,
    /// No record has this id.
    #[error("no key has this id")]
    NotFound,
}

impl BackendError {
    /// An outage with its cause.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::Unavailable(source.into())
    }
}
