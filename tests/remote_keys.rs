//! Tokens of an issuer whose keys are fetched from a server that rotates them and fails, seen by the
//! client of a guarded service.

mod support;

use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use support::{Answer, World, get, log::Log};
use tower_api_key::{
    Clock, Timestamp,
    jwt::{Issuer, JwtVerifier},
    oauth::{HttpClient, RemoteKeys},
};

/// A key pair of Ed25519 by the first two tests of RFC 8032 §7.1.
struct Pair {
    kid: &'static str,
    secret: &'static [u8; 32],
    public: &'static [u8; 32],
}

const FIRST: Pair = Pair {
    kid: "first",
    secret: b"\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60",
    public: b"\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a",
};
const SECOND: Pair = Pair {
    kid: "second",
    secret: b"\x4c\xcd\x08\x9b\x28\xff\x96\xda\x9d\xb6\xc3\x46\xec\x11\x4e\x0f\x5b\x8a\x31\x9f\x35\xab\xa6\x24\xda\x8c\xf6\xed\x4f\xb8\xa6\xfb",
    public: b"\x3d\x40\x17\xc3\xe8\x43\x89\x5a\x92\xb7\x0a\xa7\x4d\x1b\x7e\xbc\x9c\x98\x2c\xcf\x2e\xc4\x96\x8c\xc0\xcd\x55\xf1\x2a\xf4\x66\x0c",
};

impl Pair {
    fn jwk(&self) -> serde_json::Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.public);
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.kid, "x": x})
    }

    fn signs(&self, issuer: &str, subject: &str, until: Timestamp) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.to_owned());
        header.typ = Some("at+jwt".to_owned());
        let claims = json!({
            "iss": issuer, "sub": subject, "aud": "api", "exp": until.unix_seconds(),
        });
        // RFC 8410 §7: what stands before the secret in PKCS #8.
        let lead = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let key = EncodingKey::from_ed_der(&[&lead[..], self.secret].concat());
        jsonwebtoken::encode(&header, &claims, &key).expect("a token")
    }
}

/// An authorization server that publishes these keys, or is down.
struct Server {
    url: String,
    keys: Arc<Mutex<Option<Vec<&'static Pair>>>>,
    fetches: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        log();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let keys = Arc::new(Mutex::new(Some(vec![&FIRST])));
        let fetches = Arc::new(AtomicUsize::new(0));
        let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let (published, counter) = (Arc::clone(&keys), Arc::clone(&fetches));
        let set = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let published = published.lock().expect("keys").clone();
            let answer = match published {
                None => StatusCode::BAD_GATEWAY.into_response(),
                Some(keys) => {
                    let keys: Vec<_> = keys.iter().map(|pair| pair.jwk()).collect();
                    axum::Json(json!({ "keys": keys })).into_response()
                }
            };
            std::future::ready(answer)
        };
        let router = axum::Router::new()
            .route(
                "/.well-known/openid-configuration",
                axum::routing::get(axum::Json(document)),
            )
            .route("/keys", axum::routing::get(set));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, keys, fetches }
    }

    fn publishes(&self, keys: Option<Vec<&'static Pair>>) {
        *self.keys.lock().expect("keys") = keys;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// A guarded service that takes the tokens of this issuer.
    async fn world(&self) -> World {
        let client = HttpClient::builder()
            .with_root_certificates(include_bytes!("../src/oauth/http/authority.pem"))
            .build()
            .expect("a client");
        let keys = RemoteKeys::discover(&self.url).with_client(client);
        let issuer = Issuer::new(&self.url)
            .with_audience("api")
            .with_keys(keys.build().expect("keys"));
        let verifier = JwtVerifier::builder().with_issuer(issuer).build();
        let verifier = verifier.expect("a verifier");
        World::with(|builder| {
            // No answer here hangs on how busy the machine is.
            let patient = builder.with_verification_timeout(Duration::from_secs(60));
            patient.with_token_verifier(verifier)
        })
        .await
    }

    fn token(&self, world: &World, pair: &Pair, subject: &str) -> String {
        let until = world.clock.now().wall.saturating_add(DAY);
        pair.signs(&self.url, subject, until)
    }
}

/// What the tests of this file log: one for all, because an event that was first met without anybody
/// who listens may stay silent.
fn log() -> &'static Log {
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone());
        let only = tracing::subscriber::set_global_default(subscriber.finish());
        only.expect("no other one");
        log
    });
    &LOG
}

const DAY: Duration = Duration::from_secs(86_400);

async fn send(world: &World, token: &str) -> Answer {
    let request = get("/me").header("authorization", format!("Bearer {token}"));
    world.send(request).await
}

#[tokio::test]
async fn rotated_key_is_taken_at_once_and_the_withdrawn_one_no_longer() {
    let server = Server::start().await;
    let world = server.world().await;
    let old = server.token(&world, &FIRST, "ada");
    for _ in 0..3 {
        let answer = send(&world, &old).await;
        let grant = answer.granted().grant.clone().expect("a grant");
        assert_eq!(grant.holder().as_str(), format!("{}|ada", server.url));
    }
    assert_eq!(server.fetches(), 1);

    server.publishes(Some(vec![&SECOND]));
    world.clock.advance(Duration::from_secs(10));
    send(&world, &old).await.granted();
    assert_eq!(server.fetches(), 1, "remembered");
    let new = server.token(&world, &SECOND, "ada");
    send(&world, &new).await.granted();
    assert_eq!(server.fetches(), 2);
    assert_eq!(send(&world, &old).await.code(), "invalid_key");
    send(&world, &new).await.granted();
    assert_eq!(server.fetches(), 2, "not more than once in ten seconds");
}

#[tokio::test]
async fn outage_is_503_for_what_is_unknown_and_nothing_for_what_is_known() {
    let server = Server::start().await;
    let world = server.world().await;
    send(&world, &server.token(&world, &FIRST, "ada"))
        .await
        .granted();
    server.publishes(None);
    world.clock.advance(Duration::from_secs(600));
    let (first, second) = (
        server.token(&world, &FIRST, "bob"),
        server.token(&world, &SECOND, "bob"),
    );
    send(&world, &first).await.granted();
    let refused = send(&world, &second).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);

    server.publishes(Some(vec![&FIRST, &SECOND]));
    world.clock.advance(Duration::from_secs(10));
    send(&world, &second).await.granted();
    send(&world, &first).await.granted();
}

#[tokio::test]
async fn fetch_that_fails_is_told_although_the_old_keys_are_still_good() {
    let server = Server::start().await;
    let world = server.world().await;
    let token = server.token(&world, &FIRST, "ada");
    send(&world, &token).await.granted();
    server.publishes(None);
    world.clock.advance(Duration::from_secs(600));
    send(&world, &token).await.granted();
    let line = format!("{}/keys: answered with status 502", server.url);
    let told = async {
        while !log().text().contains(&line) {
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), told).await;
    assert!(told.is_ok(), "{}", log().text());
    assert!(!log().text().contains(&token));
}

#[tokio::test]
async fn keys_that_could_not_be_fetched_for_too_long_verify_nothing() {
    let server = Server::start().await;
    let world = server.world().await;
    send(&world, &server.token(&world, &FIRST, "ada"))
        .await
        .granted();
    server.publishes(None);
    world.clock.advance(Duration::from_secs(3_600));
    let token = server.token(&world, &FIRST, "bob");
    let refused = send(&world, &token).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    server.publishes(Some(vec![&FIRST]));
    world.clock.advance(Duration::from_secs(10));
    send(&world, &token).await.granted();
}
