//! Tokens that are bound to a key of their client's (RFC 9449 §7.2), where no proofs are taken.

mod support;

use std::time::Duration;

use async_trait::async_trait;
use support::{Answer, World, get, module};
use tower_api_key::{
    Holder, KeyThumbprint, NewKey, Now, Principal, SessionKey, TokenError, TokenVerifier,
};

const DETAIL: &str = "API Key is missing or invalid.";

/// Takes `token:` for a token that is bound to a key, if there is one; `session:` for a session of
/// a key that is bound to the same.
#[derive(Clone)]
struct Bound {
    to: Option<KeyThumbprint>,
    session_of: Option<SessionKey>,
    keep_for: Duration,
}

#[async_trait]
impl TokenVerifier for Bound {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"token:")
    }

    async fn verify(&self, _: &[u8], now: Now) -> Result<Principal, TokenError> {
        let mut principal = Principal::new(Holder::new("issuer|alice").expect("a holder"));
        principal.confirmation = self.to;
        principal.session_of = self.session_of.clone();
        principal.keep_for = self.keep_for;
        principal.expires_at = Some(now.wall.saturating_add(Duration::from_secs(600)));
        Ok(principal)
    }
}

impl Bound {
    fn new(to: Option<[u8; 32]>) -> Self {
        Self {
            to: to.map(KeyThumbprint::from_bytes),
            session_of: None,
            keep_for: Duration::from_secs(60),
        }
    }
}

async fn send(world: &World, path: &str, authorization: &str) -> Answer {
    let request = get(path).header("authorization", authorization);
    world.send(request.header("dpop", "proof")).await
}

#[tokio::test]
async fn a_bound_token_is_refused_as_a_bearer_token() {
    for keep_for in [Duration::ZERO, Duration::from_secs(60)] {
        let verifier = Bound {
            keep_for,
            ..Bound::new(Some([7; 32]))
        };
        let world = World::with(|builder| builder.with_token_verifier(verifier)).await;
        // Also where it is remembered, and where nobody needs to be anybody.
        for path in ["/me", "/me", "/realms", "/engines"] {
            let answer = send(&world, path, "Bearer token:").await;
            answer.refused(401, "invalid_key", DETAIL);
            assert_eq!(
                answer.challenges(),
                [
                    "Bearer realm=\"api\", error=\"invalid_token\"",
                    "ApiKey realm=\"api\", header=\"X-API-Key\"",
                ]
            );
            assert!(
                answer.json()["remediation"]
                    .as_str()
                    .expect("a text")
                    .contains("bound to your client's key")
            );
        }
        assert_eq!(world.calls(), 0);
        // No scheme of ours is nothing.
        let answer = send(&world, "/me", "DPoP token:").await;
        answer.refused(401, "missing_credential", DETAIL);
        let answer = send(&world, "/realms", "DPoP token:").await;
        assert_eq!(answer.granted().headers["authorization"], "DPoP token:");
        assert_eq!(answer.granted().headers["dpop"], "proof");
    }
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_a_bearer_token() {
    let world = World::with(|builder| builder.with_token_verifier(Bound::new(None))).await;
    for _ in 0..2 {
        let answer = send(&world, "/me", "Bearer token:").await;
        let grant = answer.granted().grant.clone().expect("a grant");
        assert_eq!(grant.principal(), "issuer|alice");
        assert_eq!(
            answer.granted().headers["dpop"],
            "proof",
            "it is none of ours"
        );
    }
}

#[tokio::test]
async fn a_session_of_a_key_can_be_bound_too() {
    let world = World::new().await;
    let key = world.create(NewKey::named("test")).await;
    let answer = world.get("/me", key.text.expose()).await;
    let grant = answer.granted().grant.clone().expect("a grant");
    for (to, is_refused) in [(None, false), (Some([7; 32]), true)] {
        let verifier = Bound {
            session_of: grant.session_key(),
            ..Bound::new(to)
        };
        let layer = tower_api_key::ApiKeyLayer::builder(
            world.store.clone(),
            support::map(),
            world.ledger.clone(),
        )
        .with_token_verifier(verifier)
        .with_clock(world.clock.clone())
        .with_maintenance_task(false)
        .build()
        .expect("a layer");
        let service = tower::Layer::layer(&layer, world.inner.clone());
        for _ in 0..2 {
            let request = get("/me").header("authorization", "Bearer token:");
            let answer = support::answer(service.clone(), request).await;
            assert_eq!(answer.status == 401, is_refused);
            assert_eq!(answer.seen.is_none(), is_refused);
        }
    }
}

#[tokio::test]
async fn in_shadow_mode_who_only_has_the_token_is_nobody() {
    let world = World::with(|builder| {
        builder
            .with_token_verifier(Bound::new(Some([7; 32])))
            .with_shadowed_module(module("launcher"))
    })
    .await;
    for _ in 0..2 {
        let answer = send(&world, "/engines", "Bearer token:").await;
        let seen = answer.granted();
        assert!(seen.grant.is_none());
        let denial = seen.denial.as_ref().expect("a denial");
        assert_eq!(denial.code().as_str(), "invalid_key");
    }
}

#[tokio::test]
async fn a_bound_token_that_is_over_has_expired() {
    let verifier = Bound {
        keep_for: Duration::from_secs(3_600),
        ..Bound::new(Some([7; 32]))
    };
    let world = World::with(|builder| builder.with_token_verifier(verifier)).await;
    send(&world, "/me", "Bearer token:").await;
    world.clock.advance(Duration::from_secs(600));
    let answer = send(&world, "/me", "Bearer token:").await;
    assert_eq!(answer.code(), "expired_key");
}
