use std::{
    convert::Infallible,
    error::Error as _,
    io::Write as _,
    net::{SocketAddr, TcpListener},
};

use ::axum::body::Body;
use futures_util::stream;
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use tokio::{sync::Notify, time::Instant};

use super::*;
use crate::oauth::test_server::{AUTHORITY, TestServer, answer, client, json};

fn url(text: &str) -> EndpointUrl {
    EndpointUrl::parse(text).expect("a URL")
}

async fn fetch(server: &TestServer) -> Result<Bytes, FetchError> {
    client().fetch_json(&url(&server.url)).await
}

fn causes(error: &FetchError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn answer_is_200_and_json() {
    for (status, content_type, kind) in [
        (200, "application/json", None),
        (200, "Application/JSON; charset=utf-8", None),
        (200, "application/jwk-set+json", None),
        (200, "text/html", Some(FetchErrorKind::NotJson)),
        (200, "text/json", Some(FetchErrorKind::NotJson)),
        (200, "application/jsonp", Some(FetchErrorKind::NotJson)),
        (200, "", Some(FetchErrorKind::NotJson)),
        (201, "application/json", Some(FetchErrorKind::Status(201))),
        (401, "application/json", Some(FetchErrorKind::Status(401))),
        (503, "application/json", Some(FetchErrorKind::Status(503))),
    ] {
        let server =
            TestServer::start(move |_| async move { answer(status, content_type, "{}") }).await;
        let fetched = fetch(&server).await;
        assert_eq!(
            fetched.as_ref().err().map(FetchError::kind),
            kind.as_ref(),
            "{status} {content_type}"
        );
        assert!(fetched.is_err() || fetched.is_ok_and(|text| text == "{}"));
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = TestServer::start(move |_| async move {
            let mut response = answer(status, "application/json", "{}");
            let elsewhere = HeaderValue::from_static("/elsewhere");
            response.headers_mut().insert("location", elsewhere);
            response
        })
        .await;
        let error = fetch(&server).await.expect_err("a redirect");
        assert_eq!(*error.kind(), FetchErrorKind::Status(status));
        assert_eq!(server.requests(), ["GET /"]);
    }
}

#[tokio::test]
async fn body_ends_at_the_limit_whether_its_length_is_told_or_not() {
    for (bytes, told, fits) in [
        (LONGEST_ANSWER, true, true),
        (LONGEST_ANSWER, false, true),
        (LONGEST_ANSWER + 1, true, false),
        (LONGEST_ANSWER + 1, false, false),
        (40 * LONGEST_ANSWER, false, false),
    ] {
        let server = TestServer::start(move |_| async move {
            if told {
                return json(vec![b' '; bytes]);
            }
            let chunks = (0..bytes).step_by(8_192).map(move |start| {
                let chunk = vec![b' '; (bytes - start).min(8_192)];
                Ok::<_, Infallible>(Bytes::from(chunk))
            });
            json(Body::from_stream(stream::iter(chunks)))
        })
        .await;
        match fetch(&server).await {
            Ok(body) => assert!(fits && body.len() == bytes, "{bytes} {told}"),
            Err(error) => {
                assert!(!fits, "{bytes} {told}: {error}");
                assert_eq!(*error.kind(), FetchErrorKind::TooLarge);
            }
        }
    }
}

#[tokio::test]
async fn body_that_drips_ends_with_the_time_of_the_whole_exchange() {
    let begun = Arc::new(Notify::new());
    let told = Arc::clone(&begun);
    let server = TestServer::start(move |_| {
        told.notify_one();
        let drops = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        async { json(Body::from_stream(drops)) }
    })
    .await;
    let (client, url) = (client(), url(&server.url));
    let start = Instant::now();
    let fetching = tokio::spawn(async move { client.fetch_json(&url).await });
    begun.notified().await;
    // From here on time passes when nothing else happens.
    tokio::time::pause();
    let error = fetching.await.expect("a task").expect_err("too slow");
    assert_eq!(*error.kind(), FetchErrorKind::TimedOut);
    let took = start.elapsed();
    assert!((4..=10).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn server_that_never_answers_is_left_in_time() {
    let begun = Arc::new(Notify::new());
    let told = Arc::clone(&begun);
    let server = TestServer::start(move |_| {
        told.notify_one();
        std::future::pending()
    })
    .await;
    let client = HttpClient::builder()
        .with_root_certificates(AUTHORITY)
        .with_timeout(Duration::from_secs(60))
        .build()
        .expect("a client");
    let url = url(&server.url);
    let fetching = tokio::spawn(async move { client.fetch_json(&url).await });
    begun.notified().await;
    tokio::time::pause();
    let start = Instant::now();
    let error = fetching.await.expect("a task").expect_err("no answer");
    assert_eq!(*error.kind(), FetchErrorKind::TimedOut);
    assert!(start.elapsed() > Duration::from_secs(50));
}

#[tokio::test]
async fn server_that_is_away_or_breaks_off_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let place = format!("http://{address}/keys");
    let error = client().fetch_json(&url(&place)).await.expect_err("away");
    assert_eq!(*error.kind(), FetchErrorKind::Unreachable);
    assert_eq!(error.to_string(), format!("{place}: cannot be reached"));
    assert!(error.source().is_some(), "the cause is kept");

    for half in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        "HTTP/1.1 200",
        "this is no HTTP\r\n\r\n",
    ] {
        let address = serve_once(move |mut stream| {
            read_head(&mut stream);
            stream.write_all(half.as_bytes()).expect("half an answer");
        });
        let place = format!("http://{address}/keys");
        let error = client().fetch_json(&url(&place)).await.expect_err(half);
        assert_eq!(*error.kind(), FetchErrorKind::BrokenOff, "{half}");
    }
}

#[tokio::test]
async fn endless_head_is_not_read_to_the_end() {
    let address = serve_once(|mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        // Ends with an error, because the client goes away.
        while stream
            .write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
            .is_ok()
        {}
    });
    let place = format!("http://{address}/keys");
    let error = client().fetch_json(&url(&place)).await.expect_err("a head");
    assert_eq!(*error.kind(), FetchErrorKind::BrokenOff);
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = TestServer::start(async |_| json("{}")).await;
    let client = client();
    for _ in 0..5 {
        let fetched = client.clone().fetch_json(&url(&server.url)).await;
        fetched.expect("an answer");
    }
    assert_eq!((server.count(), server.connections()), (5, 1));
}

#[tokio::test]
async fn form_and_client_authentication_are_encoded() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = TestServer::start(move |request| {
        let tell = tell.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a form").to_bytes();
            tell.send((head, body)).expect("a test that listens");
            json("{}")
        }
    })
    .await;
    let fields = [("token", "a+b/c=&d e\u{e4}"), ("x y", "*-._~")];
    let authorization = basic_authorization("s6BhdRkqt3", "gX1fBat3bV");
    let place = url(&format!("{}/introspect?tenant=1", server.url));
    let client = client();
    let answer = client.post_form(&place, &fields, Some(&authorization));
    answer.await.expect("an answer");
    let (head, body) = told.recv().await.expect("a request");
    assert_eq!(head.method, "POST");
    assert_eq!(
        head.uri.path_and_query().expect("a path"),
        "/introspect?tenant=1"
    );
    assert_eq!(body, "token=a%2Bb%2Fc%3D%26d+e%C3%A4&x+y=*-._%7E");
    assert_eq!(
        head.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(head.headers["accept"], "application/json");
    // The example of RFC 6749 §2.3.1.
    assert_eq!(
        head.headers["authorization"],
        "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"
    );
}

#[test]
fn client_id_and_secret_are_encoded_each_before_they_are_joined() {
    let value = basic_authorization("a b:c", "\u{e4}+%&");
    let expected = STANDARD.encode("a+b%3Ac:%C3%A4%2B%25%26");
    assert_eq!(value, format!("Basic {expected}"));
    assert!(
        !format!("{value:?}").contains(&expected),
        "marked sensitive"
    );
}

#[tokio::test]
async fn error_of_a_form_shows_no_secret() {
    let server = TestServer::start(async |_| answer(401, "application/json", "{}")).await;
    let place = url(&format!("{}/introspect?secret=1", server.url));
    let authorization = basic_authorization("me", "secret");
    let fields = [("token", "secret")];
    let asked = client()
        .post_form(&place, &fields, Some(&authorization))
        .await;
    let error = asked.expect_err("a 401");
    assert_eq!(*error.kind(), FetchErrorKind::Status(401));
    assert_eq!(error.url(), format!("{}/introspect?…", server.url));
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test]
async fn https_server_is_trusted_by_its_authority_and_name_only() {
    let trusting = client();
    let address = serve_tls_once();
    let place = url(&format!("https://localhost:{}/", address.port()));
    assert_eq!(trusting.fetch_json(&place).await.expect("an answer"), "{}");

    let address = serve_tls_once();
    let place = url(&format!("https://127.0.0.2:{}/", address.port()));
    let error = trusting.fetch_json(&place).await.expect_err("another name");
    assert_eq!(*error.kind(), FetchErrorKind::Unreachable);
    assert!(causes(&error).contains("certificate"), "{}", causes(&error));

    // The server's own certificate is no authority for the authority's.
    let other = include_bytes!("localhost.pem");
    let distrusting = HttpClient::builder().with_root_certificates(other);
    let distrusting = distrusting.build().expect("a client");
    let address = serve_tls_once();
    let place = url(&format!("https://localhost:{}/", address.port()));
    let error = distrusting.fetch_json(&place).await.expect_err("distrust");
    assert_eq!(*error.kind(), FetchErrorKind::Unreachable);
    assert!(causes(&error).contains("certificate"), "{}", causes(&error));
}

#[tokio::test]
async fn own_tls_configuration_is_used_whatever_its_protocols() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(parse_roots(AUTHORITY).expect("roots"))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = HttpClient::builder().with_tls_config(config);
    assert!(!format!("{client:?}").contains("alpn"), "not shown");
    let client = client.build().expect("a client");
    let address = serve_tls_once();
    let place = url(&format!("https://localhost:{}/", address.port()));
    assert_eq!(client.fetch_json(&place).await.expect("an answer"), "{}");
}

#[test]
fn settings_that_cannot_be_fail_at_set_up() {
    for pem in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let built = HttpClient::builder().with_root_certificates(pem.as_bytes());
        assert!(
            matches!(built.build(), Err(OAuthSetupError::NoRootCertificates(_))),
            "{pem}"
        );
    }
    let built = HttpClient::builder().with_root_certificates(AUTHORITY);
    let built = built.with_timeout(Duration::ZERO).build();
    assert!(matches!(built, Err(OAuthSetupError::Setting(_))));
}

/// A server for one connection, in a thread of its own.
fn serve_once(serve: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || serve(listener.accept().expect("a client").0));
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One that shows the certificate of `localhost`, and answers with an empty object.
fn serve_tls_once() -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("localhost.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("localhost.key.pem"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        )
        .expect("a certificate with its key");
    serve_once(move |stream| {
        let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        // Who does not trust the certificate goes away here.
        if read_head(&mut stream) {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            let rest = "content-length: 2\r\n\r\n{}";
            let written = stream.write_all(format!("{head}{rest}").as_bytes());
            written.and_then(|()| stream.flush()).expect("an answer");
        }
    })
}

/// Reads until an empty line; whether it came.
fn read_head(stream: &mut impl std::io::Read) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}
