//! What is counted of one caller, by each quota of the tier.

use std::iter;

use crate::{
    memory::cells::Judge,
    rate_limiter::{
        Quota, QuotaUsage,
        plans::{Counted, Known, Plan},
        window::{Counting, Reading, Room, Window},
    },
};

/// One caller's windows, one for each quota of the tier: most tiers have one.
#[derive(Default)]
#[repr(C)]
pub(super) struct Windows {
    more: Option<Box<Windows>>,
    first: Window,
}

/// The quota that has room for a request last, and when: none where all have room now.
pub(super) type Full<'k> = Option<(&'k Quota, u64)>;

/// What comes beside a caller's first window.
struct Rest<'w, 'k> {
    more: Option<&'w mut Windows>,
    /// Of the windows before.
    full: Full<'k>,
    usage: &'w mut [Option<QuotaUsage>],
}

/// A request in the terms of the arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Request<'k> {
    pub(super) cost: u32,
    /// Or only looks.
    pub(super) counts: bool,
    pub(super) at: Moment<'k>,
}

/// A time, with what is known of the quotas.
#[derive(Clone, Copy)]
pub(super) struct Moment<'k> {
    pub(super) known: &'k Known,
    /// Microseconds.
    pub(super) at: u64,
}

impl Windows {
    /// Whether anything was ever counted here: not in a cell that was given away and back.
    pub(super) fn are_used(&self) -> bool {
        self.first.quota != Window::UNUSED
    }

    /// Counts a request if all quotas have room for it and none before has been full, and else tells
    /// the one that takes longest.
    pub(super) fn ask<'k>(
        &mut self,
        request: Request<'k>,
        full: Full<'k>,
        usage: &mut [Option<QuotaUsage>],
    ) -> Full<'k> {
        let at = request.at;
        let (Some(by), [told, untold @ ..]) = (at.known.get(self.first.quota), usage) else {
            return full;
        };
        let rest = Rest {
            more: self.more.as_deref_mut(),
            full,
            usage: untold,
        };
        // Each with a copy of its own of what comes: no request asks twice how it is counted.
        let (full, room) = match self.first.read(&by.measure, at.at) {
            Reading::Log(window) => rest.ask_with(window, request, by),
            Reading::Counter(window) => rest.ask_with(window, request, by),
            Reading::Bucket(window) => rest.ask_with(window, request, by),
        };
        let reset = room.grows_at - at.at;
        *told = Some(QuotaUsage::in_micros(by.quota, room.remaining, reset));
        full
    }

    pub(super) fn are_counted_by(&self, plan: &Plan) -> bool {
        let numbers = plan.quotas.iter().map(|counted| counted.number);
        self.iter().map(|window| window.quota).eq(numbers)
    }

    /// Goes on with what was counted by quotas of the same names.
    pub(super) fn recount(&mut self, plan: &Plan, moment: Moment<'_>) {
        let Moment { known, at } = moment;
        let mut windows = plan.quotas.iter().map(|counted| {
            let before = self.iter_mut().find_map(|window| {
                let from = known.get(window.quota)?;
                (from.quota.name() == counted.quota.name()).then_some((window, from))
            });
            match before {
                Some((window, from)) => {
                    window.carried(&from.measure, &counted.measure, counted.number, at)
                }
                None => Window::new(counted.number),
            }
        });
        let first = windows.next().unwrap_or_default();
        let others: Vec<_> = windows.collect();
        let linked = |more, first| Some(Box::new(Self { more, first }));
        let more = others.into_iter().rev().fold(None, linked);
        *self = Self { more, first };
    }

    fn iter(&self) -> impl Iterator<Item = &Window> {
        iter::successors(Some(self), |windows| windows.more.as_deref())
            .map(|windows| &windows.first)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Window> {
        let mut next = Some(self);
        iter::from_fn(move || {
            let Self { more, first } = next.take()?;
            next = more.as_deref_mut();
            Some(first)
        })
    }
}

impl<'k> Rest<'_, 'k> {
    #[inline]
    fn ask_with(
        self,
        mut window: impl Counting,
        request: Request<'k>,
        by: &'k Counted,
    ) -> (Full<'k>, Room) {
        let (cost, now) = (by.measure.cost(request.cost), request.at.at);
        let free_at = window.free_at(cost);
        let mut full = match self.full {
            Some((_, longest)) if longest >= free_at => self.full,
            _ if free_at > now => Some((&by.quota, free_at)),
            full => full,
        };
        if let Some(more) = self.more {
            full = more.ask(request, full, self.usage);
        }
        if request.counts && full.is_none() {
            window.take(cost);
        }
        (full, window.room())
    }
}

impl<'k> Moment<'k> {
    /// Each window that was ever used, with the quota it is counted by.
    fn counted<'w>(&self, windows: &'w Windows) -> impl Iterator<Item = (&'w Window, &'k Counted)> {
        let known = self.known;
        let windows = windows.iter();
        windows.filter_map(|window| Some((window, known.get(window.quota)?)))
    }
}

impl Judge<Windows> for Moment<'_> {
    fn is_idle(&self, windows: &Windows) -> bool {
        let is_idle = |(window, by): (&Window, &Counted)| window.idle_at(&by.measure) <= self.at;
        self.counted(windows).all(is_idle)
    }

    fn weight(&self, windows: &Windows) -> u64 {
        let count = |(window, by): (&Window, &Counted)| window.count(&by.measure, self.at);
        self.counted(windows).map(count).max().unwrap_or(0)
    }
}
