//! Timing: lanes that take turns, so that what disturbs the machine disturbs all of them alike.

use std::{convert::Infallible, hint::black_box, time::Duration};

use axum::body::Body;
use http::Request;
use rustix::time::{ClockId, clock_gettime};
use tower::Service;

use crate::support;

/// Something that is timed: so many times, and how long they took.
pub struct Lane<'a> {
    name: &'static str,
    run: Box<dyn FnMut(usize) -> Duration + 'a>,
}

/// Requests through `service`; making them is not timed.
pub fn requests<'a, S>(
    name: &'static str,
    mut service: S,
    make: impl FnMut() -> Request<Body> + 'a,
) -> Lane<'a>
where
    S: Service<Request<Body>, Error = Infallible> + 'a,
{
    batches(name, make, move |request| {
        drop(black_box(support::call(&mut service, request)));
    })
}

/// `measured` applied to what `make` makes; making is not timed.
pub fn batches<'a, T>(
    name: &'static str,
    mut make: impl FnMut() -> T + 'a,
    mut measured: impl FnMut(T) + 'a,
) -> Lane<'a> {
    let run = move |times: usize| {
        let mut spent = Duration::ZERO;
        for _ in 0..times.div_ceil(BATCH) {
            let batch: [T; BATCH] = std::array::from_fn(|_| make());
            let start = cpu_time();
            for input in batch {
                measured(input);
            }
            spent += cpu_time() - start;
        }
        spent
    };
    Lane {
        name,
        run: Box::new(run),
    }
}

/// `measured` so often on end, what it makes for itself included: for what takes hardly longer than
/// that. A lane that makes the same and does nothing with it is to be taken off.
pub fn on_end<'a>(name: &'static str, mut measured: impl FnMut() + 'a) -> Lane<'a> {
    let run = move |times: usize| {
        let start = cpu_time();
        (0..times).for_each(|_| measured());
        cpu_time() - start
    };
    Lane {
        name,
        run: Box::new(run),
    }
}

/// The nanoseconds of every lane in every round.
pub struct Times(Vec<(&'static str, Vec<f64>)>);

/// Lets the lanes take turns: `rounds` times, `times` each.
pub fn race(mut lanes: Vec<Lane<'_>>, rounds: usize, times: usize) -> Times {
    let mut all: Vec<_> = lanes.iter().map(|lane| (lane.name, Vec::new())).collect();
    for round in 0..=rounds {
        for (lane, (_, nanos)) in lanes.iter_mut().zip(&mut all) {
            let spent = (lane.run)(times).as_nanos() as f64 / times as f64;
            // The first round warms up.
            if round > 0 {
                nanos.push(spent);
            }
        }
    }
    Times(all)
}

impl Times {
    pub fn of(&self, name: &str) -> &[f64] {
        let found = self.0.iter().find(|(lane, _)| *lane == name);
        &found.unwrap_or_else(|| panic!("no lane {name}")).1
    }

    /// What `name` takes beyond `bare`, in each round.
    pub fn net(&self, name: &str, bare: &str) -> Vec<f64> {
        let pairs = self.of(name).iter().zip(self.of(bare));
        pairs.map(|(whole, bare)| whole - bare).collect()
    }
}

/// The time this thread has had a core: what others do with the machine meanwhile does not count.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of the rounds' own ratios.
pub fn ratio(above: &[f64], below: &[f64]) -> f64 {
    median(above.iter().zip(below).map(|(a, b)| a / b).collect())
}

/// Few enough to stay in the nearest cache, many enough that reading the clock does not count.
const BATCH: usize = 16;
