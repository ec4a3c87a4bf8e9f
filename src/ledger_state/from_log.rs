//! A ledger, rebuilt from its log.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{
    clock::Timestamp,
    ledger_state::{Assignment, Expiring, LedgerState, change::Change},
    license_ledger::{
        Actor, EventKind, Eviction, Holder, HolderState, License, LicenseEvent, LicenseId, Module,
    },
};

/// Why a log is not the log of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct ReplayError {
    index: Option<usize>,
    problem: String,
}

impl ReplayError {
    /// The place, counted from 0, of the event that does not fit; nothing where each fits and the
    /// whole does not.
    pub fn index(&self) -> Option<usize> {
        self.index
    }

    pub(crate) fn whole(problem: impl Into<String>) -> Self {
        Self {
            index: None,
            problem: problem.into(),
        }
    }
}

impl LedgerState {
    /// The ledger that wrote this log, as it was at `clock`: places in line, reservations and their
    /// order are those of the log.
    ///
    /// `events` are the whole log, `holders` all that are known: the log does not tell their ends.
    ///
    /// ```
    /// use tower_api_key::{
    ///     Actor, Eviction, Holder, LedgerState, Module, Operation, Timestamp,
    /// };
    ///
    /// let (eviction, now) = (Eviction::OldestFirst, Timestamp::from_unix_seconds(0));
    /// let mut ledger = LedgerState::new(eviction);
    /// let (holder, modules) = (Holder::new("key-1")?, vec![Module::new("launcher")?]);
    /// let log = ledger.apply(&Operation::Assign { holder, modules }, &Actor::system(), now);
    ///
    /// let holders = ledger.holders(None, usize::MAX);
    /// let rebuilt = LedgerState::from_log(eviction, ledger.clock(), &holders, &log)?;
    /// assert_eq!(rebuilt.overview(), ledger.overview());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReplayError`] where an event is missing or contradicts those before it, where the holders
    /// are not those of the log, and where the seats are not those that the rules give.
    pub fn from_log(
        eviction: Eviction,
        clock: Timestamp,
        holders: &[HolderState],
        events: &[LicenseEvent],
    ) -> Result<Self, ReplayError> {
        let mut replay = Replay {
            state: Self::new(eviction),
            seats: BTreeMap::new(),
        };
        for (index, event) in events.iter().enumerate() {
            let next = replay.follow(event, clock);
            next.map_err(|problem| ReplayError {
                index: Some(index),
                problem,
            })?;
        }
        replay.state.clock = clock;
        replay.know(holders).map_err(ReplayError::whole)?;
        replay.take_places();
        replay.take_seats().map_err(ReplayError::whole)?;
        Ok(replay.state)
    }

    /// A seat too many, or one that is free while somebody waits.
    fn wrong_number_of_seats(&self) -> Option<&LicenseId> {
        let wrong = self.lines.iter().find(|(license, line)| {
            let (used, cap) = (line.used(), self.cap(license));
            used > cap || used < cap && !line.waiting.is_empty()
        });
        wrong.map(|(license, _)| license)
    }
}

struct Replay {
    state: LedgerState,
    /// Who holds a seat: the number of the reservation, and since when.
    seats: BTreeMap<(LicenseId, Holder), (u64, Timestamp)>,
}

impl Replay {
    fn follow(&mut self, event: &LicenseEvent, clock: Timestamp) -> Result<(), String> {
        let state = &mut self.state;
        if event.seq != state.seq + 1 {
            let expected = state.seq + 1;
            return Err(format!("seq is {}, not {expected}", event.seq));
        }
        if event.at < state.clock || event.at > clock {
            let last = state.clock;
            return Err(format!("at is {}, not from {last} to {clock}", event.at));
        }
        (state.seq, state.clock) = (event.seq, event.at);
        let assignment = Assignment {
            seq: event.seq,
            at: event.at,
        };
        match &event.kind {
            EventKind::KeyCreated { holder } => {
                state.holders.get_or_insert(holder);
            }
            EventKind::KeyDisabled { holder } => {
                state.holders.get_or_insert(holder).enabled = false;
            }
            EventKind::KeyEnabled { holder } => state.holders.get_or_insert(holder).enabled = true,
            EventKind::KeyRevoked { holder } => {
                let entry = state.holders.get_or_insert(holder);
                entry.revoked = true;
                entry.assigned.clear();
            }
            EventKind::KeyDeleted { holder } => drop(state.holders.remove(holder)),
            EventKind::ModuleAssigned { holder, module } => {
                let entry = state.holders.get_or_insert(holder);
                if entry.revoked || entry.assigned.insert(module.clone(), assignment).is_some() {
                    return Err(format!("{holder} cannot be assigned {module}"));
                }
            }
            EventKind::ModuleUnassigned { holder, module } => {
                let entry = state.holders.get_mut(holder);
                if entry
                    .and_then(|entry| entry.assigned.remove(module))
                    .is_none()
                {
                    return Err(format!("{holder} is not assigned {module}"));
                }
            }
            EventKind::ModuleMapped { module, license } => {
                state.modules.insert(module.clone(), license.clone());
            }
            EventKind::LicenseAdded {
                license,
                seats,
                valid_until,
            } => {
                let added = License::new(license.clone(), *seats).with_valid_until(*valid_until);
                state.licenses.insert(license.clone(), added);
            }
            EventKind::LicenseRemoved { license } => {
                self.license(license)?;
                self.state.licenses.remove(license);
            }
            EventKind::CountChanged { license, to, .. } => self.license(license)?.seats = *to,
            EventKind::LicenseRenewed {
                license,
                valid_until,
            }
            | EventKind::ValidityChanged {
                license,
                valid_until,
            } => self.license(license)?.valid_until = *valid_until,
            EventKind::LimitedEditionChanged { enabled } => state.limited_edition = *enabled,
            EventKind::Reserved {
                license, holder, ..
            } => {
                let seat = (license.clone(), holder.clone());
                if self.seats.insert(seat, (event.seq, event.at)).is_some() {
                    return Err(format!("{holder} holds a seat of {license} already"));
                }
            }
            EventKind::ReservationRemoved {
                license, holder, ..
            } => {
                let seat = (license.clone(), holder.clone());
                if self.seats.remove(&seat).is_none() {
                    return Err(format!("{holder} holds no seat of {license}"));
                }
            }
            EventKind::KeyChanged { .. }
            | EventKind::KeyRegenerated { .. }
            | EventKind::KeyExpired { .. }
            | EventKind::LicenseExpired { .. }
            | EventKind::ReservationFailed { .. } => {}
        }
        Ok(())
    }

    fn license(&mut self, license: &LicenseId) -> Result<&mut License, String> {
        let known = self.state.licenses.get_mut(license);
        known.ok_or_else(|| format!("there is no license {license}"))
    }

    /// Holds the holders against the log, and learns their ends.
    fn know(&mut self, holders: &[HolderState]) -> Result<(), String> {
        if let Some(pair) = holders
            .windows(2)
            .find(|pair| pair[0].holder >= pair[1].holder)
        {
            let holder = &pair[1].holder;
            return Err(format!("the holder {holder} is out of order"));
        }
        for known in holders {
            let entry = self.state.holders.get_or_insert(&known.holder);
            let active = entry.enabled && !entry.revoked;
            if (known.active, known.revoked) != (active, entry.revoked) {
                let holder = &known.holder;
                return Err(format!("the log says otherwise of the holder {holder}"));
            }
            entry.active_until = known.active_until;
        }
        let is_missing = |holder: &Holder| {
            let place = holders.binary_search_by(|known| known.holder.cmp(holder));
            place.is_err()
        };
        let mut logged = self.state.holders.iter().map(|(holder, _)| holder);
        match logged.find(|holder| is_missing(holder)) {
            Some(holder) => Err(format!("the holder {holder} is missing")),
            None => Ok(()),
        }
    }

    /// Puts everyone in line, and notes what is still to expire.
    fn take_places(&mut self) {
        let state = &mut self.state;
        let mut assigned: Vec<(Holder, Vec<Module>)> = Vec::new();
        for (holder, entry) in state.holders.iter() {
            if let Some(end) = entry.active_until.filter(|_| !entry.revoked)
                && end > state.clock
            {
                let expiring = Expiring::Holder(holder.clone());
                state.expiries.insert((end, expiring), ());
            }
            for module in entry.assigned.keys() {
                let users = state.users.entry(module.clone()).or_default();
                users.insert(holder.clone(), ());
            }
            assigned.push((holder.clone(), entry.modules_in_order()));
        }
        for license in state.licenses.values() {
            if let Some(end) = license.valid_until.filter(|end| *end > state.clock) {
                let expiring = Expiring::License(license.id.clone());
                state.expiries.insert((end, expiring), ());
            }
        }
        let system = Actor::system();
        for (holder, modules) in &assigned {
            for license in state.licenses_of(modules) {
                Change::new(state, &system).place(holder, &license);
            }
        }
    }

    /// Gives the seats to those who hold them.
    fn take_seats(&mut self) -> Result<(), String> {
        let state = &mut self.state;
        for ((license, holder), (seq, since)) in std::mem::take(&mut self.seats) {
            let entry = state.holders.get_mut(&holder);
            let place = entry.and_then(|entry| entry.places.get_mut(&license));
            let (Some(place), Some(line)) = (place, state.lines.get_mut(&license)) else {
                return Err(format!("{holder} holds a seat of {license} and needs none"));
            };
            place.seat = Some(seq);
            line.waiting.remove(&place.assignment.seq);
            line.reserved.insert(seq, (holder, since));
        }
        match state.wrong_number_of_seats() {
            Some(license) => Err(format!("the seats of {license} are not those of its line")),
            None => Ok(()),
        }
    }
}
