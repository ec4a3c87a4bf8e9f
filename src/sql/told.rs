//! What this process has told of the changes that are numbered in the database.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::watch;

use crate::{changes::Changes, license_ledger::LicenseEvent};

/// How many of the latest rows of `tower_key_change` are kept: whoever is further behind takes it
/// that everything changed. More than the slots of [`Changes`] would tell nothing more.
pub(crate) const KEPT_CHANGES: u64 = 4_096;

/// A change with its place in the order of commits: the first is 1.
pub(crate) trait Numbered {
    fn number(&self) -> u64;

    fn tell(&self, changes: &Changes);
}

/// A row of `tower_key_change`.
#[derive(Debug)]
pub(crate) struct KeyChange<K> {
    /// Its number in the order of commits, the first is 1.
    pub(crate) number: u64,
    /// The key's id.
    pub(crate) key: K,
    /// Whether a digest can be found since then that could not before.
    pub(crate) added: bool,
}

impl<K: AsRef<str>> Numbered for KeyChange<K> {
    fn number(&self) -> u64 {
        self.number
    }

    fn tell(&self, changes: &Changes) {
        changes.changed(&self.key);
        if self.added {
            changes.added();
        }
    }
}

impl Numbered for LicenseEvent {
    fn number(&self) -> u64 {
        self.seq
    }

    fn tell(&self, changes: &Changes) {
        self.tell(changes);
    }
}

/// The number up to which every change, of keys or of the ledger, has been told to [`Changes`].
///
/// A store's own writes are told when they are committed, those of other processes when they are
/// read; each is told once where that is certain, and rather twice than not at all.
#[derive(Debug)]
pub(crate) struct Told {
    changes: Changes,
    number: AtomicU64,
}

impl Told {
    /// Nothing has been told, and nothing has to be that was committed up to `number`.
    pub(crate) fn from(number: u64) -> Self {
        Self {
            changes: Changes::out_of_touch(),
            number: AtomicU64::new(number),
        }
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The number up to which all is told: to be taken before a reading begins.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Tells a change that this process has committed.
    pub(crate) fn tell_own(&self, change: &impl Numbered) {
        change.tell(&self.changes);
        // Where another process came in between, the number stays before its change, which is read
        // later, and this one with it.
        let before = change.number().wrapping_sub(1);
        let _ = self.number.compare_exchange(
            before,
            change.number(),
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
    }

    /// Whether a reading that found `latest` as the last number has to read the rows after `before`
    /// too, in order of their number. Where the rows cannot tell, everything is told here.
    pub(crate) fn must_read(&self, before: u64, latest: u64) -> bool {
        let behind = latest.checked_sub(before);
        match behind {
            Some(0) => false,
            Some(1..=KEPT_CHANGES) => true,
            // Too far behind, or the database is an older one than before: a backup came back.
            Some(_) | None => {
                self.tell_everything(before, latest);
                false
            }
        }
    }

    /// Tells what a reading found in the rows after `before`, up to `latest`.
    pub(crate) fn tell_read(&self, before: u64, latest: u64, rows: &[impl Numbered]) {
        let wanted = before + 1..=latest;
        if rows.iter().map(Numbered::number).ne(wanted) {
            return self.tell_everything(before, latest);
        }
        rows.iter().for_each(|row| row.tell(&self.changes));
        self.number.fetch_max(latest, Ordering::SeqCst);
    }

    fn tell_everything(&self, before: u64, latest: u64) {
        self.changes.everything();
        match before <= latest {
            true => drop(self.number.fetch_max(latest, Ordering::SeqCst)),
            false => self.number.store(latest, Ordering::SeqCst),
        }
    }
}

/// The same of a ledger's log, with how far it goes for those who follow it.
#[derive(Debug)]
pub(crate) struct ToldLog {
    told: Told,
    latest: watch::Sender<u64>,
}

impl ToldLog {
    /// As [`Told::from`].
    pub(crate) fn from(number: u64) -> Self {
        Self {
            told: Told::from(number),
            latest: watch::Sender::new(number),
        }
    }

    pub(crate) fn changes(&self) -> &Changes {
        self.told.changes()
    }

    pub(crate) fn number(&self) -> u64 {
        self.told.number()
    }

    pub(crate) fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Tells what this process has committed.
    pub(crate) fn tell_own<'e>(&self, events: impl IntoIterator<Item = &'e LicenseEvent>) {
        let tell = |event| self.told.tell_own(event);
        let numbers = events.into_iter().inspect(|event| tell(*event));
        if let Some(last) = numbers.map(Numbered::number).last() {
            self.tell_latest(last);
        }
    }

    /// As [`Told::must_read`].
    pub(crate) fn must_read(&self, before: u64, latest: u64) -> bool {
        let must_read = self.told.must_read(before, latest);
        if !must_read {
            self.tell_latest(latest);
        }
        must_read
    }

    /// As [`Told::tell_read`].
    pub(crate) fn tell_read(&self, before: u64, latest: u64, events: &[LicenseEvent]) {
        self.told.tell_read(before, latest, events);
        self.tell_latest(latest);
    }

    fn tell_latest(&self, latest: u64) {
        self.latest.send_if_modified(|known| {
            let is_news = *known < latest;
            *known = latest.max(*known);
            is_news
        });
    }
}

/// What a store has told of its keys and of its ledger.
#[derive(Debug)]
pub(crate) struct ToldOfBoth {
    pub(crate) keys: Told,
    pub(crate) ledger: ToldLog,
}

impl ToldOfBoth {
    /// As [`Told::from`].
    pub(crate) fn from(key_seq: u64, seq: u64) -> Self {
        Self {
            keys: Told::from(key_seq),
            ledger: ToldLog::from(seq),
        }
    }

    /// All that was committed before this monotonic time has been told.
    pub(crate) fn heard(&self, began: Duration) {
        self.keys.changes().heard(began);
        self.ledger.changes().heard(began);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: u64, key: &str) -> KeyChange<String> {
        KeyChange {
            number,
            key: key.to_owned(),
            added: false,
        }
    }

    /// Which of `a`, `b` and `c` were told of since the stamp.
    fn told(told: &Told, stamp: crate::Stamp) -> String {
        let names = ["a", "b", "c"];
        let told = names.map(|name| match told.changes.is_current(name, stamp) {
            true => "",
            false => name,
        });
        told.concat()
    }

    #[test]
    fn own_changes_in_order_need_no_reading() {
        let ours = Told::from(7);
        let stamp = ours.changes.stamp();
        ours.tell_own(&change(8, "a"));
        ours.tell_own(&change(9, "b"));
        assert_eq!(told(&ours, stamp), "ab");
        assert_eq!(ours.number(), 9);
        assert!(!ours.must_read(9, 9));
    }

    #[test]
    fn change_of_another_process_in_between_is_still_read() {
        let ours = Told::from(7);
        ours.tell_own(&change(9, "b"));
        assert_eq!(ours.number(), 7);
        assert!(ours.must_read(7, 9));
        let stamp = ours.changes.stamp();
        ours.tell_read(7, 9, &[change(8, "a"), change(9, "b")]);
        assert_eq!(told(&ours, stamp), "ab");
        assert_eq!(ours.number(), 9);
    }

    #[test]
    fn own_change_during_a_reading_is_not_taken_back() {
        let ours = Told::from(7);
        let before = ours.number();
        ours.tell_own(&change(8, "a"));
        assert!(ours.must_read(before, 8));
        ours.tell_own(&change(9, "b"));
        ours.tell_read(before, 8, &[change(8, "a")]);
        assert_eq!(ours.number(), 9);
    }

    #[test]
    fn rows_that_are_gone_mean_everything() {
        let ours = Told::from(7);
        let stamp = ours.changes.stamp();
        assert!(ours.must_read(7, 9));
        ours.tell_read(7, 9, &[change(9, "b")]);
        assert_eq!(told(&ours, stamp), "abc");
        assert_eq!(ours.number(), 9);
    }

    #[test]
    fn too_far_behind_means_everything_without_reading() {
        let ours = Told::from(0);
        assert!(ours.must_read(0, KEPT_CHANGES));
        let stamp = ours.changes.stamp();
        assert!(!ours.must_read(0, KEPT_CHANGES + 1));
        assert_eq!(told(&ours, stamp), "abc");
        assert_eq!(ours.number(), KEPT_CHANGES + 1);
    }

    #[test]
    fn database_that_is_older_than_before_means_everything() {
        let ours = Told::from(100);
        let stamp = ours.changes.stamp();
        assert!(!ours.must_read(100, 10));
        assert_eq!(told(&ours, stamp), "abc");
        assert_eq!(ours.number(), 10);
    }

    #[test]
    fn addition_is_told_as_one() {
        let ours = Told::from(0);
        let stamp = ours.changes.stamp();
        ours.tell_own(&change(1, "a"));
        assert!(ours.changes.absence_is_current(stamp));
        let added = KeyChange {
            added: true,
            ..change(2, "a")
        };
        ours.tell_read(1, 2, &[added]);
        assert!(!ours.changes.absence_is_current(stamp));
    }
}
