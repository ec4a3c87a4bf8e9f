//! What a change would do to seats, and who holds them.

use std::time::Duration;

use tower_api_key::{
    Holder, KeyStore, License, LicenseId, LicenseLedger, ManageError, Module, NewKey, Operation,
    Plan, Planned, PlannedSeat, Reservations, ReservationsQuery, Seats, Timestamp,
};

use crate::support::{World, bob, by, id, launcher, lic, open};

/// A world with a key for each name, all assigned the launcher, in this order.
async fn with_keys(seats: u32, names: &[&str]) -> World {
    let world = World::new().await;
    let license = License::new(lic(), Seats::Limited(seats));
    world.other.set_license(license, bob()).await.unwrap();
    for name in names {
        let new = NewKey::named(format!("the key {name}"));
        let new = new.with_id(id(name)).with_modules([launcher()]);
        world.other.create(new, bob()).await.unwrap();
    }
    world
}

fn set_seats(seats: Seats) -> Planned {
    Planned::SetLicense {
        license: lic(),
        seats: Some(seats),
        valid_until: None,
    }
}

/// `A loses, C gains`, as `A | C`.
fn short(plan: &Plan) -> String {
    let names = |seats: &[PlannedSeat]| {
        let names: Vec<_> = seats.iter().map(|seat| seat.holder.as_str()).collect();
        names.join(",")
    };
    format!("{} | {}", names(&plan.loses), names(&plan.gains))
}

#[tokio::test]
async fn plan_of_fewer_seats_names_who_would_lose_theirs_and_takes_none() {
    let world = with_keys(3, &["A", "B", "C", "D"]).await;
    let (line, seq) = (world.line().await, world.seq().await);
    let plan = world.manager.plan(&set_seats(Seats::Limited(1))).await;
    let plan = plan.unwrap();
    assert_eq!(short(&plan), "A,B | ");
    assert_eq!(plan.loses[0].license, lic());
    assert_eq!(plan.loses[0].name.as_deref(), Some("the key A"));
    let more = world.manager.plan(&set_seats(Seats::Unlimited)).await;
    assert_eq!(short(&more.unwrap()), " | D");
    assert_eq!((world.line().await, world.seq().await), (line, seq));
}

#[tokio::test]
async fn plan_tells_what_each_change_of_a_key_would_do() {
    let world = with_keys(1, &["A", "B"]).await;
    let key = |name| id(name);
    let modules = vec![launcher()];
    for (planned, expected) in [
        (Planned::Disable { key: key("A") }, "A | B"),
        (Planned::Disable { key: key("B") }, " | "),
        (Planned::Enable { key: key("A") }, " | "),
        (Planned::Revoke { key: key("A") }, "A | B"),
        (Planned::Delete { key: key("A") }, "A | B"),
        (
            Planned::Unassign {
                key: key("A"),
                modules: modules.clone(),
            },
            "A | B",
        ),
        (
            Planned::Assign {
                key: key("B"),
                modules,
            },
            " | ",
        ),
        (Planned::SetLimitedEdition { enabled: true }, "A | "),
        (Planned::SetLimitedEdition { enabled: false }, " | "),
        (Planned::RemoveLicense { license: lic() }, "A | "),
    ] {
        let plan = world.manager.plan(&planned).await.unwrap();
        assert_eq!(short(&plan), expected, "{planned:?}");
    }
}

#[tokio::test]
async fn assignment_and_enabling_are_planned_with_the_seats_they_would_get() {
    let world = with_keys(1, &["A"]).await;
    world.manager.disable(&id("A"), bob()).await.unwrap();
    let enable = Planned::Enable { key: id("A") };
    assert_eq!(short(&world.manager.plan(&enable).await.unwrap()), " | A");
    let new = NewKey::named("new").with_id(id("B"));
    world.manager.create(new, bob()).await.unwrap();
    let assign = Planned::Assign {
        key: id("B"),
        modules: vec![open(), launcher()],
    };
    assert_eq!(short(&world.manager.plan(&assign).await.unwrap()), " | B");
    assert!(world.line().await.0.is_empty());
}

#[tokio::test]
async fn part_of_a_license_that_is_not_given_stays() {
    let world = with_keys(2, &["A", "B", "C"]).await;
    let end = world.clock_in(60);
    let set = |seats, valid_until| Planned::SetLicense {
        license: lic(),
        seats,
        valid_until,
    };
    let license = License::new(lic(), Seats::Limited(2)).with_valid_until(Some(end));
    world.other.set_license(license, bob()).await.unwrap();
    let plan = async |planned| short(&world.manager.plan(&planned).await.unwrap());
    assert_eq!(plan(set(None, None)).await, " | ");
    let past = Some(Some(world.clock_in(0)));
    assert_eq!(plan(set(None, past)).await, "A,B | ", "the end has come");
    world.clock.advance(Duration::from_secs(60));
    world.manager.tick().await.unwrap();
    assert_eq!(plan(set(Some(Seats::Limited(3)), None)).await, " | ");
    assert_eq!(plan(set(None, Some(None))).await, " | A,B", "renewed");
}

#[tokio::test]
async fn what_has_expired_and_is_not_written_yet_is_lost_too() {
    let world = with_keys(1, &["A", "B", "C"]).await;
    let end = Some(world.clock_in(60));
    world
        .manager
        .set_expiry(&id("A"), end, bob())
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(60));
    let plan = async |planned| short(&world.manager.plan(&planned).await.unwrap());
    assert_eq!(plan(set_seats(Seats::Limited(1))).await, "A | B");
    // B would get the seat by the tick and lose it by the change: neither.
    assert_eq!(plan(Planned::Delete { key: id("B") }).await, "A | C");
    assert_eq!(world.line().await.0, ["A"]);
}

#[tokio::test]
async fn seat_that_is_taken_and_given_back_is_neither_lost_nor_gained() {
    let world = with_keys(1, &["A"]).await;
    let end = world.clock_in(60);
    let license = License::new(lic(), Seats::Limited(1)).with_valid_until(Some(end));
    world.other.set_license(license, bob()).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    let renew = Planned::SetLicense {
        license: lic(),
        seats: None,
        valid_until: Some(None),
    };
    // The tick takes it, the renewal gives it back.
    assert_eq!(short(&world.manager.plan(&renew).await.unwrap()), " | ");
    let renewed = License::new(lic(), Seats::Limited(1));
    let events = world.manager.set_license(renewed, bob()).await.unwrap();
    assert_eq!(events.len(), 4, "{events:?}");
}

#[tokio::test]
async fn plan_is_refused_as_the_change_would_be() {
    let world = with_keys(1, &["A", "B"]).await;
    world.manager.revoke(&id("B"), bob()).await.unwrap();
    let seq = world.seq().await;
    let unknown: LicenseId = "no-such".parse().unwrap();
    let foreign: Module = "playout".parse().unwrap();
    let plan = async |planned| world.manager.plan(&planned).await.unwrap_err();
    for key in [id("k9")] {
        for planned in [
            Planned::Disable { key: key.clone() },
            Planned::Enable { key: key.clone() },
            Planned::Revoke { key: key.clone() },
            Planned::Delete { key: key.clone() },
        ] {
            let refused = plan(planned).await;
            assert!(matches!(refused, ManageError::NotFound(_)), "{refused}");
        }
    }
    let assign = |key, module| Planned::Assign {
        key: id(key),
        modules: vec![module],
    };
    let unassign = Planned::Unassign {
        key: id("A"),
        modules: vec![foreign.clone()],
    };
    for planned in [Planned::Enable { key: id("B") }, assign("B", launcher())] {
        let refused = plan(planned).await;
        assert!(matches!(refused, ManageError::Revoked(_)), "{refused}");
    }
    for planned in [assign("A", foreign.clone()), unassign] {
        let refused = plan(planned).await;
        let named = matches!(&refused, ManageError::UnknownModule(module) if *module == foreign);
        assert!(named, "{refused}");
    }
    let license = unknown.clone();
    let set = Planned::SetLicense {
        license: unknown.clone(),
        seats: Some(Seats::Unlimited),
        valid_until: Some(None),
    };
    for planned in [set, Planned::RemoveLicense { license }] {
        let refused = plan(planned).await;
        let named = matches!(&refused, ManageError::UnknownLicense(known) if *known == unknown);
        assert!(named, "{refused}");
    }
    assert_eq!(world.log(seq).await, by(bob(), []));
}

/// Who holds the seats and who waits, as `A,B | C`.
fn shown(reservations: &Reservations) -> String {
    let reserved = reservations.reserved.iter().map(|seat| &seat.holder);
    let waiting = reservations.waiting.iter().map(|place| &place.holder);
    let join = |names: Vec<&str>| names.join(",");
    let reserved = join(reserved.map(Holder::as_str).collect());
    format!(
        "{reserved} | {}",
        join(waiting.map(Holder::as_str).collect())
    )
}

#[tokio::test]
async fn reservations_carry_names_and_times_and_positions() {
    let world = with_keys(1, &["A", "B"]).await;
    world.clock.advance(Duration::from_secs(10));
    let user = Operation::Assign {
        holder: Holder::new("issuer|subject").unwrap(),
        modules: vec![launcher()],
    };
    world.ledger.apply(user, bob()).await.unwrap();
    let used = world.clock_in(5);
    world
        .store
        .record_last_used(&[(id("A"), used)])
        .await
        .unwrap();

    let all = world
        .manager
        .reservations(&lic(), &ReservationsQuery::first(100))
        .await
        .unwrap();
    assert_eq!(shown(&all), "A | B,issuer|subject");
    let seat = &all.reserved[0];
    assert_eq!(seat.name.as_deref(), Some("the key A"));
    assert_eq!(seat.since, world.clock_in(-10));
    assert_eq!(seat.last_used_at, Some(used));
    let (b, user) = (&all.waiting[0], &all.waiting[1]);
    assert_eq!((b.position, user.position), (1, 2));
    assert_eq!(b.name.as_deref(), Some("the key B"));
    assert_eq!((&user.name, user.since), (&None, world.clock_in(0)));

    let first = world
        .manager
        .reservations(&lic(), &ReservationsQuery::first(1))
        .await
        .unwrap();
    assert_eq!(shown(&first), "A | B");
    let unknown = LicenseId::new("no-such").unwrap();
    let refused = world
        .manager
        .reservations(&unknown, &ReservationsQuery::first(1))
        .await;
    assert!(matches!(refused, Err(ManageError::UnknownLicense(_))));
}

#[tokio::test]
async fn unused_seats_are_those_given_and_not_used_before_the_instant() {
    let world = with_keys(3, &["A", "B", "C"]).await;
    let uses = [(id("A"), world.clock_in(10)), (id("B"), world.clock_in(20))];
    world.store.record_last_used(&uses).await.unwrap();
    let unused = async |since: Timestamp, limit| {
        let query = ReservationsQuery::first(limit).with_unused_since(Some(since));
        let read = world.manager.reservations(&lic(), &query).await;
        shown(&read.unwrap())
    };
    assert_eq!(
        unused(world.clock_in(0), 9).await,
        " | ",
        "C has it since 0"
    );
    assert_eq!(unused(world.clock_in(1), 9).await, "C | ");
    assert_eq!(unused(world.clock_in(10), 9).await, "C | ", "used at 10");
    assert_eq!(unused(world.clock_in(11), 9).await, "A,C | ");
    assert_eq!(unused(world.clock_in(21), 9).await, "A,B,C | ");
    assert_eq!(unused(world.clock_in(21), 2).await, "A,B | ");
    // The limit is one of unused seats, not of those that are looked at.
    assert_eq!(unused(world.clock_in(1), 1).await, "C | ");
}

#[tokio::test]
async fn key_that_waited_long_for_its_seat_is_not_taken_for_an_unused_one() {
    let world = with_keys(1, &["A", "B"]).await;
    let before = world.clock_in(5);
    world
        .store
        .record_last_used(&[(id("B"), before)])
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(60));
    world.manager.delete(&id("A"), bob()).await.unwrap();
    let unused = async |since| {
        let query = ReservationsQuery::first(9).with_unused_since(Some(since));
        let read = world.manager.reservations(&lic(), &query).await;
        shown(&read.unwrap())
    };
    assert_eq!(unused(world.clock_in(0)).await, " | ");
    assert_eq!(unused(world.clock_in(1)).await, "B | ");
}

#[tokio::test]
async fn users_are_never_taken_for_unused_and_keys_without_a_record_are() {
    let world = with_keys(2, &[]).await;
    for holder in ["issuer|subject", "left-over"] {
        let assign = Operation::Assign {
            holder: Holder::new(holder).unwrap(),
            modules: vec![launcher()],
        };
        world.ledger.apply(assign, bob()).await.unwrap();
    }
    let later = Some(world.clock_in(9));
    let query = ReservationsQuery::first(9).with_unused_since(later);
    let unused = world.manager.reservations(&lic(), &query).await.unwrap();
    assert_eq!(shown(&unused), "left-over | ");
    assert_eq!(unused.reserved[0].name, None);
}

#[tokio::test]
async fn many_keys_are_read_a_few_at_a_time_and_stay_in_order() {
    let names: Vec<_> = (0..60)
        .map(|number| format!("k{:02}", 59 - number))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let world = with_keys(40, &names).await;
    let manager = world.manager.clone();
    // As a handler would: the future can be sent.
    let read = tokio::spawn(async move {
        let plan = manager.plan(&set_seats(Seats::Limited(0))).await.unwrap();
        (
            plan,
            manager
                .reservations(&lic(), &ReservationsQuery::first(1_000))
                .await
                .unwrap(),
        )
    });
    let (plan, read) = read.await.unwrap();
    assert_eq!(
        shown(&read),
        format!("{} | {}", names[..40].join(","), names[40..].join(","))
    );
    assert_eq!(short(&plan), format!("{} | ", names[..40].join(",")));
    let named = plan
        .loses
        .iter()
        .all(|seat| seat.name.as_deref() == Some(&*format!("the key {}", seat.holder)));
    assert!(named, "{plan:?}");
    assert_eq!(read.waiting[19].position, 20);
}

#[tokio::test]
async fn pages_of_a_line_show_everybody_once() {
    let world = with_keys(5, &["A", "B", "C", "D", "E", "F", "G", "H"]).await;
    let uses = ["B", "D"].map(|used| (id(used), world.clock_in(60)));
    world.store.record_last_used(&uses).await.unwrap();
    let unused = Some(world.clock_in(30));
    for (unused_since, reserved) in [(None, "A,B,C,D,E"), (unused, "A,C,E")] {
        for limit in 1..=6 {
            let query = ReservationsQuery::first(limit).with_unused_since(unused_since);
            let (mut all, mut after) = (Reservations::default(), Some(Default::default()));
            let mut positions = Vec::new();
            while let Some(cursor) = after {
                let query = query.clone().with_after(cursor);
                let page = world.manager.reservations(&lic(), &query).await.unwrap();
                assert!(page.reserved.len() <= limit && page.waiting.len() <= limit);
                let is_empty = page.reserved.is_empty() && page.waiting.is_empty();
                assert!(!is_empty, "a page of nothing after {cursor:?}");
                positions.extend(page.waiting.iter().map(|place| place.position));
                all.reserved.extend(page.reserved);
                all.waiting.extend(page.waiting);
                after = page.next;
            }
            assert_eq!(shown(&all), format!("{reserved} | F,G,H"), "{limit}");
            assert_eq!(positions, [1, 2, 3]);
        }
    }
}

#[tokio::test]
async fn one_holder_is_told_with_its_place() {
    let world = with_keys(1, &["A", "B", "C"]).await;
    let only = async |holder: &str| {
        let holder = Some(Holder::new(holder).unwrap());
        let query = ReservationsQuery::first(1).with_holder(holder);
        world.manager.reservations(&lic(), &query).await.unwrap()
    };
    let waiting = only("C").await;
    assert_eq!(
        (&*shown(&waiting), waiting.waiting[0].position),
        (" | C", 2)
    );
    assert_eq!(shown(&only("A").await), "A | ");
    assert_eq!(only("nobody").await, Reservations::default());
}
