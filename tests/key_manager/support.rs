//! A manager over the memory backends that can fail, and what lies behind it.

use std::sync::{Arc, LazyLock, Mutex};

use tower_api_key::{
    Actor, Clock, EventKind, Holder, KeyId, KeyManager, KeyQuery, KeyRecord, KeyStore, License,
    LicenseEvent, LicenseId, LicenseLedger, ManualClock, MemoryKeyStore, MemoryLedger, Module,
    Seats, Timestamp,
};

use crate::interrupted::{Ledger, Plan, Store};

/// A manager over backends that can fail, and what lies behind it.
#[derive(Clone)]
pub(crate) struct World {
    /// The one under test.
    pub(crate) manager: KeyManager,
    /// Another one over the same data, without faults: somebody else.
    pub(crate) other: KeyManager,
    pub(crate) plan: Arc<Plan>,
    pub(crate) store: MemoryKeyStore,
    pub(crate) ledger: MemoryLedger,
    pub(crate) clock: Arc<ManualClock>,
    /// The key that somebody else is after.
    pub(crate) target: Arc<Mutex<&'static str>>,
}

impl World {
    /// `launcher` needs the license `lic`, of which there is one seat; `open` needs none.
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let (store, plan) = (MemoryKeyStore::new(), Arc::new(Plan::default()));
        let ledger = MemoryLedger::new().with_clock(clock.clone());
        let manager = KeyManager::new(
            Arc::new(Store(store.clone(), plan.clone())),
            Arc::new(Ledger(ledger.clone(), plan.clone())),
        )
        .with_clock(clock.clone());
        let other = KeyManager::new(Arc::new(store.clone()), Arc::new(ledger.clone()))
            .with_clock(clock.clone());
        let license = License::new(lic(), Seats::Limited(1));
        let system = Actor::system();
        other.set_license(license, &system).await.unwrap();
        for (module, license) in [(launcher(), Some(lic())), (open(), None)] {
            let mapped = other.map_module(&module, license.as_ref(), &system);
            mapped.await.unwrap();
        }
        Self {
            manager,
            other,
            plan,
            store,
            ledger,
            clock,
            target: Arc::new(Mutex::new("")),
        }
    }

    /// The instant so many seconds from now.
    pub(crate) fn clock_in(&self, seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(self.clock.now().wall.unix_seconds() + seconds)
    }

    /// Who holds the seat, and who waits for it.
    pub(crate) async fn line(&self) -> (Vec<String>, Vec<String>) {
        let line = self.other.line(&lic(), 100).await.unwrap();
        let names = |part: Vec<(Holder, Timestamp)>| {
            let names = part.iter().map(|(holder, _)| holder.to_string());
            names.collect::<Vec<_>>()
        };
        (names(line.reserved), names(line.waiting))
    }

    /// The last event's number.
    pub(crate) async fn seq(&self) -> u64 {
        self.other.overview().await.unwrap().seq
    }

    /// What was logged after `seq`: in short, and each with its actor.
    pub(crate) async fn log(&self, seq: u64) -> Vec<(String, Actor)> {
        let events = self.other.events(seq, usize::MAX).await.unwrap();
        let short = |event: LicenseEvent| (short(&event.kind), event.actor);
        events.into_iter().map(short).collect()
    }

    pub(crate) async fn record(&self, id: &KeyId) -> Option<KeyRecord> {
        self.store.get(id).await.unwrap()
    }

    pub(crate) async fn keys(&self) -> Vec<KeyRecord> {
        let query = KeyQuery::first(usize::MAX);
        self.store.list(&query).await.unwrap()
    }

    /// No seat without its key, nobody in line who could not use one, and the ledger takes every
    /// key for what the store says it is.
    pub(crate) async fn assert_consistent(&self, context: &str) {
        let now = self.other.overview().await.unwrap().clock;
        let (reserved, waiting) = self.line().await;
        for name in reserved.iter().chain(&waiting) {
            let record = self.record(&id(name)).await;
            let record = record.unwrap_or_else(|| panic!("{context}: {name} has a place"));
            assert!(record.enabled, "{context}: {record:?}");
            assert!(record.revoked_at.is_none(), "{context}: {record:?}");
            let ended = record.expires_at.is_some_and(|end| end <= now);
            assert!(!ended, "{context}: {record:?}");
        }
        for state in self.ledger.holders(None, usize::MAX).await.unwrap() {
            let Some(key) = state.holder.key_id() else {
                continue;
            };
            let record = self.record(&key).await;
            let record = record.unwrap_or_else(|| panic!("{context}: {state:?} is left over"));
            assert_eq!(state.revoked, record.revoked_at.is_some(), "{context}");
            if !state.revoked {
                assert_eq!(state.active, record.enabled, "{context}");
                assert_eq!(state.active_until, record.expires_at, "{context}");
            }
        }
    }
}

/// An event's name, and what it is about.
pub(crate) fn short(kind: &EventKind) -> String {
    let json = serde_json::to_value(kind).unwrap();
    let fields = ["event", "holder", "module", "license", "cause", "reason"];
    let text = |field: &&str| json[*field].as_str().map(str::to_owned);
    let mut words: Vec<_> = fields.iter().filter_map(text).collect();
    let changed = json["changed"].as_array().into_iter().flatten();
    words.extend(changed.filter_map(|name| name.as_str().map(str::to_owned)));
    words.join(" ")
}

pub(crate) fn lic() -> LicenseId {
    LicenseId::new("lic").unwrap()
}

pub(crate) fn launcher() -> Module {
    Module::new("launcher").unwrap()
}

pub(crate) fn open() -> Module {
    Module::new("open").unwrap()
}

pub(crate) fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

pub(crate) fn alice() -> &'static Actor {
    static ALICE: LazyLock<Actor> = LazyLock::new(|| Actor::new("alice").unwrap());
    &ALICE
}

pub(crate) fn bob() -> &'static Actor {
    static BOB: LazyLock<Actor> = LazyLock::new(|| Actor::new("bob").unwrap());
    &BOB
}

/// Entries of the log, all by the same actor.
pub(crate) fn by<const N: usize>(actor: &Actor, events: [&str; N]) -> [(String, Actor); N] {
    events.map(|event| (event.to_owned(), actor.clone()))
}
