//! The console of another service, under another path.

use axum::{Router, ServiceExt, extract::Request};
use serde_json::json;
use tokio::net::TcpListener;
use tower::{Layer, util::MapRequestLayer};
use tower_api_key::{
    Actor, ApiKeyLayer, License, LicenseId, MemoryKeyStore, MemoryLedger, Module, NewKey,
    RouteModules, Seats,
    console::Console,
    jwt::{JwtVerifier, SessionTokens, SigningKey},
    manage::Management,
};

use crate::{browser::Window, sign_in};

/// Serves a console under `/deep/path`, as seen behind a proxy that has taken `taken` from the front of
/// each path; answers with the address and an administrator's key.
async fn serve(is_insecure: bool, taken: &'static str) -> (String, String) {
    let key = SigningKey::hs256("2026-11", [7; 32]).expect("a key");
    let sessions = SessionTokens::builder("https://hub.example", key).build();
    let sessions = sessions.expect("sessions");
    let verifier = JwtVerifier::builder()
        .with_issuer(sessions.issuer())
        .build();
    let map = RouteModules::builder()
        .prefix("/engines", "launcher")
        .build();
    let store = MemoryKeyStore::new();
    let layer = ApiKeyLayer::builder(store, map.expect("a map"), MemoryLedger::new())
        .with_token_verifier(verifier.expect("a verifier"))
        .build()
        .expect("a layer");
    let (keys, actor) = (layer.manager(), Actor::system());
    let (launcher, license) = (Module::new("launcher"), LicenseId::new("launcher"));
    let (launcher, license) = (launcher.expect("a name"), license.expect("a name"));
    keys.map_module(&launcher, Some(&license), &actor)
        .await
        .expect("mapped");
    let license = License::new(license, Seats::Limited(2));
    keys.set_license(license, &actor).await.expect("added");
    let new = NewKey::named("Operator").with_administrator(true);
    let made = keys.create(new, &actor).await.expect("made");

    let management = Management::builder(&layer).with_sessions(sessions);
    let management = match is_insecure {
        true => management.with_insecure_cookie(),
        false => management,
    };
    let management = management.build().expect("a management");
    let console = Console::new(&management).expect("a console");
    let app = Router::new()
        .nest_service("/deep/path", console.router())
        .fallback_service(layer.layer(Router::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = MapRequestLayer::new(move |mut request: Request| {
        let path = request.uri().path_and_query().expect("a path").as_str();
        let rest = path.strip_prefix(taken).expect("it is asked for there");
        *request.uri_mut() = rest.parse().expect("a path");
        request
    })
    .layer(app);
    let app = ServiceExt::<Request>::into_make_service(app);
    tokio::spawn(async move { axum::serve(listener, app).await });
    // Browsers take this name, over HTTP too, for a safe place.
    let address = format!("http://localhost:{}{taken}/deep/path", address.port());
    (address, made.text.expose().to_owned())
}

#[tokio::test]
async fn console_works_under_another_path_with_and_without_its_last_slash() {
    let window = Window::open().await;
    for (is_insecure, taken, end, cookie_path) in [
        (true, "", "", "/deep/path"),
        (true, "/outer", "", "/outer/deep/path"),
        (false, "", "/", "/"),
    ] {
        let (address, key) = serve(is_insecure, taken).await;
        window.goto(&format!("{address}{end}")).await;
        sign_in(&window, &key).await;
        window.until("row('key-row', 'Operator')").await;
        let cookies = window.cdp("Network.getAllCookies", json!({})).await;
        let [cookie] = &cookies["cookies"].as_array().expect("a list")[..] else {
            panic!("one cookie: {cookies}");
        };
        assert_eq!(cookie["path"], cookie_path);
        assert_eq!(cookie["secure"], !is_insecure);
        let is_prefixed = cookie["name"]
            .as_str()
            .expect("a name")
            .starts_with("__Host-");
        assert_eq!(is_prefixed, !is_insecure);

        window.click("#nav-licenses").await;
        window.until("$('[data-license=launcher]')").await;
        // The address of a page can be kept.
        window.reload().await;
        window.until("$('[data-license=launcher]')").await;
        window.click("#sign-out").await;
        window.until("$('#key')").await;
        let cookies = window.cdp("Network.getAllCookies", json!({})).await;
        assert_eq!(cookies["cookies"], json!([]));
    }
}
