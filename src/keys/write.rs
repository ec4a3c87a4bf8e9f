//! How a change is made in the store, and told to the ledger.

use crate::{
    error::BackendError,
    key_store::{KeyId, KeyRecord},
    keys::{KeyManager, ManageError, is_same},
    license_ledger::{Actor, Holder, KeyEvent, Module, Operation},
};

impl KeyManager {
    /// Assigns modules to a key that is in the store.
    pub(super) async fn hand_out(
        &self,
        mut record: KeyRecord,
        modules: &[Module],
        actor: &Actor,
    ) -> Result<KeyRecord, ManageError> {
        // A ledger that was told nothing takes a key to be active for ever, and would reserve.
        if !record.enabled || record.expires_at.is_some() {
            record = self.settle(record, actor).await?;
        }
        let id = &record.id;
        let holder = Holder::from(id);
        if !modules.is_empty() {
            let operation = Operation::Assign {
                holder: holder.clone(),
                modules: modules.to_vec(),
            };
            self.apply(operation, actor).await?;
        }
        let Some(stored) = self.find(id).await? else {
            // Deleted since it was read, perhaps before the assignment: no seat without its key.
            self.apply(Operation::DeleteKey { holder }, actor).await?;
            return Err(ManageError::NotFound(id.clone()));
        };
        refuse_revoked(&stored)?;
        Ok(stored)
    }

    /// Tells the ledger what the store says of a key, and answers the record as it is then.
    ///
    /// Who tells last has read after telling: so of two that change a key at the same time, the
    /// ledger ends up with what the store ended up with.
    pub(super) async fn settle(
        &self,
        mut record: KeyRecord,
        actor: &Actor,
    ) -> Result<KeyRecord, ManageError> {
        for _ in 0..ATTEMPTS {
            let operations = told(&record);
            for operation in &operations {
                self.apply(operation.clone(), actor).await?;
            }
            let Some(stored) = self.find(&record.id).await? else {
                // Deleted in the meantime: telling may have brought it back into the ledger.
                let holder = Holder::from(&record.id);
                self.apply(Operation::DeleteKey { holder }, actor).await?;
                return Err(ManageError::NotFound(record.id));
            };
            if told(&stored) == operations {
                return Ok(stored);
            }
            record = stored;
        }
        Err(ManageError::Conflict)
    }

    /// Reads a record, changes it and writes it back; once more where somebody else changed it in
    /// between. The event that `change` answers is logged before the change is made, which nobody
    /// in this process can make stale then.
    pub(super) async fn modify(
        &self,
        id: &KeyId,
        actor: &Actor,
        mut change: impl FnMut(&mut KeyRecord) -> Result<Option<KeyEvent>, ManageError> + Send,
    ) -> Result<KeyRecord, ManageError> {
        let _alone = self.0.locks.lock(id).await;
        let mut logged = None;
        for _ in 0..ATTEMPTS {
            let before = self.record(id).await?;
            let mut after = before.clone();
            let event = change(&mut after)?;
            if after == before {
                return Ok(before);
            }
            if let Some(event) = event
                && logged.as_ref() != Some(&event)
            {
                self.check_writable(id).await?;
                self.log(event.clone(), actor).await?;
                logged = Some(event);
            }
            match self.write(after).await {
                Err(ManageError::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(ManageError::Conflict)
    }

    /// A refused call must not stand in the log: a store that is read-only says so to every writing
    /// call, also to one that writes nothing.
    async fn check_writable(&self, id: &KeyId) -> Result<(), ManageError> {
        let outcome = self.0.store.record_last_used(&[]).await;
        outcome.map_err(|error| ManageError::of_store(error, id))
    }

    async fn write(&self, record: KeyRecord) -> Result<KeyRecord, ManageError> {
        let outcome = self.0.store.update(record.clone()).await;
        if let Err(BackendError::Unavailable(_)) = outcome
            && let Ok(Some(stored)) = self.0.store.get(&record.id).await
            && is_same(&stored, &record)
        {
            // The connection was lost, but after the change was made.
            return Ok(stored);
        }
        outcome.map_err(|error| ManageError::of_store(error, &record.id))
    }
}

/// What the ledger is to be told of a key. In this order no seat is reserved on the way for a key
/// that must not have one.
pub(crate) fn told(record: &KeyRecord) -> Vec<Operation> {
    let holder = Holder::from(&record.id);
    if record.revoked_at.is_some() {
        return vec![Operation::RevokeKey { holder }];
    }
    let until = Operation::SetActiveUntil {
        holder: holder.clone(),
        active_until: record.expires_at,
    };
    let active = Operation::SetActive {
        holder,
        active: record.enabled,
    };
    if record.enabled {
        vec![until, active]
    } else {
        vec![active, until]
    }
}

pub(super) fn refuse_revoked(record: &KeyRecord) -> Result<(), ManageError> {
    match record.revoked_at {
        Some(_) => Err(ManageError::Revoked(record.id.clone())),
        None => Ok(()),
    }
}

/// Whether a key is of the revision that is wanted, if one is.
pub(super) fn check_revision(record: &KeyRecord, wanted: Option<u64>) -> Result<(), ManageError> {
    match wanted {
        Some(wanted) if wanted != record.revision => Err(ManageError::Conflict),
        _ => Ok(()),
    }
}

/// How often a change is tried anew while others change the same key.
const ATTEMPTS: usize = 16;
