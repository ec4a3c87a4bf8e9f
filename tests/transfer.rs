//! Moving keys and ledgers from one backend to another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use tower_api_key::{
    Actor, BackendError, Changes, Eviction, Holder, HolderState, KeyDigest, KeyEvent, KeyId,
    KeyManager, KeyQuery, KeyRecord, KeyStore, KeyText, License, LicenseEvent, LicenseId,
    LicenseLedger, Line, ManualClock, MemoryKeyStore, MemoryLedger, Module, NewKey, Operation,
    Overview, PreviousDigest, Seats, Standings, Status, Timestamp, UsageCount,
    transfer::{Archive, Imported, RestoreLedger, TransferError},
};

#[cfg(feature = "sqlite")]
#[path = "support/sqlite.rs"]
mod files;
#[cfg(feature = "postgres")]
#[path = "support/postgres.rs"]
mod server;

/// A store with its ledger.
#[derive(Clone)]
struct Place {
    keys: Arc<dyn KeyStore>,
    ledger: Arc<dyn RestoreLedger>,
}

impl Place {
    async fn export(&self) -> Result<Archive, TransferError> {
        Archive::export(&self.keys, &self.ledger).await
    }

    async fn import(&self, archive: &Archive) -> Result<Imported, TransferError> {
        archive.import(&self.keys, &self.ledger, &admin()).await
    }

    async fn apply(&self, operation: &Operation) -> Vec<LicenseEvent> {
        let events = self.ledger.apply(operation.clone(), &admin()).await;
        events.expect("a backend that works")
    }
}

fn memory(clock: &Arc<ManualClock>, eviction: Eviction) -> Place {
    let ledger = MemoryLedger::new().with_clock(Arc::clone(clock));
    Place {
        keys: Arc::new(MemoryKeyStore::new()),
        ledger: Arc::new(ledger.with_eviction(eviction)),
    }
}

fn fresh_memory() -> Place {
    memory(&Arc::new(ManualClock::new()), Eviction::OldestFirst)
}

#[cfg(feature = "sqlite")]
async fn sqlite(clock: &Arc<ManualClock>, eviction: Eviction) -> Place {
    use tower_api_key::{Durability, SqliteStore};

    let opening = SqliteStore::open(files::fresh())
        .with_clock(Arc::clone(clock))
        .with_durability(Durability::ProcessDeath);
    let store = Arc::new(opening.with_eviction(eviction).await.expect("a file"));
    Place {
        keys: Arc::clone(&store) as _,
        ledger: store,
    }
}

#[cfg(feature = "postgres")]
async fn postgres(clock: &Arc<ManualClock>, eviction: Eviction) -> Place {
    use tower_api_key::PostgresStore;

    let connect = PostgresStore::connect(server::address())
        .with_schema("shared by transfers")
        .with_tenant(server::own_name("tenant"))
        .with_clock(Arc::clone(clock));
    let store = Arc::new(connect.with_eviction(eviction).await.expect("a server"));
    Place {
        keys: Arc::clone(&store) as _,
        ledger: store,
    }
}

/// All kinds of places, empty.
async fn all(clock: &Arc<ManualClock>, eviction: Eviction) -> Vec<Place> {
    vec![
        memory(clock, eviction),
        #[cfg(feature = "sqlite")]
        sqlite(clock, eviction).await,
        #[cfg(feature = "postgres")]
        postgres(clock, eviction).await,
    ]
}

fn admin() -> Actor {
    Actor::new("admin").unwrap()
}

fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

fn holder(text: &str) -> Holder {
    Holder::new(text).unwrap()
}

fn module(text: &str) -> Module {
    Module::new(text).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn clock_at(seconds: i64) -> Arc<ManualClock> {
    Arc::new(ManualClock::at(at(seconds)))
}

/// Through the lines and back.
fn through_lines(archive: &Archive) -> Archive {
    let mut lines = Vec::new();
    archive.write(&mut lines).unwrap();
    Archive::read(&lines[..]).unwrap()
}

/// All that a ledger answers.
#[derive(Debug, PartialEq)]
struct Answers {
    overview: Overview,
    lines: Vec<Option<Line>>,
    holders: Vec<HolderState>,
    standings: Vec<Standings>,
    events: Vec<LicenseEvent>,
}

async fn answers(place: &Place) -> Answers {
    let ledger = &place.ledger;
    let overview = ledger.overview().await.unwrap();
    let mut lines = Vec::new();
    for known in &overview.licenses {
        lines.push(ledger.line(&known.license.id, usize::MAX).await.unwrap());
    }
    let holders = ledger.holders(None, usize::MAX).await.unwrap();
    let asked: Vec<_> = holders
        .iter()
        .map(|known| (known.holder.clone(), &[][..]))
        .collect();
    Answers {
        standings: ledger.standings_of(&asked).await.unwrap(),
        events: ledger.events(0, usize::MAX).await.unwrap(),
        overview,
        lines,
        holders,
    }
}

const HOLDERS: [&str; 4] = ["a", "b", "k", "issuer|subject"];
const LICENSES: [&str; 2] = ["lic", "z"];
const MODULES: [&str; 3] = ["launcher", "playout", "nodes"];

fn any_operation() -> impl Strategy<Value = Operation> {
    let license = || select(LICENSES.map(|name| LicenseId::new(name).unwrap()).to_vec());
    let draws = (
        0..40,
        select(HOLDERS.map(holder).to_vec()),
        proptest::collection::vec(select(MODULES.map(module).to_vec()), 1..=3),
        license(),
        0_u32..4,
        proptest::option::of((0_i64..200).prop_map(at)),
    );
    draws.prop_map(|(kind, holder, modules, license, seats, end)| match kind {
        0..16 => Operation::Assign { holder, modules },
        16..20 => Operation::Unassign { holder, modules },
        20 => Operation::DeleteKey { holder },
        21 => Operation::RevokeKey { holder },
        22..25 => Operation::SetActive {
            holder,
            active: seats > 0,
        },
        25..28 => Operation::SetActiveUntil {
            holder,
            active_until: end,
        },
        28..35 => {
            let license = License::new(license, Seats::Limited(seats)).with_valid_until(end);
            Operation::SetLicense { license }
        }
        35 => Operation::RemoveLicense { license },
        36..38 => Operation::MapModule {
            module: modules[0].clone(),
            license: (seats > 0).then_some(license),
        },
        38 => Operation::SetLimitedEdition {
            enabled: seats == 0,
        },
        _ => Operation::Record {
            event: KeyEvent::Changed(id("k"), vec!["name".to_owned()]),
        },
    })
}

fn world() -> Vec<Operation> {
    let mut world = Vec::new();
    for (name, license) in MODULES.into_iter().zip(["lic", "lic", "z"]) {
        let license = Some(LicenseId::new(license).unwrap());
        let module = module(name);
        world.push(Operation::MapModule { module, license });
    }
    for name in LICENSES {
        let license = License::new(LicenseId::new(name).unwrap(), Seats::Limited(1));
        world.push(Operation::SetLicense { license });
    }
    world
}

/// Plays a history in memory, moves it from backend to backend, and plays another one to all.
async fn move_around(eviction: Eviction, history: &[(i64, Operation)], more: &[(i64, Operation)]) {
    let clock = clock_at(0);
    let first = memory(&clock, eviction);
    for operation in world() {
        first.apply(&operation).await;
    }
    let mut now = 0;
    for (advance, operation) in history {
        now += advance;
        clock.set_wall(at(now));
        first.apply(operation).await;
    }
    let mut places = vec![first];
    for place in all(&clock, eviction).await.into_iter().rev() {
        let last = places.last().expect("the first");
        let archive = through_lines(&last.export().await.unwrap());
        place.import(&archive).await.unwrap();
        assert_eq!(answers(&place).await, answers(last).await);
        places.push(place);
    }
    for (advance, operation) in more {
        now += advance;
        clock.set_wall(at(now));
        let mut events = Vec::new();
        for place in &places {
            events.push(place.apply(operation).await);
        }
        assert!(
            events.windows(2).all(|pair| pair[0] == pair[1]),
            "{events:?}"
        );
    }
    let expected = answers(&places[0]).await;
    for place in &places[1..] {
        assert_eq!(answers(place).await, expected);
    }
}

#[test]
fn random_ledgers_are_the_same_after_they_moved_and_stay_so() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let steps = |most| proptest::collection::vec((0_i64..4, any_operation()), 0..most);
    let eviction = select(vec![Eviction::OldestFirst, Eviction::NewestFirst]);
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let played = TestRunner::new(config).run(
        &(eviction, steps(60), steps(20)),
        |(eviction, history, more)| {
            runtime.block_on(move_around(eviction, &history, &more));
            Ok(())
        },
    );
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

/// Two keys with all that a key can have, one seat that the second one holds.
async fn studio(place: &Place) {
    let manager = KeyManager::new(Arc::clone(&place.keys), Arc::clone(&place.ledger));
    for operation in world() {
        place.apply(&operation).await;
    }
    let full = NewKey::named("full")
        .with_id(id("full"))
        .with_scopes(["read:realms".parse().unwrap()])
        .with_tier("premium".parse().unwrap())
        .with_owner("studio")
        .with_expires_at(Timestamp::MAX)
        .with_allowed_addresses(["10.0.0.0/8".parse().unwrap()])
        .with_administrator(true)
        .with_modules([module("launcher")]);
    manager.create(full, &admin()).await.unwrap();
    let holding = NewKey::named("holding").with_id(id("holding"));
    let holding = holding.with_modules([module("launcher"), module("nodes")]);
    manager.create(holding, &admin()).await.unwrap();
    place
        .apply(&Operation::SetActive {
            holder: holder("full"),
            active: false,
        })
        .await;
    place
        .apply(&Operation::SetActive {
            holder: holder("full"),
            active: true,
        })
        .await;
    let mut record = place.keys.get(&id("full")).await.unwrap().unwrap();
    record.previous = Some(PreviousDigest::new(digest(9), Timestamp::MAX));
    place.keys.update(record).await.unwrap();
    let used = [(id("full"), at(77))];
    place.keys.record_last_used(&used).await.unwrap();
}

fn digest(number: u8) -> KeyDigest {
    KeyDigest::from_bytes([number; 32])
}

async fn keys(place: &Place) -> Vec<KeyRecord> {
    place.keys.list(&KeyQuery::first(usize::MAX)).await.unwrap()
}

#[tokio::test]
async fn keys_move_with_all_they_have_and_without_their_texts() {
    let from = fresh_memory();
    studio(&from).await;
    let archive = from.export().await.unwrap();
    for to in all(&clock_at(0), Eviction::OldestFirst).await {
        let imported = to.import(&through_lines(&archive)).await.unwrap();
        assert_eq!((imported.keys, imported.known), (2, 0));
        assert_eq!(keys(&to).await, keys(&from).await);
        let line = to.ledger.line(&"lic".parse().unwrap(), 9).await.unwrap();
        assert_eq!(line.unwrap().reserved[0].0, holder("holding"));

        // Once more finds all of it, also after the service went on.
        let again = to.import(&archive).await.unwrap();
        assert_eq!((again.keys, again.known, again.events), (0, 2, 0));
        to.apply(&Operation::Unassign {
            holder: holder("holding"),
            modules: vec![module("launcher")],
        })
        .await;
        let again = to.import(&archive).await.unwrap();
        assert_eq!((again.keys, again.known, again.events), (0, 2, 0));
    }
}

#[tokio::test]
async fn text_works_after_the_move_and_is_in_no_line() {
    let (from, to) = (fresh_memory(), fresh_memory());
    let manager = KeyManager::new(Arc::clone(&from.keys), Arc::clone(&from.ledger));
    let created = manager.create(NewKey::named("a"), &admin()).await.unwrap();
    let mut lines = Vec::new();
    from.export().await.unwrap().write(&mut lines).unwrap();
    let body = created.text.expose().rsplit_once('_').unwrap().1;
    assert!(!String::from_utf8(lines.clone()).unwrap().contains(body));

    to.import(&Archive::read(&lines[..]).unwrap())
        .await
        .unwrap();
    let manager = KeyManager::new(Arc::clone(&to.keys), Arc::clone(&to.ledger));
    let text = KeyText::new(created.text.expose());
    let taken = manager.import(NewKey::named("b"), &text, &admin()).await;
    assert_eq!(
        taken.unwrap_err().to_string(),
        "another key has this text already"
    );
}

#[tokio::test]
async fn license_that_ended_on_the_way_ends_at_its_own_instant() {
    let clock = clock_at(0);
    let from = memory(&clock, Eviction::OldestFirst);
    let license = License::new("lic".parse().unwrap(), Seats::Limited(1));
    let license = license.with_valid_until(Some(at(50)));
    let assign = Operation::Assign {
        holder: holder("a"),
        modules: vec![module("launcher")],
    };
    let map = world().remove(0);
    for operation in [map, Operation::SetLicense { license }, assign] {
        from.apply(&operation).await;
    }
    let archive = from.export().await.unwrap();
    clock.set_wall(at(100));
    for to in all(&clock, Eviction::OldestFirst).await {
        to.import(&archive).await.unwrap();
        assert_eq!(to.ledger.overview().await.unwrap().licenses[0].used, 0);
        let log = to.ledger.events(4, 9).await.unwrap();
        let instants: Vec<_> = log.iter().map(|event| event.at).collect();
        assert_eq!(instants, [at(50), at(50)]);
        assert_eq!(to.ledger.overview().await.unwrap().clock, at(100));
    }
}

#[tokio::test]
async fn copy_goes_into_nothing_but_an_empty_place() {
    let from = fresh_memory();
    studio(&from).await;
    let archive = from.export().await.unwrap();
    for to in all(&clock_at(0), Eviction::OldestFirst).await {
        let other = KeyRecord::new(id("other"), digest(3), "other", at(0));
        to.keys.insert(other).await.unwrap();
        let error = to.import(&archive).await.unwrap_err();
        assert!(error.to_string().contains("the key other"), "{error}");
        assert_eq!(keys(&to).await.len(), 1);
        assert_eq!(to.ledger.overview().await.unwrap().seq, 0);
    }
    for to in all(&clock_at(0), Eviction::OldestFirst).await {
        to.apply(&world()[0]).await;
        to.apply(&Operation::SetLimitedEdition { enabled: true })
            .await;
        let before = answers(&to).await;
        let error = to.import(&archive).await.unwrap_err();
        assert!(matches!(error, TransferError::NotEmpty(_)), "{error}");
        assert!(keys(&to).await.is_empty());
        let copy = archive.ledger().unwrap();
        assert!(
            !to.ledger.restore(copy).await.unwrap(),
            "not by itself either"
        );
        assert_eq!(answers(&to).await, before);
    }
}

#[tokio::test]
async fn import_that_was_cut_off_is_completed_by_the_next_one() {
    let from = fresh_memory();
    studio(&from).await;
    let archive = from.export().await.unwrap();
    for to in all(&clock_at(0), Eviction::OldestFirst).await {
        to.keys.insert(archive.keys()[0].clone()).await.unwrap();
        let imported = to.import(&archive).await.unwrap();
        assert_eq!((imported.keys, imported.known), (1, 1));
        assert_eq!(answers(&to).await.events, answers(&from).await.events);
    }
}

const ADDITIONS: &str = r#"
{"license":{"id":"lic","seats":1,"valid_until":"2999-12-31"}}
{"module":{"module":"launcher","license":"lic"}}
{"key":{"id":"k1","digest":"BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD","name":"stage left","created_at":"2020-01-01T00:00:00Z","enabled":false}}
{"key":{"id":"k2","digest":"cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34","name":"stage right","created_at":"2020-01-01T00:00:00Z","hint":"acme_…def"}}
{"assign":{"holder":"k1","modules":["launcher"]}}
{"assign":{"holder":"k2","modules":["launcher"]}}
{"assign":{"holder":"issuer|subject","modules":["launcher"]}}
"#;

#[tokio::test]
async fn digests_of_another_system_are_added_with_what_they_may_use() {
    for to in all(&clock_at(0), Eviction::OldestFirst).await {
        let archive = Archive::read(ADDITIONS.as_bytes()).unwrap();
        assert!(archive.ledger().is_none());
        let imported = to.import(&through_lines(&archive)).await.unwrap();
        assert_eq!((imported.keys, imported.known), (2, 0));

        // SHA-256 of `abc`, from FIPS 180-2.
        let found = to.keys.find(&archive.keys()[0].digest).await.unwrap();
        assert_eq!(found.unwrap().name, "stage left");
        let status = async |name| {
            let standings = to.ledger.standings(&holder(name), &[]).await.unwrap();
            standings.status(&module("launcher"), at(0))
        };
        assert_eq!(status("k2").await, Status::Reserved);
        assert_eq!(status("k1").await.label(), Some("Reservation failed"));
        let line = to.ledger.line(&"lic".parse().unwrap(), 9).await.unwrap();
        assert_eq!(line.unwrap().waiting[0].0, holder("issuer|subject"));
        let license = &to.ledger.overview().await.unwrap().licenses[0].license;
        let end = "3000-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(license.valid_until, Some(end));
        let log = to.ledger.events(0, 99).await.unwrap();
        assert_eq!(log.len(), imported.events);
        assert!(log.iter().all(|event| event.actor == admin()));

        let again = to.import(&archive).await.unwrap();
        assert_eq!((again.keys, again.known, again.events), (0, 2, 0));
        let manager = KeyManager::new(Arc::clone(&to.keys), Arc::clone(&to.ledger));
        assert!(manager.reconcile(&admin()).await.unwrap().is_clean());
    }
}

#[tokio::test]
async fn additions_that_do_not_fit_change_nothing() {
    let key = |id: &str, digit: &str| {
        let digest = digit.repeat(64);
        format!(
            "{{\"key\":{{\"id\":\"{id}\",\"digest\":\"{digest}\",\"name\":\"n\",\
             \"created_at\":\"2020-01-01T00:00:00Z\"}}}}\n"
        )
    };
    let assign = |holder: &str, module: &str| {
        format!("{{\"assign\":{{\"holder\":\"{holder}\",\"modules\":[\"{module}\"]}}}}\n")
    };
    let to = fresh_memory();
    let first = key("first", "1") + &assign("first", "launcher");
    let unmapped = Archive::read(first.as_bytes()).unwrap();
    let error = to.import(&unmapped).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "neither the input nor the ledger knows the module launcher"
    );

    to.apply(&world()[0]).await;
    to.import(&unmapped).await.unwrap();
    let before = (keys(&to).await, answers(&to).await);
    for (input, problem) in [
        (key("a", "2") + &key("first", "3"), "of the key first"),
        (key("a", "2") + &key("b", "1"), "of the key b"),
        (key("a", "2") + &assign("b", "launcher"), "has the key b"),
        (
            key("a", "2") + &assign("a", "luncher"),
            "the module luncher",
        ),
    ] {
        let archive = Archive::read(input.as_bytes()).unwrap();
        let error = to.import(&archive).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert_eq!((keys(&to).await, answers(&to).await), before);
    }
}

/// A store that goes away after some insertions.
struct Leaving {
    keys: MemoryKeyStore,
    insertions: AtomicUsize,
}

#[async_trait]
impl KeyStore for Leaving {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.keys.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.keys.get(id).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        let left = self.insertions.fetch_sub(1, Ordering::SeqCst);
        if left == 0 {
            return Err(BackendError::unavailable("gone"));
        }
        self.keys.insert(record).await
    }

    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.keys.update(record).await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.keys.delete(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.keys.list(query).await
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.keys.record_last_used(uses).await
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.keys.record_usage(counts, forget_before).await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        self.keys.usage(id, since).await
    }

    fn changes(&self) -> Option<&Changes> {
        self.keys.changes()
    }
}

#[tokio::test]
async fn outage_in_the_middle_says_how_far_it_came_and_gives_no_seat_without_its_key() {
    let from = fresh_memory();
    studio(&from).await;
    let copy = from.export().await.unwrap();
    let additions = Archive::read(ADDITIONS.as_bytes()).unwrap();
    // Of a copy: its keys and its ledger. Of additions: each key twice, then the rest.
    for (archive, steps) in [(copy, 3), (additions, 9)] {
        let keys = MemoryKeyStore::new();
        let to = Place {
            keys: Arc::new(Leaving {
                keys: keys.clone(),
                insertions: AtomicUsize::new(1),
            }),
            ..fresh_memory()
        };
        let error = to.import(&archive).await.unwrap_err();
        let expected = format!("stopped after 1 of {steps} steps");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(to.ledger.overview().await.unwrap().seq, 0);

        let to = Place {
            keys: Arc::new(keys),
            ..to
        };
        let imported = to.import(&archive).await.unwrap();
        assert_eq!((imported.keys, imported.known), (1, 1));
        assert_eq!(to.export().await.unwrap().keys(), archive.keys());
    }
}

#[tokio::test]
async fn ledger_that_changes_while_it_is_read_is_not_exported() {
    let place = fresh_memory();
    studio(&place).await;
    let busy = Busy(Arc::clone(&place.ledger));
    let error = Archive::export(&place.keys, &busy).await.unwrap_err();
    assert!(matches!(error, TransferError::Changed), "{error}");
}

/// A ledger in which somebody writes while it is read.
struct Busy(Arc<dyn RestoreLedger>);

#[async_trait]
impl LicenseLedger for Busy {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.apply(operation, actor).await
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.plan(operation).await
    }

    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError> {
        self.0.standings(holder, carried).await
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        self.0.standings_of(asked).await
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        self.0.first_unknown(modules).await
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        self.0.overview().await
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        self.0.line(license, limit).await
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        let event = KeyEvent::Changed(id("full"), vec!["name".to_owned()]);
        self.0.apply(Operation::Record { event }, &admin()).await?;
        self.0.holders(after, limit).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.events(after, limit).await
    }

    fn latest(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.latest()
    }

    fn changes(&self) -> &Changes {
        self.0.changes()
    }
}
