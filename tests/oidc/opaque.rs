//! Access tokens that say nothing by themselves: their issuer is asked.

use std::{sync::Arc, time::Duration};

use oauth2::{AccessToken, StandardRevocableToken};
use tower_api_key::{
    TokenVerifier,
    oauth::{ClientCredentials, Introspection},
};

use crate::{
    api::Api,
    app::{App, Tokens},
    issuer::{Issuer, OPAQUE_API, OTHER_OPAQUE_API, SIGNED_API},
    signed,
};

const LIFETIME: Duration = Duration::from_secs(600);
const ENDPOINT: &str = "/token/introspection";

pub(crate) async fn verifier(issuer: &Issuer) -> Arc<dyn TokenVerifier> {
    let client = issuer.register_api("client_secret_basic").await;
    let secret = client.client_secret.expect("a secret");
    introspection(issuer, ClientCredentials::basic(client.client_id, secret))
}

fn introspection(issuer: &Issuer, client: ClientCredentials) -> Arc<dyn TokenVerifier> {
    let introspection = Introspection::builder(&issuer.url, client).with_audience(OPAQUE_API);
    Arc::new(introspection.build().expect("a verifier"))
}

async fn world() -> (Issuer, App, Tokens, Api) {
    let issuer = Issuer::start("ES256").await;
    let app = App::register(&issuer, "client_secret_basic", OPAQUE_API).await;
    let tokens = app.reader().await;
    let api = Api::serve(vec![verifier(&issuer).await]).await;
    (issuer, app, tokens, api)
}

#[tokio::test]
async fn an_app_does_what_its_user_consented_to_until_its_token_expires() {
    let (issuer, app, tokens, api) = world().await;
    let ada = issuer.ada();
    let read = api.read(&tokens.access).await;
    read.granted_to(&ada);
    assert_eq!(read.body["scopes"], serde_json::json!(["read:realms"]));
    api.write(&tokens.access)
        .await
        .refused(403, "insufficient_scope");

    let refreshed = app.refresh(&tokens).await.expect("tokens");
    api.read(&refreshed.access).await.granted_to(&ada);
    api.wait(LIFETIME + Duration::from_secs(60));
    api.read(&refreshed.access)
        .await
        .refused(401, "expired_key");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once() {
    let (issuer, app, first, api) = world().await;
    let ada = issuer.ada();
    let second = app.reader().await;
    let access = AccessToken::new(first.access.clone());
    let by_access = StandardRevocableToken::AccessToken(access);
    // What came of the same grant goes with it.
    let by_refresh = StandardRevocableToken::RefreshToken(second.refresh.clone());
    for (tokens, revocation) in [(first, by_access), (second, by_refresh)] {
        api.read(&tokens.access).await.granted_to(&ada);
        app.revoke(revocation).await.expect("revoked");
        let refused = api.read(&tokens.access).await;
        refused.refused(401, "invalid_key");
        let challenge = refused.challenge.expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        let refreshed = app.refresh(&tokens).await;
        assert_eq!(refreshed.err().as_deref(), Some("invalid_grant"));
    }
}

#[tokio::test]
async fn every_request_asks_the_issuer_and_none_is_served_without_its_word() {
    let (issuer, _, tokens, api) = world().await;
    let ada = issuer.ada();
    for asked in 1..=3 {
        api.read(&tokens.access).await.granted_to(&ada);
        assert_eq!(issuer.requests(ENDPOINT).await, asked);
    }
    issuer.stop().await;
    api.read(&tokens.access)
        .await
        .refused(503, "store_unavailable");
    issuer.go_on().await;
    api.read(&tokens.access).await.granted_to(&ada);
}

#[tokio::test]
async fn a_token_for_another_api_is_refused_and_so_is_what_is_no_access_token() {
    let (issuer, app, tokens, api) = world().await;
    let elsewhere = App::register(&issuer, "none", OTHER_OPAQUE_API)
        .await
        .reader()
        .await;
    api.read(&elsewhere.access)
        .await
        .refused(401, "invalid_key");
    // The issuer calls it active all the same.
    api.read(tokens.refresh.secret())
        .await
        .refused(401, "invalid_key");
    assert_eq!(issuer.requests(ENDPOINT).await, 2);
    app.refresh(&tokens).await.expect("tokens");
}

#[tokio::test]
async fn the_issuer_answers_clients_only() {
    let (issuer, _, tokens, _) = world().await;
    let ada = issuer.ada();
    let client = issuer.register_api("client_secret_post").await;
    let (id, secret) = (client.client_id, client.client_secret.expect("a secret"));
    let post = introspection(&issuer, ClientCredentials::post(&id, secret));
    let api = Api::serve(vec![post]).await;
    api.read(&tokens.access).await.granted_to(&ada);
    // Whoever is not let in knows nothing about the token.
    let wrong = introspection(&issuer, ClientCredentials::post(id, "made up"));
    let api = Api::serve(vec![wrong]).await;
    api.read(&tokens.access)
        .await
        .refused(503, "store_unavailable");
}

#[tokio::test]
async fn keys_jwts_and_opaque_tokens_work_side_by_side() {
    let issuer = Issuer::start("EdDSA").await;
    let signed = signed::verifier(&[&issuer]);
    let api = Api::serve(vec![signed, verifier(&issuer).await]).await;
    let ada = issuer.ada();
    for kind in [SIGNED_API, OPAQUE_API] {
        let app = App::register(&issuer, "none", kind).await;
        let tokens = app.reader().await;
        api.read(&tokens.access).await.granted_to(&ada);
        api.write(&tokens.access)
            .await
            .refused(403, "insufficient_scope");
    }
    assert_eq!(api.read(&api.key).await.status, 200);
    api.write(&api.key).await.refused(403, "insufficient_scope");
    // Neither a key nor a JWT is shown to the issuer.
    assert_eq!(issuer.requests(ENDPOINT).await, 2);
    api.read("made-up").await.refused(401, "invalid_key");
    assert_eq!(issuer.requests(ENDPOINT).await, 3);
}
