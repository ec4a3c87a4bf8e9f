//! What the server itself can do: one statement that checks and reserves, as unsafe as it is short.

use std::{path::PathBuf, process::Command};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{address, own_name};

/// Reservations in a second by `pgbench`, spread over so many tenants, with so many clients.
pub(crate) async fn pgbench(tenants: usize, clients: usize) -> Option<f64> {
    let schema = own_name("floor");
    let mut connection = PgConnection::connect(&address()).await.expect("connects");
    let tables = format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.seat (tenant int, holder bigint, PRIMARY KEY (tenant, holder));
         CREATE SEQUENCE {schema}.holder;"
    );
    let tables = sqlx::raw_sql(AssertSqlSafe(tables));
    tables.execute(&mut connection).await.expect("tables");
    let script = format!(
        "\\set tenant random(1, {tenants})\n\
         INSERT INTO {schema}.seat SELECT :tenant, nextval('{schema}.holder') \
         WHERE (SELECT count(*) FROM {schema}.seat WHERE tenant = :tenant) < 1000000;\n"
    );
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("floor.sql");
    std::fs::write(&path, script).expect("a script");
    let output = Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--time=5", "--jobs=2"])
        .arg(format!("--client={clients}"))
        .arg("--file")
        .arg(&path)
        .arg(address())
        .output()
        .ok()?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}
