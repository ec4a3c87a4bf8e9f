//! A canary: no key, nor any part of one, anywhere but in the answer that created it.
#![cfg(feature = "tracing")]

mod support;

use std::collections::HashSet;

use support::{World, admin, get, log::Log};
use tower_api_key::{MemoryRateLimiter, Quota, Tiers};

#[tokio::test]
async fn a_thousand_keys_leave_no_trace_in_logs_events_records_or_answers() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let tiers = Tiers::default();
    let standard = tiers.default_tier().clone();
    let tiers = tiers
        .with_tier(standard, Quota::per_hour(1))
        .expect("tiers");
    let limiter = MemoryRateLimiter::new(tiers);
    let world = World::with(|builder| {
        let builder = builder.with_query_parameter("api_key");
        builder.with_rate_limiter(limiter.clone())
    });
    let world = world.await;
    let mut seen = Vec::new();
    let mut texts = Vec::new();
    let paths = [
        "/engines",
        "/lino/x",
        "/realms",
        "/elsewhere",
        "/lino//x",
        "/me",
        "/health",
    ];
    for number in 0..1_000 {
        let key = world
            .key(if number % 2 == 0 { &["launcher"] } else { &[] })
            .await;
        let id = key.key.record.id.clone();
        seen.push(format!("{key:?}"));
        let text = key.text.expose().to_owned();
        let path = paths[number % paths.len()];
        for _ in 0..2 {
            let answer = world.get(path, &text).await;
            seen.push(format!(
                "{:?} {:?} {:?}",
                answer.headers, answer.body, answer.denial
            ));
        }
        let query = get(&format!("/engines?api_key={text}"));
        let answer = world.send(query).await;
        seen.push(format!(
            "{:?} {:?} {:?}",
            answer.headers, answer.body, answer.denial
        ));
        match number % 4 {
            0 => drop(
                world
                    .manager
                    .disable(&id, &admin())
                    .await
                    .expect("disabled"),
            ),
            1 => drop(world.manager.revoke(&id, &admin()).await.expect("revoked")),
            2 => world.manager.delete(&id, &admin()).await.expect("deleted"),
            _ => {
                let new = world
                    .manager
                    .regenerate(&id, None, &admin())
                    .await
                    .expect("new");
                texts.push(new.text.expose().to_owned());
            }
        }
        let answer = world.get(path, &text).await;
        seen.push(format!(
            "{:?} {:?} {:?}",
            answer.headers, answer.body, answer.denial
        ));
        texts.push(text);
    }
    let query = tower_api_key::KeyQuery::first(2_000);
    seen.push(format!(
        "{:?}",
        world.manager.list(&query).await.expect("a list")
    ));
    seen.push(format!(
        "{:?}",
        world.manager.events(0, 100_000).await.expect("the log")
    ));
    seen.push(format!(
        "{:?} {:?} {:?} {limiter:?}",
        world.layer, world.store, world.ledger
    ));
    seen.push(log.text());
    let whole = seen.join("\n");
    assert!(whole.contains("request refused"), "the log was written");
    assert!(whole.contains("rate_limited"), "some used up their quota");
    // Prefix, environment and the last four characters may be seen.
    let secrets = texts
        .iter()
        .map(|text| &text.as_bytes()["rk_live_".len()..text.len() - 4]);
    let parts: HashSet<&[u8]> = secrets.flat_map(|secret| secret.windows(8)).collect();
    assert!(parts.len() > 20 * 1_000);
    let found = whole
        .as_bytes()
        .windows(8)
        .find(|window| parts.contains(window));
    assert_eq!(
        found.map(String::from_utf8_lossy),
        None,
        "a part of a key was found"
    );
}
