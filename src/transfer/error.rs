//! What can go wrong on the way.

use std::io;

use thiserror::Error;

use crate::{
    error::BackendError,
    key_store::KeyId,
    ledger_state::ReplayError,
    license_ledger::{Holder, Module},
};

/// Why an export or an import did not come to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The lines cannot be read or written.
    #[error("the lines cannot be read")]
    Read(#[source] io::Error),
    /// A line is not what it should be; nothing was changed.
    #[error("line {line}: {}{problem}", field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
    Line {
        /// Its number, the first is 1.
        line: usize,
        /// The field, such as `key.digest`; nothing where it is the line as a whole.
        field: Option<String>,
        /// What is wrong with it.
        problem: String,
    },
    /// The log is not the whole log of a ledger; nothing was changed.
    #[error("the ledger does not fit its log")]
    Inconsistent(#[source] ReplayError),
    /// The ledger was changed while it was read.
    #[error("the ledger was changed while it was read: stop what uses it, or try again")]
    Changed,
    /// There is something already that the input does not have; nothing was changed.
    #[error("not empty: {0} is there and not in the input, and a ledger with its log moves whole")]
    NotEmpty(String),
    /// Another key has the id or the text of one in the input; nothing was changed.
    #[error("another key has the id or the text of the key {0}")]
    Duplicate(KeyId),
    /// A module is to be assigned that neither the input nor the ledger knows; nothing was changed.
    #[error("neither the input nor the ledger knows the module {0}")]
    UnknownModule(Module),
    /// A key is to be assigned modules that is neither in the input nor in the store; nothing was
    /// changed.
    #[error("neither the input nor the store has the key {0}")]
    UnknownKey(Holder),
    /// The key store failed before anything was changed.
    #[error("the key store failed")]
    KeyStore(#[source] BackendError),
    /// The ledger failed before anything was changed.
    #[error("the ledger failed")]
    Ledger(#[source] BackendError),
    /// A backend failed in the middle. The same import again does the rest.
    #[error("stopped after {done} of {of} steps: the same import again does the rest")]
    Interrupted {
        /// How many keys and operations are in.
        done: usize,
        /// How many there are; a whole log is one operation.
        of: usize,
        /// What failed.
        #[source]
        source: BackendError,
    },
}
