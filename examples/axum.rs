//! axum: the layer around the finished app, callers as an extractor, guards at single routes.
//!
//! `cargo run --example axum --features axum` serves on 127.0.0.1:3000; an address may follow.

#![expect(clippy::print_stdout, reason = "it talks to people")]

use std::{error::Error, net::SocketAddr};

use axum::{
    Router,
    routing::{get, post},
};
use tower::Layer;
use tower_api_key::{
    Actor, ApiKeyLayer, Grant, License, LicenseId, MemoryKeyStore, MemoryLedger, Module, NewKey,
    RequireModule, RequireScopes, RouteModules, Rule, Scope, Seats,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let map = RouteModules::builder()
        .prefix("/shows", "playout")
        // Any key will do; what more it needs stands at the routes below.
        .prefix("/studio", Rule::authenticated())
        .get("/greeting", Rule::anonymous())
        .get("/health", Rule::public())
        .build()?;
    let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
    let listen = std::env::args().nth(1);
    let listener = tokio::net::TcpListener::bind(listen.as_deref().unwrap_or(LISTEN)).await?;
    set_up(&layer, listener.local_addr()?).await?;

    let studio = Router::new()
        .route("/lights", post(lights))
        .route_layer(RequireScopes::new(&layer, ["write:lights"])?)
        .merge(
            Router::new()
                .route("/cameras", get(caller))
                .route_layer(RequireModule::new(&layer, "playout")?),
        );
    let app = Router::new()
        .route("/shows", get(caller))
        .nest("/studio", studio)
        .route("/greeting", get(greeting))
        .route("/health", get(async || "ok"));

    // Around the finished app, so that nothing is served that the map does not know: with
    // `app.layer(layer)` a route that is added below that line, a merged router, and a fallback
    // would each be served to everyone. The outer router is to have no routes of its own.
    let guarded = Router::new().fallback_service(layer.layer(app));

    // The peer's address lets keys with allowed addresses be used at all.
    let service = guarded.into_make_service_with_connect_info::<SocketAddr>();
    let stopped = async {
        // Without a signal handler the signal ends the process, which is as well.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, service)
        .with_graceful_shutdown(stopped)
        .await?;
    layer.flush().await?;
    Ok(())
}

/// Runs for who was granted the route; where no layer ran, the extractor answers 500.
async fn caller(grant: Grant) -> String {
    format!("granted to {}\n", grant.name())
}

async fn lights(grant: Grant) -> String {
    let seat = Module::new("playout").ok().and_then(|m| grant.status(&m));
    format!("lights on for {}, {seat:?}\n", grant.name())
}

/// Runs for anonymous callers too. One with an invalid key is refused, not taken for anonymous.
async fn greeting(grant: Option<Grant>) -> String {
    let name = grant.as_ref().map_or("stranger", Grant::name);
    format!("hello, {name}\n")
}

async fn set_up(layer: &ApiKeyLayer, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let (manager, actor) = (layer.manager(), Actor::new("example")?);
    let (playout, license) = (Module::new("playout")?, LicenseId::new("playout")?);
    let seats = License::new(license.clone(), Seats::Limited(1));
    manager.set_license(seats, &actor).await?;
    manager.map_module(&playout, Some(&license), &actor).await?;

    let director = NewKey::named("director").with_modules([playout]);
    let gaffer = NewKey::named("gaffer").with_scopes([Scope::new("write:lights")?]);
    let director = manager.create(director, &actor).await?.text;
    let gaffer = manager.create(gaffer, &actor).await?.text;
    let (director, gaffer) = (director.expose(), gaffer.expose());
    println!("curl -H \"X-API-Key: {director}\" http://{address}/shows");
    println!("curl -H \"X-API-Key: {director}\" http://{address}/studio/cameras");
    println!("curl -H \"X-API-Key: {gaffer}\" -X POST http://{address}/studio/lights");
    println!("curl http://{address}/greeting");
    Ok(())
}

const LISTEN: &str = "127.0.0.1:3000";
