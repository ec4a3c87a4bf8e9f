//! How often a key was used, as rows.

use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::{clock::Timestamp, error::BoxError, key_store::KeyId, usage::UsageCount};

/// The counts in rows that begin with hour, outcome and count. Outcomes that this version does not
/// know are left out: a later one writes to the same database.
///
/// # Errors
///
/// Where a column is of another type.
pub(crate) fn read_usage<'r, R>(key: &KeyId, rows: &'r [R]) -> Result<Vec<UsageCount>, BoxError>
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut counts = Vec::with_capacity(rows.len());
    for row in rows {
        if let Ok(outcome) = row.try_get::<&str, _>(1)?.parse() {
            let hour = Timestamp::from_unix_micros(row.try_get(0)?);
            let count = row.try_get::<i64, _>(2)?.cast_unsigned();
            counts.push(UsageCount::new(key.clone(), hour, outcome, count));
        }
    }
    Ok(counts)
}
