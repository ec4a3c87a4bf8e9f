//! Who holds the seats of a license and who waits, as an administrator sees them.

use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt, future, stream};

use crate::{
    clock::Timestamp,
    key_store::KeyRecord,
    keys::{KeyManager, ManageError},
    license_ledger::{Holder, LicenseId},
};

/// Which of those who hold a license's seats, or wait for one, to answer.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReservationsQuery {
    /// At most so many of each.
    pub limit: usize,
    /// So many of each are left out: those that were answered before.
    pub after: ReservationsCursor,
    /// Of those who hold a seat only the keys that were not used from this instant on.
    pub unused_since: Option<Timestamp>,
    /// Only this one.
    pub holder: Option<Holder>,
}

/// How far the two lists of a license were read: how many of each. Where somebody gains or loses a
/// place in between, those behind move up or down, as people in any line do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "there are just these two lists")]
pub struct ReservationsCursor {
    /// Of those who hold a seat.
    pub reserved: usize,
    /// Of those who wait.
    pub waiting: usize,
}

impl ReservationsQuery {
    /// The first `limit` of each.
    pub fn first(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Those after a page whose [`next`](Reservations::next) this is. By default from the beginning.
    #[must_use]
    pub fn with_after(mut self, after: ReservationsCursor) -> Self {
        self.after = after;
        self
    }

    /// Of those who hold a seat only those that could be released: who got it before this instant
    /// and is a key that was not used from then on. A key that was never used counts from when it
    /// got its seat. When a user was last active is not known, so users are left out then. By
    /// default all.
    #[must_use]
    pub fn with_unused_since(mut self, instant: Option<Timestamp>) -> Self {
        self.unused_since = instant;
        self
    }

    /// Only this one, and its place. By default all.
    #[must_use]
    pub fn with_holder(mut self, holder: Option<Holder>) -> Self {
        self.holder = holder;
        self
    }

    /// How many of each must be read for it: one more than is answered tells whether there is more.
    fn reads(&self) -> usize {
        // Which of them it will be is known only after they are read.
        if self.unused_since.is_some() || self.holder.is_some() {
            return usize::MAX;
        }
        let skipped = self.after.reserved.max(self.after.waiting);
        skipped.saturating_add(self.limit).saturating_add(1)
    }

    /// Those of a list that may be answered, each with its index.
    fn of<T>(&self, list: Vec<(Holder, T)>, skipped: usize) -> Vec<(usize, Holder, T)> {
        let is_wanted = |holder: &Holder| self.holder.as_ref().is_none_or(|only| only == holder);
        let all = list.into_iter().enumerate().skip(skipped);
        all.map(|(index, (holder, since))| (index, holder, since))
            .filter(|(_, holder, _)| is_wanted(holder))
            .collect()
    }
}

/// Who holds the seats of a license, and who waits for one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reservations {
    /// Those who hold a seat, the oldest reservation first.
    pub reserved: Vec<HeldSeat>,
    /// Those who wait, the first in line first.
    pub waiting: Vec<WaitingHolder>,
    /// Where the next page begins, if there is one.
    pub next: Option<ReservationsCursor>,
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
    /// Who holds the seats of a license and who waits, page by page.
    ///
    /// For those who were not used for a while it reads the keys one by one, a few at a time, until
    /// there are enough.
    ///
    /// ```
    /// # use tower_api_key::{KeyManager, LicenseId, ManageError, ReservationsQuery, Timestamp};
    /// # async fn ask(
    /// #     manager: &KeyManager, license: &LicenseId, last_week: Timestamp,
    /// # ) -> Result<(), ManageError> {
    /// let query = ReservationsQuery::first(100).with_unused_since(Some(last_week));
    /// for seat in manager.reservations(license, &query).await?.reserved {
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
        query: &ReservationsQuery,
    ) -> Result<Reservations, ManageError> {
        let line = self.line(license, query.reads()).await?;
        let (reserved, waiting) = (line.reserved.len(), line.waiting.len());
        let holders = query.of(line.reserved, query.after.reserved);
        let is_wanted = |seat: &HeldSeat| {
            query
                .unused_since
                .is_none_or(|instant| seat.is_unused_since(instant))
        };
        let seats = self
            .with_records(holders)
            .map_ok(|(index, holder, since, record)| (index, self.held_seat(holder, since, record)))
            .try_filter(|(_, seat)| future::ready(is_wanted(seat)));
        let (reserved_next, reserved_page) = page(seats, query.limit).await?;
        let holders = query.of(line.waiting, query.after.waiting);
        let holders = self.with_records(holders);
        let places = holders.map_ok(|(index, holder, since, record)| {
            let place = WaitingHolder {
                holder,
                name: record.map(|record| record.name),
                since,
                position: index as u64 + 1,
            };
            (index, place)
        });
        let (waiting_next, waiting_page) = page(places, query.limit).await?;
        let next = ReservationsCursor {
            reserved: reserved_next.unwrap_or(reserved),
            waiting: waiting_next.unwrap_or(waiting),
        };
        let is_last = reserved_next.is_none() && waiting_next.is_none();
        Ok(Reservations {
            reserved: reserved_page,
            waiting: waiting_page,
            next: (!is_last).then_some(next),
        })
    }

    /// Those of a list, each with its record where it is a key.
    fn with_records<T: Send>(
        &self,
        list: Vec<(usize, Holder, T)>,
    ) -> impl Stream<Item = Result<(usize, Holder, T, Option<KeyRecord>), ManageError>> {
        let holders = list.iter().map(|(_, holder, _)| holder.clone()).collect();
        stream::iter(list)
            .zip(self.records_of(holders))
            .map(|((index, holder, since), record)| Ok((index, holder, since, record?)))
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

/// The first of a list, and the index of the one after them.
async fn page<T>(
    list: impl Stream<Item = Result<(usize, T), ManageError>>,
    limit: usize,
) -> Result<(Option<usize>, Vec<T>), ManageError> {
    let list = list.take(limit.saturating_add(1));
    let mut list: Vec<_> = list.try_collect().await?;
    let next = list.get(limit).map(|(index, _)| *index);
    list.truncate(limit);
    Ok((next, list.into_iter().map(|(_, one)| one).collect()))
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
