//! One operation in progress: the changes themselves. What they do to seats is in `settle`.

use std::collections::BTreeSet;

use crate::{
    clock::Timestamp,
    key_store::KeyId,
    ledger_state::{Assignment, Expiring, HolderEntry, LedgerState},
    license_ledger::{
        Actor, EventKind, Holder, KeyEvent, License, LicenseEvent, LicenseId, Module, Operation,
        RemovedCause, ReservedCause,
    },
};

/// A ledger while an operation changes it, with the events so far.
pub(super) struct Change<'a> {
    pub(super) state: &'a mut LedgerState,
    pub(super) actor: &'a Actor,
    pub(super) events: Vec<LicenseEvent>,
}

impl<'a> Change<'a> {
    pub(super) fn new(state: &'a mut LedgerState, actor: &'a Actor) -> Self {
        Self {
            state,
            actor,
            events: Vec::new(),
        }
    }

    /// Lets the time pass until `now`: each expiry on the way takes effect at its own instant.
    pub(super) fn tick(&mut self, now: Timestamp) {
        while self.state.next_expiry().is_some_and(|next| next <= now)
            && let Some(((instant, expiring), ())) = self.state.expiries.pop_first()
        {
            self.state.clock = instant;
            match expiring {
                Expiring::License(license) => {
                    self.write(EventKind::LicenseExpired {
                        license: license.clone(),
                    });
                    self.evict(&license, RemovedCause::LicenseExpired);
                }
                Expiring::Holder(holder) => {
                    self.write(EventKind::KeyExpired {
                        holder: holder.clone(),
                    });
                    self.leave_all(&holder, RemovedCause::KeyExpired);
                }
            }
        }
        self.state.clock = self.state.clock.max(now);
    }

    pub(super) fn make(&mut self, operation: &Operation) {
        match operation {
            Operation::Assign { holder, modules } => self.assign(holder, modules),
            Operation::Unassign { holder, modules } => self.unassign(holder, modules),
            Operation::DeleteKey { holder } => self.delete(holder),
            Operation::RevokeKey { holder } => self.revoke(holder),
            Operation::SetActive { holder, active } => self.set_active(holder, *active),
            Operation::SetActiveUntil {
                holder,
                active_until,
            } => self.set_active_until(holder, *active_until),
            Operation::SetLicense { license } => self.set_license(license),
            Operation::SetLicenseIf { license, expected } => {
                if self.state.licenses.get(&license.id) == expected.as_ref() {
                    self.set_license(license);
                }
            }
            Operation::RemoveLicense { license } => self.remove_license(license),
            Operation::RemoveLicenseIf { expected } => {
                if self.state.licenses.get(&expected.id) == Some(expected) {
                    self.remove_license(&expected.id);
                }
            }
            Operation::MapModule { module, license } => self.map_module(module, license.as_ref()),
            Operation::SetLimitedEdition { enabled } => self.set_limited_edition(*enabled),
            Operation::Record { event } => self.record(event),
            Operation::Tick => {}
        }
    }

    /// Writes an event, and answers with its number.
    pub(super) fn write(&mut self, kind: EventKind) -> u64 {
        self.state.seq += 1;
        let seq = self.state.seq;
        let event = LicenseEvent::new(seq, self.state.clock, self.actor.clone(), kind);
        self.events.push(event);
        seq
    }

    fn assign(&mut self, holder: &Holder, modules: &[Module]) {
        if self.is_revoked(holder) {
            return;
        }
        let mut added = Vec::new();
        for module in modules {
            let entry = self.state.holders.get(holder);
            if entry.is_some_and(|entry| entry.assigned.contains_key(module)) {
                continue;
            }
            let seq = self.write(EventKind::ModuleAssigned {
                holder: holder.clone(),
                module: module.clone(),
            });
            let at = self.state.clock;
            let entry = self.state.holders.get_or_insert(holder);
            entry
                .assigned
                .insert(module.clone(), Assignment { seq, at });
            let users = self.state.users.entry(module.clone()).or_default();
            users.insert(holder.clone(), ());
            added.push(module.clone());
        }
        self.join(holder, &added, ReservedCause::Assigned);
    }

    fn unassign(&mut self, holder: &Holder, modules: &[Module]) {
        let mut taken = Vec::new();
        for module in modules {
            let Some(entry) = self.state.holders.get_mut(holder) else {
                return;
            };
            if entry.assigned.remove(module).is_none() {
                continue;
            }
            self.remove_user(module, holder);
            self.write(EventKind::ModuleUnassigned {
                holder: holder.clone(),
                module: module.clone(),
            });
            taken.push(module);
        }
        let licenses = self.state.licenses_of(taken);
        self.leave(holder, &licenses, RemovedCause::Unassigned);
    }

    fn delete(&mut self, holder: &Holder) {
        if self.state.holders.get(holder).is_none() {
            return;
        }
        self.write(EventKind::KeyDeleted {
            holder: holder.clone(),
        });
        self.take_all(holder, RemovedCause::KeyDeleted);
        self.state.holders.remove(holder);
    }

    fn revoke(&mut self, holder: &Holder) {
        if self.is_revoked(holder) {
            return;
        }
        self.state.holders.get_or_insert(holder).revoked = true;
        self.write(EventKind::KeyRevoked {
            holder: holder.clone(),
        });
        self.take_all(holder, RemovedCause::KeyRevoked);
    }

    /// Takes all assignments and seats of a known holder, for good: its end is no expiry any more.
    fn take_all(&mut self, holder: &Holder, cause: RemovedCause) {
        let Some(entry) = self.state.holders.get_mut(holder) else {
            return;
        };
        let modules = entry.modules_in_order();
        entry.assigned.clear();
        let end = entry.active_until;
        self.reschedule(Expiring::Holder(holder.clone()), end, None);
        for module in &modules {
            self.remove_user(module, holder);
        }
        let licenses = self.state.licenses_of(&modules);
        self.leave(holder, &licenses, cause);
    }

    fn set_active(&mut self, holder: &Holder, active: bool) {
        let enabled = self
            .state
            .holders
            .get(holder)
            .is_none_or(|entry| entry.enabled);
        if self.is_revoked(holder) || enabled == active {
            return;
        }
        let before = self.is_active(holder);
        self.state.holders.get_or_insert(holder).enabled = active;
        let subject = holder.clone();
        self.write(if active {
            EventKind::KeyEnabled { holder: subject }
        } else {
            EventKind::KeyDisabled { holder: subject }
        });
        self.follow_activity(holder, before, RemovedCause::KeyDisabled);
    }

    fn set_active_until(&mut self, holder: &Holder, active_until: Option<Timestamp>) {
        let end = self
            .state
            .holders
            .get(holder)
            .and_then(|entry| entry.active_until);
        if self.is_revoked(holder) || end == active_until {
            return;
        }
        let before = self.is_active(holder);
        self.state.holders.get_or_insert(holder).active_until = active_until;
        self.reschedule(Expiring::Holder(holder.clone()), end, active_until);
        self.write(EventKind::KeyChanged {
            holder: holder.clone(),
            changed: vec!["expires_at".to_owned()],
        });
        if self.state.is_past(active_until) && !self.state.is_past(end) {
            self.write(EventKind::KeyExpired {
                holder: holder.clone(),
            });
        }
        self.follow_activity(holder, before, RemovedCause::KeyExpired);
    }

    /// Lets a holder that was active `before`, or was not, leave or join its lines.
    fn follow_activity(&mut self, holder: &Holder, before: bool, cause: RemovedCause) {
        match (before, self.is_active(holder)) {
            (true, false) => self.leave_all(holder, cause),
            (false, true) => {
                let entry = self.state.holders.get(holder);
                let modules = entry.map_or_else(Vec::new, HolderEntry::modules_in_order);
                self.join(holder, &modules, ReservedCause::Enabled);
            }
            _ => {}
        }
    }

    fn set_license(&mut self, license: &License) {
        let id = &license.id;
        let old = self.state.licenses.insert(id.clone(), license.clone());
        if old.as_ref() == Some(license) {
            return;
        }
        let end = old.as_ref().and_then(|old| old.valid_until);
        self.reschedule(Expiring::License(id.clone()), end, license.valid_until);
        let was_expired = self.state.is_past(end);
        let is_expired = self.state.is_past(license.valid_until);
        match &old {
            None => {
                self.write(EventKind::LicenseAdded {
                    license: id.clone(),
                    seats: license.seats,
                    valid_until: license.valid_until,
                });
            }
            Some(old) => {
                if old.seats != license.seats {
                    self.write(EventKind::CountChanged {
                        license: id.clone(),
                        from: old.seats,
                        to: license.seats,
                    });
                }
                if was_expired && !is_expired {
                    self.write(EventKind::LicenseRenewed {
                        license: id.clone(),
                        valid_until: license.valid_until,
                    });
                } else if old.valid_until != license.valid_until {
                    self.write(EventKind::ValidityChanged {
                        license: id.clone(),
                        valid_until: license.valid_until,
                    });
                }
            }
        }
        if is_expired && !was_expired {
            self.write(EventKind::LicenseExpired {
                license: id.clone(),
            });
        }
        // In limited edition there is no seat left to take, so that is never the cause here.
        let removed = if is_expired {
            RemovedCause::LicenseExpired
        } else {
            RemovedCause::CountDecreased
        };
        let reserved = match old {
            None => ReservedCause::LicenseAdded,
            Some(_) if was_expired => ReservedCause::Renewed,
            Some(_) => ReservedCause::CountIncreased,
        };
        self.evict(id, removed);
        self.promote(id, reserved);
    }

    fn remove_license(&mut self, license: &LicenseId) {
        let Some(old) = self.state.licenses.remove(license) else {
            return;
        };
        self.reschedule(Expiring::License(old.id), old.valid_until, None);
        self.write(EventKind::LicenseRemoved {
            license: license.clone(),
        });
        self.evict(license, RemovedCause::LicenseRemoved);
    }

    fn map_module(&mut self, module: &Module, license: Option<&LicenseId>) {
        if self.state.modules.get(module).map(Option::as_ref) == Some(license) {
            return;
        }
        let old = self
            .state
            .modules
            .insert(module.clone(), license.cloned())
            .flatten();
        self.write(EventKind::ModuleMapped {
            module: module.clone(),
            license: license.cloned(),
        });
        let users: Vec<Holder> = match self.state.users.get(module) {
            Some(users) => users.iter().map(|(holder, ())| holder.clone()).collect(),
            None => Vec::new(),
        };
        if let Some(old) = &old {
            let lost: BTreeSet<(u64, &Holder)> = users
                .iter()
                .filter_map(|holder| Some((self.place(holder, old)?, holder)))
                .collect();
            for (_, holder) in lost {
                self.write_removed(old, holder, RemovedCause::Remapped);
            }
        }
        if let Some(new) = license {
            for holder in &users {
                self.place(holder, new);
            }
        }
        if let Some(old) = &old {
            self.promote(old, ReservedCause::SeatFreed);
        }
        if let Some(new) = license {
            self.promote(new, ReservedCause::Remapped);
        }
    }

    fn set_limited_edition(&mut self, enabled: bool) {
        if self.state.limited_edition == enabled {
            return;
        }
        self.state.limited_edition = enabled;
        self.write(EventKind::LimitedEditionChanged { enabled });
        let licenses: Vec<_> = self.state.licenses.keys().cloned().collect();
        for license in &licenses {
            self.evict(license, RemovedCause::LimitedEdition);
        }
        for license in &licenses {
            self.promote(license, ReservedCause::LimitedEditionEnded);
        }
    }

    fn record(&mut self, event: &KeyEvent) {
        let holder = |key: &KeyId| Holder::from(key);
        match event {
            KeyEvent::Created(key) => {
                let holder = holder(key);
                if self.state.holders.get(&holder).is_none() {
                    self.state.holders.get_or_insert(&holder);
                    self.write(EventKind::KeyCreated { holder });
                }
            }
            KeyEvent::Changed(key, changed) => {
                self.write(EventKind::KeyChanged {
                    holder: holder(key),
                    changed: changed.clone(),
                });
            }
            KeyEvent::Regenerated(key) => {
                self.write(EventKind::KeyRegenerated {
                    holder: holder(key),
                });
            }
        }
    }

    /// Moves an expiry from one end to another; one that has come already is none.
    fn reschedule(&mut self, expiring: Expiring, from: Option<Timestamp>, to: Option<Timestamp>) {
        if let Some(from) = from {
            self.state.expiries.remove(&(from, expiring.clone()));
        }
        if let Some(to) = to
            && !self.state.is_past(Some(to))
        {
            self.state.expiries.insert((to, expiring), ());
        }
    }

    fn remove_user(&mut self, module: &Module, holder: &Holder) {
        if let Some(users) = self.state.users.get_mut(module) {
            users.remove(holder);
            if users.is_empty() {
                self.state.users.remove(module);
            }
        }
    }

    fn is_revoked(&self, holder: &Holder) -> bool {
        let entry = self.state.holders.get(holder);
        entry.is_some_and(|entry| entry.revoked)
    }

    fn is_active(&self, holder: &Holder) -> bool {
        let entry = self.state.holders.get(holder);
        entry.is_none_or(|entry| self.state.is_active(entry))
    }
}
