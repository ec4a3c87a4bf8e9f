//! Bearer tokens beside keys: sessions that the hub itself gives out, and the access tokens of an
//! OAuth issuer.

use std::error::Error;

#[cfg(feature = "jwt")]
use tower_api_key::jwt::{JwtVerifier, SessionTokens, SigningKey};
use tower_api_key::{ApiKeyLayerBuilder, KeyText};

/// What begins sessions.
#[cfg(feature = "jwt")]
pub(crate) type Sessions = SessionTokens;
/// Nothing does.
#[cfg(not(feature = "jwt"))]
pub(crate) type Sessions = ();

/// An issuer whose access tokens open every route that its scopes open.
#[derive(Default)]
pub(crate) struct Trusted {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    /// `ID:SECRET`, for tokens that only the issuer can read.
    pub(crate) introspection_client: Option<String>,
}

impl Trusted {
    /// What is wrong with it, if anything is.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        let client = self.introspection_client.as_deref();
        match (&self.issuer, &self.audience) {
            (None, None) if client.is_none() => None,
            _ if cfg!(not(feature = "oauth")) => Some("--issuer needs the feature `oauth`"),
            (Some(_), Some(_)) if client.is_some_and(|client| !client.contains(':')) => {
                Some("--introspection-client is given no ID:SECRET")
            }
            (Some(_), Some(_)) => None,
            _ => Some("--issuer and --audience belong together, and to --introspection-client"),
        }
    }

    /// What it says when it starts.
    pub(crate) fn text(&self) -> String {
        match &self.issuer {
            Some(issuer) => format!("\nAccess tokens of {issuer} are accepted on every route."),
            None => String::new(),
        }
    }
}

/// The layer's settings, and what begins sessions.
#[cfg(not(feature = "jwt"))]
pub(crate) fn accept(
    builder: ApiKeyLayerBuilder,
    _: &Trusted,
    _: &KeyText,
) -> Result<(ApiKeyLayerBuilder, Sessions), Box<dyn Error>> {
    Ok((builder, ()))
}

/// The layer's settings, and what begins sessions.
#[cfg(feature = "jwt")]
pub(crate) fn accept(
    builder: ApiKeyLayerBuilder,
    trusted: &Trusted,
    secret: &KeyText,
) -> Result<(ApiKeyLayerBuilder, Sessions), Box<dyn Error>> {
    let key = SigningKey::hs256("hub", secret.expose())?;
    let sessions = SessionTokens::builder("https://hub.example", key).build()?;
    let verifier = JwtVerifier::builder().with_issuer(sessions.issuer());
    #[cfg(feature = "oauth")]
    let (verifier, builder) = with_issuer(verifier, builder, trusted)?;
    #[cfg(not(feature = "oauth"))]
    let _ = trusted;
    Ok((builder.with_token_verifier(verifier.build()?), sessions))
}

#[cfg(feature = "oauth")]
fn with_issuer(
    verifier: tower_api_key::jwt::JwtVerifierBuilder,
    builder: ApiKeyLayerBuilder,
    trusted: &Trusted,
) -> Result<(tower_api_key::jwt::JwtVerifierBuilder, ApiKeyLayerBuilder), Box<dyn Error>> {
    use tower_api_key::{
        jwt::Issuer,
        oauth::{ClientCredentials, Introspection, RemoteKeys},
    };
    let Trusted {
        issuer: Some(url),
        audience: Some(audience),
        introspection_client,
    } = trusted
    else {
        return Ok((verifier, builder));
    };
    let keys = RemoteKeys::discover(url).build()?;
    let issuer = Issuer::new(url).with_audience(audience).with_keys(keys);
    let verifier = verifier.with_issuer(issuer);
    let mut builder = builder;
    if let Some((id, secret)) = introspection_client
        .as_deref()
        .and_then(|c| c.split_once(':'))
    {
        let client = ClientCredentials::basic(id, secret);
        let introspection = Introspection::builder(url, client).with_audience(audience);
        builder = builder.with_token_verifier(introspection.build()?);
    }
    Ok((verifier, builder))
}
