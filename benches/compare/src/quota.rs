//! What counting one request costs, beyond finding out whose it is; and governor beside it.
//!
//! Each check has a subject of its own, taken at random, and a time a little later than the one
//! before, so that old requests leave the windows all the while. "Beyond the probe" is net of a lane
//! that takes subject and time in the same way and finds a cell as a check does: it reads the word
//! that the subject has noted, and a word of memory in the place that this names, each 160 bytes from
//! the next. "Whole" is net of one that takes subject and time only.

use std::{
    cell::Cell,
    hint::black_box,
    iter,
    net::Ipv6Addr,
    num::NonZeroU32,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use allocation_counter::measure;
use governor::{clock, nanos::Nanos};
use tower_api_key::{
    Algorithm, Allowance, Check, MemoryRateLimiter, Now, Place, Quota, RateLimiter, Subject, Tier,
    Tiers, Timestamp,
};

use crate::{
    lanes::{Lane, cpu_time, median, on_end, race, ratio},
    note, rounds, row,
    support::Random,
    threads,
};

/// An hour's quotas, each with so many requests of every subject in the window.
const EXACT: Kind = Kind::new("exact", 1_000, 30);
const COARSE: Kind = Kind::new("coarse", 10_000, 5_000);
const TWO: Kind = Kind::new("two quotas", 1_000, 30).with_burst();
const GCRA: Kind = Kind::new("GCRA", 1_000, 30).counted(Algorithm::Gcra);
const FIXED: Kind = Kind::new("fixed window", 1_000, 30).counted(Algorithm::FixedWindow);
const REFUSED: Kind = Kind::new("refused", 30, 30).refused();

pub fn report() {
    for count in [WARM, 100_000] {
        let times = race(lanes(count), rounds(), 4_000);
        let at = |figure: &str| format!("{figure}, {count} subjects");
        let beyond = |name: &str| median(times.net(name, PROBE));
        for kind in [EXACT, COARSE] {
            let figure = at(&format!(
                "a check beyond the probe, ns: sliding, {}",
                kind.name
            ));
            // The target is that of the warm path: of many subjects most cells are out of the cache.
            match count {
                WARM => row("15", &figure, false, 60.0, beyond(kind.name)),
                _ => note("15", &figure, list(&[beyond(kind.name)])),
            }
        }
        let others = [TWO, GCRA, FIXED, REFUSED].map(|kind| beyond(kind.name));
        note(
            "15",
            &at("the same of two quotas; GCRA; a fixed window; one that is refused"),
            list(&others),
        );
        let whole = |name: &str| median(times.net(name, WALK));
        note(
            "15",
            &at("the probe itself, ns; a check whole; looked up by text; by address"),
            list(&[PROBE, EXACT.name, BY_TEXT, BY_ADDRESS].map(whole)),
        );
        note(
            "15",
            &at("governor whole, time given, ns: by u64; by String"),
            list(&[GOVERNOR, GOVERNOR_TEXT].map(whole)),
        );
        note(
            "15",
            &at("governor whole, its own clock, ns: by u64; by String; our clock alone"),
            list(&[GOVERNOR_CLOCK, GOVERNOR_CLOCK_TEXT, CLOCK].map(whole)),
        );
        let against = |peer: &str, ours: &str| {
            let whole = |name| times.net(name, WALK);
            format!("{:.2}", ratio(&whole(peer), &whole(ours)))
        };
        note(
            "15",
            &at("governor by u64, by String against a check; by String against one by text"),
            [
                (GOVERNOR, EXACT.name),
                (GOVERNOR_TEXT, EXACT.name),
                (GOVERNOR_TEXT, BY_TEXT),
            ]
            .map(|(peer, ours)| against(peer, ours))
            .join(", "),
        );
    }
    allocations();
    two_threads();
}

fn list(nanos: &[f64]) -> String {
    let nanos: Vec<_> = nanos.iter().map(|nanos| format!("{nanos:.0}")).collect();
    nanos.join(", ")
}

fn lanes<'a>(count: usize) -> Vec<Lane<'a>> {
    let mut lanes = Vec::new();
    let mut walk = Walk::new(count, EXACT.step(count));
    lanes.push(on_end(WALK, move || {
        let (number, now) = walk.next();
        black_box(now);
        walk.seen(black_box(number as u64));
    }));
    let cells = vec![[1_u64; 20]; count];
    let subjects = Subjects::new(count);
    (0..)
        .zip(&subjects.places)
        .for_each(|(cell, place)| place.note(cell));
    let mut walk = Walk::new(count, EXACT.step(count));
    lanes.push(on_end(PROBE, move || {
        let (number, now) = walk.next();
        black_box(now);
        let cell = subjects.places[number].noted();
        walk.seen(cells[cell as usize][black_box(0)]);
    }));
    for kind in [EXACT, COARSE, TWO, GCRA, FIXED, REFUSED] {
        let mut counted = Counted::new(kind, count, Subjects::placed);
        lanes.push(on_end(kind.name, move || counted.check()));
    }
    let mut counted = Counted::new(EXACT, count, Subjects::named);
    lanes.push(on_end(BY_TEXT, move || counted.check()));
    let mut counted = Counted::new(EXACT, count, Subjects::addressed);
    lanes.push(on_end(BY_ADDRESS, move || counted.check()));
    lanes.extend(governors(count));
    let clock = tower_api_key::SystemClock::new();
    let mut walk = Walk::new(count, EXACT.step(count));
    lanes.push(on_end(CLOCK, move || {
        let (number, _) = walk.next();
        black_box(number);
        let now = tower_api_key::Clock::now(&clock);
        walk.seen(1 | now.monotonic.as_secs());
    }));
    lanes
}

/// How an hour's quota is filled.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    limit: u64,
    /// So many requests of each subject are in the window at any time.
    held: u64,
    algorithm: Algorithm,
    has_burst: bool,
    is_refused: bool,
}

impl Kind {
    const fn new(name: &'static str, limit: u64, held: u64) -> Self {
        Self {
            name,
            limit,
            held,
            algorithm: Algorithm::SlidingWindow,
            has_burst: false,
            is_refused: false,
        }
    }

    const fn counted(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    const fn with_burst(mut self) -> Self {
        self.has_burst = true;
        self
    }

    /// Time stands still, so that nothing leaves the window.
    const fn refused(mut self) -> Self {
        self.is_refused = true;
        self
    }

    fn limiter(self, count: usize) -> MemoryRateLimiter {
        let hour = Quota::per_hour(self.limit).expect("a quota");
        let hour = hour.with_algorithm(self.algorithm);
        let second = Duration::from_secs(1);
        let burst = Quota::new("burst", 20, second).expect("a quota");
        let quotas = || self.has_burst.then_some(burst).into_iter().chain([hour]);
        let tiers = ["standard", "anonymous"].map(|tier| Tier::new(tier).expect("a tier"));
        let tiers = tiers.into_iter().fold(Tiers::default(), |tiers, tier| {
            tiers.with_tier(tier, quotas()).expect("tiers")
        });
        MemoryRateLimiter::new(tiers).with_address_capacity(count)
    }

    /// How long after one check the next one comes, in microseconds.
    fn step(self, count: usize) -> u64 {
        match self.is_refused {
            true => 0,
            false => HOUR / (self.held * count as u64),
        }
    }
}

/// The subjects, one after the other at random, and the time.
struct Walk {
    random: Random,
    count: usize,
    last: usize,
    /// Microseconds.
    at: u64,
    step: u64,
}

impl Walk {
    fn new(count: usize, step: u64) -> Self {
        Self {
            random: Random::new(),
            count,
            last: 0,
            at: HOUR,
            step,
        }
    }

    fn next(&mut self) -> (usize, Now) {
        self.at += self.step;
        let number = self.random.below(self.count);
        // The next check waits for this one, as requests do: misses do not overlap.
        (number ^ self.last, at(self.at))
    }

    /// What came of it: a small number.
    fn seen(&mut self, word: u64) {
        self.last = (word >> 63) as usize;
    }
}

fn at(micros: u64) -> Now {
    Now::new(Timestamp::MIN, Duration::from_micros(micros))
}

/// As long as the ids that a `KeyManager` makes, and their places.
struct Subjects {
    names: String,
    places: Vec<Place>,
    tier: Tier,
}

impl Subjects {
    fn new(count: usize) -> Self {
        Self {
            names: (0..count)
                .map(|number| format!("01kb{number:022}"))
                .collect(),
            places: iter::repeat_with(Place::default).take(count).collect(),
            tier: Tier::new("standard").expect("a tier"),
        }
    }

    fn name(&self, number: usize) -> &str {
        &self.names[number * NAME..][..NAME]
    }

    /// As the gate names the caller whose key it remembers.
    fn placed(&self, number: usize) -> Subject<'_> {
        self.named(number).with_place(&self.places[number])
    }

    fn named(&self, number: usize) -> Subject<'_> {
        Subject::new(self.name(number)).with_tier(&self.tier)
    }

    fn addressed(&self, number: usize) -> Subject<'_> {
        let network = 0x2001_0db8_0000_0000 + number as u128;
        Subject::anonymous().with_address(Ipv6Addr::from_bits(network << 64 | 1).into())
    }
}

/// A limiter that has counted for an hour.
struct Counted<N> {
    limiter: MemoryRateLimiter,
    subjects: Subjects,
    name: N,
    walk: Walk,
}

impl<N: Fn(&Subjects, usize) -> Subject<'_>> Counted<N> {
    fn new(kind: Kind, count: usize, name: N) -> Self {
        let (limiter, subjects) = (kind.limiter(count), Subjects::new(count));
        // Many requests at a time where there are many.
        let cost = kind.held.div_ceil(60) as u32;
        let times = kind.held / u64::from(cost);
        for time in 0..times {
            for number in 0..count {
                let now = at(HOUR / times * time);
                let subject = name(&subjects, number).with_cost(cost);
                assert!(is_admitted(&limiter.check(subject, now)), "{}", kind.name);
            }
        }
        let mut walk = Walk::new(count, kind.step(count));
        if kind.is_refused {
            walk.at = HOUR - 1;
        }
        Self {
            limiter,
            subjects,
            name,
            walk,
        }
    }

    fn check(&mut self) {
        let (number, now) = self.walk.next();
        let subject = (self.name)(&self.subjects, number);
        let check = self.limiter.check(subject, now);
        self.walk.seen(u64::from(is_admitted(black_box(&check))));
    }
}

fn is_admitted(check: &Check) -> bool {
    matches!(check, Check::Done(Allowance::Admitted(_)))
}

/// governor's keyed limiters, with the time given and with the clock that they have by default.
fn governors<'a>(count: usize) -> Vec<Lane<'a>> {
    let number = |number: u32| NonZeroU32::new(number).expect("not zero");
    // The same hour's quota where the time is given; where it is not, one that is never used up.
    let hour = governor::Quota::per_hour(number(EXACT.limit as u32));
    let ample = governor::Quota::per_second(number(u32::MAX));
    let names: Vec<String> = {
        let subjects = Subjects::new(count);
        (0..count)
            .map(|number| subjects.name(number).to_owned())
            .collect()
    };
    let names = Rc::new(names);
    let walk = || Walk::new(count, EXACT.step(count));

    let given = Given::default();
    let limiter = governor::RateLimiter::dashmap_with_clock(hour, given.clone());
    (0..count as u64).for_each(|number| _ = limiter.check_key(&number));
    let by_number = governed(GOVERNOR, walk(), given, move |number| {
        limiter.check_key(&(number as u64)).is_ok()
    });

    let given = Given::default();
    let limiter = governor::RateLimiter::dashmap_with_clock(hour, given.clone());
    names.iter().for_each(|name| _ = limiter.check_key(name));
    let known = Rc::clone(&names);
    let by_text = governed(GOVERNOR_TEXT, walk(), given, move |number| {
        limiter.check_key(&known[number]).is_ok()
    });

    let limiter = governor::RateLimiter::keyed(ample);
    (0..count as u64).for_each(|number| _ = limiter.check_key(&number));
    let by_number_now = governed(GOVERNOR_CLOCK, walk(), Given::default(), move |number| {
        limiter.check_key(&(number as u64)).is_ok()
    });

    let limiter = governor::RateLimiter::keyed(ample);
    names.iter().for_each(|name| _ = limiter.check_key(name));
    let by_text_now = governed(
        GOVERNOR_CLOCK_TEXT,
        walk(),
        Given::default(),
        move |number| limiter.check_key(&names[number]).is_ok(),
    );
    vec![by_number, by_text, by_number_now, by_text_now]
}

fn governed<'a>(
    name: &'static str,
    mut walk: Walk,
    given: Given,
    check: impl Fn(usize) -> bool + 'a,
) -> Lane<'a> {
    on_end(name, move || {
        let (number, now) = walk.next();
        given.0.set((now.monotonic.as_nanos() as u64).into());
        walk.seen(u64::from(black_box(check(number))));
    })
}

/// The time as it was last set.
#[derive(Clone, Default)]
struct Given(Rc<Cell<Nanos>>);

impl clock::Clock for Given {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get()
    }
}

fn allocations() {
    type Name = fn(&Subjects, usize) -> Subject<'_>;
    let each = |kind, name: Name| {
        let mut counted = Counted::new(kind, 1_000, name);
        let checks = || (0..10_000).for_each(|_| counted.check());
        measure(checks).count_total as f64 / 10_000.0
    };
    for kind in [EXACT, COARSE, TWO, GCRA, FIXED] {
        let figure = format!("allocations of a check, {}", kind.name);
        row("15", &figure, false, 0.0, each(kind, Subjects::placed));
    }
    let by_text = each(EXACT, Subjects::named);
    let by_address = each(EXACT, Subjects::addressed);
    let refused = each(REFUSED, Subjects::placed);
    note(
        "15",
        "allocations by text; by address; of one that is refused",
        format!("{by_text}, {by_address}, {refused}"),
    );
}

fn two_threads() {
    const COUNT: usize = 100_000;
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return note("15", "two threads against one", "only one core here");
    }
    let Counted {
        limiter, subjects, ..
    } = Counted::new(EXACT, COUNT, Subjects::placed);
    let clock = AtomicU64::new(HOUR);
    let speed_up = |share: fn(usize, &mut Random) -> usize| {
        threads::speed_up_of(|thread| {
            let (limiter, subjects) = (&limiter, &subjects);
            // A time of its own: reading one that both move on would be what is measured.
            let span = CHECKS * EXACT.step(COUNT);
            let mut now = clock.fetch_add(span, Ordering::Relaxed);
            let mut random = Random::new();
            move || {
                let start = cpu_time();
                for _ in 0..CHECKS {
                    let number = share(thread, &mut random);
                    now += EXACT.step(COUNT);
                    black_box(&limiter.check(subjects.placed(number), at(now)));
                }
                cpu_time() - start
            }
        })
    };
    let mut figures = [const { Vec::new() }; 3];
    for _ in 0..rounds().min(51) {
        // The two have subjects of their own, which lie between one another.
        figures[0].push(speed_up(|thread, random| {
            random.below(COUNT / 2) * 2 + thread
        }));
        figures[1].push(speed_up(|_, random| random.below(COUNT)));
        figures[2].push(speed_up(|_, _| 7));
    }
    let [apart, mixed, same] = figures.map(median);
    let figure = "two threads against one, on different subjects";
    row("15", figure, true, 1.85, apart);
    note(
        "15",
        "the same on any subjects; both on the same one",
        format!("{mixed:.2}, {same:.2}"),
    );
}

/// Subjects whose cells stay in the cache.
const WARM: usize = 1_000;
const WALK: &str = "walk";
const PROBE: &str = "probe";
const BY_TEXT: &str = "by text";
const BY_ADDRESS: &str = "by address";
const GOVERNOR: &str = "governor by u64";
const GOVERNOR_TEXT: &str = "governor by String";
const GOVERNOR_CLOCK: &str = "governor by u64 with its clock";
const GOVERNOR_CLOCK_TEXT: &str = "governor by String with its clock";
const CLOCK: &str = "clock";
/// Bytes of a subject's name.
const NAME: usize = 26;
/// Microseconds.
const HOUR: u64 = 3_600_000_000;
/// Of each thread.
const CHECKS: u64 = 100_000;
