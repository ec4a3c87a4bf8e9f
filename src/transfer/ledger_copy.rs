//! A whole ledger, and the contract of those that can take one.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    error::BackendError,
    ledger_state::{LedgerState, ReplayError},
    license_ledger::{
        Actor, Eviction, HolderState, LicenseEvent, LicenseLedger, Operation, Overview,
    },
    transfer::TransferError,
};

/// All that a [`LicenseLedger`] holds: its log, and the ends of its holders, which the log does not
/// tell. What is here fits together: the log has been replayed.
#[derive(Clone)]
pub struct LedgerCopy {
    holders: Vec<HolderState>,
    events: Vec<LicenseEvent>,
    /// Which reservation goes first is up to who takes it.
    state: LedgerState,
}

impl LedgerCopy {
    /// A ledger at `clock` with these holders, in order of their names' bytes, and this log.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] as from [`LedgerState::from_log`].
    pub fn new(
        clock: Timestamp,
        holders: Vec<HolderState>,
        events: Vec<LicenseEvent>,
    ) -> Result<Self, ReplayError> {
        let state = LedgerState::from_log(Eviction::default(), clock, &holders, &events)?;
        Ok(Self {
            holders,
            events,
            state,
        })
    }

    /// Reads all of a ledger, page by page.
    ///
    /// # Errors
    ///
    /// [`Changed`](TransferError::Changed) where an event was written meanwhile;
    /// [`Inconsistent`](TransferError::Inconsistent) where the log does not tell what the ledger
    /// says; an outage.
    pub async fn read(ledger: &dyn LicenseLedger) -> Result<Self, TransferError> {
        let before = ledger.overview().await.map_err(TransferError::Ledger)?;
        let mut events = Vec::new();
        while (events.len() as u64) < before.seq {
            let page = ledger.events(events.len() as u64, PAGE).await;
            let page = page.map_err(TransferError::Ledger)?;
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        let mut holders: Vec<HolderState> = Vec::new();
        loop {
            let after = holders.last().map(|state| &state.holder);
            let page = ledger.holders(after, PAGE).await;
            let page = page.map_err(TransferError::Ledger)?;
            if page.is_empty() {
                break;
            }
            holders.extend(page);
        }
        let after = ledger.overview().await.map_err(TransferError::Ledger)?;
        if after.seq != before.seq {
            return Err(TransferError::Changed);
        }
        let copy = Self::new(before.clock, holders, events).map_err(TransferError::Inconsistent)?;
        match copy.overview() == before {
            true => Ok(copy),
            false => Err(TransferError::Inconsistent(ReplayError::whole(
                "licenses and modules are not those of the log",
            ))),
        }
    }

    /// The ledger's time when it was read.
    pub fn clock(&self) -> Timestamp {
        self.state.clock()
    }

    /// The holders, in order of their names' bytes.
    pub fn holders(&self) -> &[HolderState] {
        &self.holders
    }

    /// The whole log.
    pub fn events(&self) -> &[LicenseEvent] {
        &self.events
    }

    /// Licenses and modules.
    pub fn overview(&self) -> Overview {
        self.state.overview()
    }

    /// The ledger as it is at `now`, with the whole log until then: what expired since it was read
    /// is written to it. For who implements [`RestoreLedger`].
    pub fn at(&self, now: Timestamp, eviction: Eviction) -> (LedgerState, Vec<LicenseEvent>) {
        let (mut state, mut events) = (self.state.clone(), self.events.clone());
        state.set_eviction(eviction);
        events.extend(state.apply(&Operation::Tick, &Actor::system(), now));
        (state, events)
    }
}

impl fmt::Debug for LedgerCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerCopy")
            .field("clock", &self.clock())
            .field("holders", &self.holders.len())
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

/// A ledger that can take over another one's log.
///
/// The operations of [`LicenseLedger`] cannot bring that about: they number and date events
/// themselves, and not every order of seats is one that they can make again.
///
/// # Contract
///
/// 1. [`restore`](Self::restore) into a ledger without events makes it the other one: every reading
///    call answers as [`LedgerCopy::at`] does at the later of the copy's time and its own.
/// 2. A ledger that has events is left as it is.
/// 3. It is one transaction, as [`apply`](LicenseLedger::apply) is, and told as one.
#[async_trait]
pub trait RestoreLedger: LicenseLedger {
    /// Takes over another ledger's log; answers whether this one was empty and has done so.
    async fn restore(&self, copy: &LedgerCopy) -> Result<bool, BackendError>;
}

/// A shared ledger is a ledger, also behind `Arc<dyn RestoreLedger>`.
#[async_trait]
impl<T: RestoreLedger + ?Sized> RestoreLedger for Arc<T> {
    async fn restore(&self, copy: &LedgerCopy) -> Result<bool, BackendError> {
        (**self).restore(copy).await
    }
}

const PAGE: usize = 10_000;
