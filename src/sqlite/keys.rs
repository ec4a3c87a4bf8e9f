//! The key store.

use async_trait::async_trait;
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{SqliteStore, error::write_failed};
use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    key_store::{KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore},
    sql::{
        KEPT_CHANGES, KeyChange, at_most, bind_key, key_columns, list_after, read_key, read_usage,
    },
    usage::UsageCount,
};

#[async_trait]
impl KeyStore for SqliteStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        let found = sqlx::query(FIND).bind(digest.as_bytes().as_slice());
        let row = found.fetch_optional(&self.0.readers).await;
        row.map_err(BackendError::unavailable)?
            .map(record)
            .transpose()
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let row = sqlx::query(GET).bind(id.as_str());
        let row = row.fetch_optional(&self.0.readers).await;
        row.map_err(BackendError::unavailable)?
            .map(record)
            .transpose()
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        let mut change = self.change(&record.id).await?;
        let put = bind_key(sqlx::query(INSERT), &record).execute(&mut *change.transaction);
        put.await
            .map_err(|error| taken(error, BackendError::DuplicateId))?;
        change.claim(&digests(&record)).await?;
        change.commit(true).await
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        let mut change = self.change(&record.id).await?;
        let stored = sqlx::query(GET).bind(record.id.as_str());
        let stored = stored.fetch_optional(&mut *change.transaction).await;
        let stored = match stored.map_err(write_failed)? {
            Some(row) => self::record(row)?,
            None => return Err(BackendError::NotFound),
        };
        if stored.revision != record.revision {
            return Err(BackendError::Conflict);
        }
        record.revision = record.revision.wrapping_add(1);
        record.last_used_at = stored.last_used_at;
        let (old, new) = (digests(&stored), digests(&record));
        let brought = without(&new, &old);
        change.give_up(&without(&old, &new)).await?;
        change.claim(&brought).await?;
        let put = bind_key(sqlx::query(REPLACE), &record).execute(&mut *change.transaction);
        put.await.map_err(write_failed)?;
        change.commit(!brought.is_empty()).await?;
        Ok(record)
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        let mut change = self.change(id).await?;
        let deleted = sqlx::query(DELETE).bind(id.as_str());
        let deleted = deleted.fetch_optional(&mut *change.transaction).await;
        let Some(row) = deleted.map_err(write_failed)? else {
            return Ok(false);
        };
        change.give_up(&digests(&record(row)?)).await?;
        let forget = sqlx::query(FORGET_KEY).bind(id.as_str());
        let forgotten = forget.execute(&mut *change.transaction).await;
        forgotten.map_err(write_failed)?;
        change.commit(false).await?;
        Ok(true)
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        let list = match query.descending {
            false => LIST,
            true => LIST_DESCENDING,
        };
        let rows = sqlx::query(list)
            .bind(list_after(query))
            .bind(query.contains.as_deref().map(str::to_ascii_lowercase))
            .bind(at_most(query.limit));
        let rows = rows.fetch_all(&self.0.readers).await;
        let rows = rows.map_err(BackendError::unavailable)?;
        rows.into_iter().map(record).collect()
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        let uses: Vec<_> = uses.iter().map(|(id, at)| (id, at.unix_micros())).collect();
        let uses = serde_json::to_string(&uses).expect("texts and numbers are JSON");
        let mut change = self.0.write().await?;
        let used = sqlx::query(USED).bind(uses).execute(&mut *change);
        used.await.map_err(write_failed)?;
        change.commit().await.map_err(write_failed)
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        let rows: Vec<_> = counts
            .iter()
            .map(|count| {
                let sum = i64::try_from(count.count).unwrap_or(i64::MAX);
                (&count.key, count.hour.unix_micros(), count.outcome, sum)
            })
            .collect();
        let rows = serde_json::to_string(&rows).expect("texts and numbers are JSON");
        let mut change = self.0.write().await?;
        let count = sqlx::query(COUNT).bind(rows).execute(&mut *change);
        count.await.map_err(write_failed)?;
        let forget = sqlx::query(FORGET_HOURS).bind(forget_before.unix_micros());
        let forgotten = forget.execute(&mut *change).await;
        forgotten.map_err(write_failed)?;
        change.commit().await.map_err(write_failed)
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        let counts = sqlx::query(USAGE)
            .bind(id.as_str())
            .bind(since.unix_micros());
        let rows = counts.fetch_all(&self.0.readers).await;
        let rows = rows.map_err(BackendError::unavailable)?;
        read_usage(id, &rows).map_err(BackendError::unavailable)
    }

    fn changes(&self) -> Option<&Changes> {
        Some(self.0.told.keys.changes())
    }
}

/// A change of one key, under the number it will have among all changes of keys.
struct Change<'a> {
    store: &'a SqliteStore,
    transaction: Transaction<'static, Sqlite>,
    number: u64,
    key: KeyId,
}

impl SqliteStore {
    async fn change(&self, key: &KeyId) -> Result<Change<'_>, BackendError> {
        let mut transaction = self.0.write().await?;
        let number = sqlx::query_scalar::<_, i64>(NUMBER).fetch_one(&mut *transaction);
        Ok(Change {
            number: number.await.map_err(write_failed)?.cast_unsigned(),
            store: self,
            transaction,
            key: key.clone(),
        })
    }
}

impl Change<'_> {
    async fn claim(&mut self, digests: &[KeyDigest]) -> Result<(), BackendError> {
        for digest in digests {
            let claim = sqlx::query("insert into tower_key_digest (digest, key) values ($1, $2)")
                .bind(digest.as_bytes().as_slice())
                .bind(self.key.as_str());
            let claimed = claim.execute(&mut *self.transaction).await;
            claimed.map_err(|error| taken(error, BackendError::DuplicateDigest))?;
        }
        Ok(())
    }

    async fn give_up(&mut self, digests: &[KeyDigest]) -> Result<(), BackendError> {
        for digest in digests {
            let give_up = sqlx::query("delete from tower_key_digest where digest = $1")
                .bind(digest.as_bytes().as_slice());
            let given_up = give_up.execute(&mut *self.transaction).await;
            given_up.map_err(write_failed)?;
        }
        Ok(())
    }

    /// `added`: whether a digest can be found from now on that could not before.
    async fn commit(mut self, added: bool) -> Result<(), BackendError> {
        let note = "insert into tower_key_change (seq, key, added) values ($1, $2, $3)";
        let note = sqlx::query(note)
            .bind(self.number.cast_signed())
            .bind(self.key.as_str())
            .bind(added);
        let noted = note.execute(&mut *self.transaction).await;
        noted.map_err(write_failed)?;
        if self.number.is_multiple_of(KEPT_CHANGES) {
            let forget = sqlx::query("delete from tower_key_change where seq <= $1")
                .bind((self.number - KEPT_CHANGES).cast_signed());
            let forgotten = forget.execute(&mut *self.transaction).await;
            forgotten.map_err(write_failed)?;
        }
        self.transaction.commit().await.map_err(write_failed)?;
        self.store.0.told.keys.tell_own(&KeyChange {
            number: self.number,
            key: self.key,
            added,
        });
        Ok(())
    }
}

fn record(row: SqliteRow) -> Result<KeyRecord, BackendError> {
    read_key(&row).map_err(BackendError::unavailable)
}

/// The digests that a key has, each once.
fn digests(record: &KeyRecord) -> Vec<KeyDigest> {
    let previous = record.previous.as_ref().map(|previous| previous.digest);
    let previous = previous.filter(|previous| *previous != record.digest);
    [record.digest].into_iter().chain(previous).collect()
}

/// Those of `digests` that are not among `others`.
fn without(digests: &[KeyDigest], others: &[KeyDigest]) -> Vec<KeyDigest> {
    let only = digests.iter().filter(|digest| !others.contains(digest));
    only.copied().collect()
}

/// `duplicate` where another row has the same primary key.
fn taken(error: sqlx::Error, duplicate: BackendError) -> BackendError {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => duplicate,
        _ => write_failed(error),
    }
}

const FIND: &str = concat!(
    "select ",
    key_columns!(),
    " from tower_key where id = (select key from tower_key_digest where digest = $1)"
);

const GET: &str = concat!("select ", key_columns!(), " from tower_key where id = $1");

// SQLite lowers ASCII letters and no others, as the contract has it.
macro_rules! list {
    ($after:literal, $order:literal) => {
        concat!(
            "select ",
            key_columns!(),
            " from tower_key where id ",
            $after,
            " $1 and ($2 is null or instr(lower(name), $2) > 0 or instr(lower(hint), $2) > 0)
             order by ",
            $order,
            " limit $3"
        )
    };
}

const LIST: &str = list!(">", "id");
const LIST_DESCENDING: &str = list!("<", "id desc");

const NUMBER: &str = "update tower_tenant set key_seq = key_seq + 1 returning key_seq";

macro_rules! put {
    ($how:literal) => {
        concat!(
            $how,
            " into tower_key (",
            key_columns!(),
            ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, $19)"
        )
    };
}

const INSERT: &str = put!("insert");
const REPLACE: &str = put!("replace");

const DELETE: &str = concat!(
    "delete from tower_key where id = $1 returning ",
    key_columns!()
);

// One statement for a batch of any length.
const USED: &str = "
    update tower_key set last_used_at = used.at
    from (select value ->> 0 as id, max(value ->> 1) as at from json_each($1) group by 1) as used
    where tower_key.id = used.id and (last_used_at is null or last_used_at < used.at)";

// A sum stops at the greatest number there is, where SQLite would go on with a fraction.
const COUNT: &str = "
    insert into tower_usage (key, hour, outcome, count)
    select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each($1)
    where exists (select 1 from tower_key where tower_key.id = value ->> 0)
    on conflict (key, hour, outcome)
    do update set count = count + min(excluded.count, 9223372036854775807 - count)";

const FORGET_HOURS: &str = "delete from tower_usage where hour < $1";

const FORGET_KEY: &str = "delete from tower_usage where key = $1";

const USAGE: &str = "
    select hour, outcome, count from tower_usage where key = $1 and hour >= $2
    order by hour, outcome";
