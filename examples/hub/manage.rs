//! What administrators use: the management API under `/manage/v1`, and the console.

use std::error::Error;

use axum::Router;
use tower_api_key::{ApiKeyLayer, KeyText};

use crate::tokens::Sessions;

/// The routes for administrators, which guard themselves, and what ends their streams.
#[cfg(feature = "manage")]
pub(crate) fn routes(
    layer: &ApiKeyLayer,
    #[cfg_attr(not(feature = "jwt"), expect(unused_variables))] sessions: Sessions,
    secret: &KeyText,
) -> Result<(Router, impl FnOnce() + use<>), Box<dyn Error>> {
    use sha2::{Digest, Sha256};

    // Another one than sessions are signed with, made of the same.
    let texts = Sha256::new_with_prefix("hub texts ").chain_update(secret.expose());
    let management = tower_api_key::manage::Management::builder(layer);
    let management = management.with_secret(texts.finalize().into());
    #[cfg(feature = "jwt")]
    let management = management
        .with_sessions(sessions)
        // It is served without TLS, to who sits before it.
        .with_insecure_cookie();
    let management = management.build()?;
    let router = Router::new().nest("/manage/v1", management.router());
    #[cfg(feature = "console")]
    let router = {
        let console = tower_api_key::console::Console::new(&management)?
            .with_example_path("/api/rest/v1/engines");
        router.nest_service("/console", console.router())
    };
    Ok((router, move || management.shut_down()))
}

/// The routes for administrators: none without the feature `manage`.
#[cfg(not(feature = "manage"))]
pub(crate) fn routes(
    _: &ApiKeyLayer,
    _: Sessions,
    _: &KeyText,
) -> Result<(Router, impl FnOnce()), Box<dyn Error>> {
    Ok((Router::new(), || {}))
}

/// What it says of them when it starts.
pub(crate) fn text(address: std::net::SocketAddr) -> String {
    let mut text = String::new();
    if cfg!(feature = "console") {
        text +=
            &format!("\nConsole: http://{address}/console, sign in with the administrator's key.");
    }
    if cfg!(feature = "manage") {
        text += &format!(
            "\nManagement API: http://{address}/manage/v1, described in its openapi.json."
        );
    }
    text
}
