//! License ledgers with one fault each.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::watch;
use tower_api_key::{
    Actor, BackendError, Changes, Clock, EventKind, Eviction, Holder, HolderState, LicenseEvent,
    LicenseId, LicenseLedger, Line, ManualClock, MemoryLedger, Module, Operation, Overview,
    Standings, conformance::license_ledger as suite,
};

use super::{is_caught, racy_ledger::racy_ledger};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// None: the wrapper itself breaks nothing.
    None,
    DropsAnEvent,
    LosesAnEvent,
    ForgetsActors,
    ExpiresAMicrosecondLate,
    LetsTheClockGoBack,
    TicksWhenRead,
    ReadsTwoMoments,
    AsksOneByOne,
    AnswersInOrderOfNames,
    AnswersOfEachOnce,
    SkipsStrangers,
    KnowsOnlyWhatNeedsALicense,
    KnowsWhatIsAssigned,
    NamesTheLastUnknown,
    StopsTheNews,
    TellsNothing,
    TellsOfWhoWasNamed,
    TellsTooEarly,
    PlansNothing,
    PlansWithoutTheTick,
    PlansByDoing,
    LetsTheTimePassForAPlan,
    TellsOfPlans,
    IgnoresExpectations,
    ComparesBeforehand,
}

struct BrokenLedger {
    inner: MemoryLedger,
    fault: Fault,
    clock: Arc<ManualClock>,
    changes: Changes,
}

impl BrokenLedger {
    /// What the operation comes to where the license is as expected, or whatever is expected.
    async fn without_expectation(&self, operation: Operation) -> Result<Operation, BackendError> {
        let (expected, plain) = match operation {
            Operation::SetLicenseIf { license, expected } => {
                let id = license.id.clone();
                ((id, expected), Operation::SetLicense { license })
            }
            Operation::RemoveLicenseIf { expected } => {
                let license = expected.id.clone();
                let plain = Operation::RemoveLicense {
                    license: license.clone(),
                };
                ((license, Some(expected)), plain)
            }
            other => return Ok(other),
        };
        if self.fault == Fault::IgnoresExpectations {
            return Ok(plain);
        }
        let (id, expected) = expected;
        let licenses = self.inner.overview().await?.licenses.into_iter();
        let mut licenses = licenses.map(|known| known.license);
        let is_as_expected = licenses.find(|license| license.id == id) == expected;
        super::a_moment().await;
        Ok(if is_as_expected {
            plain
        } else {
            Operation::Tick
        })
    }
}

fn ledger(fault: Fault, clock: &Arc<ManualClock>) -> BrokenLedger {
    BrokenLedger {
        inner: MemoryLedger::new().with_clock(clock.clone()),
        fault,
        clock: clock.clone(),
        changes: Changes::new(),
    }
}

#[async_trait::async_trait]
impl LicenseLedger for BrokenLedger {
    async fn apply(
        &self,
        mut operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        let subject = match &operation {
            Operation::Assign { holder, .. } | Operation::Unassign { holder, .. } => {
                Some(holder.clone())
            }
            _ => None,
        };
        if self.fault == Fault::TellsTooEarly {
            self.changes.everything();
            super::a_moment().await;
        }
        if matches!(
            self.fault,
            Fault::IgnoresExpectations | Fault::ComparesBeforehand
        ) {
            operation = self.without_expectation(operation).await?;
        }
        if let (Fault::ExpiresAMicrosecondLate, Operation::SetLicense { license }) =
            (self.fault, &mut operation)
        {
            let end = license.valid_until;
            license.valid_until = end.map(|end| end.saturating_add(Duration::from_micros(1)));
        }
        let actor = match self.fault {
            Fault::ForgetsActors => &Actor::system(),
            _ => actor,
        };
        let mut events = self.inner.apply(operation, actor).await?;
        match (self.fault, subject) {
            (Fault::TellsNothing | Fault::TellsTooEarly, _) => {}
            (Fault::TellsOfWhoWasNamed, Some(holder)) => self.changes.changed(holder),
            _ => self.changes.everything(),
        }
        if self.fault == Fault::DropsAnEvent {
            events.retain(|event| !matches!(event.kind, EventKind::ReservationFailed { .. }));
        }
        Ok(events)
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        let system = Actor::system();
        let mut events = self.inner.plan(operation).await?;
        match self.fault {
            Fault::PlansNothing => events.clear(),
            Fault::PlansWithoutTheTick => {
                let tick = self.inner.plan(&Operation::Tick).await?;
                events.retain(|event| !tick.contains(event));
            }
            Fault::PlansByDoing => {
                self.inner.apply(operation.clone(), &system).await?;
            }
            Fault::LetsTheTimePassForAPlan => {
                self.inner.apply(Operation::Tick, &system).await?;
            }
            Fault::TellsOfPlans => self.changes.everything(),
            _ => {}
        }
        Ok(events)
    }

    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError> {
        if self.fault == Fault::TicksWhenRead {
            self.inner.apply(Operation::Tick, &Actor::system()).await?;
        }
        self.inner.standings(holder, carried).await
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let mut asked = asked.to_vec();
        match self.fault {
            Fault::AsksOneByOne => {
                let mut answers = Vec::new();
                for (holder, carried) in &asked {
                    answers.push(self.standings(holder, carried).await?);
                    super::a_moment().await;
                }
                return Ok(answers);
            }
            Fault::AnswersInOrderOfNames => asked.sort_unstable(),
            Fault::AnswersOfEachOnce => {
                let mut seen = BTreeSet::new();
                asked.retain(|(holder, _)| seen.insert(holder.clone()));
            }
            Fault::SkipsStrangers => {
                let known = self.inner.holders(None, usize::MAX).await?;
                asked.retain(|(holder, _)| known.iter().any(|known| known.holder == *holder));
            }
            _ => {}
        }
        self.inner.standings_of(&asked).await
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        let mut modules = modules.to_vec();
        match self.fault {
            Fault::KnowsOnlyWhatNeedsALicense => {
                let known = self.inner.overview().await?.modules;
                let needs = |module: &Module| known.iter().any(|(m, l)| m == module && l.is_some());
                return Ok(modules.into_iter().find(|module| !needs(module)));
            }
            Fault::KnowsWhatIsAssigned => {
                for known in self.inner.holders(None, usize::MAX).await? {
                    let standings = self.inner.standings(&known.holder, &[]).await?;
                    modules.retain(|module| standings.standing(module).is_none());
                }
            }
            Fault::NamesTheLastUnknown => modules.reverse(),
            _ => {}
        }
        self.inner.first_unknown(&modules).await
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        let mut overview = self.inner.overview().await?;
        match self.fault {
            Fault::LetsTheClockGoBack => overview.clock = self.clock.now().wall,
            Fault::ReadsTwoMoments => {
                super::a_moment().await;
                let later = self.inner.overview().await?;
                for (now, later) in overview.licenses.iter_mut().zip(later.licenses) {
                    now.used = later.used;
                }
            }
            _ => {}
        }
        Ok(overview)
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        self.inner.line(license, limit).await
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        self.inner.holders(after, limit).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        let mut events = self.inner.events(after, limit).await?;
        if self.fault == Fault::LosesAnEvent {
            events.retain(|event| event.seq != 3);
        }
        Ok(events)
    }

    fn latest(&self) -> watch::Receiver<u64> {
        match self.fault {
            Fault::StopsTheNews => watch::channel(0).1,
            _ => self.inner.latest(),
        }
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }
}

mod without_a_fault {
    use super::*;

    tower_api_key::license_ledger_conformance!(|clock| async move { ledger(Fault::None, &clock) });
}

/// A fresh ledger with this fault fails this case with a message that names this rule.
macro_rules! caught {
    ($fault:ident, $case:ident, $rule:literal) => {{
        let clock = Arc::new(ManualClock::new());
        is_caught($rule, suite::$case(ledger(Fault::$fault, &clock), clock)).await;
    }};
}

#[tokio::test]
async fn overselling_is_caught() {
    let clock = Arc::new(ManualClock::new());
    suite::example_1_first_come_first_served(racy_ledger(&clock), clock.clone()).await;
    let racy = racy_ledger(&clock);
    let case = suite::sixteen_racing_for_five_seats_never_oversell(racy, clock.clone());
    is_caught("I1: used <= cap", case).await;
    let racy = racy_ledger(&clock);
    let case = suite::racing_calls_take_effect_one_after_the_other(racy, clock.clone());
    is_caught("rule 1: each call is one transaction", case).await;
    let racy = racy_ledger(&clock);
    let case = suite::follower_of_the_log_misses_nothing(racy, clock.clone());
    is_caught("rule 6: the log has no gaps", case).await;
}

#[tokio::test]
async fn expectations_that_do_not_hold_are_caught() {
    caught!(
        IgnoresExpectations,
        license_is_changed_only_as_expected,
        "a license is set only where it is as expected"
    );
    caught!(
        IgnoresExpectations,
        license_is_removed_only_as_expected,
        "a license is removed only where it is as expected"
    );
    caught!(
        ComparesBeforehand,
        one_of_many_with_one_expectation_changes_the_license,
        "rule 1: of many who expect one license, one changes it"
    );
}

#[tokio::test]
async fn missing_events_are_caught() {
    caught!(
        DropsAnEvent,
        example_1_first_come_first_served,
        "rule 1: apply answers with"
    );
    caught!(
        DropsAnEvent,
        history_of_all_operations,
        "rule 1: apply answers with"
    );
    caught!(
        LosesAnEvent,
        log_is_read_in_pages,
        "rule 6: events is the log"
    );
    caught!(
        ForgetsActors,
        each_event_names_its_actor,
        "rule 1: apply answers with"
    );
}

#[tokio::test]
async fn wrong_time_is_caught() {
    caught!(
        LetsTheClockGoBack,
        ledger_time_never_goes_back,
        "R6: clock = max(clock, now)"
    );
    caught!(LetsTheClockGoBack, history_of_expiries, "the overview");
    caught!(
        ExpiresAMicrosecondLate,
        license_ends_at_its_very_instant,
        "R5: expired if and only"
    );
    caught!(
        TicksWhenRead,
        reading_changes_nothing,
        "R1: only operations"
    );
}

#[tokio::test]
async fn wrong_eviction_is_caught() {
    let clock = Arc::new(ManualClock::new());
    let newest_first = MemoryLedger::new().with_clock(clock.clone());
    let newest_first = newest_first.with_eviction(Eviction::NewestFirst);
    let case = suite::example_3_fewer_seats_take_the_oldest_reservations(newest_first, clock);
    is_caught("example 3", case).await;
}

#[tokio::test]
async fn torn_reads_are_caught() {
    caught!(
        ReadsTwoMoments,
        readers_see_one_moment,
        "rule 5: the reading calls see one"
    );
    caught!(
        AsksOneByOne,
        readers_see_one_moment,
        "rule 7: so do the standings of several"
    );
}

#[tokio::test]
async fn answers_that_do_not_match_the_question_are_caught() {
    caught!(
        AnswersInOrderOfNames,
        example_1_first_come_first_served,
        "rule 7: standings_of answers of each, in the order asked"
    );
    caught!(
        SkipsStrangers,
        example_1_first_come_first_served,
        "rule 7: standings_of answers of each"
    );
    caught!(
        AnswersOfEachOnce,
        several_holders_are_answered_in_the_order_asked,
        "rule 7: standings_of answers as many"
    );
}

#[tokio::test]
async fn wrong_words_of_unknown_modules_are_caught() {
    caught!(
        KnowsOnlyWhatNeedsALicense,
        module_without_license_needs_no_seat,
        "rule 8: first_unknown names what was never mapped"
    );
    caught!(
        KnowsWhatIsAssigned,
        first_unknown_module_is_named,
        "rule 8: first_unknown answers the first"
    );
    caught!(
        NamesTheLastUnknown,
        first_unknown_module_is_named,
        "rule 8: first_unknown answers the first"
    );
}

#[tokio::test]
async fn silent_latest_is_caught() {
    caught!(
        StopsTheNews,
        latest_reaches_the_last_event,
        "the ledger is still there"
    );
}

#[tokio::test]
async fn standings_that_change_untold_are_caught() {
    caught!(
        TellsNothing,
        example_1_first_come_first_served,
        "rule 2: changes is told"
    );
    caught!(
        TellsOfWhoWasNamed,
        example_2_next_in_line_moves_up,
        "rule 2: changes is told"
    );
    caught!(
        TellsOfWhoWasNamed,
        history_of_a_crowd,
        "rule 2: changes is told"
    );
    caught!(
        TellsTooEarly,
        current_stamp_means_current_standings,
        "rule 2: when apply returns"
    );
}

#[tokio::test]
async fn plans_that_are_wrong_or_more_than_plans_are_caught() {
    caught!(
        PlansNothing,
        plan_names_who_would_lose_and_changes_nothing,
        "rule 9: plan answers with the events of apply"
    );
    caught!(
        PlansNothing,
        history_of_all_operations,
        "rule 9: plan answers with the events of apply"
    );
    caught!(
        PlansWithoutTheTick,
        plan_includes_what_has_expired,
        "rule 9: plan answers with the events of apply"
    );
    caught!(
        PlansByDoing,
        plan_names_who_would_lose_and_changes_nothing,
        "rule 9: plan changes nothing"
    );
    caught!(
        LetsTheTimePassForAPlan,
        plan_includes_what_has_expired,
        "rule 9: plan changes nothing"
    );
    caught!(
        TellsOfPlans,
        plan_names_who_would_lose_and_changes_nothing,
        "rule 9: plan tells nobody"
    );
}
