//! Repairs what a crash cut in two.

use std::{cmp::Ordering, pin::pin};

use futures_core::Stream;
use futures_util::{TryStreamExt, stream};

use crate::{
    key_store::{KeyId, KeyQuery, KeyRecord},
    keys::{KeyManager, error::ManageError},
    license_ledger::{Actor, Holder, HolderState, Operation},
};

/// What [`KeyManager::reconcile`] saw and repaired.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reconciled {
    /// How many keys the store has.
    pub keys: usize,
    /// How many holders the ledger has, keys and others.
    pub holders: usize,
    /// Keys that the store no longer has: what they held was freed.
    pub freed: Vec<KeyId>,
    /// Keys that the ledger took to be enabled, disabled, expiring or not, against what the store
    /// says: it was told.
    pub told: Vec<KeyId>,
    /// Keys that only the ledger had as revoked: now the store has, too.
    pub revoked: Vec<KeyId>,
}

impl Reconciled {
    /// Whether there was nothing to repair.
    pub fn is_clean(&self) -> bool {
        self.freed.is_empty() && self.told.is_empty() && self.revoked.is_empty()
    }
}

impl KeyManager {
    /// Brings the ledger in line with the store, after a crash or an outage in the middle of a
    /// call: to be called at start-up, and as often as one likes.
    ///
    /// Reads both sides page by page, and everything it is about to repair once more, so that it
    /// harms no call that is under way. Holders that are no keys are left alone, and so are keys
    /// that the ledger does not know: they hold nothing. A failure ends it; what was repaired until
    /// then stays, and calling again does the rest.
    ///
    /// # Errors
    ///
    /// An outage, or a ledger that is read-only where there is something to repair.
    pub async fn reconcile(&self, actor: &Actor) -> Result<Reconciled, ManageError> {
        let mut report = Reconciled::default();
        let mut holders = pin!(self.holders());
        let mut keys = pin!(self.keys());
        let mut holder = holders.try_next().await?;
        let mut key = keys.try_next().await?;
        loop {
            let order = match (&key, &holder) {
                (None, None) => return Ok(report),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(key), Some(holder)) => key.id.as_str().cmp(holder.holder.as_str()),
            };
            let (mut known, mut stored) = (None, None);
            if order.is_ge() {
                report.holders += 1;
                known = std::mem::replace(&mut holder, holders.try_next().await?);
            }
            if order.is_le() {
                report.keys += 1;
                stored = std::mem::replace(&mut key, keys.try_next().await?);
            }
            if let Some(known) = known {
                self.repair(&known, stored, actor, &mut report).await?;
            }
        }
    }

    async fn repair(
        &self,
        known: &HolderState,
        stored: Option<KeyRecord>,
        actor: &Actor,
        report: &mut Reconciled,
    ) -> Result<(), ManageError> {
        let Some(id) = known.holder.key_id() else {
            return Ok(());
        };
        if stored.as_ref().is_some_and(|record| agree(known, record)) {
            return Ok(());
        }
        let Some(record) = self.find(&id).await? else {
            // A key is in the store before it is in the ledger: this one was deleted.
            let holder = known.holder.clone();
            self.apply(Operation::DeleteKey { holder }, actor).await?;
            report.freed.push(id);
            return Ok(());
        };
        if known.revoked && record.revoked_at.is_none() {
            // As after a restore of the store from an older copy. The ledger is asked once more:
            // the id may have been deleted and given to a new key since.
            if !self.standings(&known.holder, &[]).await?.active {
                self.revoke(&id, actor).await?;
                report.revoked.push(id);
            }
        } else if !agree(known, &record) {
            match self.settle(record, actor).await {
                // Deleted by now, and freed.
                Ok(_) | Err(ManageError::NotFound(_)) => report.told.push(id),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn keys(&self) -> impl Stream<Item = Result<KeyRecord, ManageError>> {
        pages(move |last: Option<KeyRecord>| async move {
            let query = KeyQuery::first(PAGE).with_after(last.map(|record| record.id));
            let page = self.0.store.list(&query).await;
            page.map_err(ManageError::of_listing)
        })
    }

    fn holders(&self) -> impl Stream<Item = Result<HolderState, ManageError>> {
        pages(move |last: Option<HolderState>| async move {
            let after: Option<Holder> = last.map(|state| state.holder);
            let page = self.0.ledger.holders(after.as_ref(), PAGE).await;
            page.map_err(ManageError::of_ledger)
        })
    }
}

/// Whether the ledger takes a key for what the store says it is.
fn agree(known: &HolderState, record: &KeyRecord) -> bool {
    let revoked = record.revoked_at.is_some();
    let same = known.active == record.enabled && known.active_until == record.expires_at;
    known.revoked == revoked && (revoked || same)
}

/// All entries, of which `read` answers those after the one it is given.
fn pages<T: Clone, F, P>(read: F) -> impl Stream<Item = Result<T, ManageError>>
where
    F: Fn(Option<T>) -> P,
    P: Future<Output = Result<Vec<T>, ManageError>>,
{
    let page = stream::try_unfold((None, read), |(last, read)| async move {
        let page = read(last).await?;
        let last = page.last().cloned();
        Ok(last.map(|last| (stream::iter(page.into_iter().map(Ok)), (Some(last), read))))
    });
    page.try_flatten()
}

const PAGE: usize = 500;
