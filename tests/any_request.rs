//! Whatever a client sends gets a documented answer: no panic, and no way in without a key.

mod support;

use std::cell::Cell;

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use proptest::{collection::vec, prelude::*, sample::select, strategy::BoxedStrategy};
use support::{Body, World};
use tower_api_key::{MemoryRateLimiter, Quota, Tiers};

/// Header values, paths and queries of bytes that mean something to somebody, the key among them,
/// and of any others.
fn bytes(key: &str) -> BoxedStrategy<Vec<u8>> {
    let bearer = format!("Bearer {key}");
    let piece = prop_oneof![
        8 => select(vec![
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
        1 => Just(key.as_bytes().to_vec()),
        8 => vec(any::<u8>(), 0..6),
    ];
    prop_oneof![
        6 => vec(piece, 0..8).prop_map(|pieces| pieces.concat()),
        2 => Just(key.as_bytes().to_vec()),
        1 => Just(bearer.into_bytes()),
    ]
    .boxed()
}

/// What stands behind the first slash.
fn target(key: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let known = select(vec![
        "engines",
        "me",
        "either",
        "both",
        "lino/shows",
        "lost",
        "scoped",
        "realms",
        "elsewhere",
        "helloworld.Greeter/SayHello",
    ]);
    let credential = format!("api_key={key}");
    let known = (known, bytes(key), any::<bool>()).prop_map(move |(path, query, credentialed)| {
        let query: &[u8] = if credentialed {
            credential.as_bytes()
        } else {
            &query
        };
        [path.as_bytes(), b"?", query].concat()
    });
    prop_oneof![bytes(key), known]
}

fn request(key: &str) -> impl Strategy<Value = Request<Body>> + use<> {
    let name = select(vec![
        "x-api-key",
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
    (method, target(key), vec((name, bytes(key)), 0..4)).prop_map(|(method, uri, headers)| {
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

/// Whether a key with the module `launcher` and nothing else may make this request: written out
/// from the map in `support`, so that the map under test has no say in it.
fn is_entitled(method: &Method, path: &str) -> bool {
    match path {
        "/engines" | "/either" | "/me" => method == Method::GET || method == Method::HEAD,
        "/helloworld.Greeter/SayHello" => true,
        _ => false,
    }
}

/// All parts of eight bytes of what a client sent.
fn parts(request: &Request<Body>) -> Vec<Vec<u8>> {
    let (uri, headers) = (request.uri().to_string(), request.headers());
    let texts = headers.values().map(HeaderValue::as_bytes);
    let texts = texts.chain([uri.as_bytes()]);
    let parts = texts.flat_map(|text| text.windows(8).map(<[u8]>::to_vec));
    parts.collect()
}

/// So few that in the end most callers with access are told of it.
const QUOTA: usize = 5;

#[test]
fn any_request_gets_a_documented_answer() {
    #[cfg(feature = "tracing")]
    let (log, _guard) = {
        let log = support::log::Log::default();
        // Without times and targets: nothing but what the layer says.
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .without_time()
            .with_target(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let tiers = Tiers::default();
    let standard = tiers.default_tier().clone();
    let tiers = tiers
        .with_tier(standard, Quota::per_hour(QUOTA as u64))
        .expect("tiers");
    let world = runtime.block_on(World::with(|builder| {
        let builder = builder.with_query_parameter("api_key");
        builder.with_rate_limiter(MemoryRateLimiter::new(tiers))
    }));
    let key = runtime.block_on(world.key(&["launcher"]));
    let id = &key.key.record.id;
    let (granted, logged) = (Cell::new(0), Cell::new(0));
    proptest!(|(request in request(key.text.expose()))| {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let parts = parts(&request);
        let answer = runtime.block_on(world.send(request));
        match &answer.seen {
            Some(seen) => match &seen.grant {
                Some(grant) => {
                    granted.set(granted.get() + 1);
                    prop_assert_eq!(grant.principal(), id.as_str());
                    prop_assert!(is_entitled(&method, &path), "{method} {path} was granted");
                }
                None => {
                    let open = ["/health", "/realms"].contains(&path.as_str());
                    prop_assert!(open, "{method} {path} was let through");
                }
            },
            None => {
                let denial = answer.denial.as_ref().expect("every refusal says why");
                let grpc = answer.headers.contains_key("grpc-status");
                let status = if grpc { StatusCode::OK } else { denial.status() };
                prop_assert_eq!(answer.status, status);
                prop_assert!(denial.status().is_client_error());
                if denial.tier().is_some_and(|tier| tier.as_str() == "standard") {
                    prop_assert!(is_entitled(&method, &path), "{method} {path} was counted");
                }
            }
        }
        #[cfg(feature = "tracing")]
        {
            let lines = log.take();
            logged.set(logged.get() + lines.len());
            for part in parts {
                let found = lines.windows(8).any(|window| window == part);
                prop_assert!(!found, "{:?} was logged", String::from_utf8_lossy(&part));
            }
        }
        #[cfg(not(feature = "tracing"))]
        drop(parts);
    });
    assert!(granted.get() > 0, "some came in");
    // Nothing else has used up what is left of the key's quota.
    let left = || runtime.block_on(world.get("/me", key.text.expose()));
    let left = (0..).take_while(|_| left().status == 200).count();
    assert_eq!(granted.get() + left, QUOTA);
    assert!(
        cfg!(not(feature = "tracing")) || logged.get() > 0,
        "refusals are logged"
    );
}
