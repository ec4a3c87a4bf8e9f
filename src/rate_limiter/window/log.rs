//! The sliding window: a log of when requests were admitted.
//!
//! It is kept in groups: of one request each while no more than [`MARKS`] lie in the window, and of a
//! sixtieth of the limit and one each beyond that. A group counts whole until the window has left its
//! latest request behind. So
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

use super::{Counting, Groups, MARKS, MARKS_BESIDE_OLDER, Measure, Room, Window};

/// The log at a time, with what all of it is reckoned from.
pub(crate) struct Log<'w> {
    window: &'w mut Window,
    by: &'w Measure,
    now: u64,
    /// When the latest request of all was.
    latest: u64,
    /// The same rounded up to the grain of the marks.
    grid: u64,
    /// The same as a number of grains: its low bits are the mark.
    grains: u64,
}

impl<'w> Log<'w> {
    #[inline(always)]
    pub(super) fn read(window: &'w mut Window, by: &'w Measure, now: u64) -> Self {
        let (latest, grid) = (window.latest(), window.grid());
        let mut log = Self {
            window,
            by,
            now,
            latest,
            grid,
            grains: by.ticks(grid),
        };
        log.slide();
        log
    }

    /// Forgets the groups that the window has left behind.
    #[inline(always)]
    fn slide(&mut self) {
        if self.window.is_empty() {
            return;
        }
        let has_left = |at| at + self.by.window <= self.now;
        if has_left(self.latest) {
            (self.window.groups, self.window.filled) = (Groups::NONE, 0);
            return;
        }
        let groups = &self.window.marks[..self.window.groups.len()];
        let left = groups
            .iter()
            .take_while(|mark| has_left(self.time_of(**mark)));
        match left.count() {
            0 => {}
            left => {
                self.forget(left);
                self.window.groups = self.window.groups.with_older(false);
                if self.window.groups.are_coarse() && self.used() <= MARKS as u64 / 2 {
                    self.refine();
                }
            }
        }
    }

    /// Notes requests that were admitted `at` this time, or at that of the latest.
    #[inline(always)]
    pub(super) fn record(&mut self, count: u32, at: u64) {
        self.move_on(at.max(self.latest));
        let filled = self.window.filled.saturating_add(count);
        let is_coarse = self.window.groups.are_coarse();
        if !is_coarse && filled <= self.spare() {
            self.window.filled = 0;
            self.add(filled as usize);
        } else {
            self.fill(filled);
        }
    }

    fn move_on(&mut self, at: u64) {
        if self.window.is_empty() {
            // The grid begins here, so that a burst is left behind at the very microsecond.
            self.window.groups = Groups::NONE;
            self.grid = at;
            self.grains = self.by.ticks(at);
        } else {
            // By less than a window and a grain, or the window would have left it behind.
            let ahead = at.saturating_sub(self.grid);
            let grains = self.by.ticks(ahead + self.by.tick - 1);
            self.grid += grains * self.by.tick;
            self.grains += grains;
        }
        self.latest = at;
        self.window.set_latest(at, self.grid);
    }

    /// Makes groups of so many requests as of the latest one, and keeps what does not fill one.
    #[inline(never)]
    fn fill(&mut self, mut filled: u32) {
        // All full groups at once: a quota that was lowered may make very many of them.
        if !self.window.groups.are_coarse() && self.by.group > 1 {
            let spare = self.spare();
            self.add(spare as usize);
            filled = self.coarsen(filled - spare);
        }
        let step = self.step();
        let full = filled / step;
        self.window.filled = filled % step;
        if full <= self.spare() {
            self.add(full as usize);
        } else {
            self.add_the_latest(full);
        }
    }

    /// Marks so many groups as of the latest request.
    #[inline]
    fn add(&mut self, groups: usize) {
        let start = self.window.groups.len();
        self.window.marks[start..start + groups].fill(self.grains as u16);
        self.window.groups = self.window.groups.with_len(start + groups);
    }

    /// Marks so many groups where only the latest of all have room: the older ones are summed up.
    fn add_the_latest(&mut self, full: u32) {
        let marked = full.min(MARKS_BESIDE_OLDER as u32);
        let forgotten = self.window.groups.len() + marked as usize - MARKS_BESIDE_OLDER;
        let groups = forgotten as u64 + u64::from(full - marked);
        let older = u64::from(self.window.older()) + groups * u64::from(self.step());
        self.forget(forgotten);
        self.add(marked as usize);
        self.window.groups = self.window.groups.with_older(true);
        let older = u32::try_from(older).unwrap_or(u32::MAX);
        self.window.marks[MARKS_BESIDE_OLDER..]
            .copy_from_slice(&[older as u16, (older >> 16) as u16]);
    }

    #[inline]
    fn forget(&mut self, oldest: usize) {
        let len = self.window.groups.len();
        match oldest {
            // By far the most frequent: of a length known beforehand it is copied at once.
            1 => self.window.marks.copy_within(1.., 0),
            _ => self.window.marks.copy_within(oldest..len, 0),
        }
        self.window.groups = self.window.groups.with_len(len - oldest);
    }

    /// Puts full groups of single requests together; those that make no full group come to what is
    /// filled.
    fn coarsen(&mut self, filled: u32) -> u32 {
        let group = self.by.group as usize;
        let groups = MARKS / group;
        for index in 0..groups {
            self.window.marks[index] = self.window.marks[(index + 1) * group - 1];
        }
        self.window.groups = Groups::coarse(groups);
        filled + (MARKS - groups * group) as u32
    }

    /// Takes groups apart, where so few requests are left that each has room for itself.
    #[cold]
    fn refine(&mut self) {
        let mut marks = [self.grains as u16; MARKS];
        let used = self.used();
        let groups = &self.window.marks[..self.window.groups.len()];
        for (group, mark) in marks.chunks_mut(self.by.group as usize).zip(groups) {
            group.fill(*mark);
        }
        self.window.marks = marks;
        (self.window.groups, self.window.filled) = (Groups::of_one(used as usize), 0);
    }

    /// All requests, as of when they count: the oldest first.
    pub(super) fn requests(&self) -> impl Iterator<Item = (u32, u64)> {
        let step = self.step();
        let groups = &self.window.marks[..self.window.groups.len()];
        let older = groups
            .first()
            .map(|oldest| (self.window.older(), self.time_of(*oldest)));
        let groups = groups.iter().map(move |mark| (step, self.time_of(*mark)));
        let last = Some((self.window.filled, self.latest));
        let requests = older.into_iter().chain(groups).chain(last);
        requests.filter(|(count, _)| *count > 0)
    }

    /// How many more marks there is room for.
    fn spare(&self) -> u32 {
        let most = if self.window.groups.have_older() {
            MARKS_BESIDE_OLDER
        } else {
            MARKS
        };
        (most - self.window.groups.len()) as u32
    }

    fn step(&self) -> u32 {
        self.window.step(self.by)
    }

    fn used(&self) -> u64 {
        self.window.used(self.by)
    }

    /// When the latest request of a group was: not after the latest of all.
    #[inline]
    fn time_of(&self, mark: u16) -> u64 {
        match (self.grains as u16).wrapping_sub(mark) {
            0 => self.latest,
            age => self.grid - u64::from(age) * self.by.tick,
        }
    }

    /// When the window leaves a request behind, the oldest being number 0.
    #[inline]
    fn left_at(&self, request: u64) -> u64 {
        let group = match request.saturating_sub(self.window.older().into()) {
            0 => 0,
            request => request / u64::from(self.step()),
        };
        let groups = &self.window.marks[..self.window.groups.len()];
        match usize::try_from(group)
            .ok()
            .and_then(|group| groups.get(group))
        {
            Some(mark) => self.time_of(*mark) + self.by.window,
            None if self.window.is_empty() => 0,
            None => self.latest + self.by.window,
        }
    }
}

impl Counting for Log<'_> {
    #[inline]
    fn free_at(&self, cost: u32) -> u64 {
        match (self.used() + u64::from(cost)).saturating_sub(self.by.limit.into()) {
            0 => self.now,
            over => self.left_at(over - 1).max(self.now),
        }
    }

    #[inline]
    fn take(&mut self, cost: u32) {
        self.record(cost, self.now);
    }

    #[inline]
    fn room(&self) -> Room {
        let (limit, used) = (u64::from(self.by.limit), self.used());
        Room {
            remaining: limit.saturating_sub(used) as u32,
            grows_at: self.left_at(used.saturating_sub(limit)).max(self.now),
        }
    }
}
