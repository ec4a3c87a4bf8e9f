//! How fast are the stores and the limiter in databases: `scripts/with-postgres scripts/with-redis
//! cargo bench --features sqlite,postgres,redis --bench stores`.
//!
//! Prints one table, each row with the figure to reach and the one reached. Only ratios within one
//! run count: both sides take turns, figures are medians over the rounds. With the names of sections
//! as arguments only these are measured. `KEYS` sets the size of the large stores.

#![allow(clippy::print_stdout, reason = "prints a table")]

use std::{env, time::Duration};

mod floor;
mod large;
mod look_up;
mod notify;
mod redis;
mod reserve;
mod reserve_sqlite;

#[tokio::main]
async fn main() {
    // Cargo passes arguments of its own, such as `--bench`.
    let arguments = env::args().skip(1);
    let wanted: Vec<_> = arguments.filter(|name| !name.starts_with('-')).collect();
    if let [notify::FOLLOW, schema] = wanted.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return notify::follow(schema).await;
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    println!("| figure | target | reached | |");
    println!("|---|---|---|---|");
    if is_wanted("look-up") {
        look_up::sqlite().await;
        look_up::postgres().await;
    }
    if is_wanted("reserve") {
        reserve::one_hot_license().await;
        reserve::many_tenants().await;
    }
    if is_wanted("reserve-sqlite") {
        // As tasks, which is what a service's requests are: waking one takes longer than waking main.
        let task = tokio::spawn(async {
            reserve_sqlite::by_hand().await;
            reserve_sqlite::durability().await;
        });
        task.await.expect("measured");
    }
    if is_wanted("notify") {
        notify::postgres().await;
    }
    if is_wanted("redis") {
        let task = tokio::spawn(redis::check());
        task.await.expect("measured");
    }
    if is_wanted("large") {
        large::sqlite().await;
        large::postgres().await;
    }
}

/// A row with a target that is a lower (`true`) or an upper bound.
fn row(figure: &str, at_least: bool, target: f64, reached: f64) {
    let met = match at_least {
        true => reached >= target,
        false => reached <= target,
    };
    let (sign, mark) = (
        if at_least { '≥' } else { '≤' },
        if met { '✓' } else { '✗' },
    );
    println!("| {figure} | {sign} {target} | {reached:.2} | {mark} |");
}

fn note(figure: &str, reached: impl std::fmt::Display) {
    println!("| {figure} | | {reached} | |");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The server of `scripts/with-postgres`.
fn address() -> String {
    env::var("TEST_POSTGRES").expect("run it with `scripts/with-postgres cargo bench …`")
}

/// How many keys a large store has.
fn many() -> u64 {
    env::var("KEYS").map_or(1_000_000, |keys| keys.parse().expect("KEYS is a number"))
}

/// A file that is not there yet, in a folder that the next run removes.
fn fresh_file(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("stores");
    std::fs::create_dir_all(&folder).expect("a folder");
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("{name}.db{end}")));
    }
    folder.join(format!("{name}.db"))
}

/// A name that no run before had.
fn own_name(what: &str) -> String {
    format!("{what}_{}", std::process::id())
}
