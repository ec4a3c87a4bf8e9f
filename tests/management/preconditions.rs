//! `ETag` and `If-Match` (RFC 9110 §8.8.3 and §13.1.1).

use serde_json::{Value, json};
use tower_api_key::NewKey;

use crate::support::World;

/// Every call on a key that heeds `If-Match`, with the status where it is carried out.
fn calls() -> [(&'static str, &'static str, Option<Value>, u16); 5] {
    [
        ("PATCH", "", Some(json!({"name": "b"})), 200),
        ("PATCH", "", Some(json!({"enabled": true})), 200),
        ("POST", "/regenerate", None, 200),
        ("POST", "/revoke", None, 200),
        ("DELETE", "", None, 204),
    ]
}

async fn key(world: &World) -> (String, String) {
    let key = world.key(NewKey::named("a")).await;
    let path = format!("/keys/{}", key.id);
    let answer = world.administer("GET", &path, None).await;
    let tag = answer.is(200).header("etag").to_owned();
    (path, tag)
}

#[tokio::test]
async fn change_of_what_was_changed_since_is_refused() {
    let world = World::new().await;
    let (path, stale) = key(&world).await;
    let renamed = Some(json!({"name": "renamed"}));
    let renamed = world.administer("PATCH", &path, renamed).await;
    assert_ne!(renamed.is(200).header("etag"), stale);
    let before = world.everything().await;
    for client in [&world.administrator, &world.manager] {
        for (method, call, body, _) in calls() {
            let path = format!("{path}{call}");
            for tag in [
                &*stale,
                "\"none-of-ours\"",
                "\"a\", \"b\"",
                "\"18446744073709551615\"",
            ] {
                let headers = [("if-match", tag)];
                let answer = world.call_with(method, &path, client, &headers, body.clone());
                answer.await.refused(412, "precondition_failed");
            }
        }
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn weak_tag_never_matches() {
    let world = World::new().await;
    let (path, tag) = key(&world).await;
    let before = world.everything().await;
    for (method, call, body, _) in calls() {
        let weak = format!("W/{tag}");
        let (path, headers) = (format!("{path}{call}"), [("if-match", &*weak)]);
        let answer = world.call_with(method, &path, &world.manager, &headers, body);
        answer.await.refused(412, "precondition_failed");
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn change_of_what_was_read_is_made() {
    let world = World::new().await;
    for client in [&world.administrator, &world.manager] {
        for (method, call, body, status) in calls() {
            for form in ["TAG", "*", "\"other\", TAG", "W/\"x\",TAG,"] {
                let (path, tag) = key(&world).await;
                let (path, sent) = (format!("{path}{call}"), form.replace("TAG", &tag));
                let headers = [("if-match", &*sent)];
                let answer = world.call_with(method, &path, client, &headers, body.clone());
                let answer = answer.await;
                answer.is(status);
                if status == 200 {
                    let changed = answer.header("etag") != tag;
                    assert_eq!(
                        changed,
                        body != Some(json!({"enabled": true})),
                        "{method} {call}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn malformed_tag_is_refused() {
    let world = World::new().await;
    let (path, tag) = key(&world).await;
    let before = world.everything().await;
    let bare = tag.trim_matches('"').to_owned();
    for sent in ["\"", &*bare, "\"a\" \"b\"", "*, \"a\"", "w/\"a\"", "ä"] {
        for (method, call, body, _) in calls() {
            let (path, headers) = (format!("{path}{call}"), [("if-match", sent)]);
            let answer = world.call_with(method, &path, &world.administrator, &headers, body);
            let answer = answer.await;
            answer.refused(400, "invalid_request").blames("if-match");
        }
    }
    assert_eq!(world.everything().await, before);
}

/// RFC 9110 §5.6.1 lets a list be empty; nothing matches it.
#[tokio::test]
async fn empty_list_of_tags_matches_nothing() {
    let world = World::new().await;
    let (path, _) = key(&world).await;
    let before = world.everything().await;
    for sent in ["", ",", " , ,"] {
        for (method, call, body, _) in calls() {
            let (path, headers) = (format!("{path}{call}"), [("if-match", sent)]);
            let answer = world.call_with(method, &path, &world.administrator, &headers, body);
            answer.await.refused(412, "precondition_failed");
        }
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn revocation_that_is_made_again_with_its_old_tag_is_no_conflict() {
    let world = World::new().await;
    for client in [&world.administrator, &world.manager] {
        let (path, tag) = key(&world).await;
        let (path, headers) = (format!("{path}/revoke"), [("if-match", &*tag)]);
        let revoke = async || world.call_with("POST", &path, client, &headers, None).await;
        let first = revoke().await.is(200).json();
        assert_eq!(revoke().await.is(200).json(), first);
    }
}

#[tokio::test]
async fn of_two_changes_at_the_same_time_one_is_made() {
    let world = World::new().await;
    let (path, tag) = key(&world).await;
    let headers = [("if-match", &*tag)];
    let rename = |name: &str| {
        let body = Some(json!({"name": name}));
        world.call_with("PATCH", &path, &world.manager, &headers, body)
    };
    let (a, b) = tokio::join!(rename("b"), rename("c"));
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}
