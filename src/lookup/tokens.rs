//! Bearer tokens that are no keys: who verifies them, and what their verifiers say.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{Found, Lookup};
use crate::{
    changes::{Changes, Stamp},
    denial::DenialCode,
    error::BackendError,
    flight::Failure,
    key_store::KeyDigest,
    observe::{self, Backend},
    pass::{Pass, Session, State, micros},
    token::{Principal, TokenError, TokenVerifier, UserModules},
};

/// How bearer tokens that are no keys are treated.
#[derive(Default)]
pub(crate) struct Tokens {
    /// In the order in which they are asked whose a token is.
    pub(crate) verifiers: Vec<Arc<dyn TokenVerifier>>,
    pub(crate) user_modules: UserModules,
}

/// A verifier with the changes that it tells of.
pub(crate) struct Verifier {
    verifier: Arc<dyn TokenVerifier>,
    changes: Changes,
    /// How many of its tokens may be under way at once.
    pub(super) turns: Semaphore,
}

impl Verifier {
    pub(super) fn new(verifier: Arc<dyn TokenVerifier>, at_once: usize) -> Self {
        Self {
            turns: Semaphore::new(at_once),
            changes: verifier.changes().cloned().unwrap_or_default(),
            verifier,
        }
    }
}

impl Lookup {
    pub(crate) fn has_verifiers(&self) -> bool {
        !self.verifiers.is_empty()
    }

    /// The first verifier that takes a text for one of its tokens.
    pub(crate) fn verifier_of(&self, text: &[u8]) -> Option<u8> {
        let mut verifiers = (0..).zip(&self.verifiers);
        let (index, _) = verifiers.find(|(_, verifier)| verifier.verifier.recognizes(text))?;
        Some(index)
    }

    /// What a verifier's token is remembered under: something else once the verifier has told that its
    /// answers no longer hold.
    pub(crate) fn token_digest(&self, verifier: u8, digest: KeyDigest) -> KeyDigest {
        let changes = &self.verifiers[usize::from(verifier)].changes;
        digest.of_token(changes.stamp().number())
    }

    /// How often verifiers have told that their answers no longer hold: while it stays, every token
    /// that was taken is as it was.
    #[cfg(feature = "manage")]
    pub(crate) fn withdrawals(&self) -> u64 {
        let changes = self.verifiers.iter().map(|verifier| &verifier.changes);
        changes.map(|changes| changes.stamp().number()).sum()
    }

    pub(super) async fn verify_token(
        &self,
        digest: KeyDigest,
        index: u8,
        token: &[u8],
        stamp: Stamp,
    ) -> Found {
        let verifier = &self.verifiers[usize::from(index)].verifier;
        match verifier.verify(token, self.clock.now()).await {
            // A user who could be taken for a key would get its modules and seats.
            Ok(principal) if !principal.holder.as_str().contains('|') => {
                let error = "a token's holder is no `issuer|subject`";
                observe::backend_failed(Backend::Verifier, &BackendError::unavailable(error));
                Found::Unavailable
            }
            Ok(Principal {
                session_of: Some(key),
                expires_at: until,
                confirmation,
                keep_for,
                ..
            }) => {
                let session = Session {
                    key,
                    until,
                    confirmation,
                };
                self.find_session(digest, &session, keep_for, stamp).await
            }
            Ok(principal) => {
                let keep_for = principal.keep_for;
                let fresh_until = micros(self.clock.now().monotonic.saturating_add(keep_for));
                let pass = Pass::of_token(principal, &digest, stamp, fresh_until, &self.rights);
                if !keep_for.is_zero() {
                    self.cache.keep(pass.clone());
                }
                Found::Pass(pass)
            }
            Err(TokenError::Invalid) => Found::Denied(DenialCode::InvalidKey),
            Err(TokenError::Expired) => Found::Denied(DenialCode::ExpiredKey),
            Err(TokenError::Unavailable(source)) => {
                observe::backend_failed(Backend::Verifier, &BackendError::Unavailable(source));
                Found::Unavailable
            }
        }
    }

    /// The key whose session a token is, as it is now.
    async fn find_session(
        &self,
        digest: KeyDigest,
        session: &Session,
        keep_for: Duration,
        stamp: Stamp,
    ) -> Found {
        // A silent store is asked as often about a key's sessions as about the key.
        let keep_for = match self.store_tells {
            true => keep_for,
            false => keep_for.min(self.limits.cache_ttl),
        };
        let fresh_until = micros(self.clock.now().monotonic.saturating_add(keep_for));
        // As gently as about any key.
        let get = async {
            let _turn = self.turns.acquire().await;
            self.store.get(&session.key.id).await
        };
        let record = match tokio::time::timeout(self.limits.lookup_timeout, get).await {
            Ok(Ok(Some(record))) => record,
            Ok(Ok(None)) => return Found::Denied(DenialCode::InvalidKey),
            Ok(Err(error)) => {
                observe::backend_failed(Backend::KeyStore, &error);
                return Found::Unavailable;
            }
            Err(_) => {
                observe::lookup_failed(Backend::KeyStore, Failure::TimedOut);
                return Found::Unavailable;
            }
        };
        let rights = &self.rights;
        match Pass::of_session(record, session, &digest, stamp, fresh_until, rights) {
            Some(pass) => {
                let pass = pass.going_on_from(self.cache.peek(&digest).as_ref());
                if !keep_for.is_zero() {
                    self.cache.keep(pass.clone());
                }
                Found::Pass(pass)
            }
            None => Found::Denied(DenialCode::InvalidKey),
        }
    }

    /// Whether a user's modules are those that his token names.
    pub(super) fn needs_no_ledger(&self, pass: &Pass) -> bool {
        self.user_modules == UserModules::FromToken && pass.state() == State::Token
    }
}
