//! What a change would do to seats, without doing it.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;

use crate::{
    clock::Timestamp,
    key_store::KeyId,
    keys::{KeyManager, ManageError, write::refuse_revoked},
    license_ledger::{
        EventKind, Holder, License, LicenseEvent, LicenseId, Module, Operation, Seats,
    },
};

/// A change that [`KeyManager::plan`] thinks through.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Planned {
    /// A license with another number of seats, another end, or both.
    SetLicense {
        /// Which.
        license: LicenseId,
        /// How many seats; nothing: as many as it has.
        seats: Option<Seats>,
        /// Its end, or that it never ends; nothing: the end that it has.
        valid_until: Option<Option<Timestamp>>,
    },
    /// A license is removed.
    RemoveLicense {
        /// Which.
        license: LicenseId,
    },
    /// Limited edition is switched.
    SetLimitedEdition {
        /// Whether it is on then.
        enabled: bool,
    },
    /// A key is disabled.
    Disable {
        /// Which.
        key: KeyId,
    },
    /// A key is enabled.
    Enable {
        /// Which.
        key: KeyId,
    },
    /// A key is revoked.
    Revoke {
        /// Which.
        key: KeyId,
    },
    /// A key is deleted.
    Delete {
        /// Which.
        key: KeyId,
    },
    /// A key is assigned modules, in this order.
    Assign {
        /// Which.
        key: KeyId,
        /// What it gets.
        modules: Vec<Module>,
    },
    /// Modules are taken away from a key, in this order.
    Unassign {
        /// Which.
        key: KeyId,
        /// What it loses.
        modules: Vec<Module>,
    },
}

/// Who would lose a seat by a change, and who would get one.
///
/// 1. What counts is who holds a seat before and after, as [`KeyManager::line`] shows it: a seat
///    that the change takes and gives back, or gives and takes back, is in neither list.
/// 2. What has expired by now and was not written down yet is written down before any change, so
///    it is here too: the seats that expired, and who gets what they free.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The seats that are lost, in the order in which they are taken.
    pub loses: Vec<PlannedSeat>,
    /// The seats that are given, in this order.
    pub gains: Vec<PlannedSeat>,
}

/// A seat that would be lost or given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedSeat {
    /// The license.
    pub license: LicenseId,
    /// Who holds the seat before, or after.
    pub holder: Holder,
    /// The key's name; nothing where the holder is a user, or a key that the store no longer has.
    pub name: Option<String>,
}

impl KeyManager {
    /// Who would lose and who would get a seat if this change were made now. Changes nothing.
    ///
    /// It is the truth of this moment: until the change is made, others may make theirs.
    ///
    /// ```
    /// # use tower_api_key::{KeyManager, LicenseId, ManageError, Planned, Seats};
    /// # async fn ask(manager: &KeyManager, license: LicenseId) -> Result<(), ManageError> {
    /// let fewer = Planned::SetLicense {
    ///     license,
    ///     seats: Some(Seats::Limited(1)),
    ///     valid_until: None,
    /// };
    /// for seat in manager.plan(&fewer).await?.loses {
    ///     println!("{} would lose {}", seat.holder, seat.license);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// What the change itself would be refused with: [`NotFound`](ManageError::NotFound),
    /// [`Revoked`](ManageError::Revoked), [`UnknownModule`](ManageError::UnknownModule),
    /// [`InvalidField`](ManageError::InvalidField) (over 1,000 modules), a ledger that is
    /// read-only; [`UnknownLicense`](ManageError::UnknownLicense); an outage.
    pub async fn plan(&self, planned: &Planned) -> Result<Plan, ManageError> {
        let operation = self.operation(planned).await?;
        let events = self.0.ledger.plan(&operation).await;
        let Moves { lost, given } = Moves::of(&events.map_err(ManageError::of_ledger)?);
        let holders = lost.iter().chain(&given).map(|(_, holder)| holder);
        let names = self.names(holders).await?;
        let named = |seats: Vec<(LicenseId, Holder)>| {
            let seat = |(license, holder)| PlannedSeat {
                name: names.get(&holder).cloned(),
                license,
                holder,
            };
            seats.into_iter().map(seat).collect()
        };
        Ok(Plan {
            loses: named(lost),
            gains: named(given),
        })
    }

    /// What the ledger would be told, after all that would be checked.
    async fn operation(&self, planned: &Planned) -> Result<Operation, ManageError> {
        Ok(match planned {
            Planned::SetLicense {
                license,
                seats,
                valid_until,
            } => {
                let known = self.license(license).await?;
                let valid_until = valid_until.unwrap_or(known.valid_until);
                let license = License::new(known.id, seats.unwrap_or(known.seats));
                Operation::SetLicense {
                    license: license.with_valid_until(valid_until),
                }
            }
            Planned::RemoveLicense { license } => Operation::RemoveLicense {
                license: self.license(license).await?.id,
            },
            Planned::SetLimitedEdition { enabled } => {
                Operation::SetLimitedEdition { enabled: *enabled }
            }
            Planned::Disable { key } => self.activity(key, false).await?,
            Planned::Enable { key } => self.activity(key, true).await?,
            Planned::Revoke { key } => Operation::RevokeKey {
                holder: Holder::from(&self.record(key).await?.id),
            },
            Planned::Delete { key } => Operation::DeleteKey {
                holder: Holder::from(&self.record(key).await?.id),
            },
            Planned::Assign { key, modules } => {
                self.check_assignment(key, modules).await?;
                Operation::Assign {
                    holder: Holder::from(key),
                    modules: modules.clone(),
                }
            }
            Planned::Unassign { key, modules } => {
                self.check_unassignment(key, modules).await?;
                Operation::Unassign {
                    holder: Holder::from(key),
                    modules: modules.clone(),
                }
            }
        })
    }

    async fn activity(&self, key: &KeyId, active: bool) -> Result<Operation, ManageError> {
        refuse_revoked(&self.record(key).await?)?;
        let holder = Holder::from(key);
        Ok(Operation::SetActive { holder, active })
    }

    pub(super) async fn license(&self, id: &LicenseId) -> Result<License, ManageError> {
        let known = self.overview().await?.licenses.into_iter();
        let mut known = known.map(|known| known.license);
        known
            .find(|license| license.id == *id)
            .ok_or_else(|| ManageError::UnknownLicense(id.clone()))
    }

    /// The names of those holders that are keys.
    async fn names<'h>(
        &self,
        holders: impl Iterator<Item = &'h Holder>,
    ) -> Result<BTreeMap<Holder, String>, ManageError> {
        let mut holders: Vec<_> = holders.cloned().collect();
        holders.sort_unstable();
        holders.dedup();
        let records = self.records_of(holders.clone());
        let records: Vec<_> = records.try_collect().await?;
        let named = holders.into_iter().zip(records);
        let named = named.filter_map(|(holder, record)| Some((holder, record?.name)));
        Ok(named.collect())
    }
}

/// Which seats are others' after events than before.
struct Moves {
    lost: Vec<(LicenseId, Holder)>,
    given: Vec<(LicenseId, Holder)>,
}

impl Moves {
    fn of(events: &[LicenseEvent]) -> Self {
        // Of each seat: whether it was held before, whether it is after, and the last event.
        let mut seats: BTreeMap<(&LicenseId, &Holder), (bool, bool, u64)> = BTreeMap::new();
        for event in events {
            let (license, holder, held) = match &event.kind {
                EventKind::Reserved {
                    license, holder, ..
                } => (license, holder, true),
                EventKind::ReservationRemoved {
                    license, holder, ..
                } => (license, holder, false),
                _ => continue,
            };
            // Who gets a seat had none, and who loses one had it.
            let seat = seats.entry((license, holder));
            let (_, after, last) = seat.or_insert((!held, held, event.seq));
            (*after, *last) = (held, event.seq);
        }
        let mut seats: Vec<_> = seats.into_iter().collect();
        seats.sort_unstable_by_key(|(_, (.., last))| *last);
        let moved = |held_after: bool| {
            let moved = seats
                .iter()
                .filter(|(_, (before, after, _))| before != after && *after == held_after);
            moved
                .map(|((license, holder), _)| ((*license).clone(), (*holder).clone()))
                .collect()
        };
        Self {
            lost: moved(false),
            given: moved(true),
        }
    }
}
