//! Sessions: tokens with a caller's rights.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_key::{
    Actor, ApiKeyLayer, Clock, ManualClock, MemoryKeyStore, MemoryLedger, NewKey, RouteModules,
    Timestamp,
    jwt::{JwtVerifier, SessionTokens, SigningKey},
    manage::Management,
};

use crate::support::World;

/// A service that gives out sessions of 15 minutes.
struct Desk {
    clock: Arc<ManualClock>,
    layer: ApiKeyLayer,
    #[cfg(feature = "console")]
    management: Management,
    #[cfg(feature = "console")]
    sessions: SessionTokens,
    app: Router,
}

impl Desk {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let key = SigningKey::hs256("2026-11", [7; 32]).unwrap();
        let sessions = SessionTokens::builder("https://hub.example", key)
            .with_lifetime(Duration::from_secs(900))
            .build()
            .unwrap();
        let verifier = JwtVerifier::builder().with_issuer(sessions.issuer());
        let map = RouteModules::builder().build().unwrap();
        let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
            .with_clock(clock.clone())
            .with_maintenance_task(false)
            .with_token_verifier(verifier.build().unwrap())
            .build()
            .unwrap();
        let management = Management::builder(&layer).with_sessions(sessions.clone());
        let management = management.build().unwrap();
        Self {
            clock,
            layer,
            app: management.router(),
            #[cfg(feature = "console")]
            management,
            #[cfg(feature = "console")]
            sessions,
        }
    }

    async fn key(&self, new: NewKey) -> String {
        let (manager, system) = (self.layer.manager(), Actor::system());
        let created = manager.create(new, &system).await.unwrap();
        created.text.expose().to_owned()
    }

    async fn administrator(&self) -> String {
        self.key(NewKey::named("admin").with_administrator(true))
            .await
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        credential: &str,
        body: &str,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {credential}"));
        let request = match body {
            "" => request,
            _ => request.header("content-type", "application/json"),
        };
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn begin(&self, credential: &str) -> (StatusCode, Value) {
        self.call("POST", "/sessions", credential, "").await
    }

    fn in_seconds(&self, seconds: u64) -> Timestamp {
        self.clock
            .now()
            .wall
            .saturating_add(Duration::from_secs(seconds))
    }
}

#[tokio::test]
async fn a_session_manages_as_its_key_does_until_it_ends() {
    let desk = Desk::new();
    let key = desk.administrator().await;
    let (status, session) = desk.begin(&key).await;
    assert_eq!(status, 201);
    assert_eq!(session["expires_at"], desk.in_seconds(900).to_string());
    assert_eq!(session.as_object().unwrap().len(), 2);
    let token = session["token"].as_str().unwrap();
    let (status, _) = desk.call("GET", "/licenses", token, "").await;
    assert_eq!(status, 200);
    desk.clock.advance(Duration::from_secs(900));
    let (status, _) = desk.call("GET", "/licenses", token, "").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_session_begins_no_session() {
    let desk = Desk::new();
    let (_, session) = desk.begin(&desk.administrator().await).await;
    let (status, problem) = desk.begin(session["token"].as_str().unwrap()).await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (403, &json!("forbidden"))
    );
    assert_eq!(problem["detail"], "A session does not begin another one.");
}

#[tokio::test]
async fn a_session_lasts_no_longer_than_its_key() {
    let desk = Desk::new();
    let administrator = || NewKey::named("brief").with_administrator(true);
    let end = desk.in_seconds(60);
    let key = desk.key(administrator().with_expires_at(end)).await;
    let (_, session) = desk.begin(&key).await;
    assert_eq!(session["expires_at"], end.to_string());
    // A token tells whole seconds.
    let end = desk
        .clock
        .now()
        .wall
        .saturating_add(Duration::from_millis(500));
    let key = desk.key(administrator().with_expires_at(end)).await;
    let (status, problem) = desk.begin(&key).await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (409, &json!("conflict"))
    );
}

#[tokio::test]
async fn who_may_not_manage_begins_no_session() {
    let desk = Desk::new();
    let key = desk.key(NewKey::named("outsider")).await;
    let (status, problem) = desk.begin(&key).await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (403, &json!("module_access_missing"))
    );
}

#[tokio::test]
async fn nothing_is_asked_of_who_begins_a_session() {
    let desk = Desk::new();
    let key = desk.administrator().await;
    let (status, _) = desk.call("POST", "/sessions", &key, "{}").await;
    assert_eq!(status, 201);
    for (path, body) in [
        ("/sessions", r#"{"lifetime": 9}"#),
        ("/sessions", "[]"),
        ("/sessions?lifetime=9", ""),
    ] {
        let (status, problem) = desk.call("POST", path, &key, body).await;
        let code = &problem["code"];
        assert_eq!(
            (status.as_u16(), code),
            (400, &json!("invalid_request")),
            "{body}"
        );
    }
}

#[tokio::test]
async fn without_sessions_there_is_no_such_call() {
    let world = World::new().await;
    world
        .administer("POST", "/sessions", None)
        .await
        .refused(404, "not_found");
    let paths = &world.management.openapi()["paths"];
    assert!(paths.get("/sessions").is_none() && paths.get("/licenses").is_some());
}

#[cfg(feature = "console")]
#[tokio::test]
async fn console_keeps_no_session_that_a_browser_would_drop() {
    use tower_api_key::{Scope, console::Console, jwt::Session};

    let mut desk = Desk::new();
    desk.app = Console::new(&desk.management).unwrap().router();
    for (scopes, fits) in [(1, true), (200, false)] {
        let scopes = (0..scopes).map(|n| Scope::new(format!("a-rather-long-scope:{n}")).unwrap());
        let session = Session::of("user-7")
            .with_administrator(true)
            .with_scopes(scopes);
        let session = desk.sessions.issue(&session, desk.clock.now()).unwrap();
        let body = json!({"key": session.text.expose()}).to_string();
        let request = Request::post("/session").header("content-type", "application/json");
        let request = request.body(Body::from(body)).unwrap();
        let answer = desk.app.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let cookie = head.headers.get("set-cookie");
        let cookie = cookie.map(|cookie| cookie.to_str().unwrap());
        if fits {
            assert_eq!(head.status, StatusCode::CREATED);
            let cookie = cookie.unwrap();
            assert!(cookie.contains(session.text.expose()), "{cookie}");
            // RFC 6265 §6.1, for name, value and attributes together.
            assert!(cookie.len() <= 4_096, "{cookie}");
        } else {
            assert_eq!(head.status, StatusCode::CONFLICT);
            assert_eq!(cookie, None);
            let body = body.collect().await.unwrap().to_bytes();
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                problem["detail"],
                "The session is longer than what browsers keep in a cookie."
            );
        }
    }
}
