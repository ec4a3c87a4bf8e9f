//! Licenses, limited edition, who has seats, and what a change would do.

use serde_json::{Value, json};
use tower_api_key::{Actor, KeyId, NewKey, manage::MANAGEMENT_MODULE};

use crate::support::{Client, World, module};

const LICENSE: &str = "/licenses/launcher-2026";

impl World {
    /// A key with this id and the module that has one seat.
    async fn launcher(&self, id: &str) -> Client {
        let new = NewKey::named(format!("Key {id}")).with_id(KeyId::new(id).unwrap());
        self.key(new.with_modules([module("launcher")])).await
    }

    async fn licenses(&self) -> Value {
        let answer = self.call("GET", "/licenses", &self.manager, None).await;
        answer.is(200).json()
    }

    async fn set(&self, path: &str, seats: Value, valid_until: Value) -> Value {
        let body = json!({"seats": seats, "valid_until": valid_until});
        let answer = self.call("PUT", path, &self.manager, Some(body)).await;
        let license = answer.json();
        assert_eq!(answer.header("etag"), license["etag"], "{license}");
        license
    }
}

#[tokio::test]
async fn licenses_are_listed_with_their_use() {
    let world = World::new().await;
    world.launcher("a").await;
    world.launcher("b").await;
    world
        .set("/licenses/endless", json!(null), json!(null))
        .await;
    let expected = json!([
        {
            "id": "endless", "seats": null, "valid_until": null,
            "used": 0, "waiting": 0, "status": "valid", "etag": "\"unlimited\"",
        },
        {
            "id": "launcher-2026", "seats": 1, "valid_until": null,
            "used": 1, "waiting": 1, "status": "valid", "etag": "\"1\"",
        },
    ]);
    assert_eq!(world.licenses().await, expected);
}

#[tokio::test]
async fn the_status_of_a_license_changes_at_the_very_instant() {
    let world = World::new().await;
    let end = world.clock_in(10).to_string();
    let license = world.set(LICENSE, json!(1), json!(end)).await;
    assert_eq!(license["valid_until"], end);
    let status = async || world.licenses().await[0]["status"].clone();
    world
        .clock
        .advance(std::time::Duration::from_micros(9_999_999));
    assert_eq!(status().await, "valid");
    // Nothing has ticked.
    world.clock.advance(std::time::Duration::from_micros(1));
    assert_eq!(status().await, "expired");
    let on = json!({"enabled": true});
    world
        .administer("PUT", "/limited-edition", Some(on))
        .await
        .is(200);
    assert_eq!(status().await, "limited_edition");
}

#[tokio::test]
async fn a_license_is_new_once() {
    let world = World::new().await;
    let put = async |body: Value| world.administer("PUT", "/licenses/lino", Some(body)).await;
    let license = |seats: Value, valid_until: Value| {
        let status = "valid";
        let tag = match valid_until.as_str() {
            Some(end) => format!("\"{seats};{end}\""),
            None => format!("\"{seats}\""),
        };
        json!({
            "id": "lino", "seats": seats, "valid_until": valid_until,
            "used": 0, "waiting": 0, "status": status, "etag": tag,
        })
    };
    let answer = put(json!({"seats": 0, "valid_until": null})).await;
    assert_eq!(answer.is(201).json(), license(json!(0), json!(null)));
    for _ in 0..2 {
        let answer = put(json!({"seats": 5, "valid_until": "2026-12-31"})).await;
        let expected = license(json!(5), json!("2027-01-01T00:00:00Z"));
        assert_eq!(
            answer.is(200).json(),
            expected,
            "through the end of the day"
        );
    }
    let answer = put(json!({"seats": 5, "valid_until": "2027-01-01T02:00:00.5+02:00"})).await;
    let expected = license(json!(5), json!("2027-01-01T00:00:00.5Z"));
    assert_eq!(answer.is(200).json(), expected);
    // To JSON Schema this is an integer.
    let answer = put(json!({"seats": 7.0, "valid_until": null})).await;
    assert_eq!(answer.is(200).json(), license(json!(7), json!(null)));
    let answer = put(json!({"seats": u32::MAX, "valid_until": null})).await;
    assert_eq!(answer.is(200).json()["seats"], u32::MAX);
    let log = world.keys.events(0, 1_000).await.unwrap();
    assert_eq!(log[log.len() - 1].actor, world.administrator.actor());
}

#[tokio::test]
async fn a_license_that_cannot_be_read_changes_nothing() {
    let world = World::new().await;
    let before = world.everything().await;
    for (body, field) in [
        (json!({}), "seats"),
        // Left out is not the same as null.
        (json!({"seats": 1}), "valid_until"),
        (json!({"valid_until": null}), "seats"),
        (json!({"seats": -1, "valid_until": null}), "seats"),
        (json!({"seats": 1.5, "valid_until": null}), "seats"),
        (json!({"seats": "1", "valid_until": null}), "seats"),
        (
            json!({"seats": 4_294_967_296_u64, "valid_until": null}),
            "seats",
        ),
        (
            json!({"seats": 1, "valid_until": "2026-02-30"}),
            "valid_until",
        ),
        (
            json!({"seats": 1, "valid_until": "tomorrow"}),
            "valid_until",
        ),
        (
            json!({"seats": 1, "valid_until": 1_795_248_000}),
            "valid_until",
        ),
        (
            json!({"seats": 1, "valid_until": "2026-11-21T08:00:00"}),
            "valid_until",
        ),
        (
            json!({"seats": 1, "valid_until": null, "name": "x"}),
            "name",
        ),
    ] {
        for path in [LICENSE, "/licenses/new"] {
            let answer = world.administer("PUT", path, Some(body.clone())).await;
            answer.refused(400, "invalid_request").blames(field);
        }
    }
    let list = json!([1, null]);
    let answer = world.administer("PUT", LICENSE, Some(list)).await;
    answer.refused(400, "invalid_request");
    let answer = world.administer("GET", "/licenses?seats=1", None).await;
    answer.refused(400, "invalid_request").blames("seats");
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn a_removed_license_is_gone() {
    let world = World::new().await;
    let key = world.launcher("a").await;
    assert_eq!(world.guarded("/engines", &key.text).await.as_u16(), 200);
    let remove = async || world.call("DELETE", LICENSE, &world.manager, None).await;
    let answer = remove().await;
    assert!(answer.is(204).body.is_empty());
    assert_eq!(world.guarded("/engines", &key.text).await.as_u16(), 403);
    remove().await.refused(404, "not_found").blames("license");
    assert_eq!(world.licenses().await, json!([]));
}

#[tokio::test]
async fn a_removal_has_nothing_in_its_body() {
    let world = World::new().await;
    let before = world.everything().await;
    let remove = async |body: Value| world.administer("DELETE", LICENSE, Some(body)).await;
    let answer = remove(json!({"seats": 1})).await;
    answer.refused(400, "invalid_request").blames("seats");
    for body in [json!([]), json!(7), json!("*")] {
        remove(body).await.refused(400, "invalid_request");
    }
    assert_eq!(world.everything().await, before);
    remove(json!({})).await.is(204);
}

#[tokio::test]
async fn a_license_is_changed_only_as_it_was_seen() {
    let world = World::new().await;
    let seen = world.licenses().await[0]["etag"]
        .as_str()
        .unwrap()
        .to_owned();
    let call = async |method: &str, path: &str, tag: &str| {
        let body = json!({"seats": 2, "valid_until": null});
        let body = (method == "PUT").then_some(body);
        let headers = [("if-match", tag)];
        world
            .call_with(method, path, &world.manager, &headers, body)
            .await
    };
    // How it is used is no change of it.
    world.launcher("a").await;
    assert_eq!(call("PUT", LICENSE, &seen).await.is(200).json()["seats"], 2);
    let before = world.everything().await;
    for method in ["PUT", "DELETE"] {
        call(method, LICENSE, &seen)
            .await
            .refused(412, "precondition_failed");
        call(method, LICENSE, "W/\"2\"")
            .await
            .refused(412, "precondition_failed");
        let answer = call(method, "/licenses/new", "*").await;
        match method {
            "PUT" => answer
                .refused(412, "precondition_failed")
                .blames("if-match"),
            // Of what is not there no condition is asked (RFC 9110 §13.2.1).
            _ => answer.refused(404, "not_found").blames("license"),
        };
        let answer = call(method, LICENSE, "2").await;
        answer.refused(400, "invalid_request").blames("if-match");
    }
    assert_eq!(world.everything().await, before);
    call("PUT", LICENSE, "\"7\", \"2\"").await.is(200);
    call("DELETE", LICENSE, "*").await.is(204);
}

#[tokio::test]
async fn limited_edition_is_switched() {
    let world = World::new().await;
    let key = world.launcher("a").await;
    let read = async || {
        let answer = world.call("GET", "/limited-edition", &world.manager, None);
        answer.await.is(200).json()
    };
    assert_eq!(read().await, json!({"enabled": false}));
    for (enabled, status) in [(true, 403), (true, 403), (false, 200)] {
        let body = json!({ "enabled": enabled });
        let answer = world.call(
            "PUT",
            "/limited-edition",
            &world.manager,
            Some(body.clone()),
        );
        assert_eq!(answer.await.is(200).json(), body);
        assert_eq!(read().await, body);
        assert_eq!(world.guarded("/engines", &key.text).await.as_u16(), status);
    }
    let before = world.everything().await;
    for (body, field) in [
        (json!({}), "enabled"),
        (json!({"enabled": null}), "enabled"),
        (json!({"enabled": "true"}), "enabled"),
        (json!({"enabled": true, "until": 7}), "until"),
    ] {
        let answer = world
            .administer("PUT", "/limited-edition", Some(body))
            .await;
        answer.refused(400, "invalid_request").blames(field);
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn reservations_tell_who_has_seats_and_who_waits() {
    let world = World::new().await;
    let begin = world.clock_in(0).to_string();
    let a = world.launcher("a").await;
    for id in ["b", "c"] {
        world.launcher(id).await;
    }
    world.clock.advance(std::time::Duration::from_secs(60));
    let reservations = async |query: &str| {
        let path = format!("{LICENSE}/reservations{query}");
        world.call("GET", &path, &world.manager, None).await
    };
    let unused = json!({"key_id": "a", "name": "Key a", "since": begin, "last_used_at": null});
    let waiting = |id: &str, position: u64| {
        let name = format!("Key {id}");
        json!({"key_id": id, "name": name, "since": begin, "position": position})
    };
    let line = json!([waiting("b", 1), waiting("c", 2)]);
    let expected = json!({"reserved": [unused], "waiting": line, "next_cursor": null});
    assert_eq!(reservations("").await.is(200).json(), expected);
    let page = reservations("?limit=1").await.is(200).json();
    assert_eq!(page["waiting"], json!([waiting("b", 1)]));
    let next = page["next_cursor"].as_str().unwrap();
    let page = reservations(&format!("?limit=1&cursor={next}")).await;
    let expected_page = json!({"reserved": [], "waiting": [waiting("c", 2)], "next_cursor": null});
    assert_eq!(page.is(200).json(), expected_page);
    let one = reservations("?key_id=c").await;
    assert_eq!(one.is(200).json(), expected_page);

    let now = world.clock_in(0).to_string();
    let since = format!("?unused_since={now}");
    assert_eq!(reservations(&since).await.is(200).json(), expected);
    let at_once = format!("?unused_since={begin}");
    let none = json!({"reserved": [], "waiting": line, "next_cursor": null});
    assert_eq!(
        reservations(&at_once).await.json(),
        none,
        "it got the seat then"
    );
    assert_eq!(world.guarded("/engines", &a.text).await.as_u16(), 200);
    assert_eq!(reservations(&since).await.json(), none, "it was just used");
    let used = reservations("").await.json();
    assert_eq!(used["reserved"][0]["last_used_at"], now);
}

#[tokio::test]
async fn reservations_that_cannot_be_asked_for_are_refused() {
    let world = World::new().await;
    let reservations = async |query: &str| {
        let path = format!("{LICENSE}/reservations?{query}");
        world.administer("GET", &path, None).await
    };
    for (query, field) in [
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("limit=1&limit=2", "limit"),
        ("unused_since=yesterday", "unused_since"),
        ("unused_since=2026-01-01", "unused_since"),
        ("since=1", "since"),
        ("cursor=", "cursor"),
        ("cursor=1", "cursor"),
        ("cursor=1.", "cursor"),
        ("cursor=1.2.3", "cursor"),
        ("cursor=-1.2", "cursor"),
        ("cursor=12345678901.2", "cursor"),
        ("key_id=a%20b", "key_id"),
        ("key_id=", "key_id"),
    ] {
        let answer = reservations(query).await;
        answer.refused(400, "invalid_request").blames(field);
    }
    for query in ["limit=0", "limit=501"] {
        let answer = reservations(query).await;
        answer.refused(422, "invalid_field").blames("limit");
    }
    let answer = world
        .administer("GET", "/licenses/none/reservations", None)
        .await;
    answer.refused(404, "not_found").blames("license");
}

#[tokio::test]
async fn a_plan_tells_what_the_change_then_does() {
    let world = World::new().await;
    world.set(LICENSE, json!(2), json!(null)).await;
    for id in ["a", "b", "c"] {
        world.launcher(id).await;
    }
    let seat = |id: &str| {
        let name = format!("Key {id}");
        json!({"license": "launcher-2026", "key_id": id, "name": name})
    };
    let before = world.everything().await;
    let plan = async |body: Value| {
        let path = format!("{LICENSE}/plan");
        world.call("POST", &path, &world.manager, Some(body)).await
    };
    for (change, loses, gains) in [
        (json!({}), vec![], vec![]),
        (json!({"seats": 2}), vec![], vec![]),
        (json!({"seats": 1}), vec!["a"], vec![]),
        (json!({"seats": 0}), vec!["a", "b"], vec![]),
        (json!({"seats": null}), vec![], vec!["c"]),
        (json!({"seats": 3, "valid_until": null}), vec![], vec!["c"]),
        (json!({"valid_until": "2025-12-31"}), vec!["a", "b"], vec![]),
        (json!({"valid_until": "2026-12-31"}), vec![], vec![]),
    ] {
        let seats = |ids: Vec<&str>| ids.into_iter().map(seat).collect::<Vec<_>>();
        let expected = json!({"loses": seats(loses), "gains": seats(gains)});
        assert_eq!(
            plan(change.clone()).await.is(200).json(),
            expected,
            "{change}"
        );
    }
    for (body, field) in [
        (json!({"seats": -1}), "seats"),
        (json!({"valid_until": ""}), "valid_until"),
        (json!({"limit": 1}), "limit"),
    ] {
        plan(body)
            .await
            .refused(400, "invalid_request")
            .blames(field);
    }
    let path = "/licenses/none/plan";
    let answer = world
        .administer("POST", path, Some(json!({"seats": 1})))
        .await;
    answer.refused(404, "not_found").blames("license");
    assert_eq!(world.everything().await, before, "a plan changes nothing");
}

/// A manager may do all of this, and who is none, nothing.
#[tokio::test]
async fn outsiders_manage_no_license() {
    let world = World::new().await;
    let before = world.everything().await;
    let license = json!({"seats": 9, "valid_until": null});
    for (method, path, body) in [
        ("GET", "/modules", None),
        ("PUT", "/modules/x", Some(json!({"license": null}))),
        ("GET", "/licenses", None),
        ("PUT", LICENSE, Some(license)),
        ("DELETE", LICENSE, None),
        ("GET", "/licenses/launcher-2026/reservations", None),
        ("POST", "/licenses/launcher-2026/plan", Some(json!({}))),
        ("GET", "/limited-edition", None),
        ("PUT", "/limited-edition", Some(json!({"enabled": true}))),
        ("GET", "/audit", None),
    ] {
        let answer = world.call(method, path, &world.outsider, body).await;
        answer.refused(403, "module_access_missing");
        let detail = "API Key does not have access to required module resource";
        assert_eq!(answer.json()["detail"], detail);
        assert_eq!(answer.json()["module"], MANAGEMENT_MODULE);
    }
    assert_eq!(world.everything().await, before);
    let log = world.keys.events(0, 1_000).await.unwrap();
    assert!(log.iter().all(|event| event.actor == Actor::system()));
}

#[tokio::test]
async fn removal_and_limited_edition_are_planned_too() {
    let world = World::new().await;
    for id in ["a", "b"] {
        world.launcher(id).await;
    }
    let seat = json!({"license": "launcher-2026", "key_id": "a", "name": "Key a"});
    let before = world.everything().await;
    for (path, body, loses) in [
        (
            format!("{LICENSE}/plan"),
            json!({"remove": true}),
            json!([seat]),
        ),
        (
            "/limited-edition/plan".to_owned(),
            json!({"enabled": true}),
            json!([seat]),
        ),
        (
            "/limited-edition/plan".to_owned(),
            json!({"enabled": false}),
            json!([]),
        ),
    ] {
        let answer = world.call("POST", &path, &world.manager, Some(body)).await;
        let plan = answer.is(200).json();
        assert_eq!(plan, json!({"loses": loses, "gains": []}), "{path}");
    }
    let path = format!("{LICENSE}/plan");
    for body in [
        json!({"remove": true, "seats": 3}),
        json!({"remove": true, "valid_until": null}),
        json!({"remove": false}),
    ] {
        let answer = world.administer("POST", &path, Some(body)).await;
        answer.refused(422, "invalid_field").blames("remove");
    }
    let nobody = Some(json!({"remove": true}));
    let answer = world
        .administer("POST", "/licenses/none/plan", nobody)
        .await;
    answer.refused(404, "not_found").blames("license");
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn license_that_is_to_be_new_changes_none_that_is_there() {
    let world = World::new().await;
    let new = async |path: &str, seats: u32, headers: &[(&str, &str)]| {
        let body = json!({"seats": seats, "valid_until": null});
        let manager = &world.manager;
        world
            .call_with("PUT", path, manager, headers, Some(body))
            .await
    };
    let is_new = ("if-none-match", "*");
    new("/licenses/later", 2, &[is_new]).await.is(201);
    // Not even where it is what is wanted.
    for seats in [2, 3] {
        let answer = new("/licenses/later", seats, &[is_new]).await;
        answer
            .refused(412, "precondition_failed")
            .blames("if-none-match");
    }
    for path in ["/licenses/later", "/licenses/other"] {
        let answer = new(path, 3, &[is_new, ("if-match", "*")]).await;
        answer.refused(412, "precondition_failed");
    }
    for malformed in ["\"2\"", "", "**"] {
        let answer = new("/licenses/other", 3, &[("if-none-match", malformed)]).await;
        answer
            .refused(400, "invalid_request")
            .blames("if-none-match");
    }
    let licenses = world.licenses().await;
    let seats: Vec<_> = licenses
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["seats"].clone())
        .collect();
    assert_eq!(seats, [2, 1], "{licenses}");
}
