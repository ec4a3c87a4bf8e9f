//! What changes a key that is there: update, revoke, regenerate, delete, assign.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    error::BackendError,
    key_format::KeyText,
    key_store::{KeyId, KeyRecord, PreviousDigest},
    keys::{
        AssignedModule, CreatedKey, KeyManager, KeyPatch, ManageError, ManagedKey, is_same,
        new_key::{MOST_MODULES, check_count},
    },
    license_ledger::{Actor, EventKind, Holder, KeyEvent, Module, Operation},
};

impl KeyManager {
    /// Changes a key.
    ///
    /// Disabled or expired, it is refused at once and its seats are freed; enabled again, it joins
    /// the lines at its old places. Other changes of the same key that are made at the same time
    /// are kept, unless the patch names a [`revision`](KeyPatch::revision).
    ///
    /// ```
    /// # use tower_api_key::{Actor, KeyId, KeyManager, KeyPatch, ManageError};
    /// # async fn pause(manager: &KeyManager, id: &KeyId) -> Result<(), ManageError> {
    /// let patch = KeyPatch::new().with_enabled(false).with_owner(Some("studio 2".into()));
    /// let key = manager.update(id, &patch, &Actor::system()).await?;
    /// assert!(!key.record.enabled);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidField`](ManageError::InvalidField), [`NotFound`](ManageError::NotFound) and
    /// [`Revoked`](ManageError::Revoked), with nothing changed;
    /// [`Conflict`](ManageError::Conflict) where the key is of another revision, or many others
    /// change it at the same time; an outage, or a store or ledger that is read-only.
    pub async fn update(
        &self,
        id: &KeyId,
        patch: &KeyPatch,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        patch.check()?;
        let change = |record: &mut KeyRecord| {
            refuse_revoked(record)?;
            check_revision(record, patch.revision)?;
            let changed = patch.apply(record);
            Ok((!changed.is_empty()).then(|| KeyEvent::Changed(id.clone(), changed)))
        };
        let mut record = self.modify(id, actor, change).await?;
        // Also where the record was like that before: an earlier call may not have come this far.
        if patch.enabled.is_some() || patch.expires_at.is_some() {
            record = self.settle(record, actor).await?;
        }
        self.describe(record).await
    }

    /// Gives a key another name.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn rename(
        &self,
        id: &KeyId,
        name: impl Into<String> + Send,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        let patch = KeyPatch::new().with_name(name);
        self.update(id, &patch, actor).await
    }

    /// Enables a key: it joins the lines of its modules at its old places, and evicts nobody.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn enable(&self, id: &KeyId, actor: &Actor) -> Result<ManagedKey, ManageError> {
        let patch = KeyPatch::new().with_enabled(true);
        self.update(id, &patch, actor).await
    }

    /// Disables a key: it is refused from now on, its seats are freed, and its modules and places
    /// in line stay.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn disable(&self, id: &KeyId, actor: &Actor) -> Result<ManagedKey, ManageError> {
        let patch = KeyPatch::new().with_enabled(false);
        self.update(id, &patch, actor).await
    }

    /// Sets the first instant at which a key no longer works, or that it works for ever.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn set_expiry(
        &self,
        id: &KeyId,
        expires_at: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        let patch = KeyPatch::new().with_expires_at(expires_at);
        self.update(id, &patch, actor).await
    }

    /// Ends a key for good: it is refused from now on, its modules and seats are taken, and nothing
    /// but its record stays. Again it changes nothing more.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), [`Conflict`](ManageError::Conflict); an outage, or a
    /// store or ledger that is read-only.
    pub async fn revoke(&self, id: &KeyId, actor: &Actor) -> Result<ManagedKey, ManageError> {
        self.revoke_if(id, None, actor).await
    }

    /// The same, unless the key is of another revision. One that is revoked already is no conflict:
    /// this may be the same call again, whose change has been made (RFC 9110 §13.1.1).
    pub(crate) async fn revoke_if(
        &self,
        id: &KeyId,
        revision: Option<u64>,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        let now = self.now();
        let change = |record: &mut KeyRecord| {
            if record.revoked_at.is_none() {
                check_revision(record, revision)?;
                record.revoked_at = Some(now);
            }
            Ok(None)
        };
        let record = self.modify(id, actor, change).await?;
        let record = self.settle(record, actor).await?;
        self.describe(record).await
    }

    /// Gives a key a new text, and answers with it: the only time that it is seen. Everything else
    /// of the key stays, its places in line and its seats too.
    ///
    /// The old text is dead at once, or works until `grace` is over, at most 30 days and never
    /// past the key's expiry. A text that is in grace already then is dead at once. Made again
    /// after a failure it makes one more new text.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::{Actor, KeyId, KeyManager, ManageError};
    /// # async fn rotate(manager: &KeyManager, id: &KeyId) -> Result<(), ManageError> {
    /// let day = Duration::from_secs(86_400);
    /// let new = manager.regenerate(id, Some(day), &Actor::system()).await?;
    /// assert_eq!(&new.key.record.id, id);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidField`](ManageError::InvalidField) (`grace`), [`NotFound`](ManageError::NotFound)
    /// and [`Revoked`](ManageError::Revoked), with nothing changed;
    /// [`Conflict`](ManageError::Conflict); an outage, or a store or ledger that is read-only.
    pub async fn regenerate(
        &self,
        id: &KeyId,
        grace: Option<Duration>,
        actor: &Actor,
    ) -> Result<CreatedKey, ManageError> {
        let grace = check_grace(grace)?;
        let record = self.record(id).await?;
        let text = self.generate(&record.environment)?;
        let key = self.replace_text(record, &text, grace, None, actor).await?;
        Ok(CreatedKey { key, text })
    }

    /// Gives a key this new text, made by [`text_from`](Self::text_from) for its environment, unless
    /// the key is of another revision.
    ///
    /// Again with the same text it changes nothing, whatever revision and grace it names. A text
    /// that was replaced since, and is still in grace, is a conflict: it does not come back.
    ///
    /// # Errors
    ///
    /// As [`regenerate`](Self::regenerate); [`Duplicate`](ManageError::Duplicate) where another key
    /// has the text.
    #[cfg(any(feature = "manage", test))]
    pub(crate) async fn regenerate_as(
        &self,
        id: &KeyId,
        text: &KeyText,
        grace: Option<Duration>,
        revision: Option<u64>,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        let grace = check_grace(grace)?;
        let record = self.record(id).await?;
        self.replace_text(record, text, grace, revision, actor)
            .await
    }

    /// What both ways of regenerating have in common.
    async fn replace_text(
        &self,
        record: KeyRecord,
        text: &KeyText,
        grace: Duration,
        revision: Option<u64>,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        refuse_revoked(&record)?;
        let id = &record.id;
        // Asked first, since after the change nothing must come between the text and the caller.
        let standings = self.standings(&Holder::from(id), &record.modules).await?;
        let digest = self.0.hasher.digest(text.expose().as_bytes());
        let hint = self.0.formats.hint(text.expose());
        let now = self.now();
        let change = |record: &mut KeyRecord| {
            refuse_revoked(record)?;
            if record.digest == digest {
                return Ok(None);
            }
            check_revision(record, revision)?;
            let in_grace = |previous: &PreviousDigest| previous.digest == digest;
            if record.previous.as_ref().is_some_and(in_grace) {
                return Err(ManageError::Conflict);
            }
            let end = now.saturating_add(grace);
            let until = record.expires_at.map_or(end, |expiry| expiry.min(end));
            let previous = PreviousDigest::new(record.digest, until);
            record.previous = (until > now).then_some(previous);
            record.digest = digest;
            record.hint.clone_from(&hint);
            Ok(Some(KeyEvent::Regenerated(id.clone())))
        };
        let record = self.modify(id, actor, change).await?;
        Ok(self.with_standings(record, &standings))
    }

    /// Removes a key with all it was assigned and held. Again, after a failure, it removes what is
    /// still there.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound) where nothing was there any more; an outage, or a store
    /// or ledger that is read-only.
    pub async fn delete(&self, id: &KeyId, actor: &Actor) -> Result<(), ManageError> {
        self.delete_if(id, None, actor).await
    }

    /// The same, unless the key is of another revision.
    ///
    /// A key with a wanted revision is revoked first, so that nobody changes it in between.
    pub(crate) async fn delete_if(
        &self,
        id: &KeyId,
        revision: Option<u64>,
        actor: &Actor,
    ) -> Result<(), ManageError> {
        if revision.is_some() {
            let now = self.now();
            let change = |record: &mut KeyRecord| {
                check_revision(record, revision)?;
                record.revoked_at.get_or_insert(now);
                Ok(None)
            };
            self.modify(id, actor, change).await?;
        }
        let stored = self.0.store.delete(id).await;
        let stored = stored.map_err(|error| ManageError::of_store(error, id))?;
        let holder = Holder::from(id);
        let events = self.apply(Operation::DeleteKey { holder }, actor).await?;
        let mut kinds = events.iter().map(|event| &event.kind);
        if stored || kinds.any(|kind| matches!(kind, EventKind::KeyDeleted { .. })) {
            Ok(())
        } else {
            Err(ManageError::NotFound(id.clone()))
        }
    }

    /// Assigns modules to a key, in this order, and answers how each of them stands, in the same
    /// order. That no seat is free is no error: the key waits in line. A module that it is assigned
    /// already keeps its place.
    ///
    /// # Errors
    ///
    /// [`InvalidField`](ManageError::InvalidField) (over 1,000 modules),
    /// [`UnknownModule`](ManageError::UnknownModule), [`NotFound`](ManageError::NotFound) and
    /// [`Revoked`](ManageError::Revoked), with nothing changed; an outage, or a ledger that is
    /// read-only.
    pub async fn assign(
        &self,
        id: &KeyId,
        modules: &[Module],
        actor: &Actor,
    ) -> Result<Vec<AssignedModule>, ManageError> {
        let record = self.check_assignment(id, modules).await?;
        let record = self.hand_out(record, modules, actor).await?;
        let key = self.describe(record).await?;
        let one = |module: &Module| key.modules.iter().find(|known| known.module == *module);
        // One that is not there was taken away again in the meantime.
        Ok(modules.iter().filter_map(one).cloned().collect())
    }

    /// Takes modules away from a key, in this order; those who wait for its seats are promoted.
    /// What is not assigned is no error.
    ///
    /// # Errors
    ///
    /// [`UnknownModule`](ManageError::UnknownModule) for one that is neither known nor assigned,
    /// and [`NotFound`](ManageError::NotFound), with nothing changed; an outage, or a ledger that
    /// is read-only.
    pub async fn unassign(
        &self,
        id: &KeyId,
        modules: &[Module],
        actor: &Actor,
    ) -> Result<(), ManageError> {
        self.check_unassignment(id, modules).await?;
        let operation = Operation::Unassign {
            holder: Holder::from(id),
            modules: modules.to_vec(),
        };
        self.apply(operation, actor).await?;
        Ok(())
    }

    /// The key, if it can be assigned these modules.
    pub(super) async fn check_assignment(
        &self,
        id: &KeyId,
        modules: &[Module],
    ) -> Result<KeyRecord, ManageError> {
        check_count("modules", modules.len(), MOST_MODULES)?;
        let record = self.record(id).await?;
        refuse_revoked(&record)?;
        self.check_known(modules).await?;
        Ok(record)
    }

    /// Whether the key is there, and each of these modules is known or assigned to it.
    pub(super) async fn check_unassignment(
        &self,
        id: &KeyId,
        modules: &[Module],
    ) -> Result<(), ManageError> {
        let key = self.read(id).await?;
        let is_assigned = |module: &&Module| key.modules.iter().any(|m| m.module == **module);
        let others: Vec<_> = modules
            .iter()
            .filter(|m| !is_assigned(m))
            .cloned()
            .collect();
        self.check_known(&others).await
    }

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
    async fn modify(
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
fn check_revision(record: &KeyRecord, wanted: Option<u64>) -> Result<(), ManageError> {
    match wanted {
        Some(wanted) if wanted != record.revision => Err(ManageError::Conflict),
        _ => Ok(()),
    }
}

fn check_grace(grace: Option<Duration>) -> Result<Duration, ManageError> {
    match grace.unwrap_or_default() {
        grace if grace > LONGEST_GRACE => {
            Err(ManageError::invalid("grace", "is longer than 30 days"))
        }
        grace => Ok(grace),
    }
}

const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a change is tried anew while others change the same key.
const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests;
