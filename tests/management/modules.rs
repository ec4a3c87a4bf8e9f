//! Modules, and which license each needs.

use serde_json::json;
use tower_api_key::manage::MANAGEMENT_MODULE;

use crate::support::World;

#[tokio::test]
async fn modules_are_listed_with_their_licenses() {
    let world = World::new().await;
    let answer = world.call("GET", "/modules", &world.manager, None).await;
    let expected = json!([
        {"module": "launcher", "license": "launcher-2026"},
        {"module": "open", "license": null},
        {"module": MANAGEMENT_MODULE, "license": null},
    ]);
    assert_eq!(answer.is(200).json(), expected);
}

#[tokio::test]
async fn a_module_is_new_once() {
    let world = World::new().await;
    for (license, status) in [
        (json!("later"), 201),
        (json!("later"), 200),
        (json!(null), 200),
        (json!("launcher-2026"), 200),
    ] {
        let body = json!({ "license": license });
        let answer = world.call("PUT", "/modules/lino", &world.manager, Some(body));
        let expected = json!({"module": "lino", "license": license});
        assert_eq!(answer.await.is(status).json(), expected);
        let modules = world.administer("GET", "/modules", None).await.json();
        assert!(modules.as_array().unwrap().contains(&expected), "{modules}");
    }
    let log = world.keys.events(0, 1_000).await.unwrap();
    let last = &log[log.len() - 1];
    assert_eq!(last.actor, world.manager.actor());
}

#[tokio::test]
async fn a_module_may_have_any_name() {
    let world = World::new().await;
    let body = || Some(json!({"license": null}));
    let path = "/modules/a%2Fb%3F%23c%25";
    let answer = world.administer("PUT", path, body()).await;
    assert_eq!(answer.is(201).json()["module"], "a/b?#c%");
    let before = world.everything().await;
    for name in [
        "a%20b",
        "%00",
        &"x".repeat(201),
        "%C3%A9",
        "%ff",
        "..",
        "%2e",
    ] {
        let path = format!("/modules/{name}");
        let answer = world.administer("PUT", &path, body()).await;
        answer.refused(404, "not_found");
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn a_mapping_that_cannot_be_read_changes_nothing() {
    let world = World::new().await;
    let before = world.everything().await;
    for (body, field) in [
        (json!({}), "license"),
        (json!({"license": 7}), "license"),
        (json!({"license": ""}), "license"),
        (json!({"license": "a b"}), "license"),
        (json!({"license": null, "seats": 1}), "seats"),
    ] {
        let answer = world.administer("PUT", "/modules/lino", Some(body)).await;
        answer.refused(400, "invalid_request").blames(field);
    }
    assert_eq!(world.everything().await, before);
}
