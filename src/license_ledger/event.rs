//! The log of a ledger: what happened, and why.

use serde::{Deserialize, Serialize};

use crate::{
    changes::Changes,
    clock::Timestamp,
    key_store::KeyId,
    license_ledger::{Actor, Holder, LicenseId, Module, Reason, Seats},
};

/// What happened to a key outside the ledger: the ledger only keeps it in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyEvent {
    /// A key was created: the ledger knows it as a holder from now on. Recording it again for a
    /// holder that is known changes nothing.
    Created(KeyId),
    /// Fields of a key, named here, were changed.
    Changed(KeyId, Vec<String>),
    /// A key got a new text.
    Regenerated(KeyId),
}

/// One entry of the log.
///
/// Its serde form is one flat object: `seq`, `at`, `actor`, `event`, then the fields of the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "manage", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct LicenseEvent {
    /// Its place in the log: 1, 2, 3 … without gaps.
    pub seq: u64,
    /// When it took effect, by the ledger's clock: an expiry carries its own instant.
    pub at: Timestamp,
    /// Who did it; an expiry is the system's.
    pub actor: Actor,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl LicenseEvent {
    /// An entry as a backend reads it back from its log.
    pub fn new(seq: u64, at: Timestamp, actor: Actor, kind: EventKind) -> Self {
        Self {
            seq,
            at,
            actor,
            kind,
        }
    }

    /// Tells `changes` what this event changed: the holder that it names, or everything where it
    /// is about a license, a mapping or limited edition.
    ///
    /// A ledger that does this with each event of an operation has told all that rule 2 of the
    /// contract of [`LicenseLedger`](crate::LicenseLedger) asks for.
    pub fn tell(&self, changes: &Changes) {
        match (self.kind.holder(), &self.kind) {
            (Some(holder), _) => changes.changed(holder),
            // The seats that a new number gives and takes are events of their own.
            (None, EventKind::CountChanged { .. }) => {}
            (None, _) => changes.everything(),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "manage", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the variants' names are the glossary; fields name their nouns"
)]
pub enum EventKind {
    KeyCreated {
        holder: Holder,
    },
    KeyChanged {
        holder: Holder,
        changed: Vec<String>,
    },
    KeyRegenerated {
        holder: Holder,
    },
    KeyRevoked {
        holder: Holder,
    },
    KeyExpired {
        holder: Holder,
    },
    KeyDeleted {
        holder: Holder,
    },
    KeyDisabled {
        holder: Holder,
    },
    KeyEnabled {
        holder: Holder,
    },
    ModuleAssigned {
        holder: Holder,
        module: Module,
    },
    ModuleUnassigned {
        holder: Holder,
        module: Module,
    },
    ModuleMapped {
        module: Module,
        license: Option<LicenseId>,
    },
    LicenseAdded {
        license: LicenseId,
        seats: Seats,
        valid_until: Option<Timestamp>,
    },
    LicenseRemoved {
        license: LicenseId,
    },
    LicenseExpired {
        license: LicenseId,
    },
    LicenseRenewed {
        license: LicenseId,
        valid_until: Option<Timestamp>,
    },
    ValidityChanged {
        license: LicenseId,
        valid_until: Option<Timestamp>,
    },
    CountChanged {
        license: LicenseId,
        from: Seats,
        to: Seats,
    },
    LimitedEditionChanged {
        enabled: bool,
    },
    Reserved {
        license: LicenseId,
        holder: Holder,
        cause: ReservedCause,
    },
    ReservationRemoved {
        license: LicenseId,
        holder: Holder,
        cause: RemovedCause,
    },
    ReservationFailed {
        module: Module,
        license: Option<LicenseId>,
        holder: Holder,
        reason: Reason,
    },
}

impl EventKind {
    /// The holder that it is about; nothing where it is about a license, a mapping or limited
    /// edition.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::KeyCreated { holder }
            | Self::KeyChanged { holder, .. }
            | Self::KeyRegenerated { holder }
            | Self::KeyRevoked { holder }
            | Self::KeyExpired { holder }
            | Self::KeyDeleted { holder }
            | Self::KeyDisabled { holder }
            | Self::KeyEnabled { holder }
            | Self::ModuleAssigned { holder, .. }
            | Self::ModuleUnassigned { holder, .. }
            | Self::Reserved { holder, .. }
            | Self::ReservationRemoved { holder, .. }
            | Self::ReservationFailed { holder, .. } => Some(holder),
            Self::ModuleMapped { .. }
            | Self::LicenseAdded { .. }
            | Self::LicenseRemoved { .. }
            | Self::LicenseExpired { .. }
            | Self::LicenseRenewed { .. }
            | Self::ValidityChanged { .. }
            | Self::CountChanged { .. }
            | Self::LimitedEditionChanged { .. } => None,
        }
    }
}

/// What gave a holder its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "manage", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReservedCause {
    /// It was assigned a module, and a seat was free.
    Assigned,
    /// It was enabled, or its expiry was moved, and a seat was free.
    Enabled,
    /// Somebody else's seat came free, and it was the first in line.
    SeatFreed,
    /// The license got more seats, or no limit.
    CountIncreased,
    /// The license was renewed.
    Renewed,
    /// Limited edition ended.
    LimitedEditionEnded,
    /// The license was added.
    LicenseAdded,
    /// The module was mapped to this license.
    Remapped,
}

/// What took a holder's seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "manage", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RemovedCause {
    /// Its last module of this license was taken away.
    Unassigned,
    /// It was deleted.
    KeyDeleted,
    /// It was revoked.
    KeyRevoked,
    /// It was disabled.
    KeyDisabled,
    /// It expired itself.
    KeyExpired,
    /// The license has fewer seats now.
    CountDecreased,
    /// The license expired.
    LicenseExpired,
    /// Limited edition began.
    LimitedEdition,
    /// The license was removed.
    LicenseRemoved,
    /// The module was mapped to another license, or to none.
    Remapped,
}
