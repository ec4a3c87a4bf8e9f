//! A ledger that is rebuilt from its log is the ledger that wrote it, and goes on like it.

use crate::{
    clock::Timestamp,
    ledger_state::LedgerState,
    license_ledger::{Eviction, LicenseEvent, Reason},
};

use super::{
    Scenario, admin,
    histories::{for_each_history, histories},
    snapshot::Snapshot,
};

fn rebuilt(state: &LedgerState, eviction: Eviction, log: &[LicenseEvent]) -> LedgerState {
    let holders = state.holders(None, usize::MAX);
    LedgerState::from_log(eviction, state.clock(), &holders, log).expect("its own log")
}

#[test]
fn rebuilt_ledger_is_the_same_and_goes_on_the_same() {
    for_each_history(histories().div_ceil(10), |history| {
        let eviction = history.eviction;
        let (mut state, mut log) = (LedgerState::new(eviction), Vec::new());
        // At one place in each, another one in the next.
        let (first, rest) = history
            .operations
            .split_at(history.operations.len() * 2 / 3);
        for (now, operation) in first {
            log.extend(state.apply(operation, &admin(), *now));
        }
        let mut copy = rebuilt(&state, eviction, &log);
        assert_eq!(Snapshot::of(&copy), Snapshot::of(&state));
        for (now, operation) in rest {
            let events = state.apply(operation, &admin(), *now);
            assert_eq!(copy.apply(operation, &admin(), *now), events);
            assert_eq!(Snapshot::of(&copy), Snapshot::of(&state));
            log.extend(events);
        }
        assert_eq!(
            Snapshot::of(&rebuilt(&state, eviction, &log)),
            Snapshot::of(&state)
        );
    });
}

/// One seat that A holds and B waits for, told in eight events.
fn scenario() -> Scenario {
    let mut ledger = Scenario::with_seats(1);
    ledger.at(5).assign_each(&["A", "B"]);
    ledger.set_active("B", false);
    ledger.set_active("B", true);
    ledger
}

fn problem(ledger: &Scenario, change: impl Fn(&mut Vec<LicenseEvent>)) -> (Option<usize>, String) {
    let mut log = ledger.log.clone();
    change(&mut log);
    let holders = ledger.state.holders(None, usize::MAX);
    let (eviction, clock) = (Eviction::OldestFirst, ledger.state.clock());
    let rebuilt = LedgerState::from_log(eviction, clock, &holders, &log);
    let error = rebuilt.expect_err("it is not its log");
    (error.index(), error.to_string())
}

#[test]
fn event_that_does_not_fit_is_named() {
    let mut ledger = scenario();
    let kinds: Vec<_> = ledger.log.iter().map(|event| event.kind.clone()).collect();
    let named = |index, text: &str| (Some(index), text.to_owned());

    let gap = problem(&ledger, |log| drop(log.remove(2)));
    assert_eq!(gap, named(2, "seq is 4, not 3"));
    let earlier = problem(&ledger, |log| log[4].at = super::at(4));
    let (from, to) = (super::at(5), super::at(5));
    let text = format!("at is {}, not from {from} to {to}", super::at(4));
    assert_eq!(earlier, named(4, &text));
    let later = problem(&ledger, |log| log[8].at = Timestamp::MAX);
    assert_eq!(later.0, Some(8));

    let twice = problem(&ledger, |log| log[4].kind = kinds[2].clone());
    assert_eq!(twice, named(4, "A cannot be assigned launcher"));
    let again = problem(&ledger, |log| log[5].kind = kinds[3].clone());
    assert_eq!(again, named(5, "A holds a seat of lic already"));
    let unknown = super::unassigned("A", "nodes");
    let untaken = problem(&ledger, |log| log[6].kind = unknown.clone());
    assert_eq!(untaken, named(6, "A is not assigned nodes"));
    ledger.set_seats(2);
    let last = ledger.log.len() - 2;
    let unheld = problem(&ledger, |log| log[1].kind = log[last].kind.clone());
    assert_eq!(unheld, named(1, "there is no license lic"));
}

#[test]
fn log_that_does_not_fit_the_whole_is_refused() {
    let ledger = scenario();
    let whole = |text: &str| (None, text.to_owned());

    let disabled = problem(&ledger, |log| log.truncate(7));
    assert_eq!(disabled, whole("the log says otherwise of the holder B"));
    let seatless = problem(&ledger, |log| {
        log[3] = {
            let kind = super::failed("A", Reason::LimitReached);
            LicenseEvent {
                kind,
                ..log[3].clone()
            }
        }
    });
    assert_eq!(
        seatless,
        whole("the seats of lic are not those of its line")
    );

    let (eviction, clock) = (Eviction::OldestFirst, ledger.state.clock());
    let refused = |holders: &[_]| {
        let rebuilt = LedgerState::from_log(eviction, clock, holders, &ledger.log);
        rebuilt.expect_err("not its holders").to_string()
    };
    let holders = ledger.state.holders(None, usize::MAX);
    assert_eq!(refused(&holders[..1]), "the holder B is missing");
    let twice = [holders[0].clone(), holders[0].clone()];
    assert_eq!(refused(&twice), "the holder A is out of order");
    let ended = holders.iter().cloned().map(|mut known| {
        known.active_until = Some(super::at(5));
        known
    });
    let ended: Vec<_> = ended.collect();
    assert_eq!(refused(&ended), "A holds a seat of lic and needs none");
}
