//! Many callers at once: what rules 1, 2, 5, 6 and 7 promise to each of them.

use std::{sync::Mutex, time::Duration};

use Seats::Limited;

use super::*;
use crate::{
    conformance::{CALLERS, race, race_beside, remember_beside},
    license_ledger::Reason,
};

const ROUNDS: u32 = 12;

/// I1: sixteen race for five seats, round after round, and five get one.
pub async fn sixteen_racing_for_five_seats_never_oversell(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "I1: used <= cap, also where sixteen race for five seats";
    let ledger = Arc::new(ledger);
    let now = clock.now().wall;
    for round in 0..ROUNDS {
        let names = Arc::new((format!("module-{round}"), format!("license-{round}")));
        apply(&*ledger, map(&names.0, &names.1)).await;
        apply(&*ledger, set(&names.1, Limited(5), None)).await;
        let racing = names.clone();
        let claims = race(&ledger, move |ledger, caller| {
            let names = racing.clone();
            let holder = format!("{round}-{caller}");
            async move { apply(&*ledger, assign(&holder, &[&names.0])).await }
        });
        let claims = claims.await;
        let won = |events: &&Vec<LicenseEvent>| {
            let reserved = |event: &LicenseEvent| matches!(event.kind, EventKind::Reserved { .. });
            events.iter().any(reserved)
        };
        assert_eq!(
            claims.iter().filter(won).count(),
            5,
            "{rule}: so many were told Reserved"
        );

        let line = ledger.line(&license(&names.1), usize::MAX).await;
        let line = line
            .expect("rule 5: line answers")
            .expect("the license is known");
        assert_eq!(line.reserved.len(), 5, "{rule}: {:?}", line.reserved);
        assert_eq!(
            line.waiting.len(),
            11,
            "I4: all others wait: {:?}",
            line.waiting
        );
        for caller in 0..CALLERS {
            let holder = holder(&format!("{round}-{caller}"));
            let standings = ledger.standings(&holder, &[]).await;
            let status = standings
                .expect("rule 5: standings answers")
                .status(&module(&names.0), now);
            let expected = match line
                .reserved
                .iter()
                .any(|(reserved, _)| *reserved == holder)
            {
                true => Status::Reserved,
                false => Status::ReservationFailed(Reason::LimitReached),
            };
            assert_eq!(
                status, expected,
                "rule 5: line and standings tell the same of {holder}"
            );
        }
    }
}

/// Rule 1: racing calls take effect one after the other: there is an order in which the state
/// machine, given the same operations, writes the same events and ends in the same state.
pub async fn racing_calls_take_effect_one_after_the_other(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "rule 1: each call is one transaction, and calls take effect one after the other";
    let mut scene = Scene::new(ledger, clock, rule).prepared().await;
    let now = scene.clock.now().wall;
    let calls = race(&scene.ledger, move |ledger, caller| async move {
        let mut random = Random::new(u64::from(caller));
        let mut calls = Vec::new();
        for _ in 0..ROUNDS {
            let operation = random.operation(now);
            let actor = Actor::new(format!("caller-{caller}")).expect("a valid actor");
            let events = ledger.apply(operation.clone(), &actor).await;
            let events = events.expect("rule 1: apply answers, also among many");
            calls.push((operation, actor, events));
        }
        calls
    });
    let mut calls = calls.await.concat();

    // The clock stands still, so a call without events changed nothing and fits in anywhere.
    calls.retain(|(_, _, events)| !events.is_empty());
    calls.sort_by_key(|(_, _, events)| events[0].seq);
    for (operation, actor, events) in calls {
        let expected = scene.model.apply(&operation, &actor, now);
        assert_eq!(events, expected, "{rule}: {operation:?} in its turn");
        scene.log.extend(events);
    }
    scene.agrees().await;
    scene.log_is_whole().await;
}

/// Rule 1: of many who each expect the license as all have read it, one changes or removes it, and the
/// ledger then has what that one wanted.
pub async fn one_of_many_with_one_expectation_changes_the_license(
    ledger: impl LicenseLedger,
    _: Arc<ManualClock>,
) {
    let rule = "rule 1: of many who expect one license, one changes it";
    let ledger = Arc::new(ledger);
    for round in 1..=ROUNDS {
        let expected = known(&*ledger).await;
        let calls = race(&ledger, move |ledger, caller| {
            let license = License::new(license("lic"), Limited(round * 1_000 + caller));
            let operation = match expected.clone() {
                Some(expected) if caller % 4 == 3 => remove_if(expected),
                expected => set_if(license, expected),
            };
            async move {
                let events = apply(&*ledger, operation.clone()).await;
                (operation, events)
            }
        });
        let mut calls = calls.await;
        calls.retain(|(_, events)| !events.is_empty());
        let [(operation, _)] = &calls[..] else {
            panic!("{rule}: in round {round} these did: {calls:?}");
        };
        let wanted = match operation {
            Operation::SetLicenseIf { license, .. } => Some(license.clone()),
            _ => None,
        };
        assert_eq!(known(&*ledger).await, wanted, "{rule}: {operation:?}");
    }
}

/// Rule 6: who follows the log while many write never meets a gap, and in the end has seen all.
pub async fn follower_of_the_log_misses_nothing<L: LicenseLedger>(
    ledger: L,
    clock: Arc<ManualClock>,
) {
    let rule = "rule 6: the log has no gaps, also while it grows";
    let mut scene = Scene::new(ledger, clock, rule).prepared().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let following = seen.clone();
    let follow = move |ledger: Arc<L>| {
        let seen = following.clone();
        async move {
            let after = seen.lock().map_or(0, |seen| seen.len() as u64);
            let page = ledger.events(after, 7).await;
            let page = page.expect("rule 6: events answers");
            let numbers: Vec<_> = page.iter().map(|event| event.seq).collect();
            let expected: Vec<_> = (after + 1..).take(page.len()).collect();
            assert_eq!(numbers, expected, "{rule}: what comes after {after}");
            let mut seen = seen.lock().expect("no follower failed");
            // Another follower may have been here first.
            if seen.len() as u64 == after {
                seen.extend(page);
            }
        }
    };
    let ledger = scene.ledger.clone();
    let write = async {
        let written = race(&ledger, move |ledger, caller| async move {
            let name = format!("holder-{caller}");
            for _ in 0..ROUNDS {
                apply(&*ledger, assign(&name, &["launcher", "playout"])).await;
                apply(&*ledger, unassign(&name, &["playout", "launcher"])).await;
            }
        });
        written.await;
    };
    race_beside(&scene.ledger, follow, write).await;
    scene.log = scene
        .ledger
        .events(0, usize::MAX)
        .await
        .expect("rule 6: events answers");
    scene.log_is_whole().await;
    let seen = seen.lock().expect("no follower failed");
    assert_eq!(
        *seen,
        scene.log[..seen.len()],
        "{rule}: pages are the log's own beginning"
    );
}

/// Rule 5: what one call reads belongs together, while seats come and go.
pub async fn readers_see_one_moment<L: LicenseLedger>(ledger: L, clock: Arc<ManualClock>) {
    let rule = "rule 5: the reading calls see one committed moment each";
    let scene = Scene::new(ledger, clock, rule).prepared().await;
    for name in ["A", "B", "C", "D"] {
        apply(&*scene.ledger, assign(name, &["launcher", "playout"])).await;
    }
    let write = async {
        for round in 0..6 * ROUNDS {
            let seats = if round % 2 == 0 { 1 } else { 3 };
            // Each moment has an end of its own to be known by, and none comes.
            let end = Some(1_000 + i64::from(round));
            apply(&*scene.ledger, set("lic", Limited(seats), end)).await;
            tokio::task::yield_now().await;
        }
    };
    let end = |standing: &Standing| match standing {
        Standing::Licensed { valid_until, .. } => *valid_until,
        _ => None,
    };
    let read = move |ledger: Arc<L>| async move {
        let overview = ledger.overview().await.expect("rule 5: overview answers");
        let known = overview
            .licenses
            .iter()
            .find(|known| known.license.id == license("lic"));
        let known = known.expect("the license is known");
        let seats = Option::<u32>::from(known.license.seats).map(u64::from);
        assert_eq!(
            Some(known.used),
            seats,
            "{rule}: seats, and how many are used: {known:?}"
        );
        assert_eq!(
            known.used + known.waiting,
            4,
            "{rule}: those with a seat and those without"
        );
        let line = ledger.line(&license("lic"), usize::MAX).await;
        let line = line
            .expect("rule 5: line answers")
            .expect("the license is known");
        let mut names: Vec<_> = line
            .reserved
            .iter()
            .chain(&line.waiting)
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        let everybody = ["A", "B", "C", "D"].map(holder);
        assert!(
            names.into_iter().eq(&everybody),
            "{rule}: each is in line once: {line:?}"
        );
        let standings = ledger.standings(&holder("A"), &[]).await;
        let standings = standings.expect("rule 5: standings answers");
        let both =
            ["launcher", "playout"].map(|text| standings.status(&module(text), Timestamp::MIN));
        assert_eq!(both[0], both[1], "{rule}: two modules share one seat");
        let asked = ["A", "B", "C", "D"].map(|name| (holder(name), &[][..]));
        let several = ledger.standings_of(&asked).await;
        let several = several.expect("rule 7: standings_of answers");
        let ends = |standings: &Standings| standings.standing(&module("launcher")).map(end);
        let ends: Vec<_> = several.iter().map(ends).collect();
        assert!(
            ends.iter().all(|end| *end == ends[0]),
            "{rule}; rule 7: so do the standings of several: one license has one end: {ends:?}"
        );
    };
    race_beside(&scene.ledger, read, write).await;
}

/// Rule 2: standings under a current stamp are never older than a change that was answered.
///
/// It fails where changes are told before they can be read, after the answer, or not at all.
pub async fn current_stamp_means_current_standings<L: LicenseLedger>(
    ledger: L,
    clock: Arc<ManualClock>,
) {
    let rule = "rule 2: when apply returns, the change is in force and has been told";
    let scene = Scene::new(ledger, clock, rule).prepared().await;
    apply(&*scene.ledger, set_active_until("A", Some(0))).await;
    let change = |ledger: Arc<L>| async move {
        let standings = ledger.standings(&holder("A"), &[]).await;
        let end = standings.expect("rule 5: standings answers").active_until;
        let active_until = end.map(|end| end.saturating_add(Duration::from_secs(1)));
        let holder = holder("A");
        apply(
            &*ledger,
            Operation::SetActiveUntil {
                holder,
                active_until,
            },
        )
        .await;
    };
    let remember = |ledger: Arc<L>| async move {
        let stamp = ledger.changes().stamp();
        (stamp, ledger.standings(&holder("A"), &[]).await)
    };
    let changes = scene.ledger.changes();
    let check = |(stamp, remembered): (_, Result<Standings, _>), answered: u64| {
        let end = remembered.expect("rule 5: standings answers").active_until;
        let least = at(0).saturating_add(Duration::from_secs(answered));
        let fresh = end >= Some(least);
        assert!(
            !changes.is_current("A", stamp) || fresh,
            "{rule}: {end:?} is before {least}"
        );
    };
    remember_beside(&scene.ledger, 200, change, remember, check).await;
}

impl<L: LicenseLedger> Scene<L> {
    /// Maps `launcher` and `playout` to `lic`, which has three seats.
    async fn prepared(mut self) -> Self {
        self = self.with_seats(3).await;
        self.make(map("playout", "lic")).await;
        self
    }
}

/// The only license there is.
async fn known(ledger: &impl LicenseLedger) -> Option<License> {
    let overview = ledger.overview().await.expect("rule 5: overview answers");
    overview
        .licenses
        .into_iter()
        .map(|known| known.license)
        .next()
}

async fn apply(ledger: &impl LicenseLedger, operation: Operation) -> Vec<LicenseEvent> {
    let applied = ledger.apply(operation, &Actor::system()).await;
    applied.expect("rule 1: apply answers, also among many")
}
