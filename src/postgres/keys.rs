//! The keys.

use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{
    PostgresStore, Shared,
    schema::{Schema, Statement},
};
use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    key_store::{KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore},
    sql::{
        KeyChange, at_most, bind_key, key_columns, list_after, read_key, read_usage, unavailable,
    },
    usage::UsageCount,
};

pub(super) struct Statements {
    find: Statement,
    get: Statement,
    list: Statement,
    list_descending: Statement,
    insert: Statement,
    update: Statement,
    delete: Statement,
    used: Statement,
    count: Statement,
    usage: Statement,
}

impl Statements {
    pub(super) fn new(schema: &Schema) -> Self {
        let columns = key_columns!();
        // The tenant, and one for each of the columns.
        let record: Vec<_> = (1..=1 + columns.split(',').count())
            .map(|number| format!("${number}"))
            .collect();
        let record = format!("ROW({})::{schema}.tower_key", record.join(", "));
        // In the collation "C" of the columns `lower` changes ASCII letters only.
        let list = |after: &str, order: &str| {
            Statement::new(format!(
                "SELECT {columns} FROM {schema}.tower_key WHERE tenant = $1 AND id {after} $2 \
                 AND (position($3 IN lower(name)) > 0 OR position($3 IN lower(hint)) > 0) \
                 ORDER BY {order} LIMIT $4"
            ))
        };
        Self {
            find: Statement::new(format!(
                "SELECT {columns} FROM {schema}.tower_key WHERE tenant = $1 AND id = \
                 (SELECT key FROM {schema}.tower_key_digest WHERE tenant = $1 AND digest = $2)"
            )),
            get: Statement::new(format!(
                "SELECT {columns} FROM {schema}.tower_key WHERE tenant = $1 AND id = $2"
            )),
            list: list(">", "id"),
            list_descending: list("<", "id DESC"),
            insert: Statement::new(format!(
                "SELECT outcome, number FROM {schema}.tower_key_insert({record})"
            )),
            update: Statement::new(format!(
                "SELECT outcome, number, added, used_at FROM {schema}.tower_key_update({record})"
            )),
            delete: Statement::new(format!(
                "SELECT number FROM {schema}.tower_key_delete($1, $2)"
            )),
            used: Statement::new(format!("SELECT {schema}.tower_key_used($1, $2, $3)")),
            count: Statement::new(format!(
                "SELECT {schema}.tower_key_count($1, $2, $3, $4, $5, $6)"
            )),
            usage: Statement::new(format!(
                "SELECT hour, outcome, count FROM {schema}.tower_usage \
                 WHERE tenant = $1 AND key = $2 AND hour >= $3 ORDER BY hour, outcome"
            )),
        }
    }
}

impl Shared {
    fn tell_own(&self, number: i64, key: &KeyId, added: bool) {
        let number = number.cast_unsigned();
        self.told.keys.tell_own(&KeyChange { number, key, added });
    }
}

#[async_trait]
impl KeyStore for PostgresStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        let query = self
            .0
            .ask(&self.0.server.keys.find)
            .bind(digest.as_bytes().as_slice());
        self.0.fetch(query).await?.first().map(record).transpose()
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let query = self.0.ask(&self.0.server.keys.get).bind(id.as_str());
        self.0.fetch(query).await?.first().map(record).transpose()
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        let query = self.0.ask(&self.0.server.keys.insert);
        let row = self.0.change(bind_key(query, &record)).await?;
        let number = done(&row)?.try_get("number").map_err(unavailable)?;
        self.0.tell_own(number, &record.id, true);
        Ok(())
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        let query = self.0.ask(&self.0.server.keys.update);
        let row = self.0.change(bind_key(query, &record)).await?;
        let row = done(&row)?;
        let number = row.try_get("number").map_err(unavailable)?;
        let added = row.try_get("added").map_err(unavailable)?;
        let used_at: Option<i64> = row.try_get("used_at").map_err(unavailable)?;
        self.0.tell_own(number, &record.id, added);
        record.revision += 1;
        record.last_used_at = used_at.map(Timestamp::from_unix_micros);
        Ok(record)
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        let query = self.0.ask(&self.0.server.keys.delete).bind(id.as_str());
        let row = self.0.change(query).await?;
        let number: Option<i64> = row.try_get("number").map_err(unavailable)?;
        if let Some(number) = number {
            self.0.tell_own(number, id, false);
        }
        Ok(number.is_some())
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        let text = query.contains.as_deref().unwrap_or_default();
        if text.contains('\0') {
            // No name holds what the server would not take in a question either.
            return Ok(Vec::new());
        }
        let keys = &self.0.server.keys;
        let list = match query.descending {
            false => &keys.list,
            true => &keys.list_descending,
        };
        let query = self
            .0
            .ask(list)
            .bind(list_after(query))
            .bind(text.to_ascii_lowercase())
            .bind(at_most(query.limit));
        self.0.fetch(query).await?.iter().map(record).collect()
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        let keys: Vec<_> = uses.iter().map(|(key, _)| key.as_str()).collect();
        let instants: Vec<_> = uses.iter().map(|(_, at)| at.unix_micros()).collect();
        let query = self
            .0
            .ask(&self.0.server.keys.used)
            .bind(keys)
            .bind(instants);
        self.0.change(query).await.map(drop)
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        let keys: Vec<_> = counts.iter().map(|count| count.key.as_str()).collect();
        let hours: Vec<_> = (counts.iter())
            .map(|count| count.hour.unix_micros())
            .collect();
        let outcomes: Vec<_> = (counts.iter())
            .map(|count| count.outcome.as_str())
            .collect();
        let sums: Vec<_> = (counts.iter())
            .map(|count| i64::try_from(count.count).unwrap_or(i64::MAX))
            .collect();
        let query = self
            .0
            .ask(&self.0.server.keys.count)
            .bind(keys)
            .bind(hours)
            .bind(outcomes)
            .bind(sums)
            .bind(forget_before.unix_micros());
        self.0.change(query).await.map(drop)
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        let query = self
            .0
            .ask(&self.0.server.keys.usage)
            .bind(id.as_str())
            .bind(since.unix_micros());
        let rows = self.0.fetch(query).await?;
        read_usage(id, &rows).map_err(unavailable)
    }

    fn changes(&self) -> Option<&Changes> {
        Some(self.0.told.keys.changes())
    }
}

fn record(row: &PgRow) -> Result<KeyRecord, BackendError> {
    read_key(row).map_err(unavailable)
}

/// The row of a change that took place.
fn done(row: &PgRow) -> Result<&PgRow, BackendError> {
    match row.try_get("outcome").map_err(unavailable)? {
        "done" => Ok(row),
        "duplicate id" => Err(BackendError::DuplicateId),
        "duplicate digest" => Err(BackendError::DuplicateDigest),
        "conflict" => Err(BackendError::Conflict),
        "not found" => Err(BackendError::NotFound),
        other => Err(unavailable(format!("unknown outcome {other:?}"))),
    }
}
