//! Licenses that many change at once.

use axum::body::Body;
use http::{Request, Response};
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_api_key::SqliteStore;

use super::{Process, files};

async fn send(
    app: axum::Router,
    key: String,
    change: Option<u32>,
    if_match: Option<String>,
) -> Response<Body> {
    let mut request = Request::builder()
        .uri("/licenses/lic")
        .header("x-api-key", key);
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    let request = match change {
        Some(seats) => {
            let body = format!(r#"{{"seats":{seats},"valid_until":null}}"#);
            let request = request.method("PUT");
            let request = request.header("content-type", "application/json");
            request.body(Body::from(body))
        }
        None => request.method("DELETE").body(Body::empty()),
    };
    app.oneshot(request.unwrap()).await.unwrap()
}

/// The statuses, in order, of eight changes at once that name this tag, one of them a removal where
/// `removes` says so.
async fn race(process: &Process, key: &str, tag: &str, removes: bool) -> Vec<u16> {
    let mut calls = JoinSet::new();
    for caller in 0..8 {
        let change = (caller > 0 || !removes).then_some(100 + caller);
        let (key, tag) = (key.to_owned(), tag.to_owned());
        calls.spawn(send(process.app.clone(), key, change, Some(tag)));
    }
    let answers = calls.join_all().await;
    let mut statuses: Vec<_> = answers.iter().map(|it| it.status().as_u16()).collect();
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_changes_with_one_tag_one_is_made() {
    let process = Process::over(&SqliteStore::open(files::fresh()).await.unwrap());
    let key = process.reader().await;
    for round in 0..20 {
        let seen = send(process.app.clone(), key.clone(), Some(round), None).await;
        let tag = seen.headers()["etag"].to_str().unwrap();
        let statuses = race(&process, &key, tag, round % 2 == 0).await;
        assert!(matches!(statuses[0], 200 | 204), "{statuses:?}");
        assert_eq!(statuses[1..], [412; 7], "in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_whatever_is_there_are_all_made() {
    let process = Process::over(&SqliteStore::open(files::fresh()).await.unwrap());
    let key = process.reader().await;
    let tags = race(&process, &key, "*", false).await;
    assert_eq!(tags, [412; 8], "there is nothing yet");
    send(process.app.clone(), key.clone(), Some(1), None).await;
    assert_eq!(race(&process, &key, "*", false).await, [200; 8]);
}
