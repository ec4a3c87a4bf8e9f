//! What a layer remembers: credentials that were found, and, apart from them, texts that were not.

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
};

use quick_cache::{OptionsBuilder, UnitWeighter, sync};

use crate::{
    changes::{Changes, Stamp},
    clock::Now,
    key_store::KeyDigest,
    pass::{Pass, micros},
};

/// Two bounded caches by digest. A flood of made-up keys fills the second one only, which hashes
/// with a key of this process, so that nobody can aim at one slot of it.
pub(crate) struct Cache {
    /// By the first word of the digest; the rest is compared in the pass itself, which is read next
    /// in any case. Should two digests ever have the same word, they take turns.
    passes: sync::Cache<u64, Pass, UnitWeighter, BuildHasherDefault<AsItIs>>,
    absent: sync::Cache<KeyDigest, Absent, UnitWeighter, RandomState>,
}

/// A text that was not found.
#[derive(Debug, Clone, Copy)]
struct Absent {
    stamp: Stamp,
    fresh_until: u64,
}

impl Cache {
    /// Room for so many credentials and so many unknown texts.
    pub(crate) fn new(passes: usize, absent: usize) -> Self {
        Self {
            passes: bounded(passes, BuildHasherDefault::default()),
            absent: bounded(absent, RandomState::new()),
        }
    }

    /// What was last read of a credential: the caller judges whether it is current.
    pub(crate) fn pass(&self, digest: &KeyDigest) -> Option<Pass> {
        self.passes
            .get(&digest.first_word())
            .filter(|pass| pass.digest() == digest)
    }

    /// The same, without counting as a use.
    pub(crate) fn peek(&self, digest: &KeyDigest) -> Option<Pass> {
        self.passes
            .peek(&digest.first_word())
            .filter(|pass| pass.digest() == digest)
    }

    pub(crate) fn keep(&self, pass: Pass) {
        self.passes.insert(pass.digest().first_word(), pass);
    }

    /// Remembers that nothing is found by `digest`, as of `stamp`.
    pub(crate) fn keep_absent(&self, digest: KeyDigest, stamp: Stamp, fresh_until: u64) {
        self.passes
            .remove_if(&digest.first_word(), |pass| *pass.digest() == digest);
        self.absent.insert(digest, Absent { stamp, fresh_until });
    }

    /// Whether it is known that nothing is found by `digest`.
    pub(crate) fn is_absent(&self, digest: &KeyDigest, changes: &Changes, now: Now) -> bool {
        self.absent.get(digest).is_some_and(|absent| {
            changes.absence_is_current(absent.stamp) && micros(now.monotonic) < absent.fresh_until
        })
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("passes", &self.passes.len())
            .field("absent", &self.absent.len())
            .finish()
    }
}

fn bounded<K: Eq + Hash, V: Clone, B: BuildHasher + Clone>(
    capacity: usize,
    hasher: B,
) -> sync::Cache<K, V, UnitWeighter, B> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(capacity)
        .weight_capacity(capacity as u64)
        .build()
        .expect("both capacities are given");
    sync::Cache::with_options(
        options,
        UnitWeighter,
        hasher,
        sync::DefaultLifecycle::default(),
    )
}

/// A word of a digest is as good as random: it is its own hash. That nobody can choose digests that
/// collide is not needed here, because only credentials that exist are kept.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;

    fn digest(number: u32) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        KeyDigest::from_bytes(bytes)
    }

    fn at(micros: u64) -> Now {
        Now {
            wall: Timestamp::from_unix_seconds(0),
            monotonic: Duration::from_micros(micros),
        }
    }

    #[test]
    fn a_flood_of_unknown_texts_stays_within_its_bounds() {
        let cache = Cache::new(8, 100);
        for number in 0..10_000 {
            cache.keep_absent(digest(number), Stamp::START, u64::MAX);
            assert!(
                cache.is_absent(&digest(number), &Changes::new(), at(0)),
                "the latest one is remembered"
            );
            assert!(cache.absent.len() <= 100);
        }
        assert_eq!(cache.passes.len(), 0);
    }

    #[test]
    fn an_unknown_text_is_asked_for_again_when_its_time_is_over() {
        let cache = Cache::new(8, 8);
        cache.keep_absent(digest(1), Stamp::START, 10);
        assert!(cache.is_absent(&digest(1), &Changes::new(), at(9)));
        assert!(!cache.is_absent(&digest(1), &Changes::new(), at(10)));
        assert!(!cache.is_absent(&digest(2), &Changes::new(), at(9)));
    }

    #[test]
    fn an_unknown_text_is_asked_for_again_when_a_digest_was_added() {
        let (cache, changes) = (Cache::new(8, 8), Changes::new());
        cache.keep_absent(digest(1), changes.stamp(), u64::MAX);
        assert!(cache.is_absent(&digest(1), &changes, at(0)));
        changes.added();
        assert!(!cache.is_absent(&digest(1), &changes, at(0)));
    }
}
