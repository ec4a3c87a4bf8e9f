//! A key's record as a row.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{ColumnIndex, Database, Decode, Encode, Row, Type, query::Query};

use crate::{
    clock::Timestamp,
    error::BoxError,
    key_store::{Environment, KeyDigest, KeyId, KeyQuery, KeyRecord, PreviousDigest, Tier},
};

/// The text after which, in the order asked for, the ids of a list come.
pub(crate) fn list_after(query: &KeyQuery) -> &str {
    match (&query.after, query.descending) {
        (Some(after), _) => after.as_str(),
        (None, false) => "",
        // Ids are visible ASCII.
        (None, true) => "\u{7f}",
    }
}

/// The columns of `tower_key`, in the order of [`read_key`] and [`bind_key`].
macro_rules! key_columns {
    () => {
        "id, digest, previous_digest, previous_until, hint, name, environment, created_at, \
         last_used_at, expires_at, revoked_at, enabled, administrator, scopes, tier, owner, \
         allowed_addresses, modules, revision"
    };
}
pub(crate) use key_columns;

/// The record in a row that begins with the [`key_columns`].
///
/// # Errors
///
/// Where a column holds what this crate did not write there.
pub(crate) fn read_key<'r, R>(row: &'r R) -> Result<KeyRecord, BoxError>
where
    R: Row,
    usize: ColumnIndex<R>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    let text = |column: usize| row.try_get::<&str, _>(column);
    let optional_text = |column: usize| row.try_get::<Option<&str>, _>(column);
    let instant = |column: usize| row.try_get(column).map(Timestamp::from_unix_micros);
    let optional_instant = |column: usize| {
        let micros: Option<i64> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(micros.map(Timestamp::from_unix_micros))
    };
    let previous: Option<&[u8]> = row.try_get(2)?;
    let previous = match (previous, optional_instant(3)?) {
        (Some(bytes), Some(until)) => Some(PreviousDigest::new(digest(bytes)?, until)),
        _ => None,
    };
    Ok(KeyRecord {
        id: KeyId::new(text(0)?)?,
        digest: digest(row.try_get(1)?)?,
        previous,
        hint: text(4)?.to_owned(),
        name: text(5)?.to_owned(),
        environment: Environment::new(text(6)?)?,
        created_at: instant(7)?,
        last_used_at: optional_instant(8)?,
        expires_at: optional_instant(9)?,
        revoked_at: optional_instant(10)?,
        enabled: row.try_get(11)?,
        administrator: row.try_get(12)?,
        scopes: list(text(13)?)?,
        tier: optional_text(14)?.map(Tier::new).transpose()?,
        owner: optional_text(15)?.map(str::to_owned),
        allowed_addresses: list(text(16)?)?,
        modules: list(text(17)?)?,
        revision: row.try_get::<i64, _>(18)?.cast_unsigned(),
    })
}

/// Binds a record to the next placeholders, one for each of the [`key_columns`].
pub(crate) fn bind_key<'q, DB>(
    query: Query<'q, DB, DB::Arguments>,
    record: &KeyRecord,
) -> Query<'q, DB, DB::Arguments>
where
    DB: Database,
    bool: for<'t> Encode<'t, DB> + Type<DB>,
    i64: for<'t> Encode<'t, DB> + Type<DB>,
    String: for<'t> Encode<'t, DB> + Type<DB>,
    Option<i64>: for<'t> Encode<'t, DB>,
    for<'t> &'t str: Encode<'t, DB> + Type<DB>,
    for<'t> Option<&'t str>: Encode<'t, DB>,
    for<'t> &'t [u8]: Encode<'t, DB> + Type<DB>,
    for<'t> Option<&'t [u8]>: Encode<'t, DB>,
{
    let micros = |instant: Option<Timestamp>| instant.map(Timestamp::unix_micros);
    let previous = record.previous.as_ref();
    query
        .bind(record.id.as_str())
        .bind(record.digest.as_bytes().as_slice())
        .bind(previous.map(|previous| previous.digest.as_bytes().as_slice()))
        .bind(micros(previous.map(|previous| previous.until)))
        .bind(record.hint.as_str())
        .bind(record.name.as_str())
        .bind(record.environment.as_str())
        .bind(record.created_at.unix_micros())
        .bind(micros(record.last_used_at))
        .bind(micros(record.expires_at))
        .bind(micros(record.revoked_at))
        .bind(record.enabled)
        .bind(record.administrator)
        .bind(json(&record.scopes))
        .bind(record.tier.as_ref().map(Tier::as_str))
        .bind(record.owner.as_deref())
        .bind(json(&record.allowed_addresses))
        .bind(json(&record.modules))
        .bind(record.revision.cast_signed())
}

fn digest(bytes: &[u8]) -> Result<KeyDigest, BoxError> {
    Ok(KeyDigest::from_bytes(bytes.try_into()?))
}

fn json(list: &impl Serialize) -> String {
    serde_json::to_string(list).expect("a list of texts is JSON")
}

fn list<T: Default + DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    match json {
        // Most lists of most keys: no parser is needed for them.
        "[]" => Ok(T::default()),
        _ => serde_json::from_str(json),
    }
}
