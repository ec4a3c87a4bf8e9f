//! Mixed operations of one client on keys of its own, and what may be true after them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
};

use tower_api_key::{
    Actor, EventKind, Holder, KeyId, KeyManager, License, LicenseId, ManageError, Module, NewKey,
    Seats, Timestamp, seats_at,
};

use super::{Store, license, module};

/// All clients want seats of the same licenses; each changes the count of one.
pub(super) const LICENSES: [&str; 4] = ["l0", "l1", "l2", "l3"];
/// How many of its keys a client thinks of at once.
const KEYS: u64 = 6;
/// How many seats each license has at first: fewer than there are keys.
pub(super) const SEATS: u32 = 3;

/// One call. It is written as a line and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Create(String, Vec<String>),
    Assign(String, String),
    Unassign(String, String),
    Revoke(String),
    Delete(String),
    Seats(String, u32),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(key, modules) => write!(f, "create {key} {}", modules.join(" ")),
            Self::Assign(key, module) => write!(f, "assign {key} {module}"),
            Self::Unassign(key, module) => write!(f, "unassign {key} {module}"),
            Self::Revoke(key) => write!(f, "revoke {key}"),
            Self::Delete(key) => write!(f, "delete {key}"),
            Self::Seats(license, seats) => write!(f, "seats {license} {seats}"),
        }
    }
}

impl Step {
    pub(super) fn read(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let word = |place: usize| words[place].clone();
        match words[0].as_str() {
            "create" => Self::Create(word(1), words[2..].to_vec()),
            "assign" => Self::Assign(word(1), word(2)),
            "unassign" => Self::Unassign(word(1), word(2)),
            "revoke" => Self::Revoke(word(1)),
            "delete" => Self::Delete(word(1)),
            "seats" => Self::Seats(word(1), word(2).parse().unwrap()),
            other => panic!("no such step: {other}"),
        }
    }

    pub(super) async fn take(&self, manager: &KeyManager) -> Result<(), ManageError> {
        let actor = Actor::system();
        let id = |key: &str| KeyId::new(key).unwrap();
        match self {
            Self::Create(key, modules) => {
                let new = NewKey::named(key).with_id(id(key));
                let new = new.with_modules(modules.iter().map(|name| module(name)));
                manager.create(new, &actor).await.map(drop)
            }
            Self::Assign(key, name) => {
                let assigned = manager.assign(&id(key), &[module(name)], &actor).await;
                assigned.map(drop)
            }
            Self::Unassign(key, name) => manager.unassign(&id(key), &[module(name)], &actor).await,
            Self::Revoke(key) => manager.revoke(&id(key), &actor).await.map(drop),
            Self::Delete(key) => manager.delete(&id(key), &actor).await,
            Self::Seats(name, seats) => {
                let license = License::new(license(name), Seats::Limited(*seats));
                manager.set_license(license, &actor).await.map(drop)
            }
        }
    }
}

/// A client and its keys: those that it may have made and has not deleted, by number.
///
/// An id is not used again after its key was deleted, as [`KeyManager::create`] asks: another client
/// that reconciles meanwhile could take the new key for the old one. So the newest is never deleted,
/// and no other one is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    number: usize,
    keys: Range<u64>,
}

impl Client {
    pub(super) fn new(number: usize, keys: Range<u64>) -> Self {
        Self { number, keys }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn keys(&self) -> Range<u64> {
        self.keys.clone()
    }

    /// What it does next.
    pub(super) fn next(&self, random: &mut Random) -> Step {
        let key = |number| format!("c{}-{number}", self.number);
        let Range { start, end } = self.keys;
        // Also the one that was deleted last, or was never there.
        let any = key((start + random.below(end - start + 1)).saturating_sub(1));
        let mut license = || LICENSES[random.below(LICENSES.len() as u64) as usize].to_owned();
        let (first, second) = (license(), license());
        match random.below(16) {
            0..4 => {
                let is_full = end - start == KEYS;
                let again = end > start && (is_full || random.below(4) == 0);
                let modules = BTreeSet::from([first, second]).into_iter().collect();
                Step::Create(key(if again { end - 1 } else { end }), modules)
            }
            4..8 => Step::Assign(any, first),
            8..11 => Step::Unassign(any, first),
            11 => Step::Revoke(any),
            12..14 if end - start > 1 => {
                let again = start > 0 && random.below(4) == 0;
                Step::Delete(key(if again { start - 1 } else { start }))
            }
            _ => Step::Seats(
                LICENSES[self.number % LICENSES.len()].to_owned(),
                random.below(5) as u32,
            ),
        }
    }

    pub(super) fn begins(&mut self, step: &Step) {
        if let Step::Create(key, _) = step {
            self.keys.end = self.keys.end.max(number(key) + 1);
        }
    }

    pub(super) fn ended(&mut self, step: &Step, outcome: Outcome) {
        match (step, outcome) {
            (Step::Delete(_), Outcome::Unknown) => {}
            (Step::Delete(key), _) => self.keys.start = self.keys.start.max(number(key) + 1),
            _ => {}
        }
    }
}

fn number(key: &str) -> u64 {
    key.split_once('-').unwrap().1.parse().unwrap()
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    NotFound,
    Revoked,
    /// A key with this id is there already.
    Duplicate,
    /// An outage, or nobody was told: it may have been done, or half of it.
    Unknown,
}

impl Outcome {
    pub(super) fn of(result: &Result<(), ManageError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(ManageError::NotFound(_)) => Self::NotFound,
            Err(ManageError::Revoked(_)) => Self::Revoked,
            Err(ManageError::Duplicate { .. }) => Self::Duplicate,
            Err(ManageError::StoreUnavailable(_) | ManageError::LedgerUnavailable(_)) => {
                Self::Unknown
            }
            Err(other) => panic!("neither an answer nor an outage: {other:?}"),
        }
    }

    pub(super) fn read(word: &str) -> Self {
        let known = [Self::Done, Self::NotFound, Self::Revoked, Self::Duplicate];
        let named = known.into_iter().find(|known| format!("{known:?}") == word);
        named.unwrap_or_else(|| panic!("the step failed: {word}"))
    }
}

/// What a key may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Gone,
    /// Not in the store any more, and still in the ledger: deleting it again is what removes that.
    Left,
    Revoked,
    Live(BTreeSet<Module>),
}

impl Key {
    /// What a call makes of it, and the answer.
    fn after(&self, step: &Step) -> (Self, Outcome) {
        match (self, step) {
            (Self::Gone | Self::Left, Step::Create(_, modules)) => {
                let modules = modules.iter().map(|name| module(name)).collect();
                (Self::Live(modules), Outcome::Done)
            }
            (_, Step::Create(..)) => (self.clone(), Outcome::Duplicate),
            (Self::Gone, _) => (Self::Gone, Outcome::NotFound),
            (Self::Left, Step::Delete(_)) => (Self::Gone, Outcome::Done),
            (Self::Left, _) => (Self::Left, Outcome::NotFound),
            (_, Step::Delete(_)) => (Self::Gone, Outcome::Done),
            (_, Step::Revoke(_)) => (Self::Revoked, Outcome::Done),
            (Self::Revoked, Step::Assign(..)) => (Self::Revoked, Outcome::Revoked),
            (Self::Revoked, _) => (Self::Revoked, Outcome::Done),
            (Self::Live(modules), step) => {
                let mut modules = modules.clone();
                match step {
                    Step::Assign(_, name) => modules.insert(module(name)),
                    Step::Unassign(_, name) => modules.remove(&module(name)),
                    other => panic!("{other} is of no key"),
                };
                (Self::Live(modules), Outcome::Done)
            }
        }
    }
}

/// All that may be true after what was acknowledged, for one client.
#[derive(Debug, Default)]
pub(super) struct Possible {
    keys: BTreeMap<String, BTreeSet<Key>>,
    seats: BTreeMap<String, BTreeSet<u32>>,
    pub(super) acknowledged: usize,
    pub(super) unknown: usize,
}

impl Possible {
    /// A call ended, or will never.
    pub(super) fn ended(&mut self, step: &Step, outcome: Outcome) {
        match outcome {
            Outcome::Unknown => self.unknown += 1,
            _ => self.acknowledged += 1,
        }
        let key = match step {
            Step::Seats(license, seats) => {
                let possible = self.seats.entry(license.clone());
                let possible = possible.or_insert_with(|| BTreeSet::from([SEATS]));
                if outcome == Outcome::Done {
                    possible.clear();
                }
                possible.insert(*seats);
                return;
            }
            Step::Create(key, _)
            | Step::Assign(key, _)
            | Step::Unassign(key, _)
            | Step::Revoke(key)
            | Step::Delete(key) => key,
        };
        let possible = self.keys.entry(key.clone());
        let possible = possible.or_insert_with(|| BTreeSet::from([Key::Gone]));
        let before = possible.clone();
        let after = before.iter().map(|key| key.after(step));
        if outcome == Outcome::Unknown {
            possible.extend(after.map(|(key, _)| key));
            match step {
                // What a creation leaves behind that ends before the modules are assigned, or in the
                // middle of being undone.
                Step::Create(..) if before.contains(&Key::Gone) => {
                    possible.extend([Key::Live(BTreeSet::new()), Key::Left]);
                }
                Step::Delete(_) => possible.extend([Key::Left]),
                _ => {}
            }
        } else {
            let after = after.filter(|(_, answer)| *answer == outcome);
            *possible = after.map(|(key, _)| key).collect();
            assert!(
                !possible.is_empty(),
                "{step} was answered {outcome:?}, but the key was one of {before:?}"
            );
        }
    }

    /// Asserts that what a store says is possible.
    pub(super) async fn holds_in(&self, store: &Store) {
        for (name, possible) in &self.keys {
            let id = KeyId::new(name).unwrap();
            let record = store.keys.get(&id).await.unwrap();
            let standings = store.ledger.standings(&super::holder(name), &[]).await;
            let standings = standings.unwrap();
            let modules = standings.modules().map(|(module, _)| module.clone());
            let modules: BTreeSet<_> = modules.collect();
            let key = match record {
                None => Key::Gone,
                Some(record) if record.revoked_at.is_some() => Key::Revoked,
                Some(_) => Key::Live(modules.clone()),
            };
            assert!(possible.contains(&key), "{name} is {key:?}: {possible:?}");
            if !matches!(key, Key::Live(_)) {
                assert!(modules.is_empty(), "{name} is {key:?} with {modules:?}");
            }
        }
        let overview = store.ledger.overview().await.unwrap();
        for (name, possible) in &self.seats {
            let known = |known: &&tower_api_key::LicenseUse| known.license.id == license(name);
            let seats = overview.licenses.iter().find(known).unwrap().license.seats;
            let is_possible = possible
                .iter()
                .any(|seats_| Seats::Limited(*seats_) == seats);
            assert!(is_possible, "{name} has {seats:?}: {possible:?}");
        }
    }
}

/// Asserts that no seat is oversold, leaked, or left free while somebody waits, and that the log has
/// no gap and tells of just these seats.
pub(super) async fn assert_sound(store: &Store) {
    let log = store.log().await;
    assert!(log.iter().map(|event| event.seq).eq(1..=log.len() as u64));
    let mut told = seats_at(&log, Timestamp::MAX);
    let mut most: BTreeMap<&LicenseId, u32> = BTreeMap::new();
    let mut held: BTreeMap<&LicenseId, BTreeSet<&Holder>> = BTreeMap::new();
    for event in &log {
        match &event.kind {
            EventKind::LicenseAdded { license, seats, .. }
            | EventKind::CountChanged {
                license, to: seats, ..
            } => {
                let seats: Option<u32> = (*seats).into();
                most.insert(license, seats.expect("a limit"));
            }
            EventKind::Reserved {
                license, holder, ..
            } => {
                let held = held.entry(license).or_default();
                assert!(held.insert(holder), "{event:?}: it has one");
                assert!(held.len() <= most[license] as usize, "{event:?}: oversold");
            }
            EventKind::ReservationRemoved {
                license, holder, ..
            } => assert!(held.entry(license).or_default().remove(holder), "{event:?}"),
            _ => {}
        }
    }
    let overview = store.ledger.overview().await.unwrap();
    assert_eq!(overview.licenses.len(), LICENSES.len());
    for known in overview.licenses {
        let id = known.license.id;
        let line = store.ledger.line(&id, usize::MAX).await.unwrap().unwrap();
        let holders: Vec<_> = line
            .reserved
            .into_iter()
            .map(|(holder, _)| holder)
            .collect();
        assert_eq!(
            holders,
            told.remove(&id).unwrap_or_default(),
            "{id}: as logged"
        );
        let seats = most[&id] as usize;
        assert_eq!(known.license.seats, Seats::Limited(most[&id]));
        assert!(holders.len() <= seats, "{id}: oversold");
        assert!(
            line.waiting.is_empty() || holders.len() == seats,
            "{id}: left free"
        );
        for holder in holders {
            let record = store.keys.get(&holder.key_id().unwrap()).await.unwrap();
            let record = record.unwrap_or_else(|| panic!("{holder} leaked a seat of {id}"));
            assert_eq!(record.revoked_at, None, "{holder} leaked a seat of {id}");
        }
    }
}

/// Numbers for one history (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
