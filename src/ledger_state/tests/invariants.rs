//! The invariants I1 to I10, each a predicate over one step of a ledger.
//!
//! Each test holds its predicate against random histories, and shows with a doctored step that the
//! predicate can fail.

use std::collections::BTreeSet;

use crate::{
    clock::Timestamp,
    ledger_state::LedgerState,
    license_ledger::{
        EventKind, Holder, License, LicenseEvent, LicenseId, Operation, Reason, Seats, Standing,
        Standings, Status,
    },
};

use super::{
    Scenario, admin, at, histories, license, license_expired, module, name, snapshot::Snapshot,
};

pub(super) type Verdict = Result<(), String>;

/// One operation, as it is seen from outside.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) before: Snapshot,
    /// What `before` becomes when only the time passes.
    pub(super) ticked: Snapshot,
    pub(super) operation: Operation,
    pub(super) now: Timestamp,
    pub(super) events: Vec<LicenseEvent>,
    pub(super) after: Snapshot,
    /// Who holds seats after it, by the log alone.
    pub(super) held: BTreeSet<(LicenseId, Holder)>,
}

impl Step {
    /// Makes a step of `state`, of which `before` and `held` are known.
    pub(super) fn make(
        state: &mut LedgerState,
        before: Snapshot,
        mut held: BTreeSet<(LicenseId, Holder)>,
        operation: Operation,
        now: Timestamp,
    ) -> Self {
        let mut idle = state.clone();
        idle.apply(&Operation::Tick, &admin(), now);
        let events = state.apply(&operation, &admin(), now);
        for event in &events {
            match event.kind.clone() {
                EventKind::Reserved {
                    license, holder, ..
                } => assert!(held.insert((license, holder)), "reserved twice: {event:?}"),
                EventKind::ReservationRemoved {
                    license, holder, ..
                } => assert!(held.remove(&(license, holder)), "held no seat: {event:?}"),
                _ => {}
            }
        }
        Self {
            before,
            ticked: Snapshot::of(&idle),
            operation,
            now,
            events,
            after: Snapshot::of(state),
            held,
        }
    }
}

pub(super) const ALL: [fn(&Step) -> Verdict; 10] = [i1, i2, i3, i4, i5, i6, i7, i8, i9, i10];

fn require(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

fn cap(snapshot: &Snapshot, license: &License) -> u64 {
    let expired = license
        .valid_until
        .is_some_and(|end| snapshot.overview.clock >= end);
    match license.seats {
        _ if expired || snapshot.overview.limited_edition => 0,
        Seats::Limited(seats) => seats.into(),
        Seats::Unlimited => u64::MAX,
    }
}

fn is_active(standings: &Standings) -> bool {
    standings.active
        && standings
            .active_until
            .is_none_or(|end| standings.clock < end)
}

fn needs(standings: &Standings, id: &LicenseId) -> bool {
    standings.modules().any(
        |(_, standing)| matches!(standing, Standing::Licensed { license, .. } if license == id),
    )
}

fn held_of<'a>(step: &'a Step, id: &'a LicenseId) -> impl Iterator<Item = &'a Holder> {
    step.held
        .iter()
        .filter(move |(license, _)| license == id)
        .map(|(_, holder)| holder)
}

/// used ≤ cap
fn i1(step: &Step) -> Verdict {
    step.after.overview.licenses.iter().try_for_each(|known| {
        let used = held_of(step, &known.license.id).count() as u64;
        let cap = cap(&step.after, &known.license);
        require(used == known.used && used <= cap, || {
            format!("I1: {known:?} has {used} reservations")
        })
    })
}

/// Only holders in demand hold seats.
fn i2(step: &Step) -> Verdict {
    step.held.iter().try_for_each(|(license, holder)| {
        let mut standings = step.after.standings.iter();
        let wanted = standings.any(|(known, standings)| {
            known == holder && is_active(standings) && needs(standings, license)
        });
        require(wanted, || format!("I2: {holder} holds a seat of {license}"))
    })
}

/// No seat while expired or in limited edition.
fn i3(step: &Step) -> Verdict {
    let overview = &step.after.overview;
    let mut expired = overview.licenses.iter().filter(|known| {
        let end = known.license.valid_until;
        overview.limited_edition || end.is_some_and(|end| overview.clock >= end)
    });
    expired.try_for_each(|known| {
        let held = held_of(step, &known.license.id).count();
        require(held == 0, || format!("I3: {held} seats of {known:?}"))
    })
}

/// Nobody waits while a seat is free.
fn i4(step: &Step) -> Verdict {
    step.after.overview.licenses.iter().try_for_each(|known| {
        let id = &known.license.id;
        let used = held_of(step, id).count() as u64;
        let waits = step.after.standings.iter().find(|(holder, standings)| {
            is_active(standings)
                && needs(standings, id)
                && !step.held.contains(&(id.clone(), holder.clone()))
        });
        require(
            waits.is_none() || used >= cap(&step.after, &known.license),
            || format!("I4: {waits:?} waits, {known:?}"),
        )
    })
}

/// One seat per license and holder.
fn i5(step: &Step) -> Verdict {
    step.after.lines.iter().try_for_each(|(license, line)| {
        let holders: BTreeSet<_> = line.reserved.iter().map(|(holder, _)| holder).collect();
        let same = holders.len() == line.reserved.len()
            && holders == held_of(step, license).collect::<BTreeSet<_>>()
            && line
                .waiting
                .iter()
                .all(|(holder, _)| !holders.contains(holder));
        require(same, || format!("I5: {license} {line:?}"))
    })
}

/// No reservation for an unknown license.
fn i6(step: &Step) -> Verdict {
    step.held.iter().try_for_each(|(id, holder)| {
        let mut known = step.after.overview.licenses.iter();
        require(known.any(|known| known.license.id == *id), || {
            format!("I6: {holder} holds a seat of the unknown {id}")
        })
    })
}

/// seq is gapless.
fn i7(step: &Step) -> Verdict {
    let mut numbers = vec![step.before.overview.seq];
    numbers.extend(step.events.iter().map(|event| event.seq));
    let gapless = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
        && numbers.last() == Some(&step.after.overview.seq);
    require(gapless, || format!("I7: {numbers:?}"))
}

/// Event time never decreases.
fn i8(step: &Step) -> Verdict {
    let mut times = vec![step.before.overview.clock];
    times.extend(step.events.iter().map(|event| event.at));
    times.push(step.after.overview.clock);
    require(times.is_sorted(), || format!("I8: {times:?}"))
}

/// No license operation changes the set of assignments.
fn i9(step: &Step) -> Verdict {
    let assignments = |snapshot: &Snapshot| -> Vec<(Holder, String)> {
        let standings = snapshot.standings.iter();
        let modules = standings.flat_map(|(holder, standings)| {
            let modules = standings.modules();
            modules.map(|(module, _)| (holder.clone(), module.to_string()))
        });
        modules.collect()
    };
    let about_licenses = matches!(
        step.operation,
        Operation::SetLicense { .. }
            | Operation::SetLicenseIf { .. }
            | Operation::RemoveLicense { .. }
            | Operation::RemoveLicenseIf { .. }
            | Operation::MapModule { .. }
            | Operation::SetLimitedEdition { .. }
            | Operation::Tick
    );
    let (before, after) = (assignments(&step.before), assignments(&step.after));
    require(!about_licenses || before == after, || {
        format!("I9: {:?}: {before:?} became {after:?}", step.operation)
    })
}

/// A late tick changes no answer about a license's expiry or limited edition.
fn i10(step: &Step) -> Verdict {
    let now = step.now;
    let answers = |snapshot: &Snapshot| -> Vec<Option<Reason>> {
        let standings = snapshot.standings.iter();
        let answers = standings.flat_map(|(_, standings)| {
            standings
                .modules()
                .map(move |(module, _)| match standings.status(module, now) {
                    Status::Expired(reason) => Some(reason),
                    _ => None,
                })
        });
        answers.collect()
    };
    let (late, ticked) = (answers(&step.before), answers(&step.ticked));
    require(late == ticked, || {
        format!("I10: {late:?} became {ticked:?}")
    })
}

/// A step that is right: A holds the only seat, B waits, and an hour passes.
fn sound_step() -> Step {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    let before = Snapshot::of(&ledger.state);
    let held = BTreeSet::from([(license("lic"), name("A"))]);
    let mut step = Step::make(&mut ledger.state, before, held, Operation::Tick, at(3_600));
    let licensed = license_expired("other");
    step.events = [1, 2]
        .map(|n| {
            let seq = step.before.overview.seq + n;
            LicenseEvent::new(seq, step.now, admin(), licensed.clone())
        })
        .into();
    step.after.overview.seq += 2;
    step
}

/// Holds an invariant against random histories, and against steps doctored to break it.
fn check(invariant: fn(&Step) -> Verdict, doctors: &[fn(&mut Step)]) {
    histories::for_each_history_of_steps(|steps| {
        steps.iter().for_each(|step| invariant(step).unwrap());
    });
    assert_eq!(invariant(&sound_step()), Ok(()));
    for doctor in doctors {
        let mut step = sound_step();
        doctor(&mut step);
        assert!(invariant(&step).is_err(), "a broken step passes");
    }
}

#[test]
fn i1_used_is_at_most_cap() {
    check(
        i1,
        &[|step| {
            step.after.overview.licenses[0].license.seats = Seats::Limited(0);
        }],
    );
}

#[test]
fn i2_only_holders_in_demand_hold_seats() {
    check(
        i2,
        &[
            |step| step.after.standings[0].1.active = false,
            |step| step.after.standings[0].1.modules = Box::default(),
        ],
    );
}

#[test]
fn i3_no_seat_while_expired_or_in_limited_edition() {
    check(
        i3,
        &[
            |step| step.after.overview.limited_edition = true,
            |step| {
                step.after.overview.licenses[0].license.valid_until = Some(step.now);
            },
        ],
    );
}

#[test]
fn i4_nobody_waits_while_a_seat_is_free() {
    check(
        i4,
        &[|step| {
            step.after.overview.licenses[0].license.seats = Seats::Limited(2);
        }],
    );
}

#[test]
fn i5_one_seat_per_license_and_holder() {
    check(
        i5,
        &[|step| {
            let reserved = &mut step.after.lines[0].1.reserved;
            reserved.push(reserved[0].clone());
        }],
    );
}

#[test]
fn i6_no_reservation_for_an_unknown_license() {
    check(i6, &[|step| step.after.overview.licenses.clear()]);
}

#[test]
fn i7_seq_is_gapless() {
    check(i7, &[|step| step.events[1].seq += 1]);
}

#[test]
fn i8_event_time_never_decreases() {
    check(
        i8,
        &[
            |step| step.events[0].at = at(-1),
            |step| step.events[1].at = at(3_599),
        ],
    );
}

#[test]
fn i9_no_license_operation_changes_assignments() {
    check(
        i9,
        &[|step| step.after.standings[1].1.modules = Box::default()],
    );
}

#[test]
fn i10_a_late_tick_changes_no_answer_about_expiry() {
    check(
        i10,
        &[
            |step| step.ticked.standings[0].1.limited_edition = true,
            |step| {
                let (held, standings) = &mut step.ticked.standings[0];
                assert_eq!(*held, name("A"));
                let standing = Standing::Licensed {
                    license: license("lic"),
                    valid_until: Some(at(3_600)),
                    seat: crate::license_ledger::Seat::Reserved,
                };
                standings.modules = Box::new([(module("launcher"), standing)]);
            },
        ],
    );
}
