//! How much memory a cached key takes.

use std::{env, fs, process::Command};

use crate::support::World;

/// Bytes for each key, measured where nothing else was allocated before.
pub fn in_a_process_of_its_own(keys: usize) -> f64 {
    let itself = env::current_exe().expect("the path of this program");
    let output = Command::new(itself)
        .args(["resident", &keys.to_string()])
        .output();
    let output = output.expect("the process runs").stdout;
    String::from_utf8_lossy(&output)
        .trim()
        .parse()
        .expect("a number")
}

/// What that process does.
pub fn print(keys: usize) {
    let world = World::cold(keys, |builder| builder);
    let before = resident();
    world.warm_up();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    // The list of keys whose last use waits to be written comes and goes.
    runtime
        .expect("a runtime")
        .block_on(world.layer.flush())
        .expect("flushes");
    println!("{}", (resident() - before) as f64 / keys as f64);
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|number| number.parse::<u64>().ok())
        .expect("a number")
        * 1_024
}
