//! The log as it grows, as Server-Sent Events.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::{self, Instant};
use tower_api_key::{
    Actor, KeyManager, KeyPatch, License, LicenseLedger, ManualClock, MemoryKeyStore, MemoryLedger,
    NewKey, Seats, manage::MANAGEMENT_MODULE,
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
    let (world, faults) = faulty().await;
    let begin = world.end().await;
    let mut slow = world.follow(&world.manager).await;
    let mut quick = world.follow(&world.administrator).await;
    world.happen(2_000).await;
    let end = world.end().await;
    let expected: Vec<_> = (begin + 1..=end).collect();
    assert_eq!(slow.event().await.0, begin + 1);
    let asked = faults.asked();
    assert_eq!(quick.seqs(expected.len()).await, expected);
    let batches = expected.len().div_ceil(256);
    // What the quick one has read; nothing is read ahead for the slow one.
    let read = faults.asked() - asked;
    assert!(
        read <= 2 * batches + 2,
        "{read} reads for {batches} batches"
    );
    assert_eq!(slow.seqs(expected.len() - 1).await, expected[1..]);
}

#[tokio::test]
async fn nothing_is_read_for_a_reader_beyond_a_batch() {
    let (world, faults) = faulty().await;
    let mut slow = world.follow(&world.administrator).await;
    world.happen(2_000).await;
    let before = faults.asked();
    for _ in 0..256 {
        slow.event().await;
    }
    assert_eq!(faults.asked() - before, 1, "one reading for 256 events");
    slow.event().await;
    assert_eq!(faults.asked() - before, 2);
}

#[tokio::test]
async fn a_hundred_readers_are_told_everything() {
    let world = World::new().await;
    let begin = world.end().await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(world.follow(&world.manager).await);
    }
    let readers: Vec<_> = (streams.into_iter())
        .map(|mut stream| tokio::spawn(async move { stream.seqs(200).await }))
        .collect();
    world.happen(200).await;
    let expected: Vec<_> = (begin + 1..=begin + 200).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), expected);
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
                        stream.ready();
                    }
                    stream = world.resume(&world.manager, last).await;
                }
                _ => {
                    for _ in 0..next(6) {
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
