//! What administrators read of a ledger.

use crate::{
    clock::Timestamp,
    license_ledger::{Holder, License, LicenseId, Module},
};

/// A license with who uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LicenseUse {
    /// The license.
    pub license: License,
    /// How many hold a seat.
    pub used: u64,
    /// How many wait for one.
    pub waiting: u64,
}

impl LicenseUse {
    /// A license with the numbers of those who hold a seat of it and of those who wait.
    pub fn new(license: License, used: u64, waiting: u64) -> Self {
        Self {
            license,
            used,
            waiting,
        }
    }
}

/// A ledger's licenses and modules, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// The ledger's clock.
    pub clock: Timestamp,
    /// Whether limited edition is on.
    pub limited_edition: bool,
    /// The last event's number, 0 where there is none.
    pub seq: u64,
    /// In order of the id.
    pub licenses: Vec<LicenseUse>,
    /// In order of the module, each with the license it needs.
    pub modules: Vec<(Module, Option<LicenseId>)>,
}

impl Overview {
    /// What a ledger at `clock` with `seq` events holds.
    pub fn new(
        clock: Timestamp,
        limited_edition: bool,
        seq: u64,
        licenses: Vec<LicenseUse>,
        modules: Vec<(Module, Option<LicenseId>)>,
    ) -> Self {
        Self {
            clock,
            limited_edition,
            seq,
            licenses,
            modules,
        }
    }
}

/// Who holds the seats of a license, and who waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Line {
    /// Those who hold a seat and since when, the oldest reservation first.
    pub reserved: Vec<(Holder, Timestamp)>,
    /// Those who wait and since when, the first in line first.
    pub waiting: Vec<(Holder, Timestamp)>,
}

impl Line {
    /// Those who hold a seat, the oldest reservation first, and those who wait, in line order.
    pub fn new(reserved: Vec<(Holder, Timestamp)>, waiting: Vec<(Holder, Timestamp)>) -> Self {
        Self { reserved, waiting }
    }
}

/// A holder as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderState {
    /// Who.
    pub holder: Holder,
    /// Whether it is enabled.
    pub active: bool,
    /// Until when it is active.
    pub active_until: Option<Timestamp>,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl HolderState {
    /// A holder's state as a backend reads it back.
    pub fn new(
        holder: Holder,
        active: bool,
        active_until: Option<Timestamp>,
        revoked: bool,
    ) -> Self {
        Self {
            holder,
            active,
            active_until,
            revoked,
        }
    }
}
