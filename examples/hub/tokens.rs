//! Bearer tokens beside keys: sessions that the hub itself gives out, and the access tokens of an
//! OAuth issuer.

use std::error::Error;

use axum::Router;
use tower_api_key::ApiKeyLayerBuilder;
#[cfg(feature = "jwt")]
use {
    crate::problem::Problem,
    axum::{Extension, Json, extract::State, routing::post},
    http::StatusCode,
    serde_json::{Value, json},
    std::sync::Arc,
    tower_api_key::{
        Clock, Environment, Grant, KeyFormats, SystemClock,
        jwt::{JwtVerifier, SessionError, SessionTokens, SigningKey},
    },
};

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
        let sessions = match cfg!(feature = "jwt") {
            true => "\nSessions of an hour: POST /manage/v1/sessions with an administrator's key.",
            false => "",
        };
        match &self.issuer {
            Some(issuer) => {
                format!("{sessions}\nAccess tokens of {issuer} are accepted on every route.")
            }
            None => sessions.into(),
        }
    }
}

/// The layer's settings, and a route that begins sessions.
#[cfg(not(feature = "jwt"))]
pub(crate) fn accept(
    builder: ApiKeyLayerBuilder,
    _: &Trusted,
) -> Result<(ApiKeyLayerBuilder, Router), Box<dyn Error>> {
    Ok((builder, Router::new()))
}

/// The layer's settings, and a route that begins sessions.
#[cfg(feature = "jwt")]
pub(crate) fn accept(
    builder: ApiKeyLayerBuilder,
    trusted: &Trusted,
) -> Result<(ApiKeyLayerBuilder, Router), Box<dyn Error>> {
    // A new secret at each start: sessions end with the hub.
    let secret = KeyFormats::default().generate(&Environment::live())?;
    let key = SigningKey::hs256("hub", secret.expose())?;
    let sessions = SessionTokens::builder("https://hub.example", key).build()?;
    let verifier = JwtVerifier::builder().with_issuer(sessions.issuer());
    #[cfg(feature = "oauth")]
    let (verifier, builder) = with_issuer(verifier, builder, trusted)?;
    #[cfg(not(feature = "oauth"))]
    let _ = trusted;
    let router = Router::new()
        .route("/manage/v1/sessions", post(begin))
        .with_state(Arc::new(sessions));
    Ok((builder.with_token_verifier(verifier.build()?), router))
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

/// A session with the rights of the caller, who has to be an administrator.
#[cfg(feature = "jwt")]
async fn begin(
    State(sessions): State<Arc<SessionTokens>>,
    Extension(grant): Extension<Grant>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if !grant.is_administrator() {
        let detail = "Only an administrator begins sessions.";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    match sessions.issue_for(&grant, SystemClock::new().now()) {
        Ok(session) => {
            let token = session.text.expose();
            let body = json!({ "token": token, "expires_at": session.expires_at });
            Ok((StatusCode::CREATED, Json(body)))
        }
        Err(error @ SessionError::OfSession) => {
            Err(Problem::new(StatusCode::FORBIDDEN, error.to_string()))
        }
        Err(error) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Problem::new(status, error.to_string()))
        }
    }
}
