//! The log, by page.

use serde_json::{Value, json};
use tower_api_key::{Actor, NewKey};

use crate::support::{World, module};

impl World {
    async fn audit(&self, query: &str) -> Value {
        let path = format!("/audit{query}");
        let answer = self.call("GET", &path, &self.manager, None).await;
        answer.is(200).json()
    }

    /// All pages, from the beginning.
    async fn pages(&self, query: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), Some(0));
        while let Some(last) = after {
            let page = self.audit(&format!("?after={last}&{query}")).await;
            items.extend(page["items"].as_array().unwrap().clone());
            after = page["next_after"].as_u64();
        }
        items
    }

    async fn log(&self) -> Vec<Value> {
        let log = self.keys.events(0, usize::MAX).await.unwrap();
        log.iter().map(|event| json!(event)).collect()
    }
}

#[tokio::test]
async fn the_log_is_read_page_by_page() {
    let world = World::new().await;
    for number in 0..20 {
        let new = NewKey::named(format!("{number}")).with_modules([module("launcher")]);
        world.key(new).await;
    }
    let log = world.log().await;
    assert!(log.len() > 60);
    let latest = log.len();
    for limit in [1, 7, 60, 500] {
        assert_eq!(world.pages(&format!("limit={limit}")).await, log, "{limit}");
    }
    let page = world.audit(&format!("?limit={latest}")).await;
    assert_eq!(page["next_after"], json!(null), "nothing is left");
    assert_eq!(page["latest"], latest);
    let page = world.audit("?limit=2&after=3").await;
    assert_eq!(page["items"], json!(log[3..5]));
    assert_eq!(page["next_after"], 5);
    for after in [latest, latest + 1] {
        let page = world.audit(&format!("?after={after}")).await;
        assert_eq!(
            page,
            json!({"items": [], "next_after": null, "latest": latest})
        );
    }
    let page = world.audit("").await;
    assert_eq!(page["items"].as_array().unwrap().len(), latest.min(100));
}

#[tokio::test]
async fn the_log_is_filtered() {
    let world = World::new().await;
    let body = json!({"enabled": true});
    world
        .administer("PUT", "/limited-edition", Some(body))
        .await
        .is(200);
    let user = tower_api_key::Holder::new("https://idp.example|u").unwrap();
    let assign = tower_api_key::Operation::Assign {
        holder: user.clone(),
        modules: vec![module("launcher")],
    };
    use tower_api_key::LicenseLedger;
    world.ledger.apply(assign, &Actor::system()).await.unwrap();
    let log = world.log().await;
    let all = |asks: &dyn Fn(&Value) -> bool| {
        let matching: Vec<_> = log.iter().filter(|event| asks(event)).cloned().collect();
        assert!(!matching.is_empty() && matching.len() < log.len());
        matching
    };
    let administrator = "key:administrator";
    type Asks = Box<dyn Fn(&Value) -> bool>;
    let filters: [(&str, Asks); 5] = [
        (
            "actor=key:administrator",
            Box::new(move |event| event["actor"] == administrator),
        ),
        (
            "key=manager",
            Box::new(|event| event["holder"] == "manager"),
        ),
        (
            "key=https://idp.example%7Cu",
            Box::new(|event| event["holder"] == "https://idp.example|u"),
        ),
        (
            "event=key_created",
            Box::new(|event| event["event"] == "key_created"),
        ),
        (
            "event=module_assigned&key=outsider&actor=system",
            Box::new(|event| event["event"] == "module_assigned" && event["holder"] == "outsider"),
        ),
    ];
    for (query, asks) in &filters {
        for limit in [1, 2, 500] {
            let pages = world.pages(&format!("limit={limit}&{query}")).await;
            assert_eq!(pages, all(&**asks), "{query}, {limit}");
        }
    }
    for query in ["actor=nobody", "key=nobody", "event=key_expired"] {
        let page = world.audit(&format!("?{query}")).await;
        let expected = json!({"items": [], "next_after": null, "latest": log.len()});
        assert_eq!(page, expected, "{query}");
    }
}

#[tokio::test]
async fn a_filter_that_matches_nothing_reads_a_part_of_a_long_log() {
    let world = World::new().await;
    for number in 0..12_000 {
        let is_on = number % 2 == 0;
        let switched = world
            .keys
            .set_limited_edition(is_on, &Actor::system())
            .await;
        switched.unwrap();
    }
    let latest = world.log().await.len();
    let page = world.audit("?actor=nobody").await;
    assert_eq!(
        page,
        json!({"items": [], "next_after": 10_000, "latest": latest})
    );
    let page = world.audit("?actor=nobody&after=10000").await;
    assert_eq!(
        page,
        json!({"items": [], "next_after": null, "latest": latest})
    );
}

#[tokio::test]
async fn questions_that_cannot_be_read_are_refused() {
    let world = World::new().await;
    let ask = async |query: &str| {
        world
            .administer("GET", &format!("/audit?{query}"), None)
            .await
    };
    for (query, field) in [
        ("after=x", "after"),
        ("after=-1", "after"),
        ("after=1&after=2", "after"),
        ("limit=", "limit"),
        ("actor=", "actor"),
        ("actor=a%20b", "actor"),
        ("key=%00", "key"),
        ("event=KeyCreated", "event"),
        ("before=7", "before"),
    ] {
        let answer = ask(query).await;
        answer.refused(400, "invalid_request").blames(field);
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("after=9007199254740992", "after"),
    ] {
        let answer = ask(query).await;
        answer.refused(422, "invalid_field").blames(field);
    }
}
