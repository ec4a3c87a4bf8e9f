//! The fixed window: a counter that begins anew with the first request after it.

use super::{Counting, Measure, Room, Window};

pub(crate) struct Counter<'w> {
    window: &'w mut Window,
    by: &'w Measure,
    now: u64,
}

impl<'w> Counter<'w> {
    pub(super) fn read(window: &'w mut Window, by: &'w Measure, now: u64) -> Self {
        if now >= window.at + by.window {
            window.filled = 0;
        }
        Self { window, by, now }
    }
}

impl Counting for Counter<'_> {
    fn free_at(&self, cost: u32) -> u64 {
        if u64::from(self.window.filled) + u64::from(cost) <= self.by.limit.into() {
            self.now
        } else {
            (self.window.at + self.by.window).max(self.now)
        }
    }

    fn take(&mut self, cost: u32) {
        if self.window.filled == 0 {
            self.window.at = self.now;
        }
        self.window.filled += cost;
    }

    fn room(&self) -> Room {
        Room {
            remaining: self.by.limit.saturating_sub(self.window.filled),
            grows_at: match self.window.filled {
                0 => self.now,
                _ => self.window.at + self.by.window,
            },
        }
    }
}
