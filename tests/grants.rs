//! What a granted request looks like to the handler, and its answer to the client.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use support::{Body, World, admin, get, module};
use tower::{Layer, Service, ServiceExt};
use tower_api_key::{
    Denial, DenialCode, Environment, NewKey, RefusedRequest, RenderDenial, RequireModule,
    RequireScopes, Scope, Status, Tier,
};

#[tokio::test]
async fn the_seeds_curl_lines_are_granted() {
    let world = World::with(|builder| builder.with_query_parameter("api_key")).await;
    let key = world.key(&["launcher"]).await;
    let key = key.text.expose();
    let header = get("/engines")
        .header("X-API-Key", key)
        .header("Content-Type", "application/json");
    let query = Request::get(format!("/engines?api_key={key}"));
    let bearer = get("/engines").header("Authorization", format!("Bearer {key}"));
    let other_case = get("/engines").header("Authorization", format!("bEARER  {key}"));
    for request in [header, query, bearer, other_case] {
        world
            .send(request.body(Body::default()).expect("valid"))
            .await
            .granted();
    }
}

#[tokio::test]
async fn the_handler_reads_who_calls() {
    let world = World::new().await;
    let scope = Scope::new("read:a").expect("a scope");
    let new = NewKey::named("Playout 1")
        .with_modules([module("launcher"), module("lino")])
        .with_scopes([scope.clone()])
        .with_tier(Tier::new("premium").expect("a tier"))
        .with_owner("studio 4");
    let key = world.create(new).await;
    let answer = world.get("/engines", key.text.expose()).await;
    let grant = answer.granted().grant.clone().expect("a grant");
    let id = &key.key.record.id;
    assert_eq!(grant.principal(), id.as_str());
    assert_eq!(grant.key_id().as_ref(), Some(id));
    assert_eq!(grant.holder().as_str(), id.as_str());
    assert_eq!(grant.name(), "Playout 1");
    assert_eq!(grant.owner(), Some("studio 4"));
    assert_eq!(grant.environment(), Some(&Environment::live()));
    assert_eq!(grant.tier().map(Tier::as_str), Some("premium"));
    assert_eq!(grant.scopes(), [scope]);
    assert!(grant.has_scope("read:a") && !grant.has_scope("read:b"));
    assert!(!grant.is_administrator());
    assert_eq!(grant.expires_at(), None);
    assert_eq!(grant.status(&module("lino")), Some(Status::Reserved));
    assert_eq!(grant.status(&module("free")), Some(Status::NotAssigned));
    assert!(!format!("{grant:?}").contains(&key.text.expose()[8..]));
}

#[tokio::test]
async fn no_credential_reaches_the_handler() {
    let world = World::with(|builder| builder.with_query_parameter("api_key")).await;
    let key = world.key(&["launcher"]).await;
    let key = key.text.expose();
    let request = get("/engines")
        .header("x-api-key", key)
        .header("x-other", "stays");
    let answer = world
        .send(request.body(Body::default()).expect("valid"))
        .await;
    let seen = answer.granted();
    assert!(!seen.headers.contains_key("x-api-key"));
    assert_eq!(seen.headers["x-other"], "stays");
    let request = Request::get(format!("/engines?a=%31&api%5Fkey={key}&b=+"));
    let answer = world
        .send(request.body(Body::default()).expect("valid"))
        .await;
    assert_eq!(answer.granted().uri, "/engines?a=%31&b=+");
    // Who sends Basic beside it keeps that.
    let request = get("/engines")
        .header("x-api-key", key)
        .header("authorization", "Basic dTpw");
    let answer = world
        .send(request.body(Body::default()).expect("valid"))
        .await;
    assert_eq!(answer.granted().headers["authorization"], "Basic dTpw");
}

#[tokio::test]
async fn the_credential_can_be_kept_and_is_marked_sensitive() {
    let world = World::with(|builder| builder.with_credential_kept(true)).await;
    let key = world.key(&["launcher"]).await;
    let answer = world.get("/engines", key.text.expose()).await;
    let value = &answer.granted().headers["x-api-key"];
    assert_eq!(value, key.text.expose());
    assert!(value.is_sensitive());
}

#[tokio::test]
async fn grants_vary_by_credential_and_are_private() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let answer = world.get("/engines", key.text.expose()).await;
    assert_eq!(answer.headers["vary"], "x-api-key, authorization");
    assert_eq!(answer.headers["cache-control"], "private");
    let answer = world.anonymous("/realms").await;
    assert_eq!(answer.headers["vary"], "x-api-key, authorization");
    assert!(
        !answer.headers.contains_key("cache-control"),
        "the same for every anonymous caller"
    );
    let answer = world.anonymous("/health").await;
    assert!(
        !answer.headers.contains_key("vary"),
        "public routes are none of our business"
    );
}

#[tokio::test]
async fn the_handlers_own_cache_control_stays() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let inner = tower::service_fn(async |_: Request<Body>| {
        let mut response = Response::new(Body::default());
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        Ok::<_, std::convert::Infallible>(response)
    });
    let request = get("/engines")
        .header("x-api-key", key.text.expose())
        .body(Body::default());
    let service = world.layer.layer(inner);
    let response = service
        .oneshot(request.expect("valid"))
        .await
        .expect("infallible");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let vary: Vec<_> = response.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["accept", "x-api-key, authorization"]);
}

#[tokio::test]
async fn cache_headers_can_be_left_out() {
    let world = World::with(|builder| builder.with_cache_headers(false)).await;
    let key = world.key(&["launcher"]).await;
    let answer = world.get("/engines", key.text.expose()).await;
    answer.granted();
    assert!(answer.headers.is_empty());
}

#[tokio::test]
async fn head_counts_as_get() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let request = Request::head("/engines").header("x-api-key", key.text.expose());
    world
        .send(request.body(Body::default()).expect("valid"))
        .await
        .granted();
    let without = Request::head("/engines")
        .body(Body::default())
        .expect("valid");
    assert_eq!(world.send(without).await.status, 401);
}

#[tokio::test]
async fn preflight_passes_only_where_a_setting_says_so() {
    let preflight = || {
        Request::builder()
            .method(Method::OPTIONS)
            .uri("/engines")
            .header("origin", "https://example.com")
            .header("access-control-request-method", "GET")
            .body(Body::default())
            .expect("valid")
    };
    let strict = World::new().await;
    assert_eq!(strict.send(preflight()).await.status, 401);
    let open = World::with(|builder| builder.with_preflight_admitted(true)).await;
    open.send(preflight()).await.granted();
    let mut plain = preflight();
    plain.headers_mut().remove("origin");
    assert_eq!(
        open.send(plain).await.status,
        401,
        "OPTIONS alone is no preflight"
    );
}

#[tokio::test]
async fn public_routes_are_left_alone() {
    let world = World::new().await;
    let answer = world.get("/health", "nonsense").await;
    assert_eq!(answer.granted().headers["x-api-key"], "nonsense");
    assert!(answer.granted().grant.is_none());
}

#[tokio::test]
async fn forwarding_and_override_headers_decide_nothing() {
    let world = World::new().await;
    let key = world.key(&["lino"]).await;
    let request = Request::post("/engines")
        .header("x-api-key", key.text.expose())
        .header("x-http-method-override", "GET")
        .header("x-original-url", "/lino/x")
        .header("x-rewrite-url", "/lino/x")
        .header("x-forwarded-prefix", "/lino")
        .header("host", "example.com/lino");
    let answer = world
        .send(request.body(Body::default()).expect("valid"))
        .await;
    assert_eq!(answer.code(), "route_not_mapped");
    let absolute = Request::get("http://example.com/lino/x").header("x-api-key", key.text.expose());
    world
        .send(absolute.body(Body::default()).expect("valid"))
        .await
        .granted();
}

#[tokio::test]
async fn a_websocket_upgrade_is_a_get_like_any_other() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let upgrade = |key: Option<&str>| {
        let request = get("/engines")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = match key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        };
        request.body(Body::default()).expect("valid")
    };
    assert_eq!(world.send(upgrade(None)).await.status, 401);
    let answer = world.send(upgrade(Some(key.text.expose()))).await;
    assert_eq!(answer.granted().headers["upgrade"], "websocket");
}

#[tokio::test]
async fn the_credential_and_realm_have_names_of_ones_own() {
    let world = World::with(|b| {
        b.with_header("X-Studio-Key")
            .with_bearer(false)
            .with_realm("the \"hub\"")
    })
    .await;
    let key = world.key(&["launcher"]).await;
    let answer = world.get("/engines", key.text.expose()).await;
    assert_eq!(
        answer.code(),
        "missing_credential",
        "the default header is not read any more"
    );
    let challenge = r#"ApiKey realm="the \"hub\"", header="X-Studio-Key""#;
    assert_eq!(answer.challenges(), [challenge]);
    let request = get("/engines")
        .header("x-studio-key", key.text.expose())
        .body(Body::default());
    let answer = world.send(request.expect("valid")).await;
    answer.granted();
    assert_eq!(answer.headers["vary"], "x-studio-key");
}

#[tokio::test]
async fn refusals_can_be_rendered_in_ones_own_way() {
    struct Plain;
    impl RenderDenial for Plain {
        fn render(&self, denial: &Denial, _: &RefusedRequest<'_>) -> Response<Bytes> {
            let mut response = Response::new(denial.code().as_str().into());
            *response.status_mut() = denial.status();
            response
        }
    }
    let world = World::with(|builder| builder.with_renderer(Plain)).await;
    let answer = world.anonymous("/engines").await;
    assert_eq!(answer.body, "missing_credential");
    assert_eq!(
        answer.challenges().len(),
        2,
        "what the RFCs demand is there all the same"
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(
        answer.denial.expect("a denial").code(),
        DenialCode::MissingCredential
    );
}

#[tokio::test]
async fn problem_types_have_a_base_of_ones_own() {
    let world = World::new().await;
    let kind = world.anonymous("/engines").await.json()["type"].to_string();
    assert!(
        kind.contains("enum.DenialCode.html#variant.MissingCredential"),
        "{kind}"
    );
    let world = World::with(|b| b.with_problem_type_base("https://example.com/errors#")).await;
    let answer = world.anonymous("/engines").await;
    assert_eq!(
        answer.json()["type"],
        "https://example.com/errors#missing_credential"
    );
}

#[tokio::test]
async fn a_warm_grant_clones_no_inner_service() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let mut service = world.layer.layer(world.inner.clone());
    let clones = || world.inner.clones.load(std::sync::atomic::Ordering::SeqCst);
    let mut call = async |expected: usize| {
        let before = clones();
        let request = get("/engines")
            .header("x-api-key", key.text.expose())
            .body(Body::default());
        let ready = service.ready().await.expect("infallible");
        let response = ready
            .call(request.expect("valid"))
            .await
            .expect("infallible");
        assert_eq!(response.status(), 200);
        assert_eq!(clones() - before, expected);
    };
    call(1).await;
    for _ in 0..3 {
        call(0).await;
    }
}

#[tokio::test]
async fn the_inner_error_stays_as_it_is() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let inner = tower::service_fn(async |_: Request<Body>| Err::<Response<Body>, Own>(Own(7)));
    let service = world.layer.layer(inner);
    for _ in 0..2 {
        let request = get("/engines")
            .header("x-api-key", key.text.expose())
            .body(Body::default());
        let error = service.clone().oneshot(request.expect("valid")).await;
        assert_eq!(error.map(|_| ()).unwrap_err(), Own(7));
    }
}

#[tokio::test]
async fn any_body_and_any_service_will_do() {
    // Neither body is an HTTP body, and the inner service is neither Send nor Sync.
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let state = std::rc::Rc::new(41);
    let inner = tower::service_fn(move |request: Request<std::rc::Rc<i32>>| {
        let state = std::rc::Rc::clone(&state);
        async move { Ok::<_, std::convert::Infallible>(Response::new(*state + **request.body())) }
    });
    let service = world.layer.layer(inner);
    for _ in 0..2 {
        let request = get("/engines")
            .header("x-api-key", key.text.expose())
            .body(std::rc::Rc::new(1))
            .expect("valid");
        let response = service.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn all_clones_share_one_state() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let services: Vec<_> = (0..3)
        .map(|_| world.layer.clone().layer(world.inner.clone()))
        .collect();
    let send = async |service: &tower_api_key::ApiKeyService<support::Strict>| {
        let request = get("/engines")
            .header("x-api-key", key.text.expose())
            .body(Body::default());
        service
            .clone()
            .oneshot(request.expect("valid"))
            .await
            .expect("infallible")
            .status()
    };
    for service in &services {
        assert_eq!(send(service).await, 200);
    }
    world
        .manager
        .disable(&key.key.record.id, &admin())
        .await
        .expect("disabled");
    for service in &services {
        assert_eq!(send(service).await, 401);
    }
}

#[tokio::test]
async fn a_module_in_shadow_mode_never_refuses() {
    let world = World::with(|builder| builder.with_shadowed_module(module("launcher"))).await;
    let key = world.key(&["lino"]).await;
    let answer = world.get("/engines", key.text.expose()).await;
    let seen = answer.granted();
    let denial = seen.denial.as_ref().expect("what would have been said");
    assert_eq!(denial.code(), DenialCode::ModuleAccessMissing);
    assert_eq!(
        seen.grant.as_ref().expect("known all the same").name(),
        "test"
    );
    assert!(
        seen.headers.contains_key("x-api-key"),
        "the request passes as it came"
    );
    let answer = world.anonymous("/engines").await;
    let seen = answer.granted();
    assert_eq!(
        seen.denial.as_ref().map(Denial::code),
        Some(DenialCode::MissingCredential)
    );
    assert!(seen.grant.is_none());
    let enforced = world.get("/both", key.text.expose()).await;
    assert_eq!(
        enforced.code(),
        "module_access_missing",
        "a module beside it is enforced"
    );
}

#[tokio::test]
async fn a_disabled_key_is_no_caller_in_shadow_mode_either() {
    let world = World::with(|builder| builder.with_shadowed_module(module("launcher"))).await;
    let key = world.key(&["launcher"]).await;
    world
        .manager
        .disable(&key.key.record.id, &admin())
        .await
        .expect("disabled");
    let answer = world.get("/engines", key.text.expose()).await;
    let seen = answer.granted();
    assert_eq!(
        seen.denial.as_ref().map(Denial::code),
        Some(DenialCode::DisabledKey)
    );
    assert!(seen.grant.is_none());
}

#[tokio::test]
async fn a_route_can_ask_for_a_module_itself() {
    let world = World::new().await;
    let guard = RequireModule::new(&world.layer, "lino").expect("a module");
    let service = world.layer.layer(guard.layer(world.inner.clone()));
    let send = async |key: &str| {
        let request = get("/me").header("x-api-key", key).body(Body::default());
        service
            .clone()
            .oneshot(request.expect("valid"))
            .await
            .expect("infallible")
    };
    let (holds, waits) = (world.key(&["lino"]).await, world.key(&["lino"]).await);
    let none = world.key(&[]).await;
    for _ in 0..2 {
        let response = send(holds.text.expose()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().get_all("vary").iter().count(), 1);
        assert_eq!(send(waits.text.expose()).await.status(), 403);
        assert_eq!(send(none.text.expose()).await.status(), 403);
    }
    let denial = send(waits.text.expose())
        .await
        .extensions()
        .get::<Denial>()
        .cloned();
    assert_eq!(
        denial.map(|d| d.code()),
        Some(DenialCode::LicenseLimitReached)
    );
    world
        .manager
        .delete(&holds.key.record.id, &admin())
        .await
        .expect("deleted");
    assert_eq!(
        send(waits.text.expose()).await.status(),
        200,
        "a freed seat counts at once"
    );
}

#[tokio::test]
async fn a_route_can_ask_for_scopes_itself() {
    let world = World::new().await;
    let guard = RequireScopes::new(&world.layer, ["read:a"]).expect("a scope");
    let service = world.layer.layer(guard.layer(world.inner.clone()));
    let scoped = NewKey::named("scoped").with_scopes([Scope::new("read:a").expect("a scope")]);
    let (scoped, plain) = (world.create(scoped).await, world.key(&[]).await);
    for (key, status) in [(scoped, 200), (plain, 403)] {
        let request = get("/me")
            .header("x-api-key", key.text.expose())
            .body(Body::default());
        let response = service.clone().oneshot(request.expect("valid")).await;
        assert_eq!(response.expect("infallible").status(), status);
    }
    let anonymous = get("/realms").body(Body::default()).expect("valid");
    let response = service
        .clone()
        .oneshot(anonymous)
        .await
        .expect("infallible");
    assert_eq!(
        response.status(),
        401,
        "who asks for scopes asks for a caller"
    );
}

#[tokio::test]
async fn a_guard_without_the_layer_says_what_is_missing() {
    let world = World::new().await;
    let guard = RequireScopes::new(&world.layer, ["read:a"]).expect("a scope");
    let service = guard.layer(world.inner.clone());
    let request = get("/me").body(Body::default()).expect("valid");
    let response = service.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 500);
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn a_layer_can_be_held_behind_a_trait_object_of_each_contract() {
    use tower_api_key::{ApiKeyLayer, KeyStore, LicenseLedger, MemoryKeyStore, MemoryLedger};
    let store: Arc<dyn KeyStore> = Arc::new(MemoryKeyStore::new());
    let ledger: Arc<dyn LicenseLedger> = Arc::new(MemoryLedger::new());
    ApiKeyLayer::builder(store, support::map(), ledger)
        .build()
        .expect("a layer");
}
