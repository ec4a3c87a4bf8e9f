//! Refusals as gRPC clients see them: trailers-only answers.

mod support;

use http::{HeaderMap, Request};
use support::{Answer, Body, World, admin, license};
use tower_api_key::{License, Seats, Timestamp};

fn call(content_type: &str) -> http::request::Builder {
    Request::post("/helloworld.Greeter/SayHello").header("content-type", content_type)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers[name].to_str().expect("ASCII")
}

#[track_caller]
fn trailers_only(answer: &Answer, status: &str, code: &str, content_type: &str) {
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_empty());
    assert_eq!(text(&answer.headers, "grpc-status"), status);
    assert_eq!(text(&answer.headers, "error-code"), code);
    assert_eq!(text(&answer.headers, "content-type"), content_type);
    assert_eq!(
        answer.denial.as_ref().expect("a denial").code().as_str(),
        code
    );
}

#[tokio::test]
async fn every_refusal_has_its_grpc_status() {
    let world = World::new().await;
    let key = world.key(&["lino"]).await;
    let send = async |request: http::request::Builder| {
        world
            .send(request.body(Body::default()).expect("valid"))
            .await
    };
    let grpc = "application/grpc";
    trailers_only(&send(call(grpc)).await, "16", "missing_credential", grpc);
    let invalid = call(grpc).header("x-api-key", "nonsense");
    trailers_only(&send(invalid).await, "16", "invalid_key", grpc);
    let missing = call(grpc).header("authorization", format!("Bearer {}", key.text.expose()));
    trailers_only(&send(missing).await, "7", "module_access_missing", grpc);
    let twice = call(grpc).header("x-api-key", "a").header("x-api-key", "b");
    trailers_only(&send(twice).await, "3", "multiple_credentials", grpc);
}

#[tokio::test]
async fn the_content_type_is_echoed_in_all_its_forms() {
    let world = World::new().await;
    for content_type in [
        "application/grpc+proto",
        "application/grpc;x=y",
        "Application/GRPC-Web",
    ] {
        let request = call(content_type).body(Body::default()).expect("valid");
        trailers_only(
            &world.send(request).await,
            "16",
            "missing_credential",
            content_type,
        );
    }
    let request = call("application/json")
        .body(Body::default())
        .expect("valid");
    world
        .send(request)
        .await
        .refused(401, "missing_credential", "API Key is missing or invalid.");
}

#[tokio::test]
async fn the_message_is_the_seeds_text() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let end = Timestamp::from_unix_seconds(0);
    let over = License::new(license("launcher"), Seats::Limited(2)).with_valid_until(Some(end));
    world
        .manager
        .set_license(over, &admin())
        .await
        .expect("set");
    let request = call("application/grpc").header("x-api-key", key.text.expose());
    let answer = world
        .send(request.body(Body::default()).expect("valid"))
        .await;
    trailers_only(&answer, "7", "license_expired", "application/grpc");
    assert_eq!(
        text(&answer.headers, "grpc-message"),
        "Required license has expired."
    );
}

#[tokio::test]
async fn a_granted_call_is_kept_out_of_shared_caches_too() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let request = call("application/grpc").header("x-api-key", key.text.expose());
    let answer = world
        .send(request.body(Body::default()).expect("valid"))
        .await;
    answer.granted();
    assert_eq!(answer.headers["cache-control"], "private");
    assert!(
        answer.headers.contains_key("vary"),
        "a content type is the client's to choose"
    );
}

#[cfg(feature = "tonic")]
#[test]
fn a_denial_becomes_the_same_status_in_tonic() {
    use tower_api_key::{Denial, DenialCode, Tier};
    let tier = Tier::new("standard").expect("a tier");
    let wait = std::time::Duration::from_millis(1_500);
    let denial = Denial::new(DenialCode::RateLimited).with_quota(tier, "hour", wait);
    let status = tonic::Status::from(denial);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(
        status.metadata().get("error-code").expect("a code"),
        "rate_limited"
    );
    assert_eq!(status.metadata().get("retry-after").expect("seconds"), "2");
    assert_eq!(
        tonic::Status::from(Denial::new(DenialCode::StoreUnavailable)).code(),
        tonic::Code::Unavailable
    );
}
