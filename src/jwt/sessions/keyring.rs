//! The keys of sessions at one moment.

use std::sync::Arc;

use super::SigningKey;
use crate::{
    clock::Timestamp,
    jwt::{
        algorithm::Algorithm,
        key_set::KeySet,
        keys::{KeyError, VerificationKey},
    },
};

/// The key that sessions are signed with, and those that they are verified with.
#[derive(Debug)]
pub(super) struct Keyring {
    signing: Arc<SigningKey>,
    keys: Arc<KeySet>,
    /// Keys that were signed with before, by their ids, each with the instant at which the last of
    /// its sessions is over.
    retiring: Vec<(Box<str>, Timestamp)>,
}

impl Keyring {
    pub(super) fn new(
        signing: SigningKey,
        accepted: Vec<VerificationKey>,
    ) -> Result<Self, KeyError> {
        let first = Self {
            keys: Arc::new(KeySet::new([signing.verification_key()])?),
            signing: Arc::new(signing),
            retiring: Vec::new(),
        };
        accepted
            .into_iter()
            .try_fold(first, |keyring, key| keyring.accepting(key))
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.signing.algorithm()
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys)
    }

    /// The same with one more key to verify with.
    pub(super) fn accepting(&self, key: VerificationKey) -> Result<Self, KeyError> {
        let kid = key.kid().ok_or(KeyError::KeyId)?;
        if !key.fits(self.algorithm()) {
            return Err(KeyError::Unsupported);
        }
        if self
            .keys
            .keys()
            .iter()
            .any(|known| known.kid() == Some(kid))
        {
            return Err(KeyError::Duplicate);
        }
        Ok(Self {
            signing: Arc::clone(&self.signing),
            keys: Arc::new(KeySet::new(self.keys.keys().iter().cloned().chain([key]))?),
            retiring: self.retiring.clone(),
        })
    }

    /// The same that signs with another key; the one before is not needed from `retired_at` on.
    pub(super) fn rotated(
        &self,
        signing: SigningKey,
        retired_at: Timestamp,
    ) -> Result<Self, KeyError> {
        let kid = signing.kid();
        if kid == self.signing.kid() {
            return Err(KeyError::Duplicate);
        }
        if signing.algorithm() != self.algorithm() {
            return Err(KeyError::Unsupported);
        }
        let same = |key: &VerificationKey| key.is_same(&signing.verification_key());
        let known = self.keys.keys().iter().find(|key| key.kid() == Some(kid));
        if known.is_some_and(|known| !same(known)) {
            return Err(KeyError::Duplicate);
        }
        // One that is accepted already becomes the one that is signed with, and is not retired.
        let others = self.keys.keys().iter().filter(|key| key.kid() != Some(kid));
        let keys = others.cloned().chain([signing.verification_key()]);
        let mut retiring = self.retiring.clone();
        retiring.retain(|(retiring, _)| **retiring != *kid);
        retiring.push((self.signing.kid().into(), retired_at));
        Ok(Self {
            keys: Arc::new(KeySet::new(keys)?),
            signing: Arc::new(signing),
            retiring,
        })
    }

    /// The same without the key of this id, if it has one.
    pub(super) fn without(&self, kid: &str) -> Option<Self> {
        let keys = self.keys.keys();
        keys.iter().find(|key| key.kid() == Some(kid))?;
        Some(self.keeping(|key| key != kid))
    }

    /// Whether a key is no longer needed.
    pub(super) fn has_retired(&self, now: Timestamp) -> bool {
        self.retiring.iter().any(|(_, at)| *at <= now)
    }

    /// The same without the keys that are no longer needed.
    pub(super) fn after(&self, now: Timestamp) -> Self {
        let over = |kid: &str| {
            let mut retiring = self.retiring.iter();
            retiring.any(|(retiring, at)| **retiring == *kid && *at <= now)
        };
        self.keeping(|kid| !over(kid))
    }

    fn keeping(&self, keep: impl Fn(&str) -> bool) -> Self {
        let keys = self.keys.keys().iter();
        let kept = keys.filter(|key| key.kid().is_some_and(&keep)).cloned();
        let retiring = self.retiring.iter().filter(|(kid, _)| keep(kid));
        Self {
            signing: Arc::clone(&self.signing),
            keys: Arc::new(KeySet::new(kept).expect("a part of a set is a set")),
            retiring: retiring.cloned().collect(),
        }
    }
}
