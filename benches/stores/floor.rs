//! What the server itself can do: one statement that checks and reserves, as unsafe as it is short.

use std::{path::PathBuf, process::Command};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{address, own_name};

pub(crate) struct Floor {
    script: PathBuf,
}

impl Floor {
    /// A table of its own, for reservations spread over so many tenants.
    pub(crate) async fn new(tenants: usize) -> Self {
        let schema = own_name("floor");
        let mut connection = PgConnection::connect(&address()).await.expect("connects");
        let tables = format!(
            "CREATE SCHEMA {schema};
             CREATE TABLE {schema}.seat (tenant int, holder bigint, PRIMARY KEY (tenant, holder));
             CREATE SEQUENCE {schema}.holder;"
        );
        let tables = sqlx::raw_sql(AssertSqlSafe(tables));
        tables.execute(&mut connection).await.expect("tables");
        let statement = format!(
            "\\set tenant random(1, {tenants})\n\
             INSERT INTO {schema}.seat SELECT :tenant, nextval('{schema}.holder') \
             WHERE (SELECT count(*) FROM {schema}.seat WHERE tenant = :tenant) < 1000000;\n"
        );
        let script = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("floor.sql");
        std::fs::write(&script, statement).expect("a script");
        Self { script }
    }

    /// Reservations in a second by `pgbench`, with so many clients; nothing where it is not here.
    pub(crate) fn rate(&self, clients: usize, seconds: u64) -> Option<f64> {
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={clients}"))
            .arg(format!("--time={seconds}"))
            .arg("--file")
            .arg(&self.script)
            .arg(address())
            .output()
            .ok()?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))?;
        line.split(' ').next()?.parse().ok()
    }
}
