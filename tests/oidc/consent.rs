//! What an app gets from its user, before any API is called.

use crate::{
    app::App,
    browser::Answer,
    issuer::{Issuer, OPAQUE_API, SIGNED_API},
};

#[tokio::test]
async fn an_app_whose_user_refuses_gets_no_code() {
    let issuer = Issuer::start("ES256").await;
    let app = App::register(&issuer, "none", SIGNED_API).await;
    let refused = app.authorize(&["read:realms"], Answer::Refuse).await;
    assert_eq!(refused.err().as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn a_refresh_token_works_once() {
    let issuer = Issuer::start("ES256").await;
    let app = App::register(&issuer, "client_secret_basic", OPAQUE_API).await;
    let first = app.reader().await;
    let second = app.refresh(&first).await.expect("tokens");
    assert_ne!(first.access, second.access);
    // Whoever uses it again may have stolen it, so that all of the grant is taken back.
    assert_eq!(
        app.refresh(&first).await.err().as_deref(),
        Some("invalid_grant")
    );
    assert_eq!(
        app.refresh(&second).await.err().as_deref(),
        Some("invalid_grant")
    );
}
