//! How often a key was used, by hour.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, World};

impl World {
    async fn usage(&self, client: &Client, query: &str) -> Value {
        let path = format!("/keys/{}/usage{query}", client.id);
        let answer = self.call("GET", &path, &self.manager, None).await;
        answer.is(200).json()
    }
}

#[tokio::test]
async fn usage_tells_by_hour_what_came_of_requests() {
    let world = World::new().await;
    let client = &world.outsider;
    assert_eq!(world.usage(client, "").await, json!({"items": []}));
    let first = world.clock_in(0);
    for _ in 0..2 {
        world.guarded("/engines", &client.text).await;
    }
    world.guarded("/nowhere", &client.text).await;
    world.clock.advance(Duration::from_secs(2 * 3_600 + 1));
    assert_eq!(
        world.call("GET", "/licenses", client, None).await.status,
        403
    );
    let administrator = &world.administrator;
    world.administer("GET", "/licenses", None).await.is(200);
    world.administer("GET", "/licenses", None).await.is(200);
    let hour = |hour: tower_api_key::Timestamp, granted: u64, refused: Value| json!({"hour": hour.to_string(), "granted": granted, "limited": 0, "refused": refused});
    let refused = json!({"module_access_missing": 2, "route_not_mapped": 1});
    let before = hour(first, 0, refused);
    let second = first.saturating_add(Duration::from_secs(2 * 3_600));
    let usage = world.usage(client, "?hours=720").await;
    assert_eq!(usage["items"][0], before);
    assert_eq!(usage["items"][1]["hour"], second.to_string());
    let of_administrator = world.usage(administrator, "").await;
    let expected = json!({"items": [hour(second, 2, json!({}))]});
    assert_eq!(of_administrator, expected);

    // The current hour and the one before.
    let items = |usage: Value| usage["items"].as_array().unwrap().len();
    assert_eq!(items(world.usage(client, "?hours=2").await), 1);
    assert_eq!(items(world.usage(client, "?hours=3").await), 2);
    world.clock.advance(Duration::from_secs(22 * 3_600));
    assert_eq!(items(world.usage(client, "").await), 1, "a day is 24 hours");
}

#[tokio::test]
async fn usage_that_cannot_be_asked_for_is_refused() {
    let world = World::new().await;
    let ask = async |path: &str| world.administer("GET", path, None).await;
    let answer = ask("/keys/none/usage").await;
    answer.refused(404, "not_found").blames("id");
    for hours in ["0", "721"] {
        let answer = ask(&format!("/keys/outsider/usage?hours={hours}")).await;
        answer.refused(422, "invalid_field").blames("hours");
    }
    for (query, field) in [
        ("hours=x", "hours"),
        ("hours=1&hours=1", "hours"),
        ("days=1", "days"),
    ] {
        let answer = ask(&format!("/keys/outsider/usage?{query}")).await;
        answer.refused(400, "invalid_request").blames(field);
    }
    let path = "/keys/outsider/usage";
    let answer = world.call("GET", path, &world.outsider, None).await;
    answer.refused(403, "module_access_missing");
}
