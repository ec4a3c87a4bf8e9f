//! Access tokens that are JWTs, verified by the keys that their issuer publishes.

use std::{sync::Arc, time::Duration};

use oauth2::{AccessToken, StandardRevocableToken};
use tower_api_key::{TokenVerifier, jwt, jwt::JwtVerifier, oauth::RemoteKeys};

use crate::{
    api::Api,
    app::{App, Tokens},
    issuer::{Issuer, OTHER_SIGNED_API, SIGNED_API},
};

/// How long an access token lives, and the most leeway that is given to it.
const LIFETIME: Duration = Duration::from_secs(600);
const LEEWAY: Duration = Duration::from_secs(60);
/// Between two fetches of an issuer's keys.
const LEAST_INTERVAL: Duration = Duration::from_secs(10);
/// The age at which its keys are fetched again.
const REFRESH_AFTER: Duration = Duration::from_secs(300);

pub(crate) fn verifier(issuers: &[&Issuer]) -> Arc<dyn TokenVerifier> {
    let mut verifier = JwtVerifier::builder();
    for issuer in issuers {
        let keys = RemoteKeys::discover(&issuer.url).build().expect("keys");
        let issuer = jwt::Issuer::new(&issuer.url)
            .with_audience(SIGNED_API)
            .with_keys(keys);
        verifier = verifier.with_issuer(issuer);
    }
    Arc::new(verifier.build().expect("a verifier"))
}

/// An issuer with an app, whose user lets it read realms, and an API that takes the issuer's tokens.
async fn world(algorithm: &str, authentication: &str) -> (Issuer, App, Tokens, Api) {
    let issuer = Issuer::start(algorithm).await;
    let app = App::register(&issuer, authentication, SIGNED_API).await;
    let tokens = app.reader().await;
    let api = Api::serve(vec![verifier(&[&issuer])]).await;
    (issuer, app, tokens, api)
}

#[tokio::test]
async fn an_app_does_what_its_user_consented_to_until_its_token_expires() {
    for (algorithm, authentication) in [
        ("ES256", "client_secret_basic"),
        ("EdDSA", "client_secret_post"),
        ("RS256", "none"),
    ] {
        let (issuer, app, tokens, api) = world(algorithm, authentication).await;
        let ada = issuer.ada();
        let read = api.read(&tokens.access).await;
        read.granted_to(&ada);
        assert_eq!(read.body["scopes"], serde_json::json!(["read:realms"]));

        let write = api.write(&tokens.access).await;
        write.refused(403, "insufficient_scope");
        let challenge = write.challenge.expect("a challenge");
        assert!(
            challenge.contains("error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"write:realms\""), "{challenge}");

        api.wait(LIFETIME + LEEWAY);
        let late = api.read(&tokens.access).await;
        late.refused(401, "expired_key");
        let challenge = late.challenge.expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");

        // The app's next token is no worse for that.
        let refreshed = app.refresh(&tokens).await.expect("tokens");
        let api = Api::serve(vec![verifier(&[&issuer])]).await;
        api.read(&refreshed.access).await.granted_to(&ada);
        assert_ne!(tokens.access, refreshed.access);
    }
}

#[tokio::test]
async fn a_jwt_outlives_its_grant_until_it_expires() {
    let (issuer, app, tokens, api) = world("ES256", "client_secret_basic").await;
    let ada = issuer.ada();
    // Nobody is asked about a JWT, so that there is nothing to take back.
    let access = AccessToken::new(tokens.access.clone());
    let revoked = app
        .revoke(StandardRevocableToken::AccessToken(access))
        .await;
    assert_eq!(revoked, Err("unsupported_token_type".to_owned()));
    api.read(&tokens.access).await.granted_to(&ada);

    // Whoever takes back the grant ends what comes after it.
    let refresh = StandardRevocableToken::RefreshToken(tokens.refresh.clone());
    app.revoke(refresh).await.expect("revoked");
    assert_eq!(
        app.refresh(&tokens).await.err().as_deref(),
        Some("invalid_grant")
    );
    api.read(&tokens.access).await.granted_to(&ada);
    api.wait(LIFETIME + LEEWAY);
    api.read(&tokens.access).await.refused(401, "expired_key");
}

#[tokio::test]
async fn a_key_is_fetched_when_it_first_signs_and_dies_when_it_is_withdrawn() {
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let (issuer, app, old, api) = world(algorithm, "none").await;
        let ada = issuer.ada();
        api.read(&old.access).await.granted_to(&ada);
        assert_eq!(issuer.requests("/jwks").await, 1);

        issuer.rotate().await;
        let new = app.refresh(&old).await.expect("tokens");
        // Keys were fetched a moment ago.
        api.read(&new.access).await.refused(401, "invalid_key");
        assert_eq!(issuer.requests("/jwks").await, 1);
        api.wait(LEAST_INTERVAL);
        let newer = app.refresh(&new).await.expect("tokens");
        for token in [&new, &newer, &old] {
            api.read(&token.access).await.granted_to(&ada);
        }
        assert_eq!(issuer.requests("/jwks").await, 2);

        issuer.withdraw().await;
        // Nobody looks at the keys before they are old.
        api.read(&old.access).await.granted_to(&ada);
        api.wait(REFRESH_AFTER);
        // Who asks then is still served by the keys there are, and has them fetched.
        api.read(&old.access).await.granted_to(&ada);
        for _ in 0..1_000 {
            if api.read(&old.access).await.status != 200 {
                break;
            }
        }
        api.read(&old.access).await.refused(401, "invalid_key");
        api.read(&newer.access).await.granted_to(&ada);
        assert_eq!(issuer.requests("/jwks").await, 3);
    }
}

#[tokio::test]
async fn a_token_for_another_api_or_of_another_issuer_is_refused() {
    let (issuer, _, tokens, api) = world("ES256", "none").await;
    let elsewhere = App::register(&issuer, "none", OTHER_SIGNED_API)
        .await
        .reader()
        .await;
    api.read(&elsewhere.access)
        .await
        .refused(401, "invalid_key");

    let other = Issuer::start("ES256").await;
    let stranger = App::register(&other, "none", SIGNED_API)
        .await
        .reader()
        .await;
    api.read(&stranger.access).await.refused(401, "invalid_key");
    let both = Api::serve(vec![verifier(&[&issuer, &other])]).await;
    for (issuer, tokens) in [(&issuer, &tokens), (&other, &stranger)] {
        let ada = issuer.ada();
        both.read(&tokens.access).await.granted_to(&ada);
    }
}

#[tokio::test]
async fn known_keys_outlast_an_outage_of_their_issuer() {
    let (issuer, app, first, api) = world("ES256", "none").await;
    let ada = issuer.ada();
    api.read(&first.access).await.granted_to(&ada);
    let second = app.refresh(&first).await.expect("tokens");
    issuer.rotate().await;
    let third = app.refresh(&second).await.expect("tokens");
    issuer.stop().await;
    api.wait(LEAST_INTERVAL);
    api.read(&second.access).await.granted_to(&ada);
    // Of its key nobody can be asked.
    api.read(&third.access)
        .await
        .refused(503, "store_unavailable");
    issuer.go_on().await;
    api.wait(LEAST_INTERVAL);
    api.read(&third.access).await.granted_to(&ada);
}
