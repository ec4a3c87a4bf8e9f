//! What a token that was verified before costs, against a key: both as bearers, on the same route,
//! with the same scopes and the same modules.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio::runtime;
use tower::{Layer, ServiceExt};
use tower_api_key::{Holder, Now, Principal, Scope, Tier, TokenError, TokenVerifier};

use crate::{
    full,
    lanes::{median, race, ratio, requests},
    note, rounds, row,
    support::{PATH, Random, World, call, nothing, without_key},
};

mod verification;

pub fn report() {
    warm();
    verification::report();
}

fn warm() {
    let world = World::warm(COUNT, |builder| full(builder).with_token_verifier(Known));
    let keys = || bearers(|number| world.keys.text(number).to_vec());
    let mut lanes = vec![
        requests("bare", nothing(), keys()),
        requests(KEY, world.layer.layer(nothing()), keys()),
    ];
    for (name, length) in LENGTHS {
        warm_up(&world, length);
        let answer = call(&mut world.layer.layer(nothing()), bearer(&token(length, 7)));
        assert!(answer.status().is_success());
        let tokens = bearers(move |number| token(length, number));
        lanes.push(requests(name, world.layer.layer(nothing()), tokens));
    }
    let times = race(lanes, rounds(), 1_000);
    let key = times.net(KEY, "bare");
    for (name, length) in LENGTHS {
        let against = ratio(&times.net(name, "bare"), &key);
        let figure = format!("a warm token of {length} bytes, {name}, against a key");
        row("12", &figure, false, 1.3, against);
    }
    note(
        "12",
        "net ns of a key as a bearer",
        format!("{:.0}", median(key)),
    );
}

/// Verifies every token once.
fn warm_up(world: &World, length: usize) {
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        for number in 0..COUNT {
            let request = bearer(&token(length, number));
            let Ok(answer) = world.layer.layer(nothing()).oneshot(request).await;
            assert!(answer.status().is_success());
        }
    });
}

/// As long as a JWT of this length, and with the beginning of one.
fn token(length: usize, number: usize) -> Vec<u8> {
    format!("eyJ{number:0>width$}", width = length - 3).into_bytes()
}

fn bearers(text: impl Fn(usize) -> Vec<u8>) -> impl FnMut() -> Request<Body> {
    let mut random = Random::new();
    move || bearer(&text(random.below(COUNT)))
}

fn bearer(text: &[u8]) -> Request<Body> {
    let mut request = without_key(PATH);
    let value = HeaderValue::from_bytes(&[b"Bearer ", text].concat()).expect("a header value");
    request.headers_mut().insert(AUTHORIZATION, value);
    request
}

/// Knows everybody, for an hour, with the scopes of the keys.
struct Known;

#[async_trait]
impl TokenVerifier for Known {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"eyJ")
    }

    async fn verify(&self, token: &[u8], _: Now) -> Result<Principal, TokenError> {
        let number = String::from_utf8_lossy(&token[token.len() - 8..]);
        let holder = Holder::new(format!("https://issuer.example|{number}"));
        let mut principal = Principal::new(holder.expect("a holder"));
        let scopes = ["read:assets", "read:engines", "write:engines"];
        principal.scopes = scopes
            .map(|scope| Scope::new(scope).expect("a scope"))
            .into();
        principal.tier = Some(Tier::new("standard").expect("a tier"));
        principal.keep_for = Duration::from_secs(3_600);
        Ok(principal)
    }
}

const KEY: &str = "key";
/// With the claims of RFC 9068 and a handful of scopes.
const LENGTHS: [(&str, usize); 3] = [("HS256 or EdDSA", 400), ("ES256", 600), ("RS256", 900)];
const COUNT: usize = 1_000;
