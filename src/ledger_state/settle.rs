//! What a change does to seats: the only code that makes and ends reservations.

use std::collections::BTreeSet;

use crate::{
    ledger_state::{Place, change::Change},
    license_ledger::{
        EventKind, Eviction, Holder, LicenseId, Module, RemovedCause, ReservedCause, Standing,
    },
};

impl Change<'_> {
    /// Lets a holder join the lines that these of its modules need, and says where there was no
    /// seat for it.
    pub(super) fn join(&mut self, holder: &Holder, modules: &[Module], cause: ReservedCause) {
        let licenses = self.state.licenses_of(modules);
        for license in &licenses {
            self.place(holder, license);
        }
        for license in &licenses {
            self.promote(license, cause);
        }
        self.write_failures(holder, modules);
    }

    /// Takes a holder's seats where it is no longer in demand, and gives them to the next in line.
    pub(super) fn leave(&mut self, holder: &Holder, licenses: &[LicenseId], cause: RemovedCause) {
        for license in licenses {
            if self.place(holder, license).is_some() {
                self.write_removed(license, holder, cause);
            }
        }
        for license in licenses {
            self.promote(license, ReservedCause::SeatFreed);
        }
    }

    /// Like `leave`, for all its licenses in order of its assignments.
    pub(super) fn leave_all(&mut self, holder: &Holder, cause: RemovedCause) {
        if let Some(entry) = self.state.holders.get(holder) {
            let licenses = self.state.licenses_of(&entry.modules_in_order());
            self.leave(holder, &licenses, cause);
        }
    }

    /// Puts a known holder where it belongs in the line for a license: at its earliest assignment,
    /// or nowhere. Answers with the number of the reservation that it lost by that.
    pub(super) fn place(&mut self, holder: &Holder, license: &LicenseId) -> Option<u64> {
        let entry = self.state.holders.get(holder)?;
        let needs_license = |module: &Module| {
            let mapped = self.state.modules.get(module);
            mapped.is_some_and(|mapped| mapped.as_ref() == Some(license))
        };
        let earliest = entry
            .assigned
            .iter()
            .filter(|(module, _)| self.state.is_active(entry) && needs_license(module))
            .map(|(_, assignment)| *assignment)
            .min_by_key(|assignment| assignment.seq);

        let entry = self.state.holders.get_mut(holder)?;
        let line = self.state.lines.entry(license.clone()).or_default();
        let mut seat = None;
        if let Some(place) = entry.places.remove(license) {
            seat = place.seat;
            if seat.is_none() {
                line.waiting.remove(&place.assignment.seq);
            }
        }
        let lost = match (earliest, seat) {
            (Some(assignment), seat) => {
                if seat.is_none() {
                    let who = (holder.clone(), assignment.at);
                    line.waiting.insert(assignment.seq, who);
                }
                entry
                    .places
                    .insert(license.clone(), Place { assignment, seat });
                None
            }
            (None, Some(seat)) => {
                line.reserved.remove(&seat);
                Some(seat)
            }
            (None, None) => None,
        };
        if line.is_empty() {
            self.state.lines.remove(license);
        }
        lost
    }

    /// Takes seats while there are more than the license has.
    pub(super) fn evict(&mut self, license: &LicenseId, cause: RemovedCause) {
        let cap = self.state.cap(license);
        while let Some(line) = self.state.lines.get_mut(license)
            && line.used() > cap
            && let Some((_, (holder, _))) = match self.state.eviction {
                Eviction::OldestFirst => line.reserved.pop_first(),
                Eviction::NewestFirst => line.reserved.pop_last(),
            }
        {
            let entry = self.state.holders.get_mut(&holder);
            if let Some(place) = entry.and_then(|entry| entry.places.get_mut(license)) {
                place.seat = None;
                let who = (holder.clone(), place.assignment.at);
                line.waiting.insert(place.assignment.seq, who);
            }
            self.write_removed(license, &holder, cause);
        }
    }

    /// Gives seats while one is free and someone waits.
    pub(super) fn promote(&mut self, license: &LicenseId, cause: ReservedCause) {
        let cap = self.state.cap(license);
        while let Some(line) = self.state.lines.get_mut(license)
            && line.used() < cap
            && let Some((_, (holder, _))) = line.waiting.pop_first()
        {
            // One that expires at this very instant gets no seat; its turn will take its place.
            let entry = self.state.holders.get(&holder);
            if !entry.is_some_and(|entry| self.state.is_active(entry)) {
                continue;
            }
            let seq = self.write(EventKind::Reserved {
                license: license.clone(),
                holder: holder.clone(),
                cause,
            });
            let entry = self.state.holders.get_mut(&holder);
            if let Some(place) = entry.and_then(|entry| entry.places.get_mut(license)) {
                place.seat = Some(seq);
            }
            if let Some(line) = self.state.lines.get_mut(license) {
                line.reserved.insert(seq, (holder, self.state.clock));
            }
        }
    }

    pub(super) fn write_removed(
        &mut self,
        license: &LicenseId,
        holder: &Holder,
        cause: RemovedCause,
    ) {
        self.write(EventKind::ReservationRemoved {
            license: license.clone(),
            holder: holder.clone(),
            cause,
        });
    }

    /// Writes which of these modules of a holder got no seat: one event for each license, and one
    /// for each module where the license or the module is unknown.
    fn write_failures(&mut self, holder: &Holder, modules: &[Module]) {
        let standings = self.state.standings(holder);
        let mut told = BTreeSet::new();
        for module in modules {
            let Some(standing) = standings.standing(module) else {
                continue;
            };
            let Some(reason) = standings.judge(standing, self.state.clock).reason() else {
                continue;
            };
            let license = match standing {
                Standing::Licensed { license, .. } if told.insert(license) => Some(license.clone()),
                Standing::Unknown(license) => license.clone(),
                _ => continue,
            };
            self.write(EventKind::ReservationFailed {
                module: module.clone(),
                license,
                holder: holder.clone(),
                reason,
            });
        }
    }
}
