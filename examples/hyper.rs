//! hyper and tower without a framework: a function as the guarded service.
//!
//! `cargo run --example hyper` serves on 127.0.0.1:3000; an address may follow. The example `hub`
//! shows time limits and a graceful end, which a service for others needs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to people"
)]

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    Actor, ApiKeyLayer, Grant, License, LicenseId, MemoryKeyStore, MemoryLedger, Module, NewKey,
    PeerAddress, RouteModules, Rule, Seats,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let map = RouteModules::builder()
        .prefix("/engines", "launcher")
        .get("/health", Rule::public())
        .build()?;
    let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;

    let (manager, actor) = (layer.manager(), Actor::new("example")?);
    let (launcher, license) = (Module::new("launcher")?, LicenseId::new("launcher")?);
    let seats = License::new(license.clone(), Seats::Limited(2));
    manager.set_license(seats, &actor).await?;
    manager
        .map_module(&launcher, Some(&license), &actor)
        .await?;
    let new = NewKey::named("stage left").with_modules([launcher]);
    let key = manager.create(new, &actor).await?;

    let listen = std::env::args().nth(1);
    let listen = listen.as_deref().unwrap_or("127.0.0.1:3000");
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let text = key.text.expose();
    println!("curl -H \"X-API-Key: {text}\" http://{address}/engines");

    let server = {
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new());
        server.http2().timer(TokioTimer::new());
        server
    };
    let guarded = ServiceBuilder::new()
        .layer(layer)
        .service(service_fn(answer));
    loop {
        let (stream, peer) = listener.accept().await?;
        // The layer cannot see the connection; whoever accepts it says whose it is.
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddress::from(peer));
                request
            })
            .service(guarded.clone());
        let server = server.clone();
        tokio::spawn(async move {
            let service = TowerToHyperService::new(service);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// What comes here was admitted by the map: granted, or public and so without a [`Grant`].
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller = request.extensions().get::<Grant>();
    let (status, text) = match (request.uri().path(), caller) {
        ("/health", _) => (StatusCode::OK, "ok\n".to_owned()),
        ("/engines", Some(grant)) => (StatusCode::OK, format!("engines of {}\n", grant.name())),
        _ => (StatusCode::NOT_FOUND, "there is nothing here\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}
