use std::sync::atomic::{AtomicBool, Ordering};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{FutureExt as _, future};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::{
    clock::ManualClock,
    jwt::Algorithm,
    oauth::test_server::{TestServer, answer, client, json},
};

const SECOND: Duration = Duration::from_secs(1);

/// An issuer whose keys are at its root: those it is told, or none while it is down.
struct Issuer {
    server: TestServer,
    text: Arc<Mutex<String>>,
    down: Arc<AtomicBool>,
    gate: Arc<Semaphore>,
    asked: Arc<Notify>,
}

impl Issuer {
    /// `keys` are key ids, each with the first byte of its key.
    async fn with(keys: &[(&str, u8)]) -> Self {
        let text = Arc::new(Mutex::new(jwks(keys)));
        let down = Arc::new(AtomicBool::new(false));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let asked = Arc::new(Notify::new());
        let told = (
            Arc::clone(&text),
            Arc::clone(&down),
            Arc::clone(&gate),
            Arc::clone(&asked),
        );
        let server = TestServer::start(move |_| {
            let (text, down, gate, asked) = told.clone();
            async move {
                asked.notify_one();
                let _open = gate.acquire().await;
                if down.load(Ordering::SeqCst) {
                    return answer(503, "text/plain", "down");
                }
                json(text.lock().clone())
            }
        })
        .await;
        Self {
            server,
            text,
            down,
            gate,
            asked,
        }
    }

    fn publishes(&self, keys: &[(&str, u8)]) {
        self.says(jwks(keys));
    }

    fn says(&self, text: impl Into<String>) {
        *self.text.lock() = text.into();
    }

    fn goes_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Lets requests wait until [`opens`](Self::opens).
    fn closes(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn opens(&self) {
        self.gate.add_permits(1_000);
    }

    fn fetches(&self) -> usize {
        self.server.count()
    }

    fn keys(&self) -> (RemoteKeys, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let keys = RemoteKeys::at(&self.server.url)
            .with_client(client())
            .with_clock(Arc::clone(&clock));
        (keys.build().expect("settings"), clock)
    }
}

fn jwks(keys: &[(&str, u8)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(kid, byte)| {
            let x = BASE64_URL_SAFE_NO_PAD.encode([*byte; 32]);
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#)
        })
        .collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn has(keys: &KeySet, kid: &str) -> bool {
    keys.find(Some(kid), Algorithm::EdDsa).is_some()
}

/// What a verifier finds out about a token that names `kid`: the key, none, or an outage.
async fn asks(keys: &RemoteKeys, kid: &str, now: Now) -> Result<bool, TokenError> {
    if keys.known(now).is_some_and(|keys| has(&keys, kid)) {
        return Ok(true);
    }
    keys.refresh(now).await.map(|keys| has(&keys, kid))
}

/// What a verifier that uses the keys is told.
fn watch(keys: &RemoteKeys) -> Changes {
    let changes = Changes::new();
    keys.watched_by(&changes);
    changes
}

#[tokio::test]
async fn keys_are_fetched_when_first_needed() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    assert!(keys.known(clock.now()).is_none());
    assert_eq!(issuer.fetches(), 0);
    assert!(asks(&keys, "a", clock.now()).await.expect("keys"));
    assert!(asks(&keys, "a", clock.now()).await.expect("keys"));
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(issuer.server.requests(), ["GET /"]);
}

#[tokio::test]
async fn prefetch_fetches_before_anybody_asks_and_tells_what_failed() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    issuer.goes_down(true);
    let (keys, clock) = issuer.keys();
    let error = keys.prefetch().await.expect_err("an outage");
    assert_eq!(*error.kind(), FetchErrorKind::Status(503));
    issuer.goes_down(false);
    keys.prefetch().await.expect_err("tried a moment ago");
    clock.advance(10 * SECOND);
    keys.prefetch().await.expect("keys");
    assert!(keys.known(clock.now()).is_some());
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn rotated_key_is_known_with_the_first_token_that_names_it() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    issuer.publishes(&[("b", 2), ("a", 1)]);
    clock.advance(10 * SECOND);
    assert!(asks(&keys, "b", clock.now()).await.expect("keys"));
    assert!(asks(&keys, "a", clock.now()).await.expect("keys"));
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn key_that_came_right_after_a_fetch_is_unknown_until_the_next_may_begin() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    issuer.publishes(&[("a", 1), ("b", 2)]);
    clock.advance(10 * SECOND - Duration::from_micros(1));
    assert!(!asks(&keys, "b", clock.now()).await.expect("keys"));
    assert_eq!(issuer.fetches(), 1);
    clock.advance(Duration::from_micros(1));
    assert!(asks(&keys, "b", clock.now()).await.expect("keys"));
}

#[tokio::test]
async fn flood_of_unknown_keys_fetches_once_in_each_interval() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    for made_up in 0..10_000 {
        let kid = format!("made-up-{made_up}");
        assert!(!asks(&keys, &kid, clock.now()).await.expect("keys"));
        assert!(asks(&keys, "a", clock.now()).await.expect("keys"));
        clock.advance(Duration::from_millis(3));
    }
    // At 0 s, 10 s and 20 s, of 30 s.
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn flood_during_an_outage_fetches_once_in_each_interval() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    clock.advance(10 * SECOND);
    issuer.goes_down(true);
    for made_up in 0..10_000 {
        let kid = format!("made-up-{made_up}");
        let answer = asks(&keys, &kid, clock.now()).await;
        assert!(matches!(answer, Err(TokenError::Unavailable(_))));
        assert!(asks(&keys, "a", clock.now()).await.expect("keys"));
        clock.advance(Duration::from_millis(3));
    }
    assert_eq!(issuer.fetches(), 1 + 3, "failed ones count");
}

#[tokio::test]
async fn hundred_at_once_wait_for_one_fetch() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    issuer.closes();
    let (keys, clock) = issuer.keys();
    let now = clock.now();
    let all = future::join_all((0..100).map(|_| asks(&keys, "a", now)));
    let opening = async {
        issuer.asked.notified().await;
        issuer.opens();
    };
    let (answers, ()) = future::join(all, opening).await;
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.is_ok_and(|known| known))
    );
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn fetch_that_lasts_longer_than_the_interval_stays_the_only_one() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    issuer.closes();
    let (keys, clock) = issuer.keys();
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let (keys, now) = (keys.clone(), clock.now());
        let mut one = Box::pin(async move { asks(&keys, "a", now).await });
        assert!(one.as_mut().now_or_never().is_none());
        waiting.push(one);
        clock.advance(10 * SECOND);
    }
    issuer.asked.notified().await;
    issuer.opens();
    for one in waiting {
        assert!(one.await.expect("keys"));
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn who_goes_away_cancels_nobody() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    issuer.closes();
    let (keys, clock) = issuer.keys();
    let first = asks(&keys, "a", clock.now()).now_or_never();
    assert!(first.is_none(), "asked, and gone");
    issuer.asked.notified().await;
    issuer.opens();
    assert!(asks(&keys, "a", clock.now()).await.expect("keys"));
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn old_keys_are_used_while_new_ones_are_fetched() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    clock.advance(300 * SECOND - Duration::from_micros(1));
    assert!(keys.known(clock.now()).is_some());
    issuer.publishes(&[("b", 2)]);
    issuer.closes();
    clock.advance(Duration::from_micros(1));
    let known = keys.known(clock.now()).expect("the old ones");
    assert!(has(&known, "a"));
    issuer.asked.notified().await;
    assert!(asks(&keys, "a", clock.now()).await.expect("keys"), "still");
    issuer.opens();
    // Waits for the fetch that is under way.
    keys.refresh(clock.now()).await.expect("keys");
    let known = keys.known(clock.now()).expect("the new ones");
    assert!(has(&known, "b") && !has(&known, "a"));
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn old_keys_outlast_an_outage_up_to_the_bound() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    issuer.goes_down(true);
    let mut minutes = 0;
    while minutes < 60 {
        assert!(
            asks(&keys, "a", clock.now()).await.expect("old keys"),
            "{minutes}"
        );
        if minutes >= 5 {
            let failed = keys.refresh(clock.now()).await;
            assert!(matches!(failed, Err(TokenError::Unavailable(_))));
        }
        clock.advance(60 * SECOND);
        minutes += 1;
    }
    assert_eq!(issuer.fetches(), 1 + 55, "each minute from the fifth on");
    let answer = asks(&keys, "a", clock.now()).await;
    assert!(
        matches!(answer, Err(TokenError::Unavailable(_))),
        "an hour old"
    );

    issuer.goes_down(false);
    clock.advance(9 * SECOND);
    let answer = asks(&keys, "a", clock.now()).await;
    assert!(
        matches!(answer, Err(TokenError::Unavailable(_))),
        "too early"
    );
    clock.advance(SECOND);
    assert!(asks(&keys, "a", clock.now()).await.expect("it is back"));
}

#[tokio::test]
async fn unknown_key_is_invalid_where_the_issuer_answers_and_unavailable_where_not() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    assert!(!asks(&keys, "b", clock.now()).await.expect("an answer"));
    issuer.goes_down(true);
    assert!(
        !asks(&keys, "b", clock.now())
            .await
            .expect("that of a moment ago")
    );
    clock.advance(10 * SECOND);
    for _ in 0..2 {
        let error = asks(&keys, "b", clock.now()).await.expect_err("an outage");
        let TokenError::Unavailable(cause) = error else {
            panic!("{error}");
        };
        assert!(cause.to_string().contains("status 503"), "{cause}");
        assert!(cause.to_string().contains(&issuer.server.url), "{cause}");
    }
}

#[tokio::test]
async fn answer_that_is_no_key_set_changes_nothing() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    let changes = watch(&keys);
    let before = changes.stamp();
    for garbage in [
        "garbage".to_owned(),
        "{}".to_owned(),
        r#"{"keys":{}}"#.to_owned(),
        r#"{"keys":[7]}"#.to_owned(),
        r#"{"keys":[],"keys":[]}"#.to_owned(),
        jwks(&[("a", 1); 101]),
        jwks(&[("a", 1)]).replace("}]}", "}"),
    ] {
        issuer.says(&garbage);
        clock.advance(10 * SECOND);
        let error = keys.prefetch().await.expect_err(&garbage);
        assert_eq!(*error.kind(), FetchErrorKind::Malformed, "{garbage}");
        assert!(has(&keys.known(clock.now()).expect("keys"), "a"));
    }
    issuer.says(" ".repeat(512 * 1_024 + 1));
    clock.advance(10 * SECOND);
    let error = keys.prefetch().await.expect_err("a long answer");
    assert_eq!(*error.kind(), FetchErrorKind::TooLarge);
    assert_eq!(changes.stamp(), before);
}

#[tokio::test]
async fn withdrawn_or_exchanged_key_makes_verified_tokens_forgotten() {
    for (now_published, forgotten) in [
        (&[("b", 2)][..], true),
        (&[("a", 1)][..], true),
        (&[("a", 1), ("b", 3)][..], true),
        (&[("a", 1), ("B", 2)][..], true),
        (&[("b", 2), ("a", 1)][..], false),
        (&[("a", 1), ("b", 2), ("c", 3)][..], false),
    ] {
        let issuer = Issuer::with(&[("a", 1), ("b", 2)]).await;
        let (keys, clock) = issuer.keys();
        keys.prefetch().await.expect("keys");
        let (changes, others) = (watch(&keys), watch(&keys));
        let before = changes.stamp();
        issuer.publishes(now_published);
        clock.advance(300 * SECOND);
        assert!(keys.known(clock.now()).is_some(), "starts the fetch");
        keys.refresh(clock.now()).await.expect("keys");
        for changes in [changes, others] {
            let told = !changes.is_current("a token", before);
            assert_eq!(told, forgotten, "{now_published:?}");
            assert_eq!(changes.stamp() != before, forgotten, "{now_published:?}");
        }
    }
}

#[tokio::test]
async fn a_set_without_a_key_is_an_outage() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    issuer.publishes(&[]);
    clock.advance(300 * SECOND);
    let known = keys.refresh(clock.now()).await;
    assert!(
        matches!(known, Err(TokenError::Unavailable(_))),
        "{known:?}"
    );
    let known = keys.known(clock.now()).expect("the old ones are in use");
    assert_eq!(known.keys().len(), 1);
}

#[tokio::test]
async fn key_that_goes_during_an_outage_is_told_when_it_is_over() {
    let issuer = Issuer::with(&[("a", 1)]).await;
    let (keys, clock) = issuer.keys();
    keys.prefetch().await.expect("keys");
    let changes = watch(&keys);
    let before = changes.stamp();
    issuer.goes_down(true);
    clock.advance(7_200 * SECOND);
    asks(&keys, "a", clock.now()).await.expect_err("an outage");
    issuer.goes_down(false);
    issuer.publishes(&[("b", 2)]);
    clock.advance(10 * SECOND);
    assert!(!asks(&keys, "a", clock.now()).await.expect("keys"));
    assert!(!changes.is_current("a token", before));
}

#[tokio::test]
async fn issuer_leads_to_its_keys_and_may_move_them() {
    let place = Arc::new(Mutex::new("/keys"));
    let told = Arc::clone(&place);
    let server = TestServer::start(move |request| {
        let host = request.headers()["host"]
            .to_str()
            .expect("a host")
            .to_owned();
        let place = *told.lock();
        async move {
            match request.uri().path() {
                "/.well-known/openid-configuration" => json(format!(
                    r#"{{"issuer":"http://{host}","jwks_uri":"http://{host}{place}"}}"#
                )),
                path => json(jwks(&[(path, 1)])),
            }
        }
    })
    .await;
    let clock = Arc::new(ManualClock::new());
    let keys = RemoteKeys::discover(&server.url).with_client(client());
    let keys = keys
        .with_clock(Arc::clone(&clock))
        .build()
        .expect("settings");
    assert!(asks(&keys, "/keys", clock.now()).await.expect("keys"));
    *place.lock() = "/other-keys";
    clock.advance(10 * SECOND);
    assert!(asks(&keys, "/other-keys", clock.now()).await.expect("keys"));

    let keys = RemoteKeys::discover(format!("{}/", server.url)).with_client(client());
    let error = keys.build().expect("settings").prefetch().await;
    let error = error.expect_err("another issuer, by a slash");
    assert_eq!(*error.kind(), FetchErrorKind::WrongIssuer);
}

#[test]
fn fetch_that_died_with_its_runtime_is_an_outage_until_the_next() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let (first, second) = (runtime().expect("one"), runtime().expect("another"));
    let issuer = second.block_on(Issuer::with(&[("a", 1)]));
    let (keys, clock) = issuer.keys();
    first.block_on(async {
        let asked = asks(&keys, "a", clock.now()).now_or_never();
        assert!(asked.is_none(), "under way");
    });
    drop(first);
    second.block_on(async {
        let error = keys.prefetch().await.expect_err("died");
        assert_eq!(*error.kind(), FetchErrorKind::Died);
        clock.advance(10 * SECOND);
        assert!(asks(&keys, "a", clock.now()).await.expect("keys"));
    });
    clock.advance(300 * SECOND);
    let known = keys.known(clock.now());
    assert!(
        known.is_some_and(|keys| has(&keys, "a")),
        "without a runtime"
    );
}

#[test]
fn settings_that_cannot_be_fail_at_set_up() {
    for url in [
        "http://issuer.example",
        "issuer.example",
        "https://me:secret@issuer.example",
    ] {
        for keys in [RemoteKeys::discover(url), RemoteKeys::at(url)] {
            assert!(!format!("{keys:?}").contains("secret"));
            let error = keys.with_client(client()).build().expect_err(url);
            assert!(matches!(error, OAuthSetupError::Url { .. }), "{error}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
    let error = RemoteKeys::discover("https://issuer.example?a=b")
        .with_client(client())
        .build();
    assert!(matches!(error, Err(OAuthSetupError::Url { .. })));
    let keys = || RemoteKeys::at("https://issuer.example/keys?a=b").with_client(client());
    keys().build().expect("a set may have a query");
    for bad in [
        keys().with_least_interval(SECOND / 2),
        keys().with_refresh_after(9 * SECOND),
        keys().with_max_staleness(299 * SECOND),
    ] {
        assert!(matches!(bad.build(), Err(OAuthSetupError::Setting(_))));
    }
}
