//! How often one credential was granted in an hour, in one word.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::usage::Hour;

/// The hour in the upper bits, and in the lower ones what was granted in it and not taken yet: more
/// than any service grants in an hour.
///
/// The hour only grows: who comes late is counted in the hour that has begun meanwhile.
#[derive(Default)]
pub(crate) struct Granted(AtomicU64);

/// What was granted in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) hour: Hour,
    pub(crate) count: u64,
}

const COUNT_BITS: u32 = 36;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

impl Granted {
    /// Counts one, and answers what has to be kept elsewhere because its hour is over.
    ///
    /// What another thread did before it took counts is seen by who counts after that.
    #[inline]
    pub(crate) fn add(&self, hour: Hour) -> Option<Tally> {
        let begun = Self::begun(hour);
        if self.0.load(Ordering::Relaxed) < begun {
            return self.turn(begun);
        }
        self.0.fetch_add(1, Ordering::Acquire);
        None
    }

    #[cold]
    fn turn(&self, begun: u64) -> Option<Tally> {
        let turned = self
            .0
            .fetch_update(Ordering::Acquire, Ordering::Acquire, |word| {
                // Unless another thread has turned it: then this is one more.
                Some(if word < begun { begun + 1 } else { word + 1 })
            });
        let before = turned.unwrap_or_else(|word| word);
        (before < begun).then(|| Self::tally(before)).flatten()
    }

    /// Takes what was counted, and leaves the hour: who is just about to count finds it as it was.
    pub(crate) fn take(&self) -> Option<Tally> {
        Self::tally(self.0.fetch_and(!COUNT, Ordering::Release))
    }

    /// What was counted and not taken.
    pub(crate) fn waiting(&self) -> Option<Tally> {
        Self::tally(self.0.load(Ordering::Relaxed))
    }

    fn begun(hour: Hour) -> u64 {
        u64::from(hour.number()) << COUNT_BITS
    }

    fn tally(word: u64) -> Option<Tally> {
        let hour = Hour::from_number((word >> COUNT_BITS) as u32);
        let count = word & COUNT;
        (count > 0).then_some(Tally { hour, count })
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.waiting(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU32},
        thread,
    };

    use super::*;
    use crate::Timestamp;

    fn hour(number: u32) -> Hour {
        Hour::from_number(number)
    }

    fn tally(number: u32, count: u64) -> Option<Tally> {
        let hour = hour(number);
        Some(Tally { hour, count })
    }

    #[test]
    fn an_hour_that_is_over_is_handed_out_with_its_count() {
        let granted = Granted::default();
        assert_eq!(granted.add(hour(7)), None);
        assert_eq!(granted.add(hour(7)), None);
        assert_eq!(granted.add(hour(9)), tally(7, 2));
        // One that read the time before the hour turned.
        assert_eq!(granted.add(hour(8)), None);
        assert_eq!(granted.waiting(), tally(9, 2));
        assert_eq!(granted.take(), tally(9, 2));
        assert_eq!((granted.take(), granted.waiting()), (None, None));
        assert_eq!(granted.add(hour(10)), None, "nothing was left of 9");
        assert_eq!(granted.take(), tally(10, 1));
    }

    #[test]
    fn the_first_and_the_last_hour_fit() {
        for edge in [Timestamp::MIN, Timestamp::MAX] {
            let granted = Granted::default();
            let hour = Hour::of(edge);
            assert!(hour.number() < 1 << (u64::BITS - COUNT_BITS));
            granted.add(hour);
            assert_eq!(granted.take(), Some(Tally { hour, count: 1 }));
        }
    }

    #[test]
    fn threads_that_count_turn_and_take_lose_nothing_and_double_nothing() {
        const THREADS: u64 = 4;
        const EACH: u64 = 50_000;
        let (granted, now) = (Granted::default(), AtomicU32::new(1));
        let (sum, counting) = (AtomicU64::new(0), AtomicBool::new(true));
        let keep = |tally: Option<Tally>| {
            let count = tally.map_or(0, |tally| tally.count);
            sum.fetch_add(count, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            let counters: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        for step in 0..EACH {
                            if step % 1_000 == 0 {
                                now.fetch_add(1, Ordering::Relaxed);
                            }
                            keep(granted.add(hour(now.load(Ordering::Relaxed))));
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while counting.load(Ordering::Relaxed) {
                    keep(granted.take());
                    thread::yield_now();
                }
            });
            for counter in counters {
                counter.join().expect("it counts");
            }
            counting.store(false, Ordering::Relaxed);
        });
        keep(granted.take());
        assert_eq!(sum.into_inner(), THREADS * EACH);
    }
}
