//! Sessions of our own: tokens that this service gives out and takes back.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use thiserror::Error;

mod keyring;
mod session;
mod signing_key;

pub use session::Session;
pub use signing_key::SigningKey;

use self::{keyring::Keyring, session::Payload};
use crate::{
    changes::Changes,
    clock::{Now, Timestamp},
    grant::Grant,
    jwt::{
        claims,
        issuer::{Issuer, IssuerFlaw},
        json::{Json, Object},
        key_set::{KeySet, KeySource, Watchers},
        keys::{KeyError, VerificationKey},
        self_test,
        verifier::{JwtSetupError, checked, flawed},
    },
    key_format::KeyText,
    key_store::{KeyFingerprint, KeyId},
    token::{LONGEST_TOKEN, Principal, SessionKey, TokenError},
};

/// Gives out session tokens, and takes them as an [`Issuer`] of a
/// [`JwtVerifier`](crate::jwt::JwtVerifier).
///
/// A session is a JWT whose type is `session+jwt`: no access token is taken for one, and it is taken
/// for none. It ends by itself; all those signed with one key end when that key is
/// [withdrawn](Self::withdraw).
///
/// - The session of a key ([`issue_for`](Self::issue_for) its grant) has the rights, the seats and
///   the quota of that key as they are at each request, and is over when the key is. It says nothing
///   of them itself.
/// - The session of a user ([`issue`](Self::issue), or `issue_for` the grant of a token) carries
///   what the user may do.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{Clock, ManualClock, TokenVerifier};
/// use tower_api_key::jwt::{JwtVerifier, Session, SessionTokens, SigningKey};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// // From your configuration: 32 random bytes or more.
/// let secret = [7; 32];
/// let sessions = SessionTokens::builder("https://hub.example", SigningKey::hs256("2026-11", secret)?)
///     .with_lifetime(Duration::from_secs(900))
///     .build()?;
/// let verifier = JwtVerifier::builder().with_issuer(sessions.issuer()).build()?;
///
/// let now = ManualClock::new().now();
/// let token = sessions.issue(&Session::of("user-7").with_name("Ada"), now)?;
/// let principal = verifier.verify(token.text.expose().as_bytes(), now).await?;
/// assert_eq!(principal.holder.as_str(), "https://hub.example|user-7");
/// assert_eq!(principal.expires_at, Some(token.expires_at));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SessionTokens(Arc<Shared>);

struct Shared {
    url: Box<str>,
    lifetime: Duration,
    keyring: ArcSwap<Keyring>,
    watchers: Watchers,
    /// One change of the keys at a time.
    changing: Mutex<()>,
}

/// Settings of [`SessionTokens`].
#[derive(Debug)]
#[must_use]
pub struct SessionTokensBuilder {
    url: Box<str>,
    key: SigningKey,
    accepted: Vec<VerificationKey>,
    lifetime: Duration,
}

/// A session token that was just given out.
#[derive(Debug)]
#[non_exhaustive]
pub struct SessionToken {
    /// Its text, to be sent as `Authorization: Bearer`.
    pub text: KeyText,
    /// The first instant at which it is no longer valid.
    pub expires_at: Timestamp,
}

/// Why no session was given out, or no key withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A subject is 1 to 255 visible ASCII characters.
    #[error("a subject is 1 to 255 visible ASCII characters")]
    Subject,
    /// A name is 1 to 200 characters, none of them a control character.
    #[error("a name is 1 to 200 characters, none of them a control character")]
    Name,
    /// With so many scopes and modules the token would be over 16 KiB.
    #[error("the session has more scopes or modules than a token can carry")]
    TooLarge,
    /// The caller came with a session: no session prolongs itself.
    #[error("a session does not begin another one")]
    OfSession,
    /// What the session would rest on is over within a second.
    #[error("the session would be over at once")]
    Over,
    /// The key cannot sign.
    #[error("the session could not be signed")]
    Signing,
    /// The key that sessions are signed with cannot be withdrawn: rotate it first.
    #[error("this key is the one that sessions are signed with")]
    CurrentKey,
}

impl SessionTokensBuilder {
    /// Takes sessions that are signed with this key too: one before, or one that another process
    /// already signs with. It must have an id. By default only those signed with the current key.
    ///
    /// ```
    /// # use tower_api_key::jwt::{SessionTokens, SigningKey, VerificationKey};
    /// let before = VerificationKey::hs256_secret([6; 32])?.with_kid("2026-10")?;
    /// SessionTokens::builder("https://hub.example", SigningKey::hs256("2026-11", [7; 32])?)
    ///     .with_accepted_key(before);
    /// # Ok::<(), tower_api_key::jwt::KeyError>(())
    /// ```
    pub fn with_accepted_key(mut self, key: VerificationKey) -> Self {
        self.accepted.push(key);
        self
    }

    /// How long a session lasts, a second to a day. By default an hour.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::jwt::{SessionTokens, SigningKey};
    /// SessionTokens::builder("https://hub.example", SigningKey::hs256("2026-11", [7; 32])?)
    ///     .with_lifetime(Duration::from_secs(900));
    /// # Ok::<(), tower_api_key::jwt::KeyError>(())
    /// ```
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Where sessions are given out.
    ///
    /// # Errors
    ///
    /// [`JwtSetupError`] where the settings do not go together, or where the cryptography does not
    /// pass its self-test.
    pub fn build(self) -> Result<SessionTokens, JwtSetupError> {
        let url = self.url.clone();
        let flawed = |flaw| flawed(&url, flaw);
        if !(LEAST_LIFETIME..=MOST_LIFETIME).contains(&self.lifetime) {
            return Err(flawed(IssuerFlaw::Lifetime));
        }
        if !self_test::passes() {
            return Err(JwtSetupError::Cryptography);
        }
        let keyring =
            Keyring::new(self.key, self.accepted).map_err(|error| flawed(error.into()))?;
        let tokens = SessionTokens(Arc::new(Shared {
            url: self.url,
            lifetime: self.lifetime,
            keyring: ArcSwap::from_pointee(keyring),
            watchers: Watchers::default(),
            changing: Mutex::new(()),
        }));
        checked(tokens.issuer())?;
        Ok(tokens)
    }
}

impl SessionTokens {
    /// Sessions of the service of this name, which is their `iss` and their `aud`.
    pub fn builder(url: impl Into<String>, key: SigningKey) -> SessionTokensBuilder {
        SessionTokensBuilder {
            url: url.into().into(),
            key,
            accepted: Vec::new(),
            lifetime: Duration::from_secs(3_600),
        }
    }

    /// The issuer of these sessions, for a [`JwtVerifier`](crate::jwt::JwtVerifier): it takes the
    /// keys as they are at each moment, and no leeway.
    pub fn issuer(&self) -> Issuer {
        let algorithm = self.0.keyring.load().algorithm();
        Issuer::of_sessions(&self.0.url, algorithm, Arc::clone(&self.0) as _)
            .with_audience(&*self.0.url)
    }

    /// Begins a session of a user.
    ///
    /// # Errors
    ///
    /// [`SessionError`] where the session's texts are out of bounds, or it could not be signed.
    pub fn issue(&self, session: &Session, now: Now) -> Result<SessionToken, SessionError> {
        session.check()?;
        let holder = claims::holder(&self.0.url, session.subject());
        let holder = holder.map_err(|_| SessionError::Subject)?;
        self.sign(session.payload(holder.as_str()), None, now)
    }

    /// Begins a session with a caller's rights, which lasts no longer than the credential did.
    ///
    /// A key's session follows its key; that of a token's holder carries scopes, tier, modules, name
    /// and administration as they were granted now, and is bound to its sender where the token was
    /// (DPoP).
    ///
    /// # Errors
    ///
    /// [`SessionError::OfSession`] where the caller came with a key's session, and others as
    /// [`issue`](Self::issue).
    pub fn issue_for(&self, grant: &Grant, now: Now) -> Result<SessionToken, SessionError> {
        if grant.is_session() {
            return Err(SessionError::OfSession);
        }
        let until = grant.expires_at();
        if let Some(key) = grant.session_key() {
            let fingerprint = BASE64_URL_SAFE_NO_PAD.encode(key.fingerprint.as_bytes());
            let payload = Payload::of_key(key.id.as_str(), &fingerprint);
            return self.sign(payload, until, now);
        }
        let rights = grant.pass().rights();
        let payload = Payload {
            name: Some(grant.name()).filter(|name| !name.is_empty()),
            scopes: &rights.scopes,
            tier: rights.tier.as_ref(),
            modules: &rights.carried,
            administrator: rights.administrator,
            confirmation: grant.pass().confirmation().map(Into::into),
            ..Payload::of_holder(grant.principal())
        };
        self.sign(payload, until, now)
    }

    fn sign(
        &self,
        payload: Payload<'_>,
        until: Option<Timestamp>,
        now: Now,
    ) -> Result<SessionToken, SessionError> {
        let end = now.wall.saturating_add(self.0.lifetime);
        let end = until.map_or(end, |until| until.min(end)).unix_seconds();
        if end <= now.wall.unix_seconds() {
            return Err(SessionError::Over);
        }
        let claims = payload.claims(&self.0.url, now.wall.unix_seconds(), end);
        let text = self.0.keyring.load().signing().token(&claims)?;
        if text.expose().len() > LONGEST_TOKEN {
            return Err(SessionError::TooLarge);
        }
        let expires_at = Timestamp::from_unix_seconds(end);
        Ok(SessionToken { text, expires_at })
    }

    /// Signs with this key from now on. Sessions signed with the one before stay valid until they
    /// end: that key is forgotten after twice a session's lifetime.
    ///
    /// Where several processes share their sessions, let each [accept](Self::accept) the new key
    /// before one of them signs with it, and let all of them sign with it within one lifetime.
    ///
    /// # Errors
    ///
    /// [`KeyError::Duplicate`] where the current key has the same id, [`KeyError::Unsupported`]
    /// where the algorithm is another one, [`KeyError::TooMany`].
    pub fn rotate(&self, key: SigningKey, now: Now) -> Result<(), KeyError> {
        // Another process may sign with the one before for as long again, until it rotates too.
        let retired_at = now
            .wall
            .saturating_add(self.0.lifetime)
            .saturating_add(self.0.lifetime);
        self.0.change(|keyring| keyring.rotated(key, retired_at))
    }

    /// Takes sessions that are signed with this key too, which must have an id.
    ///
    /// # Errors
    ///
    /// [`KeyError::Duplicate`] where a key has the same id, [`KeyError::KeyId`] where it has none,
    /// [`KeyError::Unsupported`] where the algorithm is another one, [`KeyError::TooMany`].
    pub fn accept(&self, key: VerificationKey) -> Result<(), KeyError> {
        self.0.change(|keyring| keyring.accepting(key))
    }

    /// Ends all sessions that were signed with the key of this id, at once, and answers whether
    /// there was one. Where the key is in wrong hands [rotate](Self::rotate) and withdraw in one go:
    /// who has a user's session may begin another one with it, signed with the key that is current.
    ///
    /// # Errors
    ///
    /// [`SessionError::CurrentKey`] where it is the one that sessions are signed with.
    pub fn withdraw(&self, kid: &str) -> Result<bool, SessionError> {
        let _one_at_a_time = self.0.changing.lock();
        let keyring = self.0.keyring.load();
        if keyring.signing().kid() == kid {
            return Err(SessionError::CurrentKey);
        }
        let Some(without) = keyring.without(kid) else {
            return Ok(false);
        };
        self.0.keyring.store(Arc::new(without));
        self.0.watchers.tell_everything();
        Ok(true)
    }
}

impl Shared {
    fn change(
        &self,
        change: impl FnOnce(&Keyring) -> Result<Keyring, KeyError>,
    ) -> Result<(), KeyError> {
        let _one_at_a_time = self.changing.lock();
        let changed = change(&self.keyring.load())?;
        self.keyring.store(Arc::new(changed));
        Ok(())
    }
}

#[async_trait]
impl KeySource for Shared {
    fn known(&self, now: Now) -> Option<Arc<KeySet>> {
        let keyring = self.keyring.load();
        if !keyring.has_retired(now.wall) {
            return Some(keyring.keys());
        }
        let _one_at_a_time = self.changing.lock();
        let current = Arc::new(self.keyring.load().after(now.wall));
        self.keyring.store(Arc::clone(&current));
        Some(current.keys())
    }

    async fn refresh(&self, _now: Now) -> Result<Arc<KeySet>, TokenError> {
        Ok(self.keyring.load().keys())
    }

    fn watched_by(&self, changes: &Changes) {
        self.watchers.add(changes);
    }
}

impl fmt::Debug for SessionTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTokens")
            .field("url", &self.0.url)
            .field("lifetime", &self.0.lifetime)
            .finish_non_exhaustive()
    }
}

/// Whom a session speaks for: the subject is a holder (`issuer|subject`), or the id of a key, which
/// has no `|`.
pub(crate) fn principal(
    claims: &Object<'_>,
    subject: &str,
    url: &str,
) -> Result<Principal, TokenError> {
    if !subject.contains('|') {
        let mut principal = Principal::new(claims::holder(url, subject)?);
        let id = KeyId::new(subject).map_err(|_| TokenError::Invalid)?;
        let fingerprint = claims
            .text(KEY)
            .and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .map(KeyFingerprint::from_bytes)
            .ok_or(TokenError::Invalid)?;
        principal.session_of = Some(SessionKey { id, fingerprint });
        return Ok(principal);
    }
    let holder = subject.try_into().map_err(|_| TokenError::Invalid)?;
    let mut principal = Principal::new(holder);
    principal.administrator = match claims.get(ADMINISTRATOR) {
        None => false,
        Some(Json::Bool(administrator)) => *administrator,
        Some(_) => return Err(TokenError::Invalid),
    };
    Ok(principal)
}

/// The claim with the fingerprint of a key's text.
const KEY: &str = "key";
const ADMINISTRATOR: &str = "administrator";
const LEAST_LIFETIME: Duration = Duration::from_secs(1);
const MOST_LIFETIME: Duration = Duration::from_secs(24 * 3_600);
