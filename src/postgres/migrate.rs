//! The tables, brought up to the version of this crate.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use super::schema::Schema;
use crate::open_error::OpenErrorKind;

/// The texts that lead from each version to the next; tables that are not there have version 0.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/postgres/0001.sql")];

const KNOWN: i64 = MIGRATIONS.len() as i64;

/// What is known of a tenant when its store is opened.
pub(super) struct Tenant {
    /// How many changes of keys there were.
    pub(super) key_seq: u64,
    /// How many events of the ledger.
    pub(super) seq: u64,
}

/// Why the tables cannot be used.
pub(super) enum Problem {
    Sql(sqlx::Error),
    /// The default isolation of transactions is another one.
    Isolation(String),
    Other(OpenErrorKind),
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Makes what is missing of schema, tables and tenant. Where nothing is, nothing is written, so a
/// user who may not create anything can open what is there.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    schema: &Schema,
    tenant: &str,
) -> Result<Tenant, Problem> {
    if version(connection, schema).await? < KNOWN {
        migrate(connection, schema).await?;
    }
    if let Some(tenant) = read_tenant(connection, schema, tenant).await? {
        return Ok(tenant);
    }
    let insert =
        format!("INSERT INTO {schema}.tower_tenant (tenant) VALUES ($1) ON CONFLICT DO NOTHING");
    sqlx::query(AssertSqlSafe(insert))
        .bind(tenant)
        .execute(&mut *connection)
        .await?;
    let tenant = read_tenant(connection, schema, tenant).await?;
    tenant.ok_or(Problem::Sql(sqlx::Error::RowNotFound))
}

async fn migrate(connection: &mut PgConnection, schema: &Schema) -> Result<(), Problem> {
    // Whoever waits for another's migration must see its outcome afterwards.
    let mut transaction = connection
        .begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tower_api_key ' || $1, 0))")
        .bind(schema.name())
        .execute(&mut *transaction)
        .await?;
    let found = version(&mut transaction, schema).await?;
    if found == KNOWN {
        return Ok(());
    }
    // `IF NOT EXISTS` asks for the right to create one also where one exists.
    let there = sqlx::query("SELECT FROM pg_namespace WHERE nspname = $1")
        .bind(schema.name())
        .fetch_optional(&mut *transaction)
        .await?;
    if there.is_none() {
        let create = format!("CREATE SCHEMA {schema}");
        raw_sql(AssertSqlSafe(create))
            .execute(&mut *transaction)
            .await?;
    }
    // The functions keep this path. Otherwise a temporary table of the caller's would come first.
    let path = format!("SET LOCAL search_path TO {schema}, pg_temp");
    raw_sql(AssertSqlSafe(path))
        .execute(&mut *transaction)
        .await?;
    for migration in &MIGRATIONS[usize::try_from(found).unwrap_or_default()..] {
        raw_sql(*migration).execute(&mut *transaction).await?;
    }
    sqlx::query("DELETE FROM tower_schema")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO tower_schema (version) VALUES ($1)")
        .bind(KNOWN)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// The version of the tables; an error where it is later than what this crate knows.
async fn version(connection: &mut PgConnection, schema: &Schema) -> Result<i64, Problem> {
    // Not by `to_regclass`: inside a transaction it does not see what was committed since it was
    // asked the last time, in vain.
    let there = sqlx::query(
        "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = 'tower_schema'",
    )
    .bind(schema.name())
    .fetch_optional(&mut *connection)
    .await?;
    if there.is_none() {
        return Ok(0);
    }
    let found: i64 = sqlx::query(AssertSqlSafe(format!(
        "SELECT version FROM {schema}.tower_schema"
    )))
    .fetch_one(&mut *connection)
    .await?
    .try_get(0)?;
    match found {
        0..=KNOWN => Ok(found),
        _ => Err(Problem::Other(OpenErrorKind::Newer {
            found,
            known: KNOWN,
        })),
    }
}

async fn read_tenant(
    connection: &mut PgConnection,
    schema: &Schema,
    tenant: &str,
) -> Result<Option<Tenant>, sqlx::Error> {
    let select = format!("SELECT key_seq, seq FROM {schema}.tower_tenant WHERE tenant = $1");
    let row = sqlx::query(AssertSqlSafe(select))
        .bind(tenant)
        .fetch_optional(&mut *connection)
        .await?;
    let read = row.map(|row| {
        Ok::<_, sqlx::Error>(Tenant {
            key_seq: row.try_get::<i64, _>(0)?.cast_unsigned(),
            seq: row.try_get::<i64, _>(1)?.cast_unsigned(),
        })
    });
    read.transpose()
}
