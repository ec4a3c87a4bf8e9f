//! The resource metadata document where clients look for it, and how they are sent there.
#![cfg(all(feature = "axum", feature = "oauth"))]

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;
use tower_api_key::{
    ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules, Rule, oauth::ResourceMetadata,
};

fn metadata() -> ResourceMetadata {
    ResourceMetadata::builder("https://api.example/v1")
        .with_authorization_server("https://issuer.example")
        .build()
        .expect("a document")
}

async fn answer(router: &Router, method: Method, path: &str) -> Response<Bytes> {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Response::from_parts(parts, body)
}

/// A client that has nothing but the service's URL finds out whom to ask.
#[tokio::test]
async fn refused_client_finds_the_authorization_server() {
    let metadata = metadata();
    let map = RouteModules::builder()
        .any(metadata.path(), Rule::public())
        .prefix("/v1", Rule::authenticated())
        .build()
        .expect("a map");
    let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
        .with_resource_metadata(metadata.url())
        .with_maintenance_task(false)
        .build()
        .expect("a layer");
    let router = Router::new()
        .route("/v1/realms", get(async || "realms"))
        .route_service(metadata.path(), metadata.clone())
        .layer(layer);

    let refused = answer(&router, Method::GET, "/v1/realms").await;
    assert_eq!(refused.status(), 401);
    let challenge = refused.headers()["www-authenticate"].to_str();
    let challenge = challenge.expect("ASCII");
    let (_, url) = challenge.split_once("resource_metadata=\"").expect("told");
    let (url, _) = url.split_once('"').expect("quoted");
    let url: Uri = url.parse().expect("a URL");
    assert_eq!(url.host(), Some("api.example"));

    let found = answer(&router, Method::GET, url.path()).await;
    assert_eq!(found.status(), 200);
    assert_eq!(found.headers()["content-type"], "application/json");
    let document: Value = serde_json::from_slice(found.body()).expect("JSON");
    assert_eq!(document["resource"], "https://api.example/v1");
    assert_eq!(
        document["authorization_servers"],
        json!(["https://issuer.example"])
    );

    let head = answer(&router, Method::HEAD, url.path()).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers(), found.headers());
    assert!(head.body().is_empty());

    let post = answer(&router, Method::POST, url.path()).await;
    assert_eq!(post.status(), 405);
    assert_eq!(post.headers()["allow"], "GET, HEAD");
}

#[tokio::test]
async fn hyper_serves_it_as_it_is() {
    let (mut client, server) = tokio::io::duplex(4_096);
    let service = TowerToHyperService::new(metadata());
    let serve =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let talk = async {
        let request = "GET / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n";
        client.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        answer
    };
    let (served, answer) = tokio::join!(serve, talk);
    served.expect("served");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let document = std::str::from_utf8(metadata().document())
        .expect("UTF-8")
        .to_owned();
    assert!(answer.ends_with(&format!("\r\n\r\n{document}")), "{answer}");
}
