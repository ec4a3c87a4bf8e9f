//! Bad input: it is refused with the name of the field, and nothing is changed.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::support::{Answer, World, request};

/// A request with any bytes for its body.
fn raw(world: &World, method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    request(method, path)
        .header("x-api-key", &world.administrator.text)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// Sends it and tells that nothing has changed.
async fn send(world: &World, request: Request<Body>) -> Answer {
    let before = world.everything().await;
    let answer = world.send(request).await;
    assert_eq!(world.everything().await, before);
    answer
}

/// A value that the field of this name must not have, in a new key and in a patch alike.
fn bad_values() -> Vec<(&'static str, Value, u16)> {
    let many = |count: usize, one: &dyn Fn(usize) -> String| -> Value {
        (0..count).map(one).collect::<Vec<_>>().into()
    };
    vec![
        ("name", json!(7), 400),
        ("name", json!(null), 400),
        ("name", json!(["a"]), 400),
        ("name", json!(""), 422),
        ("name", json!(" \u{a0}\u{2003}"), 422),
        ("name", json!("é".repeat(201)), 422),
        ("name", json!("a\nb"), 422),
        ("name", json!("a\u{7f}"), 422),
        ("name", json!("a\u{85}"), 422),
        ("name", json!("\u{0}"), 422),
        ("scopes", json!("read:a"), 400),
        ("scopes", json!(null), 400),
        ("scopes[1]", json!(["a", "b c"]), 400),
        ("scopes[0]", json!(["a\""]), 400),
        ("scopes[0]", json!([""]), 400),
        ("scopes[0]", json!(["a".repeat(201)]), 400),
        ("scopes", many(201, &|n| format!("s{n}")), 422),
        ("scopes", many(201, &|_| "s".into()), 422),
        ("tier", json!(1), 400),
        ("tier", json!(""), 400),
        ("tier", json!("a b"), 400),
        ("tier", json!(".."), 400),
        ("tier", json!("t".repeat(65)), 400),
        ("owner", json!(false), 400),
        ("owner", json!(""), 422),
        ("owner", json!("a\u{1b}"), 422),
        ("owner", json!("o".repeat(201)), 422),
        ("expires_at", json!(1_795_248_000), 400),
        ("expires_at", json!(""), 400),
        ("expires_at", json!("tomorrow"), 400),
        ("expires_at", json!("2026-13-01"), 400),
        ("expires_at", json!("2999-02-29"), 400),
        ("expires_at", json!("2999-01-01T00:00:00"), 400),
        ("expires_at", json!("2999-01-01T25:00:00Z"), 400),
        ("allowed_addresses", json!("10.0.0.1"), 400),
        ("allowed_addresses[0]", json!(["10.0.0.256"]), 400),
        ("allowed_addresses[0]", json!(["10.0.0.0/33"]), 400),
        ("allowed_addresses[1]", json!(["::1", "example.com"]), 400),
        (
            "allowed_addresses",
            many(101, &|n| format!("10.0.0.{n}")),
            422,
        ),
        ("administrator", json!("yes"), 400),
        ("administrator", json!(1), 400),
        ("administrator", json!(null), 400),
    ]
}

/// Of what a field is refused with: `scopes[1]` is in `scopes`.
fn outer(field: &str) -> &str {
    field.split('[').next().unwrap()
}

fn code(status: u16) -> &'static str {
    if status == 400 {
        "invalid_request"
    } else {
        "invalid_field"
    }
}

#[tokio::test]
async fn new_key_with_a_bad_value_is_refused_by_its_field() {
    let world = World::new().await;
    let more = [
        ("environment", json!("Live"), 400),
        ("environment", json!(""), 400),
        ("environment", json!("1a"), 400),
        ("environment", json!("a".repeat(17)), 400),
        ("environment", json!(null), 400),
        ("modules", json!("launcher"), 400),
        ("modules[1]", json!(["launcher", "a b"]), 400),
        ("modules[0]", json!([""]), 400),
        ("modules[0]", json!([null]), 400),
        (
            "modules",
            (0..=1_000)
                .map(|n| format!("m{n}"))
                .collect::<Vec<_>>()
                .into(),
            422,
        ),
        // Its first instant without the key would be now, or past.
        ("expires_at", json!(world.clock_in(0).to_string()), 422),
        ("expires_at", json!("1999-12-31"), 422),
    ];
    for (field, value, status) in bad_values().into_iter().chain(more) {
        let mut body = json!({"name": "a"});
        body[outer(field)] = value;
        let answer = send(&world, raw(&world, "POST", "/keys", body.to_string())).await;
        answer.refused(status, code(status)).blames(field);
    }
}

#[tokio::test]
async fn patch_with_a_bad_value_is_refused_by_its_field() {
    let world = World::new().await;
    let more = [
        ("enabled", json!("false"), 400),
        ("enabled", json!(0), 400),
        ("enabled", json!(null), 400),
    ];
    for (field, value, status) in bad_values().into_iter().chain(more) {
        // Beside a change that would be made.
        let body = json!({outer(field): value, "tier": "premium"});
        let body = if outer(field) == "tier" {
            json!({"tier": value, "name": "b"})
        } else {
            body
        };
        let request = raw(&world, "PATCH", "/keys/outsider", body.to_string());
        let answer = send(&world, request).await;
        answer.refused(status, code(status)).blames(field);
    }
}

#[tokio::test]
async fn regeneration_with_a_bad_grace_is_refused() {
    let world = World::new().await;
    for (value, status) in [
        (json!(-1), 400),
        (json!("60"), 400),
        (json!(1.5), 400),
        (json!(2_592_001), 422),
        (json!(u64::MAX), 422),
    ] {
        let body = json!({"grace_seconds": value}).to_string();
        let request = raw(&world, "POST", "/keys/outsider/regenerate", body);
        let answer = send(&world, request).await;
        answer.refused(status, code(status)).blames("grace_seconds");
    }
}

/// Every call with a body, and one that it takes.
fn calls() -> [(&'static str, &'static str, Value); 3] {
    [
        ("POST", "/keys", json!({"name": "a"})),
        ("PATCH", "/keys/outsider", json!({"name": "b"})),
        (
            "POST",
            "/keys/outsider/regenerate",
            json!({"grace_seconds": 1}),
        ),
    ]
}

#[tokio::test]
async fn unknown_field_is_named() {
    let world = World::new().await;
    for (method, path, body) in calls() {
        for field in ["id", "key", "revision", "digest", "Name", "constructor"] {
            let mut body = body.clone();
            body[field] = json!(1);
            let answer = send(&world, raw(&world, method, path, body.to_string())).await;
            answer.refused(400, "invalid_request").blames(field);
        }
    }
    let body = json!({"name": "a", "modules": ["open"]}).to_string();
    let answer = send(&world, raw(&world, "PATCH", "/keys/outsider", body)).await;
    answer.refused(400, "invalid_request").blames("modules");
}

#[tokio::test]
async fn field_that_is_missing_or_there_twice_is_named() {
    let world = World::new().await;
    let answer = send(&world, raw(&world, "POST", "/keys", "{}")).await;
    answer.refused(400, "invalid_request").blames("name");
    for (method, path, body) in calls() {
        let field = body.as_object().unwrap().keys().next().unwrap().clone();
        let body = body.to_string();
        let inside = body.trim_matches(['{', '}']);
        let twice = format!("{{{inside},{inside}}}");
        let answer = send(&world, raw(&world, method, path, twice)).await;
        answer.refused(400, "invalid_request").blames(&field);
    }
}

#[tokio::test]
async fn body_that_is_no_json_object_is_refused() {
    let world = World::new().await;
    for (method, path, body) in calls() {
        let whole = body.to_string();
        for body in [
            &*format!("{whole}{whole}"),
            &*format!("{whole} x"),
            &whole[..whole.len() - 1],
            " ",
            "[]",
            "7",
            "name=a",
            "\"a\"",
            "{\"name\": NaN}",
            "{'name': 'a'}",
        ] {
            let answer = send(&world, raw(&world, method, path, body.to_owned())).await;
            answer.refused(400, "invalid_request");
        }
        // As if it was left out, where it may be.
        if !path.ends_with("regenerate") {
            for body in ["", "null"] {
                let answer = send(&world, raw(&world, method, path, body)).await;
                answer.refused(400, "invalid_request");
            }
        }
        let answer = send(
            &world,
            raw(&world, method, path, b"{\"name\": \"\xff\"}".to_vec()),
        )
        .await;
        answer.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn body_in_another_type_is_refused() {
    let world = World::new().await;
    for (method, path, body) in calls() {
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/merge-patch+json",
            "application/jsonp",
            "",
        ] {
            let request = request(method, path)
                .header("x-api-key", &world.administrator.text)
                .header("content-type", content_type)
                .body(Body::from(body.to_string()));
            let answer = send(&world, request.unwrap()).await;
            answer
                .refused(415, "unsupported_media_type")
                .blames("content-type");
        }
        for content_type in ["Application/JSON; charset=utf-8", "application/json"] {
            let request = request(method, path)
                .header("x-api-key", &world.administrator.text)
                .header("content-type", content_type)
                .body(Body::from(body.to_string()));
            assert!(world.send(request.unwrap()).await.status.is_success());
        }
    }
    // Nothing says that this is JSON.
    for (method, path) in [("POST", "/keys"), ("PATCH", "/keys/outsider")] {
        let request = request(method, path)
            .header("x-api-key", &world.administrator.text)
            .body(Body::from("{\"name\": \"a\"}"));
        let answer = send(&world, request.unwrap()).await;
        answer.refused(415, "unsupported_media_type");
    }
}

#[tokio::test]
async fn body_over_64_kib_is_refused_and_one_of_64_kib_is_read() {
    let world = World::new().await;
    for (method, path, body) in calls() {
        let body = body.to_string();
        let padded = |length: usize| body.clone() + &" ".repeat(length - body.len());
        // Its length is known, or is found out on the way.
        let streamed = || {
            let parts = padded(65_537).into_bytes();
            let parts: Vec<_> = parts.chunks(1_000).map(<[u8]>::to_vec).collect();
            let parts = parts.into_iter().map(Ok::<_, std::io::Error>);
            Body::from_stream(futures_util::stream::iter(parts))
        };
        let declared = request(method, path)
            .header("x-api-key", &world.administrator.text)
            .header("content-type", "application/json")
            .header("content-length", "65537")
            .body(Body::from_stream(futures_util::stream::pending::<
                Result<Vec<u8>, std::io::Error>,
            >()));
        for request in [
            raw(&world, method, path, padded(65_537)),
            raw(&world, method, path, streamed()),
            declared.unwrap(),
        ] {
            let answer = send(&world, request).await;
            answer.refused(413, "payload_too_large");
        }
        let answer = world.send(raw(&world, method, path, padded(65_536))).await;
        assert!(answer.status.is_success());
    }
}

#[tokio::test]
async fn body_that_breaks_off_is_refused() {
    let world = World::new().await;
    for (method, path, _) in calls() {
        let parts = [
            Ok("{"),
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        ];
        let body = Body::from_stream(futures_util::stream::iter(parts));
        let answer = send(&world, raw(&world, method, path, body)).await;
        answer.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn bad_parameters_of_the_list_are_refused_by_their_name() {
    let world = World::new().await;
    let long = "q".repeat(201);
    let long = format!("q={long}");
    for (query, status, field) in [
        ("limit=0", 422, "limit"),
        ("limit=501", 422, "limit"),
        ("limit=-1", 400, "limit"),
        ("limit=", 400, "limit"),
        ("limit=ten", 400, "limit"),
        ("limit=99999999999999999999", 400, "limit"),
        ("limit=1&limit=1", 400, "limit"),
        ("cursor=", 400, "cursor"),
        ("cursor=a%20b", 400, "cursor"),
        ("cursor=..", 400, "cursor"),
        ("cursor=%00", 400, "cursor"),
        ("cursor=%ff", 400, "cursor"),
        ("q=a&q=b", 400, "q"),
        (&long, 422, "q"),
        ("Limit=1", 400, "Limit"),
        ("offset=1", 400, "offset"),
    ] {
        let path = format!("/keys?{query}");
        let answer = send(&world, raw(&world, "GET", &path, "")).await;
        answer.refused(status, code(status)).blames(field);
    }
}

#[tokio::test]
async fn parameters_are_refused_where_there_are_none() {
    let world = World::new().await;
    for (method, path, body) in [
        ("POST", "/keys", "{\"name\": \"a\"}"),
        ("GET", "/keys/outsider", ""),
        ("PATCH", "/keys/outsider", "{\"name\": \"a\"}"),
        ("DELETE", "/keys/outsider", ""),
        ("POST", "/keys/outsider/regenerate", "{}"),
        ("POST", "/keys/outsider/revoke", ""),
        ("PUT", "/keys/outsider/modules/launcher", ""),
        ("DELETE", "/keys/outsider/modules/open", ""),
    ] {
        let path = format!("{path}?grace=1");
        let answer = send(&world, raw(&world, method, &path, body)).await;
        answer.refused(400, "invalid_request").blames("grace");
    }
}

#[tokio::test]
async fn what_is_no_name_is_not_found() {
    let world = World::new().await;
    for path in ["/keys/a%20b", "/keys/%ff", "/keys/ä", "/keys/nobody"] {
        let path = path.replace('ä', "%C3%A4");
        for method in ["GET", "DELETE"] {
            let answer = send(&world, raw(&world, method, &path, "{}")).await;
            answer.refused(404, "not_found");
        }
    }
    for path in ["/keys/outsider/modules/a%20b", "/keys/outsider/modules/%ff"] {
        for method in ["PUT", "DELETE"] {
            let answer = send(&world, raw(&world, method, path, "{}")).await;
            answer.refused(404, "not_found");
        }
    }
}

#[tokio::test]
async fn key_with_a_module_that_nobody_knows_is_not_made() {
    let world = World::new().await;
    let body = json!({"name": "a", "modules": ["open", "unknown"]}).to_string();
    let answer = send(&world, raw(&world, "POST", "/keys", body)).await;
    answer.refused(404, "not_found").blames("module");
}

/// A secret in the wrong place is not sent back, neither whole nor in part.
#[tokio::test]
async fn key_that_went_astray_is_not_repeated() {
    let world = World::new().await;
    let key = world.outsider.text.clone();
    let body = key.rsplit('_').next().unwrap().to_owned();
    let bodies = [
        json!(key),
        json!({ "name": "a", &key: 1 }),
        json!({ "name": {&key: 1} }),
        json!({"name": "a", "tier": format!("{key}!")}),
        json!({"name": "a", "environment": key}),
        json!({"name": "a", "modules": [key]}),
        json!({"name": "a", "expires_at": key}),
        json!({"name": "a", "allowed_addresses": [key]}),
        json!({"name": "a", "administrator": key}),
    ];
    let mut answers = Vec::new();
    for sent in bodies {
        let sent = raw(&world, "POST", "/keys", sent.to_string());
        answers.push(send(&world, sent).await);
    }
    for path in [
        format!("/keys/{key}"),
        format!("/keys/{key}!"),
        format!("/keys?limit={key}"),
        format!("/keys?{key}=1"),
        format!("/licenses/{key}/reservations"),
        format!("/{key}"),
    ] {
        answers.push(send(&world, raw(&world, "GET", &path, "")).await);
    }
    for answer in answers {
        assert!(answer.status.is_client_error());
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains(&body[..8]), "{text}");
    }
}

#[tokio::test]
async fn call_that_takes_no_body_refuses_one() {
    let world = World::new().await;
    for (method, path) in [
        ("POST", "/keys/outsider/revoke"),
        ("PUT", "/keys/outsider/modules/launcher"),
        ("DELETE", "/keys/outsider/modules/open"),
        ("DELETE", "/keys/outsider"),
    ] {
        let large = " ".repeat(65_537);
        for (body, status) in [(r#"{"a": 1}"#, 400), ("[]", 400), ("x", 400), (&large, 413)] {
            let request = raw(&world, method, path, body.to_owned());
            send(&world, request).await.is(status);
        }
        let text = request(method, path)
            .header("x-api-key", &world.administrator.text)
            .header("content-type", "text/plain");
        let answer = send(&world, text.body("{}".into()).unwrap()).await;
        answer.refused(415, "unsupported_media_type");
        let answer = world.send(raw(&world, method, path, "{}")).await;
        assert!(
            answer.status.is_success() || answer.status == 409,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn document_takes_no_parameters() {
    let world = World::new().await;
    let answer = world.administer("GET", "/openapi.json?x=1", None).await;
    answer.refused(400, "invalid_request").blames("x");
}
