//! API keys beside the access tokens of any OAuth 2.0 issuer: one route takes both, and its handler
//! sees one `Grant`.
//!
//! `cargo run --example oauth --features oauth,axum -- --issuer URL --audience AUD` serves on
//! 127.0.0.1:3000. Tokens that are JWTs are verified by the keys which the issuer publishes. Where it
//! issues opaque ones, `--introspection-client ID:SECRET` is the client that this service is to the
//! issuer, which is then asked about each of them. `--listen ADDR` serves elsewhere on this machine.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to people"
)]

use std::{env, error::Error, net::SocketAddr, process::ExitCode};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower::Layer;
use tower_api_key::{
    Actor, ApiKeyLayer, Grant, MemoryKeyStore, MemoryLedger, NewKey, RouteModules, Rule, Scope,
    jwt::{Issuer, JwtVerifier},
    oauth::{ClientCredentials, Introspection, RemoteKeys, ResourceMetadata},
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("oauth: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Err(error) = run(&options).await else {
        return ExitCode::SUCCESS;
    };
    eprint!("oauth: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = listener.local_addr()?;
    let (service, key) = service(options, address).await?;
    println!("curl -H 'X-API-Key: {key}' http://{address}/v1/realms");
    println!("curl -H 'Authorization: Bearer TOKEN' http://{address}/v1/realms");
    println!("curl http://{address}/.well-known/oauth-protected-resource  # who gives out TOKENs");
    axum::serve(listener, service).await?;
    Ok(())
}

/// The guarded service, and a key for it.
pub(crate) async fn service(
    options: &Options,
    address: SocketAddr,
) -> Result<(Router, String), Box<dyn Error>> {
    // Fetched now, so that a wrong URL is told here and not to the first client.
    let keys = RemoteKeys::discover(&options.issuer).build()?;
    keys.prefetch().await?;
    let issuer = Issuer::new(&options.issuer)
        .with_audience(&options.audience)
        .with_keys(keys);
    let jwts = JwtVerifier::builder().with_issuer(issuer).build()?;

    let metadata = ResourceMetadata::builder(format!("http://{address}"))
        .with_authorization_server(&options.issuer)
        .with_scopes(SCOPES)
        .build()?;
    let map = RouteModules::builder()
        .get(
            "/v1/realms",
            Rule::authenticated().with_scope("read:realms"),
        )
        .post(
            "/v1/realms",
            Rule::authenticated().with_scope("write:realms"),
        )
        .any(metadata.path(), Rule::public())
        .build()?;

    let mut layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
        .with_resource_metadata(metadata.url())
        .with_token_verifier(jwts);
    if let Some((id, secret)) = &options.introspection_client {
        let opaque = Introspection::builder(&options.issuer, ClientCredentials::basic(id, secret))
            .with_audience(&options.audience)
            .build()?;
        layer = layer.with_token_verifier(opaque);
    }
    let layer = layer.build()?;

    let scopes = SCOPES
        .into_iter()
        .map(Scope::new)
        .collect::<Result<Vec<_>, _>>()?;
    let key = NewKey::named("demo").with_scopes(scopes);
    let key = layer
        .manager()
        .create(key, &Actor::new("example")?)
        .await?
        .text;

    let app = Router::new()
        .route("/v1/realms", get(read).post(write))
        .route_service(metadata.path(), metadata.clone());
    // Around the finished app, so that nothing is served that the map does not know.
    let guarded = Router::new().fallback_service(layer.layer(app));
    Ok((guarded, key.expose().to_owned()))
}

/// A key's id, or `issuer|subject`: who calls has a name either way.
async fn read(grant: Grant) -> String {
    format!("realms for {}\n", grant.principal())
}

async fn write(grant: Grant) -> String {
    format!("a new realm of {}\n", grant.principal())
}

pub(crate) struct Options {
    issuer: String,
    audience: String,
    introspection_client: Option<(String, String)>,
    listen: String,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut issuer, mut audience, mut client) = (None, None, None);
        let mut listen = "127.0.0.1:3000".to_owned();
        while let Some(name) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--issuer" => issuer = Some(value()?),
                "--audience" => audience = Some(value()?),
                "--introspection-client" => {
                    let pair = value()?;
                    let (id, secret) = pair
                        .split_once(':')
                        .ok_or("--introspection-client needs ID:SECRET")?;
                    client = Some((id.to_owned(), secret.to_owned()));
                }
                "--listen" => listen = value()?,
                // It may be a secret that lost its option: it is not repeated.
                _ if !name.starts_with('-') => {
                    return Err("what stands alone is no option".to_owned());
                }
                _ => return Err(format!("{name} is no option")),
            }
        }
        Ok(Self {
            issuer: issuer.ok_or("--issuer is needed")?,
            audience: audience.ok_or("--audience is needed")?,
            introspection_client: client,
            listen,
        })
    }
}

const SCOPES: [&str; 2] = ["read:realms", "write:realms"];

const USAGE: &str = "\
usage: oauth --issuer URL --audience AUD [--introspection-client ID:SECRET] [--listen ADDR]";
