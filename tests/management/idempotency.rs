//! `Idempotency-Key`: a retry never makes two keys, over lost answers, faults and processes.

use std::sync::Arc;

use serde_json::{Value, json};
use tower_api_key::{KeyQuery, KeyStore, LicenseEvent, NewKey};

use crate::{
    interrupted::Fault,
    support::{Answer, Client, World, module},
};

async fn post(world: &World, client: &Client, path: &str, sent: &str, body: Value) -> Answer {
    let headers = [("idempotency-key", sent)];
    world
        .call_with("POST", path, client, &headers, Some(body))
        .await
}

async fn create(world: &World, sent: &str, body: &Value) -> Answer {
    post(world, &world.manager, "/keys", sent, body.clone()).await
}

/// How many keys there are beside those of the [`World`].
async fn count(world: &World) -> usize {
    let keys = world.store.list(&KeyQuery::first(usize::MAX)).await;
    keys.unwrap().len() - 3
}

fn body() -> Value {
    json!({"name": "stage left", "modules": ["launcher", "open"], "scopes": ["b", "a"],
           "expires_at": "2999-12-31"})
}

#[tokio::test]
async fn retry_is_answered_as_the_first_and_makes_no_second_key() {
    let world = World::new().await;
    let first = create(&world, "a", &body()).await;
    let key = first.is(201).json();
    assert!(key["key"].as_str().unwrap().starts_with("rk_live_"));
    let before = world.everything().await;
    let retry = create(&world, "a", &body()).await;
    assert_eq!(retry.is(201).json(), key);
    for header in ["location", "etag"] {
        assert_eq!(retry.header(header), first.header(header));
    }
    assert_eq!(world.everything().await, before);
    assert_eq!(count(&world).await, 1);
    let text = key["key"].as_str().unwrap();
    assert_eq!(world.guarded("/engines", text).await, 200);
}

#[tokio::test]
async fn fields_that_say_the_default_make_the_same_body() {
    let world = World::new().await;
    let first = create(&world, "a", &json!({"name": "a"})).await;
    let body = json!({"owner": null, "environment": "live", "modules": [], "name": "a"});
    let retry = create(&world, "a", &body).await;
    assert_eq!(retry.is(201).json(), first.is(201).json());
}

#[tokio::test]
async fn retry_of_a_key_that_was_changed_since_answers_it_as_it_is_unless_revoked() {
    let world = World::new().await;
    let mut key = create(&world, "a", &body()).await.is(201).json();
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    for (field, value) in [("name", json!("renamed")), ("enabled", json!(false))] {
        let patched = world
            .administer("PATCH", &path, Some(json!({field: value})))
            .await;
        key[field] = value;
        key["modules"] = patched.is(200).json()["modules"].clone();
        let retry = create(&world, "a", &body()).await;
        assert_eq!(retry.is(201).json(), key);
    }
    world
        .administer("POST", &format!("{path}/revoke"), None)
        .await
        .is(200);
    let retry = create(&world, "a", &body()).await;
    retry.refused(409, "conflict");
    assert_eq!(count(&world).await, 1);
}

#[tokio::test]
async fn another_body_is_refused() {
    let world = World::new().await;
    create(&world, "a", &body()).await.is(201);
    let before = world.everything().await;
    for (field, value) in [
        ("name", json!("stage right")),
        ("modules", json!(["launcher"])),
        ("modules", json!([])),
        (
            "modules",
            json!(["launcher", "open", "rest_api_management"]),
        ),
        ("scopes", json!(["a"])),
        ("environment", json!("test")),
        ("tier", json!("premium")),
        ("owner", json!("studio")),
        ("expires_at", json!("2999-12-30")),
        ("expires_at", json!(null)),
        ("allowed_addresses", json!(["10.0.0.1"])),
    ] {
        let mut other = body();
        other[field] = value;
        let answer = create(&world, "a", &other).await;
        if other["modules"].as_array().unwrap().len() == 3 {
            answer.refused(403, "forbidden");
        } else if field == "modules" {
            // Fewer modules than the key has, or as many as it may have had so far.
            assert!([409, 422].contains(&answer.status.as_u16()));
        } else {
            answer
                .refused(422, "invalid_field")
                .blames("idempotency-key");
        }
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn another_caller_is_independent() {
    let world = World::new().await;
    let first = create(&world, "a", &body()).await.is(201).json();
    let second = post(&world, &world.administrator, "/keys", "a", body()).await;
    let second = second.is(201).json();
    assert_ne!(first["id"], second["id"]);
    assert_ne!(first["key"], second["key"]);
    let third = create(&world, "b", &body()).await.is(201).json();
    assert_ne!(first["id"], third["id"]);
    assert_eq!(count(&world).await, 3);
}

#[tokio::test]
async fn requests_at_the_same_time_make_one_key() {
    let world = World::new().await;
    let body = body();
    let all = (0..8).map(|_| create(&world, "a", &body));
    let answers = futures_util::future::join_all(all).await;
    let first = answers[0].is(201).json();
    assert!(answers.iter().all(|answer| answer.is(201).json() == first));
    assert_eq!(count(&world).await, 1);
}

#[tokio::test]
async fn malformed_idempotency_key_is_refused() {
    let world = World::new().await;
    let before = world.everything().await;
    let long = "a".repeat(256);
    for sent in ["", " ", "a b", "a\tb", "ä", &long] {
        for (path, body) in [("/keys", body()), ("/keys/outsider/regenerate", json!({}))] {
            let answer = post(&world, &world.manager, path, sent, body).await;
            answer
                .refused(400, "invalid_request")
                .blames("idempotency-key");
        }
    }
    assert_eq!(world.everything().await, before);
    let longest = "a".repeat(255);
    create(&world, &longest, &body()).await.is(201);
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    let answer = world.call_with("POST", "/keys", &world.manager, &twice, Some(body()));
    answer
        .await
        .refused(400, "invalid_request")
        .blames("idempotency-key");
}

#[tokio::test]
async fn other_processes_with_the_same_secret_know_the_text_and_others_make_no_second_key() {
    let first = World::with(|builder| builder.with_secret([7; 32])).await;
    let key = create(&first, "a", &body()).await.is(201).json();
    // The same keys and seats, served by another process.
    let beside = |secret: Option<[u8; 32]>| {
        let layer = tower_api_key::ApiKeyLayer::builder(
            first.store.clone(),
            tower_api_key::RouteModules::builder().build().unwrap(),
            first.ledger.clone(),
        );
        let layer = layer
            .with_clock(first.clock.clone())
            .with_maintenance_task(false);
        let builder = tower_api_key::manage::Management::builder(&layer.build().unwrap());
        let builder = match secret {
            Some(secret) => builder.with_secret(secret),
            None => builder,
        };
        axum::Router::new().nest(crate::support::MOUNT, builder.build().unwrap().router())
    };
    let before = first.everything().await;
    let mut other = World::new().await;
    other.manager = first.manager.clone();
    other.app = beside(Some([7; 32]));
    assert_eq!(create(&other, "a", &body()).await.is(201).json(), key);
    for secret in [Some([8; 32]), None] {
        other.app = beside(secret);
        let answer = create(&other, "a", &body()).await;
        answer.refused(409, "conflict").blames("idempotency-key");
    }
    assert_eq!(first.everything().await, before);
}

#[tokio::test]
async fn texts_follow_from_the_secret() {
    // The id of the key, the caller's and the client's word are public, or may be.
    let mut texts = Vec::new();
    for secret in [[7; 32], [8; 32]] {
        let world = World::with(|builder| builder.with_secret(secret)).await;
        let key = create(&world, "a", &body()).await.is(201).json();
        texts.push((key["id"].clone(), key["key"].clone()));
    }
    assert_eq!(texts[0].0, texts[1].0);
    assert_ne!(texts[0].1, texts[1].1);
}

#[tokio::test]
async fn creation_that_is_cut_short_anywhere_is_completed_by_its_retry() {
    for answered in 0.. {
        let (world, plan) = World::interrupted().await;
        plan.fail(answered + 1, Fault::Outage);
        let broken = create(&world, "a", &body()).await;
        plan.lift();
        world.clock.advance(std::time::Duration::from_secs(1));
        let retry = create(&world, "a", &body()).await;
        let key = retry.is(201).json();
        for (module, status) in [(0, "reserved"), (1, "not_required")] {
            assert_eq!(key["modules"][module]["status"], status, "{answered}");
        }
        assert_eq!(count(&world).await, 1, "{answered}");
        let log = world.keys.events(0, usize::MAX).await.unwrap();
        let is_created = |event: &&LicenseEvent| {
            let event = serde_json::to_value(&event.kind).unwrap();
            event["event"] == "key_created" && event["holder"] == key["id"]
        };
        assert_eq!(log.iter().filter(is_created).count(), 1, "{answered}");
        let text = key["key"].as_str().unwrap();
        assert_eq!(world.guarded("/engines", text).await, 200, "{answered}");
        if broken.status == 201 {
            assert!(answered >= 5, "it was cut short at {answered} places");
            return;
        }
        broken.is(503);
    }
}

/// Regenerates the key `outsider` as the administrator.
async fn regenerate(world: &World, sent: &str, body: Value) -> Answer {
    let path = "/keys/outsider/regenerate";
    post(world, &world.administrator, path, sent, body).await
}

#[tokio::test]
async fn retried_regeneration_answers_the_same_text() {
    let world = World::new().await;
    for (sent, body) in [("a", json!({})), ("b", json!({"grace_seconds": 60}))] {
        let first = regenerate(&world, sent, body.clone()).await;
        let key = first.is(200).json();
        let before = world.everything().await;
        world.clock.advance(std::time::Duration::from_secs(30));
        let retry = regenerate(&world, sent, body).await;
        assert_eq!(retry.is(200).json(), key);
        assert_eq!(retry.header("etag"), first.header("etag"));
        assert_eq!(world.everything().await, before);
        let text = key["key"].as_str().unwrap();
        assert_eq!(world.guarded("/engines", text).await, 403);
    }
    let other = regenerate(&world, "c", json!({})).await.is(200).json();
    let again = world
        .administer("POST", "/keys/outsider/regenerate", None)
        .await;
    assert_ne!(again.is(200).json()["key"], other["key"]);
}

#[tokio::test]
async fn retried_regeneration_may_name_the_tag_that_it_made_stale() {
    let world = World::new().await;
    let read = world.administer("GET", "/keys/outsider", None).await;
    let headers = [("idempotency-key", "a"), ("if-match", read.header("etag"))];
    let path = "/keys/outsider/regenerate";
    let call = async || {
        world
            .call_with("POST", path, &world.manager, &headers, None)
            .await
    };
    let first = call().await.is(200).json();
    assert_eq!(call().await.is(200).json(), first);
    world.administer("POST", path, None).await.is(200);
    call().await.refused(412, "precondition_failed");
}

#[tokio::test]
async fn regeneration_with_another_body_is_refused() {
    let world = World::new().await;
    let grace = |seconds: u64| json!({"grace_seconds": seconds});
    for (number, (first, others)) in [
        (json!({}), vec![grace(1), grace(3_600)]),
        (grace(3_600), vec![json!({}), grace(0), grace(3_599)]),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = format!("n{number}");
        regenerate(&world, &sent, first).await.is(200);
        let before = world.everything().await;
        for other in others {
            let answer = regenerate(&world, &sent, other).await;
            answer
                .refused(422, "invalid_field")
                .blames("idempotency-key");
        }
        assert_eq!(world.everything().await, before);
    }
}

#[tokio::test]
async fn regenerations_of_other_callers_and_of_other_keys_are_independent() {
    let world = World::new().await;
    let other = world
        .key(NewKey::named("other").with_modules([module("open")]))
        .await;
    let mut texts = Vec::new();
    for (client, id) in [
        (&world.manager, &world.outsider.id),
        (&world.administrator, &world.outsider.id),
        (&world.manager, &other.id),
        (&world.administrator, &other.id),
    ] {
        let path = format!("/keys/{id}/regenerate");
        let answer = post(&world, client, &path, "a", json!({})).await;
        texts.push(answer.is(200).json()["key"].to_string());
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 4);
}

#[tokio::test]
async fn text_that_was_replaced_since_does_not_come_back_in_its_grace() {
    let world = World::new().await;
    regenerate(&world, "a", json!({})).await.is(200);
    let hour = json!({"grace_seconds": 3_600});
    let newest = regenerate(&world, "b", hour).await.is(200).json();
    let before = world.everything().await;
    let answer = regenerate(&world, "a", json!({})).await;
    answer.refused(409, "conflict").blames("idempotency-key");
    assert_eq!(world.everything().await, before);
    let text = newest["key"].as_str().unwrap();
    assert_eq!(world.guarded("/engines", text).await, 403);
}

#[tokio::test]
async fn replay_after_a_deletion_makes_a_key_with_another_text() {
    let world = World::new().await;
    let second = std::time::Duration::from_secs(1);
    let dead = create(&world, "a", &body()).await.is(201).json();
    let path = format!("/keys/{}", dead["id"].as_str().unwrap());
    let renew = async || {
        let path = format!("{path}/regenerate");
        let answer = post(&world, &world.manager, &path, "r", json!({})).await;
        answer.is(200).json()["key"].clone()
    };
    let dead_too = renew().await;
    world.administer("DELETE", &path, None).await.is(204);
    world.clock.advance(second);
    let new = create(&world, "a", &body()).await.is(201).json();
    assert_eq!(new["id"], dead["id"]);
    world.clock.advance(second);
    assert_eq!(create(&world, "a", &body()).await.is(201).json(), new);
    let newest = renew().await;
    for (text, status) in [(&dead["key"], 401), (&dead_too, 401), (&newest, 200)] {
        let text = text.as_str().unwrap();
        assert_eq!(world.guarded("/engines", text).await, status, "{text}");
    }
    assert_ne!(new["key"], dead["key"]);
}

#[tokio::test]
async fn text_that_was_replaced_without_grace_never_comes_back() {
    let world = World::new().await;
    let first = regenerate(&world, "a", json!({})).await.is(200).json();
    regenerate(&world, "b", json!({})).await.is(200);
    let again = regenerate(&world, "a", json!({})).await.is(200).json();
    assert_ne!(again["key"], first["key"]);
    let retry = regenerate(&world, "a", json!({})).await.is(200).json();
    assert_eq!(retry["key"], again["key"]);
    let text = first["key"].as_str().unwrap();
    assert_eq!(world.guarded("/engines", text).await, 401);
}

#[tokio::test]
async fn regeneration_is_known_over_64_changes_of_the_key() {
    let world = World::new().await;
    let first = regenerate(&world, "a", json!({})).await.is(200).json();
    for (changes, is_known) in [(63, true), (1, false)] {
        for change in 0..changes {
            let patch = json!({"name": format!("{changes} {change}")});
            let answer = world.administer("PATCH", "/keys/outsider", Some(patch));
            answer.await.is(200);
        }
        let retry = regenerate(&world, "a", json!({})).await.is(200).json();
        assert_eq!(retry["key"] == first["key"], is_known, "{changes}");
    }
}

#[tokio::test]
async fn replay_gives_no_modules_that_were_taken_since() {
    let world = World::new().await;
    let key = create(&world, "a", &body()).await.is(201).json();
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    let take = async |module: &str| {
        let path = format!("{path}/modules/{module}");
        world.administer("DELETE", &path, None).await.is(204);
    };
    take("launcher").await;
    let retry = create(&world, "a", &body()).await.is(201).json();
    assert_eq!(retry["modules"].as_array().unwrap().len(), 1);
    take("open").await;
    world
        .clock
        .advance(std::time::Duration::from_secs(24 * 60 * 60));
    let retry = create(&world, "a", &body()).await.is(201).json();
    assert_eq!(retry["modules"], json!([]));
}

#[tokio::test]
async fn replay_of_a_key_that_became_an_administrators_is_refused_to_a_manager() {
    let world = World::new().await;
    let key = create(&world, "a", &body()).await.is(201).json();
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    let patch = Some(json!({"administrator": true}));
    world.administer("PATCH", &path, patch).await.is(200);
    let retry = create(&world, "a", &body()).await;
    retry.refused(403, "forbidden");
}

/// How many entries of this kind the log has.
async fn logged(world: &World, event: &str) -> usize {
    let log = world.keys.events(0, usize::MAX).await.unwrap();
    let is_it =
        |logged: &&LicenseEvent| serde_json::to_value(&logged.kind).unwrap()["event"] == event;
    log.iter().filter(is_it).count()
}

#[tokio::test]
async fn regenerations_at_the_same_time_are_one() {
    let world = World::new().await;
    let all = (0..10).map(|_| regenerate(&world, "a", json!({})));
    let answers = futures_util::future::join_all(all).await;
    let first = answers[0].is(200).json();
    assert!(answers.iter().all(|answer| answer.is(200).json() == first));
    assert_eq!(logged(&world, "key_regenerated").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_conditional_changes_at_the_same_time_one_is_made_and_logged() {
    let world = Arc::new(World::new().await);
    let read = world.administer("GET", "/keys/outsider", None).await;
    let tag = read.header("etag").to_owned();
    let all = (0..8).map(|number| {
        let (world, tag) = (Arc::clone(&world), tag.clone());
        tokio::spawn(async move {
            let patch = Some(json!({"name": format!("name {number}")}));
            let (headers, path) = ([("if-match", &*tag)], "/keys/outsider");
            let answer = world.call_with("PATCH", path, &world.administrator, &headers, patch);
            answer.await.status.as_u16()
        })
    });
    let answers = futures_util::future::join_all(all).await;
    let mut answers: Vec<u16> = answers.into_iter().map(Result::unwrap).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(logged(&world, "key_changed").await, 1);
}

#[tokio::test]
async fn keys_that_are_named_by_the_time_sort_by_it() {
    let world = World::new().await;
    // RFC 9562 §5.7: 48 bits of milliseconds, the version, the variant.
    let timed = [
        "019aaaaa-0001-7000-8000-000000000000",
        "019AAAAA-0003-7fff-BFFF-FFFFFFFFFFFF",
        "019aaaaa-0002-7abc-9def-000000000000",
    ];
    for sent in timed {
        let body = json!({ "name": sent });
        create(&world, sent, &body).await.is(201);
    }
    let page = world.administer("GET", "/keys?q=019aaaaa", None).await;
    let page = page.json();
    let items = page["items"].as_array().unwrap();
    let names: Vec<_> = items.iter().map(|key| key["name"].clone()).collect();
    assert_eq!(names, [timed[1], timed[2], timed[0]]);
    let lead = |key: &Value| key["id"].as_str().unwrap()[..9].to_owned();
    let leads: std::collections::BTreeSet<_> = items.iter().map(lead).collect();
    assert_eq!(leads.len(), 1, "{leads:?}");
    // Any other is no time.
    for sent in [
        "019aaaaa-0001-4000-8000-000000000000",
        "019aaaaa-0001-7000-c000-000000000000",
        "019aaaaa-0001-7000-8000-00000000000",
        "019aaaaa-0001-7000-8000-00000000000g",
        "019aaaaa00017000-8000-0000-00000000",
        "+19aaaaa-0001-7000-8000-000000000000",
    ] {
        let key = create(&world, sent, &body()).await.is(201).json();
        assert!(!leads.contains(&lead(&key)), "{sent}");
    }
}
