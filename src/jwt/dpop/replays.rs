//! The memory of proofs that have been used.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::{jwt::dpop::proof::Fault, token::KeyThumbprint};

/// Remembers proofs as long as they could be used again, and never more than so many.
///
/// A proof that is admitted is among those of the second it was made in. Where the proofs of a second
/// are forgotten, because none of them would be in time any more or because the room is needed, no
/// proof is admitted that was made before the end of that second: thus none is admitted twice, whatever
/// the clock does.
pub(super) struct Replays {
    /// All proofs of one key are in the same one.
    parts: Box<[Mutex<Part>]>,
    /// Nobody can tell with whom he will share one.
    seed: RandomState,
    /// Proofs in each part.
    capacity: usize,
}

#[derive(Default)]
struct Part {
    /// By the second they were made in.
    seconds: BTreeMap<i64, HashSet<[u8; 16]>>,
    /// How many there are in all seconds.
    known: usize,
    /// The first second of which nothing was forgotten.
    floor: Option<i64>,
}

impl Replays {
    pub(super) fn new(capacity: usize) -> Self {
        let parts = (capacity / LEAST_PART).clamp(1, MOST_PARTS);
        Self {
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            seed: RandomState::new(),
            capacity: capacity / parts,
        }
    }

    /// Admits a proof that was made at `issued_at` with this key, once. What was made before `oldest` is
    /// not asked about any more; both in microseconds.
    pub(super) fn admit(
        &self,
        key: &KeyThumbprint,
        id: &str,
        issued_at: i64,
        oldest: i64,
    ) -> Result<(), Fault> {
        let hash = Sha256::new().chain_update(key.as_bytes()).chain_update(id);
        let mut short = [0; 16];
        short.copy_from_slice(&hash.finalize()[..16]);
        let at = self.seed.hash_one(key) % self.parts.len() as u64;
        let second = |micros: i64| micros.div_euclid(1_000_000);
        self.parts[at as usize].lock().admit(
            short,
            second(issued_at),
            second(oldest),
            self.capacity,
        )
    }
}

impl Part {
    fn admit(
        &mut self,
        id: [u8; 16],
        second: i64,
        oldest: i64,
        capacity: usize,
    ) -> Result<(), Fault> {
        while let Some(first) = self.first().filter(|first| *first < oldest) {
            self.forget(first);
        }
        if self.floor.is_some_and(|floor| second < floor) {
            return Err(Fault::Forgotten);
        }
        if self
            .seconds
            .get(&second)
            .is_some_and(|ids| ids.contains(&id))
        {
            return Err(Fault::Replayed);
        }
        while self.known >= capacity {
            match self.first().filter(|first| *first < second) {
                Some(first) => self.forget(first),
                // It would be the next to go itself.
                None => return Err(Fault::Forgotten),
            }
        }
        self.known += usize::from(self.seconds.entry(second).or_default().insert(id));
        Ok(())
    }

    fn first(&self) -> Option<i64> {
        self.seconds.keys().next().copied()
    }

    fn forget(&mut self, second: i64) {
        let ids = self.seconds.remove(&second);
        self.known -= ids.map_or(0, |ids| ids.len());
        self.floor = self.floor.max(Some(second.saturating_add(1)));
    }
}

const MOST_PARTS: usize = 16;
/// Proofs; smaller parts would be full too soon.
const LEAST_PART: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn key(byte: u8) -> KeyThumbprint {
        KeyThumbprint::from_bytes([byte; 32])
    }

    #[test]
    fn a_proof_is_admitted_once_and_others_beside_it() {
        let replays = Replays::new(100);
        assert_eq!(replays.admit(&key(1), "a", 60 * SECOND, 0), Ok(()));
        let again = replays.admit(&key(1), "a", 60 * SECOND, 0);
        assert_eq!(again, Err(Fault::Replayed));
        // Within the same second, and with another fraction of it.
        let again = replays.admit(&key(1), "a", 61 * SECOND - 1, 0);
        assert_eq!(again, Err(Fault::Replayed));
        assert_eq!(replays.admit(&key(1), "b", 60 * SECOND, 0), Ok(()));
        assert_eq!(replays.admit(&key(2), "a", 60 * SECOND, 0), Ok(()));
    }

    #[test]
    fn what_is_no_longer_in_time_is_forgotten_and_not_admitted_again() {
        let replays = Replays::new(100);
        assert_eq!(replays.admit(&key(1), "a", 10 * SECOND, 0), Ok(()));
        // The tenth second has not passed for all that were made in it.
        let oldest = 11 * SECOND - 1;
        assert_eq!(replays.admit(&key(1), "b", 70 * SECOND, oldest), Ok(()));
        let again = replays.admit(&key(1), "a", 10 * SECOND, oldest);
        assert_eq!(again, Err(Fault::Replayed));
        assert_eq!(replays.parts[0].lock().known, 2);
        assert_eq!(
            replays.admit(&key(1), "c", 71 * SECOND, 11 * SECOND),
            Ok(())
        );
        assert_eq!(replays.parts[0].lock().known, 2, "forgotten");
        // The clock went back, or another thread looked at it before.
        let again = replays.admit(&key(1), "a", 10 * SECOND, 0);
        assert_eq!(again, Err(Fault::Forgotten));
        assert_eq!(replays.admit(&key(1), "d", 11 * SECOND, 0), Ok(()));
    }

    #[test]
    fn a_full_memory_shortens_the_window_and_admits_nothing_twice() {
        let replays = Replays::new(3);
        let admit = |id: &str, second| replays.admit(&key(1), id, second * SECOND, 0);
        assert_eq!(admit("a", 10), Ok(()));
        assert_eq!(admit("b", 11), Ok(()));
        assert_eq!(admit("c", 12), Ok(()));
        assert_eq!(
            admit("d", 10),
            Err(Fault::Forgotten),
            "no room as old as that"
        );
        assert_eq!(admit("e", 12), Ok(()), "the oldest goes");
        assert_eq!(admit("a", 10), Err(Fault::Forgotten));
        for replayed in [("b", 11), ("c", 12), ("e", 12)] {
            assert_eq!(admit(replayed.0, replayed.1), Err(Fault::Replayed));
        }
        assert_eq!(admit("f", 12), Ok(()));
        assert_eq!(admit("g", 12), Err(Fault::Forgotten), "this second is full");
        assert_eq!(admit("c", 12), Err(Fault::Replayed));
        assert_eq!(admit("h", 13), Ok(()), "the next one is not");
        assert_eq!(replays.parts[0].lock().known, 1);
    }

    #[test]
    fn one_clock_that_was_far_ahead_shuts_nobody_out() {
        let replays = Replays::new(100);
        assert_eq!(replays.admit(&key(1), "a", 10 * SECOND, 0), Ok(()));
        let far = 1_000_000 * SECOND;
        assert_eq!(replays.admit(&key(1), "b", far, far - 60 * SECOND), Ok(()));
        assert_eq!(replays.admit(&key(1), "c", 11 * SECOND, 0), Ok(()));
    }

    #[test]
    fn a_flood_of_one_client_stays_in_its_part() {
        let replays = Replays::new(MOST_PARTS * LEAST_PART);
        assert_eq!(replays.parts.len(), MOST_PARTS);
        for proof in 0..2 * LEAST_PART {
            let _ = replays.admit(&key(0), &proof.to_string(), 10 * SECOND, 0);
        }
        let known: Vec<_> = replays.parts.iter().map(|part| part.lock().known).collect();
        assert_eq!(known.iter().sum::<usize>(), LEAST_PART);
        let others =
            (1..=200).filter(|byte| replays.admit(&key(*byte), "a", 10 * SECOND, 0).is_ok());
        assert!(others.count() > 150);
    }

    #[test]
    fn of_many_at_once_one_is_admitted() {
        let replays = Replays::new(100);
        let admitted = thread::scope(|scope| {
            let admit = || replays.admit(&key(1), "a", 10 * SECOND, 0).is_ok();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(admit)).collect();
            let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
            outcomes.filter(|admitted| *admitted).count()
        });
        assert_eq!(admitted, 1);
    }
}
