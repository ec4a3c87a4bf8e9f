//! A real Redis server: that of the test run, or one of a test's own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// The address of the server that all tests share.
pub fn address() -> String {
    variable("TEST_REDIS")
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!(
            "this test needs a Redis server, and {name} is not set: \
             run it with `scripts/with-redis cargo test …`"
        )
    })
}

/// A prefix that no other test has.
pub fn own_name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}:{}:{count}", std::process::id())
}

/// A server that a test may stop: it ends with it.
pub struct Server {
    directory: PathBuf,
    pub address: String,
}

impl Server {
    pub fn start() -> Self {
        let name = own_name("server").replace(':', "_");
        let directory = PathBuf::from(variable("TEST_REDIS_SERVERS")).join(name);
        let address = command("start", &directory);
        Self { directory, address }
    }

    /// Breaks off as in a crash.
    pub fn kill(&self) {
        command("kill", &self.directory);
    }

    pub fn start_again(&self) {
        assert_eq!(command("start", &self.directory), self.address);
    }

    /// Keeps its connections, and answers nothing.
    pub fn pause(&self) {
        command("pause", &self.directory);
    }

    pub fn resume(&self) {
        command("resume", &self.directory);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        command("remove", &self.directory);
    }
}

fn command(verb: &str, directory: &PathBuf) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/redis");
    let output = Command::new(script)
        .arg(verb)
        .arg(directory)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb}: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
