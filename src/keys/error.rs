//! Why a management call was refused.

use thiserror::Error;

use crate::{
    error::{BackendError, BoxError},
    key_store::KeyId,
    license_ledger::{LicenseId, Module},
};

/// Why a [`KeyManager`](crate::KeyManager) did not do what it was asked.
///
/// No message and no source carries a key's text.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManageError {
    /// No key has this id.
    #[error("no key has the id {0}")]
    NotFound(KeyId),
    /// The key was revoked, and that is for good.
    #[error("the key {0} was revoked, which is for good")]
    Revoked(KeyId),
    /// Another key has this already.
    #[error("another key has this {field} already")]
    Duplicate {
        /// What it has: `id` or `text`.
        field: &'static str,
    },
    /// The key, or the license, was changed since it was read.
    #[error("it was changed in the meantime: read it again")]
    Conflict,
    /// The store or the ledger can be read but not written.
    #[error("keys cannot be changed here: the store or the ledger is read-only")]
    ReadOnly,
    /// The ledger does not know this module: map it to a license, or to none, first.
    #[error("the ledger does not know the module {0}")]
    UnknownModule(Module),
    /// The ledger does not know this license.
    #[error("the ledger does not know the license {0}")]
    UnknownLicense(LicenseId),
    /// A field's value is not acceptable.
    #[error("{field} {problem}")]
    InvalidField {
        /// The field, as it is called in [`NewKey`](crate::NewKey) or [`KeyPatch`](crate::KeyPatch),
        /// or the argument.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The key store cannot be reached, or did not answer properly.
    #[error("the key store is unavailable")]
    StoreUnavailable(#[source] BoxError),
    /// The license ledger cannot be reached, or did not answer properly.
    #[error("the license ledger is unavailable")]
    LedgerUnavailable(#[source] BoxError),
    /// The operating system gave no random bytes for a new key.
    #[error("no random bytes for a new key")]
    NoRandomBytes(#[source] BoxError),
}

impl ManageError {
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidField {
            field,
            problem: problem.into(),
        }
    }

    /// What the key store said of the key `id`.
    pub(crate) fn of_store(error: BackendError, id: &KeyId) -> Self {
        match error {
            BackendError::Unavailable(source) => Self::StoreUnavailable(source),
            BackendError::ReadOnly => Self::ReadOnly,
            BackendError::DuplicateId => Self::Duplicate { field: "id" },
            BackendError::DuplicateDigest => Self::Duplicate { field: "text" },
            BackendError::Conflict => Self::Conflict,
            BackendError::NotFound => Self::NotFound(id.clone()),
        }
    }

    /// What the key store said to a question about no single key.
    pub(crate) fn of_listing(error: BackendError) -> Self {
        match error {
            BackendError::Unavailable(source) => Self::StoreUnavailable(source),
            other => Self::StoreUnavailable(other.into()),
        }
    }

    /// What the ledger said.
    pub(crate) fn of_ledger(error: BackendError) -> Self {
        match error {
            BackendError::Unavailable(source) => Self::LedgerUnavailable(source),
            BackendError::ReadOnly => Self::ReadOnly,
            other => Self::LedgerUnavailable(other.into()),
        }
    }
}
