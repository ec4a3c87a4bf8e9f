//! A connection that is lost: the page says so, and goes on by itself.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    browser::Window,
    console, hub,
    hub::{Hub, command, folder},
    make_key,
    proxy::{Network, Proxy},
    sign_in, signed_in,
};

const UP: &str = "document.documentElement.dataset.connection === 'up'";
const LOST: &str = "$('[data-test=connection-lost]')";

#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_is_said_and_what_was_missed_is_shown_afterwards() {
    let hub = hub();
    let (_, port) = hub.address.split_once(':').expect("a port");
    let proxy = Proxy::to(port.parse().expect("a number")).await;
    let window = Window::open().await;
    window
        .goto(&format!("http://127.0.0.1:{}/console", proxy.port()))
        .await;
    sign_in(&window, hub.key("Administrator")).await;
    window
        .until("document.documentElement.dataset.connection === 'up' && $('#keys-table')")
        .await;
    assert_eq!(window.js(LOST).await, json!(null));

    proxy.set(Network::Cut);
    window.until(LOST).await;
    window.says("Connection lost.").await;
    // What stood there stays there.
    assert_eq!(window.js("shown($('#keys-table'))").await, true);
    make_key(&hub, json!({"name": "Made meanwhile"}));
    proxy.set(Network::Open);
    window
        .until(&format!("!{LOST} && row('key-row', 'Made meanwhile')"))
        .await;
}

#[tokio::test]
async fn hub_that_comes_back_is_gone_on_with() {
    let database = format!("sqlite:{}", folder().join("hub.db").display());
    let key = "rk_live_1234567890abcdef1234567890abcdef";
    let start = |listen: &str| {
        let mut command = command(&["--listen", listen, "--database", &database]);
        Hub::run(command.env("HUB_ADMIN_KEY", key))
    };
    let hub = start("127.0.0.1:0");
    let address = hub.address.clone();
    let window = Window::open().await;
    window
        .goto(&format!("http://{address}/console#/licenses"))
        .await;
    sign_in(&window, key).await;
    window
        .until("document.documentElement.dataset.connection === 'up' && $('#licenses')")
        .await;
    drop(hub);
    window.until(LOST).await;
    let _hub = start(&address);
    // Its sessions ended with it.
    window.says("Your session has ended. Sign in again").await;
    sign_in(&window, key).await;
    window
        .until("text('h1') === 'License & Features' && $('[data-license=launcher]')")
        .await;
}

#[tokio::test]
async fn data_that_is_put_back_from_a_copy_is_shown_as_it_is_then() {
    let (used, copy) = (folder(), folder());
    let database = format!("sqlite:{}", used.join("hub.db").display());
    let key = "rk_live_1234567890abcdef1234567890abcdef";
    let start = |listen: &str| {
        let mut command = command(&["--listen", listen, "--database", &database]);
        // Sessions outlive the process.
        command.env("HUB_SECRET", "one secret of 32 characters, kept");
        let mut hub = Hub::run(command.env("HUB_ADMIN_KEY", key));
        hub.keys.insert("Administrator".to_owned(), key.to_owned());
        hub
    };
    let hub = start("127.0.0.1:0");
    let address = hub.address.clone();
    drop(hub);
    copy_files(&used, &copy);
    let hub = start(&address);
    let window = Window::open().await;
    window.goto(&format!("http://{address}/console")).await;
    sign_in(&window, key).await;
    make_key(&hub, json!({"name": "Made after the copy"}));
    window.until("row('key-row', 'Made after the copy')").await;

    drop(hub);
    window.until(LOST).await;
    copy_files(&copy, &used);
    let hub = start(&address);
    window
        .until(&format!(
            "!{LOST} && row('key-row', 'Administrator') && !row('key-row', 'Made after the copy')"
        ))
        .await;
    make_key(&hub, json!({"name": "Made since"}));
    window.until("row('key-row', 'Made since')").await;
}

/// Makes `to` hold what `from` holds.
fn copy_files(from: &Path, to: &Path) {
    fs::remove_dir_all(to).expect("removed");
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// A browser opens six connections to a host over HTTP/1.1, and each page had one for itself.
#[tokio::test]
async fn pages_that_nobody_looks_at_leave_the_connections_to_the_one_in_view() {
    let hub = hub();
    let window = signed_in(&hub).await;
    for _ in 0..6 {
        window.until(UP).await;
        window.hide(true).await;
        window.tab().await;
        window.goto(&console(&hub)).await;
        window.until("$('#keys-table')").await;
    }
    window.until(UP).await;
    window.to_tab(0).await;
    window
        .until("document.documentElement.dataset.connection === 'resting'")
        .await;
    make_key(&hub, json!({"name": "Made meanwhile"}));
    assert_eq!(
        window.js("row('key-row', 'Made meanwhile')").await,
        json!(null)
    );
    assert_eq!(window.js(LOST).await, json!(null));
    window.hide(false).await;
    window
        .until(&format!("{UP} && row('key-row', 'Made meanwhile')"))
        .await;
    // It goes on where it stopped, and hears what happens from now on.
    make_key(&hub, json!({"name": "Made since"}));
    window.until("row('key-row', 'Made since')").await;
    // Who is back within a moment has lost nothing.
    window.hide(true).await;
    window.hide(false).await;
    assert_eq!(window.js(UP).await, true);
}

#[tokio::test]
async fn page_that_is_over_the_limit_says_until_when_and_goes_on() {
    const LIMITED: &str = "new Response(
        JSON.stringify({ title: 'Rate limited', detail: 'The quota is used up.', code: 'rate_limited' }),
        { status: 429, headers: { 'Retry-After': '3' } })";
    let hub = hub();
    let window = signed_in(&hub).await;
    window.until(&format!("{UP} && $('#keys-table')")).await;
    let asked = "window.asked ??= []; const was = window.fetch;
        window.fetch = (path, options) => { asked.push(path); return was(path, options); }";
    window.answer("api/licenses", LIMITED, 1).await;
    window.js(&format!("(() => {{ {asked} }})()")).await;
    window.click("#nav-licenses").await;
    window.until("$('[data-test=over-the-limit]')").await;
    window
        .says("The quota is used up. This page goes on by itself at")
        .await;
    // Another page does not ask either, and nothing is lost.
    let before = window.js("asked.length").await;
    window.click("#nav-keys").await;
    window.until("$('[data-test=over-the-limit]')").await;
    make_key(&hub, json!({"name": "Made meanwhile"}));
    window
        .until("text('#live').includes('Made meanwhile') || text('#live')")
        .await;
    assert_eq!(window.js("asked.length").await, before);
    window
        .until("row('key-row', 'Made meanwhile') && !$('[data-test=over-the-limit]')")
        .await;

    // The stream is refused so: that is no lost connection.
    window.answer("api/events", LIMITED, 1).await;
    window.js("(() => { const stop = new Event('visibilitychange'); Object.defineProperty(document, 'hidden', { configurable: true, value: true }); document.dispatchEvent(stop); })()").await;
    window
        .until("document.documentElement.dataset.connection === 'resting'")
        .await;
    window.hide(false).await;
    window
        .until("text('#connection').startsWith('Over the limit.')")
        .await;
    assert_eq!(window.js(LOST).await, json!(null));
    window.until(&format!("{UP} && !text('#connection')")).await;
}
