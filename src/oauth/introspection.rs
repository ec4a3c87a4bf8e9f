//! Tokens that only the authorization server itself can read (RFC 7662).

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ::http::HeaderValue;
use async_trait::async_trait;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    error::{FetchError, FetchErrorKind, OAuthSetupError},
    http::{HttpClient, basic_authorization},
    url::{EndpointUrl, IssuerUrl},
};
use crate::{
    clock::Now,
    error::BoxError,
    jwt::{ClaimMapping, header::looks_like_token},
    observe,
    token::{Principal, TokenError, TokenVerifier},
};

mod answer;
mod endpoint;

use answer::{Expected, Refusal};
use endpoint::Endpoint;

/// Verifies access tokens by asking their authorization server about each ([RFC 7662]).
///
/// 1. It takes every text that can be a bearer token ([RFC 6750 §2.1][token]) and is no JWT; with a
///    [setting](IntrospectionBuilder::with_jwts) JWTs too. So it comes last of a layer's verifiers.
/// 2. The server answers that a token is `active`, or the token is invalid. What else it says must
///    fit: `iss` is the issuer, `exp` is still to come, `nbf` is not, `token_type` is that of an
///    access token, and `aud` names this service, if an [audience](IntrospectionBuilder::with_audience)
///    is set.
/// 3. A token bound to a client's key (`cnf.jkt`, RFC 9449 §6.2) says so to the layer; one that is
///    bound in another way is invalid.
/// 4. Who it speaks for is `issuer|sub`; where a client acts for nobody else and there is no `sub`, it
///    is `issuer#client|client_id`, which is no user's.
/// 5. Each request asks anew, and a token that was revoked is refused at once;
///    [`with_cache`](IntrospectionBuilder::with_cache) trades that for speed.
/// 6. Any other answer, and none, is an outage (503): an error status, a document that is not that of
///    RFC 7662, a server that does not accept this service's own credentials.
///
/// An answer that takes longer than the layer's
/// [`verification_timeout`](crate::ApiKeyLayerBuilder::with_verification_timeout) is an outage too.
///
/// ```no_run
/// use tower_api_key::{ApiKeyLayerBuilder, oauth::{ClientCredentials, Introspection}};
///
/// # fn set(layer: ApiKeyLayerBuilder, secret: String) -> Result<ApiKeyLayerBuilder, Box<dyn std::error::Error>> {
/// let client = ClientCredentials::basic("realms-api", secret);
/// let introspection = Introspection::builder("https://issuer.example.com", client)
///     .with_audience("https://api.example.com")
///     .build()?;
/// let layer = layer.with_token_verifier(introspection);
/// # Ok(layer) }
/// ```
///
/// [RFC 7662]: https://www.rfc-editor.org/rfc/rfc7662
/// [token]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
pub struct Introspection {
    client: HttpClient,
    endpoint: Endpoint,
    authentication: Authentication,
    expected: Expected,
    takes_jwts: bool,
    told_untyped: AtomicBool,
}

/// How this service proves to the authorization server who it is ([RFC 6749
/// §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)). Its `Debug` shows no secret.
#[derive(Clone)]
pub struct ClientCredentials {
    id: String,
    secret: Zeroizing<String>,
    by_post: bool,
}

impl ClientCredentials {
    /// In the `Authorization` header (`client_secret_basic`): what each server understands.
    pub fn basic(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: Zeroizing::new(secret.into()),
            by_post: false,
        }
    }

    /// In the body (`client_secret_post`), for servers that want it there.
    pub fn post(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            by_post: true,
            ..Self::basic(id, secret)
        }
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("id", &self.id)
            .field("by_post", &self.by_post)
            .finish_non_exhaustive()
    }
}

/// The credentials as they are sent.
enum Authentication {
    Header(HeaderValue),
    Fields(ClientCredentials),
}

/// The settings of an [`Introspection`].
#[must_use = "settings do nothing until `build` is called"]
pub struct IntrospectionBuilder {
    issuer: String,
    credentials: ClientCredentials,
    endpoint: Option<String>,
    audiences: Vec<Box<str>>,
    mapping: ClaimMapping,
    client: Option<HttpClient>,
    cache: Duration,
    takes_jwts: bool,
    needs_token_type: bool,
}

/// Without the endpoint, which may have a secret in it until it is checked.
impl fmt::Debug for IntrospectionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionBuilder")
            .field("credentials", &self.credentials)
            .field("audiences", &self.audiences)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Introspection {
    /// Asks `issuer`, known by exactly this text, as the client with these credentials.
    pub fn builder(
        issuer: impl Into<String>,
        credentials: ClientCredentials,
    ) -> IntrospectionBuilder {
        IntrospectionBuilder {
            issuer: issuer.into(),
            credentials,
            endpoint: None,
            audiences: Vec::new(),
            mapping: ClaimMapping::default(),
            client: None,
            cache: Duration::ZERO,
            takes_jwts: false,
            needs_token_type: true,
        }
    }

    /// What the server answers about a token.
    async fn ask(&self, url: &EndpointUrl, token: &str) -> Result<bytes::Bytes, TokenError> {
        // The hint spares the server a search (RFC 7662 §2.1).
        let mut fields = vec![("token", token), ("token_type_hint", "access_token")];
        let header = match &self.authentication {
            Authentication::Header(header) => Some(header),
            Authentication::Fields(credentials) => {
                fields.push(("client_id", &credentials.id));
                fields.push(("client_secret", &credentials.secret));
                None
            }
        };
        let answer = self.client.post_form(url, &fields, header).await;
        answer.map_err(|error| match error.kind() {
            FetchErrorKind::Status(401 | 403) => unavailable(ClientRefused(error)),
            // RFC 6749 §5.2: 401 is for who sent a header.
            FetchErrorKind::Status(400) if header.is_none() => unavailable(ClientRefused(error)),
            _ => unavailable(error),
        })
    }
}

#[async_trait]
impl TokenVerifier for Introspection {
    fn recognizes(&self, token: &[u8]) -> bool {
        is_b64token(token) && (self.takes_jwts || !looks_like_token(token))
    }

    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError> {
        let token = std::str::from_utf8(token).map_err(|_| TokenError::Invalid)?;
        let url = self.endpoint.url(&self.client, now).await;
        let url = url.map_err(unavailable)?;
        let answer = self.ask(&url, token).await?;
        match self.expected.judge(&answer, now.wall) {
            Ok(principal) => Ok(principal),
            Err(Refusal::Invalid) => Err(TokenError::Invalid),
            Err(Refusal::Expired) => Err(TokenError::Expired),
            Err(Refusal::Untyped) => {
                if !self.told_untyped.swap(true, Ordering::Relaxed) {
                    observe::untyped_token(&self.expected.issuer);
                }
                Err(TokenError::Invalid)
            }
            Err(Refusal::Malformed(why)) => {
                let error = FetchError::new(&url, FetchErrorKind::Malformed);
                Err(unavailable(error.with_source(why)))
            }
        }
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("issuer", &self.expected.issuer)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl IntrospectionBuilder {
    /// Where to ask. By default where the issuer's own document says: it is read at the first token,
    /// and again after a failure, 5 s later at the earliest.
    ///
    /// ```
    /// # |builder: tower_api_key::oauth::IntrospectionBuilder|
    /// builder.with_endpoint("https://issuer.example.com/introspect")
    /// # ;
    /// ```
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Takes only tokens that are meant for this audience, or for another one set so: their `aud`
    /// names it exactly. By default `aud` is not looked at, and whatever tokens the server tells this
    /// client of are good here.
    ///
    /// ```
    /// # |builder: tower_api_key::oauth::IntrospectionBuilder|
    /// builder.with_audience("https://api.example.com")
    /// # ;
    /// ```
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into().into());
        self
    }

    /// Which members of the answer say the scopes, the tier, the modules and the name. By default as
    /// in [`ClaimMapping`]; without a name there, `username` is the name.
    ///
    /// ```
    /// # use tower_api_key::{jwt::ClaimMapping, oauth::IntrospectionBuilder};
    /// # fn set(builder: IntrospectionBuilder, mapping: ClaimMapping) -> IntrospectionBuilder {
    /// builder.with_mapping(mapping)
    /// # }
    /// ```
    pub fn with_mapping(mut self, mapping: ClaimMapping) -> Self {
        self.mapping = mapping;
        self
    }

    /// Asks through this HTTP client: for an authority of your own, another time limit. By default one
    /// that trusts the operating system's root certificates.
    ///
    /// ```
    /// # use tower_api_key::oauth::{HttpClient, IntrospectionBuilder};
    /// # fn set(builder: IntrospectionBuilder, client: HttpClient) -> IntrospectionBuilder {
    /// builder.with_client(client)
    /// # }
    /// ```
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = Some(client);
        self
    }

    /// Remembers an answer for so long, never beyond the token's expiry (RFC 7662 §4): so long a token
    /// that was revoked may go on working. By default not at all.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::oauth::IntrospectionBuilder|
    /// builder.with_cache(Duration::from_secs(10))
    /// # ;
    /// ```
    pub fn with_cache(mut self, keep_for: Duration) -> Self {
        self.cache = keep_for;
        self
    }

    /// Whether JWTs are asked about too, for issuers whose own word on a JWT counts more than its
    /// signature. By default not: they are for a verifier that has the keys.
    ///
    /// ```
    /// # |builder: tower_api_key::oauth::IntrospectionBuilder|
    /// builder.with_jwts(true)
    /// # ;
    /// ```
    pub fn with_jwts(mut self, taken: bool) -> Self {
        self.takes_jwts = taken;
        self
    }

    /// Takes tokens of which the server does not say the `token_type`. By default they are invalid,
    /// and the first one is told as an event: some servers say by its absence that a token is no
    /// access token but a refresh token, which is active for longer and was never meant to be shown
    /// here.
    ///
    /// ```
    /// # |builder: tower_api_key::oauth::IntrospectionBuilder|
    /// builder.without_token_type()
    /// # ;
    /// ```
    pub fn without_token_type(mut self) -> Self {
        self.needs_token_type = false;
        self
    }

    /// The verifier. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`OAuthSetupError`]: a URL that cannot be used, an empty id, secret or audience, no root
    /// certificate to trust.
    pub fn build(self) -> Result<Introspection, OAuthSetupError> {
        let issuer = IssuerUrl::parse(&self.issuer)?;
        if self.credentials.id.is_empty() || self.credentials.secret.is_empty() {
            return Err(OAuthSetupError::Setting("an empty client id or secret"));
        }
        if self.audiences.iter().any(|audience| audience.is_empty()) {
            return Err(OAuthSetupError::Setting("an empty audience"));
        }
        let client = match self.client {
            Some(client) => client,
            None => HttpClient::builder().build()?,
        };
        let endpoint = match self.endpoint {
            Some(url) => Endpoint::at(EndpointUrl::parse(&url)?),
            None => Endpoint::of(issuer),
        };
        let authentication = if self.credentials.by_post {
            Authentication::Fields(self.credentials)
        } else {
            let ClientCredentials { id, secret, .. } = &self.credentials;
            Authentication::Header(basic_authorization(id, secret))
        };
        Ok(Introspection {
            client,
            endpoint,
            authentication,
            expected: Expected {
                issuer: self.issuer,
                audiences: self.audiences,
                mapping: self.mapping,
                cache: self.cache,
                needs_token_type: self.needs_token_type,
            },
            takes_jwts: self.takes_jwts,
            told_untyped: AtomicBool::new(false),
        })
    }
}

/// For those who run the service: no client can do anything about it.
#[derive(Debug, Error)]
#[error(
    "the authorization server refuses this service as its client: check the client id, the secret, \
     how they are sent (basic or post) and whether this client may introspect"
)]
struct ClientRefused(#[source] FetchError);

fn unavailable(error: impl Into<BoxError>) -> TokenError {
    TokenError::Unavailable(error.into())
}

/// RFC 6750 §2.1, `b64token`.
fn is_b64token(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let token = &text[..text.len() - padding];
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    !token.is_empty() && token.iter().all(allowed)
}
