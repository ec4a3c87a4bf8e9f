//! With axum: the router's matched path, nested routers, extractors.
#![cfg(feature = "axum")]

mod support;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, OriginalUri},
    routing::{any, get},
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use support::{World, admin, module};
use tower::{Layer, ServiceExt};
use tower_api_key::{AddressRange, ApiKeyLayer, Grant, NewKey, RouteModules, Rule};

async fn send(app: Router, path: &str, key: &str) -> (StatusCode, String) {
    let mut request = Request::get(path);
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    let request = request.body(Body::empty()).expect("valid");
    let response = app.oneshot(request).await.expect("infallible");
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

async fn world(map: RouteModules) -> (World, ApiKeyLayer) {
    let world = World::new().await;
    let layer = ApiKeyLayer::builder(world.store.clone(), map, world.ledger.clone())
        .with_query_parameter("api_key")
        .with_maintenance_task(false)
        .with_clock(world.clock.clone())
        .build()
        .expect("a layer");
    (world, layer)
}

fn wrapped(layer: &ApiKeyLayer, app: Router) -> Router {
    Router::new().fallback_service(layer.layer(app))
}

#[tokio::test]
async fn a_handler_extracts_its_caller() {
    let map = RouteModules::builder()
        .get("/me", Rule::authenticated())
        .get("/maybe", Rule::anonymous())
        .get("/strict", Rule::anonymous())
        .get("/health", Rule::public())
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let key = world.create(NewKey::named("Alice")).await;
    let name = async |grant: Grant| grant.name().to_owned();
    let maybe = async |grant: Option<Grant>| grant.map_or("nobody".into(), |g| g.name().to_owned());
    let routes = || {
        Router::new()
            .route("/me", get(name))
            .route("/maybe", get(maybe))
            .route("/strict", get(name))
            .route("/health", get(maybe))
    };
    for app in [wrapped(&layer, routes()), routes().layer(layer.clone())] {
        let key = key.text.expose();
        assert_eq!(
            send(app.clone(), "/me", key).await,
            (StatusCode::OK, "Alice".into())
        );
        assert_eq!(send(app.clone(), "/maybe", key).await.1, "Alice");
        assert_eq!(send(app.clone(), "/maybe", "").await.1, "nobody");
        assert_eq!(send(app.clone(), "/health", "").await.1, "nobody");
        let (status, body) = send(app.clone(), "/strict", "").await;
        assert_eq!(status, 401, "{body}");
        assert!(body.contains("missing_credential"), "{body}");
    }
    // Without the layer: never a default.
    for path in ["/me", "/maybe"] {
        let (status, body) = send(routes(), path, key.text.expose()).await;
        assert_eq!(status, 500);
        assert!(body.contains("Is `ApiKeyLayer` enabled?"), "{body}");
    }
}

#[tokio::test]
async fn under_the_router_its_matched_path_decides() {
    // The map knows the router's own pattern, under another entry's raw path.
    let map = RouteModules::builder()
        .get("/engines/{id}", "launcher")
        .get("/engines/all", "lino")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let launcher = world.key(&["launcher"]).await;
    let app = Router::new().route("/engines/{id}", get(async || "engine"));
    // This router has no `/engines/all`: its pattern is `/engines/{id}`.
    let inside = app.clone().layer(layer.clone());
    assert_eq!(
        send(inside, "/engines/all", launcher.text.expose()).await.0,
        200
    );
    // Outside of it there is no pattern yet, and the raw path decides.
    let outside = wrapped(&layer, app);
    assert_eq!(
        send(outside, "/engines/all", launcher.text.expose())
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn a_nested_layer_judges_the_whole_path() {
    let map = RouteModules::builder()
        .prefix("/api/engines", "launcher")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let key = world.key(&["launcher"]).await;
    let nested = Router::new()
        .route("/engines/{id}", get(async || "engine"))
        .layer(layer.clone());
    let app = Router::new().nest("/api", nested);
    assert_eq!(
        send(app.clone(), "/api/engines/7", key.text.expose())
            .await
            .0,
        200
    );
    assert_eq!(send(app, "/api/engines/7", "").await.0, 401);
    let service = Router::new().fallback(any(async || "engine")).layer(layer);
    let app = Router::new().nest_service("/api/engines", service);
    assert_eq!(send(app, "/api/engines/7", key.text.expose()).await.0, 200);
}

#[tokio::test]
async fn no_credential_is_left_in_the_original_uri() {
    let map = RouteModules::builder()
        .prefix("/api", Rule::authenticated())
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let key = world.key(&[]).await;
    let show =
        async |OriginalUri(original): OriginalUri, uri: http::Uri| format!("{original} {uri}");
    let nested = Router::new().route("/show", get(show)).layer(layer.clone());
    let path = format!("/api/show?a=1&api_key={}", key.text.expose());
    let app = Router::new().nest("/api", nested);
    assert_eq!(send(app, &path, "").await.1, "/api/show?a=1 /show?a=1");
    let app = wrapped(&layer, Router::new().route("/api/show", get(show)));
    assert_eq!(send(app, &path, "").await.1, "/api/show?a=1 /api/show?a=1");
}

#[tokio::test]
async fn an_app_that_is_wrapped_whole_guards_what_is_added_to_it() {
    let map = RouteModules::builder()
        .get("/a", "launcher")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let routes = Router::new()
        .route("/a", get(async || "a"))
        .layer(layer.clone());
    let late = routes
        .route("/late", get(async || "late"))
        .fallback(async || "fallback");
    // axum guards what was there when `.layer` was called, and nothing else.
    assert_eq!(send(late.clone(), "/late", "").await.0, 200);
    assert_eq!(send(late, "/other", "").await.0, 200);
    let app = Router::new()
        .route("/a", get(async || "a"))
        .route("/late", get(async || "late"));
    let app = wrapped(&layer, app.fallback(async || "fallback"));
    let key = world.key(&["launcher"]).await;
    for path in ["/late", "/other"] {
        assert_eq!(send(app.clone(), path, "").await.0, 401);
        assert_eq!(send(app.clone(), path, key.text.expose()).await.0, 403);
    }
    assert_eq!(send(app, "/a", key.text.expose()).await.0, 200);
}

#[tokio::test]
async fn the_address_comes_from_connect_info() {
    let map = RouteModules::builder()
        .get("/a", Rule::authenticated())
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let range: AddressRange = "192.0.2.7".parse().expect("an address");
    let key = world
        .create(NewKey::named("bound").with_allowed_addresses([range]))
        .await;
    for (peer, status) in [("192.0.2.7:80", 200), ("192.0.2.8:80", 403)] {
        let address: std::net::SocketAddr = peer.parse().expect("an address");
        let mut request = Request::get("/a").header("x-api-key", key.text.expose());
        request
            .extensions_mut()
            .expect("valid")
            .insert(ConnectInfo(address));
        let app = layer.layer(Router::new().route("/a", get(async || "a")));
        let response = app
            .oneshot(request.body(Body::empty()).expect("valid"))
            .await;
        assert_eq!(response.expect("infallible").status(), status);
    }
}

#[tokio::test]
async fn a_revocation_is_seen_by_the_very_next_request() {
    let map = RouteModules::builder()
        .get("/a", "launcher")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let key = world.key(&["launcher"]).await;
    let app = wrapped(&layer, Router::new().route("/a", get(async || "a")));
    for _ in 0..2 {
        assert_eq!(send(app.clone(), "/a", key.text.expose()).await.0, 200);
    }
    let id = &key.key.record.id;
    world
        .manager
        .unassign(id, &[module("launcher")], &admin())
        .await
        .expect("unassigned");
    assert_eq!(send(app.clone(), "/a", key.text.expose()).await.0, 403);
    world.manager.revoke(id, &admin()).await.expect("revoked");
    assert_eq!(send(app, "/a", key.text.expose()).await.0, 401);
}

#[tokio::test]
async fn a_path_rewritten_behind_the_router_is_judged_as_it_is_routed() {
    // Judged by the path the client sent, this request would reach the engines as a lino one.
    let map = RouteModules::builder()
        .prefix("/lino", "lino")
        .prefix("/engines", "launcher")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let key = world.key(&["lino"]).await;
    let inner = Router::new()
        .route("/engines/7", get(async || "engine"))
        .layer(layer);
    let rewrite = tower::util::MapRequest::new(inner, |mut request: Request<Body>| {
        *request.uri_mut() = http::Uri::from_static("/engines/7");
        request
    });
    let app = Router::new().fallback_service(rewrite);
    let (status, body) = send(app, "/lino/7", key.text.expose()).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("launcher"), "{body}");
}
