//! Rate limiters that others plug in.

mod support;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use support::{World, get};
use tower_api_key::{
    Allowance, BackendError, Check, NewKey, Now, PeerAddress, RateLimiter, Refusal, Subject, Tier,
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
