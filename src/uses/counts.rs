//! Counts of uses that wait to be written.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use crate::{
    clock::Timestamp,
    key_store::KeyId,
    usage::{Hour, Outcome, UsageCount},
};

/// What waits of some keys: in order of the key, so that a writing goes through all of them while
/// they are counted on. Bounded, because a store may be away for days.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    by_key: BTreeMap<KeyId, Vec<Count>>,
    /// How many there are of all keys.
    len: usize,
}

/// How many requests of one key came to the same in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) hour: Hour,
    pub(crate) outcome: Outcome,
    pub(crate) count: u64,
}

impl Counts {
    /// Adds to what waits, and answers whether there was room for it.
    pub(crate) fn add(&mut self, key: &str, count: Count) -> bool {
        if let Some(waiting) = self.by_key.get_mut(key) {
            let same = |other: &&mut Count| other.is_of(count.hour, count.outcome);
            if let Some(same) = waiting.iter_mut().find(same) {
                same.count = same.count.saturating_add(count.count);
                return true;
            }
        }
        if self.len >= MOST {
            return false;
        }
        // A holder that is no key's id: a token's, which counts nowhere.
        let Ok(key) = KeyId::new(key) else {
            return true;
        };
        self.by_key.entry(key).or_default().push(count);
        self.len += 1;
        true
    }

    /// Those of the keys after this one, of so many keys that they are `most` or a few more.
    pub(crate) fn after(&self, key: Option<&KeyId>, most: usize) -> Vec<UsageCount> {
        let start = key.map_or(Unbounded, Excluded);
        let mut batch = Vec::new();
        for (key, waiting) in self.by_key.range::<KeyId, _>((start, Unbounded)) {
            if batch.len() >= most {
                break;
            }
            batch.extend(waiting.iter().map(|count| count.of_key(key)));
        }
        batch
    }

    /// Takes off what was written. What was counted since then goes on waiting.
    pub(crate) fn take_off(&mut self, written: &[UsageCount]) {
        for written in written {
            let Some(waiting) = self.by_key.get_mut(&written.key) else {
                continue;
            };
            let before = waiting.len();
            let hour = Hour::of(written.hour);
            for same in waiting.iter_mut() {
                if same.is_of(hour, written.outcome) {
                    same.count = same.count.saturating_sub(written.count);
                }
            }
            waiting.retain(|count| count.count > 0);
            self.len -= before - waiting.len();
            if waiting.is_empty() {
                self.by_key.remove(&written.key);
            }
        }
    }

    /// What waits of one key since this hour.
    pub(crate) fn of_key(&self, key: &KeyId, since: Timestamp) -> Vec<UsageCount> {
        let waiting = self.by_key.get(key).into_iter().flatten();
        let recent = waiting.filter(|count| count.hour.start() >= since);
        recent.map(|count| count.of_key(key)).collect()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Count {
    pub(crate) fn of_key(&self, key: &KeyId) -> UsageCount {
        UsageCount::new(key.clone(), self.hour.start(), self.outcome, self.count)
    }

    fn is_of(&self, hour: Hour, outcome: Outcome) -> bool {
        self.hour == hour && self.outcome == outcome
    }
}

/// In one of sixteen shards: a million in all, which take some 100 MB where each is another key's.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DenialCode;

    fn key(number: usize) -> KeyId {
        KeyId::new(format!("key-{number:06}")).expect("an id")
    }

    fn count(hour: u32, outcome: Outcome, count: u64) -> Count {
        Count {
            hour: Hour::from_number(hour),
            outcome,
            count,
        }
    }

    #[test]
    fn what_is_counted_while_it_is_written_goes_on_waiting() {
        let (mut counts, key) = (Counts::default(), key(1));
        let limited = Outcome::Refused(DenialCode::RateLimited);
        for hour in [1, 2] {
            assert!(counts.add(key.as_str(), count(hour, Outcome::Granted, 5)));
        }
        let batch = counts.after(None, 10);
        counts.add(key.as_str(), count(1, Outcome::Granted, 3));
        counts.add(key.as_str(), count(1, limited, 1));
        counts.take_off(&batch);
        let left = [count(1, Outcome::Granted, 3), count(1, limited, 1)];
        let left = left.map(|count| count.of_key(&key));
        assert_eq!(counts.after(None, 10), left);
        assert_eq!(counts.of_key(&key, Timestamp::MIN), left);
        assert_eq!(counts.of_key(&key, Timestamp::MAX), []);
        counts.take_off(&left);
        assert_eq!((counts.len, counts.by_key.len()), (0, 0));
    }

    #[test]
    fn batches_go_through_all_keys_while_the_first_ones_are_counted_on() {
        let mut counts = Counts::default();
        for number in 0..10 {
            counts.add(key(number).as_str(), count(1, Outcome::Granted, 1));
        }
        let (mut written, mut last) = (Vec::new(), None);
        loop {
            let batch = counts.after(last.as_ref(), 3);
            let Some(end) = batch.last() else { break };
            last = Some(end.key.clone());
            counts.take_off(&batch);
            counts.add(key(0).as_str(), count(1, Outcome::Granted, 1));
            written.extend(batch.into_iter().map(|count| count.key));
        }
        assert_eq!(written, (0..10).map(key).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_takes_what_adds_to_it_and_nothing_new() {
        let mut counts = Counts::default();
        for number in 0..MOST {
            assert!(counts.add(key(number).as_str(), count(1, Outcome::Granted, 1)));
        }
        assert!(counts.add(key(0).as_str(), count(1, Outcome::Granted, 1)));
        assert!(!counts.add(key(0).as_str(), count(2, Outcome::Granted, 1)));
        assert!(!counts.add(key(MOST).as_str(), count(1, Outcome::Granted, 1)));
        assert_eq!(counts.len, MOST);
        counts.take_off(&counts.of_key(&key(1), Timestamp::MIN));
        assert!(counts.add(key(MOST).as_str(), count(1, Outcome::Granted, 1)));
    }
}
