//! What others plug in: rate limiters and verifiers of tokens.

mod support;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use support::{World, admin, get, module};
use tower_api_key::{
    Allowance, BackendError, Check, DenialCode, Holder, LicenseLedger, NewKey, Now, Operation,
    PeerAddress, Principal, RateLimiter, Refusal, Scope, Subject, Tier, TokenError, TokenVerifier,
    Usage,
};

/// Admits so many requests, at once or later, and notes for whom it was asked.
#[derive(Clone)]
struct Counter {
    left: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<String>>>,
    later: bool,
    down: bool,
}

impl Counter {
    fn new(left: usize) -> Self {
        let left = Arc::new(AtomicUsize::new(left));
        Self {
            left,
            asked: Arc::default(),
            later: false,
            down: false,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl RateLimiter for Counter {
    fn check(&self, subject: Subject<'_>, _: Now) -> Check {
        let Subject {
            principal,
            owner,
            tier,
            address,
            ..
        } = subject;
        let subject = format!("{principal:?} {owner:?} {tier:?} {address:?}");
        self.asked.lock().expect("not poisoned").push(subject);
        let admitted = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        let allowance = match admitted {
            Ok(_) => Allowance::Admitted(Usage::NONE),
            Err(_) => Allowance::Refused(Refusal::new(
                Tier::new("standard").expect("a tier"),
                "hour",
                Duration::from_millis(1_500),
            )),
        };
        if self.down {
            return Check::Later(Box::pin(async { Err(BackendError::unavailable("down")) }));
        }
        if self.later {
            return Check::Later(Box::pin(async { Ok(allowance) }));
        }
        Check::Done(allowance)
    }
}

#[tokio::test]
async fn one_request_too_many_is_429_and_says_how_long() {
    for later in [false, true] {
        let limiter = Counter {
            later,
            ..Counter::new(2)
        };
        let world = World::with(|builder| builder.with_rate_limiter(limiter)).await;
        let key = world.key(&["launcher"]).await;
        for _ in 0..2 {
            world.get("/engines", key.text.expose()).await.granted();
        }
        let answer = world.get("/engines", key.text.expose()).await;
        let detail = "Too many requests for tier standard, quota hour.";
        answer.refused(429, "rate_limited", detail);
        assert_eq!(
            answer.headers["retry-after"], "2",
            "rounded up, so that nobody is early"
        );
        assert_eq!(answer.json()["tier"], "standard");
        assert_eq!(answer.json()["quota"], "hour");
    }
}

#[tokio::test]
async fn what_is_refused_earlier_and_who_administers_burns_no_quota() {
    let limiter = Counter::new(9);
    let world = World::with(|builder| builder.with_rate_limiter(limiter.clone())).await;
    let key = world.key(&["lino"]).await;
    world.get("/engines", key.text.expose()).await.refused(
        403,
        "module_access_missing",
        "API Key does not have access to required module resource",
    );
    world.anonymous("/engines").await;
    world.get("/health", key.text.expose()).await.granted();
    let root = world
        .create(NewKey::named("root").with_administrator(true))
        .await;
    world.get("/me", root.text.expose()).await.granted();
    assert!(limiter.asked().is_empty(), "{:?}", limiter.asked());
}

#[tokio::test]
async fn the_limiter_is_asked_once_and_told_for_whom() {
    let limiter = Counter::new(9);
    let shared: Arc<dyn RateLimiter> = Arc::new(limiter.clone());
    let world = World::with(|builder| builder.with_rate_limiter(shared)).await;
    let tier = Tier::new("premium").expect("a tier");
    let key = world
        .create(NewKey::named("a").with_tier(tier).with_owner("studio"))
        .await;
    let mut request = get("/me").header("x-api-key", key.text.expose());
    let peer: IpAddr = "192.0.2.1".parse().expect("an address");
    let peer = PeerAddress::from(peer);
    request.extensions_mut().expect("valid").insert(peer);
    world.send(request).await.granted();
    world.anonymous("/realms").await.granted();
    let id = key.key.record.id.as_str();
    let named = format!("Some({id:?}) Some(\"studio\") Some(\"premium\") Some(192.0.2.1)");
    assert_eq!(limiter.asked(), [named, "None None None None".into()]);
}

#[tokio::test]
async fn a_limiter_that_cannot_be_asked_is_503_and_no_pass() {
    let limiter = Counter {
        down: true,
        ..Counter::new(9)
    };
    let world = World::with(|builder| builder.with_rate_limiter(limiter)).await;
    let key = world.key(&["launcher"]).await;
    for answer in [
        world.get("/engines", key.text.expose()).await,
        world.anonymous("/realms").await,
    ] {
        let detail = "Rate limits cannot be checked at the moment.";
        answer.refused(503, "limiter_unavailable", detail);
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

/// Takes `token:NAME` for NAME's token.
struct Tokens {
    asked: Arc<AtomicUsize>,
    keep_for: Duration,
}

#[async_trait]
impl TokenVerifier for Tokens {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"token:") || token.starts_with(b"rk_")
    }

    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let name = std::str::from_utf8(&token[6..]).map_err(|_| TokenError::Invalid)?;
        match name {
            "old" => Err(TokenError::Expired),
            "away" => Err(TokenError::Unavailable("nobody there".into())),
            "wrong" => Err(TokenError::Invalid),
            name => {
                let holder = format!("https://issuer.example|{name}");
                let mut principal = Principal::new(Holder::new(holder).expect("a holder"));
                principal.name = Some(name.to_owned());
                principal.scopes = vec![Scope::new("read:realms").expect("a scope")];
                principal.expires_at = Some(now.wall.saturating_add(Duration::from_secs(600)));
                principal.keep_for = self.keep_for;
                Ok(principal)
            }
        }
    }
}

async fn with_tokens(keep_for: Duration) -> (World, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let tokens = Tokens {
        asked: Arc::clone(&asked),
        keep_for,
    };
    (
        World::with(|builder| builder.with_token_verifier(tokens)).await,
        asked,
    )
}

async fn bearer(world: &World, path: &str, token: &str) -> support::Answer {
    let request = get(path).header("authorization", format!("Bearer {token}"));
    world.send(request).await
}

#[tokio::test]
async fn one_route_accepts_keys_and_tokens() {
    let (world, asked) = with_tokens(Duration::from_secs(60)).await;
    let scope = Scope::new("read:realms").expect("a scope");
    let key = world
        .create(NewKey::named("key").with_scopes([scope]))
        .await;
    bearer(&world, "/realms", key.text.expose()).await.granted();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    for _ in 0..3 {
        let answer = bearer(&world, "/realms", "token:alice").await;
        let grant = answer.granted().grant.clone().expect("a grant");
        assert_eq!(grant.principal(), "https://issuer.example|alice");
        assert_eq!(grant.name(), "alice");
        assert_eq!(grant.key_id(), None);
        assert_eq!(grant.environment(), None);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "remembered for its minute");
    world.clock.advance(Duration::from_secs(60));
    bearer(&world, "/realms", "token:alice").await.granted();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_is_refused_at_its_expiry_however_long_it_is_remembered() {
    let (world, _) = with_tokens(Duration::from_secs(3_600)).await;
    bearer(&world, "/me", "token:alice").await.granted();
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(
        bearer(&world, "/me", "token:alice").await.code(),
        "expired_key"
    );
}

#[tokio::test]
async fn a_token_that_may_not_be_remembered_is_verified_each_time() {
    let (world, asked) = with_tokens(Duration::ZERO).await;
    for _ in 0..3 {
        bearer(&world, "/me", "token:alice").await.granted();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_broken_key_is_nobody_elses_token() {
    let (world, asked) = with_tokens(Duration::ZERO).await;
    let key = world.key(&[]).await;
    let broken = format!("{}x", key.text.expose());
    assert_eq!(bearer(&world, "/me", &broken).await.code(), "invalid_key");
    assert_eq!(
        world.get("/me", "token:alice").await.code(),
        "invalid_key",
        "only as a bearer"
    );
    let long = format!("token:{}", "a".repeat(16 * 1_024));
    assert_eq!(bearer(&world, "/me", &long).await.code(), "invalid_key");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_verifiers_errors_have_their_codes() {
    let (world, _) = with_tokens(Duration::ZERO).await;
    assert_eq!(
        bearer(&world, "/me", "token:wrong").await.code(),
        "invalid_key"
    );
    assert_eq!(
        bearer(&world, "/me", "token:old").await.code(),
        "expired_key"
    );
    let answer = bearer(&world, "/me", "token:away").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.denial.expect("a denial").code(),
        DenialCode::StoreUnavailable
    );
}

#[tokio::test]
async fn a_user_holds_modules_and_seats_like_a_key() {
    let (world, _) = with_tokens(Duration::from_secs(60)).await;
    assert_eq!(
        bearer(&world, "/engines", "token:alice").await.code(),
        "module_access_missing"
    );
    let holder = Holder::new("https://issuer.example|alice").expect("a holder");
    let assign = Operation::Assign {
        holder,
        modules: vec![module("launcher")],
    };
    world
        .ledger
        .apply(assign, &admin())
        .await
        .expect("assigned");
    bearer(&world, "/engines", "token:alice").await.granted();
}
