//! What SQLite and PostgreSQL share: how a key's record becomes a row and back, what has been told
//! of the changes that are numbered in the database, and why a store cannot be opened.
//!
//! Both databases have the same tables with the same columns (`migrations/`):
//!
//! 1. Every change of a key raises `tower_tenant.key_seq` first, and writes that number with the
//!    key's id to `tower_key_change` in the same transaction. Whoever reads numbers therefore reads
//!    them without gaps, in the order in which they were committed.
//! 2. `tower_key_digest` holds the current and the previous digests of all keys: a digest is unique
//!    among both.
//! 3. Instants are microseconds since 1970, lists are JSON texts.
//!
//! The names begin with `tower_` because the tables may lie beside a host's own.

mod key_row;
mod ledger;
mod told;
mod turns;
mod usage;

pub(crate) use key_row::{bind_key, key_columns, list_after, read_key};
pub(crate) use ledger::{
    EventRow, HolderColumns, LineRows, OverviewRow, RESTORED_AT_ONCE, ReadExcerpt, at_most,
    from_json, holder_state,
};
#[cfg(feature = "sqlite")]
pub(crate) use ledger::{json_unless_empty, to_json};
#[cfg(feature = "sqlite")]
pub(crate) use told::KEPT_CHANGES;
pub(crate) use told::{KeyChange, ToldOfBoth};
pub(crate) use turns::{Turns, Work};
pub(crate) use usage::read_usage;

/// An outage with its cause.
pub(crate) fn unavailable(source: impl Into<crate::error::BoxError>) -> crate::BackendError {
    crate::BackendError::unavailable(source)
}
