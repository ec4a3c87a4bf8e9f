//! A service that sells its modules: studio engines, launcher, lino and playout behind licenses,
//! realms behind scopes, all of it in three rate tiers.
//!
//! `cargo run --example hub --features console,sqlite` serves on 127.0.0.1:3000, keeps its keys in
//! `hub.db`, and prints them on the first start, with curl lines to paste; administrators find their
//! console under `/console`. `-- --help` tells the options.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to people"
)]

use std::{error::Error, process::ExitCode, sync::Arc};

use http::Response;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_api_key::{Actor, ApiKeyLayer, Denial, Environment, KeyFormats, KeyText};

mod access;
mod database;
mod manage;
mod options;
mod problem;
mod rates;
mod realms;
mod server;
mod studio;
mod tokens;
mod welcome;

use options::{Options, Parsed};
use realms::Realms;
use studio::Studio;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            println!("{}", options::help());
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("hub: {problem}\n\n{}", options::help());
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hub: {}", database::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();

    let database = options.database.open().await?;
    let rates = options.rates.open().await?;
    let builder = ApiKeyLayer::builder(database.keys, access::module_map()?, database.ledger);
    // A new secret at each start, where none is given: sessions then end with the hub.
    let secret = match &options.secret {
        Some(secret) => KeyText::new(secret.expose()),
        None => KeyFormats::default().generate(&Environment::live())?,
    };
    let (builder, sessions) = tokens::accept(builder, &options.trusted, &secret)?;
    let layer = builder
        .with_rate_limiter(rates)
        .with_x_rate_limit_headers(true)
        .with_query_parameter("api_key")
        .with_environments([Environment::live()])
        .with_realm("hub")
        .build()?;

    // Whoever wants to stop it may do so from its first moment on.
    let stopped = server::stop_signal()?;
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let manager = layer.manager();
    // What a crash cut in two is mended before anyone is let in.
    manager.reconcile(&Actor::system()).await?;
    let first = access::set_up(&manager, options.admin_key.as_ref()).await?;
    let address = listener.local_addr()?;
    print!("{}", welcome::text(address, &options, &first));

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
    let (routes, end_streams) = manage::routes(&layer, sessions, &secret)?;
    let service = routes.fallback_service(guarded);
    let stopped = async {
        stopped.await;
        end_streams();
    };
    server::serve(listener, service, stopped).await;

    layer.flush().await?;
    println!("hub: stopped");
    Ok(())
}
