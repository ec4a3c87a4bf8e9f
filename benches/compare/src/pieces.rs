//! What a full check is made of, each piece by itself: the sum is what no layer can go below by
//! much.

use std::{
    cell::Cell,
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Extensions, HeaderName};
use sha2::{Digest, Sha256};
use tower_api_key::{Clock, SystemClock};

use crate::{
    lanes::{self, Lane},
    support::{Keys, PATH, RESOURCES, Random, request},
};

pub const NAMES: [&str; 7] = [
    "header by name",
    "SHA-256",
    "probe and compare",
    "matchit",
    "quota cell",
    "clock",
    "extension",
];

/// A lane that does nothing: what taking the time costs.
pub const EMPTY: &str = "empty";

/// One lane for each name, and the empty one.
pub fn lanes(keys: &Keys) -> Vec<Lane<'_>> {
    let random = move || {
        let mut random = Random::new();
        move || random.below(keys.count())
    };
    let name = HeaderName::from_static("x-api-key");
    let mut number = random();
    // A few that come again and again: dropping ten headers is no part of reading one.
    let requests: [_; 16] = std::array::from_fn(|_| Rc::new(request(PATH, keys.text(number()))));
    let mut turn = requests.into_iter().cycle();
    let header = lanes::batches(
        NAMES[0],
        move || turn.next().expect("endless"),
        move |request| {
            black_box(request.headers().get(&name).map(|value| value.as_bytes()));
        },
    );

    let mut number = random();
    let sha = lanes::batches(
        NAMES[1],
        // A copy: whoever checks a key has just read it.
        move || <[u8; 41]>::try_from(keys.text(number())).expect("the default format"),
        |text| {
            black_box(Sha256::digest(black_box(text)));
        },
    );

    let known =
        (0..keys.count()).map(|number| (digest(keys.text(number)), [number as u64 >> 1; 8]));
    let known: HashMap<[u64; 4], [u64; 8], BuildHasherDefault<FirstWord>> = known.collect();
    let mut number = random();
    let last = Cell::new(0);
    let probe = lanes::batches(
        NAMES[2],
        move || digest(keys.text(number())),
        move |mut digest| {
            // The next look-up waits for this one, as requests do: misses do not overlap.
            digest[3] ^= last.get() >> 63;
            last.set(known[&digest][7]);
        },
    );

    let mut matcher = matchit::Router::new();
    for (number, resource) in RESOURCES.iter().enumerate() {
        let list = format!("/api/rest/v1/{resource}");
        matcher
            .insert(format!("{list}/{{id}}"), number)
            .expect("a route");
        matcher.insert(list, number).expect("a route");
    }
    let route = lanes::batches(
        NAMES[3],
        || PATH,
        move |path| {
            black_box(matcher.at(black_box(path)).is_ok());
        },
    );

    let cell = AtomicU64::new(0);
    let quota = lanes::batches(
        NAMES[4],
        || 1,
        move |one| {
            let update = |used: u64| (used < u64::MAX).then_some(used + black_box(one));
            black_box(
                cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
                    .is_ok(),
            );
        },
    );

    let clock = SystemClock::new();
    let clock = lanes::batches(
        NAMES[5],
        || (),
        move |()| {
            black_box(clock.now());
        },
    );

    let shared = Arc::new([0_u64; 8]);
    let extension = lanes::batches(NAMES[6], Extensions::new, move |mut extensions| {
        extensions.insert(Arc::clone(&shared));
        drop(black_box(extensions));
    });
    let empty = lanes::batches(EMPTY, || (), |()| {});
    vec![empty, header, sha, probe, route, quota, clock, extension]
}

fn digest(text: &[u8]) -> [u64; 4] {
    let bytes: [u8; 32] = Sha256::digest(text).into();
    let (words, _) = bytes.as_chunks();
    std::array::from_fn(|i| u64::from_ne_bytes(words[i]))
}

#[derive(Default)]
struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks();
        self.0 = words.first().map_or(0, |word| u64::from_ne_bytes(*word));
    }

    fn write_usize(&mut self, _: usize) {}
}
