//! Tokens that come with proofs (RFC 9449), through the layer.
#![cfg(feature = "jwt")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use http::{Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Answer, Body, World, get, module};
use tower::Layer;
use tower_api_key::{
    ApiKeyLayerBuilder, Clock, Holder, KeyThumbprint, NewKey, Now, Principal, Scope, TokenError,
    TokenVerifier,
    jwt::{Dpop, DpopBuilder},
};

const INVALID: &str = "API Key is missing or invalid.";
const BEARER: &str = "Bearer realm=\"api\"";
const DPOP: &str = "DPoP realm=\"api\", algs=\"ES256 EdDSA RS256 PS256\"";
const API_KEY: &str = "ApiKey realm=\"api\", header=\"X-API-Key\"";

/// Takes `bound:NAME` for a token that is bound to the key below, and `plain:NAME` for one that is
/// bound to none.
#[derive(Clone)]
struct Tokens {
    keep_for: Duration,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl TokenVerifier for Tokens {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"bound:") || token.starts_with(b"plain:")
    }

    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (kind, name) = token.split_at(6);
        let name = std::str::from_utf8(name).map_err(|_| TokenError::Invalid)?;
        if name == "nobody" {
            return Err(TokenError::Invalid);
        }
        let holder = Holder::new(format!("issuer|{name}")).expect("a holder");
        let mut principal = Principal::new(holder);
        principal.confirmation = (kind == b"bound:").then(thumbprint);
        principal.modules = vec![module("launcher")];
        principal.scopes = vec![Scope::new("read:realms").expect("a scope")];
        principal.keep_for = self.keep_for;
        principal.expires_at = Some(now.wall.saturating_add(Duration::from_secs(600)));
        Ok(principal)
    }
}

fn builder() -> DpopBuilder {
    Dpop::builder("https://api.example.com")
}

async fn world(
    dpop: DpopBuilder,
    keep_for: Duration,
    settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder,
) -> (World, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let tokens = Tokens {
        keep_for,
        asked: Arc::clone(&asked),
    };
    let dpop = dpop.build().expect("a check");
    let plugged =
        |builder: ApiKeyLayerBuilder| settings(builder.with_token_verifier(tokens).with_dpop(dpop));
    (World::with(plugged).await, asked)
}

/// Tokens are remembered for a minute.
async fn usual() -> World {
    let (world, _) = world(builder(), Duration::from_secs(60), |builder| builder).await;
    world
}

fn jwk() -> Value {
    json!({
        "crv": "P-256", "kty": "EC",
        "x": "WSA-GafIJiNzh_U5LdsNsZ1MTOUd4-S3cWTheq538u4",
        "y": "S8Rm_Gx9qSVrl-M9jD0BnzdnAZef5zk26dNRBc5asUY",
    })
}

/// RFC 7638: its members are in order.
fn thumbprint() -> KeyThumbprint {
    KeyThumbprint::from_bytes(Sha256::digest(jwk().to_string()).into())
}

fn claims(world: &World, id: &str, method: &str, path: &str, token: &str) -> Value {
    json!({
        "jti": id, "htm": method, "htu": format!("https://api.example.com{path}"),
        "iat": world.clock.now().wall.unix_seconds(), "ath": BASE64.encode(Sha256::digest(token)),
    })
}

fn signed(claims: &Value) -> String {
    let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk() });
    let message = [&header, claims]
        .map(|part| BASE64.encode(part.to_string()))
        .join(".");
    let key = EncodingKey::from_ec_pem(P256.as_bytes()).expect("a key");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::ES256).expect("signed");
    format!("{message}.{signature}")
}

fn proof(world: &World, id: &str, path: &str, token: &str) -> String {
    signed(&claims(world, id, "GET", path, token))
}

fn with_proof(path: &str, token: &str, proof: &str) -> http::request::Builder {
    let request = get(path).header("authorization", format!("DPoP {token}"));
    request.header("dpop", proof)
}

async fn send(world: &World, path: &str, token: &str, proof: &str) -> Answer {
    world.send(with_proof(path, token, proof)).await
}

#[track_caller]
fn invalid_proof(answer: &Answer, fault: &str) {
    let detail = format!("The DPoP proof is not valid: {fault}.");
    answer.refused(401, "invalid_dpop_proof", &detail);
    let error = format!("{DPOP}, error=\"invalid_dpop_proof\"");
    assert_eq!(answer.challenges(), [BEARER, &error, API_KEY]);
    assert!(!answer.headers.contains_key("dpop-nonce"));
}

#[tokio::test]
async fn a_bound_token_passes_with_a_proof_for_each_request() {
    for keep_for in [Duration::ZERO, Duration::from_secs(60)] {
        let (world, asked) = world(builder(), keep_for, |builder| builder).await;
        for id in ["a", "b", "c"] {
            let proof = proof(&world, id, "/me", "bound:alice");
            let answer = send(&world, "/me", "bound:alice", &proof).await;
            let seen = answer.granted();
            let grant = seen.grant.clone().expect("a grant");
            assert_eq!(grant.principal(), "issuer|alice");
            assert!(!seen.headers.contains_key("authorization"));
            assert!(!seen.headers.contains_key("dpop"));
            assert_eq!(answer.headers["vary"], "x-api-key, authorization");
            // Remembered or not: the proof has been used.
            let again = send(&world, "/me", "bound:alice", &proof).await;
            invalid_proof(&again, "it was sent before");
        }
        assert_eq!(
            asked.load(Ordering::SeqCst),
            if keep_for.is_zero() { 6 } else { 1 }
        );
        assert_eq!(world.calls(), 3);
    }
}

#[tokio::test]
async fn a_proof_is_checked_also_where_the_ledger_is_asked() {
    let world = usual().await;
    for id in ["a", "b"] {
        let proof = proof(&world, id, "/engines", "bound:alice");
        // Whatever the ledger says: the proof is asked for once, and not again after the answer.
        let answer = send(&world, "/engines", "bound:alice", &proof).await;
        assert_ne!(answer.status, 401, "{:?}", answer.json());
        let again = send(&world, "/engines", "bound:alice", &proof).await;
        invalid_proof(&again, "it was sent before");
    }
}

#[tokio::test]
async fn exactly_one_proof_is_needed() {
    let world = usual().await;
    let good = proof(&world, "a", "/me", "bound:alice");
    let none = get("/me").header("authorization", "DPoP bound:alice");
    let two = with_proof("/me", "bound:alice", &good).header("dpop", &good);
    for request in [none, two] {
        invalid_proof(
            &world.send(request).await,
            "exactly one header DPoP is needed",
        );
    }
    send(&world, "/me", "bound:alice", &good).await.granted();
}

#[tokio::test]
async fn a_proof_for_another_request_is_refused() {
    let world = usual().await;
    let elsewhere = proof(&world, "a", "/realms", "bound:alice");
    let answer = send(&world, "/me", "bound:alice", &elsewhere).await;
    invalid_proof(&answer, "htu is not the address of this request");
    let post = signed(&claims(&world, "a", "POST", "/me", "bound:alice"));
    let answer = send(&world, "/me", "bound:alice", &post).await;
    invalid_proof(&answer, "htm is not the method of this request");
    let of_bob = proof(&world, "a", "/me", "bound:bob");
    let answer = send(&world, "/me", "bound:alice", &of_bob).await;
    invalid_proof(&answer, "ath is not the hash of this token");
    let old = proof(&world, "a", "/me", "bound:alice");
    world.clock.advance(Duration::from_secs(61));
    let answer = send(&world, "/me", "bound:alice", &old).await;
    invalid_proof(&answer, "iat is too long ago, or in the future");
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn head_is_another_method_than_get() {
    let world = usual().await;
    for (method, passes) in [("GET", false), ("HEAD", true)] {
        let proof = signed(&claims(&world, "a", method, "/me", "bound:alice"));
        let mut request = with_proof("/me", "bound:alice", &proof);
        request = request.method(Method::HEAD);
        assert_eq!(world.send(request).await.status == 200, passes, "{method}");
    }
}

#[tokio::test]
async fn query_and_host_have_no_say() {
    let world = usual().await;
    let proof = |id| proof(&world, id, "/me", "bound:alice");
    let request = |uri: &str, proof: &str| -> Request<Body> {
        let request = with_proof(uri, "bound:alice", proof).header("host", "evil.example");
        request.body(Body::default()).expect("valid")
    };
    world.send(request("/me?x=y", &proof("a"))).await.granted();
    let answer = world
        .send(request("https://evil.example/me", &proof("b")))
        .await;
    answer.granted();
    let mut evil = claims(&world, "c", "GET", "/me", "bound:alice");
    evil["htu"] = json!("https://evil.example/me");
    let answer = world
        .send(request("https://evil.example/me", &signed(&evil)))
        .await;
    invalid_proof(&answer, "htu is not the address of this request");
}

#[tokio::test]
async fn a_bound_token_as_bearer_and_an_unbound_one_with_a_proof_are_refused() {
    let world = usual().await;
    for _ in 0..2 {
        let request = get("/me").header("authorization", "Bearer bound:alice");
        let request = request.header("dpop", proof(&world, "a", "/me", "bound:alice"));
        let answer = world.send(request).await;
        answer.refused(401, "invalid_key", INVALID);
        let error = format!("{BEARER}, error=\"invalid_token\"");
        assert_eq!(answer.challenges(), [&error, DPOP, API_KEY]);

        let unbound = proof(&world, "b", "/me", "plain:alice");
        let answer = send(&world, "/me", "plain:alice", &unbound).await;
        answer.refused(401, "invalid_key", INVALID);
        let error = format!("{DPOP}, error=\"invalid_token\"");
        assert_eq!(answer.challenges(), [BEARER, &error, API_KEY]);
    }
    let request = get("/me").header("authorization", "Bearer plain:alice");
    let answer = world.send(request.header("dpop", "proof")).await;
    assert!(!answer.granted().headers.contains_key("dpop"));
    // The proof has not been used up.
    let good = proof(&world, "a", "/me", "bound:alice");
    send(&world, "/me", "bound:alice", &good).await.granted();
}

#[tokio::test]
async fn a_key_is_never_sent_with_a_proof() {
    let world = usual().await;
    let key = world.create(NewKey::named("test")).await;
    let text = key.text.expose();
    world.get("/me", text).await.granted();
    let with_proof = proof(&world, "a", "/me", text);
    let answer = send(&world, "/me", text, &with_proof).await;
    answer.refused(401, "invalid_key", INVALID);
    for nobodys in ["bound:nobody", "nothing", ""] {
        let answer = send(&world, "/me", nobodys, &with_proof).await;
        answer.refused(401, "invalid_key", INVALID);
        let error = format!("{DPOP}, error=\"invalid_token\"");
        assert_eq!(answer.challenges(), [BEARER, &error, API_KEY]);
    }
}

#[tokio::test]
async fn who_sends_nothing_is_told_of_both_schemes() {
    let world = usual().await;
    let answer = world.anonymous("/me").await;
    answer.refused(401, "missing_credential", INVALID);
    assert_eq!(answer.challenges(), [BEARER, DPOP, API_KEY]);

    let only = |builder: ApiKeyLayerBuilder| builder.with_bearer(false).without_header();
    let (world, _) = self::world(builder(), Duration::ZERO, only).await;
    let answer = world.anonymous("/me").await;
    assert_eq!(answer.challenges(), [DPOP]);
    let how = "Send your token as Authorization: DPoP, with a proof in the header DPoP.";
    assert_eq!(answer.json()["remediation"], how);
    let good = proof(&world, "a", "/me", "bound:alice");
    let answer = send(&world, "/me", "bound:alice", &good).await;
    answer.granted();
    assert_eq!(answer.headers["vary"], "authorization");
}

/// RFC 9728 §5.1.
#[tokio::test]
async fn both_schemes_tell_where_the_metadata_is() {
    let url = "https://api.example.com/.well-known/oauth-protected-resource";
    let with_url = |builder: ApiKeyLayerBuilder| builder.with_resource_metadata(url);
    let (world, _) = world(builder(), Duration::ZERO, with_url).await;
    let answer = send(&world, "/me", "bound:alice", "no proof").await;
    let [bearer, dpop] =
        [BEARER, DPOP].map(|scheme| format!("{scheme}, resource_metadata=\"{url}\""));
    let dpop = format!("{dpop}, error=\"invalid_dpop_proof\"");
    assert_eq!(answer.challenges(), [&bearer, &dpop, API_KEY]);
}

#[tokio::test]
async fn two_schemes_are_one_too_many() {
    let world = usual().await;
    let good = proof(&world, "a", "/me", "bound:alice");
    let request = with_proof("/me", "bound:alice", &good);
    let answer = world
        .send(request.header("authorization", "Bearer bound:alice"))
        .await;
    assert_eq!(answer.code(), "multiple_credentials");
    send(&world, "/me", "bound:alice", &good).await.granted();
}

#[tokio::test]
async fn a_scope_that_is_missing_is_told_in_the_scheme_that_was_used() {
    let map = tower_api_key::RouteModules::builder()
        .get(
            "/me",
            tower_api_key::Rule::authenticated().with_scope("write:b"),
        )
        .build()
        .expect("a map");
    let asked = Arc::default();
    let tokens = Tokens {
        keep_for: Duration::ZERO,
        asked,
    };
    let dpop = builder().build().expect("a check");
    let world = World::mapped(map, |builder| {
        builder.with_token_verifier(tokens).with_dpop(dpop)
    })
    .await;
    let good = proof(&world, "a", "/me", "bound:alice");
    let answer = send(&world, "/me", "bound:alice", &good).await;
    assert_eq!(answer.code(), "insufficient_scope");
    let error = format!("{DPOP}, error=\"insufficient_scope\", scope=\"write:b\"");
    assert_eq!(answer.challenges(), [error]);
}

#[tokio::test]
async fn credentials_that_are_kept_are_kept_with_their_proof() {
    let kept = |builder: ApiKeyLayerBuilder| builder.with_credential_kept(true);
    let (world, _) = world(builder(), Duration::ZERO, kept).await;
    let good = proof(&world, "a", "/me", "bound:alice");
    let answer = send(&world, "/me", "bound:alice", &good).await;
    let headers = &answer.granted().headers;
    assert_eq!(headers["authorization"], "DPoP bound:alice");
    assert_eq!(headers["dpop"], good);
    assert!(headers["authorization"].is_sensitive() && headers["dpop"].is_sensitive());
}

#[tokio::test]
async fn a_nonce_is_given_to_who_lacks_one() {
    let (world, _) = world(
        builder().with_nonces(Duration::from_secs(300)),
        Duration::from_secs(60),
        |builder| builder,
    )
    .await;
    let bare = proof(&world, "a", "/me", "bound:alice");
    let answer = send(&world, "/me", "bound:alice", &bare).await;
    let detail = "The DPoP proof needs a nonce of this service.";
    answer.refused(401, "use_dpop_nonce", detail);
    let error = format!("{DPOP}, error=\"use_dpop_nonce\"");
    assert_eq!(answer.challenges(), [BEARER, &error, API_KEY]);
    let nonce = answer.headers["dpop-nonce"]
        .to_str()
        .expect("ASCII")
        .to_owned();

    let with_nonce = |id: &str, nonce: &str| {
        let mut claims = claims(&world, id, "GET", "/me", "bound:alice");
        claims["nonce"] = json!(nonce);
        signed(&claims)
    };
    for id in ["a", "b"] {
        let proof = with_nonce(id, &nonce);
        send(&world, "/me", "bound:alice", &proof).await.granted();
    }
    world.clock.advance(Duration::from_secs(600));
    let answer = send(&world, "/me", "bound:alice", &with_nonce("c", &nonce)).await;
    answer.refused(401, "use_dpop_nonce", detail);
    let new = answer.headers["dpop-nonce"].to_str().expect("ASCII");
    assert_ne!(new, nonce);
    let proof = with_nonce("c", new);
    send(&world, "/me", "bound:alice", &proof).await.granted();
}

#[tokio::test]
async fn the_guard_of_a_route_answers_in_the_scheme_that_was_used() {
    let world = usual().await;
    let scope = Scope::new("write:b").expect("a scope");
    let guard = tower_api_key::RequireScopes::new(&world.layer, [scope]).expect("a guard");
    let service = world.layer.layer(guard.layer(world.inner.clone()));
    let good = proof(&world, "a", "/me", "bound:alice");
    let answer = support::answer(service, with_proof("/me", "bound:alice", &good)).await;
    let error = format!("{DPOP}, error=\"insufficient_scope\", scope=\"write:b\"");
    assert_eq!(answer.challenges(), [error]);
}

/// A nested router takes off what it matched; the client signed all of it.
#[cfg(feature = "axum")]
#[tokio::test]
async fn in_a_nested_router_the_whole_path_counts() {
    use axum::{Router, routing::get};
    let world = usual().await;
    let inner = Router::new().route("/me", get(|| async { "handled" }));
    let map = tower_api_key::RouteModules::builder()
        .get("/api/me", tower_api_key::Rule::authenticated())
        .build()
        .expect("a map");
    let (store, ledger) = (world.store.clone(), world.ledger.clone());
    let tokens = Tokens {
        keep_for: Duration::ZERO,
        asked: Arc::default(),
    };
    let layer = tower_api_key::ApiKeyLayer::builder(store, map, ledger)
        .with_token_verifier(tokens)
        .with_dpop(builder().build().expect("a check"))
        .with_clock(world.clock.clone())
        .with_maintenance_task(false)
        .build()
        .expect("a layer");
    let app = Router::new().nest("/api", inner.layer(layer));
    for (path, status) in [("/me", 401), ("/api/me", 200)] {
        let proof = proof(&world, path, path, "bound:alice");
        let request = with_proof("/api/me", "bound:alice", &proof);
        let request = request.body(axum::body::Body::empty()).expect("valid");
        let response = tower::ServiceExt::oneshot(app.clone(), request).await;
        assert_eq!(response.expect("infallible").status(), status, "{path}");
    }
}

#[tokio::test]
async fn in_shadow_mode_who_cannot_prove_it_is_nobody() {
    let shadowed = |builder: ApiKeyLayerBuilder| builder.with_shadowed_module(module("launcher"));
    let (world, _) = world(builder(), Duration::from_secs(60), shadowed).await;
    for _ in 0..2 {
        let answer = send(&world, "/engines", "bound:alice", "no proof").await;
        let seen = answer.granted();
        assert!(seen.grant.is_none());
        let denial = seen.denial.as_ref().expect("a denial");
        assert_eq!(denial.code().as_str(), "invalid_dpop_proof");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_requests_with_one_proof_one_passes() {
    for keep_for in [Duration::ZERO, Duration::from_secs(60)] {
        let (world, _) = world(builder(), keep_for, |builder| builder).await;
        let world = Arc::new(world);
        for round in 0..8 {
            let proof = proof(&world, &round.to_string(), "/me", "bound:alice");
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let (world, proof) = (Arc::clone(&world), proof.clone());
                    tokio::spawn(async move {
                        let answer = send(&world, "/me", "bound:alice", &proof).await;
                        answer.status.as_u16()
                    })
                })
                .collect();
            let mut statuses = Vec::new();
            for task in tasks {
                statuses.push(task.await.expect("no panic"));
            }
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 401, 401]);
        }
        assert_eq!(world.calls(), 8);
    }
}

const P256: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4BLlpivqSoD5PYa9
w9m5ua4PFrCTtbj8y95wtWPrLFKhRANCAARZID4Zp8gmI3OH9Tkt2w2xnUxM5R3j
5LdxZOF6rnfy7kvEZvxsfakla5fjPYw9AZ83ZwGXn+c5NunTUQXOWrFG
-----END PRIVATE KEY-----
";
