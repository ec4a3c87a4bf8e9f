//! Keys that are kept elsewhere: a store of your own behind the layer.
//!
//! `cargo run --example custom_store` serves on 127.0.0.1:3000 the keys of `keys.json`, which it
//! writes first where there is none; an address and another file may follow. Set `"enabled": false`
//! in the file: within a second the key is refused.

#![expect(clippy::print_stdout, reason = "it talks to people")]

use std::{error::Error, path::Path, time::Duration};

use axum::{Router, routing::get};
use tower::Layer;
use tower_api_key::{
    ApiKeyLayer, Clock, Environment, KeyFormats, KeyHasher, KeyId, KeyQuery, KeyRecord, KeyStore,
    Module, RouteModules, SystemClock, Unlicensed,
};

mod json_file;

use json_file::JsonFile;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next();
    let listen = listen.as_deref().unwrap_or("127.0.0.1:3000");
    let path = arguments.next();
    let store = JsonFile::new(Path::new(path.as_deref().unwrap_or("keys.json")));

    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    match store.list(&KeyQuery::first(1)).await?.first() {
        Some(known) => println!("serving http://{address}, keys such as {}", known.hint),
        None => {
            let text = first_key(&store).await?;
            println!("curl -H \"X-API-Key: {text}\" http://{address}/shows");
        }
    }

    let map = RouteModules::builder().get("/shows", "playout").build()?;
    // The file says which modules a key has, and nobody sells seats.
    let layer = ApiKeyLayer::builder(store, map, Unlicensed::new())
        // The file may be changed by others, and does not tell: its word is good for a second.
        .with_cache_ttl(Duration::from_secs(1))
        .build()?;
    let app = Router::new().route("/shows", get(async || "granted\n"));
    let guarded = Router::new().fallback_service(layer.layer(app));
    let stopped = async {
        // Without a signal handler the signal ends the process, which is as well.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, guarded)
        .with_graceful_shutdown(stopped)
        .await?;
    layer.flush().await?;
    Ok(())
}

/// Writes a key that may use `playout`, and answers its text, which is kept nowhere.
async fn first_key(store: &JsonFile) -> Result<String, Box<dyn Error>> {
    let formats = KeyFormats::default();
    let text = formats.generate(&Environment::live())?;
    let digest = KeyHasher::sha256().digest(text.expose().as_bytes());
    let now = SystemClock::new().now().wall;
    let mut record = KeyRecord::new(KeyId::new("k1")?, digest, "stage left", now);
    record.hint = formats.hint(text.expose());
    record.modules = vec![Module::new("playout")?];
    store.insert(record).await?;
    Ok(text.expose().to_owned())
}
