use std::error::Error as _;

use super::*;
use crate::oauth::test_server::{TestServer, answer, client, json};

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

fn issuer(text: &str) -> IssuerUrl {
    IssuerUrl::parse(text).expect("an issuer")
}

/// A server whose issuer has the path `path`, and whose document lies at `place`; elsewhere it answers
/// with `absent`.
async fn serve(
    path: &'static str,
    place: String,
    absent: (u16, &'static str),
) -> (TestServer, IssuerUrl) {
    let server = TestServer::start(move |request| {
        let host = request.headers()["host"]
            .to_str()
            .expect("a host")
            .to_owned();
        let found = request.uri().path() == place;
        async move {
            if !found {
                return answer(absent.0, absent.1, "nothing here");
            }
            json(format!(
                r#"{{"issuer":"http://{host}{path}","jwks_uri":"http://{host}/keys"}}"#
            ))
        }
    })
    .await;
    let issuer = issuer(&format!("{}{path}", server.url));
    (server, issuer)
}

#[tokio::test]
async fn openid_document_is_found_behind_the_path_of_the_issuer() {
    for (path, place) in [
        ("", OPENID.to_owned()),
        ("/", OPENID.to_owned()),
        ("/tenant", format!("/tenant{OPENID}")),
        ("/tenant/", format!("/tenant{OPENID}")),
    ] {
        let (server, issuer) = serve(path, place.clone(), (404, "text/plain")).await;
        let found = discover(&client(), &issuer, "jwks_uri").await;
        let expected = format!("{}/keys", server.url);
        assert_eq!(found.expect("a URL").to_string(), expected);
        assert_eq!(server.requests(), [format!("GET {place}")]);
    }
}

#[tokio::test]
async fn oauth_document_is_found_before_the_path_where_the_other_is_absent() {
    for (path, place, absent) in [
        ("", OAUTH.to_owned(), (404, "text/plain")),
        ("/t/1", format!("{OAUTH}/t/1"), (200, "text/html")),
        ("/t/", format!("{OAUTH}/t"), (302, "text/html")),
        ("", OAUTH.to_owned(), (403, "application/json")),
    ] {
        let (server, issuer) = serve(path, place.clone(), absent).await;
        let found = discover(&client(), &issuer, "jwks_uri").await;
        let expected = format!("{}/keys", server.url);
        assert_eq!(found.expect("a URL").to_string(), expected);
        assert_eq!(server.requests()[1..], [format!("GET {place}")]);
    }
}

#[tokio::test]
async fn issuer_without_any_document_is_told_with_both_places() {
    let (_server, issuer) = serve("", "/elsewhere".to_owned(), (404, "text/plain")).await;
    let error = discover(&client(), &issuer, "jwks_uri").await;
    let error = error.expect_err("no document");
    assert_eq!(*error.kind(), FetchErrorKind::Status(404));
    assert!(error.url().ends_with(OAUTH));
    let source = error.source().expect("the first try").to_string();
    assert!(source.contains(OPENID), "{source}");
}

#[tokio::test]
async fn second_document_is_not_asked_for_in_an_outage_or_where_the_first_is_wrong() {
    for (status, body) in [(500, "{}"), (200, r#"{"issuer":"https://other.example"}"#)] {
        let server =
            TestServer::start(move |_| async move { answer(status, "application/json", body) })
                .await;
        let error = discover(&client(), &issuer(&server.url), "jwks_uri").await;
        let expected = match status {
            200 => FetchErrorKind::WrongIssuer,
            _ => FetchErrorKind::Status(status),
        };
        assert_eq!(*error.expect_err("no document").kind(), expected);
        assert_eq!(server.count(), 1);
    }
}

#[test]
fn issuer_in_the_document_is_the_same_to_the_letter() {
    let url = EndpointUrl::parse("https://issuer.example/document").expect("a URL");
    let text = |said: &str| format!(r#"{{{said}"jwks_uri":"https://keys.example/"}}"#);
    let read = |configured: &str, said: &str| {
        endpoint_in(text(said).as_bytes(), &url, &issuer(configured), "jwks_uri")
    };
    let same = read(
        "https://issuer.example/a",
        r#""issuer":"https://issuer.example/a","#,
    );
    assert_eq!(same.expect("a URL").to_string(), "https://keys.example/");
    for said in [
        r#""issuer":"https://issuer.example/a/","#,
        r#""issuer":"https://issuer.example/A","#,
        r#""issuer":"https://ISSUER.example/a","#,
        r#""issuer":"https://issuer.example:443/a","#,
        r#""issuer":" https://issuer.example/a","#,
        r#""issuer":["https://issuer.example/a"],"#,
        r#""issuer":null,"#,
        "",
    ] {
        let error = read("https://issuer.example/a", said).expect_err(said);
        assert_eq!(*error.kind(), FetchErrorKind::WrongIssuer, "{said}");
    }
}

#[test]
fn document_that_can_be_read_in_two_ways_or_names_no_good_url_is_refused() {
    let url = EndpointUrl::parse("https://issuer.example/document").expect("a URL");
    let good = r#"{"issuer":"https://issuer.example","jwks_uri":"https://keys.example/"}"#;
    let read = |text: &str| {
        let issuer = issuer("https://issuer.example");
        endpoint_in(text.as_bytes(), &url, &issuer, "jwks_uri")
    };
    read(good).expect("a URL");
    for bad in [
        "".to_owned(),
        "garbage".to_owned(),
        "[]".to_owned(),
        good.repeat(2),
        good.replace("}", ""),
        good.replace("}", r#","jwks_uri":"https://evil.example/"}"#),
        good.replace("}", r#","issuer":"https://issuer.example"}"#),
        good.replace(
            "}",
            &format!(r#","x":{}{}}}"#, "[".repeat(99), "]".repeat(99)),
        ),
        good.replace("jwks_uri", "jwks"),
        good.replace("\"https://keys.example/\"", "7"),
        good.replace("https://keys", "http://keys"),
        good.replace("https://keys", "ftp://keys"),
        good.replace("https://keys.example", ""),
        good.replace("https://keys.example/", "https://me:secret@keys.example/"),
        // An issuer elsewhere does not say what is asked on this machine.
        good.replace("https://keys.example", "http://127.0.0.1:6379"),
        good.replace("https://keys.example", "http://localhost"),
        format!("{good}{}", " ".repeat(LONGEST_DOCUMENT)),
    ] {
        let error = read(&bad).expect_err(&bad);
        assert_eq!(*error.kind(), FetchErrorKind::Malformed, "{bad}");
        assert!(error.source().is_some(), "{bad}");
        assert!(!format!("{error:?}").contains("secret"), "{bad}");
    }
}
