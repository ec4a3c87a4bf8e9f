//! What a ledger knows of one holder, and how it is judged against the time.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    license_ledger::{LicenseId, Module},
    name,
};

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "manage", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// All seats are taken.
    LimitReached,
    /// The ledger does not know the module or its license, or its answer is out of date.
    Unavailable,
    /// The holder is disabled, revoked or expired.
    KeyDisabled,
    /// The license is past its end.
    ValidUntil,
    /// Limited edition is on.
    LimitedEdition,
}

/// What a ledger says of one holder and one module at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The module is not assigned.
    NotAssigned,
    /// The module is mapped to no license: assigned is enough.
    NotRequired,
    /// A seat is held.
    Reserved,
    /// The license is expired: [`Reason::ValidUntil`] or [`Reason::LimitedEdition`].
    Expired(Reason),
    /// There is no seat for any other reason.
    ReservationFailed(Reason),
}

impl Status {
    /// The label for people, as the seed words it; nothing where there is no license to speak of.
    pub fn label(&self) -> Option<&'static str> {
        match self {
            Self::NotAssigned | Self::NotRequired => None,
            Self::Reserved => Some("Reserved"),
            Self::Expired(_) => Some("Expired"),
            Self::ReservationFailed(_) => Some("Reservation failed"),
        }
    }

    /// Why there is no seat.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Expired(reason) | Self::ReservationFailed(reason) => Some(*reason),
            _ => None,
        }
    }
}

/// What a ledger knows of one assigned module of a holder: enough to tell the [`Status`] at any
/// instant until something changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// The module is mapped to no license.
    NotRequired,
    /// The ledger does not know the module (then there is no license to name) or its license.
    Unknown(Option<LicenseId>),
    /// The module needs this license.
    Licensed {
        /// The license.
        license: LicenseId,
        /// Its end.
        valid_until: Option<Timestamp>,
        /// The holder's part in it.
        seat: Seat,
    },
}

/// Whether a holder has a seat of a license.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Seat {
    /// It has.
    Reserved,
    /// It has none, and all are taken.
    LimitReached,
    /// It has none although one is free: a state that no operation leaves behind.
    Unavailable,
}

/// All that a ledger knows of one holder, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standings {
    /// The ledger's clock: no instant before it is ever judged.
    pub(crate) clock: Timestamp,
    pub(crate) limited_edition: bool,
    pub(crate) active: bool,
    pub(crate) active_until: Option<Timestamp>,
    /// In order of the module.
    pub(crate) modules: Box<[(Module, Standing)]>,
}

impl Standings {
    /// What a ledger at `clock` knows of a holder that may be inactive and has these modules.
    pub fn new(
        clock: Timestamp,
        limited_edition: bool,
        active: bool,
        active_until: Option<Timestamp>,
        modules: impl IntoIterator<Item = (Module, Standing)>,
    ) -> Self {
        let mut modules: Vec<_> = modules.into_iter().collect();
        modules.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self {
            clock,
            limited_edition,
            active,
            active_until,
            modules: modules.into(),
        }
    }

    /// The assigned modules in order, each with what the ledger knows of it.
    pub fn modules(&self) -> impl ExactSizeIterator<Item = (&Module, &Standing)> {
        self.modules
            .iter()
            .map(|(module, standing)| (module, standing))
    }

    /// What the ledger knows of `module`; nothing where it is not assigned.
    pub fn standing(&self, module: &Module) -> Option<&Standing> {
        let found = name::find(&self.modules, module.as_str(), |(known, _)| known.as_str())?;
        Some(&found.1)
    }

    /// The status of `module` at `now`: a pure function, so the answer changes at the very instant
    /// of an expiry, whether or not anything ticked.
    ///
    /// The first of these that is true decides: not assigned, no license needed, module or license
    /// unknown, limited edition, license past its end, holder inactive, seat held, all seats taken,
    /// anything else.
    pub fn status(&self, module: &Module, now: Timestamp) -> Status {
        match self.standing(module) {
            None => Status::NotAssigned,
            Some(standing) => self.judge(standing, now),
        }
    }

    pub(crate) fn judge(&self, standing: &Standing, now: Timestamp) -> Status {
        let now = now.max(self.clock);
        let past = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
        match standing {
            Standing::NotRequired => Status::NotRequired,
            Standing::Unknown(_) => Status::ReservationFailed(Reason::Unavailable),
            Standing::Licensed { .. } if self.limited_edition => {
                Status::Expired(Reason::LimitedEdition)
            }
            Standing::Licensed { valid_until, .. } if past(*valid_until) => {
                Status::Expired(Reason::ValidUntil)
            }
            Standing::Licensed { .. } if !self.active || past(self.active_until) => {
                Status::ReservationFailed(Reason::KeyDisabled)
            }
            Standing::Licensed { seat, .. } => match seat {
                Seat::Reserved => Status::Reserved,
                Seat::LimitReached => Status::ReservationFailed(Reason::LimitReached),
                Seat::Unavailable => Status::ReservationFailed(Reason::Unavailable),
            },
        }
    }
}
