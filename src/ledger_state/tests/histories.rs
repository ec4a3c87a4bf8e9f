//! Random histories in a small world, so that everything meets everything.
//!
//! `LEDGER_HISTORIES` sets their number; by default 10,000 where the code is optimised, else 250.

use std::{cell::RefCell, collections::BTreeMap};

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRunner},
};

use crate::{
    clock::Timestamp,
    key_store::KeyId,
    ledger_state::{LedgerState, seats_at},
    license_ledger::{
        EventKind, Eviction, Holder, KeyEvent, License, LicenseEvent, LicenseId, Module, Operation,
        Seats,
    },
};

use super::{
    admin, at,
    invariants::{self, Step},
    license,
    model::Model,
    module, name,
    snapshot::Snapshot,
};

const OPERATIONS: usize = 100;
/// One bears the name of a license: expiries meet at one instant with one name.
const HOLDERS: [&str; 4] = ["a", "b", "k", "issuer|subject"];
const LICENSES: [&str; 3] = ["b", "lic", "z"];
const MODULES: [&str; 3] = ["launcher", "playout", "nodes"];

#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) eviction: Eviction,
    /// Each with the reading of a clock that also steps back.
    pub(super) operations: Vec<(Timestamp, Operation)>,
}

pub(super) fn histories() -> u32 {
    let default = if cfg!(debug_assertions) { 250 } else { 10_000 };
    match std::env::var("LEDGER_HISTORIES") {
        Ok(number) => number.parse().expect("LEDGER_HISTORIES is a number"),
        Err(_) => default,
    }
}

pub(super) fn for_each_history(cases: u32, test: impl Fn(&History)) {
    let config = Config {
        cases,
        failure_persistence: None,
        // Without optimisation the default one takes a sixth of the run.
        rng_algorithm: RngAlgorithm::XorShift,
        ..Config::default()
    };
    let played = TestRunner::new(config).run(&any_history(), |history| {
        test(&history);
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

/// A tenth of the histories, step by step.
pub(super) fn for_each_history_of_steps(test: impl Fn(&[Step])) {
    for_each_history(histories().div_ceil(10), |history| {
        let mut state = LedgerState::new(history.eviction);
        let (mut snapshot, mut held) = (Snapshot::of(&state), Default::default());
        let steps = history.operations.iter().map(|(now, operation)| {
            let (before, held_before) = (snapshot.clone(), std::mem::take(&mut held));
            let step = Step::make(&mut state, before, held_before, operation.clone(), *now);
            (snapshot, held) = (step.after.clone(), step.held.clone());
            step
        });
        let steps: Vec<_> = steps.collect();
        test(&steps);
    });
}

fn any_history() -> impl Strategy<Value = History> {
    let step = (-2_i64..=4, any_operation());
    let eviction = select(vec![Eviction::OldestFirst, Eviction::NewestFirst]);
    let steps = proptest::collection::vec(step, OPERATIONS);
    (eviction, proptest::bool::weighted(0.8), steps).prop_map(|(eviction, prepared, steps)| {
        let mut seconds = 0;
        let operations = steps.into_iter().map(|(advance, operation)| {
            seconds += advance;
            (at(seconds), from_now(operation, seconds))
        });
        let world = prepared.then(world).into_iter().flatten();
        let mut operations = world
            .map(|known| (at(0), known))
            .chain(operations)
            .collect::<Vec<_>>();
        expect(&mut operations);
        History {
            eviction,
            operations,
        }
    })
}

/// Lets most of those that expect a license to be as it is to be expect it as it is.
pub(super) fn expect(operations: &mut [(Timestamp, Operation)]) {
    let mut licenses: BTreeMap<LicenseId, License> = BTreeMap::new();
    for (number, (_, operation)) in operations.iter_mut().enumerate() {
        let is_right = number % 4 > 0;
        match operation {
            Operation::SetLicense { license } => {
                licenses.insert(license.id.clone(), license.clone());
            }
            Operation::SetLicenseIf { license, expected } => {
                let known = licenses.get(&license.id).cloned();
                if is_right {
                    *expected = known.clone();
                }
                if *expected == known {
                    licenses.insert(license.id.clone(), license.clone());
                }
            }
            Operation::RemoveLicense { license } => {
                licenses.remove(license);
            }
            Operation::RemoveLicenseIf { expected } => {
                let known = licenses.get(&expected.id);
                if let Some(known) = known.filter(|_| is_right) {
                    *expected = known.clone();
                }
                if licenses.get(&expected.id) == Some(expected) {
                    licenses.remove(&expected.id);
                }
            }
            _ => {}
        }
    }
}

/// Licenses and mappings to begin with.
fn world() -> Vec<Operation> {
    let set = |id, seats| Operation::SetLicense {
        license: License::new(license(id), Seats::Limited(seats)),
    };
    let map = |name, id| Operation::MapModule {
        module: module(name),
        license: Some(license(id)),
    };
    let mut world = vec![set(LICENSES[0], 1), set(LICENSES[1], 2)];
    world.extend(
        MODULES
            .into_iter()
            .zip(LICENSES)
            .map(|(name, id)| map(name, id)),
    );
    world
}

/// The operation with its instants, which are relative, moved to `seconds`.
fn from_now(mut operation: Operation, seconds: i64) -> Operation {
    let end = match &mut operation {
        Operation::SetActiveUntil { active_until, .. } => active_until,
        Operation::SetLicense { license } | Operation::SetLicenseIf { license, .. } => {
            &mut license.valid_until
        }
        _ => return operation,
    };
    // Few different ones, so that expiries meet at one instant.
    *end = end.map(|end| at((end.unix_seconds() + seconds).div_euclid(4) * 4));
    operation
}

fn any_holder() -> impl Strategy<Value = Holder> {
    select(HOLDERS.map(name).to_vec())
}

fn any_module() -> impl Strategy<Value = Module> {
    select(MODULES.map(module).to_vec())
}

fn any_license() -> impl Strategy<Value = LicenseId> {
    select(LICENSES.map(license).to_vec())
}

/// Relative to the moment of the operation.
fn any_end() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::weighted(0.6, (0_i64..=15).prop_map(at))
}

fn any_seats() -> impl Strategy<Value = Seats> {
    prop_oneof![
        5 => (0_u32..=2).prop_map(Seats::Limited),
        2 => (3_u32..=4).prop_map(Seats::Limited),
        1 => Just(Seats::Unlimited),
    ]
}

/// One number decides on the kind; what the kind does not need is drawn for nothing, which is cheaper
/// than a union of strategies.
fn any_operation() -> impl Strategy<Value = Operation> {
    let modules = proptest::collection::vec(any_module(), 0..=4);
    let mapping = proptest::option::weighted(0.9, any_license());
    let draws = (
        0..63,
        any_holder(),
        modules,
        mapping,
        any_license(),
        any_seats(),
        any_end(),
    );
    draws.prop_map(
        |(kind, holder, modules, mapping, license, seats, end)| match kind {
            0..4 => Operation::Tick,
            4..21 => Operation::Assign { holder, modules },
            21..26 => Operation::Unassign { holder, modules },
            26..29 => Operation::DeleteKey { holder },
            29 => Operation::RevokeKey { holder },
            30..32 => Operation::SetActive {
                holder,
                active: false,
            },
            32..37 => Operation::SetActive {
                holder,
                active: true,
            },
            37..43 => Operation::SetActiveUntil {
                holder,
                active_until: end,
            },
            43..51 => {
                let license = License::new(license, seats).with_valid_until(end);
                Operation::SetLicense { license }
            }
            51 => Operation::RemoveLicense { license },
            60..62 => {
                let license = License::new(license, seats).with_valid_until(end);
                let expected = mapping.map(|_| license.clone());
                Operation::SetLicenseIf { license, expected }
            }
            62 => Operation::RemoveLicenseIf {
                expected: License::new(license, seats),
            },
            52..54 => {
                let module = modules
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| module(MODULES[0]));
                Operation::MapModule {
                    module,
                    license: mapping,
                }
            }
            54 => Operation::SetLimitedEdition { enabled: true },
            55..58 => Operation::SetLimitedEdition { enabled: false },
            _ => Operation::Record {
                event: match holder.key_id() {
                    None => KeyEvent::Created(KeyId::new(HOLDERS[0]).unwrap()),
                    Some(key) if modules.is_empty() => KeyEvent::Created(key),
                    Some(key) if modules.len() > 2 => KeyEvent::Regenerated(key),
                    Some(key) => KeyEvent::Changed(key, vec!["name".to_owned()]),
                },
            },
        },
    )
}

/// Who holds the seats, the oldest reservation first.
fn seats_of(state: &LedgerState) -> BTreeMap<LicenseId, Vec<Holder>> {
    let lines = LICENSES.map(license).into_iter().filter_map(|license| {
        let line = state.line(&license, usize::MAX)?;
        let holders: Vec<_> = line
            .reserved
            .into_iter()
            .map(|(holder, _)| holder)
            .collect();
        Some((license, holders))
    });
    lines.filter(|(_, holders)| !holders.is_empty()).collect()
}

/// An event's kind, with the cause or the reason where it has one.
fn kind_of(event: &LicenseEvent) -> String {
    match &event.kind {
        EventKind::Reserved { cause, .. } => format!("reserved: {cause:?}"),
        EventKind::ReservationRemoved { cause, .. } => format!("removed: {cause:?}"),
        EventKind::ReservationFailed { reason, .. } => format!("failed: {reason:?}"),
        kind => {
            let debug = format!("{kind:?}");
            debug.split(' ').next().unwrap_or_default().to_owned()
        }
    }
}

fn is_told_each_time(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Record {
            event: KeyEvent::Changed(..) | KeyEvent::Regenerated(_)
        }
    )
}

/// Plays a history to the ledger, to the model and to a ledger that ticks at every instant, and
/// holds all of them against each other and the invariants after each step.
fn play(history: &History, told: &RefCell<BTreeMap<String, u64>>) {
    let mut lazy = LedgerState::new(history.eviction);
    let mut eager = LedgerState::new(history.eviction);
    let mut model = Model::new(history.eviction);
    let (mut snapshot, mut held) = (Snapshot::of(&lazy), Default::default());
    let mut log: Vec<LicenseEvent> = Vec::new();
    let mut past: BTreeMap<Timestamp, BTreeMap<LicenseId, Vec<Holder>>> = BTreeMap::new();

    for (number, (now, operation)) in history.operations.iter().enumerate() {
        let step = Step::make(&mut lazy, snapshot, held, operation.clone(), *now);
        let expected = model.apply(operation, &admin(), *now);
        assert_eq!(step.events, expected, "events of {operation:?} at {now}");
        assert_eq!(step.after, model.snapshot(), "after {operation:?} at {now}");
        for invariant in invariants::ALL {
            invariant(&step).unwrap();
        }

        // Each holder in its turn, at instants before, at and after the clock.
        let holder = name(HOLDERS[number % HOLDERS.len()]);
        let standings = lazy.standings(&holder);
        let clock = lazy.clock().unix_seconds();
        for instant in [clock - 2, clock, clock + 1, clock + 4, clock + 9].map(at) {
            for module in MODULES.map(module) {
                assert_eq!(
                    standings.status(&module, instant),
                    model.status(&holder, &module, instant),
                    "{holder} {module} at {instant}"
                );
            }
        }

        // A ledger without events has nothing that could expire.
        let from = if eager.seq() == 0 {
            *now
        } else {
            eager.clock()
        };
        let mut eager_events = Vec::new();
        for instant in from.unix_seconds()..=now.unix_seconds() {
            eager_events.extend(eager.apply(&Operation::Tick, &admin(), at(instant)));
            past.insert(eager.clock(), seats_of(&eager));
        }
        eager_events.extend(eager.apply(operation, &admin(), *now));
        past.insert(eager.clock(), seats_of(&eager));
        assert_eq!(
            step.events, eager_events,
            "an eager ledger on {operation:?} at {now}"
        );

        let again = lazy.clone().apply(operation, &admin(), *now);
        assert_eq!(
            again.is_empty(),
            !is_told_each_time(operation),
            "{operation:?} twice"
        );

        for event in &step.events {
            *told.borrow_mut().entry(kind_of(event)).or_default() += 1;
        }
        log.extend(step.events);
        (snapshot, held) = (step.after, step.held);
    }
    assert_eq!(Snapshot::of(&lazy), Snapshot::of(&eager));
    // By the log alone, at every tenth instant of the past and at the last.
    for (instant, seats) in past.iter().rev().step_by(10) {
        assert_eq!(seats_at(&log, *instant), *seats, "replay at {instant}");
    }
}

#[test]
fn ledger_agrees_with_its_model_in_random_histories() {
    let (cases, told) = (histories(), RefCell::default());
    for_each_history(cases, |history| play(history, &told));
    let told: BTreeMap<String, u64> = told.into_inner();
    println!(
        "{cases} histories of {OPERATIONS} operations with {} events agree",
        told.values().sum::<u64>()
    );
    // The world is small enough that everything comes up: 18 kinds of events on their own, 8 causes
    // of a seat, 10 of its loss, 5 reasons of having none.
    if cases >= 200 {
        assert_eq!(told.len(), 18 + 8 + 10 + 5, "{told:#?}");
    }
}
