//! Every call on keys, by an administrator who makes no mistake.

use serde_json::{Value, json};
use tower_api_key::{EventKind, Holder, KeyId, KeyQuery, KeyStore, LicenseEvent, NewKey};

use crate::{
    interrupted::Fault,
    support::{Client, World, module},
};

/// The fields of a key object.
const FIELDS: [&str; 15] = [
    "administrator",
    "allowed_addresses",
    "created_at",
    "enabled",
    "environment",
    "expires_at",
    "hint",
    "id",
    "last_used_at",
    "modules",
    "name",
    "owner",
    "revoked_at",
    "scopes",
    "tier",
];

fn fields(object: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = object.as_object().unwrap().keys().collect();
    fields.sort_unstable();
    fields.into_iter().map(String::as_str).collect()
}

#[tokio::test]
async fn new_key_is_answered_with_its_text_and_works() {
    let world = World::new().await;
    let body = json!({"name": "stage left", "modules": ["launcher"]});
    let answer = world.administer("POST", "/keys", Some(body)).await;
    let mut key = answer.is(201).json();
    let text = key.as_object_mut().unwrap().remove("key").unwrap();
    let text = text.as_str().unwrap();
    assert!(text.starts_with("rk_live_"), "{text}");
    assert_eq!(fields(&key), FIELDS);
    let id = key["id"].as_str().unwrap();
    let expected = json!({
        "id": id, "name": "stage left", "environment": "live",
        "hint": format!("rk_live_…{}", &text[text.len() - 4..]),
        "created_at": world.clock_in(0).to_string(), "last_used_at": null, "expires_at": null,
        "enabled": true, "revoked_at": null, "administrator": false,
        "modules": [{"module": "launcher", "license": "launcher-2026",
                     "status": "reserved", "reason": null}],
        "scopes": [], "tier": null, "owner": null, "allowed_addresses": [],
    });
    assert_eq!(key, expected);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("location"), format!("keys/{id}"));

    // Where `Location` leads to (RFC 3986 §5.3) is the same key, without its text.
    let read = world.administer("GET", &format!("/keys/{id}"), None).await;
    assert_eq!(read.is(200).json(), key);
    assert_eq!(read.header("etag"), answer.header("etag"));
    assert_eq!(world.guarded("/engines", text).await, 200);

    let log = world.keys.events(0, usize::MAX).await.unwrap();
    let of_key = |event: &&LicenseEvent| {
        let event = serde_json::to_value(&event.kind).unwrap();
        event["holder"] == id
    };
    let entries: Vec<_> = log.iter().filter(of_key).collect();
    assert!(!entries.is_empty());
    let actor = world.administrator.actor();
    assert!(entries.iter().all(|event| event.actor == actor));
}

#[tokio::test]
async fn every_field_of_a_new_key_is_taken() {
    let world = World::new().await;
    let body = json!({
        "name": "é".repeat(200), "environment": "test", "modules": ["open", "launcher"],
        "scopes": ["write:b", "read:a"], "tier": "premium", "owner": "studio",
        "expires_at": "2999-01-01T00:00:00+01:00", "administrator": true,
        "allowed_addresses": ["10.1.2.3/8", "2001:db8::1", "::ffff:192.0.2.1"],
    });
    let key = world.administer("POST", "/keys", Some(body)).await;
    let key = key.is(201).json();
    assert!(key["key"].as_str().unwrap().starts_with("rk_test_"));
    assert_eq!(key["name"], "é".repeat(200));
    assert_eq!(key["environment"], "test");
    let modules: Vec<_> = key["modules"].as_array().unwrap().iter().collect();
    assert_eq!(modules[0]["module"], "launcher");
    let open = json!({"module": "open", "license": null, "status": "not_required", "reason": null});
    assert_eq!(modules[1], &open);
    assert_eq!(key["scopes"], json!(["read:a", "write:b"]));
    assert_eq!(
        (&key["tier"], &key["owner"]),
        (&json!("premium"), &json!("studio"))
    );
    assert_eq!(key["expires_at"], "2998-12-31T23:00:00Z");
    assert_eq!(key["administrator"], true);
    let ranges = json!(["10.0.0.0/8", "2001:db8::1/128", "192.0.2.1/32"]);
    assert_eq!(key["allowed_addresses"], ranges);
}

#[tokio::test]
async fn date_means_through_the_end_of_that_day() {
    let world = World::new().await;
    let body = json!({"name": "a", "expires_at": "2999-12-31"});
    let key = world.administer("POST", "/keys", Some(body)).await;
    assert_eq!(key.is(201).json()["expires_at"], "3000-01-01T00:00:00Z");
    let body = json!({"expires_at": "2998-12-31"});
    let key = world
        .administer("PATCH", "/keys/outsider", Some(body))
        .await;
    assert_eq!(key.is(200).json()["expires_at"], "2999-01-01T00:00:00Z");
}

#[tokio::test]
async fn pages_show_every_key_once_and_no_text() {
    let world = World::new().await;
    let mut texts = vec![world.administrator.text.clone()];
    for number in 0..7 {
        let new = NewKey::named(format!("Stage {number}")).with_modules([module("launcher")]);
        texts.push(world.key(new).await.text);
    }
    for limit in [1, 3, 9, 10, 500] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/keys?limit={limit}{cursor}");
            let answer = world.administer("GET", &path, None).await;
            let page = answer.is(200).json();
            assert_eq!(fields(&page), ["items", "next_cursor"]);
            let body = String::from_utf8_lossy(&answer.body);
            assert!(texts.iter().all(|text| !body.contains(text.as_str())));
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            assert!(items.iter().all(|item| fields(item) == FIELDS));
            seen.extend(items.iter().map(|item| item["id"].clone()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
            assert_eq!(items.len(), limit);
        }
        assert_eq!(seen, ids(&world).await, "{limit}");
    }
    let found = world.administer("GET", "/keys?q=sTAGE%203", None).await;
    let found = found.is(200).json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(found["items"][0]["name"], "Stage 3");
    assert_eq!(found["next_cursor"], Value::Null);
    // The end of a key that was found somewhere.
    let end = &texts[3][texts[3].len() - 4..];
    let search = format!("/keys?q={end}");
    let found = world.administer("GET", &search, None).await;
    let found = found.is(200).json();
    assert_eq!(found["items"][0]["name"], "Stage 2");
}

async fn ids(world: &World) -> Vec<Value> {
    let query = KeyQuery::first(usize::MAX).with_descending(true);
    let keys = world.store.list(&query).await.unwrap();
    keys.iter().map(|key| json!(key.id)).collect()
}

#[tokio::test]
async fn page_without_a_limit_has_a_hundred_keys() {
    let world = World::new().await;
    for number in 0..98 {
        world.key(NewKey::named(format!("k{number}"))).await;
    }
    let page = world.administer("GET", "/keys", None).await.is(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 100);
    assert!(page["next_cursor"].is_string());
}

#[tokio::test]
async fn last_use_is_seen_at_once() {
    let world = World::new().await;
    assert_eq!(world.guarded("/engines", &world.outsider.text).await, 403);
    let key = world.administer("GET", "/keys/outsider", None).await;
    let now = world.clock_in(0).to_string();
    assert_eq!(key.is(200).json()["last_used_at"], now);
    let written = async || {
        let record = world.store.get(&world.outsider.id).await.unwrap();
        record
            .unwrap()
            .last_used_at
            .map(|instant| instant.to_string())
    };
    assert_eq!(written().await, None, "behind the requests");
    world.layer.flush().await.unwrap();
    assert_eq!(written().await, Some(now));
}

#[tokio::test]
async fn every_field_of_a_key_is_changed_and_what_is_left_out_stays() {
    let world = World::new().await;
    let path = "/keys/outsider";
    let mut expected = world.administer("GET", path, None).await.is(200).json();
    for (field, sent, answered) in [
        ("name", json!("stage right"), json!("stage right")),
        ("enabled", json!(false), json!(false)),
        ("enabled", json!(true), json!(true)),
        ("scopes", json!(["b", "a", "a"]), json!(["a", "b"])),
        ("scopes", json!([]), json!([])),
        ("tier", json!("premium"), json!("premium")),
        ("tier", json!(null), json!(null)),
        ("owner", json!("studio"), json!("studio")),
        ("owner", json!(null), json!(null)),
        (
            "expires_at",
            json!("2999-01-01T00:00:00Z"),
            json!("2999-01-01T00:00:00Z"),
        ),
        ("expires_at", json!(null), json!(null)),
        (
            "allowed_addresses",
            json!(["10.0.0.1"]),
            json!(["10.0.0.1/32"]),
        ),
        ("allowed_addresses", json!([]), json!([])),
        ("administrator", json!(true), json!(true)),
        ("administrator", json!(false), json!(false)),
    ] {
        let before = world.administer("GET", path, None).await;
        let answer = world
            .administer("PATCH", path, Some(json!({field: sent})))
            .await;
        expected[field] = answered;
        assert_eq!(answer.is(200).json(), expected, "{field}");
        assert_ne!(answer.header("etag"), before.header("etag"), "{field}");
        let after = world.administer("GET", path, None).await;
        assert_eq!(after.json(), expected, "{field}");
        assert_eq!(after.header("etag"), answer.header("etag"));
    }
    let answer = world.administer("PATCH", path, Some(json!({}))).await;
    assert_eq!(answer.is(200).json(), expected);
}

#[tokio::test]
async fn change_is_in_force_when_it_is_answered() {
    let world = World::new().await;
    let text = world.outsider.text.clone();
    let status = async || world.guarded("/engines", &text).await;
    let patch = async |body| {
        let answer = world
            .administer("PATCH", "/keys/outsider", Some(body))
            .await;
        answer.is(200);
    };
    assert_eq!(status().await, 403);
    patch(json!({"enabled": false})).await;
    assert_eq!(status().await, 401);
    patch(json!({"enabled": true})).await;
    assert_eq!(status().await, 403);
    patch(json!({"expires_at": world.clock_in(0).to_string()})).await;
    assert_eq!(status().await, 401);
    patch(json!({"expires_at": null})).await;
    let path = "/keys/outsider/modules/launcher";
    world.administer("PUT", path, None).await.is(200);
    assert_eq!(status().await, 200);
    world.administer("DELETE", path, None).await.is(204);
    assert_eq!(status().await, 403);
    world
        .administer("DELETE", "/keys/outsider", None)
        .await
        .is(204);
    assert_eq!(status().await, 401);
}

#[tokio::test]
async fn deleted_key_is_gone() {
    let world = World::new().await;
    let answer = world.administer("DELETE", "/keys/outsider", None).await;
    assert!(answer.is(204).body.is_empty());
    for method in ["GET", "DELETE"] {
        let answer = world.administer(method, "/keys/outsider", None).await;
        answer.refused(404, "not_found").blames("id");
    }
}

#[tokio::test]
async fn deletion_that_is_cut_short_anywhere_is_completed_by_its_retry() {
    for (is_administrator, with_tag) in [(false, false), (false, true), (true, false), (true, true)]
    {
        for answered in 0.. {
            let (world, plan) = World::interrupted().await;
            let client = match is_administrator {
                true => &world.administrator,
                false => &world.manager,
            };
            world.call("GET", "/keys", client, None).await.is(200);
            let seat = NewKey::named("seat").with_modules([module("launcher")]);
            let seat = world.key(seat).await;
            let path = format!("/keys/{}", seat.id);
            let etag = world.call("GET", &path, client, None).await;
            let etag = etag.is(200).header("etag").to_owned();
            let headers = match with_tag {
                true => vec![("if-match", etag.as_str())],
                false => vec![],
            };
            let delete = async || {
                let deleted = world.call_with("DELETE", &path, client, &headers, None);
                deleted.await
            };
            plan.fail(answered + 1, Fault::Outage);
            let broken = delete().await;
            plan.lift();
            if broken.status == 204 {
                assert!(answered >= 3, "it was cut short at {answered} places");
                break;
            }
            broken.is(503);
            delete().await.is(204);
            delete().await.refused(404, "not_found").blames("id");
            let overview = world.keys.overview().await.unwrap();
            assert_eq!(overview.licenses[0].used, 0, "{answered}");
            let log = world.keys.events(0, usize::MAX).await.unwrap();
            let is_deleted = |event: &&LicenseEvent| matches!(&event.kind, EventKind::KeyDeleted { holder, .. } if *holder == Holder::from(&seat.id));
            let deleted: Vec<_> = log.iter().filter(is_deleted).collect();
            let [deleted] = deleted[..] else {
                panic!("it is told once: {deleted:?}");
            };
            assert_eq!(deleted.actor, client.actor(), "{answered}");
        }
    }
}

#[tokio::test]
async fn key_of_an_environment_that_is_not_admitted_is_not_made() {
    let world = World::new().await;
    let before = world.everything().await;
    let body = json!({"name": "a", "environment": "stage"});
    let answer = world.administer("POST", "/keys", Some(body)).await;
    answer.refused(422, "invalid_field").blames("environment");
    assert_eq!(world.everything().await, before);
    let body = json!({"name": "a", "environment": "test"});
    world.administer("POST", "/keys", Some(body)).await.is(201);
}

#[tokio::test]
async fn revoked_key_stays_revoked() {
    let world = World::new().await;
    let path = "/keys/outsider/revoke";
    let revoked = world.administer("POST", path, None).await.is(200).json();
    assert_eq!(revoked["revoked_at"], world.clock_in(0).to_string());
    assert_eq!(revoked["modules"], json!([]));
    world.clock.advance(std::time::Duration::from_secs(60));
    let again = world.administer("POST", path, None).await;
    assert_eq!(again.is(200).json(), revoked);
    for (method, path, body) in [
        ("PATCH", "/keys/outsider", Some(json!({"enabled": true}))),
        ("POST", "/keys/outsider/regenerate", None),
        ("PUT", "/keys/outsider/modules/open", None),
    ] {
        let answer = world.administer(method, path, body).await;
        answer.refused(409, "conflict");
    }
    assert_eq!(world.guarded("/engines", &world.outsider.text).await, 401);
}

async fn regenerate(world: &World, client: &Client, body: Option<Value>) -> Client {
    let path = format!("/keys/{}/regenerate", client.id);
    let answer = world.administer("POST", &path, body).await;
    let key = answer.is(200).json();
    let text = key["key"].as_str().unwrap().to_owned();
    let hint = key["hint"].as_str().unwrap();
    assert!(text.ends_with(hint.split('…').nth(1).unwrap()), "{hint}");
    let id = KeyId::new(key["id"].as_str().unwrap()).unwrap();
    Client { id, text }
}

#[tokio::test]
async fn regenerated_key_has_its_new_text_alone() {
    let world = World::new().await;
    let launches = NewKey::named("launches").with_modules([module("launcher")]);
    let old = world.key(launches).await;
    for body in [
        None,
        Some(json!({})),
        Some(json!({"grace_seconds": 0})),
        Some(json!({"grace_seconds": null})),
        Some(json!(null)),
    ] {
        let before = world.key(NewKey::named("other")).await;
        let new = regenerate(&world, &before, body).await;
        assert_eq!(new.id, before.id);
        assert_eq!(world.guarded("/engines", &before.text).await, 401);
        assert_eq!(world.guarded("/engines", &new.text).await, 403);
    }
    // Its seat stays.
    let new = regenerate(&world, &old, None).await;
    assert_eq!(world.guarded("/engines", &new.text).await, 200);
}

#[tokio::test]
async fn both_texts_work_in_grace_and_never_past_the_expiry() {
    let world = World::new().await;
    let old = world
        .key(NewKey::named("a").with_modules([module("launcher")]))
        .await;
    let hour = Some(json!({"grace_seconds": 3_600}));
    let new = regenerate(&world, &old, hour).await;
    for text in [&old.text, &new.text] {
        assert_eq!(world.guarded("/engines", text).await, 200);
    }
    world.clock.advance(std::time::Duration::from_secs(3_600));
    assert_eq!(world.guarded("/engines", &old.text).await, 401);
    assert_eq!(world.guarded("/engines", &new.text).await, 200);

    let end = json!({"expires_at": world.clock_in(60).to_string()});
    let path = format!("/keys/{}", new.id);
    world.administer("PATCH", &path, Some(end)).await.is(200);
    let newest = regenerate(&world, &new, Some(json!({"grace_seconds": 2_592_000}))).await;
    world.clock.advance(std::time::Duration::from_secs(60));
    for text in [&new.text, &newest.text] {
        assert_eq!(world.guarded("/engines", text).await, 401);
    }
}

#[tokio::test]
async fn module_is_assigned_and_says_how_it_stands() {
    let world = World::new().await;
    let put = async |path| world.administer("PUT", path, None).await.is(200).json();
    let standing = |status: &str, reason: Value| {
        json!({"module": "launcher", "license": "launcher-2026", "status": status,
               "reason": reason})
    };
    let reserved = standing("reserved", Value::Null);
    let (first, second) = (
        "/keys/outsider/modules/launcher",
        "/keys/manager/modules/launcher",
    );
    assert_eq!(put(first).await, reserved);
    let waits = standing("reservation_failed", json!("limit_reached"));
    assert_eq!(put(second).await, waits);
    assert_eq!(put(first).await, reserved, "again it keeps its seat");
    assert_eq!(
        put("/keys/manager/modules/open").await["status"],
        "not_required"
    );

    let gone = world.administer("DELETE", first, None).await;
    assert!(gone.is(204).body.is_empty());
    assert_eq!(put(second).await, reserved, "who waited was promoted");
    world.administer("DELETE", first, None).await.is(204);
    for method in ["PUT", "DELETE"] {
        let answer = world
            .administer(method, "/keys/outsider/modules/unknown", None)
            .await;
        answer.refused(404, "not_found").blames("module");
        let answer = world
            .administer(method, "/keys/nobody/modules/open", None)
            .await;
        answer.refused(404, "not_found").blames("id");
    }
    let admin = world.administrator.actor();
    let edition = world.keys.set_limited_edition(true, &admin);
    edition.await.unwrap();
    assert_eq!(
        put(second).await,
        standing("expired", json!("limited_edition"))
    );
    world
        .administer("PATCH", "/keys/manager", Some(json!({"enabled": false})))
        .await
        .is(200);
    let edition = world.keys.set_limited_edition(false, &admin);
    edition.await.unwrap();
    let disabled = standing("reservation_failed", json!("key_disabled"));
    assert_eq!(put(second).await, disabled);
}

#[tokio::test]
async fn module_with_a_slash_in_its_name_is_assigned() {
    let world = World::new().await;
    let (name, admin) = (module("studio/launcher?"), world.administrator.actor());
    let mapped = world.keys.map_module(&name, None, &admin);
    mapped.await.unwrap();
    let path = "/keys/outsider/modules/studio%2Flauncher%3F";
    let answer = world.administer("PUT", path, None).await;
    assert_eq!(answer.is(200).json()["module"], "studio/launcher?");
}

#[tokio::test]
async fn plan_tells_who_loses_and_who_gets_a_seat_and_changes_nothing() {
    let world = World::new().await;
    let launches = || NewKey::named("launches").with_modules([module("launcher")]);
    let (first, second) = (world.key(launches()).await, world.key(launches()).await);
    let before = world.everything().await;
    let seat =
        |key: &Client| json!([{"license": "launcher-2026", "key_id": key.id, "name": "launches"}]);
    let plan = async |key: &Client, body: Value| {
        let path = format!("/keys/{}/plan", key.id);
        world.call("POST", &path, &world.manager, Some(body)).await
    };
    for body in [
        json!({"operation": "disable"}),
        json!({"operation": "revoke"}),
        json!({"operation": "delete"}),
        json!({"operation": "unassign", "modules": ["launcher", "open"]}),
    ] {
        let answer = plan(&first, body).await.is(200).json();
        assert_eq!(
            answer,
            json!({"loses": seat(&first), "gains": seat(&second)})
        );
    }
    let nothing = json!({"loses": [], "gains": []});
    for body in [
        json!({"operation": "enable"}),
        json!({"operation": "assign", "modules": ["launcher"]}),
        json!({"operation": "assign"}),
    ] {
        assert_eq!(plan(&first, body).await.is(200).json(), nothing);
    }
    let unknown = json!({"operation": "assign", "modules": ["unknown"]});
    let refused = plan(&first, unknown).await;
    refused.refused(404, "not_found").blames("module");
    for (body, status, code, field) in [
        (
            json!({"operation": "enable", "modules": []}),
            422,
            "invalid_field",
            "modules",
        ),
        (
            json!({"operation": "rename"}),
            400,
            "invalid_request",
            "operation",
        ),
        (
            json!({"modules": ["open"]}),
            400,
            "invalid_request",
            "operation",
        ),
        (
            json!({"operation": "assign", "modules": [7]}),
            400,
            "invalid_request",
            "modules[0]",
        ),
        (
            json!({"operation": "disable", "id": 1}),
            400,
            "invalid_request",
            "id",
        ),
    ] {
        plan(&first, body).await.refused(status, code).blames(field);
    }
    assert_eq!(world.everything().await, before);
    let path = "/keys/nobody/plan";
    let answer = world
        .administer("POST", path, Some(json!({"operation": "delete"})))
        .await;
    answer.refused(404, "not_found").blames("id");
}
