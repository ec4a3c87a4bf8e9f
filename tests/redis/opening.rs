//! What keeps a limiter from being made, and what is said about it.

use std::{error::Error, time::Duration};

use tower_api_key::{OnOutage, OpenErrorKind, RedisRateLimiter, Tiers};

use super::{connect, server};

/// A URL's host and port, and what its error says.
async fn refused(url: &str) -> (OpenErrorKind, String) {
    let error = RedisRateLimiter::connect(url, Tiers::default()).await;
    let error = error.expect_err("refused");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    (error.kind(), text)
}

#[tokio::test]
async fn a_wrong_password_is_not_accepted_and_not_told() {
    let address = server::address();
    let (_, place) = address.split_once('@').unwrap();
    for user in [
        "redis://:guessed-password@",
        "redis://stranger:guessed-password@",
    ] {
        let (kind, told) = refused(&format!("{user}{place}")).await;
        assert_eq!(kind, OpenErrorKind::NotAccepted, "{told}");
        assert!(told.starts_with(&format!("redis://{place}/0: ")), "{told}");
        assert!(!told.contains("guessed-password"), "{told}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_an_invalid_setting() {
    for url in [
        "",
        "localhost",
        "http://127.0.0.1",
        "redis://127.0.0.1/not-a-number",
    ] {
        let (kind, told) = refused(url).await;
        assert_eq!(kind, OpenErrorKind::InvalidSetting, "{url}: {told}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_reachable() {
    // A port that was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (kind, told) = refused(&format!("redis://127.0.0.1:{port}")).await;
    assert_eq!(kind, OpenErrorKind::Unreachable, "{told}");
}

#[tokio::test]
async fn settings_that_cannot_be_are_named() {
    let long = "x".repeat(101);
    for prefix in ["", "{one}", "a b", "a*", "\u{e4}", &long] {
        let error = connect(prefix, Tiers::default()).await.expect_err(prefix);
        assert_eq!(error.kind(), OpenErrorKind::InvalidSetting);
        assert!(error.source().unwrap().to_string().starts_with("prefix "));
    }
    let error = connect("share", Tiers::default())
        .with_share(0)
        .await
        .unwrap_err();
    assert_eq!(
        error.source().unwrap().to_string(),
        "share \"0\" is invalid: 1 process or more"
    );
    let error = connect("timeout", Tiers::default())
        .with_timeout(Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::InvalidSetting);
    assert_eq!(
        error.source().unwrap().to_string(),
        "timeout \"0\" is invalid: longer than nothing"
    );
}

#[tokio::test]
async fn nothing_that_is_printed_holds_the_password() {
    let address = server::address();
    let password = address
        .split_once(":")
        .unwrap()
        .1
        .split_once('@')
        .unwrap()
        .0;
    let password = password.trim_start_matches(['/', ':']);
    assert!(password.len() > 20);
    let connect = connect("debug", Tiers::default())
        .with_on_outage(OnOutage::Refuse)
        .with_timeout(Duration::from_secs(9));
    let told = format!("{connect:?}");
    assert!(
        told.contains("Refuse") && !told.contains(password),
        "{told}"
    );
    let told = format!("{:?}", connect.await.unwrap());
    assert!(
        told.contains("redis://127.0.0.1:") && !told.contains(password),
        "{told}"
    );
}
