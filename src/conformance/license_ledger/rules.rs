//! Rules and invariants.

use std::time::Duration;

use Seats::{Limited, Unlimited};

use super::*;
use crate::license_ledger::{KeyEvent, Reason};

/// R1: a request, and whoever looks, only reads: also where much has expired since the last tick.
pub async fn reading_changes_nothing(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "R1: only operations create or remove reservations; reading changes nothing";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.make(set("lic", Limited(1), Some(100))).await;
    scene.assign_all(&["A", "B"]).await;
    scene.make(set_active_until("A", Some(50))).await;
    for seconds in [50, 99, 100, 1_000] {
        scene.set_clock(seconds);
        // Clock, sequence and log included: the state machine was told of no time either.
        scene.agrees().await;
        scene.log_is_whole().await;
    }
    scene.line_is("A | B").await;
}

/// R3: no license event changes anybody's place in line.
pub async fn place_in_line_survives_license_events(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "R3: only assign and unassign change a place in line, no license event does";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["D", "B", "A", "C"]).await;
    scene.line_is("D | B,A,C").await;
    for operation in [
        set("lic", Limited(0), None),
        set("lic", Limited(3), None),
        set("lic", Limited(1), None),
        limited_edition(true),
        limited_edition(false),
        remove("lic"),
        set("lic", Limited(2), None),
        map("launcher", "other"),
        map("launcher", "lic"),
        map_to_nothing("launcher"),
        map("launcher", "lic"),
        set("lic", Limited(2), Some(-1)),
        set("lic", Limited(0), Some(100)),
    ] {
        scene.make(operation).await;
    }
    scene.line_is("| D,B,A,C").await;
    scene.make(set("lic", Limited(1), None)).await;
    scene.line_is("D | B,A,C").await;
}

/// R5: a license is expired at its very end, to the microsecond, also when it is set there.
pub async fn license_ends_at_its_very_instant(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "R5: expired if and only if now >= valid_until";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.make(set("lic", Limited(1), Some(100))).await;
    scene.assign_all(&["A"]).await;
    let instant_before = Timestamp::from_unix_micros(at(100).unix_micros() - 1);
    scene.clock.set_wall(instant_before);
    scene.says(Operation::Tick, &[]).await;
    scene.status_is("A", "launcher", Status::Reserved).await;
    scene.clock.advance(Duration::from_micros(1));
    scene
        .status_is("A", "launcher", Status::Expired(Reason::ValidUntil))
        .await;
    let expected = ["expired lic", "took lic from A: LicenseExpired"];
    scene.says(Operation::Tick, &expected).await;
    let expected = ["added late with 1", "expired late"];
    scene
        .says(set("late", Limited(1), Some(100)), &expected)
        .await;
}

/// R6, contract 4: the ledger's time never goes back, whatever its clock does.
pub async fn ledger_time_never_goes_back(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "R6: clock = max(clock, now); a clock that steps back un-expires nothing";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.make(set("lic", Limited(1), Some(100))).await;
    scene.assign_all(&["A"]).await;
    scene.set_clock(120);
    scene.make(Operation::Tick).await;
    scene.set_clock(10);
    let events = scene.make(assign("B", &["launcher"])).await;
    let late = events.iter().all(|event| event.at == at(120));
    assert!(
        late,
        "{rule}: events are written at the ledger's time: {events:?}"
    );
    scene
        .status_is("A", "launcher", Status::Expired(Reason::ValidUntil))
        .await;
    let overview = scene
        .ledger
        .overview()
        .await
        .expect("rule 5: overview answers");
    assert_eq!(
        overview.clock,
        at(120),
        "{rule}: an operation without events moves it too"
    );
    scene
        .says(set("lic", Limited(1), Some(119)), &["validity of lic"])
        .await;
    scene.set_clock(121);
    let events = scene.make(set("lic", Limited(1), Some(122))).await;
    assert_eq!(
        events[0].at,
        at(121),
        "{rule}: it goes on once the clock has caught up"
    );
}

/// R8: a tick that comes late writes each expiry at its own instant, in order, by the system.
pub async fn late_tick_writes_the_same_history(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "R8: a tick handles expiries in order of (instant, id), each at its own instant";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C", "D"]).await;
    scene.make(set("lic", Limited(1), Some(40))).await;
    scene.make(set("LIC-2", Unlimited, Some(40))).await;
    scene.make(set_active_until("A", Some(20))).await;
    scene.make(set_active_until("B", Some(30))).await;
    scene.make(set_active_until("C", Some(30))).await;
    scene.set_clock(1_000);
    let events = scene.make(assign("E", &["launcher"])).await;
    let history: Vec<_> = events
        .iter()
        .map(|event| {
            let seconds = event.at.unix_seconds() - at(0).unix_seconds();
            format!("{seconds} {}: {}", event.actor, text(event))
        })
        .collect();
    let expected = [
        "20 system: expired A",
        "20 system: took lic from A: KeyExpired",
        "20 system: reserved lic for B: SeatFreed",
        "30 system: expired B",
        "30 system: took lic from B: KeyExpired",
        "30 system: reserved lic for D: SeatFreed",
        "30 system: expired C",
        "40 system: expired LIC-2",
        "40 system: expired lic",
        "40 system: took lic from D: LicenseExpired",
        "1000 key:admin: assigned E launcher",
        "1000 key:admin: no lic for E's launcher: ValidUntil",
    ];
    assert_eq!(history, expected, "{rule}");
}

/// R9: what changes nothing writes nothing.
pub async fn doing_it_again_writes_nothing(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "R9: operations are idempotent: no change, no event";
    let mut scene = Scene::new(ledger, clock, rule);
    let event = KeyEvent::Created(key("B"));
    for operation in [
        Operation::Record { event },
        map("launcher", "lic"),
        map_to_nothing("free"),
        set("lic", Limited(2), Some(100)),
        assign("A", &["launcher", "free", "launcher"]),
        unassign("A", &["free"]),
        set_active("A", false),
        set_active("A", true),
        set_active_until("A", Some(50)),
        set_active_until("A", None),
        limited_edition(true),
        limited_edition(false),
        revoke("A"),
        delete("A"),
        remove("lic"),
    ] {
        let first = scene.make(operation.clone()).await;
        assert!(
            !first.is_empty(),
            "{rule}: the first {operation:?} writes events"
        );
        scene.says(operation, &[]).await;
    }
    for operation in [
        delete("nobody"),
        unassign("nobody", &["launcher"]),
        assign("nobody", &[]),
        set_active("nobody", true),
        set_active_until("nobody", None),
        remove("no-such-license"),
        Operation::Tick,
    ] {
        scene.says(operation, &[]).await;
    }
    scene.log_is_whole().await;
}

/// I5: one seat per license and holder, however many modules need it.
pub async fn several_modules_take_one_seat(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "I5: one seat per (license, holder)";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(2).await;
    for module in ["playout", "control"] {
        scene.make(map(module, "lic")).await;
    }
    scene.assign_all(&["A"]).await;
    scene
        .says(assign("A", &["playout"]), &["assigned A playout"])
        .await;
    let expected = ["assigned B control", "reserved lic for B: Assigned"];
    scene.says(assign("B", &["control"]), &expected).await;
    scene.line_is("A,B |").await;
    let overview = scene
        .ledger
        .overview()
        .await
        .expect("rule 5: overview answers");
    let used: Vec<_> = overview
        .licenses
        .iter()
        .map(|known| (known.used, known.waiting))
        .collect();
    assert_eq!(used, [(2, 0)], "{rule}");
}

/// I9: no license operation changes who is assigned what.
pub async fn license_operations_leave_assignments_alone(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "I9: no license operation changes the set of assignments";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene
        .make(assign("A", &["playout", "launcher", "control"]))
        .await;
    scene.make(assign("B", &["launcher"])).await;
    for operation in [
        set("lic", Limited(0), None),
        limited_edition(true),
        set("lic", Limited(2), Some(-5)),
        limited_edition(false),
        map("control", "lic"),
        map_to_nothing("launcher"),
        remove("lic"),
    ] {
        scene.make(operation.clone()).await;
        for (holder, expected) in [
            ("A", &["control", "launcher", "playout"][..]),
            ("B", &["launcher"]),
        ] {
            let standings = scene.standings(holder).await;
            let assigned: Vec<_> = standings
                .modules()
                .map(|(module, _)| module.as_str())
                .collect();
            assert_eq!(assigned, expected, "{rule}: {holder} after {operation:?}");
        }
    }
}
