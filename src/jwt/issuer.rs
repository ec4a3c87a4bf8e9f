//! Whose tokens are taken, and under which conditions.

use std::{fmt, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    jwt::{
        algorithm::Algorithm,
        header,
        key_set::{FixedKeys, KeySet, KeySource},
        keys::{KeyError, VerificationKey},
        mapping::ClaimMapping,
    },
    name,
};

/// An issuer whose tokens are taken.
///
/// What it signs with, for whom, and what its tokens call themselves is pinned here; a token
/// chooses only among the keys.
///
/// ```
/// use tower_api_key::jwt::{Issuer, VerificationKey};
/// let key = VerificationKey::from_jwk(r#"{"kty":"OKP","crv":"Ed25519",
///     "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"2026-11"}"#)?;
/// Issuer::new("https://issuer.example").with_audience("https://api.example").with_key(key);
/// # Ok::<(), tower_api_key::jwt::KeyError>(())
/// ```
#[derive(Clone)]
pub struct Issuer {
    url: Box<str>,
    audiences: Vec<Box<str>>,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    keys: Vec<VerificationKey>,
    source: Option<Arc<dyn KeySource>>,
    types: Types,
    mapping: ClaimMapping,
    keep_for: Duration,
    sessions: bool,
}

/// An issuer whose settings go together.
pub(crate) struct Trusted {
    pub(crate) url: Box<str>,
    pub(crate) audiences: Vec<Box<str>>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) leeway: Duration,
    pub(crate) keys: Arc<dyn KeySource>,
    pub(crate) types: Types,
    pub(crate) mapping: ClaimMapping,
    pub(crate) keep_for: Duration,
    /// Whether its tokens are sessions of our own.
    pub(crate) sessions: bool,
}

/// Which `typ` a token's header must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Types {
    /// This one.
    Only(Box<str>),
    /// `at+jwt`, or what says nothing: `JWT`, or no `typ` at all.
    Untyped,
}

impl Types {
    pub(crate) fn take(&self, typ: Option<&str>) -> bool {
        match (self, typ) {
            (Self::Only(only), Some(typ)) => header::is_type(typ, only),
            (Self::Only(_), None) => false,
            (Self::Untyped, None) => true,
            (Self::Untyped, Some(typ)) => {
                header::is_type(typ, "JWT") || header::is_type(typ, ACCESS_TOKEN)
            }
        }
    }

    /// Whether some token is taken by both.
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Untyped, Self::Untyped) => true,
            (Self::Only(typ), other) | (other, Self::Only(typ)) => other.take(Some(typ)),
        }
    }
}

/// Why an issuer cannot be trusted as it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IssuerFlaw {
    /// An issuer is 1 to 256 visible ASCII characters without `|` and `#`.
    #[error("an issuer is 1 to 256 visible ASCII characters without `|` and `#`")]
    Name,
    /// No audience, or an empty one: without one a token for somebody else would be taken.
    #[error("it needs an audience")]
    Audience,
    /// No algorithm.
    #[error("it needs an algorithm")]
    NoAlgorithm,
    /// HS256 together with algorithms that have public keys.
    #[error("secrets and public keys do not go together")]
    MixedAlgorithms,
    /// Neither keys nor a source of keys, or both.
    #[error("it needs keys, or a source of them, and not both")]
    Keys,
    /// A key that no pinned algorithm fits.
    #[error("one of its keys is for none of its algorithms")]
    IdleKey,
    /// A leeway of more than five minutes.
    #[error("a leeway is at most five minutes")]
    Leeway,
    /// An empty type, or `session+jwt` for anything but sessions.
    #[error("a type is not empty, and only sessions are `session+jwt`")]
    Type,
    /// Another issuer of the same name takes tokens of the same type.
    #[error("it is there twice")]
    Twice,
    /// A lifetime of sessions under a second or over a day.
    #[error("sessions last between a second and a day")]
    Lifetime,
    /// Its keys do not make a set.
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl Issuer {
    /// The issuer of this name, compared byte by byte with the claim `iss`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into().into(),
            audiences: Vec::new(),
            algorithms: vec![Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256],
            leeway: Duration::from_secs(30),
            keys: Vec::new(),
            source: None,
            types: Types::Only(ACCESS_TOKEN.into()),
            mapping: ClaimMapping::new(),
            keep_for: Duration::from_secs(300),
            sessions: false,
        }
    }

    /// Sessions of our own.
    pub(crate) fn of_sessions(url: &str, algorithm: Algorithm, keys: Arc<dyn KeySource>) -> Self {
        Self {
            algorithms: vec![algorithm],
            leeway: Duration::ZERO,
            source: Some(keys),
            types: Types::Only(SESSION.into()),
            mapping: ClaimMapping::new()
                .with_scopes_from(Some("scope"))
                .with_modules_from(Some("modules"))
                .with_tier_from(Some("tier")),
            keep_for: Duration::MAX,
            sessions: true,
            ..Self::new(url)
        }
    }

    /// Whom its tokens must be for: one of the audiences given by one call each. By default none,
    /// and one is needed.
    ///
    /// ```
    /// # use tower_api_key::jwt::Issuer;
    /// Issuer::new("https://issuer.example").with_audience("https://api.example");
    /// ```
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into().into());
        self
    }

    /// What its tokens may be signed with. By default EdDSA, ES256 and RS256.
    ///
    /// ```
    /// # use tower_api_key::jwt::{Algorithm, Issuer};
    /// Issuer::new("https://issuer.example").with_algorithms([Algorithm::Es256]);
    /// ```
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far its clock may be off, at most five minutes. By default 30 seconds. So much later than
    /// its `exp` a token ends, and so a grant says.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::jwt::Issuer;
    /// Issuer::new("https://issuer.example").with_leeway(Duration::ZERO);
    /// ```
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// One of its keys, which never change. By default it has none, and needs one or a
    /// [source](Self::with_keys).
    ///
    /// ```
    /// # use tower_api_key::jwt::{Algorithm, Issuer, VerificationKey};
    /// let key = VerificationKey::hs256_secret([7; 32])?;
    /// Issuer::new("billing").with_algorithms([Algorithm::Hs256]).with_key(key);
    /// # Ok::<(), tower_api_key::jwt::KeyError>(())
    /// ```
    #[must_use]
    pub fn with_key(mut self, key: VerificationKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Where its keys come from. By default from nowhere.
    #[must_use]
    pub fn with_keys(mut self, source: impl KeySource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What its tokens call themselves in their header. By default `at+jwt` (RFC 9068 §2.1).
    ///
    /// ```
    /// # use tower_api_key::jwt::Issuer;
    /// Issuer::new("https://issuer.example").with_type("acme+jwt");
    /// ```
    #[must_use]
    pub fn with_type(mut self, typ: impl Into<String>) -> Self {
        self.types = Types::Only(typ.into().into());
        self
    }

    /// Takes tokens that do not say what they are (`JWT`, or no `typ`) beside those that say
    /// `at+jwt`. By default it does not: an ID token could then pass for an access token, and only
    /// the audience tells them apart.
    ///
    /// ```
    /// # use tower_api_key::jwt::Issuer;
    /// Issuer::new("https://issuer.example").without_type();
    /// ```
    #[must_use]
    pub fn without_type(mut self) -> Self {
        self.types = Types::Untyped;
        self
    }

    /// Which claims stand for scopes, modules, tier and name. By default [`ClaimMapping::new`].
    ///
    /// ```
    /// # use tower_api_key::jwt::{ClaimMapping, Issuer};
    /// let mapping = ClaimMapping::new().with_tier_from(Some("tier"));
    /// Issuer::new("https://issuer.example").with_mapping(mapping);
    /// ```
    #[must_use]
    pub fn with_mapping(mut self, mapping: ClaimMapping) -> Self {
        self.mapping = mapping;
        self
    }

    /// How long a verified token is remembered, at most until it expires. By default five minutes: a
    /// key that the issuer withdraws is missed within that time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::jwt::Issuer;
    /// Issuer::new("https://issuer.example").with_keep_for(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn with_keep_for(mut self, keep_for: Duration) -> Self {
        self.keep_for = keep_for;
        self
    }

    /// Its name.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether its settings go together.
    pub(crate) fn check(self) -> Result<Trusted, IssuerFlaw> {
        if !name::visible_ascii(&self.url, LONGEST_ISSUER) || self.url.contains(['|', '#']) {
            return Err(IssuerFlaw::Name);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(|audience| audience.is_empty()) {
            return Err(IssuerFlaw::Audience);
        }
        let symmetric = self
            .algorithms
            .iter()
            .filter(|algorithm| algorithm.is_symmetric());
        match symmetric.count() {
            _ if self.algorithms.is_empty() => return Err(IssuerFlaw::NoAlgorithm),
            0 => {}
            count if count == self.algorithms.len() => {}
            _ => return Err(IssuerFlaw::MixedAlgorithms),
        }
        if self.leeway > MOST_LEEWAY {
            return Err(IssuerFlaw::Leeway);
        }
        let of_session = |typ: &str| header::is_type(typ, SESSION);
        let fitting = match &self.types {
            Types::Only(typ) => !typ.is_empty() && of_session(typ) == self.sessions,
            Types::Untyped => !self.sessions,
        };
        if !fitting {
            return Err(IssuerFlaw::Type);
        }
        let fits = |key: &VerificationKey| self.algorithms.iter().any(|alg| key.fits(*alg));
        if !self.keys.iter().all(fits) {
            return Err(IssuerFlaw::IdleKey);
        }
        let keys = match (self.keys.is_empty(), self.source) {
            (true, Some(source)) => source,
            (false, None) => Arc::new(FixedKeys(Arc::new(KeySet::new(self.keys)?))),
            _ => return Err(IssuerFlaw::Keys),
        };
        Ok(Trusted {
            url: self.url,
            audiences: self.audiences,
            algorithms: self.algorithms,
            leeway: self.leeway,
            keys,
            types: self.types,
            mapping: self.mapping,
            keep_for: self.keep_for,
            sessions: self.sessions,
        })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("url", &self.url)
            .field("audiences", &self.audiences)
            .field("algorithms", &self.algorithms)
            .field("types", &self.types)
            .finish_non_exhaustive()
    }
}

/// RFC 9068 §2.1.
const ACCESS_TOKEN: &str = "at+jwt";
/// Ours alone, so that no access token is taken for a session (RFC 8725 §3.12).
pub(crate) const SESSION: &str = "session+jwt";
const LONGEST_ISSUER: usize = 256;
const MOST_LEEWAY: Duration = Duration::from_secs(300);
