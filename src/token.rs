//! The contract of token verifiers: bearer tokens that are no keys.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    changes::Changes,
    clock::{Now, Timestamp},
    error::BoxError,
    key_store::{KeyDigest, KeyFingerprint, KeyId, Scope, Tier},
    license_ledger::{Holder, Module},
};

/// Whom a token speaks for, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principal {
    /// The key whose session the token is. It then has that key's rights, modules, seats and quota, as
    /// they are at each request, and is over when the key is; of all else here only `confirmation`,
    /// `expires_at` and `keep_for` count.
    pub session_of: Option<SessionKey>,
    /// Who, as `issuer|subject`: with a `|`, which no [`KeyId`] has, so that it is
    /// never taken for a key.
    pub holder: Holder,
    /// A name for people.
    pub name: Option<String>,
    /// The scopes granted.
    pub scopes: Vec<Scope>,
    /// The rate tier; nothing: the default one.
    pub tier: Option<Tier>,
    /// The modules the token itself grants, for ledgers that keep no assignments.
    pub modules: Vec<Module>,
    /// Whether it may administer.
    pub administrator: bool,
    /// The key of the client that the token is bound to (`cnf.jkt`, RFC 9449 §6.1): such a token is
    /// worth nothing without a proof that its sender has that key.
    pub confirmation: Option<KeyThumbprint>,
    /// The first instant at which the token is no longer valid.
    pub expires_at: Option<Timestamp>,
    /// How long the answer may be remembered; the token's expiry ends it in any case.
    pub keep_for: Duration,
}

impl Principal {
    /// Someone without any rights, whose token is verified anew for each request. The holder must
    /// have a `|` in it.
    pub fn new(holder: Holder) -> Self {
        Self {
            session_of: None,
            holder,
            name: None,
            scopes: Vec::new(),
            tier: None,
            modules: Vec::new(),
            administrator: false,
            confirmation: None,
            expires_at: None,
            keep_for: Duration::ZERO,
        }
    }
}

/// A key by its id, with what tells the text that a session was begun with: a new text ends it, as soon
/// as the old one no longer works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionKey {
    /// The key's public id.
    pub id: KeyId,
    /// Of the text that the session was begun with.
    pub fingerprint: KeyFingerprint,
}

impl SessionKey {
    /// The key of this id, by the text that has this digest.
    pub fn new(id: KeyId, digest: &KeyDigest) -> Self {
        Self {
            id,
            fingerprint: digest.fingerprint(),
        }
    }
}

/// A public key by its SHA-256 thumbprint ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyThumbprint([u8; 32]);

impl KeyThumbprint {
    /// The thumbprint of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why a token was not verified.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is not valid, for whatever reason: the client sees 401 `invalid_key`.
    #[error("the token is invalid")]
    Invalid,
    /// It was valid once: the client sees 401 `expired_key`.
    #[error("the token has expired")]
    Expired,
    /// Nobody could be asked: the client sees 503.
    #[error("the token cannot be verified at the moment")]
    Unavailable(#[source] BoxError),
}

/// Where the modules of users come from, who have a token instead of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UserModules {
    /// The ledger assigns them to `issuer|subject`, as it does to a key, and reserves seats for them.
    #[default]
    FromLedger,
    /// The token names them ([`Principal::modules`]), and none of them needs a seat: licenses are for
    /// keys only. The ledger is not asked.
    FromToken,
}

/// Verifies bearer tokens that are no keys.
///
/// # Contract
///
/// 1. [`recognizes`](Self::recognizes) decides by the token's shape alone, blocks on nothing and
///    allocates nothing. Whoever recognizes a token decides about it: there is no second guess.
/// 2. A text in one of the layer's own key formats is never asked.
/// 3. [`verify`](Self::verify) judges against `now`, and answers an outage as such, never as an
///    invalid token.
/// 4. What was verified is remembered for [`Principal::keep_for`]. A verifier that withdraws a key, or
///    whatever else its answers rest on, tells [`changes`](Self::changes) `everything`, before whoever
///    withdrew it is answered: the layer then verifies each token anew.
#[async_trait]
pub trait TokenVerifier: Send + Sync + 'static {
    /// Whether a text is one of its tokens by shape.
    fn recognizes(&self, token: &[u8]) -> bool;

    /// Whom the token speaks for.
    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError>;

    /// Where it tells that its earlier answers no longer hold. By default they hold as long as they
    /// are remembered.
    fn changes(&self) -> Option<&Changes> {
        None
    }
}

/// A shared verifier is a verifier, also behind `Arc<dyn TokenVerifier>`.
#[async_trait]
impl<T: TokenVerifier + ?Sized> TokenVerifier for Arc<T> {
    fn recognizes(&self, token: &[u8]) -> bool {
        (**self).recognizes(token)
    }

    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError> {
        (**self).verify(token, now).await
    }

    fn changes(&self) -> Option<&Changes> {
        (**self).changes()
    }
}

/// Bytes: a longer token is invalid without being hashed.
pub(crate) const LONGEST_TOKEN: usize = 16 * 1_024;
