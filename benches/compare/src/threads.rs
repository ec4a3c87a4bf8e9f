//! How much faster two threads are than one.

use std::{convert::Infallible, sync::Barrier, thread, time::Duration};

use axum::body::Body;
use http::Request;
use tower::Service;

use crate::{
    lanes::cpu_time,
    support::{self, Keys, PATH, Random, request},
};

/// The work of two threads at once against that of one alone, each with a clone of `service`.
pub fn speed_up<S>(keys: &Keys, service: S) -> f64
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + Sync,
{
    speed_up_of(|thread| {
        let mut service = service.clone();
        let mut random = Random::new();
        (0..thread * REQUESTS).for_each(|_| _ = random.next());
        move || {
            let mut spent = Duration::ZERO;
            for _ in 0..REQUESTS / BATCH {
                let mut make = || request(PATH, keys.text(random.below(keys.count())));
                let batch: [_; BATCH] = std::array::from_fn(|_| make());
                let begin = cpu_time();
                for request in batch {
                    drop(support::call(&mut service, request));
                }
                spent += cpu_time() - begin;
            }
            spent
        }
    })
}

/// The same of any work: `prepare` makes a thread's share, which tells how long it took.
pub fn speed_up_of<W>(prepare: impl Fn(usize) -> W + Sync) -> f64
where
    W: FnMut() -> Duration,
{
    let alone = at_once(&prepare, 1);
    let together = at_once(&prepare, 2);
    2.0 * alone.as_secs_f64() / together.as_secs_f64()
}

/// How long each of so many threads takes on average for its share.
fn at_once<W>(prepare: &(impl Fn(usize) -> W + Sync), threads: usize) -> Duration
where
    W: FnMut() -> Duration,
{
    let start = Barrier::new(threads);
    let spent: Duration = thread::scope(|scope| {
        let work: Vec<_> = (0..threads)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || {
                    let mut work = prepare(thread);
                    start.wait();
                    work()
                })
            })
            .collect();
        work.into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    });
    spent / threads as u32
}

const REQUESTS: usize = 20_000;
/// As in the lanes: making requests is not timed.
const BATCH: usize = 16;
