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
//! Beyond the limit is only who had more before it was lowered. He is counted whole all the same, for
//! the case that it is raised again: what is older than the groups, as of the oldest of them.
//!
//! Time is in microseconds. Who asks has read the clock a little earlier, so now may be some way before
//! what was counted last: such a request counts as of the latest one. That shortens the window of
//! which 1. speaks by as much as now goes back, and lets who waits do so for as much longer.

use crate::rate_limiter::quota::{Algorithm, Quota};

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

    /// Forgets what the window has left behind: comes before all else that is asked of it now.
    pub(crate) fn advance(&mut self, by: &Measure, now: u64) {
        match by.algorithm {
            Algorithm::SlidingWindow => self.slide(by, now),
            Algorithm::FixedWindow if now >= self.at + by.window => self.filled = 0,
            Algorithm::FixedWindow | Algorithm::Gcra => {}
        }
    }

    /// What it has room for.
    pub(crate) fn room(&self, by: &Measure, now: u64) -> Room {
        match by.algorithm {
            Algorithm::SlidingWindow => {
                let (limit, used) = (u64::from(by.limit), self.used(by));
                Room {
                    remaining: limit.saturating_sub(used) as u32,
                    grows_at: self.left_at(used.saturating_sub(limit), by).max(now),
                }
            }
            Algorithm::FixedWindow => {
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
                    over => self.left_at(over - 1, by),
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
    /// others all as of now; by a bucket no more than it holds.
    pub(crate) fn carried(&mut self, from: &Measure, by: &Measure, quota: u16, now: u64) -> Self {
        let mut carried = Self::new(quota);
        self.advance(from, now);
        match (from.algorithm, by.algorithm) {
            (Algorithm::SlidingWindow, Algorithm::SlidingWindow) => {
                let older = (self.older(), self.time_of(0, from));
                let groups = (0..self.groups.len())
                    .map(|group| (self.step(from), self.time_of(group, from)));
                let last = (self.filled, self.latest());
                for (count, at) in [older].into_iter().chain(groups).chain([last]) {
                    if count > 0 && at + by.window > now {
                        carried.record(count, by, at);
                    }
                }
            }
            _ => {
                let most = match by.algorithm {
                    Algorithm::Gcra => by.limit,
                    _ => u32::MAX,
                };
                match self.count(from, now).min(most.into()) {
                    0 => {}
                    used => carried.take(used as u32, by, now),
                }
            }
        }
        carried
    }

    /// Sliding: notes requests that were admitted `at` this time, or at that of the latest.
    fn record(&mut self, count: u32, by: &Measure, at: u64) {
        let at = at.max(self.latest());
        if self.is_empty() {
            // The grid begins here, so that a burst is left behind at the very microsecond.
            self.set_latest(at, at);
            self.groups = Groups::NONE;
        } else {
            // By less than a window and a grain, or the window would have left it behind.
            let grid = self.grid();
            let grains = by.ticks(at.saturating_sub(grid) + by.tick - 1);
            self.set_latest(at, grid + grains * by.tick);
        }
        self.filled = self.filled.saturating_add(count);
        // All full groups at once: a quota that was lowered may make very many of them.
        if !self.groups.are_coarse() && self.filled > self.spare() && by.group > 1 {
            let spare = self.spare();
            self.filled -= spare;
            self.mark(spare as usize, by);
            self.coarsen(by);
        }
        let full = match self.step(by) {
            1 => self.filled,
            step => self.filled / step,
        };
        self.filled -= full * self.step(by);
        if full <= self.spare() {
            self.mark(full as usize, by);
        } else {
            self.mark_the_latest(full, by);
        }
    }

    /// Marks so many groups where only the latest of all have room: the older ones are summed up.
    fn mark_the_latest(&mut self, full: u32, by: &Measure) {
        let marked = full.min(MARKS_BESIDE_OLDER as u32);
        let forgotten = self.groups.len() + marked as usize - MARKS_BESIDE_OLDER;
        let groups = forgotten as u64 + u64::from(full - marked);
        let older = u64::from(self.older()) + groups * u64::from(self.step(by));
        self.forget(forgotten);
        self.mark(marked as usize, by);
        self.groups = self.groups.with_older(true);
        let older = u32::try_from(older).unwrap_or(u32::MAX);
        self.marks[MARKS_BESIDE_OLDER..].copy_from_slice(&[older as u16, (older >> 16) as u16]);
    }

    /// Requests older than the oldest group, as of which they count.
    fn older(&self) -> u32 {
        match (self.groups.have_older(), &self.marks[MARKS_BESIDE_OLDER..]) {
            (true, &[low, high]) => u32::from(high) << 16 | u32::from(low),
            _ => 0,
        }
    }

    /// How many more marks there is room for.
    fn spare(&self) -> u32 {
        let most = if self.groups.have_older() {
            MARKS_BESIDE_OLDER
        } else {
            MARKS
        };
        (most - self.groups.len()) as u32
    }

    /// Marks so many groups as of the latest request.
    fn mark(&mut self, groups: usize, by: &Measure) {
        if groups == 0 {
            return;
        }
        let start = self.groups.len();
        let latest = self.latest_mark(by);
        self.marks[start..start + groups].fill(latest);
        self.groups = self.groups.with_len(start + groups);
    }

    /// Sliding: forgets the groups that the window has left behind.
    fn slide(&mut self, by: &Measure, now: u64) {
        if self.is_empty() {
            return;
        }
        if now >= self.latest() + by.window {
            (self.groups, self.filled) = (Groups::NONE, 0);
            return;
        }
        let left =
            (0..self.groups.len()).take_while(|group| self.time_of(*group, by) + by.window <= now);
        match left.count() {
            0 => {}
            left => {
                self.forget(left);
                self.groups = self.groups.with_older(false);
                if self.groups.are_coarse() && self.used(by) <= MARKS as u64 / 2 {
                    self.refine(by);
                }
            }
        }
    }

    fn forget(&mut self, oldest: usize) {
        let len = self.groups.len();
        self.marks.copy_within(oldest..len, 0);
        self.groups = self.groups.with_len(len - oldest);
    }

    /// Puts full groups of single requests together; those that make no full group are as of now.
    fn coarsen(&mut self, by: &Measure) {
        let group = by.group as usize;
        let groups = MARKS / group;
        for index in 0..groups {
            self.marks[index] = self.marks[(index + 1) * group - 1];
        }
        self.groups = Groups::coarse(groups);
        self.filled += (MARKS - groups * group) as u32;
    }

    /// Takes groups apart, where so few requests are left that each has room for itself.
    fn refine(&mut self, by: &Measure) {
        let mut marks = [self.latest_mark(by); MARKS];
        let used = self.used(by);
        let groups = &self.marks[..self.groups.len()];
        for (group, mark) in marks.chunks_mut(by.group as usize).zip(groups) {
            group.fill(*mark);
        }
        self.marks = marks;
        (self.groups, self.filled) = (Groups::of_one(used as usize), 0);
    }

    fn is_empty(&self) -> bool {
        self.groups.len() == 0 && self.filled == 0
    }

    /// Requests in a group.
    fn step(&self, by: &Measure) -> u32 {
        if self.groups.are_coarse() {
            by.group
        } else {
            1
        }
    }

    fn used(&self, by: &Measure) -> u64 {
        let full = self.groups.len() as u64 * u64::from(self.step(by));
        u64::from(self.older()) + full + u64::from(self.filled)
    }

    /// When the latest request of all was, rounded up to the grain of the marks.
    fn grid(&self) -> u64 {
        self.at & TIME
    }

    /// When the latest request of all was.
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

    fn latest_mark(&self, by: &Measure) -> u16 {
        by.ticks(self.grid()) as u16
    }

    /// When the latest request of a group was: not after the latest of all.
    fn time_of(&self, group: usize, by: &Measure) -> u64 {
        let latest = self.latest_mark(by);
        match latest.wrapping_sub(self.marks[group]) {
            0 => self.latest(),
            age => self.grid() - u64::from(age) * by.tick,
        }
    }

    /// When the window leaves a request behind, the oldest being number 0.
    fn left_at(&self, request: u64, by: &Measure) -> u64 {
        let group = match request.saturating_sub(self.older().into()) {
            0 => 0,
            request => request / u64::from(self.step(by)),
        };
        match usize::try_from(group) {
            Ok(group) if group < self.groups.len() => self.time_of(group, by) + by.window,
            _ if self.is_empty() => 0,
            _ => self.latest() + by.window,
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
