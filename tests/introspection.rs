//! Opaque tokens, and an authorization server that is asked about each.
#![cfg(feature = "oauth")]

mod support;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::request::Builder;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Answer, World, get, log::Log};
use tower_api_key::{
    Clock, ManualClock, TokenError, TokenVerifier,
    oauth::{ClientCredentials, HttpClient, Introspection, IntrospectionBuilder, OAuthSetupError},
};

/// An authorization server that answers as it is told.
#[derive(Clone)]
struct Server {
    url: String,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// By path.
    replies: BTreeMap<&'static str, Reply>,
    asked: Vec<Asked>,
}

#[derive(Clone)]
enum Reply {
    With(u16, &'static str, String),
    Never,
    /// As soon as it may.
    After(Arc<tokio::sync::Semaphore>, String),
}

#[derive(Clone)]
struct Asked {
    line: String,
    headers: http::HeaderMap,
    body: String,
}

const PATH: &str = "/introspect";
const DOCUMENT: &str = "/.well-known/openid-configuration";
const TOKEN: &str = "opaque-7kQ~4.zz/+9Y==";
const SECRET: &str = "s3cret:/?ü &x";

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let script = Arc::default();
        let server = Self { url, script };
        let router = Router::new().fallback(reply).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn says(&self, members: Value) {
        self.replies(
            PATH,
            Reply::With(200, "application/json", members.to_string()),
        );
    }

    fn replies(&self, path: &'static str, reply: Reply) {
        self.script
            .lock()
            .expect("a script")
            .replies
            .insert(path, reply);
    }

    /// Publishes where its introspection endpoint is.
    fn publishes(&self, issuer: &str) {
        let document = self.document(issuer);
        self.replies(DOCUMENT, Reply::With(200, "application/json", document));
    }

    fn document(&self, issuer: &str) -> String {
        let endpoint = format!("{}{PATH}", self.url);
        json!({"issuer": issuer, "introspection_endpoint": endpoint}).to_string()
    }

    fn asked(&self) -> Vec<Asked> {
        self.script.lock().expect("a script").asked.clone()
    }

    /// How often it was asked about a token, or for a document.
    fn times(&self, path: &str) -> usize {
        let asked = self.asked();
        asked
            .iter()
            .filter(|asked| asked.line.ends_with(path))
            .count()
    }

    fn builder(&self) -> IntrospectionBuilder {
        self.builder_for(ClientCredentials::basic("realms api", SECRET))
    }

    fn builder_for(&self, credentials: ClientCredentials) -> IntrospectionBuilder {
        Introspection::builder(&self.url, credentials)
            .with_endpoint(format!("{}{PATH}", self.url))
            .with_client(client(Duration::from_secs(5)))
    }
}

async fn reply(State(server): State<Server>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let reply = {
        let mut script = server.script.lock().expect("a script");
        script.asked.push(Asked {
            line: format!("{} {}", head.method, head.uri),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).expect("a form"),
        });
        script.replies.get(head.uri.path()).cloned()
    };
    let (status, content_type, body) = match reply {
        None => (404, "text/plain", "nothing here".to_owned()),
        Some(Reply::With(status, content_type, body)) => (status, content_type, body),
        Some(Reply::After(semaphore, body)) => {
            semaphore.acquire().await.expect("open").forget();
            (200, "application/json", body)
        }
        Some(Reply::Never) => std::future::pending().await,
    };
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body))
        .expect("an answer")
}

/// What all tests of this file log. One for the process: where threads begin and end logs of their
/// own, an event that is first reached meanwhile can be lost to all of them.
fn log() -> &'static Log {
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let log = Log::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .with_ansi(false)
            .init();
        log
    });
    &LOG
}

/// One that needs nothing of the operating system.
fn client(timeout: Duration) -> HttpClient {
    log();
    HttpClient::builder()
        .with_root_certificates(include_bytes!("../src/oauth/http/authority.pem"))
        .with_timeout(timeout)
        .build()
        .expect("a client")
}

fn active() -> Value {
    json!({"active": true, "sub": "ada", "scope": "read:a write:b", "token_type": "Bearer"})
}

fn bearer(path: &str, token: &str) -> Builder {
    get(path).header("authorization", format!("Bearer {token}"))
}

/// A layer that asks `server`.
async fn world(
    server: &Server,
    settings: impl FnOnce(IntrospectionBuilder) -> IntrospectionBuilder,
) -> World {
    let introspection = settings(server.builder()).build().expect("a verifier");
    World::with(|builder| {
        builder
            .with_token_verifier(introspection)
            .with_verification_timeout(Duration::from_secs(20))
    })
    .await
}

async fn me(world: &World) -> Answer {
    world.send(bearer("/me", TOKEN)).await
}

#[track_caller]
fn unavailable(answer: &Answer) {
    let detail = answer.json()["detail"]
        .as_str()
        .expect("a detail")
        .to_owned();
    answer.refused(503, "store_unavailable", &detail);
    let seconds = answer.headers["retry-after"].to_str().expect("ASCII");
    assert!(
        seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0),
        "{seconds}"
    );
}

/// An error with all its causes.
fn chain(mut error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    while let Some(cause) = error.source() {
        text += &format!(": {cause} {cause:?}");
        error = cause;
    }
    text
}

#[tokio::test]
async fn active_token_is_granted_what_the_server_says() {
    let server = Server::start().await;
    let world = world(&server, |builder| builder).await;
    server.says(active());
    let answer = me(&world).await;
    let grant = answer.granted().grant.clone().expect("a grant");
    let holder = format!("{}|ada", server.url);
    assert_eq!(grant.holder().as_str(), holder);
    let scopes: Vec<_> = grant
        .scopes()
        .iter()
        .map(tower_api_key::Scope::as_str)
        .collect();
    assert_eq!(scopes, ["read:a", "write:b"]);
    // Nothing of it is left for the handler.
    assert!(!answer.granted().headers.contains_key("authorization"));
}

#[tokio::test]
async fn token_that_is_not_active_is_refused_without_a_word_why() {
    let server = Server::start().await;
    let world = world(&server, |builder| builder).await;
    server.says(json!({"active": false, "error_description": "revoked by ada"}));
    let answer = me(&world).await;
    answer.refused(401, "invalid_key", "API Key is missing or invalid.");
    assert_eq!(
        answer.challenges()[0],
        "Bearer realm=\"api\", error=\"invalid_token\""
    );
    assert!(!String::from_utf8_lossy(&answer.body).contains("revoked"));
}

#[tokio::test]
async fn token_past_its_expiry_is_told_so() {
    let server = Server::start().await;
    let world = world(&server, |builder| builder).await;
    let mut expired = active();
    expired["exp"] = world.clock.now().wall.unix_seconds().into();
    server.says(expired);
    assert_eq!(me(&world).await.code(), "expired_key");
}

#[tokio::test]
async fn any_other_answer_and_none_is_an_outage() {
    let server = Server::start().await;
    let with = |status, kind, body: &str| Reply::With(status, kind, body.to_owned());
    let good = active().to_string();
    let (json, text) = ("application/json", "text/html");
    let world = world(&server, |builder| builder).await;
    for reply in [
        with(500, json, &good),
        with(503, json, &good),
        with(302, json, &good),
        with(201, json, &good),
        with(404, json, &good),
        with(400, json, &good),
        with(401, json, r#"{"error":"invalid_client"}"#),
        with(403, json, r#"{"error":"unauthorized_client"}"#),
        with(200, text, &good),
        with(200, "application/token-introspection+jwt", "e30.e30."),
        with(200, json, "{}"),
        with(
            200,
            json,
            r#"{"active":"true","sub":"ada","token_type":"Bearer"}"#,
        ),
        with(200, json, r#"{"active":false,"active":true,"sub":"ada"}"#),
        with(200, json, ""),
    ] {
        server.replies(PATH, reply);
        unavailable(&me(&world).await);
    }
    // It was the server, and not the token.
    server.says(active());
    me(&world).await.granted();
}

#[tokio::test]
async fn server_that_does_not_answer_is_an_outage() {
    let server = Server::start().await;
    server.replies(PATH, Reply::Never);
    let soon = client(Duration::from_millis(50));
    let world = world(&server, |builder| builder.with_client(soon)).await;
    unavailable(&me(&world).await);
    assert_eq!(server.times(PATH), 1);
}

#[tokio::test]
async fn server_that_is_not_there_is_an_outage() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let server = Server {
        url,
        script: Arc::default(),
    };
    unavailable(&me(&world(&server, |builder| builder).await).await);
}

#[tokio::test]
async fn each_request_asks_anew_so_that_revoked_is_refused_at_once() {
    let server = Server::start().await;
    let world = world(&server, |builder| builder).await;
    server.says(active());
    me(&world).await.granted();
    me(&world).await.granted();
    assert_eq!(server.times(PATH), 2);
    server.says(json!({"active": false}));
    assert_eq!(me(&world).await.code(), "invalid_key");
}

#[tokio::test]
async fn remembered_answer_spares_the_server_for_so_long() {
    let server = Server::start().await;
    let ten = Duration::from_secs(10);
    let world = world(&server, |builder| builder.with_cache(ten)).await;
    server.says(active());
    me(&world).await.granted();
    server.says(json!({"active": false}));
    world.clock.advance(ten - Duration::from_millis(1));
    me(&world).await.granted();
    assert_eq!(server.times(PATH), 1);
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(me(&world).await.code(), "invalid_key");
    assert_eq!(server.times(PATH), 2);
}

#[tokio::test]
async fn no_answer_is_remembered_beyond_expiry() {
    let server = Server::start().await;
    let hour = Duration::from_secs(3_600);
    let world = world(&server, |builder| builder.with_cache(hour)).await;
    let mut expiring = active();
    expiring["exp"] = (world.clock.now().wall.unix_seconds() + 60).into();
    server.says(expiring);
    me(&world).await.granted();
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(me(&world).await.code(), "expired_key");
}

#[tokio::test]
async fn basic_credentials_are_encoded_before_they_are_sent() {
    let server = Server::start().await;
    let world = world(&server, |builder| builder).await;
    server.says(active());
    me(&world).await.granted();
    let asked = server.asked().remove(0);
    assert_eq!(asked.line, "POST /introspect");
    // RFC 6749 §2.3.1: `realms+api:s3cret%3A%2F%3F%C3%BC+%26x`.
    let basic = "Basic cmVhbG1zK2FwaTpzM2NyZXQlM0ElMkYlM0YlQzMlQkMrJTI2eA==";
    assert_eq!(asked.headers["authorization"], basic);
    assert_eq!(
        asked.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(asked.headers["accept"], "application/json");
    let form = "token=opaque-7kQ%7E4.zz%2F%2B9Y%3D%3D&token_type_hint=access_token";
    assert_eq!(asked.body, form);
}

#[tokio::test]
async fn posted_credentials_stand_in_the_body_only() {
    let server = Server::start().await;
    let credentials = ClientCredentials::post("realms api", SECRET);
    let introspection = server.builder_for(credentials).build().expect("a verifier");
    server.says(active());
    let now = ManualClock::new().now();
    let verified = introspection.verify(b"opaque", now).await;
    verified.expect("valid");
    let asked = server.asked().remove(0);
    assert!(!asked.headers.contains_key("authorization"));
    assert_eq!(
        asked.body,
        "token=opaque&token_type_hint=access_token&client_id=realms+api\
         &client_secret=s3cret%3A%2F%3F%C3%BC+%26x"
    );
}

#[tokio::test]
async fn operator_learns_that_the_server_refuses_this_client() {
    let server = Server::start().await;
    let now = ManualClock::new().now();
    for (credentials, status, refused) in [
        (ClientCredentials::basic("api", SECRET), 401, true),
        (ClientCredentials::basic("api", SECRET), 403, true),
        (ClientCredentials::basic("api", SECRET), 400, false),
        (ClientCredentials::post("api", SECRET), 400, true),
        (ClientCredentials::post("api", SECRET), 500, false),
    ] {
        let introspection = server.builder_for(credentials).build().expect("a verifier");
        let body = r#"{"error":"invalid_client"}"#.to_owned();
        server.replies(PATH, Reply::With(status, "application/json", body));
        let error = introspection.verify(TOKEN.as_bytes(), now).await;
        let error = error.expect_err("refused");
        assert!(matches!(error, TokenError::Unavailable(_)), "{error:?}");
        let told = chain(&error);
        assert_eq!(
            told.contains("check the client id, the secret"),
            refused,
            "{told}"
        );
        assert!(told.contains(&format!("status {status}")), "{told}");
    }
    // Where the service is run, the layer tells it.
    let world = world(&server, |builder| builder).await;
    server.replies(PATH, Reply::With(401, "application/json", "{}".into()));
    unavailable(&me(&world).await);
    let told = log().text();
    let mut told = told.lines().filter(|line| line.contains(&server.url));
    assert!(told.any(|line| {
        line.contains("WARN") && line.contains("backend failed") && line.contains("client id")
    }));
}

#[tokio::test]
async fn neither_token_nor_secret_is_ever_told() {
    let server = Server::start().await;
    let mut told = String::new();
    for credentials in [
        ClientCredentials::basic("api", SECRET),
        ClientCredentials::post("api", SECRET),
    ] {
        let builder = server.builder_for(credentials.clone());
        told += &format!("{credentials:?} {builder:?}");
        let introspection = builder.build().expect("a verifier");
        told += &format!("{introspection:?}");
        let introspection = Arc::new(introspection);
        let world =
            World::with(|layer| layer.with_token_verifier(Arc::clone(&introspection))).await;
        for (status, body) in [
            (200, active().to_string()),
            (200, json!({"active": false}).to_string()),
            // A server that tells whatever it was told.
            (200, format!("{TOKEN} {SECRET}")),
            (200, json!({"active": TOKEN}).to_string()),
            (401, format!("{TOKEN} {SECRET}")),
            (500, format!("{TOKEN} {SECRET}")),
        ] {
            server.replies(PATH, Reply::With(status, "application/json", body));
            let answer = me(&world).await;
            told += &format!("{:?} {:?}", answer.headers, answer.body);
            if let Err(error) = introspection
                .verify(TOKEN.as_bytes(), world.clock.now())
                .await
            {
                told += &chain(&error);
            }
        }
    }
    told += &log().text();
    assert!(told.contains("backend failed"), "the log is read");
    let secret = "s3cret";
    let encoded = "czNjcmV0";
    for part in [
        "opaque-7kQ",
        "4.zz",
        secret,
        encoded,
        "cmVhbG1zK2FwaTpzM2NyZXQ",
        "YXBpOnMzY3JldC",
    ] {
        assert!(!told.contains(part), "{part} in {told}");
    }
}

#[tokio::test]
async fn endpoint_is_found_through_the_issuer_once() {
    let server = Server::start().await;
    server.publishes(&server.url);
    server.says(active());
    let introspection =
        Introspection::builder(&server.url, ClientCredentials::basic("api", SECRET))
            .with_client(client(Duration::from_secs(5)))
            .build()
            .expect("a verifier");
    assert!(server.asked().is_empty(), "nothing is asked at set-up");
    let now = ManualClock::new().now();
    let (one, other) = tokio::join!(
        introspection.verify(b"one", now),
        introspection.verify(b"other", now)
    );
    one.expect("valid");
    other.expect("valid");
    introspection.verify(b"third", now).await.expect("valid");
    assert_eq!((server.times(DOCUMENT), server.times(PATH)), (1, 3));
}

#[tokio::test]
async fn search_that_failed_is_tried_again_after_a_while() {
    let server = Server::start().await;
    server.says(active());
    // Of somebody else: it must not decide where tokens are sent.
    server.publishes("https://other.example");
    let introspection =
        Introspection::builder(&server.url, ClientCredentials::basic("api", SECRET))
            .with_client(client(Duration::from_secs(5)))
            .build()
            .expect("a verifier");
    let clock = ManualClock::new();
    for _ in 0..3 {
        let error = introspection.verify(b"opaque", clock.now()).await;
        let error = error.expect_err("nobody was found");
        assert!(matches!(error, TokenError::Unavailable(_)), "{error:?}");
        assert!(
            chain(&error).contains("another issuer"),
            "{}",
            chain(&error)
        );
    }
    assert_eq!((server.times(DOCUMENT), server.times(PATH)), (1, 0));
    server.publishes(&server.url);
    clock.advance(Duration::from_millis(4_999));
    assert!(introspection.verify(b"opaque", clock.now()).await.is_err());
    clock.advance(Duration::from_millis(1));
    let verified = introspection.verify(b"opaque", clock.now()).await;
    verified.expect("valid");
    assert_eq!((server.times(DOCUMENT), server.times(PATH)), (2, 1));
}

/// A layer waits for so long only: a server that is slower to say where it is would never be found.
#[tokio::test]
async fn search_goes_on_when_who_asked_has_gone() {
    let server = Server::start().await;
    server.says(active());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let document = server.document(&server.url);
    server.replies(DOCUMENT, Reply::After(Arc::clone(&gate), document));
    let introspection =
        Introspection::builder(&server.url, ClientCredentials::basic("api", SECRET))
            .with_client(client(Duration::from_secs(5)))
            .build()
            .expect("a verifier");
    let now = ManualClock::new().now();
    let mut asking = introspection.verify(b"opaque", now);
    while server.times(DOCUMENT) == 0 {
        let pending = futures_util::poll!(&mut asking);
        assert!(pending.is_pending());
        tokio::task::yield_now().await;
    }
    drop(asking);
    gate.add_permits(1);
    introspection.verify(b"opaque", now).await.expect("valid");
    assert_eq!((server.times(DOCUMENT), server.times(PATH)), (1, 1));
}

#[tokio::test]
async fn token_of_no_type_is_refused_and_told_once() {
    let server = Server::start().await;
    let world = world(&server, |builder| builder).await;
    server.says(json!({"active": true, "sub": "ada"}));
    for _ in 0..2 {
        assert_eq!(me(&world).await.code(), "invalid_key");
    }
    let told = log().text();
    let told = told.lines().filter(|line| line.contains(&server.url));
    let told = told.filter(|line| line.contains("tokens of no type refused"));
    assert_eq!(told.count(), 1);
}

#[tokio::test]
async fn token_of_no_type_is_taken_where_the_setting_says_so() {
    let server = Server::start().await;
    let world = world(&server, IntrospectionBuilder::without_token_type).await;
    server.says(json!({"active": true, "sub": "ada"}));
    me(&world).await.granted();
}

#[tokio::test]
async fn audience_is_that_of_this_service() {
    let server = Server::start().await;
    let world = world(&server, |builder| {
        builder
            .with_audience("https://api.example")
            .with_audience("realms")
    })
    .await;
    let mut token = active();
    server.says(token.clone());
    assert_eq!(me(&world).await.code(), "invalid_key");
    token["aud"] = json!(["other", "realms"]);
    server.says(token);
    me(&world).await.granted();
}

/// RFC 6750 §2.1, and no JWT.
#[tokio::test]
async fn only_what_can_be_an_opaque_token_is_asked_about() {
    let server = Server::start().await;
    let jwt = "eyJhbGciOiJub25lIn0.e30.";
    let opaque = server.builder().build().expect("a verifier");
    let every = server
        .builder()
        .with_jwts(true)
        .build()
        .expect("a verifier");
    for token in [
        "a",
        TOKEN,
        "eyJhbGciOiJub25lIn0",
        "a.b.c",
        "-._~+/",
        "a=",
        "rk_live_a",
    ] {
        assert!(opaque.recognizes(token.as_bytes()), "{token}");
        assert!(every.recognizes(token.as_bytes()), "{token}");
    }
    assert!(!opaque.recognizes(jwt.as_bytes()));
    assert!(every.recognizes(jwt.as_bytes()));
    for token in [
        "", "=", "==", "a=b", "a b", "a\"", "a:b", "a,b", "a%20", "é", "a\0", "a\n",
    ] {
        assert!(!opaque.recognizes(token.as_bytes()), "{token}");
        assert!(!every.recognizes(token.as_bytes()), "{token}");
    }
    // Nobody is asked about those.
    let world = world(&server, |builder| builder).await;
    for token in [jwt, "a:b"] {
        let answer = world.send(bearer("/me", token)).await;
        answer.refused(401, "invalid_key", "API Key is missing or invalid.");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn settings_that_cannot_work_are_named() {
    let build = |issuer: &str,
                 id: &str,
                 secret: &str,
                 settings: fn(IntrospectionBuilder) -> IntrospectionBuilder| {
        let builder = Introspection::builder(issuer, ClientCredentials::basic(id, secret));
        let builder = builder.with_client(client(Duration::from_secs(1)));
        settings(builder).build().map(|_| ())
    };
    let issuer = "https://issuer.example";
    build(issuer, "api", "x", |builder| builder).expect("good settings");
    for (issuer, id, secret) in [
        ("http://issuer.example", "api", "x"),
        ("https://issuer.example/?a", "api", "x"),
        ("https://issuer.example/#a", "api", "x"),
        ("https://issuer.example/a|b", "api", "x"),
        ("", "api", "x"),
        (issuer, "", "x"),
        (issuer, "api", ""),
    ] {
        build(issuer, id, secret, |builder| builder).expect_err(issuer);
    }
    let endpoint = build(issuer, "api", "x", |b| {
        b.with_endpoint("http://issuer.example/i")
    });
    assert!(
        matches!(endpoint, Err(OAuthSetupError::Url { .. })),
        "{endpoint:?}"
    );
    let audience = build(issuer, "api", "x", |b| b.with_audience(""));
    assert!(
        matches!(audience, Err(OAuthSetupError::Setting(_))),
        "{audience:?}"
    );
}
