//! Who holds the seats of a license and who waits, as an administrator sees them.

use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt, future, stream};

use crate::{
    clock::Timestamp,
    key_store::KeyRecord,
    keys::{KeyManager, ManageError},
    license_ledger::{Holder, LicenseId},
};

/// Who holds the seats of a license, and who waits for one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reservations {
    /// Those who hold a seat, the oldest reservation first.
    pub reserved: Vec<HeldSeat>,
    /// Those who wait, the first in line first.
    pub waiting: Vec<WaitingHolder>,
}

/// Who holds a seat of a license.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldSeat {
    /// Who.
    pub holder: Holder,
    /// The key's name; nothing where the holder is a user, or a key that the store no longer has.
    pub name: Option<String>,
    /// When it got the seat.
    pub since: Timestamp,
    /// When the key was last used for anything, as far as this process knows; nothing: never, or
    /// the holder is a user.
    pub last_used_at: Option<Timestamp>,
}

/// Who waits for a seat of a license.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingHolder {
    /// Who.
    pub holder: Holder,
    /// The key's name; nothing where the holder is a user, or a key that the store no longer has.
    pub name: Option<String>,
    /// When it was assigned what it waits for.
    pub since: Timestamp,
    /// Its place in line: the first is 1.
    pub position: u64,
}

impl KeyManager {
    /// Who holds the seats of a license and who waits, at most `limit` of each.
    ///
    /// With `unused_since` only those seats that could be released: given before that instant to a
    /// key that was not used from then on. A key that was never used counts from when it got its
    /// seat. When a user was last active is not known, so users are left out then. Reads the keys
    /// one by one, a few at a time, until there are enough.
    ///
    /// ```
    /// # use tower_api_key::{KeyManager, LicenseId, ManageError, Timestamp};
    /// # async fn ask(
    /// #     manager: &KeyManager, license: &LicenseId, last_week: Timestamp,
    /// # ) -> Result<(), ManageError> {
    /// let unused = manager.reservations(license, Some(last_week), 100).await?;
    /// for seat in unused.reserved {
    ///     println!("{} has not been used", seat.name.as_deref().unwrap_or("?"));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownLicense`](ManageError::UnknownLicense); an outage.
    pub async fn reservations(
        &self,
        license: &LicenseId,
        unused_since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Reservations, ManageError> {
        // Which seats are unused is known only after their keys are read.
        let read = unused_since.map_or(limit, |_| usize::MAX);
        let mut line = self.line(license, read).await?;
        line.waiting.truncate(limit);
        let holders: Vec<_> = line.reserved.iter().map(|(who, _)| who.clone()).collect();
        let reserved = stream::iter(line.reserved)
            .zip(self.records_of(holders))
            .map(|((holder, since), record)| Ok(self.held_seat(holder, since, record?)))
            .try_filter(|seat| {
                future::ready(unused_since.is_none_or(|instant| seat.is_unused_since(instant)))
            })
            .take(limit)
            .try_collect()
            .await?;
        let holders: Vec<_> = line.waiting.iter().map(|(who, _)| who.clone()).collect();
        let waiting = stream::iter((1..).zip(line.waiting))
            .zip(self.records_of(holders))
            .map(|((position, (holder, since)), record)| {
                Ok(WaitingHolder {
                    holder,
                    name: record?.map(|record| record.name),
                    since,
                    position,
                })
            })
            .try_collect()
            .await?;
        Ok(Reservations { reserved, waiting })
    }

    fn held_seat(&self, holder: Holder, since: Timestamp, record: Option<KeyRecord>) -> HeldSeat {
        HeldSeat {
            holder,
            since,
            last_used_at: record.as_ref().and_then(|record| self.last_used(record)),
            name: record.map(|record| record.name),
        }
    }

    /// The record of each of these holders that is a key, in this order: read as they are asked
    /// for, a few at a time.
    pub(super) fn records_of(
        &self,
        holders: Vec<Holder>,
    ) -> impl Stream<Item = Result<Option<KeyRecord>, ManageError>> {
        let read = async |holder: Holder| match holder.key_id() {
            Some(id) => self.find(&id).await,
            None => Ok(None),
        };
        stream::iter(holders).map(read).buffered(AT_ONCE)
    }
}

impl HeldSeat {
    fn is_unused_since(&self, instant: Timestamp) -> bool {
        let is_user = self.holder.key_id().is_none();
        let last = self.last_used_at.max(Some(self.since));
        !is_user && last < Some(instant)
    }
}

/// How many keys are read at a time.
const AT_ONCE: usize = 16;
