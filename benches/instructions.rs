//! How many instructions does one request take: `cargo bench --features axum --bench instructions`.
//!
//! Each scenario runs in a process of its own under callgrind, which counts within
//! `measured` only. "net" is without what the same requests cost bare. Valgrind has no SHA
//! instructions, so the digest's software form is measured by itself and taken out. With the names
//! of scenarios as arguments only these are counted: `… --bench instructions -- grant wrapped`.

#![allow(clippy::print_stdout, reason = "prints a table")]

use std::{env, hint::black_box, process::Command};

use axum::body::Body;
use http::Request;
use tower::{Layer, Service};
use tower_api_key::{ApiKeyLayerBuilder, KeyHasher};

use support::{PATH, Random, World, ample};

mod support;

fn main() {
    // Cargo passes arguments of its own, such as `--bench`.
    let arguments: Vec<_> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    match arguments.split_first() {
        Some((run, scenario)) if run == "run" => self::run(&scenario[0]),
        _ => report(&arguments),
    }
}

fn report(wanted: &[String]) {
    let (bare, router, digest) = (count("bare"), count("router"), count("digest"));
    println!("| scenario | net instructions, {digest} of the digest taken out | target |");
    println!("|---|---|---|");
    for (scenario, name, bare, target) in [
        ("grant", "service_fn, 1,000 keys", bare, Some(1_700)),
        ("quota", "service_fn, quota on", bare, Some(1_700)),
        ("large", "service_fn, 100,000 keys", bare, None),
        ("headers", "service_fn, response headers on", bare, None),
        ("wrapped", "around an axum Router", router, Some(1_200)),
        ("layered", "through `Router::layer`", router, None),
    ] {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == scenario) {
            let net = count(scenario) - bare - digest;
            let target = target.map_or("–".to_owned(), |most| {
                let mark = if net <= most { '✓' } else { '✗' };
                format!("≤ {most} {mark}")
            });
            println!("| {name} | {net} | {target} |");
        }
    }
    if wanted.is_empty() || wanted.iter().any(|wanted| wanted == "refusals") {
        let world = World::warm(1, |builder| builder);
        for (number, (name, _)) in support::refusals(&world).iter().enumerate() {
            let net = count(&format!("refusal {number}")) - bare;
            println!("| refusal: {name}, with the digest, if any | {net} | – |");
        }
    }
}

/// Per request.
fn count(scenario: &str) -> i64 {
    let itself = env::current_exe().expect("the path of this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*measured*")
        .arg(itself)
        .args(["run", scenario])
        // Room for all that a request allocates in the allocator's first list: otherwise it tidies up
        // now and then, which has nothing to do with the request at hand.
        .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=1000")
        .output()
        .expect("valgrind runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let line = log.lines().find(|line| line.contains("Collected : "));
    let number = line.and_then(|line| line.rsplit(' ').next());
    let total: i64 = number
        .and_then(|number| number.parse().ok())
        .expect("a count");
    assert!(total > 0, "nothing was counted: {log}");
    total / REQUESTS as i64
}

fn run(scenario: &str) {
    let (keys, settings): (_, fn(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder) = match scenario {
        "large" => (100_000, |builder| builder),
        "quota" => (1_000, |builder| builder.with_rate_limiter(ample())),
        "headers" => (1_000, |builder| builder.with_cache_headers(true)),
        _ => (1_000, |builder| builder),
    };
    let world = World::warm(keys, settings);
    let mut random = Random::new();
    let make = || support::request(PATH, world.keys.text(random.below(keys)));
    match scenario {
        "bare" => drive(support::nothing(), make),
        "router" => drive(support::router(), make),
        "wrapped" => drive(world.layer.layer(support::router()), make),
        "layered" => drive(support::router().layer(world.layer.clone()), make),
        "digest" => {
            let hasher = KeyHasher::sha256();
            for number in 0..REQUESTS {
                let text = black_box(world.keys.text(number % keys));
                measured(|| _ = black_box(hasher.digest(text)));
            }
        }
        scenario if scenario.starts_with("refusal") => {
            let number: usize = scenario["refusal ".len()..].parse().expect("a number");
            let (_, make) = support::refusals(&world).swap_remove(number);
            drive(world.layer.layer(support::nothing()), make);
        }
        _ => drive(world.layer.layer(support::nothing()), make),
    }
}

fn drive<S>(mut service: S, mut make: impl FnMut() -> Request<Body>)
where
    S: Service<Request<Body>, Error = std::convert::Infallible>,
{
    for _ in 0..REQUESTS {
        let request = make();
        measured(|| drop(black_box(support::call(&mut service, request))));
    }
}

/// What is counted.
#[inline(never)]
fn measured(run: impl FnOnce()) {
    run();
}

const REQUESTS: usize = 2_000;
