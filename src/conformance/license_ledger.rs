//! The cases for a [`LicenseLedger`]: one for each thing its contract promises, each worked
//! example, each status, and pseudo-random histories beside [`LedgerState`].
//!
//! Each takes a fresh, empty ledger and the clock that it reads, which stands at
//! 2026-01-01T00:00:00Z. [`license_ledger_conformance`](crate::license_ledger_conformance) runs all
//! of them. Whatever a case is about, after each step everything that the ledger can be asked is
//! compared with the state machine, and so is what it told of the change.

mod decisions;
mod examples;
mod expectations;
mod history;
mod plans;
mod races;
mod reads;
mod rules;
mod statuses;
mod words;

pub use decisions::*;
pub use examples::*;
pub use expectations::*;
pub use history::*;
pub use plans::*;
pub use races::*;
pub use reads::*;
pub use rules::*;
pub use statuses::*;
pub(super) use words::*;

use std::{iter, sync::Arc};

use crate::{
    clock::{Clock, ManualClock, Timestamp},
    ledger_state::LedgerState,
    license_ledger::{
        Actor, EventKind, Eviction, Holder, License, LicenseEvent, LicenseId, LicenseLedger,
        Module, Operation, Seats, Standing, Standings, Status,
    },
};

/// A fresh ledger, the clock that it reads, and beside it the state machine that says what is
/// right.
pub(super) struct Scene<L> {
    ledger: Arc<L>,
    clock: Arc<ManualClock>,
    model: LedgerState,
    log: Vec<LicenseEvent>,
    actor: Actor,
    /// What the case is about, for its messages.
    rule: &'static str,
}

impl<L: LicenseLedger> Scene<L> {
    pub(super) fn new(ledger: L, clock: Arc<ManualClock>, rule: &'static str) -> Self {
        Self {
            ledger: Arc::new(ledger),
            clock,
            model: LedgerState::new(Eviction::OldestFirst),
            log: Vec::new(),
            actor: Actor::new("key:admin").expect("a valid actor"),
            rule,
        }
    }

    /// For a ledger that evicts the newest reservation first.
    pub(super) fn newest_first(mut self) -> Self {
        self.model = LedgerState::new(Eviction::NewestFirst);
        self
    }

    /// Maps `launcher` to `lic`, which has so many seats and no end.
    pub(super) async fn with_seats(mut self, seats: u32) -> Self {
        self.make(map("launcher", "lic")).await;
        self.make(set("lic", Seats::Limited(seats), None)).await;
        self
    }

    /// Sets the clock, in seconds after its start.
    fn set_clock(&self, seconds: i64) {
        self.clock.set_wall(at(seconds));
    }

    /// Makes one change, on the ledger and on the state machine, and compares all there is.
    pub(super) async fn make(&mut self, operation: Operation) -> Vec<LicenseEvent> {
        let rule = self.rule;
        let now = self.clock.now().wall;
        let mut after = self.model.clone();
        let expected = after.apply(&operation, &self.actor, now);
        self.plan(&operation).await;

        let before = self.ledger.changes().stamp();
        let events = self.apply(&operation).await;
        let says = "rule 1: apply answers with the events of the state machine";
        assert_eq!(events, expected, "{rule}; {says}: {operation:?}");
        for holder in everybody(&self.model, &after, &events) {
            let told = !self.ledger.changes().is_current(&holder, before);
            let says = "rule 2: changes is told, before apply returns, whose standings changed";
            let (then, now) = (self.model.standings(&holder), after.standings(&holder));
            assert!(
                told || !differ(&then, &now),
                "{rule}; {says}: {holder} by {operation:?}"
            );
        }

        self.model = after;
        self.log.extend_from_slice(&events);
        self.agrees().await;
        events
    }

    /// Asks for the plan of a change, asserts that it is that of the state machine and changes
    /// nothing, and answers with it in the words of [`text`].
    async fn plan(&self, operation: &Operation) -> Vec<String> {
        let (ledger, rule) = (&self.ledger, self.rule);
        let expected = self.model.plan(operation, self.clock.now().wall);
        let planned = ledger.plan(operation).await;
        let planned =
            planned.unwrap_or_else(|error| panic!("rule 9: plan answers: {operation:?}: {error}"));
        let says = "rule 9: plan answers with the events of apply, all by the system";
        assert_eq!(planned, expected, "{rule}; {says}: {operation:?}");
        let overview = ledger.overview().await.expect("rule 5: overview answers");
        let says = "rule 9: plan changes nothing";
        assert_eq!(
            overview,
            self.model.overview(),
            "{rule}; {says}: the overview, after {operation:?}"
        );
        planned.iter().map(text).collect()
    }

    async fn apply(&self, operation: &Operation) -> Vec<LicenseEvent> {
        let applied = self.ledger.apply(operation.clone(), &self.actor).await;
        applied.unwrap_or_else(|error| panic!("rule 1: apply answers: {operation:?}: {error}"))
    }

    /// Makes one change whose events are these, in the words of [`text`].
    pub(super) async fn says(&mut self, operation: Operation, expected: &[&str]) {
        let events = self.make(operation.clone()).await;
        let events: Vec<_> = events.iter().map(text).collect();
        assert_eq!(
            events, expected,
            "{}: the events of {operation:?}",
            self.rule
        );
    }

    /// Asserts who holds the seats of `lic` and who waits: `A,B | C`.
    pub(super) async fn line_is(&self, expected: &str) {
        let line = self.ledger.line(&license("lic"), usize::MAX).await;
        let line = line
            .expect("rule 5: line answers")
            .expect("the license is known");
        let names = |holders: &[(Holder, Timestamp)]| {
            let names: Vec<_> = holders.iter().map(|(holder, _)| holder.as_str()).collect();
            names.join(",")
        };
        let shown = format!("{} | {}", names(&line.reserved), names(&line.waiting));
        assert_eq!(shown.trim(), expected, "{}: holders | waiting", self.rule);
    }

    /// Asserts what a request of this holder for this module meets now.
    async fn status_is(&self, holder: &str, module: &str, expected: Status) {
        let now = self.clock.now().wall;
        let status = self
            .standings(holder)
            .await
            .status(&self::module(module), now);
        assert_eq!(
            status, expected,
            "{}: the status of {module} for {holder}",
            self.rule
        );
    }

    async fn standings(&self, holder: &str) -> Standings {
        let standings = self.ledger.standings(&self::holder(holder), &[]).await;
        standings.expect("rule 5: standings answers")
    }

    /// Asserts that whatever the ledger can be asked is as the state machine says.
    async fn agrees(&self) {
        let (ledger, model, rule) = (&self.ledger, &self.model, self.rule);
        let overview = ledger.overview().await.expect("rule 5: overview answers");
        assert_eq!(overview, model.overview(), "{rule}: the overview");
        let known = overview.modules.iter().rev();
        let mut modules: Vec<_> = known.map(|(module, _)| module.clone()).collect();
        modules.push(module("no-such-module"));
        for asked in [&modules[..], &modules[..modules.len() - 1]] {
            let unknown = ledger.first_unknown(asked).await;
            assert_eq!(
                unknown.expect("rule 8: first_unknown answers").as_ref(),
                model.first_unknown(asked),
                "{rule}; rule 8: first_unknown names what was never mapped, nothing else: {asked:?}"
            );
        }
        let known = overview
            .licenses
            .iter()
            .map(|known| known.license.id.clone());
        for license in known.chain([self::license("no-such-license")]) {
            for limit in [usize::MAX, 1] {
                let line = ledger
                    .line(&license, limit)
                    .await
                    .expect("rule 5: line answers");
                assert_eq!(
                    line,
                    model.line(&license, limit),
                    "{rule}: the line for {license}"
                );
            }
        }
        let holders = ledger.holders(None, usize::MAX).await;
        let holders = holders.expect("rule 5: holders answers");
        assert_eq!(
            holders,
            model.holders(None, usize::MAX),
            "{rule}: the holders"
        );
        let everybody = everybody(model, model, &[]);
        for holder in &everybody {
            let standings = ledger.standings(holder, &[]).await;
            let standings = standings.expect("rule 5: standings answers");
            assert_eq!(
                standings,
                model.standings(holder),
                "{rule}: the standings of {holder}"
            );
        }
        // Backwards, since a ledger may well keep them in the order of their names.
        let asked: Vec<_> = everybody
            .into_iter()
            .rev()
            .map(|holder| (holder, &[][..]))
            .collect();
        let standings = ledger.standings_of(&asked).await;
        let expected: Vec<_> = asked
            .iter()
            .map(|(holder, _)| model.standings(holder))
            .collect();
        assert_eq!(
            standings.expect("rule 7: standings_of answers"),
            expected,
            "{rule}; rule 7: standings_of answers of each, in the order asked: {asked:?}"
        );
        let end = self.log.len().saturating_sub(8);
        let tail = ledger
            .events(end as u64, usize::MAX)
            .await
            .expect("rule 6: events answers");
        assert_eq!(
            tail,
            self.log[end..],
            "{rule}; rule 6: events is the log after {end}"
        );
    }

    /// Asserts that the log is all that was answered.
    async fn log_is_whole(&self) {
        let log = self
            .ledger
            .events(0, usize::MAX)
            .await
            .expect("rule 6: events answers");
        assert_eq!(
            log, self.log,
            "{}; rule 6: events is the whole log in order",
            self.rule
        );
        let numbers = log.iter().map(|event| event.seq);
        assert!(
            numbers.eq(1..=log.len() as u64),
            "rule 6: events are numbered 1, 2, 3 …"
        );
    }
}

/// All holders known before or after an operation, or named by its events, and one that never is.
fn everybody(before: &LedgerState, after: &LedgerState, events: &[LicenseEvent]) -> Vec<Holder> {
    let known = |model: &LedgerState| model.holders(None, usize::MAX).into_iter();
    let known = known(before).chain(known(after)).map(|state| state.holder);
    let named = events
        .iter()
        .filter_map(|event| event.kind.holder().cloned());
    let mut all: Vec<_> = known.chain(named).chain([holder("nobody")]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether two standings of one holder say something else of any module at any instant.
fn differ(before: &Standings, after: &Standings) -> bool {
    let ends = |standings: &Standings| {
        let licenses = standings
            .modules()
            .filter_map(|(_, standing)| match standing {
                Standing::Licensed { valid_until, .. } => *valid_until,
                _ => None,
            });
        licenses.chain(standings.active_until).collect::<Vec<_>>()
    };
    // What standings say can only change at an end, so these instants stand for all.
    let mut instants = iter::once(Timestamp::MIN)
        .chain(ends(before))
        .chain(ends(after));
    instants.any(|now| said(before, now) != said(after, now))
}

/// What standings say at an instant: whether the holder is active, and the status of each module.
fn said(standings: &Standings, now: Timestamp) -> (bool, Vec<(&Module, Status)>) {
    let now = now.max(standings.clock);
    let active = standings.active && standings.active_until.is_none_or(|end| now < end);
    let modules = standings.modules();
    let statuses = modules.map(|(module, standing)| (module, standings.judge(standing, now)));
    (active, statuses.collect())
}
