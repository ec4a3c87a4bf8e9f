//! Refusals as gRPC clients see them: trailers-only answers.

mod support;

use std::time::Duration;

use http::{HeaderMap, Request};
use support::{
    Answer, World, admin, answer,
    faults::{Fault, Faulty},
    license,
};
use tower::Layer;
use tower_api_key::{
    Allowance, Check, DenialCode, License, Now, RateLimiter, Refusal, RequireModule, Seats,
    Subject, Tier, Timestamp,
};

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
    let grpc = "application/grpc";
    trailers_only(
        &world.send(call(grpc)).await,
        "16",
        "missing_credential",
        grpc,
    );
    let invalid = call(grpc).header("x-api-key", "nonsense");
    trailers_only(&world.send(invalid).await, "16", "invalid_key", grpc);
    let missing = call(grpc).header("authorization", format!("Bearer {}", key.text.expose()));
    trailers_only(
        &world.send(missing).await,
        "7",
        "module_access_missing",
        grpc,
    );
    let twice = call(grpc).header("x-api-key", "a").header("x-api-key", "b");
    trailers_only(&world.send(twice).await, "3", "multiple_credentials", grpc);
}

#[test]
fn every_code_has_its_two_statuses() {
    use DenialCode::*;
    let table = [
        (MissingCredential, 401, 16),
        (InvalidKey, 401, 16),
        (ExpiredKey, 401, 16),
        (RevokedKey, 401, 16),
        (DisabledKey, 401, 16),
        (WrongEnvironment, 401, 16),
        (InvalidDpopProof, 401, 16),
        (UseDpopNonce, 401, 16),
        (MultipleCredentials, 400, 3),
        (AmbiguousPath, 400, 3),
        (ModuleAccessMissing, 403, 7),
        (LicenseNotReserved, 403, 7),
        (LicenseExpired, 403, 7),
        (LicenseLimitReached, 403, 7),
        (InsufficientScope, 403, 7),
        (AddressNotAllowed, 403, 7),
        (RouteNotMapped, 403, 7),
        (RateLimited, 429, 8),
        (StoreUnavailable, 503, 14),
        (LedgerUnavailable, 503, 14),
        (LimiterUnavailable, 503, 14),
    ];
    for (code, status, grpc_status) in table {
        assert_eq!(code.status(), status, "{code}");
        assert_eq!(code.grpc_status(), grpc_status, "{code}");
    }
    // `DenialCode` has no list of its variants: each has one row there, with a title and more.
    let rows = include_str!("../src/denial/code.rs").lines();
    let rows =
        rows.filter(|line| line.trim_start().starts_with("Self::") && line.ends_with("=> ("));
    assert_eq!(table.len(), rows.count(), "a code is missing here");
}

/// Refuses each request.
struct NoMore;

impl RateLimiter for NoMore {
    fn check(&self, _: Subject<'_>, _: Now) -> Check {
        Check::Done(Allowance::Refused(Refusal::new(
            Tier::new("standard").expect("a tier"),
            "hour",
            Duration::from_millis(1_500),
        )))
    }
}

#[tokio::test]
async fn used_up_quota_is_resource_exhausted_and_says_how_long() {
    let world = World::with(|builder| builder.with_rate_limiter(NoMore)).await;
    let key = world.key(&["launcher"]).await;
    let request = call("application/grpc").header("x-api-key", key.text.expose());
    let answer = world.send(request).await;
    trailers_only(&answer, "8", "rate_limited", "application/grpc");
    assert_eq!(text(&answer.headers, "retry-after"), "2");
    assert_eq!(
        text(&answer.headers, "grpc-message"),
        "Too many requests for tier standard, quota hour."
    );
}

#[tokio::test]
async fn outage_is_unavailable_and_says_how_long() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    for (faults, code) in [
        (&faulty.store, "store_unavailable"),
        (&faulty.ledger, "ledger_unavailable"),
    ] {
        faults.set(Fault::Down);
        let request = call("application/grpc").header("x-api-key", key.text.expose());
        let answer = answer(faulty.service.clone(), request).await;
        trailers_only(&answer, "14", code, "application/grpc");
        assert_eq!(text(&answer.headers, "retry-after"), "1");
        faults.set(Fault::None);
    }
}

#[tokio::test]
async fn percent_sign_in_the_message_is_encoded() {
    let world = World::new().await;
    let request = Request::post("/helloworld.Greeter%2fSayHello");
    let request = request.header("content-type", "application/grpc");
    let answer = world.send(request).await;
    trailers_only(&answer, "3", "ambiguous_path", "application/grpc");
    assert_eq!(
        text(&answer.headers, "grpc-message"),
        "The path can be read in more than one way: it holds an encoded slash (`%252f`)."
    );
}

#[tokio::test]
async fn guard_that_no_layer_runs_before_is_an_internal_error() {
    let world = World::new().await;
    let guard = RequireModule::new(&world.layer, "launcher").expect("a module");
    let key = world.key(&["launcher"]).await;
    let request = call("application/grpc").header("x-api-key", key.text.expose());
    let answer = answer(guard.layer(world.inner.clone()), request).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_empty());
    assert_eq!(text(&answer.headers, "grpc-status"), "13");
    assert_eq!(text(&answer.headers, "error-code"), "not_gated");
    assert_eq!(text(&answer.headers, "content-type"), "application/grpc");
    assert_eq!(
        text(&answer.headers, "grpc-message"),
        "This route is not guarded. Is `ApiKeyLayer` enabled?"
    );
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn the_content_type_is_echoed_in_all_its_forms() {
    let world = World::new().await;
    for content_type in [
        "application/grpc+proto",
        "application/grpc;x=y",
        "Application/GRPC-Web",
    ] {
        let request = call(content_type);
        trailers_only(
            &world.send(request).await,
            "16",
            "missing_credential",
            content_type,
        );
    }
    let request = call("application/json");
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
    let answer = world.send(request).await;
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
    let answer = world.send(request).await;
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
    use tower_api_key::Denial;
    let tier = Tier::new("standard").expect("a tier");
    let wait = Duration::from_millis(1_500);
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
