//! What SQLite's result codes mean to us (<https://www.sqlite.org/rescode.html>).

use std::path::Path;

use crate::{
    error::BackendError,
    open_error::{OpenError, OpenErrorKind},
};

/// The extended result code, where SQLite said something at all.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// The result code without what an extended one adds.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    Some(code(error)? & 0xff)
}

/// A file that is there and can be read, but not written. Other codes of this family mean that it
/// cannot be read either, or was moved away.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    const READONLY: i32 = 8;
    const READONLY_DIRECTORY: i32 = 8 | 6 << 8;
    matches!(code(error), Some(READONLY | READONLY_DIRECTORY))
}

/// Another connection holds a lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(5 | 6))
}

/// Why a writing call failed.
pub(super) fn write_failed(error: sqlx::Error) -> BackendError {
    match is_read_only(&error) {
        true => BackendError::ReadOnly,
        false => BackendError::unavailable(error),
    }
}

/// Why the file could not be opened.
pub(super) fn open_failed(place: &Path, error: sqlx::Error) -> OpenError {
    let kind = match primary_code(&error) {
        Some(26) => OpenErrorKind::NotADatabase,
        Some(11) => OpenErrorKind::Damaged,
        Some(14) => cannot_open(place),
        Some(8) => OpenErrorKind::ReadOnly,
        Some(5 | 6) => OpenErrorKind::Locked,
        Some(13) => OpenErrorKind::Full,
        Some(3 | 23) => OpenErrorKind::NotPermitted,
        _ => OpenErrorKind::Failed,
    };
    OpenError::new(place.display().to_string(), kind).with_source(error)
}

/// SQLite says only that it cannot open the file: the file system knows why.
fn cannot_open(place: &Path) -> OpenErrorKind {
    match place.metadata() {
        Ok(there) if there.is_dir() => OpenErrorKind::NotADatabase,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match place.parent() {
            Some(folder) if folder.as_os_str().is_empty() || folder.is_dir() => {
                OpenErrorKind::NotPermitted
            }
            _ => OpenErrorKind::NotFound,
        },
        Ok(_) | Err(_) => OpenErrorKind::NotPermitted,
    }
}
