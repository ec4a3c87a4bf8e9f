//! The generic cell rate algorithm (ITU-T I.371): a bucket that fills up evenly.

use super::{Counting, Measure, Room, Window};

pub(crate) struct Bucket<'w> {
    window: &'w mut Window,
    by: &'w Measure,
    now: u64,
}

impl<'w> Bucket<'w> {
    pub(super) fn read(window: &'w mut Window, by: &'w Measure, now: u64) -> Self {
        Self { window, by, now }
    }

    fn full_at_after(&self, cost: u32) -> u64 {
        self.window.at.max(self.now) + u64::from(cost) * self.by.tick
    }
}

impl Counting for Bucket<'_> {
    fn free_at(&self, cost: u32) -> u64 {
        let full_at = self.full_at_after(cost);
        full_at.saturating_sub(self.by.depth()).max(self.now)
    }

    fn take(&mut self, cost: u32) {
        self.window.at = self.full_at_after(cost);
    }

    fn room(&self) -> Room {
        let (full_at, depth) = (self.window.at, self.by.depth());
        if full_at <= self.now {
            return Room {
                remaining: self.by.limit,
                grows_at: self.now,
            };
        }
        let remaining = depth.saturating_sub(full_at - self.now) / self.by.tick;
        Room {
            remaining: remaining as u32,
            grows_at: full_at - (depth - (remaining + 1) * self.by.tick),
        }
    }
}
