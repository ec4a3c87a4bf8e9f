//! Licenses, modules, limited edition, and the log.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tower_api_key::{
    Clock, License, LicenseId, ManageError, Module, NewKey, Reason, Seats, Status,
};

use crate::{
    interrupted::Fault,
    support::{World, alice, bob, id, launcher, lic, short},
};

fn new(name: &str) -> NewKey {
    NewKey::named(name)
        .with_id(id(name))
        .with_modules([launcher()])
}

async fn brought_about(
    events: impl Future<Output = Result<Vec<tower_api_key::LicenseEvent>, ManageError>>,
) -> Vec<String> {
    let events = events.await.unwrap();
    assert!(events.iter().all(|event| event.actor == *bob()));
    events.iter().map(|event| short(&event.kind)).collect()
}

#[tokio::test]
async fn license_calls_answer_with_what_they_brought_about() {
    let world = World::new().await;
    let (manager, bob) = (&world.manager, bob());
    manager.create(new("k1"), alice()).await.unwrap();
    manager.create(new("k2"), alice()).await.unwrap();

    let more = License::new(lic(), Seats::Unlimited);
    let brought = brought_about(manager.set_license(more.clone(), bob)).await;
    assert_eq!(
        brought,
        ["count_changed lic", "reserved k2 lic count_increased"]
    );
    assert!(
        brought_about(manager.set_license(more, bob))
            .await
            .is_empty(),
        "again: nothing"
    );

    let brought = brought_about(manager.set_limited_edition(true, bob)).await;
    assert_eq!(brought.len(), 3);
    let status = manager.read(&id("k1")).await.unwrap().modules[0].status;
    assert_eq!(status, Status::Expired(Reason::LimitedEdition));
    brought_about(manager.set_limited_edition(false, bob)).await;

    let brought = brought_about(manager.remove_license(&lic(), bob)).await;
    assert_eq!(brought[0], "license_removed lic");
    let again = manager.remove_license(&lic(), bob).await;
    assert!(matches!(again, Err(ManageError::UnknownLicense(license)) if license == lic()));
    let status = manager.read(&id("k1")).await.unwrap().modules[0].status;
    assert_eq!(status, Status::ReservationFailed(Reason::Unavailable));

    let brought = brought_about(manager.map_module(&launcher(), None, bob)).await;
    assert_eq!(brought, ["module_mapped launcher"]);
    let status = manager.read(&id("k1")).await.unwrap().modules[0].status;
    assert_eq!(status, Status::NotRequired);
}

#[tokio::test]
async fn a_license_is_changed_only_as_expected() {
    let world = World::new().await;
    let (manager, bob) = (&world.manager, bob());
    let license = |seats| License::new(lic(), Seats::Limited(seats));
    manager.set_license(license(1), bob).await.unwrap();

    let set = |license, expected| manager.set_license_if(license, expected, bob);
    let brought = brought_about(set(license(3), Some(license(1)))).await;
    assert_eq!(brought, ["count_changed lic"]);
    for expected in [Some(license(1)), None] {
        let refused = set(license(4), expected.clone()).await;
        assert!(matches!(refused, Err(ManageError::Conflict)), "{refused:?}");
        // As where it is done, and the answer was lost.
        let again = brought_about(set(license(3), expected)).await;
        assert!(again.is_empty(), "{again:?}");
    }

    let refused = manager.remove_license_if(license(1), bob).await;
    assert!(matches!(refused, Err(ManageError::Conflict)), "{refused:?}");
    let brought = brought_about(manager.remove_license_if(license(3), bob)).await;
    assert_eq!(brought, ["license_removed lic"]);
    let gone = manager.remove_license_if(license(3), bob).await;
    assert!(matches!(gone, Err(ManageError::UnknownLicense(license)) if license == lic()));
    let refused = set(license(3), Some(license(1))).await;
    assert!(matches!(refused, Err(ManageError::Conflict)), "{refused:?}");
    let brought = brought_about(set(license(2), None)).await;
    assert_eq!(brought[0], "license_added lic");
}

/// What expired in the meantime is told by the call and none of its own work.
#[tokio::test]
async fn what_expires_meanwhile_does_not_pass_for_the_change() {
    let world = World::new().await;
    let (manager, bob) = (&world.manager, bob());
    let end = world
        .clock
        .now()
        .wall
        .saturating_add(Duration::from_secs(1));
    let ending = License::new(lic(), Seats::Limited(1)).with_valid_until(Some(end));
    manager.set_license(ending, bob).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let license = |seats| License::new(lic(), Seats::Limited(seats));
    let refused = manager.set_license_if(license(2), Some(license(1)), bob);
    assert!(matches!(refused.await, Err(ManageError::Conflict)));
    let log = manager.events(0, 1_000).await.unwrap();
    assert_eq!(short(&log[log.len() - 1].kind), "license_expired lic");
}

#[tokio::test]
async fn overview_and_line_show_seats_and_who_waits() {
    let world = World::new().await;
    for name in ["k1", "k2", "k3"] {
        world.manager.create(new(name), alice()).await.unwrap();
    }
    let overview = world.manager.overview().await.unwrap();
    assert_eq!(
        (overview.licenses[0].used, overview.licenses[0].waiting),
        (1, 2)
    );
    let open = Module::new("open").unwrap();
    assert_eq!(overview.modules, [(launcher(), Some(lic())), (open, None)]);
    let line = world.manager.line(&lic(), 1).await.unwrap();
    assert_eq!(line.reserved, [((&id("k1")).into(), world.clock_in(0))]);
    assert_eq!(line.waiting, [((&id("k2")).into(), world.clock_in(0))]);
    let unknown = LicenseId::new("other").unwrap();
    let refused = world.manager.line(&unknown, 1).await;
    assert!(matches!(refused, Err(ManageError::UnknownLicense(license)) if license == unknown));
}

#[tokio::test]
async fn events_are_the_log_by_page() {
    let world = World::new().await;
    world.manager.create(new("k1"), alice()).await.unwrap();
    let all = world.manager.events(0, 100).await.unwrap();
    let seqs: Vec<u64> = all.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=6).collect::<Vec<_>>());
    assert_eq!(world.manager.events(2, 3).await.unwrap(), all[2..5]);
}

/// Far more than one page, and all of it while nobody else runs.
async fn busy(world: &World, turns: u64) {
    for turn in 0..turns {
        let limited = world.manager.set_limited_edition(turn % 2 == 0, alice());
        limited.await.unwrap();
    }
}

#[tokio::test]
async fn follower_gets_the_past_and_then_all_that_happens_once_and_in_order() {
    let world = World::new().await;
    busy(&world, 600).await;
    let mut log = world.manager.follow(0);
    let mut next = async || log.next().await.unwrap().unwrap().seq;
    for seq in 1..=603 {
        assert_eq!(next().await, seq);
    }
    let writer = {
        let world = world.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                busy(&world, 7).await;
                tokio::task::yield_now().await;
            }
        })
    };
    let last = 603 + 350 - 49;
    for seq in 604..=last {
        assert_eq!(next().await, seq);
    }
    writer.await.unwrap();
    assert_eq!(world.seq().await, last);
}

#[tokio::test]
async fn follower_begins_after_the_event_it_is_given() {
    let world = World::new().await;
    busy(&world, 10).await;
    let mut log = world.manager.follow(11);
    assert_eq!(log.next().await.unwrap().unwrap().seq, 12);
}

#[tokio::test(start_paused = true)]
async fn follower_waits_a_second_after_an_outage_and_misses_nothing() {
    let world = World::new().await;
    let mut log = world.manager.follow(0);
    for seq in 1..=3 {
        assert_eq!(log.next().await.unwrap().unwrap().seq, seq);
    }
    world.plan.fail(1, Fault::Outage);
    world
        .other
        .set_limited_edition(true, alice())
        .await
        .unwrap();
    assert!(log.next().await.unwrap().is_err());
    let before = tokio::time::Instant::now();
    assert!(log.next().await.unwrap().is_err());
    assert_eq!(before.elapsed(), Duration::from_secs(1), "it does not spin");
    world.plan.lift();
    world
        .other
        .set_limited_edition(false, alice())
        .await
        .unwrap();
    for seq in 4..=5 {
        assert_eq!(log.next().await.unwrap().unwrap().seq, seq);
    }
}

#[tokio::test]
async fn follower_goes_on_without_its_manager_and_sleeps_while_nothing_happens() {
    let world = World::new().await;
    let mut log = world.manager.clone().follow(3);
    let World { other, .. } = world;
    assert!(log.next().now_or_never().is_none());
    other.set_limited_edition(true, alice()).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().seq, 4);
}

#[tokio::test]
async fn what_is_written_right_after_a_follower_has_read_wakes_it() {
    let world = World::new().await;
    let mut log = world.manager.follow(3);
    let other = world.other.clone();
    world.plan.interrupt_after(1, async move {
        other.set_limited_edition(true, alice()).await.unwrap();
    });
    let next = tokio::time::timeout(Duration::from_secs(60), log.next());
    assert_eq!(next.await.unwrap().unwrap().unwrap().seq, 4);
}
