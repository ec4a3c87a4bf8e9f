//! The arithmetic of the windows: pure functions of what was counted and of now.
//!
//! Time is in microseconds. Who asks has read the clock a little earlier, so now may be some way before
//! what was counted last: such a request counts as of the latest one. That shortens the window
//! that never holds more than the limit by as much as now goes back, and lets who waits do so for as
//! much longer.

use crate::rate_limiter::quota::{Algorithm, Quota};

mod bucket;
mod counter;
mod log;

use bucket::Bucket;
use counter::Counter;
use log::Log;

/// What is counted of one caller by one quota.
///
/// 136 bytes, whatever the limit: millions of these are meant to fit. What every request reads comes
/// first, so that most marks lie in memory that need not be fetched for it.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct Window {
    /// Sliding: when the latest request was, rounded up to the grain of the marks, and above that
    /// time the high bits of `early`. Fixed: when the window began. GCRA: when the bucket is full
    /// again.
    at: u64,
    /// Requests beyond those in marks. Sliding: the group that is not full yet, whose time is `at`.
    filled: u32,
    /// Sliding: by how much the latest request was earlier than `at`, the low bits.
    early: [u8; 3],
    groups: Groups,
    /// Which of the limiter's quotas this is counted by.
    pub(crate) quota: u16,
    /// When the latest request of each group was, the oldest group first: the low bits of the number
    /// of grains. Where there are older requests the last two are their number.
    marks: [u16; MARKS],
}

/// How many full groups there are, whether there are older requests, and whether a group is of more
/// than one: the lower bits, and two above them.
#[derive(Debug, Clone, Copy)]
struct Groups(u8);

/// A quota in the terms of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    algorithm: Algorithm,
    limit: u32,
    /// Microseconds.
    pub(crate) window: u64,
    /// Sliding: microseconds of a grain. GCRA: of the time that one request takes.
    pub(crate) tick: u64,
    /// Requests in a coarse group.
    pub(crate) group: u32,
    /// By what a time is multiplied, and divided by 2^64, to be counted in `tick`.
    per_tick: u64,
}

/// A window at a time, by the algorithm of its quota.
pub(crate) enum Reading<'w> {
    Log(Log<'w>),
    Counter(Counter<'w>),
    Bucket(Bucket<'w>),
}

/// What is asked of a window at a time, after it has forgotten what it left behind.
pub(crate) trait Counting {
    /// When a request of this cost is admitted if no other comes before it: not before now.
    fn free_at(&self, cost: u32) -> u64;

    /// Counts a request for which there is room.
    fn take(&mut self, cost: u32);

    /// What there is room for.
    fn room(&self) -> Room;
}

/// How much a window has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) remaining: u32,
    /// When `remaining` grows.
    pub(crate) grows_at: u64,
}

impl Groups {
    const NONE: Self = Self(0);
    const COARSE: u8 = 1 << 7;
    const OLDER: u8 = 1 << 6;

    fn of_one(len: usize) -> Self {
        Self(len as u8)
    }

    fn coarse(len: usize) -> Self {
        Self(len as u8 | Self::COARSE)
    }

    fn with_len(self, len: usize) -> Self {
        Self(self.0 & (Self::COARSE | Self::OLDER) | len as u8)
    }

    fn with_older(self, has_older: bool) -> Self {
        Self(self.0 & !Self::OLDER | if has_older { Self::OLDER } else { 0 })
    }

    fn len(self) -> usize {
        usize::from(self.0 & !(Self::COARSE | Self::OLDER))
    }

    fn have_older(self) -> bool {
        self.0 & Self::OLDER != 0
    }

    fn are_coarse(self) -> bool {
        self.0 & Self::COARSE != 0
    }
}

impl Measure {
    pub(crate) fn new(quota: &Quota) -> Self {
        let (limit, window) = (quota.limit(), micros(quota));
        let tick = match quota.algorithm() {
            // Rounded up: never more than the limit.
            Algorithm::Gcra => window.div_ceil(u64::from(limit)),
            _ => whole_part(window.div_ceil(GRAINS)),
        };
        Self {
            algorithm: quota.algorithm(),
            limit,
            window,
            tick,
            per_tick: u64::MAX / tick,
            // With the group that is not full yet there are sixty of them: enough for the limit.
            group: limit / (MARKS as u32 + 1) + 1,
        }
    }

    /// What a request of this cost counts: who asks for more than the whole quota gets it whole.
    pub(crate) fn cost(&self, cost: u32) -> u32 {
        cost.min(self.limit)
    }

    /// How many whole ticks there are in a time: a division that takes a fifth of one.
    fn ticks(&self, time: u64) -> u64 {
        let ticks = ((u128::from(time) * u128::from(self.per_tick)) >> 64) as u64;
        // Of times that come before the year 500,000 it is at most one too few.
        ticks + u64::from(time - ticks * self.tick >= self.tick)
    }

    /// What a full bucket holds, as time.
    fn depth(&self) -> u64 {
        self.tick * u64::from(self.limit)
    }
}

impl Window {
    /// The number of no quota.
    pub(crate) const UNUSED: u16 = u16::MAX;

    /// Nothing counted yet, for the quota of this number.
    pub(crate) const fn new(quota: u16) -> Self {
        Self {
            at: 0,
            early: [0; 3],
            filled: 0,
            quota,
            groups: Groups::NONE,
            marks: [0; MARKS],
        }
    }

    /// Forgets what the window has left behind, and is ready for what is asked of it now.
    #[inline]
    pub(crate) fn read<'w>(&'w mut self, by: &'w Measure, now: u64) -> Reading<'w> {
        match by.algorithm {
            Algorithm::SlidingWindow => Reading::Log(Log::read(self, by, now)),
            Algorithm::FixedWindow => Reading::Counter(Counter::read(self, by, now)),
            Algorithm::Gcra => Reading::Bucket(Bucket::read(self, by, now)),
        }
    }

    /// From when on nothing of it counts any more.
    pub(crate) fn idle_at(&self, by: &Measure) -> u64 {
        match by.algorithm {
            Algorithm::Gcra => self.at,
            _ if self.is_empty() => 0,
            Algorithm::SlidingWindow => self.latest() + by.window,
            Algorithm::FixedWindow => self.at + by.window,
        }
    }

    /// How many requests it counts.
    pub(crate) fn count(&self, by: &Measure, now: u64) -> u64 {
        match by.algorithm {
            Algorithm::SlidingWindow => self.used(by),
            Algorithm::FixedWindow => self.filled.into(),
            Algorithm::Gcra => self.at.saturating_sub(now).div_ceil(by.tick),
        }
    }

    /// The same requests counted by another quota: of a sliding window each at its time, of the
    /// others all as of now; by a bucket no more than it holds.
    pub(crate) fn carried(&mut self, from: &Measure, by: &Measure, quota: u16, now: u64) -> Self {
        let mut carried = Self::new(quota);
        match (self.read(from, now), carried.read(by, now)) {
            (Reading::Log(before), Reading::Log(mut after)) => {
                for (count, at) in before.requests() {
                    if at + by.window > now {
                        after.record(count, at);
                    }
                }
            }
            (_, mut after) => {
                let most = match by.algorithm {
                    Algorithm::Gcra => by.limit,
                    _ => u32::MAX,
                };
                match self.count(from, now).min(most.into()) {
                    0 => {}
                    used => after.take(used as u32),
                }
            }
        }
        carried
    }

    fn is_empty(&self) -> bool {
        self.groups.len() == 0 && self.filled == 0
    }

    /// Sliding: requests in a group.
    fn step(&self, by: &Measure) -> u32 {
        if self.groups.are_coarse() {
            by.group
        } else {
            1
        }
    }

    /// Sliding: requests that it counts.
    fn used(&self, by: &Measure) -> u64 {
        let full = self.groups.len() as u64 * u64::from(self.step(by));
        u64::from(self.older()) + full + u64::from(self.filled)
    }

    /// Sliding: requests older than the oldest group, as of which they count.
    fn older(&self) -> u32 {
        if self.groups.have_older() {
            self.noted_older()
        } else {
            0
        }
    }

    /// Where there are some, which is seldom: not to be read where marks have just been written.
    #[cold]
    fn noted_older(&self) -> u32 {
        let [low, high] = [0, 1].map(|part| u32::from(self.marks[MARKS_BESIDE_OLDER + part]));
        high << 16 | low
    }

    /// Sliding: when the latest request of all was, rounded up to the grain of the marks.
    fn grid(&self) -> u64 {
        self.at & TIME
    }

    /// Sliding: when the latest request of all was.
    fn latest(&self) -> u64 {
        let [low, middle, high] = self.early;
        let low = u32::from_le_bytes([low, middle, high, 0]);
        self.grid() - (self.at >> TIME_BITS << EARLY_BITS | u64::from(low))
    }

    fn set_latest(&mut self, at: u64, grid: u64) {
        let early = grid - at;
        let [low, middle, high, ..] = early.to_le_bytes();
        self.early = [low, middle, high];
        self.at = early >> EARLY_BITS << TIME_BITS | grid;
    }
}

impl Counting for Reading<'_> {
    fn free_at(&self, cost: u32) -> u64 {
        match self {
            Self::Log(log) => log.free_at(cost),
            Self::Counter(counter) => counter.free_at(cost),
            Self::Bucket(bucket) => bucket.free_at(cost),
        }
    }

    fn take(&mut self, cost: u32) {
        match self {
            Self::Log(log) => log.take(cost),
            Self::Counter(counter) => counter.take(cost),
            Self::Bucket(bucket) => bucket.take(cost),
        }
    }

    fn room(&self) -> Room {
        match self {
            Self::Log(log) => log.room(),
            Self::Counter(counter) => counter.room(),
            Self::Bucket(bucket) => bucket.room(),
        }
    }
}

/// Nothing counted, for no quota yet.
impl Default for Window {
    fn default() -> Self {
        Self::new(Self::UNUSED)
    }
}

/// The next that is a whole part of a second, or of whole seconds.
fn whole_part(least: u64) -> u64 {
    match least {
        0..=SECOND => (least..=SECOND)
            .find(|part| SECOND.is_multiple_of(*part))
            .unwrap_or(SECOND),
        _ => least.next_multiple_of(SECOND),
    }
}

fn micros(quota: &Quota) -> u64 {
    quota.window().as_secs() * SECOND
}

/// Groups in the log of a window.
pub(crate) const MARKS: usize = 59;
const MARKS_BESIDE_OLDER: usize = MARKS - 2;
/// Two windows fit into the bits of a mark.
const GRAINS: u64 = 1 << 15;
/// Of `at`: enough for 500 years.
const TIME_BITS: u32 = 54;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// Beside `at`. The other ten are in it: together enough for a grain of four hours.
const EARLY_BITS: u32 = 24;
/// Microseconds.
const SECOND: u64 = 1_000_000;

#[cfg(test)]
pub(crate) mod tests;
