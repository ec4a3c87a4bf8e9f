//! Behind something that rewrites paths, the rule is that of the handler that runs.
//!
//! axum notes the URI it was asked for (`OriginalUri`) and the pattern that matched it
//! (`MatchedPath`). Neither says which handler runs once something between router and layer, or
//! between layer and handler, has changed the path.
#![cfg(feature = "axum")]

mod support;

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::map_request,
    routing::{MethodRouter, get},
};
use http::{StatusCode, Uri};
use support::World;
use tower::{Layer, ServiceExt, util::MapRequest};
use tower_api_key::{ApiKeyLayer, RouteModules, Rule};

async fn status(app: &Router, path: &str, key: &str) -> StatusCode {
    let mut request = http::Request::get(path);
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    let request = request.body(Body::empty()).expect("valid");
    let response = app.clone().oneshot(request).await;
    response.expect("infallible").status()
}

async fn world(map: RouteModules) -> (World, ApiKeyLayer) {
    let world = World::new().await;
    let layer = ApiKeyLayer::builder(world.store.clone(), map, world.ledger.clone())
        .with_clock(world.clock.clone())
        .with_maintenance_task(false)
        .build()
        .expect("a layer");
    (world, layer)
}

fn handler() -> MethodRouter {
    get(async || "handled")
}

fn go_to(path: &'static str) -> impl Fn(Request) -> Request + Clone {
    move |mut request| {
        *request.uri_mut() = Uri::from_static(path);
        request
    }
}

/// `/{tenant}/lino/keys` becomes `/lino/keys`, as multi-tenant services do it.
fn without_tenant(mut request: Request) -> Request {
    let path = request.uri().path();
    let rest = path[1..].split_once('/').map_or("", |(_, rest)| rest);
    *request.uri_mut() = format!("/{rest}").parse().expect("a path");
    request
}

/// The layer took the original URI for the path a nested router had shortened, whenever the one
/// ended in the other. A middleware that cuts off a segment looks just the same, and a tenant named
/// like a public prefix opened every route: `/public/lino/keys` was judged as public, and the
/// handler of `/lino/keys` ran.
#[tokio::test]
async fn a_cut_off_tenant_does_not_decide_which_rule_holds() {
    let map = RouteModules::builder()
        .prefix("/public", Rule::public())
        .prefix("/lino", "lino")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let (lino, none) = (world.key(&["lino"]).await, world.key(&[]).await);
    let inner = Router::new()
        .route("/lino/keys", handler())
        .route("/public/logo", handler());
    let cut = MapRequest::new(layer.layer(inner), without_tenant);
    // Where the path alone decides: the pattern of a fallback is none.
    let app = Router::new().fallback_service(cut.clone());
    let path = "/public/lino/keys";
    assert_eq!(status(&app, path, "").await, 401);
    assert_eq!(status(&app, path, none.text.expose()).await, 403);
    assert_eq!(status(&app, path, lino.text.expose()).await, 200);
    assert_eq!(status(&app, "/lino/public/logo", "").await, 200);
    // And where a pattern was matched before the path was cut.
    let app = Router::new().route_service("/{tenant}/{*rest}", cut);
    assert_eq!(status(&app, path, "").await, 401);
    assert_eq!(status(&app, path, none.text.expose()).await, 403);
}

/// A pattern that matched before the path was rewritten is of a route that will not run: `/logo` was
/// public, and the handler of `/engines/7` ran for nobody at all.
#[tokio::test]
async fn a_pattern_matched_before_a_rewrite_does_not_open_another_route() {
    let map = RouteModules::builder()
        .get("/logo", Rule::public())
        .prefix("/lino", "lino")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let none = world.key(&[]).await;
    let inner = Router::new().route("/lino/7", handler());
    let rewrite = MapRequest::new(layer.layer(inner), go_to("/lino/7"));
    let app = Router::new().route_service("/logo", rewrite);
    assert_eq!(status(&app, "/logo", "").await, 401);
    assert_eq!(status(&app, "/logo", none.text.expose()).await, 403);
}

/// The other way round: `Router::layer` runs once the handler is found, and what is rewritten then
/// changes the path that was judged, never the handler that runs.
#[tokio::test]
async fn a_path_rewritten_after_routing_does_not_open_the_route_that_was_found() {
    let map = RouteModules::builder()
        .prefix("/public", Rule::public())
        .get("/lino/keys", "lino")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let none = world.key(&[]).await;
    let app = Router::new()
        .route("/lino/keys", handler())
        .layer(layer)
        .layer(map_request(async |request: Request| {
            go_to("/public/x")(request)
        }));
    assert_eq!(status(&app, "/lino/keys", "").await, 401);
    assert_eq!(status(&app, "/lino/keys", none.text.expose()).await, 403);
}

/// Where pattern and path ask for the same, it does not matter which of them finds the handler.
#[tokio::test]
async fn a_rewrite_under_one_rule_is_judged_by_it() {
    let map = RouteModules::builder()
        .prefix("/lino", "lino")
        .build()
        .expect("a map");
    let (world, layer) = world(map).await;
    let lino = world.key(&["lino"]).await;
    let inner = Router::new().route("/lino/v2", handler());
    let rewrite = MapRequest::new(layer.layer(inner), go_to("/lino/v2"));
    let app = Router::new().route_service("/lino/v1", rewrite);
    assert_eq!(status(&app, "/lino/v1", "").await, 401);
    assert_eq!(status(&app, "/lino/v1", lino.text.expose()).await, 200);
}
