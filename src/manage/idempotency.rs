//! `Idempotency-Key`: a call that is made again does not do it again.
//!
//! Nothing is kept for it. The id of a key that is asked for with one follows from the caller and the
//! `Idempotency-Key`, so a retry, in whichever process and after whichever crash, meets the key that
//! is there already, and completes it. (Where the `Idempotency-Key` is a UUID of version 7, which
//! begins with a time, the id begins with that too, as ids do that sort by creation.) Its text
//! follows from those, from what was asked for, from the management's secret, so it can be told again
//! to who asked for it and to nobody else, and from when the key was made: under the id of one that
//! was deleted a new key gets a new text. The text of a regeneration follows from the revision that
//! it changed too: once replaced, it is never made again.

use std::time::Duration;

use axum::extract::FromRequestParts;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, request::Parts as RequestParts};
use sha2::{Digest, Sha256};
use utoipa::{
    IntoParams,
    openapi::{
        path::{Parameter, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};
use zeroize::Zeroizing;

use super::{
    Parts,
    caller::Caller,
    input::only,
    problem::{Problem, ProblemCode},
    schema::optional_header,
};
use crate::{
    clock::Timestamp,
    key_format::KeyText,
    key_store::{Environment, KeyDigest, KeyId, KeyRecord, PreviousDigest},
    keys::{ManageError, ManagedKey, NewKey, id_from},
    license_ledger::Module,
};

/// What the client says makes two of its requests the same; the header may be left out.
#[derive(Debug, Clone)]
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut RequestParts, _: &S) -> Result<Self, Problem> {
        let text = only(&parts.headers, &HeaderName::from_static(HEADER))?;
        let Some(text) = text else {
            return Ok(Self(None));
        };
        let is_valid =
            (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        match is_valid {
            true => Ok(Self(Some(text.to_owned()))),
            false => {
                let problem = "it is not 1 to 255 visible ASCII characters without spaces";
                Err(Problem::invalid(HEADER, problem))
            }
        }
    }
}

/// A header that may be left out.
impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(LONGEST))
            .pattern(Some("^[!-~]+$"));
        let description = "The caller's requests with the same one are one request: what is sent \
                           again is answered as the first was. With another body: 422.";
        optional_header("Idempotency-Key", description, text)
    }
}

impl Parts {
    /// Makes a key once for all requests with this `Idempotency-Key` and this body, and answers it
    /// with its text every time.
    ///
    /// # Errors
    ///
    /// 422 where another body was sent with it before; 409 where the text cannot be told (another
    /// process made it with another secret, or the key has a new one), or the key is revoked; 403
    /// where it has become one that the caller may not change.
    pub(super) async fn create_once(
        &self,
        new: NewKey,
        body: &[u8],
        idempotency_key: &str,
        caller: &Caller,
    ) -> Result<(ManagedKey, KeyText), Problem> {
        let words = ["create", caller.grant.principal(), idempotency_key];
        let id = derived_id(&words, milliseconds(idempotency_key));
        let text_at = |made: Timestamp| self.derived_text(&new.environment, &words, made, body);
        for _ in 0..ATTEMPTS {
            match self.manager.read(&id).await {
                Ok(key) => {
                    let text = text_at(key.record.created_at);
                    let key = self.create_again(key, &text, &new, caller).await?;
                    return Ok((key, text));
                }
                Err(ManageError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let now = self.now().wall;
            let text = text_at(now);
            let new = new.clone().with_id(id.clone());
            let made = self.manager.import_at(new, &text, now, &caller.actor);
            match made.await {
                Ok(key) => return Ok((key, text)),
                // Another request was faster: its key tells when it was made.
                Err(ManageError::Duplicate { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let detail = "The key is deleted and made again all the time.";
        Err(Problem::new(ProblemCode::Conflict, detail))
    }

    /// Answers the key that an earlier request made, completed where that was cut short.
    async fn create_again(
        &self,
        key: ManagedKey,
        text: &KeyText,
        new: &NewKey,
        caller: &Caller,
    ) -> Result<ManagedKey, Problem> {
        if key.record.digest != self.digest(text) {
            return Err(taken(&key, new));
        }
        if key.record.revoked_at.is_some() {
            return Err(ManageError::Revoked(key.record.id).into());
        }
        caller.check_owned(&key)?;
        let end = key.record.created_at.saturating_add(LONGEST_CREATION);
        let has = |module: &Module| key.modules.iter().any(|known| known.module == *module);
        // They are assigned at once: a key that has some of them had all of them.
        if end <= self.now().wall || new.modules.iter().any(has) {
            return Ok(key);
        }
        let completed = self
            .manager
            .establish(key.record, &new.modules, &caller.actor);
        Ok(completed.await?)
    }

    /// The text that a key gets from a regeneration with this `Idempotency-Key`, or got from it
    /// already. A new one belongs to the key as this record tells it: it must not be given to what
    /// the key becomes.
    ///
    /// # Errors
    ///
    /// 422 where another grace was asked for before; 409 where the text was replaced since, and is
    /// in its own grace.
    pub(super) fn next_text(
        &self,
        record: &KeyRecord,
        idempotency_key: &str,
        grace: Duration,
        caller: &Caller,
    ) -> Result<KeyText, Problem> {
        let words = [
            "regenerate",
            caller.grant.principal(),
            idempotency_key,
            record.id.as_str(),
        ];
        let text_of = |revision: u64| {
            let revision = revision.to_be_bytes();
            self.derived_text(&record.environment, &words, record.created_at, &revision)
        };
        for revision in (0..record.revision).rev().take(MOST_REVISIONS) {
            let text = text_of(revision);
            let digest = self.digest(&text);
            let is_old = |previous: &PreviousDigest| previous.digest == digest;
            if record.digest == digest {
                self.check_repeated(record, grace)?;
                return Ok(text);
            }
            if record.previous.as_ref().is_some_and(is_old) {
                return Err(untold(&record.id));
            }
        }
        Ok(text_of(record.revision))
    }

    /// A key that was regenerated with the same `Idempotency-Key` before was so with the same grace,
    /// as far as the key tells. It does not tell how long the grace was, but whether there was one,
    /// and when it ends.
    fn check_repeated(&self, record: &KeyRecord, grace: Duration) -> Result<(), Problem> {
        let now = self.now().wall;
        let may_be_same = match &record.previous {
            // One that has expired gives no grace.
            None => grace.is_zero() || record.expires_at.is_some_and(|end| end <= now),
            Some(previous) => !grace.is_zero() && previous.until <= now.saturating_add(grace),
        };
        match may_be_same {
            true => Ok(()),
            false => Err(another_body()),
        }
    }

    fn digest(&self, text: &KeyText) -> KeyDigest {
        self.gate.gate.hasher.digest(text.expose().as_bytes())
    }

    /// `made` is when the key was.
    fn derived_text(
        &self,
        environment: &Environment,
        words: &[&str],
        made: Timestamp,
        body: &[u8],
    ) -> KeyText {
        let state = Hmac::<Sha256>::new_from_slice(&*self.secret);
        let mut mac = state.expect("HMAC takes a key of any length");
        mac.update(b"tower-api-key text ");
        let made = made.unix_micros().to_be_bytes();
        for part in parts(words).chain([&made[..], body]) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let entropy = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        self.manager.text_from(environment, &entropy)
    }
}

/// The id that every process derives from the same words, beginning with these milliseconds.
fn derived_id(words: &[&str], milliseconds: Option<[u8; 6]>) -> KeyId {
    let mut hash = Sha256::new_with_prefix("tower-api-key id ");
    for part in parts(words) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = *digest.first_chunk().expect("16 bytes are fewer than 32");
    if let Some(milliseconds) = milliseconds {
        bytes[..6].copy_from_slice(&milliseconds);
    }
    id_from(bytes)
}

/// The milliseconds since 1970 that a UUID of version 7 begins with (RFC 9562 §5.7).
fn milliseconds(uuid: &str) -> Option<[u8; 6]> {
    let parts: Vec<_> = uuid.split('-').collect();
    let [high, low, version, variant, node] = parts.as_slice() else {
        return None;
    };
    let lengths = [high, low, version, variant, node].map(|part| part.len());
    let is_seventh =
        version.starts_with('7') && variant.starts_with(['8', '9', 'a', 'A', 'b', 'B']);
    let is_hex = parts
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if lengths != [8, 4, 4, 4, 12] || !is_seventh || !is_hex {
        return None;
    }
    let bits = u64::from_str_radix(&format!("{high}{low}"), 16).ok()?;
    bits.to_be_bytes().last_chunk().copied()
}

fn parts<'a>(words: &'a [&str]) -> impl Iterator<Item = &'a [u8]> {
    words.iter().map(|word| word.as_bytes())
}

/// Why a key is not the one that was asked for under the same `Idempotency-Key`.
fn taken(key: &ManagedKey, new: &NewKey) -> Problem {
    let record = &key.record;
    let is_same = record.name == new.name
        && record.environment == new.environment
        && record.scopes == new.scopes
        && record.tier == new.tier
        && record.owner == new.owner
        && record.expires_at == new.expires_at
        && record.allowed_addresses == new.allowed_addresses
        && record.administrator == new.administrator
        // Some may not be assigned yet.
        && (key.modules.iter()).all(|assigned| new.modules.contains(&assigned.module));
    match is_same {
        true => untold(&record.id),
        false => another_body(),
    }
}

/// The request was carried out, and the text that it made is not known, or not the key's any more.
fn untold(id: &KeyId) -> Problem {
    let detail = format!("The key {id} got a text by this request, which can no longer be told.");
    Problem::new(ProblemCode::Conflict, detail)
        .with_field(HEADER)
        .with_remediation("Regenerate the key with another Idempotency-Key.")
}

fn another_body() -> Problem {
    Problem::unprocessable(HEADER, "was sent with another body before")
}

const HEADER: &str = "idempotency-key";
/// Characters.
const LONGEST: usize = 255;
/// For so long a retry completes a key: one that lacks its modules later is meant to.
const LONGEST_CREATION: Duration = Duration::from_secs(24 * 60 * 60);
/// After so many changes a regeneration is not known any more, and is made anew.
const MOST_REVISIONS: usize = 64;
/// How often a key is looked for and made while others make and delete it.
const ATTEMPTS: usize = 16;
