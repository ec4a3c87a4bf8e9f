//! A real PostgreSQL server: that of the test run, or one of a test's own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::Connection;

/// The address of the server that all tests share.
pub fn address() -> String {
    variable("TEST_POSTGRES")
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!(
            "this test needs a PostgreSQL server, and {name} is not set: \
             run it with `scripts/with-postgres cargo test …`"
        )
    })
}

/// The shared server for another user.
pub fn address_of(user: &str, password: &str) -> String {
    let address = address();
    let (_, place) = address.split_once('@').unwrap();
    format!("postgres://{user}:{password}@{place}")
}

/// The shared server through another port.
pub fn address_through(port: u16) -> String {
    through(&address(), port)
}

/// A server's address through another port.
pub fn through(address: &str, port: u16) -> String {
    let (before, after) = address.split_once("@127.0.0.1:").unwrap();
    let (_, database) = after.split_once('/').unwrap();
    format!("{before}@127.0.0.1:{port}/{database}")
}

pub fn port() -> u16 {
    port_of(&address())
}

pub fn port_of(address: &str) -> u16 {
    let (_, after) = address.split_once("@127.0.0.1:").unwrap();
    after.split('/').next().unwrap().parse().unwrap()
}

/// A name that no other test has, for a schema, a tenant or a role.
pub fn own_name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}_{}_{count}", std::process::id())
}

/// Executes statements as the administrator of the shared server.
pub async fn execute(statements: &str) {
    let mut connection = sqlx::PgConnection::connect(&address()).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
}

/// The number that the shared server answers to a question.
pub async fn ask(question: &str) -> i64 {
    let mut connection = sqlx::PgConnection::connect(&address()).await.unwrap();
    sqlx::query_scalar(sqlx::AssertSqlSafe(question.to_owned()))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// A server that a test may stop: it ends with it.
pub struct Server {
    directory: PathBuf,
    pub address: String,
}

impl Server {
    pub fn start() -> Self {
        let directory = PathBuf::from(variable("TEST_POSTGRES_SERVERS")).join(own_name("server"));
        let address = command("start", &directory);
        Self { directory, address }
    }

    /// Breaks off as in a crash.
    pub fn kill(&self) {
        command("kill", &self.directory);
    }

    pub fn stop(&self) {
        command("stop", &self.directory);
    }

    pub fn start_again(&self) {
        assert_eq!(command("start", &self.directory), self.address);
    }

    /// From its next start on the server only repeats what another one does, as it believes.
    pub fn make_standby(&self) {
        std::fs::write(self.directory.join("data/standby.signal"), "").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        command("remove", &self.directory);
    }
}

fn command(verb: &str, directory: &PathBuf) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");
    let output = Command::new(script)
        .arg(verb)
        .arg(directory)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb}: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
