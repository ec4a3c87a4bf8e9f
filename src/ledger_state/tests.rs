//! Scenarios told in the words of the rules. Each is played to the state machine and to the
//! [`Model`], which must answer the same.

use crate::{
    clock::Timestamp,
    ledger_state::LedgerState,
    license_ledger::{
        Actor, EventKind, Eviction, Holder, License, LicenseEvent, LicenseId, Module, Operation,
        Reason, RemovedCause, ReservedCause, Seats, Status,
    },
};

use model::Model;
use snapshot::Snapshot;

mod decisions;
mod examples;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod excerpts;
mod histories;
mod invariants;
mod model;
mod orders;
mod rebuilds;
mod replays;
mod rules;
mod snapshot;
mod statuses;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod tables;
mod work;

/// A ledger and its model, with one license `lic` and a module `launcher` unless said otherwise.
struct Scenario {
    state: LedgerState,
    model: Model,
    log: Vec<LicenseEvent>,
    now: Timestamp,
}

impl Scenario {
    fn empty(eviction: Eviction) -> Self {
        Self {
            state: LedgerState::new(eviction),
            model: Model::new(eviction),
            log: Vec::new(),
            now: at(0),
        }
    }

    /// `launcher` on `lic` with this number of seats.
    fn with_seats(seats: u32) -> Self {
        Self::with_eviction(Eviction::OldestFirst, seats)
    }

    fn with_eviction(eviction: Eviction, seats: u32) -> Self {
        let mut scenario = Self::empty(eviction);
        scenario.map("launcher", Some("lic"));
        scenario.set_license("lic", Seats::Limited(seats), None);
        scenario
    }

    /// Moves the clock that the next operations read, forth or back.
    fn at(&mut self, seconds: i64) -> &mut Self {
        self.now = at(seconds);
        self
    }

    fn apply(&mut self, operation: Operation) -> Vec<EventKind> {
        let events = self.state.apply(&operation, &admin(), self.now);
        let expected = self.model.apply(&operation, &admin(), self.now);
        assert_eq!(events, expected, "the model differs on {operation:?}");
        assert_eq!(
            Snapshot::of(&self.state),
            self.model.snapshot(),
            "the model differs after {operation:?}"
        );
        self.log.extend(events.iter().cloned());
        events.into_iter().map(|event| event.kind).collect()
    }

    fn assign(&mut self, holder: &str) -> Vec<EventKind> {
        self.assign_all(holder, &["launcher"])
    }

    /// `launcher` to each, in this order.
    fn assign_each(&mut self, holders: &[&str]) {
        for holder in holders {
            self.assign(holder);
        }
    }

    fn assign_all(&mut self, holder: &str, modules: &[&str]) -> Vec<EventKind> {
        self.apply(Operation::Assign {
            holder: name(holder),
            modules: modules.iter().copied().map(module).collect(),
        })
    }

    fn unassign(&mut self, holder: &str) -> Vec<EventKind> {
        self.unassign_all(holder, &["launcher"])
    }

    fn unassign_all(&mut self, holder: &str, modules: &[&str]) -> Vec<EventKind> {
        self.apply(Operation::Unassign {
            holder: name(holder),
            modules: modules.iter().copied().map(module).collect(),
        })
    }

    fn delete(&mut self, holder: &str) -> Vec<EventKind> {
        self.apply(Operation::DeleteKey {
            holder: name(holder),
        })
    }

    fn revoke(&mut self, holder: &str) -> Vec<EventKind> {
        self.apply(Operation::RevokeKey {
            holder: name(holder),
        })
    }

    fn set_active(&mut self, holder: &str, active: bool) -> Vec<EventKind> {
        self.apply(Operation::SetActive {
            holder: name(holder),
            active,
        })
    }

    fn set_active_until(&mut self, holder: &str, end: Option<i64>) -> Vec<EventKind> {
        self.apply(Operation::SetActiveUntil {
            holder: name(holder),
            active_until: end.map(at),
        })
    }

    fn set_license(&mut self, id: &str, seats: Seats, end: Option<i64>) -> Vec<EventKind> {
        let license = License::new(license(id), seats).with_valid_until(end.map(at));
        self.apply(Operation::SetLicense { license })
    }

    /// Changes the number of seats of `lic`, nothing else.
    fn set_seats(&mut self, seats: u32) -> Vec<EventKind> {
        let overview = self.state.overview();
        let known = overview
            .licenses
            .iter()
            .find(|found| found.license.id == license("lic"));
        let mut license = known.expect("a scenario that has `lic`").license.clone();
        license.seats = Seats::Limited(seats);
        self.apply(Operation::SetLicense { license })
    }

    fn remove_license(&mut self, id: &str) -> Vec<EventKind> {
        self.apply(Operation::RemoveLicense {
            license: license(id),
        })
    }

    fn map(&mut self, name: &str, id: Option<&str>) -> Vec<EventKind> {
        self.apply(Operation::MapModule {
            module: module(name),
            license: id.map(license),
        })
    }

    fn set_limited_edition(&mut self, enabled: bool) -> Vec<EventKind> {
        self.apply(Operation::SetLimitedEdition { enabled })
    }

    fn tick(&mut self) -> Vec<EventKind> {
        self.apply(Operation::Tick)
    }

    /// The line for `lic` in the words of the worked examples: `R A,B · W C`.
    fn line(&self) -> String {
        self.line_of("lic")
    }

    fn line_of(&self, id: &str) -> String {
        let Some(line) = self.state.line(&license(id), usize::MAX) else {
            return "unknown".to_owned();
        };
        let names = |list: &[(Holder, Timestamp)]| {
            if list.is_empty() {
                return "none".to_owned();
            }
            list.iter()
                .map(|(holder, _)| holder.as_str())
                .collect::<Vec<_>>()
                .join(",")
        };
        format!("R {} · W {}", names(&line.reserved), names(&line.waiting))
    }

    /// The status of `launcher` now.
    fn status(&self, holder: &str) -> Status {
        self.status_of(holder, "launcher")
    }

    fn status_of(&self, holder: &str, name_of_module: &str) -> Status {
        let standings = self.state.standings(&name(holder));
        standings.status(&module(name_of_module), self.now)
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn admin() -> Actor {
    Actor::new("admin").unwrap()
}

fn name(name: &str) -> Holder {
    Holder::new(name).unwrap()
}

fn module(name: &str) -> Module {
    Module::new(name).unwrap()
}

fn license(name: &str) -> LicenseId {
    LicenseId::new(name).unwrap()
}

fn assigned(holder: &str, to: &str) -> EventKind {
    EventKind::ModuleAssigned {
        holder: name(holder),
        module: module(to),
    }
}

fn unassigned(holder: &str, from: &str) -> EventKind {
    EventKind::ModuleUnassigned {
        holder: name(holder),
        module: module(from),
    }
}

fn reserved(holder: &str, cause: ReservedCause) -> EventKind {
    reserved_on("lic", holder, cause)
}

fn reserved_on(id: &str, holder: &str, cause: ReservedCause) -> EventKind {
    EventKind::Reserved {
        license: license(id),
        holder: name(holder),
        cause,
    }
}

fn removed(holder: &str, cause: RemovedCause) -> EventKind {
    removed_from("lic", holder, cause)
}

fn removed_from(id: &str, holder: &str, cause: RemovedCause) -> EventKind {
    EventKind::ReservationRemoved {
        license: license(id),
        holder: name(holder),
        cause,
    }
}

fn failed(holder: &str, reason: Reason) -> EventKind {
    failed_on(holder, "launcher", Some("lic"), reason)
}

fn failed_on(holder: &str, on: &str, id: Option<&str>, reason: Reason) -> EventKind {
    EventKind::ReservationFailed {
        module: module(on),
        license: id.map(license),
        holder: name(holder),
        reason,
    }
}

fn count_changed(from: u32, to: u32) -> EventKind {
    EventKind::CountChanged {
        license: license("lic"),
        from: Seats::Limited(from),
        to: Seats::Limited(to),
    }
}

fn license_expired(id: &str) -> EventKind {
    EventKind::LicenseExpired {
        license: license(id),
    }
}

fn key_expired(holder: &str) -> EventKind {
    EventKind::KeyExpired {
        holder: name(holder),
    }
}

fn end_changed(holder: &str) -> EventKind {
    EventKind::KeyChanged {
        holder: name(holder),
        changed: vec!["expires_at".to_owned()],
    }
}

fn deleted(holder: &str) -> EventKind {
    EventKind::KeyDeleted {
        holder: name(holder),
    }
}

fn revoked(holder: &str) -> EventKind {
    EventKind::KeyRevoked {
        holder: name(holder),
    }
}

fn disabled(holder: &str) -> EventKind {
    EventKind::KeyDisabled {
        holder: name(holder),
    }
}

fn enabled(holder: &str) -> EventKind {
    EventKind::KeyEnabled {
        holder: name(holder),
    }
}

fn mapped(name: &str, id: Option<&str>) -> EventKind {
    EventKind::ModuleMapped {
        module: module(name),
        license: id.map(license),
    }
}
