//! What makes a key: create, import.

use crate::{
    clock::Timestamp,
    key_format::{KeyText, Verdict},
    key_store::{KeyDigest, KeyId, KeyRecord},
    keys::{CreatedKey, KeyManager, ManageError, ManagedKey, NewKey, is_same, new_key::check_hint},
    license_ledger::{Actor, Holder, KeyEvent, Module, Operation},
};

impl KeyManager {
    /// Makes a new key, and answers it with its text: the only time that it is seen.
    ///
    /// Where it fails, what was done is undone as far as the backends can be reached. A crash half
    /// way leaves a key that nobody has the text of and that may lack its modules: delete it. To
    /// create a key exactly once over crashes and retries, generate the text with
    /// [`KeyFormats::generate`](crate::KeyFormats::generate), keep it, and
    /// [`import`](Self::import) it under an id of yours.
    ///
    /// An id of yours should not be used again soon after its key was deleted: a call about the old key
    /// that is still under way in another process, such as [`reconcile`](Self::reconcile), would do to
    /// the new key what it was to do to the old one.
    ///
    /// # Errors
    ///
    /// [`InvalidField`](ManageError::InvalidField), [`UnknownModule`](ManageError::UnknownModule)
    /// and [`Duplicate`](ManageError::Duplicate) (the id), with nothing changed; an outage.
    pub async fn create(&self, new: NewKey, actor: &Actor) -> Result<CreatedKey, ManageError> {
        let text = self.generate(&new.environment)?;
        let digest = self.0.hasher.digest(text.expose().as_bytes());
        let hint = self.0.formats.hint(text.expose());
        let now = self.now();
        let (record, modules) = self.admit(new, digest, hint, now, actor).await?;
        let id = record.id.clone();
        let established = self.establish(record, &modules, actor).await;
        if established.is_err() {
            // Nobody else has this text, so nobody was told that the key is there. The error to
            // report is the first one: what cannot be undone now is told in the docs.
            let _ = self.delete(&id, actor).await;
        }
        let key = established?;
        Ok(CreatedKey { key, text })
    }

    /// Makes a key with a text that is there already: one of your own, or another system's.
    ///
    /// Again with the same id, text and settings it completes what was missing and answers the
    /// same key. Nothing is undone where it fails, since another call may have completed the same
    /// key by then: the key stays, it may lack its modules, and the retry gives them to it.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and [`InvalidField`](ManageError::InvalidField) where the text
    /// has none of the formats that are accepted, or names another environment;
    /// [`Duplicate`](ManageError::Duplicate) where another key has the id or the text.
    pub async fn import(
        &self,
        new: NewKey,
        text: &KeyText,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        self.import_at(new, text, self.now(), actor).await
    }

    /// The same for a text that was made for this instant, at which the key is made.
    pub(crate) async fn import_at(
        &self,
        new: NewKey,
        text: &KeyText,
        now: Timestamp,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        let text = text.expose();
        match self.0.formats.verdict(text.as_bytes()) {
            Verdict::Opaque => {}
            Verdict::WellFormed => {
                // PREFIX_ENV_BODY, and no prefix has an underscore in it.
                if text.split('_').nth(1) != Some(new.environment.as_str()) {
                    let problem = "is not the environment that the text names";
                    return Err(ManageError::invalid("environment", problem));
                }
            }
            Verdict::Malformed => {
                let problem = "has none of the accepted formats, so no request could use it";
                return Err(ManageError::invalid("text", problem));
            }
        }
        let digest = self.0.hasher.digest(text.as_bytes());
        let hint = self.0.formats.hint(text);
        self.complete(new, digest, hint, now, actor).await
    }

    /// Makes a key of which only the digest is known: another system's SHA-256, where this
    /// manager's [`KeyHasher`](crate::KeyHasher) is plain SHA-256 too, and a hint for people, such as
    /// `acme_…a1B2`.
    ///
    /// Again with the same id, digest and settings it completes what was missing and answers the
    /// same key, and as with [`import`](Self::import) nothing is undone where it fails. Whether the
    /// text has an accepted format cannot be told here: a request with one that has not is refused.
    ///
    /// # Errors
    ///
    /// As [`import`](Self::import), and [`InvalidField`](ManageError::InvalidField) for a hint of
    /// more than 64 characters or with a control character.
    pub async fn import_digest(
        &self,
        new: NewKey,
        digest: KeyDigest,
        hint: impl Into<String> + Send,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        let hint = hint.into();
        check_hint(&hint)?;
        self.complete(new, digest, hint, self.now(), actor).await
    }

    /// What both ways of importing have in common.
    async fn complete(
        &self,
        new: NewKey,
        digest: KeyDigest,
        hint: String,
        now: Timestamp,
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        let (record, modules) = self.admit(new, digest, hint, now, actor).await?;
        self.establish(record, &modules, actor).await
    }

    /// Stores the record of a key that may be made, and answers it with the modules it is to get.
    async fn admit(
        &self,
        new: NewKey,
        digest: KeyDigest,
        hint: String,
        now: Timestamp,
        actor: &Actor,
    ) -> Result<(KeyRecord, Vec<Module>), ManageError> {
        new.check(now)?;
        self.check_known(&new.modules).await?;
        let id = match &new.id {
            Some(id) => {
                // A new key must not inherit them.
                self.clear_leftovers(id, actor).await?;
                id.clone()
            }
            None => fresh_id(now)?,
        };
        let modules = new.modules.clone();
        let record = new.into_record(id, digest, hint, now);
        Ok((self.insert(record).await?, modules))
    }

    /// Stores a new record, or answers the one that an earlier call stored of the same key.
    async fn insert(&self, record: KeyRecord) -> Result<KeyRecord, ManageError> {
        match self.0.store.insert(record.clone()).await {
            Ok(()) => Ok(record),
            // The connection may have been lost after the record was kept: the next read tells.
            Err(error) => match self.0.store.get(&record.id).await {
                Ok(Some(stored)) if is_same(&stored, &record) => Ok(stored),
                _ => Err(ManageError::of_store(error, &record.id)),
            },
        }
    }

    /// Gives a stored key its place in the ledger, and what of it is still missing.
    pub(crate) async fn establish(
        &self,
        record: KeyRecord,
        modules: &[Module],
        actor: &Actor,
    ) -> Result<ManagedKey, ManageError> {
        self.log(KeyEvent::Created(record.id.clone()), actor)
            .await?;
        let record = self.hand_out(record, modules, actor).await?;
        self.describe(record).await
    }

    /// Removes what the ledger still has under an id whose key was deleted, where that was cut
    /// short, and answers whether there was anything.
    pub(crate) async fn clear_leftovers(
        &self,
        id: &KeyId,
        actor: &Actor,
    ) -> Result<bool, ManageError> {
        let holder = Holder::from(id);
        let left = self.standings(&holder, &[]).await?;
        let unknown = left.modules.is_empty() && left.active && left.active_until.is_none();
        // The ledger was read first, and no key is in the ledger before it is in the store: one
        // that is not there now was deleted.
        let is_left = !unknown && self.find(id).await?.is_none();
        if is_left {
            self.apply(Operation::DeleteKey { holder }, actor).await?;
        }
        Ok(is_left)
    }
}

/// An id that nobody has: 48 bits of milliseconds, so that ids sort by creation, and 80 random bits.
fn fresh_id(now: Timestamp) -> Result<KeyId, ManageError> {
    let mut bytes = [0; 16];
    let millis = u64::try_from(now.unix_micros() / 1_000).unwrap_or(0);
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    let random = getrandom::fill(&mut bytes[6..]);
    random.map_err(|error| ManageError::NoRandomBytes(error.into()))?;
    Ok(id_from(bytes))
}

/// The id that is written of these bytes, in the base32 of Douglas Crockford.
pub(crate) fn id_from(bytes: [u8; 16]) -> KeyId {
    let bits = u128::from_be_bytes(bytes);
    let digit = |place: u32| char::from(BASE32[(bits >> (5 * place)) as usize % BASE32.len()]);
    let text: String = (0..26).rev().map(digit).collect();
    KeyId::new(text).expect("26 letters and digits are a key id")
}

const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_id_begins_with_the_milliseconds_and_ends_at_random() {
        // 2^48 - 1 milliseconds lie beyond the year 9999, so 48 bits are enough.
        for (now, lead) in [
            (Timestamp::MIN, "0000000000"),
            (Timestamp::from_unix_seconds(0), "0000000000"),
            (Timestamp::from_unix_micros(33_999), "0000000011"),
            (Timestamp::from_unix_seconds(1_767_225_600), "01kdvdna00"),
            (Timestamp::MAX, "76ez68q8r0"),
        ] {
            let (a, b) = (fresh_id(now).unwrap(), fresh_id(now).unwrap());
            assert_eq!((&a.as_str()[..10], &b.as_str()[..10]), (lead, lead));
            assert_ne!(a, b);
        }
    }
}
