//! The arithmetic of the windows: pure functions of what was counted and of now.
//!
//! The sliding window keeps a log of when requests were admitted, in groups: of one request each
//! while no more than [`MARKS`] lie in the window, and of a sixtieth of the limit and one each beyond
//! that. A group counts whole until the window has left its latest request behind. So
//!
//! 1. no window ever holds more than the limit, since nothing is forgotten early;
//! 2. at most one group, the oldest, counts for more than the window still holds of it: who is
//!    refused has been admitted at least the limit less a sixtieth of it, within one window;
//! 3. up to [`MARKS`] requests in the window the log is exact but for the grain of its time, which
//!    is 1/16384 of the window or less, and of windows up to nine hours a whole part of a second, so
//!    that whole seconds between requests are whole.
//!
//! Time is in microseconds of a clock that never goes back.

use crate::rate_limiter::quota::{Algorithm, Quota};

/// What is counted of one caller by one quota.
///
/// 136 bytes, whatever the limit: millions of these are meant to fit.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// Sliding: when the latest request was, rounded up to the grain of the marks. Fixed: when the
    /// window began. GCRA: when the bucket is full again.
    at: u64,
    /// Sliding: how much earlier the latest request really was, in parts of a grain.
    early: u16,
    /// Requests beyond those in marks. Sliding: the group that is not full yet, whose time is `at`.
    filled: u32,
    /// Which of the limiter's quotas this is counted by.
    pub(crate) quota: u16,
    /// How many marks there are.
    len: u8,
    /// Whether a group is a sixtieth of the limit, and not one request.
    coarse: bool,
    /// When the latest request of each group was, the oldest group first: the low bits of the number
    /// of grains.
    marks: [u16; MARKS],
}

/// A quota in the terms of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    algorithm: Algorithm,
    limit: u32,
    /// Microseconds.
    window: u64,
    /// Sliding: microseconds of a grain. GCRA: of the time that one request takes.
    tick: u64,
    /// Requests in a coarse group.
    group: u32,
}

/// How much a window has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) remaining: u32,
    /// When `remaining` grows.
    pub(crate) grows_at: u64,
}

impl Measure {
    pub(crate) fn new(quota: &Quota) -> Self {
        let (limit, window) = (quota.limit(), micros(quota));
        Self {
            algorithm: quota.algorithm(),
            limit,
            window,
            tick: match quota.algorithm() {
                // Rounded up: never more than the limit.
                Algorithm::Gcra => window.div_ceil(u64::from(limit)),
                _ => grain(window),
            },
            // With the group that is not full yet there are sixty of them: enough for the limit.
            group: limit / (MARKS as u32 + 1) + 1,
        }
    }

    /// What a request of this cost counts: who asks for more than the whole quota gets it whole.
    pub(crate) fn cost(&self, cost: u32) -> u32 {
        cost.min(self.limit)
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
            early: 0,
            filled: 0,
            quota,
            len: 0,
            coarse: false,
            marks: [0; MARKS],
        }
    }

    /// Forgets what the window has left behind, and says what it has room for.
    pub(crate) fn room(&mut self, by: &Measure, now: u64) -> Room {
        match by.algorithm {
            Algorithm::SlidingWindow => {
                self.slide(by, now);
                let remaining = u64::from(by.limit).saturating_sub(self.used(by));
                Room {
                    remaining: remaining as u32,
                    grows_at: self.left_at(0, by).max(now),
                }
            }
            Algorithm::FixedWindow => {
                if now >= self.at + by.window {
                    self.filled = 0;
                }
                let remaining = by.limit.saturating_sub(self.filled);
                let grows_at = if self.filled == 0 {
                    now
                } else {
                    self.at + by.window
                };
                Room {
                    remaining,
                    grows_at,
                }
            }
            Algorithm::Gcra => {
                if self.at <= now {
                    return Room {
                        remaining: by.limit,
                        grows_at: now,
                    };
                }
                let remaining = by.depth().saturating_sub(self.at - now) / by.tick;
                Room {
                    remaining: remaining as u32,
                    grows_at: self.at - (by.depth() - (remaining + 1) * by.tick),
                }
            }
        }
    }

    /// When a request of this cost is admitted if no other comes before it.
    pub(crate) fn free_at(&self, cost: u32, by: &Measure, now: u64) -> u64 {
        let at = match by.algorithm {
            Algorithm::SlidingWindow => {
                match (self.used(by) + u64::from(cost)).saturating_sub(u64::from(by.limit)) {
                    0 => now,
                    over => self.left_at((over - 1) / u64::from(self.step(by)), by),
                }
            }
            Algorithm::FixedWindow
                if u64::from(self.filled) + u64::from(cost) <= by.limit.into() =>
            {
                now
            }
            Algorithm::FixedWindow => self.at + by.window,
            Algorithm::Gcra => {
                (self.at.max(now) + u64::from(cost) * by.tick).saturating_sub(by.depth())
            }
        };
        at.max(now)
    }

    /// Counts a request for which there is room.
    pub(crate) fn take(&mut self, cost: u32, by: &Measure, now: u64) {
        match by.algorithm {
            Algorithm::SlidingWindow => self.record(cost, by, now),
            Algorithm::FixedWindow => {
                if self.filled == 0 {
                    self.at = now;
                }
                self.filled += cost;
            }
            Algorithm::Gcra => self.at = self.at.max(now) + u64::from(cost) * by.tick,
        }
    }

    /// From when on nothing of it counts any more.
    pub(crate) fn idle_at(&self, by: &Measure) -> u64 {
        match by.algorithm {
            Algorithm::Gcra => self.at,
            Algorithm::SlidingWindow => self.left_at(u64::MAX, by),
            Algorithm::FixedWindow if self.filled == 0 => 0,
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
    /// others all as of now.
    pub(crate) fn carried(&mut self, from: &Measure, by: &Measure, quota: u16, now: u64) -> Self {
        let mut carried = Self::new(quota);
        self.room(from, now);
        match (from.algorithm, by.algorithm) {
            (Algorithm::SlidingWindow, Algorithm::SlidingWindow) => {
                let groups =
                    (0..self.len).map(|group| (self.step(from), self.time_of(group, from)));
                for (count, at) in groups.chain([(self.filled, self.latest(from))]) {
                    if count > 0 && at + by.window > now {
                        carried.record(count, by, at);
                    }
                }
            }
            _ => match self.count(from, now).min(by.limit.into()) {
                0 => {}
                used => carried.take(used as u32, by, now),
            },
        }
        carried
    }

    /// Sliding: notes requests that were admitted `at` this time, which is not before the latest.
    fn record(&mut self, count: u32, by: &Measure, at: u64) {
        if self.len == 0 && self.filled == 0 {
            // The grid begins here, so that a burst is left behind at the very microsecond.
            self.at = at;
            self.coarse = false;
        } else {
            // By less than a window and a grain, or the window would have left it behind.
            self.at += at.saturating_sub(self.at).div_ceil(by.tick) * by.tick;
        }
        self.early = ((self.at - at) * PARTS / by.tick) as u16;
        self.filled += count;
        while self.filled >= self.step(by) {
            if usize::from(self.len) == MARKS {
                if self.coarse || by.group == 1 {
                    // Only after the limit was lowered: the oldest do not matter any more.
                    self.forget(1);
                } else {
                    self.coarsen(by);
                    continue;
                }
            }
            self.marks[usize::from(self.len)] = (self.at / by.tick) as u16;
            self.len += 1;
            self.filled -= self.step(by);
        }
    }

    /// Sliding: forgets the groups that the window has left behind.
    fn slide(&mut self, by: &Measure, now: u64) {
        if self.len == 0 && self.filled == 0 {
            return;
        }
        if now >= self.latest(by) + by.window {
            (self.len, self.filled) = (0, 0);
            return;
        }
        let left = (0..self.len).take_while(|group| self.time_of(*group, by) + by.window <= now);
        match left.count() {
            0 => {}
            left => {
                self.forget(left);
                if self.coarse && self.used(by) <= MARKS as u64 / 2 {
                    self.refine(by);
                }
            }
        }
    }

    fn forget(&mut self, oldest: usize) {
        self.marks.copy_within(oldest..usize::from(self.len), 0);
        self.len -= oldest as u8;
    }

    /// Puts full groups of single requests together; those that make no full group are as of now.
    fn coarsen(&mut self, by: &Measure) {
        let group = by.group as usize;
        let groups = MARKS / group;
        for index in 0..groups {
            self.marks[index] = self.marks[(index + 1) * group - 1];
        }
        self.len = groups as u8;
        self.filled += (MARKS - groups * group) as u32;
        self.coarse = true;
    }

    /// Takes groups apart, where so few requests are left that each has room for itself.
    fn refine(&mut self, by: &Measure) {
        let mut marks = [(self.at / by.tick) as u16; MARKS];
        let used = self.used(by);
        let groups = &self.marks[..usize::from(self.len)];
        for (group, mark) in marks.chunks_mut(by.group as usize).zip(groups) {
            group.fill(*mark);
        }
        self.marks = marks;
        (self.len, self.filled, self.coarse) = (used as u8, 0, false);
    }

    /// Requests in a group.
    fn step(&self, by: &Measure) -> u32 {
        if self.coarse { by.group } else { 1 }
    }

    fn used(&self, by: &Measure) -> u64 {
        u64::from(self.len) * u64::from(self.step(by)) + u64::from(self.filled)
    }

    /// When the latest request of all was.
    fn latest(&self, by: &Measure) -> u64 {
        self.at - u64::from(self.early) * by.tick / PARTS
    }

    /// When the latest request of a group was: not after the latest of all.
    fn time_of(&self, group: u8, by: &Measure) -> u64 {
        let latest = (self.at / by.tick) as u16;
        match latest.wrapping_sub(self.marks[usize::from(group)]) {
            0 => self.latest(by),
            age => self.at - u64::from(age) * by.tick,
        }
    }

    /// When the window leaves a group behind; beyond the full ones, the one that is not.
    fn left_at(&self, group: u64, by: &Measure) -> u64 {
        match u8::try_from(group) {
            Ok(group) if group < self.len => self.time_of(group, by) + by.window,
            _ if self.len == 0 && self.filled == 0 => 0,
            _ => self.latest(by) + by.window,
        }
    }
}

/// Nothing counted, for no quota yet.
impl Default for Window {
    fn default() -> Self {
        Self::new(Self::UNUSED)
    }
}

/// The finest grain of which a window is at most [`GRAINS`]: a whole part of a second, or whole
/// seconds.
fn grain(window: u64) -> u64 {
    let least = window.div_ceil(GRAINS);
    match least {
        0..=SECOND => (least..=SECOND)
            .find(|grain| SECOND.is_multiple_of(*grain))
            .unwrap_or(SECOND),
        _ => least.next_multiple_of(SECOND),
    }
}

fn micros(quota: &Quota) -> u64 {
    quota.window().as_secs() * SECOND
}

/// Groups in the log of a window.
pub(crate) const MARKS: usize = 59;
/// Two windows fit into the bits of a mark.
const GRAINS: u64 = 1 << 15;
/// Of a grain.
const PARTS: u64 = 1 << 16;
/// Microseconds.
const SECOND: u64 = 1_000_000;

#[cfg(test)]
mod tests;
