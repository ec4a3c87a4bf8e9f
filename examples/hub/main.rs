//! A service that sells its modules: studio engines, launcher, lino and playout behind licenses,
//! realms behind scopes.
//!
//! `cargo run --example hub` serves on 127.0.0.1:3000 and prints keys with curl lines to paste;
//! `cargo run --example hub -- --help` tells the options.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to people"
)]

use std::{error::Error, process::ExitCode, sync::Arc};

use http::Response;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_api_key::{ApiKeyLayer, Denial, Environment, MemoryKeyStore, MemoryLedger};

mod access;
mod options;
mod problem;
mod realms;
mod server;
mod studio;
mod welcome;

use options::{Options, Parsed};
use realms::Realms;
use studio::Studio;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("hub: {problem}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hub: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();

    let layer = ApiKeyLayer::builder(
        MemoryKeyStore::new(),
        access::module_map()?,
        MemoryLedger::new(),
    )
    .with_query_parameter("api_key")
    .with_environments([Environment::live()])
    .with_realm("hub")
    .build()?;

    // Whoever wants to stop it may do so from its first moment on.
    let stopped = server::stop_signal()?;
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let keys = access::set_up(&layer.manager(), options.admin_key).await?;
    print!("{}", welcome::text(listener.local_addr()?, &keys));

    let realms = Arc::new(Realms::new());
    let app = studio::routes(Studio::read()?)
        .merge(realms::routes(Arc::clone(&realms)))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method);
    // The layer goes around the finished app: `Router::layer` would guard the routes that are there
    // when it is called, and none of those that are added later.
    let guarded = ServiceBuilder::new()
        .map_response(move |response: Response<_>| {
            realms.count(response.extensions().get::<Denial>());
            response
        })
        .layer(layer.clone())
        .service(app);
    server::serve(listener, guarded, stopped).await;

    layer.flush().await?;
    println!("hub: stopped");
    Ok(())
}
