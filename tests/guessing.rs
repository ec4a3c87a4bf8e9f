//! Who guesses keys: how often the store is asked for him, and whom he can hold up.

mod support;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use http::Request;
use support::{
    Answer, Body, Outgoing, World, answer,
    faults::{Fault, Faulty},
    get,
};
use tower_api_key::{
    ApiKeyLayerBuilder, Environment, KeyFormats, MemoryRateLimiter, Now, PeerAddress, Principal,
    Quota, Tiers, TokenError, TokenVerifier,
};

const ATTACKER: &str = "192.0.2.66";
const ELSEWHERE: &str = "192.0.2.1";

/// A request with this key from this address.
fn request(from: &str, key: &str) -> Request<Body> {
    let mut request = get("/me").header("x-api-key", key).request();
    let address: IpAddr = from.parse().expect("an address");
    request.extensions_mut().insert(PeerAddress::from(address));
    request
}

/// A key that nobody has, of the form of those that somebody has.
fn guessed() -> String {
    let text = KeyFormats::default().generate(&Environment::live());
    text.expect("random bytes").expose().to_owned()
}

async fn send(faulty: &Faulty, from: &str, key: &str) -> Answer {
    answer(faulty.service.clone(), request(from, key)).await
}

async fn with(settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder) -> Faulty {
    Faulty::with(true, None, settings).await
}

fn few(quota: u64) -> impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder {
    let quota = Quota::per_minute(quota).expect("a quota");
    move |builder| builder.with_failure_quota(quota)
}

#[tokio::test]
async fn sixty_guesses_a_minute_reach_the_store_and_the_next_is_told_to_wait() {
    let faulty = Faulty::new().await;
    for _ in 0..60 {
        let answer = send(&faulty, ATTACKER, &guessed()).await;
        answer.refused(401, "invalid_key", "API Key is missing or invalid.");
    }
    let detail = "Too many unknown keys came from this address, quota failed-auth.";
    for _ in 0..3 {
        let answer = send(&faulty, ATTACKER, &guessed()).await;
        answer.refused(429, "rate_limited", detail);
        assert_eq!(answer.headers["retry-after"], "60");
        assert_eq!(
            answer.headers["ratelimit-policy"],
            "\"failed-auth\";q=60;w=60"
        );
        assert_eq!(answer.headers["ratelimit"], "\"failed-auth\";r=0;t=60");
        assert_eq!(answer.json()["quota"], "failed-auth");
        assert!(answer.json()["tier"].is_null(), "it is of no tier");
        let remediation = "Check that your key is right, and wait as long as Retry-After says.";
        assert_eq!(answer.json()["remediation"], remediation);
    }
    assert_eq!(faulty.asked(), (60, 0));
    faulty.world.clock.advance(Duration::from_secs(59));
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 429);
    faulty.world.clock.advance(Duration::from_secs(1));
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 401);
    assert_eq!(faulty.asked(), (61, 0));
}

#[tokio::test]
async fn a_key_in_use_is_not_held_up_by_who_shares_its_address() {
    let faulty = with(few(5)).await;
    let (used, other) = (faulty.world.key(&[]).await, faulty.world.key(&[]).await);
    send(&faulty, ATTACKER, used.text.expose()).await.granted();
    for _ in 0..20 {
        send(&faulty, ATTACKER, &guessed()).await;
    }
    send(&faulty, ATTACKER, used.text.expose()).await.granted();
    // Changed meanwhile: the store is asked again about a key that is known.
    let id = &used.key.record.id;
    let manager = faulty.layer.manager();
    let changed = manager.rename(id, "renamed", &support::admin()).await;
    changed.expect("changed");
    send(&faulty, ATTACKER, used.text.expose()).await.granted();
    // One that nobody has used from anywhere waits, from there only.
    let answer = send(&faulty, ATTACKER, other.text.expose()).await;
    assert_eq!(answer.status, 429);
    send(&faulty, ELSEWHERE, other.text.expose())
        .await
        .granted();
    send(&faulty, ATTACKER, other.text.expose()).await.granted();
}

#[tokio::test]
async fn what_the_store_need_not_be_asked_about_counts_for_nothing() {
    let faulty = with(few(2)).await;
    let unknown = guessed();
    for _ in 0..50 {
        // Known not to exist after the first time.
        assert_eq!(send(&faulty, ATTACKER, &unknown).await.status, 401);
        // Two letters changed places: the checksum tells.
        let mut mistyped = unknown.clone().into_bytes();
        let at = (12..30).find(|at| mistyped[*at] != mistyped[at + 1]);
        let at = at.expect("not all letters are the same");
        mistyped.swap(at, at + 1);
        let mistyped = String::from_utf8(mistyped).expect("ASCII");
        assert_eq!(send(&faulty, ATTACKER, &mistyped).await.status, 401);
        assert_eq!(send(&faulty, ATTACKER, "").await.status, 401);
        assert_eq!(send(&faulty, ATTACKER, &"x".repeat(600)).await.status, 401);
    }
    assert_eq!(faulty.asked(), (1, 0));
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 401);
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 429);
}

/// So many good keys that nobody has used come from one address together.
async fn all_are_served_at_once(faulty: &Faulty, count: usize) {
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(faulty.world.key(&[]).await);
    }
    let answers = keys
        .iter()
        .map(|key| send(faulty, ATTACKER, key.text.expose()));
    for answer in join_all(answers).await {
        answer.granted();
    }
    assert_eq!(faulty.asked(), (count, 0));
}

#[tokio::test]
async fn good_keys_do_not_count_however_many_come_at_once() {
    let faulty = with(few(3)).await;
    all_are_served_at_once(&faulty, 100).await;
}

#[tokio::test]
async fn a_thousand_guesses_at_once_reach_the_store_no_more_often_than_one_after_the_other() {
    let faulty = with(few(10)).await;
    let guesses: Vec<_> = std::iter::repeat_with(guessed).take(1_000).collect();
    let answers = guesses.iter().map(|key| send(&faulty, ATTACKER, key));
    let answers = join_all(answers).await;
    let with_status = |status: u16| answers.iter().filter(|a| a.status == status).count();
    assert_eq!((with_status(401), with_status(429)), (10, 990));
    assert_eq!(faulty.asked(), (10, 0));
}

#[tokio::test]
async fn each_address_counts_for_itself_and_an_ipv6_network_as_one() {
    let faulty = with(few(1)).await;
    let guess = async |from: &str| send(&faulty, from, &guessed()).await.status.as_u16();
    assert_eq!(guess(ATTACKER).await, 401);
    assert_eq!(guess(ATTACKER).await, 429);
    assert_eq!(guess("::ffff:192.0.2.66").await, 429, "the same address");
    assert_eq!(guess(ELSEWHERE).await, 401);
    assert_eq!(guess("2001:db8::1").await, 401);
    assert_eq!(guess("2001:db8::ffff:1").await, 429);
    assert_eq!(guess("2001:db8:0:1::1").await, 401);
}

#[tokio::test]
async fn those_whose_address_is_not_known_count_together() {
    let faulty = with(few(1)).await;
    assert_eq!(faulty.get("/me", &guessed()).await.status, 401);
    assert_eq!(faulty.get("/me", &guessed()).await.status, 429);
    assert_eq!(send(&faulty, ELSEWHERE, &guessed()).await.status, 401);
}

#[tokio::test]
async fn an_outage_of_the_store_is_nobodys_failure() {
    let faulty = with(few(3)).await;
    faulty.store.set(Fault::Down);
    for _ in 0..10 {
        assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 503);
    }
    faulty.store.set(Fault::None);
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 401);
}

#[tokio::test]
async fn thousands_of_good_keys_behind_one_address_are_all_served_at_once() {
    let faulty = Faulty::new().await;
    all_are_served_at_once(&faulty, 2_000).await;
}

#[tokio::test]
async fn one_key_at_once_is_looked_up_once_and_fails_once() {
    let faulty = with(few(2)).await;
    let (good, bad) = (faulty.world.key(&[]).await, guessed());
    let at_once = async |key: &str| {
        let answers = join_all((0..500).map(|_| send(&faulty, ATTACKER, key))).await;
        answers
            .iter()
            .map(|answer| answer.status.as_u16())
            .collect::<Vec<_>>()
    };
    assert_eq!(at_once(good.text.expose()).await, [200; 500]);
    assert_eq!(faulty.asked(), (1, 0));
    assert_eq!(at_once(&bad).await, [401; 500]);
    assert_eq!(faulty.asked(), (2, 0));
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 401);
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 429);
}

#[tokio::test]
async fn who_joins_a_look_up_is_not_held_up_by_the_address_of_who_began_it() {
    let faulty = with(few(1)).await;
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 401);
    let key = faulty.world.key(&[]).await;
    let both = [ATTACKER, ELSEWHERE].map(|from| send(&faulty, from, key.text.expose()));
    let answers = join_all(both).await;
    assert_eq!(answers[0].status, 429);
    answers[1].granted();
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_before_the_answer_fails_only_if_his_key_is_nobodys() {
    let faulty = with(few(2)).await;
    let (good, bad) = (faulty.world.key(&[]).await, [guessed(), guessed()]);
    let [first, second] = &bad;
    for (asked, key) in (1..).zip([first, good.text.expose(), second]) {
        faulty.store.set(Fault::Late);
        {
            let mut request = std::pin::pin!(send(&faulty, ATTACKER, key));
            while faulty.asked().0 < asked {
                assert!(futures_util::poll!(&mut request).is_pending());
                tokio::task::yield_now().await;
            }
        }
        faulty.store.set(Fault::None);
        faulty.store.open();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    // The good one is remembered, as if he had waited.
    send(&faulty, ATTACKER, good.text.expose()).await.granted();
    assert_eq!(faulty.asked().0, 3);
    assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_hanging_store_is_told_within_the_time_limit() {
    let faulty = with(few(1)).await;
    faulty.store.set(Fault::Hangs);
    let guesses = [guessed(), guessed(), guessed()];
    let started = tokio::time::Instant::now();
    let answers = guesses.each_ref().map(|key| send(&faulty, ATTACKER, key));
    for answer in join_all(answers).await {
        assert_eq!(answer.code(), "store_unavailable");
    }
    assert_eq!(started.elapsed(), Duration::from_millis(250));
}

#[tokio::test]
async fn switched_off_every_guess_reaches_the_store() {
    let faulty = with(ApiKeyLayerBuilder::without_failure_quota).await;
    for _ in 0..100 {
        assert_eq!(send(&faulty, ATTACKER, &guessed()).await.status, 401);
    }
    assert_eq!(faulty.asked(), (100, 0));
}

struct Nobody;

#[async_trait]
impl TokenVerifier for Nobody {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"token:")
    }

    async fn verify(&self, token: &[u8], _: Now) -> Result<Principal, TokenError> {
        match token.ends_with(b"old") {
            true => Err(TokenError::Expired),
            false => Err(TokenError::Invalid),
        }
    }
}

#[tokio::test]
async fn forged_tokens_count_too_and_expired_ones_do_not() {
    let world = World::with(|builder| few(2)(builder).with_token_verifier(Nobody)).await;
    let send = async |token: &str| {
        let request = get("/me").header("authorization", format!("Bearer token:{token}"));
        world.send(request).await.status.as_u16()
    };
    for n in 0..5 {
        assert_eq!(send(&format!("{n} old")).await, 401);
    }
    assert_eq!(send("a").await, 401);
    assert_eq!(send("b").await, 401);
    assert_eq!(send("c").await, 429);
}

#[tokio::test]
async fn guesses_use_up_no_quota_of_anybody() {
    let limiter = MemoryRateLimiter::new(Tiers::default());
    let faulty = with(|builder| builder.with_rate_limiter(limiter)).await;
    let key = faulty.world.key(&[]).await;
    for _ in 0..100 {
        send(&faulty, ATTACKER, &guessed()).await;
    }
    let remaining = |answer: Answer| answer.headers["ratelimit"].to_str().unwrap().to_owned();
    let own = remaining(send(&faulty, ELSEWHERE, key.text.expose()).await);
    assert_eq!(own, "\"hour\";r=999;t=3600");
    let mut anonymous = get("/realms").request();
    let address: IpAddr = ATTACKER.parse().expect("an address");
    anonymous
        .extensions_mut()
        .insert(PeerAddress::from(address));
    let left = remaining(answer(faulty.service.clone(), anonymous).await);
    assert_eq!(left, "\"hour\";r=99;t=3600");
}
