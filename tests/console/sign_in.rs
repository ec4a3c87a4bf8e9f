//! Signing in and out, and what holds the session.

use jiff::Timestamp;
use serde_json::json;

use crate::{
    browser::{Window, named},
    console, hub, make_key, manage, sign_in, signed_in,
};

/// One call of the page's own, answered with its status.
fn change(headers: &str) -> String {
    format!(
        "fetch('api/limited-edition', {{
           method: 'PUT', body: '{{\"enabled\":true}}',
           headers: {{ 'Content-Type': 'application/json', {headers} }},
         }}).then((answer) => answer.status)"
    )
}

#[tokio::test]
async fn who_may_not_manage_is_told_why_and_who_may_gets_in() {
    let hub = hub();
    let managing = json!({"name": "Reception", "modules": ["rest_api_management"]});
    let (_, manager) = make_key(&hub, managing);
    let window = Window::open().await;
    window.goto(&console(&hub)).await;
    window.click("#sign-in").await;
    window.says("Enter an API key.").await;
    for (key, said) in [
        ("your-api-key-here", "API Key is missing or invalid."),
        (
            hub.key("Launcher"),
            "API Key does not have access to required module resource",
        ),
    ] {
        window.fill("#key", key).await;
        window.click("#sign-in").await;
        window.says(said).await;
        assert_eq!(window.js("document.activeElement.id").await, "key");
    }

    sign_in(&window, &manager).await;
    assert_eq!(window.js("text('h1')").await, "REST API Keys");
    assert_eq!(window.js("text('#session-name')").await, "Reception");
    assert_eq!(window.js("text('.me-role').split(' ')[0]").await, "Manager");
    // What only administrators do is not offered.
    window.click(named("API Key-Administrator")).await;
    window
        .says("This is an administrator's key: only administrators can change it.")
        .await;
    assert_eq!(window.js("$('#delete')").await, json!(null));
}

#[tokio::test]
async fn session_is_out_of_reach_of_scripts_and_of_forged_changes() {
    let hub = hub();
    let window = signed_in(&hub).await;
    assert_eq!(window.js("document.cookie").await, "");
    let cookies = window.cdp("Network.getAllCookies", json!({})).await;
    let [cookie] = &cookies["cookies"].as_array().expect("a list")[..] else {
        panic!("one cookie: {cookies}");
    };
    assert_eq!(cookie["httpOnly"], true);
    assert_eq!(cookie["sameSite"], "Strict");
    assert_eq!(cookie["path"], "/console");
    assert_eq!(cookie["session"], false, "it ends by itself");
    let kept = "({ ...localStorage, ...sessionStorage })";
    assert_eq!(window.js(kept).await, json!({}));

    assert_eq!(window.promised(&change("")).await, 403);
    assert_eq!(
        window.promised(&change("'X-CSRF-Token': 'guess'")).await,
        403
    );
    let limited = manage(&hub, "GET /limited-edition", None);
    assert_eq!(limited, json!({"enabled": false}));
    let token = "await (await fetch('session')).json().then((session) => session.csrf_token)";
    let with_token = change(&format!("'X-CSRF-Token': {token}"));
    let with_token = format!("(async () => {with_token})()");
    assert_eq!(window.promised(&with_token).await, 200);

    // The cookie is the session: a page that is loaded anew goes on.
    window.reload().await;
    window
        .until("text('#session-name') === 'API Key-Administrator'")
        .await;
}

#[tokio::test]
async fn signing_out_ends_the_session_in_this_browser() {
    let hub = hub();
    let window = signed_in(&hub).await;
    window.click("#nav-licenses").await;
    window.until("text('h1') === 'License & Features'").await;
    window.click("#sign-out").await;
    window.until("$('#key') && !$('#session-name')").await;
    let cookies = window.cdp("Network.getAllCookies", json!({})).await;
    assert_eq!(cookies["cookies"], json!([]));
    let status = "fetch('api/keys').then((answer) => answer.status)";
    assert_eq!(window.promised(status).await, 401);
    window.js("history.back()").await;
    window.reload().await;
    window.until("$('#key') && !$('#session-name')").await;
}

#[tokio::test]
async fn session_that_ends_is_said_and_the_next_one_goes_on_where_it_was() {
    let hub = hub();
    let window = Window::open().await;
    window.goto(&format!("{}#/licenses", console(&hub))).await;
    window.until("$('#key')").await;
    // A session never outlives its key, and ends in a whole second.
    let end = Timestamp::from_second(Timestamp::now().as_second() + 7).expect("a time");
    let modules = json!(["rest_api_management"]);
    let brief = json!({"name": "Brief", "modules": modules, "expires_at": end.to_string()});
    let (_, brief) = make_key(&hub, brief);
    sign_in(&window, &brief).await;
    assert!(Timestamp::now() < end, "it signed in while it could");
    window.says("Your session has ended.").await;
    assert!(Timestamp::now() >= end);

    let managing = json!({"name": "Reception", "modules": modules});
    let (id, key) = make_key(&hub, managing);
    sign_in(&window, &key).await;
    assert_eq!(window.js("text('h1')").await, "License & Features");
    // A key that may no longer do so is told why.
    manage(&hub, &format!("POST /keys/{id}/revoke"), None);
    window.says("API Key has been revoked.").await;
    window.until("$('#key') && !$('#session-name')").await;
}

/// Renames a key on the page that is open.
async fn rename(window: &Window, to: &str) {
    window.click("#edit").await;
    window.fill("[name=name]", to).await;
    window.click("dialog [data-test=submit]").await;
}

/// Two windows of a browser have one cookie: the page of one has the token of a session that the other
/// has ended.
#[tokio::test]
async fn window_goes_on_with_the_session_that_another_window_began() {
    let hub = hub();
    let managing = json!({"name": "Reception", "modules": ["rest_api_management"]});
    let (_, reception) = make_key(&hub, managing);
    let window = signed_in(&hub).await;
    window.click(named("API Key-Lino")).await;
    window.until("$('#edit')").await;
    // Also a window that stays in view finds it out.
    let unseen = "event => event.stopImmediatePropagation()";
    window
        .js(&format!(
            "addEventListener('visibilitychange', window.unseen = {unseen}, true)"
        ))
        .await;
    window.tab().await;
    window.goto(&console(&hub)).await;
    let again = async |key: &str| {
        window.to_tab(1).await;
        window.click("#sign-out").await;
        window.until("$('#key')").await;
        sign_in(&window, key).await;
        window.to_tab(0).await;
    };

    // The same person: nothing is to be seen of it.
    again(hub.key("Administrator")).await;
    rename(&window, "API Key-Lino 2").await;
    window
        .until("!$('dialog') && text('h1') === 'API Key-Lino 2'")
        .await;

    // Somebody else: nothing is done in their name, and whose page it is now is said.
    again(&reception).await;
    rename(&window, "API Key-Lino 3").await;
    window
        .says("This browser is now signed in as Reception.")
        .await;
    window
        .until("!$('dialog') && text('#session-name') === 'Reception' && text('h1') === 'API Key-Lino 2'")
        .await;
    assert_eq!(window.js("text('.me-role').split(' ')[0]").await, "Manager");
    rename(&window, "API Key-Lino 4").await;
    window.until("text('h1') === 'API Key-Lino 4'").await;
    let log = manage(&hub, "GET /audit?limit=500&event=key_changed", None);
    assert_eq!(log["items"].as_array().map(Vec::len), Some(2));

    // Who looks at a window again sees at once whose it is.
    again(hub.key("Administrator")).await;
    window
        .js("removeEventListener('visibilitychange', window.unseen, true)")
        .await;
    window.hide(false).await;
    window
        .until("text('#session-name') === 'API Key-Administrator'")
        .await;
}
