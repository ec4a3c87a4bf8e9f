//! All that a ledger shows, as plain data: what two ledgers are compared by.

use crate::{
    clock::Timestamp,
    ledger_state::LedgerState,
    license_ledger::{Holder, HolderState, LicenseId, Line, Overview, Standings},
};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    pub(super) overview: Overview,
    /// In order of the license.
    pub(super) lines: Vec<(LicenseId, Line)>,
    pub(super) holders: Vec<HolderState>,
    /// Of all known holders, in order.
    pub(super) standings: Vec<(Holder, Standings)>,
    pub(super) next_expiry: Option<Timestamp>,
}

impl Snapshot {
    pub(super) fn of(state: &LedgerState) -> Self {
        let overview = state.overview();
        assert_eq!((state.clock(), state.seq()), (overview.clock, overview.seq));
        let ids = overview.licenses.iter().map(|known| &known.license.id);
        let lines = ids.map(|id| (id.clone(), state.line(id, usize::MAX).unwrap()));
        let holders = state.holders(None, usize::MAX);
        let names = holders.iter().map(|known| &known.holder);
        let standings = names.map(|holder| (holder.clone(), state.standings(holder)));
        Self {
            lines: lines.collect(),
            standings: standings.collect(),
            next_expiry: state.next_expiry(),
            overview,
            holders,
        }
    }
}
