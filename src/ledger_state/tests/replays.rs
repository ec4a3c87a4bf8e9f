//! What the log alone can tell.

use std::collections::BTreeMap;

use crate::{
    ledger_state::seats_at,
    license_ledger::{EventKind, Holder, LicenseEvent, LicenseId, Module, Seats},
};

use super::{Scenario, at, histories, license, name};

fn holders(scenario: &Scenario, seconds: i64) -> String {
    let seats = seats_at(&scenario.log, at(seconds));
    let names = seats.get(&license("lic")).map(|holders| {
        holders
            .iter()
            .map(Holder::as_str)
            .collect::<Vec<_>>()
            .join(",")
    });
    names.unwrap_or_default()
}

#[test]
fn replay_tells_who_held_a_seat_at_a_past_moment() {
    let mut ledger = Scenario::with_seats(2);
    ledger.at(10).assign("B");
    ledger.at(20).assign_each(&["A", "C"]);
    ledger.at(30).unassign("B");
    ledger
        .at(40)
        .set_license("lic", Seats::Limited(2), Some(50));
    ledger.at(100).tick();

    assert_eq!(holders(&ledger, 9), "");
    assert_eq!(
        holders(&ledger, 10),
        "B",
        "what happened at that very instant counts"
    );
    assert_eq!(holders(&ledger, 29), "B,A");
    assert_eq!(holders(&ledger, 30), "A,C", "the oldest reservation first");
    assert_eq!(holders(&ledger, 49), "A,C");
    assert_eq!(holders(&ledger, 50), "", "though the tick came late");
    assert!(seats_at(&ledger.log, at(100)).is_empty());
}

#[test]
fn replay_orders_by_reservation_not_by_name() {
    let mut ledger = Scenario::with_seats(2);
    ledger.assign_each(&["B", "A"]);
    assert_eq!(holders(&ledger, 0), "B,A");
    ledger.set_active("B", false);
    ledger.set_active("B", true);
    assert_eq!(
        holders(&ledger, 0),
        "A,B",
        "a seat given again is a new reservation"
    );
}

/// Assignments and mappings, as far as the log tells them.
#[derive(Default)]
struct Told {
    assigned: BTreeMap<(Holder, Module), u64>,
    mapped: BTreeMap<Module, Option<LicenseId>>,
}

impl Told {
    fn read(&mut self, event: &LicenseEvent) {
        match event.kind.clone() {
            EventKind::ModuleAssigned { holder, module } => {
                self.assigned.insert((holder, module), event.seq);
            }
            EventKind::ModuleUnassigned { holder, module } => {
                self.assigned.remove(&(holder, module));
            }
            EventKind::KeyDeleted { holder } | EventKind::KeyRevoked { holder } => {
                self.assigned.retain(|(known, _), _| *known != holder);
            }
            EventKind::ModuleMapped { module, license } => {
                self.mapped.insert(module, license);
            }
            _ => {}
        }
    }

    fn place(&self, holder: &Holder, license: &LicenseId) -> Option<u64> {
        let needed = self.assigned.iter().filter(|((known, module), _)| {
            known == holder && self.mapped.get(module) == Some(&Some(license.clone()))
        });
        needed.map(|(_, seq)| *seq).min()
    }
}

#[test]
fn replay_rebuilds_assignments_and_places_in_line() {
    histories::for_each_history_of_steps(|steps| {
        let mut told = Told::default();
        for step in steps {
            step.events.iter().for_each(|event| told.read(event));
            let assigned = step.after.standings.iter().flat_map(|(holder, standings)| {
                let modules = standings.modules();
                modules.map(|(module, _)| (holder.clone(), module.clone()))
            });
            assert!(assigned.eq(told.assigned.keys().cloned()));
            for (license, line) in &step.after.lines {
                let places = line
                    .waiting
                    .iter()
                    .map(|(holder, _)| told.place(holder, license));
                let places: Vec<_> = places.collect();
                assert!(
                    places.is_sorted() && !places.contains(&None),
                    "{license}: {places:?}"
                );
            }
        }
    });
}

#[test]
fn log_reads_back_from_json_as_it_was() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    ledger.set_license("lic", Seats::Unlimited, Some(10));
    ledger.at(10).tick();
    for event in &ledger.log {
        let json = serde_json::to_string(event).unwrap();
        assert_eq!(
            serde_json::from_str::<LicenseEvent>(&json).unwrap(),
            *event,
            "{json}"
        );
    }
    assert_eq!(ledger.log[2].kind, super::assigned("A", "launcher"));
    assert_eq!(name("A").as_str(), "A");
    let flat = r#"{"seq":3,"at":"1970-01-01T00:00:00Z","actor":"admin","event":"module_assigned","holder":"A","module":"launcher"}"#;
    assert_eq!(serde_json::to_string(&ledger.log[2]).unwrap(), flat);
}
