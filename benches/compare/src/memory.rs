//! How much memory a cached key takes, and what is counted of a caller.

use std::{env, fs, net::Ipv6Addr, process::Command};

use tower_api_key::{Clock, MemoryRateLimiter, RateLimiter, Subject, SystemClock, Tiers};

use crate::support::World;

/// The numbers that this program prints for these arguments, in a process where nothing else was
/// allocated before.
pub fn in_a_process_of_its_own<const N: usize>(arguments: [&str; 3]) -> [f64; N] {
    let itself = env::current_exe().expect("the path of this program");
    let output = Command::new(itself).args(arguments).output();
    let output = output.expect("the process runs").stdout;
    let text = String::from_utf8_lossy(&output);
    let mut numbers = text
        .split_whitespace()
        .map(|n| n.parse().expect("a number"));
    std::array::from_fn(|_| numbers.next().expect("so many numbers"))
}

/// What that process does: bytes for each key, or for each caller.
pub fn print(what: &str, count: usize) {
    let bytes = match what {
        "keys" => keys(count),
        "cells" => callers(count, |name, _| Subject::new(name)),
        _ => callers(count, |_, number| {
            let network = 0x2001_0db8_0000_0000 + number as u128;
            Subject::anonymous().with_address(Ipv6Addr::from_bits(network << 64).into())
        }),
    };
    println!("{}", bytes as f64 / count as f64);
}

fn keys(count: usize) -> u64 {
    let world = World::cold(count, |builder| builder);
    let before = resident();
    world.warm_up();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    // The list of keys whose last use waits to be written comes and goes.
    runtime
        .expect("a runtime")
        .block_on(world.layer.flush())
        .expect("flushes");
    resident() - before
}

fn callers(count: usize, subject: impl Fn(&str, usize) -> Subject<'_>) -> u64 {
    let limiter = MemoryRateLimiter::new(Tiers::default()).with_address_capacity(count);
    let now = SystemClock::new().now();
    let before = resident();
    for number in 0..count {
        limiter.check(subject(&format!("01kb{number:022}"), number), now);
    }
    resident() - before
}

/// Bytes of this process.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|number| number.parse::<u64>().ok())
        .expect("a number")
        * 1_024
}
