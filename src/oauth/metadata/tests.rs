use http_body_util::{BodyExt, Empty};
use serde_json::json;
use tower::ServiceExt;

use super::*;

fn builder() -> ResourceMetadataBuilder {
    ResourceMetadata::builder("https://api.example/v1")
}

fn document(builder: ResourceMetadataBuilder) -> Value {
    let metadata = builder.build().expect("a document");
    serde_json::from_slice(metadata.document()).expect("JSON")
}

/// What a refused document is told.
#[track_caller]
fn error(builder: ResourceMetadataBuilder) -> InvalidMetadata {
    builder.build().expect_err("it cannot be")
}

async fn ask(method: Method) -> (::http::response::Parts, Bytes) {
    let metadata = builder().build().expect("a document");
    let request = Request::builder().method(method).uri(metadata.path());
    // Any body will do.
    let request = request.body(Empty::<&[u8]>::new()).expect("a request");
    let response = metadata.oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("infallible").to_bytes();
    (parts, body)
}

#[test]
fn document_holds_what_was_set_by_the_names_of_rfc_9728() {
    let full = builder()
        .with_authorization_server("https://issuer.example")
        .with_authorization_server("https://other.example/realm")
        .with_scopes(["read:realms", "write:realms"])
        .with_bearer_methods([BearerMethod::Query, BearerMethod::Header])
        .with_jwks_uri("https://api.example/jwks.json")
        .with_name("RealmKit ü")
        .with_documentation("https://docs.example/?v=1")
        .with_dpop_algorithms(["ES256", "EdDSA"])
        .with_dpop_required(true)
        .with_member("resource_name#de", "RealmKit")
        .with_member("authorization_details_types_supported", ["realm"]);
    assert_eq!(
        document(full),
        json!({
            "resource": "https://api.example/v1",
            "authorization_servers": ["https://issuer.example", "https://other.example/realm"],
            "scopes_supported": ["read:realms", "write:realms"],
            "bearer_methods_supported": ["header", "query"],
            "jwks_uri": "https://api.example/jwks.json",
            "resource_name": "RealmKit ü",
            "resource_documentation": "https://docs.example/?v=1",
            "dpop_signing_alg_values_supported": ["ES256", "EdDSA"],
            "dpop_bound_access_tokens_required": true,
            "resource_name#de": "RealmKit",
            "authorization_details_types_supported": ["realm"],
        })
    );
}

/// RFC 9728 §3.2; but no method at all is something to say (§2).
#[test]
fn what_was_not_set_is_left_out() {
    assert_eq!(
        document(builder()),
        json!({"resource": "https://api.example/v1", "bearer_methods_supported": ["header"]})
    );
    let none = builder()
        .with_bearer_methods([])
        .with_scopes([""; 0])
        .with_dpop_required(false);
    assert_eq!(
        document(none),
        json!({"resource": "https://api.example/v1", "bearer_methods_supported": []})
    );
}

/// RFC 9728 §3.1.
#[test]
fn well_known_part_stands_between_host_and_path() {
    for (resource, origin, path) in [
        ("https://api.example", "https://api.example", ""),
        ("https://api.example/", "https://api.example", ""),
        ("https://api.example/v1", "https://api.example", "/v1"),
        ("https://api.example/v1/", "https://api.example", "/v1/"),
        (
            "https://A.example:8443/v1/b",
            "https://A.example:8443",
            "/v1/b",
        ),
        ("http://[::1]:3000/v1", "http://[::1]:3000", "/v1"),
    ] {
        let metadata = ResourceMetadata::builder(resource).build().expect(resource);
        let expected = format!("/.well-known/oauth-protected-resource{path}");
        assert_eq!(metadata.path(), expected);
        assert_eq!(metadata.url(), format!("{origin}{expected}"));
        // §3.3: clients compare it by the letter.
        let document: Value = serde_json::from_slice(metadata.document()).expect("JSON");
        assert_eq!(document["resource"], resource);
    }
}

#[test]
fn url_that_cannot_be_is_named_with_its_member() {
    for url in [
        "",
        "api.example",
        "http://api.example",
        "https://api.example/#part",
        "https://me:secret@api.example/",
    ] {
        for (field, builder) in [
            ("resource", ResourceMetadata::builder(url)),
            (
                "authorization_servers",
                builder().with_authorization_server(url),
            ),
            ("jwks_uri", builder().with_jwks_uri(url)),
            ("resource_documentation", builder().with_documentation(url)),
        ] {
            let error = error(builder);
            assert_eq!(error.field(), field, "{url}");
            let start = format!("{field} {url:?} is invalid: an https URL");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }
    // RFC 8414 §2; and ours of the resource, which is also a path to be mounted at.
    let url = "https://issuer.example/?tenant=1";
    assert_eq!(error(ResourceMetadata::builder(url)).field(), "resource");
    let server = error(builder().with_authorization_server(url));
    assert_eq!(server.field(), "authorization_servers");
}

#[test]
fn value_that_cannot_be_is_named_with_its_member() {
    let long = "a".repeat(201);
    for (field, value, builder) in [
        ("scopes_supported", "", builder().with_scopes([""])),
        (
            "scopes_supported",
            "a b",
            builder().with_scopes(["ok", "a b"]),
        ),
        (
            "scopes_supported",
            "a",
            builder().with_scopes(["a", "b", "a"]),
        ),
        ("resource_name", " ", builder().with_name(" ")),
        ("resource_name", "a\nb", builder().with_name("a\nb")),
        ("resource_name", &long[..80], builder().with_name(&long)),
        (
            "authorization_servers",
            "https://issuer.example",
            builder()
                .with_authorization_server("https://issuer.example")
                .with_authorization_server("https://issuer.example"),
        ),
        (
            "member",
            "resource",
            builder().with_member("resource", "https://other.example"),
        ),
        ("member", "", builder().with_member("", 1)),
        (
            "tos",
            "1",
            builder().with_member("tos", 1).with_member("tos", 2),
        ),
    ] {
        let error = error(builder);
        assert_eq!((error.field(), &*error.value), (field, value), "{error}");
    }
    for algorithm in ["", "none", "None", "HS256", "hs512", "ES 256"] {
        let error = error(builder().with_dpop_algorithms(["ES256", algorithm]));
        assert_eq!(error.field(), "dpop_signing_alg_values_supported");
        assert_eq!(error.value, algorithm);
    }
    let unwritable = std::collections::BTreeMap::from([(vec![1], 1)]);
    let error = error(builder().with_member("x", unwritable));
    assert_eq!((error.field(), error.rule()), ("x", "a value in JSON"));
}

#[tokio::test]
async fn get_answers_with_the_document() {
    let (parts, body) = ask(Method::GET).await;
    assert_eq!(parts.status, 200);
    assert_eq!(parts.headers["content-type"], "application/json");
    assert_eq!(parts.headers["cache-control"], "public, max-age=3600");
    assert_eq!(parts.headers["content-length"], body.len().to_string());
    let document: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(document["resource"], "https://api.example/v1");
}

/// RFC 9110 §9.3.2.
#[tokio::test]
async fn head_answers_with_the_headers_of_get() {
    let (get, document) = ask(Method::GET).await;
    let (head, body) = ask(Method::HEAD).await;
    assert_eq!((head.status, head.headers), (get.status, get.headers));
    assert!(body.is_empty() && !document.is_empty());
}

#[tokio::test]
async fn other_method_is_answered_with_those_allowed() {
    for method in [Method::POST, Method::OPTIONS, Method::DELETE] {
        let (parts, body) = ask(method).await;
        assert_eq!(parts.status, 405);
        assert_eq!(parts.headers["allow"], "GET, HEAD");
        assert!(body.is_empty());
    }
}

#[test]
fn caches_keep_it_as_long_as_set() {
    let metadata = builder().with_max_age(Duration::from_millis(90_900));
    let metadata = metadata.build().expect("a document");
    let response = metadata.answer(&Method::GET);
    assert_eq!(response.headers()["cache-control"], "public, max-age=90");
}
