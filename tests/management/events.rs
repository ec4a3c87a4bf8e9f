//! The log as it grows, as Server-Sent Events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::time::{self, Instant};
use tower_api_key::{
    Actor, Denial, DenialCode, KeyManager, KeyPatch, License, LicenseLedger, ManualClock,
    MemoryKeyStore, MemoryLedger, NewKey, Seats,
    manage::{Applicant, MANAGEMENT_MODULE, ManagementPolicy, Role},
};

use crate::{
    backends::faults::{Fault, Faults, FaultyLedger},
    stream::{Block, Stream, ask},
    support::{Client, MOUNT, World, license, module, request},
};

impl World {
    async fn follow(&self, client: &Client) -> Stream {
        self.resume(client, None).await
    }

    async fn resume(&self, client: &Client, last_event_id: Option<u64>) -> Stream {
        Stream::open(&self.app, &uri(), &client.text, last_event_id).await
    }

    /// Makes so many entries of the log, which are about nobody here.
    async fn happen(&self, count: usize) {
        for _ in 0..count {
            let is_on = self.keys.overview().await.unwrap().limited_edition;
            let system = Actor::system();
            let switched = self.keys.set_limited_edition(!is_on, &system).await;
            switched.unwrap();
        }
    }

    async fn end(&self) -> u64 {
        self.keys.overview().await.unwrap().seq
    }

    /// A manager, whose module is mapped to no license.
    async fn another_manager(&self) -> Client {
        let new = NewKey::named("another").with_modules([module(MANAGEMENT_MODULE)]);
        self.key(new).await
    }
}

fn uri() -> String {
    format!("{MOUNT}/events")
}

/// A world whose ledger's log can be made to fail, over that of its manager.
async fn faulty() -> (World, Faults) {
    let (store, clock) = (MemoryKeyStore::new(), Arc::new(ManualClock::new()));
    let ledger = MemoryLedger::new().with_clock(clock.clone());
    let faults = Faults::new();
    let front = FaultyLedger {
        ledger: ledger.clone(),
        faults: faults.clone(),
        changes: None,
    };
    let world = World::over(clock, store.clone(), ledger, store, front, |settings| {
        settings
    })
    .await;
    (world, faults)
}

#[tokio::test]
async fn a_stream_begins_with_where_the_log_ends() {
    let world = World::new().await;
    let mut stream = world.follow(&world.manager).await;
    assert_eq!(stream.headers["cache-control"], "no-store");
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    assert_eq!(stream.next().await, Some(Block::Retry { millis: 1_000 }));
    assert_eq!(stream.last_event_id, Some(world.end().await));
    settle().await;
    assert_eq!(stream.ready(), None, "nothing happens");
}

#[tokio::test]
async fn everything_that_happens_after_the_answer_is_told_once_and_in_order() {
    let world = World::new().await;
    let end = world.end().await;
    // Nothing of it is read before all has happened.
    let mut stream = world.follow(&world.manager).await;
    world.happen(300).await;
    let last = world.end().await;
    let expected: Vec<_> = (end + 1..=last).collect();
    assert!(expected.len() >= 300);
    assert_eq!(stream.seqs(expected.len()).await, expected);
    world.happen(1).await;
    assert_eq!(stream.event().await.0, last + 1, "and what comes later");
}

#[tokio::test]
async fn an_event_is_the_entry_of_the_log() {
    let world = World::new().await;
    let before = world.end().await;
    let mut stream = world.follow(&world.manager).await;
    let new = NewKey::named("\u{2028}line\"").with_modules([module("launcher")]);
    world.key(new).await;
    world.happen(2).await;
    let page = format!("/audit?after={before}&limit=500");
    let page = world.administer("GET", &page, None).await.is(200).json();
    let items = page["items"].as_array().unwrap();
    for item in items {
        assert_eq!(stream.event().await.1, *item);
    }
    let names: Vec<_> = items.iter().map(|item| &item["event"]).collect();
    assert!(names.contains(&&json!("key_created")), "{names:?}");
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let world = World::new().await;
    world.happen(10).await;
    let end = world.end().await;
    for last in [0, 1, end - 1, end] {
        let mut stream = world.resume(&world.manager, Some(last)).await;
        assert_eq!(stream.next().await, Some(Block::Retry { millis: 1_000 }));
        assert_eq!(stream.last_event_id, Some(last));
        let expected: Vec<_> = (last + 1..=end).collect();
        assert_eq!(stream.seqs(expected.len()).await, expected);
        settle().await;
        assert_eq!(stream.ready(), None);
    }
}

#[tokio::test]
async fn a_client_cut_off_before_its_first_event_loses_none() {
    let world = World::new().await;
    let mut stream = world.follow(&world.manager).await;
    stream.next().await;
    let last = stream.last_event_id;
    drop(stream);
    world.happen(1).await;
    let mut stream = world.resume(&world.manager, last).await;
    assert_eq!(stream.event().await.0, world.end().await);
}

#[tokio::test]
async fn a_last_event_id_that_cannot_be_is_refused() {
    let world = World::new().await;
    let beyond = (world.end().await + 1).to_string();
    for id in [
        "",
        "x",
        "-1",
        "+1",
        "1.0",
        "1 ",
        "18446744073709551616",
        &beyond,
    ] {
        let headers = [("last-event-id", id)];
        let answer = world.call_with("GET", "/events", &world.manager, &headers, None);
        let answer = answer.await;
        answer
            .refused(400, "invalid_request")
            .blames("last-event-id");
    }
    let twice = [("last-event-id", "1"), ("last-event-id", "1")];
    let answer = world.call_with("GET", "/events", &world.manager, &twice, None);
    answer
        .await
        .refused(400, "invalid_request")
        .blames("last-event-id");
    let answer = world.administer("GET", "/events?after=1", None).await;
    answer.refused(400, "invalid_request").blames("after");
}

#[tokio::test]
async fn nobody_reads_without_the_right() {
    let world = World::new().await;
    let answer = world.call("GET", "/events", &world.outsider, None).await;
    answer.refused(403, "module_access_missing");
    let nobody = request("GET", "/events").body(axum::body::Body::empty());
    let answer = world.send(nobody.unwrap()).await;
    answer.refused(401, "missing_credential");
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_every_fifteen_seconds() {
    let world = World::new().await;
    let mut stream = world.follow(&world.manager).await;
    stream.next().await;
    let begin = Instant::now();
    for beat in 1..=3 {
        assert_eq!(stream.next().await, Some(Block::Comment));
        assert_eq!(begin.elapsed(), Duration::from_secs(15) * beat);
    }
    time::advance(Duration::from_secs(10)).await;
    world.happen(1).await;
    stream.event().await;
    let told = Instant::now();
    assert_eq!(stream.next().await, Some(Block::Comment));
    assert_eq!(
        told.elapsed(),
        Duration::from_secs(15),
        "an event breaks it too"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_an_hour() {
    let world = World::new().await;
    let mut stream = world.follow(&world.manager).await;
    let begin = Instant::now();
    assert_eq!(stream.closing().await, (vec![], "time_limit".into()));
    assert_eq!(begin.elapsed(), Duration::from_secs(3_600));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_key_expires() {
    let world = World::new().await;
    let new = NewKey::named("brief").with_administrator(true);
    let key = world.key(new.with_expires_at(world.clock_in(100))).await;
    let mut stream = world.follow(&key).await;
    let begin = Instant::now();
    assert_eq!(stream.closing().await, (vec![], "expired".into()));
    assert_eq!(begin.elapsed(), Duration::from_secs(100));

    // Whatever the timer says: after the end nothing more is told.
    let mut stream = world.follow(&key).await;
    world.happen(1).await;
    stream.event().await;
    world.clock.advance(Duration::from_secs(100));
    world.happen(1).await;
    assert_eq!(stream.closing().await, (vec![], "expired".into()));
    let answer = world.call("GET", "/events", &key, None).await;
    answer.refused(401, "expired_key");
}

#[tokio::test]
async fn a_stream_ends_with_the_rights_of_its_key() {
    // How the next call is answered.
    for (what, then) in [
        ("disabled", 401),
        ("revoked", 401),
        ("deleted", 401),
        ("regenerated", 401),
        ("renamed", 200),
        ("expiry moved", 200),
        ("unassigned", 403),
        ("unassigned another", 200),
    ] {
        let world = World::new().await;
        let modules = [MANAGEMENT_MODULE, "open"].map(module);
        let client = world.key(NewKey::named("it").with_modules(modules)).await;
        let mut stream = world.follow(&client).await;
        let mut other = world.follow(&world.manager).await;
        let begin = world.end().await;
        world.happen(1).await;
        assert_eq!(stream.seqs(1).await, [begin + 1]);
        change(&world.keys, what, &client).await;
        world.happen(1).await;
        let end = world.end().await;
        let (told, reason) = stream.closing().await;
        assert_eq!(reason, "rights_changed", "{what}");
        assert!(told.iter().all(|seq| *seq < end), "{what}: {told:?}");
        let others: Vec<_> = (begin + 1..=end).collect();
        assert_eq!(other.seqs(others.len()).await, others, "{what}");

        let last = stream.last_event_id;
        let answer = ask(&world.app, &uri(), &client.text, last).await;
        assert_eq!(answer.status().as_u16(), then, "{what}");
        if then == 200 {
            // Its own change ended the stream before, and does not end this one.
            let mut stream = Stream::of(answer);
            let rest: Vec<_> = (last.unwrap() + 1..=end).collect();
            assert_eq!(stream.seqs(rest.len()).await, rest, "{what}");
            settle().await;
            assert_eq!(stream.ready(), None, "{what}");
        }
    }
}

async fn change(keys: &KeyManager, what: &str, client: &Client) {
    let (id, actor) = (&client.id, Actor::system());
    let unassign = async |name| keys.unassign(id, &[module(name)], &Actor::system()).await;
    match what {
        "disabled" => keys.disable(id, &actor).await.map(drop),
        "revoked" => keys.revoke(id, &actor).await.map(drop),
        "deleted" => keys.delete(id, &actor).await.map(drop),
        "regenerated" => keys.regenerate(id, None, &actor).await.map(drop),
        "renamed" => keys.rename(id, "other", &actor).await.map(drop),
        "expiry moved" => {
            let later = tower_api_key::Timestamp::from_unix_seconds(4_000_000_000);
            let patch = KeyPatch::new().with_expires_at(Some(later));
            keys.update(id, &patch, &actor).await.map(drop)
        }
        "unassigned" => unassign(MANAGEMENT_MODULE).await,
        "unassigned another" => unassign("open").await,
        _ => unreachable!("{what}"),
    }
    .unwrap();
}

#[tokio::test]
async fn a_stream_ends_where_the_license_for_managing_is_gone() {
    let world = World::new().await;
    let mut stream = world.follow(&world.manager).await;
    let mut administrators = world.follow(&world.administrator).await;
    let (none, system) = (license("none"), Actor::system());
    let nothing = License::new(none.clone(), Seats::Limited(0));
    world.keys.set_license(nothing, &system).await.unwrap();
    let begin = stream.event().await.0;
    let managing = module(MANAGEMENT_MODULE);
    let mapped = world.keys.map_module(&managing, Some(&none), &system);
    mapped.await.unwrap();
    world.happen(1).await;
    assert_eq!(stream.closing().await, (vec![], "rights_changed".into()));
    let end = world.end().await;
    let all: Vec<_> = (begin..=end).collect();
    assert_eq!(administrators.seqs(all.len()).await, all, "they need none");
    let answer = world.call("GET", "/events", &world.manager, None).await;
    assert_eq!(answer.status.as_u16(), 403);
}

/// One seat for two managers: who loses it is told so, and then nothing more.
#[tokio::test]
async fn a_stream_ends_when_the_seat_for_managing_is_lost() {
    let world = World::new().await;
    let (one, system) = (license("one"), Actor::system());
    let seats = |seats| License::new(one.clone(), Seats::Limited(seats));
    world.keys.set_license(seats(1), &system).await.unwrap();
    let managing = module(MANAGEMENT_MODULE);
    let mapped = world.keys.map_module(&managing, Some(&one), &system);
    mapped.await.unwrap();
    let mut stream = world.follow(&world.manager).await;
    world.keys.set_license(seats(0), &system).await.unwrap();
    world.happen(1).await;
    let (told, reason) = stream.closing().await;
    assert_eq!(reason, "rights_changed");
    assert!(told.iter().all(|seq| *seq < world_end(&world)), "{told:?}");
}

fn world_end(world: &World) -> u64 {
    *world.ledger.latest().borrow()
}

/// Keys that a host changes in its store itself stand in no log.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_where_the_key_is_changed_past_the_log() {
    use tower_api_key::KeyStore;
    let world = World::new().await;
    let client = world.another_manager().await;
    let mut stream = world.follow(&client).await;
    stream.next().await;
    let mut record = world.store.get(&client.id).await.unwrap().unwrap();
    record.enabled = false;
    world.store.update(record).await.unwrap();
    let begin = Instant::now();
    assert_eq!(stream.closing().await, (vec![], "rights_changed".into()));
    assert!(begin.elapsed() <= Duration::from_secs(15));
}

#[tokio::test]
async fn shutting_down_ends_all_streams_and_those_that_begin_then() {
    let world = World::new().await;
    let mut stream = world.follow(&world.manager).await;
    world.happen(1).await;
    stream.event().await;
    world.management.shut_down();
    world.happen(1).await;
    assert_eq!(stream.closing().await, (vec![], "shutting_down".into()));
    let mut late = world.follow(&world.manager).await;
    assert_eq!(late.closing().await, (vec![], "shutting_down".into()));
    // Nothing that a client needs later.
    assert_eq!(late.last_event_id, Some(world.end().await));
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlasts_an_outage_of_the_ledger() {
    let (world, faults) = faulty().await;
    let mut stream = world.follow(&world.manager).await;
    world.happen(1).await;
    let begin = stream.event().await.0;
    faults.set(Fault::Down);
    world.happen(3).await;
    for _ in 0..4 {
        assert_eq!(
            stream.next().await,
            Some(Block::Comment),
            "and no word of it"
        );
    }
    faults.set(Fault::None);
    let up = Instant::now();
    assert_eq!(stream.seqs(3).await, [begin + 1, begin + 2, begin + 3]);
    assert!(up.elapsed() <= Duration::from_secs(1));
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up() {
    let (world, _) = faulty().await;
    let begin = world.end().await;
    let mut slow = world.follow(&world.manager).await;
    let mut quick = world.follow(&world.administrator).await;
    world.happen(2_000).await;
    let end = world.end().await;
    let expected: Vec<_> = (begin + 1..=end).collect();
    assert_eq!(slow.event().await.0, begin + 1);
    assert_eq!(quick.seqs(expected.len()).await, expected);
    assert_eq!(slow.seqs(expected.len() - 1).await, expected[1..]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_for_a_reader_beyond_a_batch() {
    let (world, faults) = faulty().await;
    world.happen(2_000).await;
    let mut slow = world.resume(&world.administrator, Some(0)).await;
    let before = faults.asked();
    for taken in 0..1_500 {
        settle().await;
        let read = faults.asked() - before;
        assert!(256 * read < taken + 2 * 256, "{read} reads for {taken}");
        slow.event().await;
    }
}

/// Lets every task go on until it has nothing to do.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Once a reader went on with 41,512 old entries, 8 MB, after his right had been taken.
#[tokio::test]
async fn a_backlog_is_read_no_further_without_the_right() {
    for what in ["module", "license"] {
        let world = World::new().await;
        world.happen(2_000).await;
        let mut stream = world.resume(&world.manager, Some(0)).await;
        stream.event().await;
        let (managing, system) = (module(MANAGEMENT_MODULE), Actor::system());
        let taken = match what {
            "module" => {
                let id = &world.manager.id;
                world.keys.unassign(id, &[managing], &system).await
            }
            _ => {
                let none = license("none");
                let mapped = world.keys.map_module(&managing, Some(&none), &system);
                mapped.await.map(drop)
            }
        };
        taken.unwrap();
        let (told, reason) = stream.closing().await;
        assert_eq!(reason, "rights_changed", "{what}");
        // What was on its way.
        assert!(told.len() <= 33, "{what}: {}", told.len());
    }
}

/// A policy that depends on something else than the ledger.
#[derive(Clone, Default)]
struct Whim {
    is_bad: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl ManagementPolicy for Whim {
    async fn role(&self, _: Applicant<'_>) -> Result<Role, Denial> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.is_bad.load(Ordering::SeqCst) {
            true => Err(Denial::new(DenialCode::ModuleAccessMissing)),
            false => Ok(Role::Manager),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_asked_every_fifteen_seconds_whoever_is_busy() {
    let whim = Whim::default();
    let policy = whim.clone();
    let world = World::with(|builder| builder.with_policy(policy)).await;
    world.happen(2_000).await;
    let mut busy = world.resume(&world.manager, Some(0)).await;
    let mut idle = world.follow(&world.manager).await;
    let idle = tokio::spawn(async move { idle.closing().await });
    settle().await;
    let asked = whim.asked.load(Ordering::SeqCst);
    for _ in 0..100 {
        busy.event().await;
        time::sleep(Duration::from_secs(1)).await;
    }
    let asked = whim.asked.load(Ordering::SeqCst) - asked;
    assert!((12..=14).contains(&asked), "{asked} times for two of them");
    whim.is_bad.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    assert_eq!(idle.await.unwrap().1, "rights_changed");
    assert!(begin.elapsed() <= Duration::from_secs(16));
    let (told, reason) = busy.closing().await;
    assert_eq!(reason, "rights_changed");
    assert!(told.len() <= 33, "{}", told.len());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_or_judged_for_a_reader_who_has_gone() {
    let whim = Whim::default();
    let policy = whim.clone();
    let world = World::with(|builder| builder.with_policy(policy)).await;
    let mut stream = world.follow(&world.manager).await;
    stream.next().await;
    drop(stream);
    settle().await;
    let asked = whim.asked.load(Ordering::SeqCst);
    time::sleep(Duration::from_secs(100)).await;
    assert_eq!(whim.asked.load(Ordering::SeqCst), asked);
}

/// What has come of a stream that was not read, and why it has ended: both are there at once.
fn left(mut stream: Stream) -> (usize, String) {
    let mut count = 0;
    loop {
        match stream.ready().expect("it has ended") {
            Block::Event { .. } => count += 1,
            Block::Closing { reason } => return (count, reason),
            Block::Retry { .. } | Block::Comment => {}
        }
    }
}

/// Once everything that ends a stream waited until the reader took something.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_ends_all_the_same() {
    for what in ["shutting_down", "rights_changed", "expired", "not_read"] {
        let world = World::new().await;
        world.happen(2_000).await;
        let new = NewKey::named("brief").with_modules([module(MANAGEMENT_MODULE)]);
        let key = world.key(new.with_expires_at(world.clock_in(20))).await;
        let client = if what == "expired" {
            &key
        } else {
            &world.manager
        };
        let stream = world.resume(client, Some(0)).await;
        settle().await;
        let wait = match what {
            "shutting_down" => {
                world.management.shut_down();
                0
            }
            "rights_changed" => {
                let (managing, system) = ([module(MANAGEMENT_MODULE)], Actor::system());
                let taken = world.keys.unassign(&client.id, &managing, &system);
                taken.await.unwrap();
                1
            }
            "expired" => 20,
            _ => 30,
        };
        time::sleep(Duration::from_secs(wait)).await;
        settle().await;
        let (count, reason) = left(stream);
        assert_eq!(reason, what);
        assert!(count <= 32, "{what}: {count} were on their way");
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_is_not_let_go() {
    let world = World::new().await;
    world.happen(200).await;
    let mut stream = world.resume(&world.manager, Some(0)).await;
    for seq in 1..=150 {
        assert_eq!(stream.event().await.0, seq);
        time::sleep(Duration::from_secs(20)).await;
    }
}

/// Of a log in which nothing happens, too.
#[tokio::test(start_paused = true)]
async fn who_takes_no_heartbeat_is_let_go() {
    let world = World::new().await;
    let stream = world.follow(&world.manager).await;
    time::sleep(Duration::from_secs(46)).await;
    assert_eq!(left(stream), (0, "not_read".into()));
}

#[tokio::test]
async fn a_caller_has_at_most_thirty_two_streams() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(world.follow(&world.manager).await);
    }
    for _ in 0..2 {
        let answer = world.call("GET", "/events", &world.manager, None).await;
        let answer = answer.refused(429, "rate_limited");
        assert_eq!(answer.header("retry-after"), "30");
    }
    drop(world.follow(&world.administrator).await);
    streams.pop();
    streams.push(world.follow(&world.manager).await);
    let answer = world.call("GET", "/events", &world.manager, None).await;
    answer.refused(429, "rate_limited");
    // What is refused takes no place.
    streams.clear();
    for _ in 0..33 {
        let answer = world
            .call("GET", "/events?after=1", &world.manager, None)
            .await;
        answer.refused(400, "invalid_request");
        let id = [("last-event-id", "x")];
        let answer = world.call_with("GET", "/events", &world.manager, &id, None);
        answer.await.refused(400, "invalid_request");
    }
    world.follow(&world.manager).await;
}

#[tokio::test]
async fn a_hundred_readers_are_told_everything() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let client = world.another_manager().await;
        for _ in 0..25 {
            streams.push(world.follow(&client).await);
        }
    }
    let readers: Vec<_> = (streams.into_iter())
        .map(|mut stream| tokio::spawn(async move { stream.seqs(200).await }))
        .collect();
    let begin = world.end().await;
    world.happen(200).await;
    for reader in readers {
        let told = reader.await.unwrap();
        let expected: Vec<_> = (told[0]..told[0] + 200).collect();
        assert_eq!(told, expected);
        assert!(told[0] <= begin + 1);
    }
}

/// However often a client is cut off, and wherever: it is told every event, and each once.
#[tokio::test]
async fn nothing_is_lost_or_doubled_over_any_cuts() {
    for seed in 1..=50_u64 {
        let world = World::new().await;
        let begin = world.end().await;
        let mut random = seed;
        let mut next = |choices: u64| {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % choices
        };
        let (mut told, mut last) = (Vec::new(), Some(begin));
        let mut stream = world.resume(&world.manager, last).await;
        for _ in 0..60 {
            match next(4) {
                0 => world.happen(usize::try_from(next(8)).unwrap()).await,
                // What is on its way when the client is cut off has not come.
                1 => {
                    for _ in 0..next(3) {
                        tokio::task::yield_now().await;
                        stream.ready();
                    }
                    stream = world.resume(&world.manager, last).await;
                }
                _ => {
                    for _ in 0..next(6) {
                        tokio::task::yield_now().await;
                        if let Some(Block::Event { seq, .. }) = stream.ready() {
                            told.push(seq);
                        }
                        last = stream.last_event_id.or(last);
                    }
                }
            }
        }
        let end = world.end().await;
        while told.last().copied().unwrap_or(begin) < end {
            told.push(stream.event().await.0);
        }
        let expected: Vec<_> = (begin + 1..=end).collect();
        assert_eq!(told, expected, "seed {seed}");
    }
}
