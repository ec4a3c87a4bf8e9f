//! The verifier of tokens that are JWTs.

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    changes::Changes,
    clock::Now,
    jwt::{
        claims,
        header::{self, Header, Parts},
        issuer::{Issuer, IssuerFlaw, Trusted},
        json::{InvalidJson, Object},
        key_set::KeySet,
        self_test,
    },
    token::{LONGEST_TOKEN, Principal, TokenError, TokenVerifier},
};

/// Verifies tokens that are JWTs of issuers it trusts.
///
/// A token is judged in this order, and the first thing wrong ends it:
///
/// 1. It has three parts in base64url without padding and is at most 16 KiB long.
/// 2. Its header and its payload are JSON objects without duplicate members. The header's `alg` is
///    known, and it has no `crit`. Keys that it brings or points at are not looked at.
/// 3. Its `iss` is that of an issuer, and its `typ` one that this issuer's tokens have.
/// 4. Its `alg` is one that the issuer is pinned to, and its `kid` names one of the issuer's keys.
/// 5. The signature is right.
/// 6. `aud` has one of the audiences; `nbf` and `iat` lie in the past; there is a `sub`; mapped
///    claims are of their form; `exp` lies in the future. Only what fails at the last of these is
///    called expired.
///
/// Nobody is asked about a token, so what its issuer revokes is taken until it expires: let tokens be
/// short-lived.
///
/// ```
/// use tower_api_key::{ManualClock, Clock, TokenError, TokenVerifier};
/// use tower_api_key::jwt::{Issuer, JwtVerifier, VerificationKey};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let key = VerificationKey::from_jwk(r#"{"kty":"OKP","crv":"Ed25519",
///     "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"2026-11"}"#)?;
/// let issuer = Issuer::new("https://issuer.example").with_audience("https://api.example");
/// let verifier = JwtVerifier::builder().with_issuer(issuer.with_key(key)).build()?;
///
/// let token = b"eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.";
/// assert!(verifier.recognizes(token));
/// let refused = verifier.verify(token, ManualClock::new().now()).await;
/// assert!(matches!(refused, Err(TokenError::Invalid)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JwtVerifier {
    issuers: Vec<Trusted>,
    changes: Changes,
}

/// Settings of a [`JwtVerifier`].
#[derive(Debug, Default)]
#[must_use]
pub struct JwtVerifierBuilder {
    issuers: Vec<Issuer>,
}

/// Why no verifier, or no issuer of sessions, could be set up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JwtSetupError {
    /// Not one issuer is trusted.
    #[error("no issuer is trusted")]
    NoIssuer,
    /// The settings of an issuer do not go together.
    #[error("the issuer {issuer:?}: {flaw}")]
    Issuer {
        /// Which.
        issuer: String,
        /// Why.
        #[source]
        flaw: IssuerFlaw,
    },
    /// Signatures from the specifications were not verified as they must be.
    #[error("the cryptography does not pass its self-test")]
    Cryptography,
}

impl JwtVerifierBuilder {
    /// Takes this issuer's tokens too. By default none are taken.
    pub fn with_issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// The verifier.
    ///
    /// # Errors
    ///
    /// [`JwtSetupError`] where there is no issuer, where the settings of one do not go together, or
    /// where the cryptography does not pass its self-test.
    pub fn build(self) -> Result<JwtVerifier, JwtSetupError> {
        if self.issuers.is_empty() {
            return Err(JwtSetupError::NoIssuer);
        }
        if !self_test::passes() {
            return Err(JwtSetupError::Cryptography);
        }
        let changes = Changes::new();
        let mut issuers: Vec<Trusted> = Vec::with_capacity(self.issuers.len());
        for issuer in self.issuers {
            let issuer = checked(issuer)?;
            let twice =
                |other: &Trusted| other.url == issuer.url && other.types.overlap(&issuer.types);
            if issuers.iter().any(twice) {
                return Err(flawed(&issuer.url, IssuerFlaw::Twice));
            }
            issuer.keys.watched_by(&changes);
            issuers.push(issuer);
        }
        Ok(JwtVerifier { issuers, changes })
    }
}

/// An issuer whose settings go together.
pub(crate) fn checked(issuer: Issuer) -> Result<Trusted, JwtSetupError> {
    let url = issuer.url().to_owned();
    issuer.check().map_err(|flaw| flawed(&url, flaw))
}

pub(crate) fn flawed(issuer: &str, flaw: IssuerFlaw) -> JwtSetupError {
    let issuer = issuer.chars().take(LONGEST_NAME_IN_AN_ERROR).collect();
    JwtSetupError::Issuer { issuer, flaw }
}

/// How far a token came.
enum Judged<'v> {
    /// To the end.
    Verified(Principal),
    /// To where a key of this issuer is wanted that is not known.
    KeyWanted(&'v Trusted),
}

impl JwtVerifier {
    /// Settings without any issuer.
    pub fn builder() -> JwtVerifierBuilder {
        JwtVerifierBuilder::default()
    }

    /// Judges a token with these keys, or else with those that its issuer has at the moment.
    fn judge(
        &self,
        token: &[u8],
        fetched: Option<&KeySet>,
        now: Now,
    ) -> Result<Judged<'_>, TokenError> {
        let parts = Parts::split(token)?;
        let (header, payload) = (parts.header()?, parts.payload()?);
        let header = object(&header)?;
        let header = Header::read(&header)?;
        let claims = object(&payload)?;
        let iss = claims.text("iss").ok_or(TokenError::Invalid)?;
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| *issuer.url == *iss && issuer.types.take(header.typ))
            .ok_or(TokenError::Invalid)?;
        if !issuer.algorithms.contains(&header.algorithm) {
            return Err(TokenError::Invalid);
        }
        let known;
        let keys = match fetched {
            Some(keys) => Some(keys),
            None => {
                known = issuer.keys.known(now);
                known.as_deref()
            }
        };
        let Some(key) = keys.and_then(|keys| keys.find(header.kid, header.algorithm)) else {
            return Ok(Judged::KeyWanted(issuer));
        };
        if !key.verifies(header.algorithm, parts.message, &parts.signature()?) {
            // It was the only one that fits, and not the one named: there may be another one by now.
            return match fetched.is_none() && (header.kid.is_none() || header.kid != key.kid()) {
                true => Ok(Judged::KeyWanted(issuer)),
                false => Err(TokenError::Invalid),
            };
        }
        claims::principal(&claims, issuer, now.wall).map(Judged::Verified)
    }
}

#[async_trait]
impl TokenVerifier for JwtVerifier {
    fn recognizes(&self, token: &[u8]) -> bool {
        header::looks_like_token(token)
    }

    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError> {
        let issuer = match self.judge(token, None, now)? {
            Judged::Verified(principal) => return Ok(principal),
            Judged::KeyWanted(issuer) => issuer,
        };
        let keys = issuer.keys.refresh(now).await?;
        match self.judge(token, Some(&keys), now)? {
            Judged::Verified(principal) => Ok(principal),
            Judged::KeyWanted(_) => Err(TokenError::Invalid),
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }
}

impl std::fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let issuers = self.issuers.iter().map(|issuer| &issuer.url);
        f.debug_list().entries(issuers).finish()
    }
}

fn object(json: &[u8]) -> Result<Object<'_>, TokenError> {
    Object::parse(json, LONGEST_TOKEN).map_err(|InvalidJson| TokenError::Invalid)
}

const LONGEST_NAME_IN_AN_ERROR: usize = 80;
