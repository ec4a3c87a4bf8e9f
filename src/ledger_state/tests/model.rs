//! The ledger as its rules put it: lists that are searched from end to end, and nothing derived is
//! ever kept. It shares the nouns with the state machine, and no logic.

use crate::{
    clock::Timestamp,
    license_ledger::{
        Actor, EventKind, Eviction, Holder, HolderState, KeyEvent, License, LicenseEvent,
        LicenseId, LicenseUse, Line, Module, Operation, Overview, Reason, RemovedCause,
        ReservedCause, Seat, Seats, Standing, Standings, Status,
    },
};

use super::snapshot::Snapshot;

#[derive(Clone)]
pub(super) struct Model {
    eviction: Eviction,
    clock: Timestamp,
    limited_edition: bool,
    holders: Vec<Known>,
    modules: Vec<(Module, Option<LicenseId>)>,
    licenses: Vec<License>,
    /// In order of their number.
    assignments: Vec<Assignment>,
    /// In order of their number.
    reservations: Vec<Reservation>,
    events: Vec<LicenseEvent>,
    actor: Actor,
}

#[derive(Clone)]
struct Known {
    holder: Holder,
    enabled: bool,
    end: Option<Timestamp>,
    revoked: bool,
}

#[derive(Clone)]
struct Assignment {
    at: Timestamp,
    holder: Holder,
    module: Module,
}

#[derive(Clone)]
struct Reservation {
    at: Timestamp,
    license: LicenseId,
    holder: Holder,
}

/// A license that an operation touched, with what to say of seats that it takes and gives.
type Touched = (LicenseId, RemovedCause, ReservedCause);

impl Model {
    pub(super) fn new(eviction: Eviction) -> Self {
        Self {
            eviction,
            clock: Timestamp::MIN,
            limited_edition: false,
            holders: Vec::new(),
            modules: Vec::new(),
            licenses: Vec::new(),
            assignments: Vec::new(),
            reservations: Vec::new(),
            events: Vec::new(),
            actor: Actor::system(),
        }
    }

    pub(super) fn apply(
        &mut self,
        operation: &Operation,
        actor: &Actor,
        now: Timestamp,
    ) -> Vec<LicenseEvent> {
        let before = self.events.len();
        self.actor = Actor::system();
        self.tick(now);
        self.actor = actor.clone();
        self.change(operation);
        self.events[before..].to_vec()
    }

    fn tick(&mut self, now: Timestamp) {
        let mut due: Vec<(Timestamp, String, &str)> = Vec::new();
        let passes = |end: Timestamp| self.clock < end && end <= now;
        for license in &self.licenses {
            due.extend(
                license
                    .valid_until
                    .filter(|end| passes(*end))
                    .map(|end| (end, license.id.to_string(), "1 license")),
            );
        }
        for known in self.holders.iter().filter(|known| !known.revoked) {
            due.extend(
                known
                    .end
                    .filter(|end| passes(*end))
                    .map(|end| (end, known.holder.to_string(), "2 holder")),
            );
        }
        due.sort();
        for (instant, id, kind) in due {
            self.clock = instant;
            if kind == "1 license" {
                let license = LicenseId::new(&id).unwrap();
                self.write(EventKind::LicenseExpired {
                    license: license.clone(),
                });
                while let Some(holder) = self.next_out(&license) {
                    self.remove(&license, &holder, RemovedCause::LicenseExpired);
                }
            } else {
                let holder = Holder::new(&id).unwrap();
                self.write(EventKind::KeyExpired {
                    holder: holder.clone(),
                });
                let touched = self.licenses_of(&self.modules_of(&holder));
                for license in &touched {
                    if self.seat(license, &holder) {
                        self.remove(license, &holder, RemovedCause::KeyExpired);
                    }
                }
                for license in &touched {
                    self.fill(license, ReservedCause::SeatFreed);
                }
            }
        }
        self.clock = self.clock.max(now);
    }

    fn change(&mut self, operation: &Operation) {
        match operation.clone() {
            Operation::Tick => {}
            Operation::Assign { holder, modules } => {
                if self
                    .holders
                    .iter()
                    .any(|known| known.holder == holder && known.revoked)
                {
                    return;
                }
                let mut fresh = Vec::new();
                for module in modules {
                    if self.modules_of(&holder).contains(&module) {
                        continue;
                    }
                    self.know(&holder);
                    self.write(EventKind::ModuleAssigned {
                        holder: holder.clone(),
                        module: module.clone(),
                    });
                    self.assignments.push(Assignment {
                        at: self.clock,
                        holder: holder.clone(),
                        module: module.clone(),
                    });
                    fresh.push(module);
                }
                self.settle_modules(&fresh, RemovedCause::Unassigned, ReservedCause::Assigned);
                self.fail(&holder, &fresh);
            }
            Operation::Unassign { holder, modules } => {
                let mut gone = Vec::new();
                for module in modules {
                    if self.modules_of(&holder).contains(&module) {
                        self.assignments
                            .retain(|a| a.holder != holder || a.module != module);
                        self.write(EventKind::ModuleUnassigned {
                            holder: holder.clone(),
                            module: module.clone(),
                        });
                        gone.push(module);
                    }
                }
                self.settle_modules(&gone, RemovedCause::Unassigned, ReservedCause::SeatFreed);
            }
            Operation::DeleteKey { holder } => {
                if !self.holders.iter().any(|known| known.holder == holder) {
                    return;
                }
                let modules = self.modules_of(&holder);
                self.write(EventKind::KeyDeleted {
                    holder: holder.clone(),
                });
                self.assignments.retain(|a| a.holder != holder);
                self.holders.retain(|known| known.holder != holder);
                self.settle_modules(&modules, RemovedCause::KeyDeleted, ReservedCause::SeatFreed);
            }
            Operation::RevokeKey { holder } => {
                let modules = self.modules_of(&holder);
                let known = self.know(&holder);
                if known.revoked {
                    return;
                }
                known.revoked = true;
                self.write(EventKind::KeyRevoked {
                    holder: holder.clone(),
                });
                self.assignments.retain(|a| a.holder != holder);
                self.settle_modules(&modules, RemovedCause::KeyRevoked, ReservedCause::SeatFreed);
            }
            Operation::SetActive { holder, active } => {
                if active && !self.holders.iter().any(|known| known.holder == holder) {
                    return;
                }
                let was = self.active(&holder);
                let known = self.know(&holder);
                if known.revoked || known.enabled == active {
                    return;
                }
                known.enabled = active;
                self.write(match active {
                    true => EventKind::KeyEnabled {
                        holder: holder.clone(),
                    },
                    false => EventKind::KeyDisabled {
                        holder: holder.clone(),
                    },
                });
                self.activity(&holder, was, RemovedCause::KeyDisabled);
            }
            Operation::SetActiveUntil {
                holder,
                active_until,
            } => {
                let known = self.holders.iter().find(|known| known.holder == holder);
                if known.is_some_and(|known| known.revoked)
                    || known.and_then(|known| known.end) == active_until
                {
                    return;
                }
                let was = self.active(&holder);
                let clock = self.clock;
                let known = self.know(&holder);
                let was_expired = known.end.is_some_and(|end| clock >= end);
                known.end = active_until;
                self.write(EventKind::KeyChanged {
                    holder: holder.clone(),
                    changed: vec!["expires_at".into()],
                });
                if !was_expired && active_until.is_some_and(|end| clock >= end) {
                    self.write(EventKind::KeyExpired {
                        holder: holder.clone(),
                    });
                }
                self.activity(&holder, was, RemovedCause::KeyExpired);
            }
            Operation::SetLicense { license } => self.set_license(license),
            Operation::SetLicenseIf { license, expected } => {
                if self.license(&license.id).cloned() == expected {
                    self.set_license(license);
                }
            }
            Operation::RemoveLicense { license } => self.remove_license(license),
            Operation::RemoveLicenseIf { expected } => {
                if self.licenses.contains(&expected) {
                    self.remove_license(expected.id);
                }
            }
            Operation::MapModule { module, license } => {
                let old = self
                    .modules
                    .iter()
                    .find(|(known, _)| *known == module)
                    .cloned();
                if old.as_ref().is_some_and(|(_, old)| *old == license) {
                    return;
                }
                self.modules.retain(|(known, _)| *known != module);
                self.modules.push((module.clone(), license.clone()));
                self.write(EventKind::ModuleMapped {
                    module,
                    license: license.clone(),
                });
                let mut touched: Vec<Touched> = Vec::new();
                touched.extend(
                    old.and_then(|(_, old)| old)
                        .map(|old| (old, RemovedCause::Remapped, ReservedCause::SeatFreed)),
                );
                touched.extend(
                    license.map(|new| (new, RemovedCause::Remapped, ReservedCause::Remapped)),
                );
                self.settle(&touched);
            }
            Operation::SetLimitedEdition { enabled } => {
                if self.limited_edition == enabled {
                    return;
                }
                self.limited_edition = enabled;
                self.write(EventKind::LimitedEditionChanged { enabled });
                let mut ids: Vec<_> = self.licenses.iter().map(|known| known.id.clone()).collect();
                ids.sort();
                let touched: Vec<Touched> = ids
                    .into_iter()
                    .map(|id| {
                        (
                            id,
                            RemovedCause::LimitedEdition,
                            ReservedCause::LimitedEditionEnded,
                        )
                    })
                    .collect();
                self.settle(&touched);
            }
            Operation::Record { event } => match event {
                KeyEvent::Created(key) => {
                    let holder = Holder::from(&key);
                    if !self.holders.iter().any(|known| known.holder == holder) {
                        self.know(&holder);
                        self.write(EventKind::KeyCreated { holder });
                    }
                }
                KeyEvent::Changed(key, changed) => self.write(EventKind::KeyChanged {
                    holder: Holder::from(&key),
                    changed,
                }),
                KeyEvent::Regenerated(key) => self.write(EventKind::KeyRegenerated {
                    holder: Holder::from(&key),
                }),
            },
        }
    }

    fn set_license(&mut self, license: License) {
        let id = license.id.clone();
        let old = self.license(&id).cloned();
        if old.as_ref() == Some(&license) {
            return;
        }
        let past = |end: Option<Timestamp>| end.is_some_and(|end| self.clock >= end);
        let was_expired = old.as_ref().is_some_and(|old| past(old.valid_until));
        let expired = past(license.valid_until);
        self.licenses.retain(|known| known.id != id);
        self.licenses.push(license.clone());

        let mut told = Vec::new();
        match &old {
            None => told.push(EventKind::LicenseAdded {
                license: id.clone(),
                seats: license.seats,
                valid_until: license.valid_until,
            }),
            Some(old) => {
                if old.seats != license.seats {
                    told.push(EventKind::CountChanged {
                        license: id.clone(),
                        from: old.seats,
                        to: license.seats,
                    });
                }
                if old.valid_until != license.valid_until {
                    let valid_until = license.valid_until;
                    told.push(match was_expired && !expired {
                        true => EventKind::LicenseRenewed {
                            license: id.clone(),
                            valid_until,
                        },
                        false => EventKind::ValidityChanged {
                            license: id.clone(),
                            valid_until,
                        },
                    });
                }
            }
        }
        if expired && !was_expired {
            told.push(EventKind::LicenseExpired {
                license: id.clone(),
            });
        }
        for kind in told {
            self.write(kind);
        }
        let removed = match (self.limited_edition, expired) {
            (true, _) => RemovedCause::LimitedEdition,
            (false, true) => RemovedCause::LicenseExpired,
            (false, false) => RemovedCause::CountDecreased,
        };
        let reserved = match (old, was_expired) {
            (None, _) => ReservedCause::LicenseAdded,
            (Some(_), true) => ReservedCause::Renewed,
            (Some(_), false) => ReservedCause::CountIncreased,
        };
        self.settle(&[(id, removed, reserved)]);
    }

    fn remove_license(&mut self, license: LicenseId) {
        if self.license(&license).is_none() {
            return;
        }
        self.licenses.retain(|known| known.id != license);
        self.write(EventKind::LicenseRemoved {
            license: license.clone(),
        });
        // No seat is ever given of an unknown license: the second cause is never told.
        self.settle(&[(
            license,
            RemovedCause::LicenseRemoved,
            ReservedCause::SeatFreed,
        )]);
    }

    fn activity(&mut self, holder: &Holder, was: bool, cause: RemovedCause) {
        let modules = self.modules_of(holder);
        match (was, self.active(holder)) {
            (true, false) => self.settle_modules(&modules, cause, ReservedCause::SeatFreed),
            (false, true) => {
                self.settle_modules(&modules, cause, ReservedCause::Enabled);
                self.fail(holder, &modules);
            }
            _ => {}
        }
    }

    fn settle_modules(&mut self, modules: &[Module], out: RemovedCause, in_: ReservedCause) {
        let licenses = self.licenses_of(modules);
        let touched: Vec<Touched> = licenses.into_iter().map(|id| (id, out, in_)).collect();
        self.settle(&touched);
    }

    /// The one algorithm.
    fn settle(&mut self, touched: &[Touched]) {
        for (license, cause, _) in touched {
            for holder in self.holding(license) {
                if !self
                    .demand(license)
                    .iter()
                    .any(|(wants, _)| *wants == holder)
                {
                    self.remove(license, &holder, *cause);
                }
            }
            while self.holding(license).len() as u64 > self.cap(license)
                && let Some(holder) = self.next_out(license)
            {
                self.remove(license, &holder, *cause);
            }
        }
        for (license, _, cause) in touched {
            self.fill(license, *cause);
        }
    }

    fn fill(&mut self, license: &LicenseId, cause: ReservedCause) {
        while (self.holding(license).len() as u64) < self.cap(license)
            && let Some((holder, _)) = self.waiting(license).first().cloned()
        {
            self.write(EventKind::Reserved {
                license: license.clone(),
                holder: holder.clone(),
                cause,
            });
            self.reservations.push(Reservation {
                at: self.clock,
                license: license.clone(),
                holder,
            });
        }
    }

    fn remove(&mut self, license: &LicenseId, holder: &Holder, cause: RemovedCause) {
        self.reservations
            .retain(|r| r.license != *license || r.holder != *holder);
        self.write(EventKind::ReservationRemoved {
            license: license.clone(),
            holder: holder.clone(),
            cause,
        });
    }

    fn fail(&mut self, holder: &Holder, modules: &[Module]) {
        let mut told: Vec<LicenseId> = Vec::new();
        for module in modules {
            let (Status::Expired(reason) | Status::ReservationFailed(reason)) =
                self.status(holder, module, self.clock)
            else {
                continue;
            };
            let license = self.license_of(module);
            if let Some(license) = &license
                && self.license(license).is_some()
            {
                if told.contains(license) {
                    continue;
                }
                told.push(license.clone());
            }
            self.write(EventKind::ReservationFailed {
                module: module.clone(),
                license,
                holder: holder.clone(),
                reason,
            });
        }
    }

    fn write(&mut self, kind: EventKind) {
        let seq = self.events.len() as u64 + 1;
        let actor = self.actor.clone();
        self.events
            .push(LicenseEvent::new(seq, self.clock, actor, kind));
    }

    fn know(&mut self, holder: &Holder) -> &mut Known {
        if !self.holders.iter().any(|known| known.holder == *holder) {
            self.holders.push(Known {
                holder: holder.clone(),
                enabled: true,
                end: None,
                revoked: false,
            });
        }
        self.holders
            .iter_mut()
            .find(|known| known.holder == *holder)
            .unwrap()
    }

    fn license(&self, id: &LicenseId) -> Option<&License> {
        self.licenses.iter().find(|license| license.id == *id)
    }

    fn license_of(&self, module: &Module) -> Option<LicenseId> {
        self.modules
            .iter()
            .find(|(known, _)| known == module)?
            .1
            .clone()
    }

    /// What a holder is assigned, the earliest first.
    fn modules_of(&self, holder: &Holder) -> Vec<Module> {
        let own = self.assignments.iter().filter(|a| a.holder == *holder);
        own.map(|assignment| assignment.module.clone()).collect()
    }

    fn licenses_of(&self, modules: &[Module]) -> Vec<LicenseId> {
        let mut licenses = Vec::new();
        for license in modules.iter().filter_map(|module| self.license_of(module)) {
            if !licenses.contains(&license) {
                licenses.push(license);
            }
        }
        licenses
    }

    fn active(&self, holder: &Holder) -> bool {
        self.active_at(holder, self.clock)
    }

    fn active_at(&self, holder: &Holder, now: Timestamp) -> bool {
        self.holders
            .iter()
            .filter(|known| known.holder == *holder)
            .all(|known| known.enabled && !known.revoked && known.end.is_none_or(|end| now < end))
    }

    fn cap(&self, id: &LicenseId) -> u64 {
        match self.license(id) {
            None => 0,
            Some(_) if self.limited_edition => 0,
            Some(license) if license.valid_until.is_some_and(|end| self.clock >= end) => 0,
            Some(license) => seats(license),
        }
    }

    fn demand(&self, id: &LicenseId) -> Vec<(Holder, Timestamp)> {
        let mut demand: Vec<(Holder, Timestamp)> = Vec::new();
        for assignment in &self.assignments {
            let holder = &assignment.holder;
            if self.license_of(&assignment.module).as_ref() == Some(id)
                && self.active(holder)
                && !demand.iter().any(|(earlier, _)| earlier == holder)
            {
                demand.push((holder.clone(), assignment.at));
            }
        }
        demand
    }

    fn waiting(&self, id: &LicenseId) -> Vec<(Holder, Timestamp)> {
        let mut waiting = self.demand(id);
        waiting.retain(|(holder, _)| !self.seat(id, holder));
        waiting
    }

    fn seat(&self, id: &LicenseId, holder: &Holder) -> bool {
        self.holding(id).contains(holder)
    }

    /// Who holds a seat, the oldest reservation first.
    fn holding(&self, id: &LicenseId) -> Vec<Holder> {
        let own = self.reservations.iter().filter(|r| r.license == *id);
        own.map(|reservation| reservation.holder.clone()).collect()
    }

    fn next_out(&self, id: &LicenseId) -> Option<Holder> {
        match self.eviction {
            Eviction::OldestFirst => self.holding(id).first().cloned(),
            Eviction::NewestFirst => self.holding(id).last().cloned(),
        }
    }

    /// The table of statuses, line by line.
    pub(super) fn status(&self, holder: &Holder, module: &Module, now: Timestamp) -> Status {
        let now = now.max(self.clock);
        if !self.modules_of(holder).contains(module) {
            return Status::NotAssigned;
        }
        let known = self.modules.iter().find(|(known, _)| known == module);
        if let Some((_, None)) = known {
            return Status::NotRequired;
        }
        let Some(license) = self
            .license_of(module)
            .and_then(|id| self.license(&id).cloned())
        else {
            return Status::ReservationFailed(Reason::Unavailable);
        };
        if self.limited_edition {
            return Status::Expired(Reason::LimitedEdition);
        }
        if license.valid_until.is_some_and(|end| now >= end) {
            return Status::Expired(Reason::ValidUntil);
        }
        if !self.active_at(holder, now) {
            return Status::ReservationFailed(Reason::KeyDisabled);
        }
        if self.seat(&license.id, holder) {
            return Status::Reserved;
        }
        if self.holding(&license.id).len() as u64 >= seats(&license) {
            return Status::ReservationFailed(Reason::LimitReached);
        }
        Status::ReservationFailed(Reason::Unavailable)
    }

    fn standings(&self, known: &Known) -> Standings {
        let standing = |module: &Module| match self.modules.iter().find(|(m, _)| m == module) {
            None => Standing::Unknown(None),
            Some((_, None)) => Standing::NotRequired,
            Some((_, Some(id))) => match self.license(id) {
                None => Standing::Unknown(Some(id.clone())),
                Some(license) => Standing::Licensed {
                    license: id.clone(),
                    valid_until: license.valid_until,
                    seat: if self.seat(id, &known.holder) {
                        Seat::Reserved
                    } else if self.holding(id).len() as u64 >= seats(license) {
                        Seat::LimitReached
                    } else {
                        Seat::Unavailable
                    },
                },
            },
        };
        let modules = self.modules_of(&known.holder);
        Standings::new(
            self.clock,
            self.limited_edition,
            known.enabled && !known.revoked,
            known.end,
            modules.into_iter().map(|module| {
                let standing = standing(&module);
                (module, standing)
            }),
        )
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut licenses = self.licenses.clone();
        licenses.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        let mut modules = self.modules.clone();
        modules.sort();
        let mut holders = self.holders.clone();
        holders.sort_by(|a, b| a.holder.as_str().cmp(b.holder.as_str()));

        let reserved = |id: &LicenseId| {
            let own = self.reservations.iter().filter(|r| r.license == *id);
            own.map(|r| (r.holder.clone(), r.at)).collect::<Vec<_>>()
        };
        let uses = licenses.iter().map(|license| {
            let used = reserved(&license.id).len() as u64;
            let waiting = self.waiting(&license.id).len() as u64;
            LicenseUse::new(license.clone(), used, waiting)
        });
        let ends = self
            .licenses
            .iter()
            .filter_map(|license| license.valid_until);
        let ends = ends.chain(
            self.holders
                .iter()
                .filter(|known| !known.revoked)
                .filter_map(|known| known.end),
        );
        Snapshot {
            next_expiry: ends.filter(|end| *end > self.clock).min(),
            overview: Overview::new(
                self.clock,
                self.limited_edition,
                self.events.len() as u64,
                uses.collect(),
                modules,
            ),
            lines: licenses
                .iter()
                .map(|license| {
                    let line = Line::new(reserved(&license.id), self.waiting(&license.id));
                    (license.id.clone(), line)
                })
                .collect(),
            standings: holders
                .iter()
                .map(|known| (known.holder.clone(), self.standings(known)))
                .collect(),
            holders: holders
                .into_iter()
                .map(|known| {
                    let active = known.enabled && !known.revoked;
                    HolderState::new(known.holder, active, known.end, known.revoked)
                })
                .collect(),
        }
    }
}

fn seats(license: &License) -> u64 {
    match license.seats {
        Seats::Limited(seats) => seats.into(),
        Seats::Unlimited => u64::MAX,
    }
}
