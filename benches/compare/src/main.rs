//! Compares the layer with its pieces, with peers built by hand, and with itself at other sizes.
//!
//! ```sh
//! cargo run --release --manifest-path benches/compare/Cargo.toml --target-dir target [SECTION…]
//! ```
//!
//! Prints one table, each row with the figure to reach and the one reached. Only ratios within one
//! run count: lanes take turns, figures are medians over the rounds, and "net" is without what the
//! same inner service takes bare. `ROUNDS` sets the number of rounds, `KEYS` the largest number of
//! keys for growth, `FLOOD` how many requests a flood has.

use std::{env, thread};

use allocation_counter::measure;
use tower::Layer;
use tower_api_key::ApiKeyLayerBuilder;

use lanes::{Times, median, race, ratio, requests};
use support::{Admitting, PATH, Random, World, ample, call, nothing, request, router};

mod flood;
mod lanes;
mod loopback;
mod memory;
mod peers;
mod pieces;
mod quota;
#[path = "../../support/mod.rs"]
mod support;
mod threads;
mod tokens;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match &arguments[..] {
        [mode, server] if mode == "serve" => return loopback::serve(server),
        [mode, what, count] if mode == "resident" => {
            return memory::print(what, count.parse().expect("a count"));
        }
        [mode, kind, count] if mode == "flood" => {
            return flood::print(kind, count.parse().expect("a count"));
        }
        _ => {}
    }
    let sections: [(&str, fn()); 11] = [
        ("pieces", pieces_and_peers),
        ("allocations", allocations),
        ("growth", growth),
        ("threads", two_threads),
        ("memory", memory),
        ("quota", quota::report),
        ("tokens", tokens::report),
        ("flood", flood::report),
        ("refusals", refusals),
        ("loopback", over_loopback),
        ("cost", cost_of_parts),
    ];
    println!("| row | figure | target | reached | |");
    println!("|---|---|---|---|---|");
    for (name, section) in sections {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            section();
        }
    }
}

/// A row with a target that is a lower (`true`) or an upper bound.
fn row(number: &str, figure: &str, at_least: bool, target: f64, reached: f64) {
    let met = if at_least {
        reached >= target
    } else {
        reached <= target
    };
    let (sign, mark) = (
        if at_least { '≥' } else { '≤' },
        if met { '✓' } else { '✗' },
    );
    let digits = if reached.fract() == 0.0 || reached >= 100.0 {
        0
    } else {
        2
    };
    println!("| {number} | {figure} | {sign} {target} | {reached:.digits$} | {mark} |");
}

fn note(number: &str, figure: &str, reached: impl std::fmt::Display) {
    println!("| {number} | {figure} | | {reached} | |");
}

fn rounds() -> usize {
    env::var("ROUNDS").map_or(301, |rounds| rounds.parse().expect("ROUNDS is a number"))
}

/// All that a warm request goes through; the limiter counts everybody and refuses nobody.
fn full(builder: ApiKeyLayerBuilder) -> ApiKeyLayerBuilder {
    builder.with_rate_limiter(ample())
}

/// The same, but nothing is counted.
fn uncounted(builder: ApiKeyLayerBuilder) -> ApiKeyLayerBuilder {
    builder.with_rate_limiter(Admitting)
}

/// Requests with keys of `world`, each as likely.
fn uniform(world: &World) -> impl FnMut() -> http::Request<axum::body::Body> + '_ {
    let mut random = Random::new();
    move || request(PATH, world.keys.text(random.below(world.keys.count())))
}

fn pieces_and_peers() {
    for (keys, most) in [(1_000, 1.25), (100_000, 2.0)] {
        let world = World::warm(keys, full);
        let open = World::warm(keys, |builder| builder);
        let asked = World::warm(keys, uncounted);
        let mut lanes = pieces::lanes(&world.keys);
        let hand = peers::by_hand(&world.keys);
        let quota = peers::by_hand_with_quota(&world.keys);
        let known = peers::require_authorization(&world.keys, nothing());
        lanes.push(requests("bare", nothing(), uniform(&world)));
        lanes.push(requests(
            "guarded",
            world.layer.layer(nothing()),
            uniform(&world),
        ));
        lanes.push(requests(
            "guarded, no quota",
            open.layer.layer(nothing()),
            uniform(&open),
        ));
        lanes.push(requests(
            "guarded, not counted",
            asked.layer.layer(nothing()),
            uniform(&asked),
        ));
        lanes.push(requests("known", known, uniform(&world)));
        lanes.push(requests("router", router(), uniform(&world)));
        lanes.push(requests(
            "wrapped",
            world.layer.layer(router()),
            uniform(&world),
        ));
        lanes.push(requests(
            "layered",
            router().layer(world.layer.clone()),
            uniform(&world),
        ));
        lanes.push(requests("by hand", hand, uniform(&world)));
        lanes.push(requests("by hand, quota", quota, uniform(&world)));
        let times = race(lanes, rounds(), 1_000);

        let piece = |name| median(times.net(name, pieces::EMPTY));
        let sum: f64 = pieces::NAMES.iter().map(|name| piece(name)).sum();
        let pieces: Vec<_> = pieces::NAMES
            .iter()
            .map(|name| format!("{name} {:.0}", piece(name)))
            .collect();
        let net = |name| median(times.net(name, "bare"));
        note(
            "1",
            &format!("pieces at {keys} keys, ns"),
            format!("{} = {sum:.0}", pieces.join(", ")),
        );
        note(
            "1",
            &format!("net ns at {keys} keys"),
            format!("{:.0}", net("guarded")),
        );
        row(
            "1",
            &format!("net against the pieces, {keys} keys"),
            false,
            most,
            net("guarded") / sum,
        );
        note(
            "1",
            "the same without a limiter; with one that counts nothing",
            ["guarded, no quota", "guarded, not counted"]
                .map(|lane| format!("{:.2}", net(lane) / sum))
                .join(", "),
        );
        peers_rows(&times, keys);
    }
}

fn peers_rows(times: &Times, keys: usize) {
    let wrapped = times.net("wrapped", "router");
    let layered = times.net("layered", "router");
    let by_hand = times.net("by hand", "router");
    let quota = times.net("by hand, quota", "router");
    note(
        "2",
        &format!("net ns at {keys} keys: wrapped, layered, by hand, + tower_governor"),
        [&wrapped, &layered, &by_hand, &quota]
            .map(|net| format!("{:.0}", median(net.clone())))
            .join(", "),
    );
    let at = |figure: &str| format!("{figure}, {keys} keys");
    row(
        "2",
        &at("`from_fn` by hand against the layer around a Router"),
        true,
        4.5,
        ratio(&by_hand, &wrapped),
    );
    row(
        "2",
        &at("the same with tower_governor"),
        true,
        6.0,
        ratio(&quota, &wrapped),
    );
    note(
        "2",
        &at("both against `Router::layer`"),
        format!(
            "{:.2}, {:.2}",
            ratio(&by_hand, &layered),
            ratio(&quota, &layered)
        ),
    );
    let (guarded, known) = (times.net("guarded", "bare"), times.net("known", "bare"));
    note(
        "3",
        &at("net ns of AsyncRequireAuthorization + dashmap"),
        format!("{:.0}", median(known.clone())),
    );
    row(
        "3",
        &at("against AsyncRequireAuthorization, which checks the key only"),
        false,
        1.0,
        ratio(&guarded, &known),
    );
}

fn allocations() {
    let world = World::warm(1_000, full);
    let marked = World::warm(1_000, |builder| {
        full(builder)
            .with_cache_headers(true)
            .with_rate_limit_headers(true)
    });
    let count = |lane: &str| {
        let make = || {
            request(
                PATH,
                if lane == "marked" {
                    marked.keys.text(0)
                } else {
                    world.keys.text(0)
                },
            )
        };
        let counted = |mut run: Box<dyn FnMut(http::Request<axum::body::Body>)>| {
            run(make());
            let request = make();
            measure(|| run(request)).count_total as f64
        };
        fn boxed<S>(mut service: S) -> Box<dyn FnMut(http::Request<axum::body::Body>)>
        where
            S: tower::Service<http::Request<axum::body::Body>, Error = std::convert::Infallible>
                + 'static,
        {
            Box::new(move |request| drop(call(&mut service, request)))
        }
        counted(match lane {
            "bare" => boxed(nothing()),
            "guarded" => boxed(world.layer.layer(nothing())),
            "marked" => boxed(marked.layer.layer(nothing())),
            "router" => boxed(router()),
            "wrapped" => boxed(world.layer.layer(router())),
            "layered" => boxed(router().layer(world.layer.clone())),
            "by hand" => boxed(peers::by_hand(&world.keys)),
            "by hand, quota" => boxed(peers::by_hand_with_quota(&world.keys)),
            _ => boxed(peers::require_authorization(&world.keys, nothing())),
        })
    };
    let (bare, routed) = (count("bare"), count("router"));
    row(
        "4",
        "allocations added to an empty service",
        false,
        3.0,
        count("guarded") - bare,
    );
    row(
        "4",
        "allocations added around axum",
        false,
        2.0,
        count("wrapped") - routed,
    );
    row(
        "4",
        "allocations added through `Router::layer`",
        false,
        8.0,
        count("layered") - routed,
    );
    row(
        "4",
        "more with all response headers",
        false,
        6.0,
        count("marked") - count("guarded"),
    );
    note(
        "4",
        "by hand; with tower_governor; AsyncRequireAuthorization",
        format!(
            "{}, {}, {}",
            count("by hand") - routed,
            count("by hand, quota") - routed,
            count("known") - bare
        ),
    );
    row(
        "5",
        "inner clones and boxed futures on a grant",
        false,
        0.0,
        clones(&world) as f64,
    );
}

/// How often a warm request clones the service inside.
fn clones(world: &World) -> usize {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    struct Counted<S>(S, Arc<AtomicUsize>);
    impl<S: Clone> Clone for Counted<S> {
        fn clone(&self) -> Self {
            self.1.fetch_add(1, Ordering::Relaxed);
            Self(self.0.clone(), Arc::clone(&self.1))
        }
    }
    impl<S: tower::Service<R>, R> tower::Service<R> for Counted<S> {
        type Response = S::Response;
        type Error = S::Error;
        type Future = S::Future;
        fn poll_ready(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), S::Error>> {
            self.0.poll_ready(cx)
        }
        fn call(&mut self, request: R) -> S::Future {
            self.0.call(request)
        }
    }
    let clones = Arc::new(AtomicUsize::new(0));
    let mut service = world.layer.layer(Counted(nothing(), Arc::clone(&clones)));
    drop(call(&mut service, request(PATH, world.keys.text(0))));
    clones.load(Ordering::Relaxed)
}

fn growth() {
    let largest =
        env::var("KEYS").map_or(1_000_000, |keys| keys.parse().expect("KEYS is a number"));
    let sizes = [1_000, 100_000, largest];
    let worlds = sizes.map(|keys| World::warm(keys, full));
    let mut lanes = vec![requests("bare", nothing(), uniform(&worlds[0]))];
    for (world, [uniform_name, zipf_name]) in worlds.iter().zip(NAMES) {
        lanes.push(requests(
            uniform_name,
            world.layer.layer(nothing()),
            uniform(world),
        ));
        let mut random = Random::new();
        let zipf = move || request(PATH, world.keys.text(random.zipf(world.keys.count())));
        lanes.push(requests(zipf_name, world.layer.layer(nothing()), zipf));
    }
    let times = race(lanes, rounds(), 1_000);
    let net = |name| times.net(name, "bare");
    for (place, most, kind) in [(1, 3.6, "Zipf"), (0, 4.5, "uniform")] {
        let nanos: Vec<_> = NAMES
            .iter()
            .map(|names| format!("{:.0}", median(net(names[place]))))
            .collect();
        let sizes = sizes.map(|size| size.to_string()).join(", ");
        note(
            "7",
            &format!("net ns at {sizes} keys, {kind}"),
            nanos.join(", "),
        );
        let grown = ratio(&net(NAMES[2][place]), &net(NAMES[0][place]));
        row(
            "7",
            &format!("growth from 1,000 to {largest} keys, {kind}"),
            false,
            most,
            grown,
        );
    }
    const NAMES: [[&str; 2]; 3] = [
        ["uniform, small", "zipf, small"],
        ["uniform, middle", "zipf, middle"],
        ["uniform, large", "zipf, large"],
    ];
}

fn two_threads() {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return note("8", "two threads against one", "only one core here");
    }
    let world = World::warm(100_000, full);
    let hand = peers::by_hand(&world.keys);
    let mut figures = [const { Vec::new() }; 4];
    for _ in 0..rounds().min(51) {
        let guarded = threads::speed_up(&world.keys, world.layer.layer(nothing()));
        let alone = threads::speed_up(&world.keys, nothing());
        figures[0].push(guarded);
        figures[1].push(alone);
        figures[2].push(guarded / alone);
        figures[3].push(threads::speed_up(&world.keys, hand.clone()));
    }
    let [guarded, alone, against, hand] = figures.map(median);
    row("8", "two threads against one", true, 1.85, guarded);
    row(
        "8",
        "that against a loop without shared state",
        true,
        0.95,
        against,
    );
    note("8", "that loop; by hand", format!("{alone:.2}, {hand:.2}"));
}

fn memory() {
    for (mode, figure, most) in [
        ("keys", "cached keys", 220.0),
        ("cells", "subjects with a quota in use", 160.0),
        ("addresses", "addresses with a quota in use", 160.0),
    ] {
        let figure = format!("resident bytes for each of 1,000,000 {figure}");
        let [bytes] = memory::in_a_process_of_its_own(["resident", mode, "1000000"]);
        row("9", &figure, false, most, bytes);
    }
}

fn refusals() {
    let world = World::warm(1_000, full);
    let made = support::refusals(&world);
    let mut lanes = vec![
        requests("bare", nothing(), uniform(&world)),
        requests("grant", world.layer.layer(nothing()), uniform(&world)),
    ];
    for (name, make) in &made {
        lanes.push(requests(name, world.layer.layer(nothing()), make));
    }
    let times = race(lanes, rounds(), 1_000);
    let grant = times.net("grant", "bare");
    note(
        "11",
        "net ns of a grant",
        format!("{:.0}", median(grant.clone())),
    );
    for (name, _) in &made {
        row(
            "11",
            &format!("{name} against a grant"),
            false,
            2.0,
            ratio(&times.net(name, "bare"), &grant),
        );
    }
}

fn over_loopback() {
    let mut servers = loopback::SERVERS.map(loopback::Server::start);
    let mut rates = [const { Vec::new() }; loopback::SERVERS.len()];
    for round in 0..=rounds().min(25) {
        for (server, rates) in servers.iter_mut().zip(&mut rates) {
            let rate = server.rate(4_000);
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let [bare, wrapped, layered, hand, quota] = &rates;
    note(
        "10",
        "requests a second over loopback, bare",
        format!("{:.0}", median(bare.clone())),
    );
    row(
        "10",
        "wrapped whole against bare",
        true,
        0.9,
        ratio(wrapped, bare),
    );
    note(
        "10",
        "through `Router::layer`; by hand; + tower_governor, against bare",
        [layered, hand, quota]
            .map(|rates| format!("{:.2}", ratio(rates, bare)))
            .join(", "),
    );
    row(
        "10",
        "wrapped whole against by hand",
        true,
        1.3,
        ratio(wrapped, hand),
    );
    note(
        "10",
        "wrapped whole against by hand + tower_governor",
        format!("{:.2}", ratio(wrapped, quota)),
    );
}

/// What the parts of the layer cost, by leaving one out at a time.
fn cost_of_parts() {
    let whole = World::warm(1_000, |builder| builder);
    let kept = World::warm(1_000, |builder| builder.with_credential_kept(true));
    let marked = World::warm(1_000, |builder| builder.with_cache_headers(true));
    let lanes = vec![
        requests("bare", nothing(), uniform(&whole)),
        requests("whole", whole.layer.layer(nothing()), uniform(&whole)),
        requests("kept", kept.layer.layer(nothing()), uniform(&kept)),
        requests("marked", marked.layer.layer(nothing()), uniform(&marked)),
    ];
    let times = race(lanes, rounds(), 1_000);
    let net = |name| format!("{:.0}", median(times.net(name, "bare")));
    note(
        "–",
        "net ns; credential kept; response headers on",
        ["whole", "kept", "marked"].map(net).join(", "),
    );
}
