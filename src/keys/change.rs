//! What changes a key that is there: update, revoke, regenerate, delete, assign.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    key_format::KeyText,
    key_store::{KeyId, KeyRecord, PreviousDigest},
    keys::{
        AssignedModule, CreatedKey, KeyManager, KeyPatch, ManageError, ManagedKey,
        new_key::{MOST_MODULES, check_count},
        write::{check_revision, refuse_revoked},
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

#[cfg(test)]
mod tests;
