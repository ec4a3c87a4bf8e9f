//! The keys of an issuer, and where they come from.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{
    changes::Changes,
    clock::Now,
    jwt::{
        algorithm::Algorithm,
        json::{Json, Object},
        keys::{KeyError, VerificationKey},
    },
    token::TokenError,
};

/// The keys of one issuer at one moment.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<VerificationKey>);

impl KeySet {
    /// These keys, at most 100.
    ///
    /// # Errors
    ///
    /// [`KeyError::Duplicate`] where two of them have the same id and are for the same algorithm,
    /// [`KeyError::TooMany`].
    pub fn new(keys: impl IntoIterator<Item = VerificationKey>) -> Result<Self, KeyError> {
        let mut set = Self::default();
        for key in keys {
            if !set.takes(&key) {
                return Err(KeyError::Duplicate);
            }
            set.push(key)?;
        }
        Ok(set)
    }

    /// The keys of a JWK Set ([RFC 7517 §5](https://www.rfc-editor.org/rfc/rfc7517#section-5)) that
    /// verify signatures of a kind that is supported here; others are left out, as are secrets
    /// (`oct`), which nobody should publish. Of two that cannot be told apart the first is kept.
    ///
    /// # Errors
    ///
    /// [`KeyError::Jwk`] where the text is no JWK Set of at most 512 KiB, [`KeyError::TooMany`]
    /// where it has more than 100 keys, of whatever kind.
    pub fn from_jwks(json: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let jwks = Object::parse(json.as_ref(), MOST_JWKS_BYTES).map_err(|_| KeyError::Jwk)?;
        let Some(Json::Array(keys)) = jwks.get("keys") else {
            return Err(KeyError::Jwk);
        };
        if keys.len() > MOST_KEYS {
            return Err(KeyError::TooMany);
        }
        let mut set = Self::default();
        for key in keys {
            let Json::Object(jwk) = key else {
                return Err(KeyError::Jwk);
            };
            match VerificationKey::from_object(jwk) {
                Ok(key) if set.takes(&key) => set.push(key)?,
                _ => {}
            }
        }
        Ok(set)
    }

    /// The key for a token that names `kid` and is signed with `algorithm`.
    ///
    /// It is the one with that id. Where none has it, or the token names none, it is the only one
    /// that fits: of those without an id, or of all.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&VerificationKey> {
        let mut fitting = self.0.iter().filter(|key| key.fits(algorithm));
        let Some(kid) = kid else {
            return only_one(fitting);
        };
        let named = fitting.clone().find(|key| key.kid() == Some(kid));
        named.or_else(|| only_one(fitting.by_ref().filter(|key| key.kid().is_none())))
    }

    /// Its keys.
    pub fn keys(&self) -> &[VerificationKey] {
        &self.0
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every key of `other` is one of this set too, under the same id and for the same
    /// algorithms.
    pub fn contains_all(&self, other: &Self) -> bool {
        let has = |key: &VerificationKey| self.0.iter().any(|own| own.is_same(key));
        other.0.iter().all(has)
    }

    fn takes(&self, key: &VerificationKey) -> bool {
        let same_id = |own: &VerificationKey| own.kid() == key.kid();
        key.kid().is_none() || !self.0.iter().any(|own| same_id(own) && own.overlaps(key))
    }

    fn push(&mut self, key: VerificationKey) -> Result<(), KeyError> {
        if self.0.len() == MOST_KEYS {
            return Err(KeyError::TooMany);
        }
        self.0.push(key);
        Ok(())
    }
}

/// Where an issuer's keys come from.
///
/// # Contract
///
/// 1. [`known`](Self::known) blocks on nothing. It answers nothing where no keys are known, or
///    those that are must not be used any longer.
/// 2. [`refresh`](Self::refresh) is asked where `known` answered nothing, or no key for a token,
///    whose text anybody can have made up: it fetches only as often as it wants to, whoever asks.
///    It answers the keys as they then are, which may be the same as before, and
///    [`TokenError::Unavailable`] where there are none.
/// 3. Where a key is withdrawn, everyone who [watches](Self::watched_by) is told `everything`, as
///    soon as `known` no longer answers with the key, and before whoever withdrew it is answered.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The keys known at this moment.
    fn known(&self, now: Now) -> Option<Arc<KeySet>>;

    /// The keys after a fetch, if it is time for one.
    async fn refresh(&self, now: Now) -> Result<Arc<KeySet>, TokenError>;

    /// From now on these changes are to be told of withdrawn keys: each verifier that asks this
    /// source says so once. By default no key is ever withdrawn.
    fn watched_by(&self, _changes: &Changes) {}
}

/// A shared source is a source, also behind `Arc<dyn KeySource>`.
#[async_trait]
impl<T: KeySource + ?Sized> KeySource for Arc<T> {
    fn known(&self, now: Now) -> Option<Arc<KeySet>> {
        (**self).known(now)
    }

    async fn refresh(&self, now: Now) -> Result<Arc<KeySet>, TokenError> {
        (**self).refresh(now).await
    }

    fn watched_by(&self, changes: &Changes) {
        (**self).watched_by(changes);
    }
}

/// Keys that never change.
pub(crate) struct FixedKeys(pub(crate) Arc<KeySet>);

#[async_trait]
impl KeySource for FixedKeys {
    fn known(&self, _now: Now) -> Option<Arc<KeySet>> {
        Some(Arc::clone(&self.0))
    }

    async fn refresh(&self, _now: Now) -> Result<Arc<KeySet>, TokenError> {
        Ok(Arc::clone(&self.0))
    }
}

/// Who is told where a source withdraws a key.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Vec<Changes>>);

impl Watchers {
    pub(crate) fn add(&self, changes: &Changes) {
        self.0.lock().push(changes.clone());
    }

    pub(crate) fn tell_everything(&self) {
        self.0.lock().iter().for_each(Changes::everything);
    }
}

fn only_one<'k>(
    mut keys: impl Iterator<Item = &'k VerificationKey>,
) -> Option<&'k VerificationKey> {
    let first = keys.next()?;
    keys.next().is_none().then_some(first)
}

const MOST_KEYS: usize = 100;
const MOST_JWKS_BYTES: usize = 512 * 1024;
