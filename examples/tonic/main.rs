//! tonic: a gRPC service that greets who has the module for it.
//!
//! `cargo run --example tonic --features tonic` serves on 127.0.0.1:50051; an address may follow.
//! Clients send their key as the metadata `x-api-key` or `authorization`.

#![expect(clippy::print_stdout, reason = "it talks to people")]

use std::error::Error;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tower_api_key::{
    Actor, ApiKeyLayer, Grant, License, LicenseId, MemoryKeyStore, MemoryLedger, Module, NewKey,
    RouteModules, Seats,
};

#[expect(unreachable_pub, reason = "made by tonic-prost-build")]
mod helloworld;

use helloworld::{
    HelloReply, HelloRequest,
    greeter_server::{Greeter, GreeterServer},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let map = RouteModules::builder()
        .grpc_service("helloworld.Greeter", "greeter")
        .build()?;
    let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;

    let (manager, actor) = (layer.manager(), Actor::new("example")?);
    let (greeter, license) = (Module::new("greeter")?, LicenseId::new("greeter")?);
    let seats = License::new(license.clone(), Seats::Limited(1));
    manager.set_license(seats, &actor).await?;
    manager.map_module(&greeter, Some(&license), &actor).await?;

    let listen = std::env::args().nth(1);
    let listener = TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:50051")).await?;
    println!("serving grpc://{}", listener.local_addr()?);
    // The second finds no seat, and the third was not given the module.
    for (name, modules) in [
        ("host", vec![greeter.clone()]),
        ("understudy", vec![greeter]),
        ("guest", vec![]),
    ] {
        let new = NewKey::named(name).with_modules(modules);
        let key = manager.create(new, &actor).await?;
        println!("{name} {}", key.text.expose());
    }

    let stopped = async {
        // Without a signal handler the signal ends the process, which is as well.
        let _ = tokio::signal::ctrl_c().await;
    };
    Server::builder()
        .layer(layer.clone())
        .add_service(GreeterServer::new(Hello))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped)
        .await?;
    layer.flush().await?;
    Ok(())
}

struct Hello;

#[tonic::async_trait]
impl Greeter for Hello {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let grant = request.extensions().get::<Grant>();
        let grant = grant.ok_or_else(|| Status::internal("is `ApiKeyLayer` enabled?"))?;
        let caller = grant.name().to_owned();
        let name = request.into_inner().name;
        let message = format!("hello {name}, says {caller}");
        Ok(Response::new(HelloReply { message }))
    }
}
