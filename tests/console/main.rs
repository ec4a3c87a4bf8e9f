//! The web console in a real browser, over the example service `hub`.
#![cfg(unix)]

use hub::Hub;
use serde_json::{Value, json};

use browser::Window;

mod activity;
mod browser;
mod connection;
#[path = "../support/hub.rs"]
mod hub;
mod keyboard;
mod keys;
mod licenses;
mod mount;
mod pages;
#[path = "../support/proxy.rs"]
mod proxy;
mod sign_in;

/// A hub that keeps its data in memory.
fn hub() -> Hub {
    Hub::at("memory:")
}

/// Where its console is.
fn console(hub: &Hub) -> String {
    format!("http://{}/console", hub.address)
}

/// A window in which its administrator has signed in.
async fn signed_in(hub: &Hub) -> Window {
    let window = Window::open().await;
    window.goto(&console(hub)).await;
    sign_in(&window, hub.key("Administrator")).await;
    window
}

async fn sign_in(window: &Window, key: &str) {
    window.fill("#key", key).await;
    window.click("#sign-in").await;
    window.until("text('#session-name') && text('h1')").await;
}

/// A call of the management API by its administrator; answers with what came back.
///
/// `request` is a method and a path below the API's own.
#[track_caller]
fn manage(hub: &Hub, request: &str, body: Option<&Value>) -> Value {
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let key = hub::x_api_key(hub.key("Administrator"));
    let answer = hub.send(&format!("{method} /manage/v1{path}"), &[&key], body);
    assert!((200..300).contains(&answer.status), "{request}: {answer:?}");
    answer.body
}

/// Makes a key; answers with its id and its text.
#[track_caller]
fn make_key(hub: &Hub, body: Value) -> (String, String) {
    let made = manage(hub, "POST /keys", Some(&body));
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
}

/// Sets a license.
#[track_caller]
fn set_license(hub: &Hub, id: &str, seats: u32, valid_until: Option<&str>) {
    let body = json!({"seats": seats, "valid_until": valid_until});
    manage(hub, &format!("PUT /licenses/{id}"), Some(&body));
}

/// The id of the key of this name.
#[track_caller]
fn id_of(hub: &Hub, name: &str) -> String {
    let found = manage(hub, "GET /keys?limit=500", None);
    let mut keys = found["items"].as_array().expect("a list").iter();
    let key = keys.find(|key| key["name"] == name).expect("such a key");
    key["id"].as_str().expect("an id").to_owned()
}
