//! Several hubs on one PostgreSQL.

use std::time::{Duration, Instant};

use tower_api_key::{Actor, KeyManager, KeyQuery, License, Module, NewKey, PostgresStore, Seats};

use super::{Answer, ENGINES, Hub, NO_MODULE, x_api_key};

#[path = "../support/postgres.rs"]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]
mod server;

/// A database of its own on the shared server.
async fn database() -> String {
    let name = server::own_name("hub");
    server::execute(&format!("CREATE DATABASE {name}")).await;
    let address = server::address();
    let (server, _) = address.rsplit_once('/').expect("a database");
    format!("{server}/{name}")
}

/// Asks until the answer has this status: what one process changes, others learn within a second.
fn until(status: u16, ask: impl Fn() -> Answer) -> Answer {
    let started = Instant::now();
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{answer:?}");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn two_hubs_share_keys_seats_and_revocations() {
    let database = database().await;
    let first = Hub::at(&database);
    let second = Hub::at(&database);
    assert!(second.keys.is_empty(), "{:?}", second.keys);
    for hub in [&first, &second] {
        hub.get(ENGINES, &[&x_api_key(first.key("Launcher"))])
            .granted();
        hub.get(ENGINES, &[&x_api_key(first.key("Lino"))]).refused(
            403,
            "module_access_missing",
            NO_MODULE,
        );
    }

    // One seat is left; whoever comes after that waits, at both.
    let store = PostgresStore::connect(&database).await.expect("a server");
    let manager = KeyManager::new(store.clone(), store);
    let actor = Actor::new("test").expect("a name");
    let launcher = || Module::new("launcher").expect("a name");
    let mut texts = Vec::new();
    for name in ["second", "third"] {
        let new = NewKey::named(name).with_modules([launcher()]);
        let created = manager.create(new, &actor).await.expect("a key");
        texts.push(x_api_key(created.text.expose()));
    }
    for hub in [&first, &second] {
        hub.get(ENGINES, &[&texts[0]]).granted();
        let waiting = hub.get(ENGINES, &[&texts[1]]);
        assert_eq!(waiting.body["code"], "license_limit_reached");
    }
    let license = License::new("launcher".parse().expect("a name"), Seats::Limited(3));
    manager.set_license(license, &actor).await.expect("a seat");
    for hub in [&first, &second] {
        until(200, || hub.get(ENGINES, &[&texts[1]])).granted();
    }

    let query = KeyQuery::first(1).with_contains(Some("Launcher".into()));
    let found = manager.list(&query).await.expect("the key");
    let revoked = manager.revoke(&found[0].record.id, &actor).await;
    revoked.expect("a revocation");
    for hub in [&first, &second] {
        let refused = until(401, || {
            hub.get(ENGINES, &[&x_api_key(first.key("Launcher"))])
        });
        assert_eq!(refused.body["code"], "revoked_key");
    }
}

/// Each would make the administrator's key; one does, and the other one goes on.
#[tokio::test]
async fn hubs_that_start_at_once_agree_on_the_first_keys() {
    let database = database().await;
    let hubs = std::thread::scope(|scope| {
        let starting = [(); 3].map(|()| scope.spawn(|| Hub::at(&database)));
        starting.map(|hub| hub.join().expect("it starts"))
    });
    let with_keys = hubs.iter().filter(|hub| !hub.keys.is_empty());
    assert_eq!(with_keys.count(), 1);
}

#[test]
fn server_that_is_not_there_is_named_without_the_password() {
    let output = super::command(&["--database=postgres://me:secret@127.0.0.1:1/keys"])
        .stderr(std::process::Stdio::piped())
        .output();
    let output = output.expect("cargo");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("hub: postgres://me@127.0.0.1:1/keys"),
        "{text}"
    );
    assert!(
        text.contains("not reachable") && !text.contains("secret"),
        "{text}"
    );
}
