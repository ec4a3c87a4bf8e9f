//! Pseudo-random histories, the same on every machine, each step beside [`LedgerState`].

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::license_ledger::KeyEvent;

const STEPS: u32 = 150;

/// All operations in turn.
pub async fn history_of_all_operations(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    random_history(ledger, clock, 3).await;
}

/// Many holders and few seats: mostly assignments and changes of count.
pub async fn history_of_a_crowd(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    random_history(ledger, clock, 4).await;
}

/// Licenses and holders that expire and are renewed, with a clock that now and then steps back.
pub async fn history_of_expiries(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    random_history(ledger, clock, 5).await;
}

/// The history that belongs to `seed`: for those who want more of them than the suite runs.
///
/// Seeds that leave 0, 1 or 2 when divided by 3 lay stress on all operations, on crowds, or on
/// expiries.
pub async fn random_history(ledger: impl LicenseLedger, clock: Arc<ManualClock>, seed: u64) {
    let rule = "a pseudo-random history, step by step beside the state machine";
    Scene::new(ledger, clock, rule).follow(seed).await;
}

impl<L: LicenseLedger> Scene<L> {
    /// Makes the changes of a history and compares all there is after each.
    pub(in crate::conformance) async fn follow(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        for _ in 0..STEPS {
            random.pass_time(&self.clock);
            self.actor = Actor::new(format!("actor-{}", random.below(3))).expect("a valid actor");
            let operation = random.operation(self.clock.now().wall);
            self.make(operation).await;
        }
        self.log_is_whole().await;
        assert!(
            self.log.len() > STEPS as usize / 4,
            "the history of seed {seed} says something"
        );
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): tiny, and good enough to choose by.
pub(super) struct Random {
    state: u64,
    weights: [u64; 14],
    /// The licenses as its own operations have left them, to be expected.
    licenses: BTreeMap<LicenseId, License>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // In order of `operation`: assign, unassign, delete, revoke, activity, end of a holder,
        // license, its removal, mapping, limited edition, record, tick, and license and removal with
        // an expectation.
        let weights = match seed % 3 {
            0 => [10, 6, 2, 1, 4, 3, 3, 1, 3, 2, 2, 1, 3, 1],
            1 => [14, 8, 1, 0, 4, 0, 4, 0, 1, 0, 0, 1, 2, 0],
            _ => [10, 3, 1, 0, 3, 6, 6, 1, 1, 1, 0, 6, 3, 1],
        };
        let state = seed.wrapping_mul(0xd134_2543_de82_ef95);
        Self {
            state,
            weights,
            licenses: BTreeMap::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len() as u64) as usize]
    }

    fn pass_time(&mut self, clock: &ManualClock) {
        match self.below(10) {
            0..5 => {}
            5..9 => clock.advance(Duration::from_micros(self.below(3_000_000))),
            _ => {
                let back = i64::try_from(self.below(2_000_000)).unwrap_or(0);
                let now = clock.now().wall.unix_micros();
                clock.set_wall(Timestamp::from_unix_micros(now - back));
            }
        }
    }

    pub(super) fn operation(&mut self, now: Timestamp) -> Operation {
        let mut choice = self.below(self.weights.iter().sum());
        let mut kind = 0;
        while choice >= self.weights[kind] {
            choice -= self.weights[kind];
            kind += 1;
        }
        match kind {
            0 => Operation::Assign {
                holder: self.holder(),
                modules: self.modules(),
            },
            1 => Operation::Unassign {
                holder: self.holder(),
                modules: self.modules(),
            },
            2 => Operation::DeleteKey {
                holder: self.holder(),
            },
            3 => Operation::RevokeKey {
                holder: self.holder(),
            },
            4 => Operation::SetActive {
                holder: self.holder(),
                active: self.below(2) == 0,
            },
            5 => Operation::SetActiveUntil {
                holder: self.holder(),
                active_until: self.end(now),
            },
            6 => {
                let license = self.license_until(now);
                self.licenses.insert(license.id.clone(), license.clone());
                Operation::SetLicense { license }
            }
            7 => {
                let license = self.license();
                self.licenses.remove(&license);
                Operation::RemoveLicense { license }
            }
            8 => Operation::MapModule {
                module: self.module(),
                license: (self.below(6) > 0).then(|| self.license()),
            },
            9 => limited_edition(self.below(2) == 0),
            10 => {
                let key = key(self.one_of(&["A", "B", "C", "D", "E"]));
                let event = match self.below(3) {
                    0 => KeyEvent::Created(key),
                    1 => KeyEvent::Changed(key, vec!["name".to_owned(), "tier".to_owned()]),
                    _ => KeyEvent::Regenerated(key),
                };
                Operation::Record { event }
            }
            11 => Operation::Tick,
            12 => {
                let license = self.license_until(now);
                let known = self.licenses.get(&license.id).cloned();
                let expected = match self.below(4) {
                    0 => known.is_none().then(|| license.clone()),
                    _ => known.clone(),
                };
                if expected == known {
                    self.licenses.insert(license.id.clone(), license.clone());
                }
                Operation::SetLicenseIf { license, expected }
            }
            _ => {
                let other = self.license_until(now);
                let known = self.licenses.get(&other.id).cloned();
                let expected = known.filter(|_| self.below(4) > 0).unwrap_or(other);
                if self.licenses.get(&expected.id) == Some(&expected) {
                    self.licenses.remove(&expected.id);
                }
                Operation::RemoveLicenseIf { expected }
            }
        }
    }

    fn license_until(&mut self, now: Timestamp) -> License {
        let seats = match self.below(8) {
            7 => Seats::Unlimited,
            seats => Seats::Limited(seats as u32 / 2),
        };
        License::new(self.license(), seats).with_valid_until(self.end(now))
    }

    fn holder(&mut self) -> Holder {
        holder(self.one_of(&["A", "B", "C", "D", "E", "issuer|subject"]))
    }

    fn module(&mut self) -> Module {
        module(self.one_of(&["launcher", "playout", "control", "Z"]))
    }

    fn modules(&mut self) -> Vec<Module> {
        let number = 1 + self.below(3);
        (0..number).map(|_| self.module()).collect()
    }

    fn license(&mut self) -> LicenseId {
        license(self.one_of(&["lic", "LIC", "other"]))
    }

    /// From two seconds ago to six from now, on whole tenths so that ends meet; or none.
    fn end(&mut self, now: Timestamp) -> Option<Timestamp> {
        let tenths = i64::try_from(self.below(100))
            .ok()
            .filter(|tenths| *tenths < 80)?
            - 20;
        let now = now.unix_micros().div_euclid(100_000);
        Some(Timestamp::from_unix_micros((now + tenths) * 100_000))
    }
}
