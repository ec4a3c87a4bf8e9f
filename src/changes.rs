//! How a backend tells the layers of its process what changed.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The changes of one backend, as seen in this process: a handle that backend and layers share.
///
/// A backend calls [`changed`](Self::changed), [`added`](Self::added) or
/// [`everything`](Self::everything) after a change is committed and before its caller is answered.
/// What a layer remembers carries the [`Stamp`] that was taken before it was read; the layer uses
/// it only while no later change touched it. Therefore
///
/// 1. a change is in force in this process before the call that made it returns, also when the
///    backend was called directly,
/// 2. a read that began before a change is never used after it, whenever it ends,
/// 3. checking costs one atomic read while nothing changes, whatever the number of keys, and three
///    more for each key after a change.
///
/// Names share 4,096 slots, so now and then a change makes a layer ask again for a name that did
/// not change; it never makes it miss one that did.
///
/// A backend whose data can be changed by others (a database that many processes use) starts
/// [`out_of_touch`](Self::out_of_touch), says [`heard`](Self::heard) each time it has learnt every change up to now, and
/// reports what it learnt with the calls above. Layers stop trusting what they remember when the
/// last word is older than their `max_staleness`.
#[derive(Debug, Clone)]
pub struct Changes(Arc<Shared>);

/// A point in the order of a backend's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// Before any change.
    pub(crate) const START: Self = Self(0);

    /// How many changes came before it.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Which of the slots a name falls into: kept beside what is remembered, so that checking hashes
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u16);

impl Slot {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The stamp of what is remembered: it moves on while nothing that is remembered changes.
#[derive(Debug)]
pub(crate) struct MovingStamp(AtomicU64);

impl MovingStamp {
    pub(crate) fn get(&self) -> Stamp {
        Stamp(self.0.load(Ordering::Relaxed))
    }
}

impl From<Stamp> for MovingStamp {
    fn from(stamp: Stamp) -> Self {
        Self(AtomicU64::new(stamp.0))
    }
}

#[derive(Debug)]
struct Shared {
    /// The number of changes so far. It is raised last: who reads it finds all of them below.
    count: AtomicU64,
    /// The number of the latest change to everything.
    everything: AtomicU64,
    /// The number of the latest addition.
    added: AtomicU64,
    /// The number of the latest change to a name in this slot.
    slots: Box<[AtomicU64]>,
    /// Monotonic microseconds of the last word, plus one, or one of the two marks below.
    heard: AtomicU64,
    /// One change at a time.
    changing: Mutex<()>,
}

const SLOTS: usize = 4_096;
const ALWAYS: u64 = u64::MAX;
const NEVER: u64 = 0;

impl Changes {
    /// For a backend that only this process changes: its layers are never out of touch.
    pub fn new() -> Self {
        Self::with_heard(ALWAYS)
    }

    /// For a backend that others change too, and that has had no word yet.
    pub fn out_of_touch() -> Self {
        Self::with_heard(NEVER)
    }

    fn with_heard(heard: u64) -> Self {
        Self(Arc::new(Shared {
            count: AtomicU64::new(0),
            everything: AtomicU64::new(0),
            added: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            heard: AtomicU64::new(heard),
            changing: Mutex::new(()),
        }))
    }

    /// What is stored under `name` (a key's id, a holder) changed or went away.
    pub fn changed(&self, name: impl AsRef<str>) {
        let slot = Self::slot(name.as_ref());
        self.change(&self.0.slots[slot.index()]);
    }

    /// Something that was not there before can now be found.
    pub fn added(&self) {
        self.change(&self.0.added);
    }

    /// Anything may have changed.
    pub fn everything(&self) {
        self.change(&self.0.everything);
    }

    fn change(&self, what: &AtomicU64) {
        let _one_at_a_time = self
            .0
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let number = self.0.count.load(Ordering::Relaxed) + 1;
        what.store(number, Ordering::Release);
        self.0.count.store(number, Ordering::Release);
    }

    /// Every change up to `monotonic` (a reading of the [`Clock`](crate::Clock)) has been reported.
    pub fn heard(&self, monotonic: Duration) {
        let micros = u64::try_from(monotonic.as_micros()).unwrap_or(ALWAYS);
        self.0
            .heard
            .fetch_max(micros.saturating_add(1).min(ALWAYS - 1), Ordering::SeqCst);
    }

    /// The point reached so far: taken before a read, it says how fresh the read is.
    pub fn stamp(&self) -> Stamp {
        Stamp(self.0.count.load(Ordering::SeqCst))
    }

    /// Whether nothing under `name` changed since `stamp`.
    pub fn is_current(&self, name: impl AsRef<str>, stamp: Stamp) -> bool {
        self.slot_is_current(Self::slot(name.as_ref()), stamp)
    }

    pub(crate) fn slot(name: &str) -> Slot {
        // Fixed keys are enough: whoever could choose names that share a slot would only make a
        // layer ask more often for those names.
        let mut hasher = std::hash::DefaultHasher::new();
        name.hash(&mut hasher);
        Slot((hasher.finish() % SLOTS as u64) as u16)
    }

    /// Whether nothing in `slot` changed since `stamp`, which then moves on: until the next change
    /// one comparison answers.
    #[inline]
    pub(crate) fn still_current(&self, slot: Slot, stamp: &MovingStamp) -> bool {
        // First of all: what is found unchanged below is unchanged up to here.
        let count = self.0.count.load(Ordering::Acquire);
        let known = stamp.get();
        if known.0 == count {
            return true;
        }
        let current = self.slot_is_current(slot, known);
        if current {
            stamp.0.store(count, Ordering::Relaxed);
        }
        current
    }

    pub(crate) fn slot_is_current(&self, slot: Slot, stamp: Stamp) -> bool {
        self.0.slots[slot.index()].load(Ordering::Acquire) <= stamp.0
            && self.0.everything.load(Ordering::Acquire) <= stamp.0
    }

    /// Whether what was not there at `stamp` is still not there.
    pub(crate) fn absence_is_current(&self, stamp: Stamp) -> bool {
        self.0.added.load(Ordering::Acquire) <= stamp.0
            && self.0.everything.load(Ordering::Acquire) <= stamp.0
    }

    /// Whether the last word is at most `max_staleness` old.
    pub(crate) fn in_touch(&self, monotonic: Duration, max_staleness: Duration) -> bool {
        match self.0.heard.load(Ordering::Acquire) {
            ALWAYS => true,
            NEVER => false,
            heard => monotonic <= Duration::from_micros(heard - 1).saturating_add(max_staleness),
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_began_before_a_change_is_stale_after_it() {
        let changes = Changes::new();
        let before = changes.stamp();
        assert!(changes.is_current("a", before));
        changes.changed("a");
        assert!(!changes.is_current("a", before));
        assert!(
            changes.is_current("b", before),
            "another name is not touched"
        );
        assert!(changes.is_current("a", changes.stamp()));
    }

    #[test]
    fn a_moving_stamp_goes_with_the_changes_of_others_and_stops_at_its_own() {
        let changes = Changes::new();
        let (slot, stamp) = (Changes::slot("a"), MovingStamp::from(changes.stamp()));
        changes.changed("b");
        changes.added();
        assert!(changes.still_current(slot, &stamp));
        assert_eq!(stamp.get(), changes.stamp(), "up to date at a glance");
        let before = stamp.get();
        changes.changed("a");
        assert!(!changes.still_current(slot, &stamp));
        assert_eq!(stamp.get(), before, "what is out of date stays so");
        let stamp = MovingStamp::from(changes.stamp());
        changes.everything();
        assert!(!changes.still_current(slot, &stamp));
    }

    #[test]
    fn no_change_is_missed_by_a_stamp_that_moves_on_meanwhile() {
        let (changes, slot) = (Changes::new(), Changes::slot("a"));
        let (stored, told, rounds) = (AtomicU64::new(0), AtomicU64::new(0), 20_000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=rounds {
                    stored.store(round, Ordering::SeqCst);
                    changes.changed("a");
                    told.store(round, Ordering::SeqCst);
                }
            });
            let mut read = 0;
            while read < rounds {
                let stamp = MovingStamp::from(changes.stamp());
                read = stored.load(Ordering::SeqCst);
                while told.load(Ordering::SeqCst) <= read && read < rounds {
                    changes.still_current(slot, &stamp);
                }
                assert!(read == rounds || !changes.still_current(slot, &stamp));
            }
        });
    }

    #[test]
    fn everything_touches_every_name_and_every_absence() {
        let changes = Changes::new();
        let before = changes.stamp();
        changes.everything();
        assert!(!changes.is_current("a", before));
        assert!(!changes.absence_is_current(before));
    }

    #[test]
    fn an_addition_touches_absences_only() {
        let changes = Changes::new();
        let before = changes.stamp();
        changes.added();
        assert!(changes.is_current("a", before));
        assert!(!changes.absence_is_current(before));
        changes.changed("a");
        assert!(changes.absence_is_current(changes.stamp()));
    }

    #[test]
    fn touch_is_lost_max_staleness_after_the_last_word() {
        let second = Duration::from_secs(1);
        assert!(Changes::new().in_touch(1_000_000 * second, Duration::ZERO));
        let changes = Changes::out_of_touch();
        assert!(!changes.in_touch(Duration::ZERO, 30 * second));
        changes.heard(10 * second);
        assert!(changes.in_touch(40 * second, 30 * second));
        assert!(!changes.in_touch(40 * second + Duration::from_micros(1), 30 * second));
        assert!(
            changes.in_touch(10 * second, Duration::ZERO),
            "zero staleness is allowed"
        );
    }
}
