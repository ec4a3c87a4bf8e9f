//! Whatever a client sends gets a documented answer: no panic, and no way in without a key.

mod support;

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use proptest::{collection::vec, prelude::*, sample::select};
use support::{Body, World};

/// Header values, paths and queries of bytes that mean something to somebody, and of any others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        select(vec![
            "Bearer",
            "bearer ",
            " ",
            "Basic",
            "rk_live_",
            "rk_test_",
            "_",
            "%",
            "%2f",
            "%2e",
            "..",
            "//",
            "/",
            "\\",
            "%00",
            "?",
            "&",
            "=",
            "api_key",
            "api%5fkey",
            ";",
            ",",
            "\"",
            "/health",
            "/engines",
            "/realms",
            "/lino",
            "1234567890abcdef1234567890abcdef",
            "é",
            "*",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        vec(any::<u8>(), 0..6),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn request() -> impl Strategy<Value = Request<Body>> {
    let name = select(vec![
        "x-api-key",
        "authorization",
        "content-type",
        "origin",
        "access-control-request-method",
        "host",
        "x-forwarded-for",
        "x-http-method-override",
    ]);
    let method = select(vec!["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "BREW"]);
    (method, bytes(), vec((name, bytes()), 0..5)).prop_map(|(method, uri, headers)| {
        let mut request = Request::new(Body::default());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        let target = [b"/", &*uri].concat();
        // What `http` itself refuses never comes to a service.
        if let Ok(uri) = Uri::try_from(&target[..]).or_else(|_| Uri::try_from(uri)) {
            *request.uri_mut() = uri;
        }
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                request
                    .headers_mut()
                    .append(HeaderName::from_static(name), value);
            }
        }
        request
    })
}

#[test]
fn any_request_gets_a_documented_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let world = runtime.block_on(World::with(|builder| {
        builder.with_query_parameter("api_key")
    }));
    // A key exists, and nobody who guesses finds it.
    runtime.block_on(world.key(&["launcher", "lino"]));
    proptest!(|(request in request())| {
        let path = request.uri().path().to_owned();
        let answer = runtime.block_on(world.send(request));
        match &answer.seen {
            Some(seen) => {
                prop_assert!(seen.grant.is_none());
                prop_assert!(path == "/health" || path == "/realms", "{path} was let through");
            }
            None => {
                let denial = answer.denial.as_ref().expect("every refusal says why");
                let grpc = answer.headers.contains_key("grpc-status");
                let status = if grpc { StatusCode::OK } else { denial.status() };
                prop_assert_eq!(answer.status, status);
                prop_assert!(denial.status().is_client_error());
            }
        }
    });
}
