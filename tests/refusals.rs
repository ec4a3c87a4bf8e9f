//! Every row of the refusal table, through the whole layer.

mod support;

use std::{net::SocketAddr, time::Duration};

use http::Request;
use support::{Body, World, admin, get, license, module};
use tower_api_key::{
    AddressRange, Environment, KeyPatch, License, NewKey, PeerAddress, Scope, Seats, Timestamp,
};

const BEARER: &str = "Bearer realm=\"api\"";
const BEARER_INVALID: &str = "Bearer realm=\"api\", error=\"invalid_token\"";
const API_KEY: &str = "ApiKey realm=\"api\", header=\"X-API-Key\"";
const INVALID: &str = "API Key is missing or invalid.";

#[tokio::test]
async fn nothing_sent_is_missing_credential() {
    let world = World::new().await;
    let answer = world.anonymous("/engines").await;
    answer.refused(401, "missing_credential", INVALID);
    assert_eq!(
        answer.challenges(),
        [BEARER, API_KEY],
        "no error where nothing was sent"
    );
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn a_foreign_scheme_counts_as_nothing() {
    let world = World::new().await;
    let request = get("/engines")
        .header("authorization", "Basic dTpw")
        .body(Body::default());
    let answer = world.send(request.expect("valid")).await;
    answer.refused(401, "missing_credential", INVALID);
}

#[tokio::test]
async fn malformed_and_unknown_keys_get_one_and_the_same_answer() {
    let world = World::new().await;
    let known = world.key(&["launcher"]).await;
    let unknown = World::new().await.key(&[]).await;
    let malformed = world.get("/engines", "x").await;
    let unknown = world.get("/engines", unknown.text.expose()).await;
    malformed.refused(401, "invalid_key", INVALID);
    assert_eq!(malformed.body, unknown.body);
    assert_eq!(malformed.headers, unknown.headers);
    assert_eq!(malformed.challenges(), [BEARER_INVALID, API_KEY]);
    world.get("/engines", known.text.expose()).await.granted();
}

#[tokio::test]
async fn a_key_without_the_module_is_told_which() {
    let world = World::new().await;
    let key = world.key(&["lino"]).await;
    let answer = world.get("/engines", key.text.expose()).await;
    let detail = "API Key does not have access to required module resource";
    answer.refused(403, "module_access_missing", detail);
    assert_eq!(answer.json()["module"], "launcher");
    assert!(answer.challenges().is_empty());
}

#[tokio::test]
async fn a_module_of_an_unknown_license_is_not_reserved() {
    let world = World::new().await;
    let key = world.key(&["lost"]).await;
    let answer = world.get("/lost", key.text.expose()).await;
    let detail = "Required license is not reserved for this API Key.";
    answer.refused(403, "license_not_reserved", detail);
    assert_eq!(answer.json()["license"], "nowhere");
}

#[tokio::test]
async fn a_license_past_its_end_is_expired_at_that_very_instant() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let end: Timestamp = "2026-01-01T00:10:00Z".parse().expect("an instant");
    let renewed = License::new(license("launcher"), Seats::Limited(2)).with_valid_until(Some(end));
    world
        .manager
        .set_license(renewed, &admin())
        .await
        .expect("set");
    world
        .clock
        .advance(Duration::from_secs(600) - Duration::from_micros(1));
    world.get("/engines", key.text.expose()).await.granted();
    world.clock.advance(Duration::from_micros(1));
    let answer = world.get("/engines", key.text.expose()).await;
    answer.refused(403, "license_expired", "Required license has expired.");
    assert_eq!(answer.json()["valid_until"], "2026-01-01T00:10:00Z");
    assert_eq!(answer.json()["license"], "launcher");
}

#[tokio::test]
async fn limited_edition_expires_every_license() {
    let world = World::new().await;
    let key = world.key(&["launcher", "free"]).await;
    world
        .manager
        .set_limited_edition(true, &admin())
        .await
        .expect("set");
    let answer = world.get("/engines", key.text.expose()).await;
    answer.refused(403, "license_expired", "Required license has expired.");
    world.get("/free", key.text.expose()).await.granted();
    world
        .manager
        .set_limited_edition(false, &admin())
        .await
        .expect("set");
    world.get("/engines", key.text.expose()).await.granted();
}

#[tokio::test]
async fn one_key_too_many_has_reached_the_limit() {
    let world = World::new().await;
    let (first, second) = (world.key(&["lino"]).await, world.key(&["lino"]).await);
    world
        .get("/lino/shows", first.text.expose())
        .await
        .granted();
    let answer = world.get("/lino/shows", second.text.expose()).await;
    let detail = "License limit reached, cannot reserve additional licenses.";
    answer.refused(403, "license_limit_reached", detail);
    world
        .manager
        .delete(&first.key.record.id, &admin())
        .await
        .expect("deleted");
    world
        .get("/lino/shows", second.text.expose())
        .await
        .granted();
    world
        .get("/lino/shows", first.text.expose())
        .await
        .refused(401, "invalid_key", INVALID);
}

#[tokio::test]
async fn expired_key_is_refused_at_its_instant_and_named() {
    let world = World::new().await;
    let expiry: Timestamp = "2026-01-01T01:00:00Z".parse().expect("an instant");
    let new = NewKey::named("short")
        .with_modules([module("launcher")])
        .with_expires_at(expiry);
    let key = world.create(new).await;
    world
        .clock
        .advance(Duration::from_secs(3_600) - Duration::from_micros(1));
    world.get("/engines", key.text.expose()).await.granted();
    world.clock.advance(Duration::from_micros(1));
    let answer = world.get("/engines", key.text.expose()).await;
    answer.refused(401, "expired_key", "API Key has expired.");
    assert_eq!(answer.challenges(), [BEARER_INVALID, API_KEY]);
}

#[tokio::test]
async fn disabled_key_is_refused_until_it_is_enabled() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let id = &key.key.record.id;
    world.get("/engines", key.text.expose()).await.granted();
    world.manager.disable(id, &admin()).await.expect("disabled");
    let answer = world.get("/engines", key.text.expose()).await;
    answer.refused(401, "disabled_key", "API Key is disabled.");
    world.manager.enable(id, &admin()).await.expect("enabled");
    world.get("/engines", key.text.expose()).await.granted();
}

#[tokio::test]
async fn revoked_key_is_refused() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    world.get("/engines", key.text.expose()).await.granted();
    world
        .manager
        .revoke(&key.key.record.id, &admin())
        .await
        .expect("revoked");
    let answer = world.get("/engines", key.text.expose()).await;
    answer.refused(401, "revoked_key", "API Key has been revoked.");
}

#[tokio::test]
async fn key_of_another_environment_is_refused_where_environments_are_narrowed() {
    let world = World::with(|builder| builder.with_environments([Environment::live()])).await;
    let test = NewKey::named("test").with_environment(Environment::test());
    let key = world.create(test.with_modules([module("launcher")])).await;
    let answer = world.get("/engines", key.text.expose()).await;
    answer.refused(
        401,
        "wrong_environment",
        "API Key belongs to another environment.",
    );
    let anywhere = World::new().await;
    let test = NewKey::named("test").with_environment(Environment::test());
    let key = anywhere
        .create(test.with_modules([module("launcher")]))
        .await;
    anywhere.get("/engines", key.text.expose()).await.granted();
}

#[tokio::test]
async fn the_old_text_of_a_regenerated_key_is_invalid() {
    let world = World::new().await;
    let old = world.key(&["launcher"]).await;
    world.get("/engines", old.text.expose()).await.granted();
    let new = world
        .manager
        .regenerate(&old.key.record.id, None, &admin())
        .await
        .expect("new");
    world
        .get("/engines", old.text.expose())
        .await
        .refused(401, "invalid_key", INVALID);
    world.get("/engines", new.text.expose()).await.granted();
}

#[tokio::test]
async fn with_grace_both_texts_work_until_it_is_over() {
    let world = World::new().await;
    let old = world.key(&["launcher"]).await;
    let grace = Some(Duration::from_secs(60));
    let new = world
        .manager
        .regenerate(&old.key.record.id, grace, &admin())
        .await
        .expect("new");
    world
        .clock
        .advance(Duration::from_secs(60) - Duration::from_micros(1));
    world.get("/engines", old.text.expose()).await.granted();
    world.get("/engines", new.text.expose()).await.granted();
    world.clock.advance(Duration::from_micros(1));
    world
        .get("/engines", old.text.expose())
        .await
        .refused(401, "invalid_key", INVALID);
    world.get("/engines", new.text.expose()).await.granted();
}

#[tokio::test]
async fn two_credentials_are_refused_equal_ones_too() {
    let world = World::with(|builder| builder.with_query_parameter("api_key")).await;
    let key = world.key(&["launcher"]).await;
    let key = key.text.expose();
    let detail = "The request carries more than one credential.";
    let both = get("/engines")
        .header("x-api-key", key)
        .header("authorization", format!("Bearer {key}"));
    let twice = get("/engines")
        .header("x-api-key", key)
        .header("x-api-key", key);
    let query = Request::get(format!("/engines?api_key={key}&api_key={key}"));
    let mixed = Request::get(format!("/engines?api_key={key}")).header("x-api-key", key);
    for request in [both, twice, query, mixed] {
        let answer = world.send(request).await;
        answer.refused(400, "multiple_credentials", detail);
    }
}

#[tokio::test]
async fn the_first_of_two_credentials_can_be_taken() {
    let world = World::with(|builder| builder.with_first_of_many(true)).await;
    let key = world.key(&["launcher"]).await;
    let request = get("/engines")
        .header("authorization", "Bearer nonsense")
        .header("x-api-key", key.text.expose());
    let answer = world.send(request).await;
    let seen = answer.granted();
    assert!(
        !seen.headers.contains_key("authorization"),
        "the other one is removed too"
    );
}

#[tokio::test]
async fn ambiguous_paths_are_refused() {
    let world = World::new().await;
    let key = world.key(&["launcher", "lino"]).await;
    for path in [
        "/lino//x",
        "/lino/./x",
        "/lino/../engines",
        "/lino/%2e%2E/engines",
        "/lino/.%2e",
        "/lino/a%2fb",
        "/lino/a%5Cb",
        "/lino/a%00b",
        "/health/%2e%2e/engines",
    ] {
        let answer = world.get(path, key.text.expose()).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.code(), "ambiguous_path", "{path}");
        assert!(answer.seen.is_none());
    }
    let detail = "The path can be read in more than one way: it holds an empty segment (`//`).";
    world
        .get("/lino//x", key.text.expose())
        .await
        .refused(400, "ambiguous_path", detail);
}

#[tokio::test]
async fn an_ambiguous_form_can_be_admitted() {
    use tower_api_key::PathForm;
    let world = World::with(|b| b.with_path_form_admitted(PathForm::EncodedSlash)).await;
    let key = world.key(&["lino"]).await;
    world.get("/lino/a%2fb", key.text.expose()).await.granted();
    assert_eq!(
        world.get("/lino/a%2f..", key.text.expose()).await.status,
        400
    );
}

#[tokio::test]
async fn a_key_without_the_scopes_is_told_which() {
    let world = World::new().await;
    let scope = |name| Scope::new(name).expect("a scope");
    let new = NewKey::named("scoped").with_modules([module("launcher")]);
    let key = world.create(new.with_scopes([scope("read:a")])).await;
    let answer = world.get("/scoped", key.text.expose()).await;
    answer.refused(403, "insufficient_scope", "API Key lacks a required scope.");
    assert_eq!(
        answer.json()["required_scopes"],
        serde_json::json!(["read:a", "write:b"])
    );
    assert_eq!(
        answer.json()["missing_scopes"],
        serde_json::json!(["write:b"])
    );
    let challenge = format!("{BEARER}, error=\"insufficient_scope\", scope=\"read:a write:b\"");
    assert_eq!(answer.challenges(), [challenge]);
    let patch = KeyPatch::new().with_scopes([scope("read:a"), scope("write:b")]);
    world
        .manager
        .update(&key.key.record.id, &patch, &admin())
        .await
        .expect("patched");
    world.get("/scoped", key.text.expose()).await.granted();
}

#[tokio::test]
async fn a_key_is_refused_outside_its_addresses_and_where_none_is_known() {
    let world = World::new().await;
    let range: AddressRange = "192.0.2.0/24".parse().expect("a range");
    let new = NewKey::named("bound").with_modules([module("launcher")]);
    let key = world.create(new.with_allowed_addresses([range])).await;
    let from = |peer: Option<&str>| {
        let mut request = get("/engines")
            .header("x-api-key", key.text.expose())
            .body(Body::default());
        let request = request.as_mut().expect("valid");
        if let Some(peer) = peer {
            let peer: SocketAddr = peer.parse().expect("an address");
            request.extensions_mut().insert(PeerAddress::from(peer));
        }
        std::mem::take(request)
    };
    let detail = "API Key may not be used from this address.";
    world.send(from(Some("192.0.2.7:1"))).await.granted();
    world
        .send(from(Some("[::ffff:192.0.2.7]:1")))
        .await
        .granted();
    world
        .send(from(Some("192.0.3.7:1")))
        .await
        .refused(403, "address_not_allowed", detail);
    world
        .send(from(None))
        .await
        .refused(403, "address_not_allowed", detail);
}

#[tokio::test]
async fn a_route_without_an_entry_is_denied_to_keys_and_unknown_to_others() {
    let world = World::new().await;
    let key = world.key(&["launcher"]).await;
    let answer = world.get("/elsewhere", key.text.expose()).await;
    answer.refused(403, "route_not_mapped", "No access rule covers this route.");
    let other = Request::post("/engines").header("x-api-key", key.text.expose());
    let answer = world.send(other).await;
    assert_eq!(
        answer.code(),
        "route_not_mapped",
        "an entry covers its methods only"
    );
    world
        .anonymous("/elsewhere")
        .await
        .refused(401, "missing_credential", INVALID);
}

#[tokio::test]
async fn an_invalid_credential_is_no_anonymous_caller() {
    let world = World::new().await;
    world.anonymous("/realms").await.granted();
    world
        .get("/realms", "nonsense")
        .await
        .refused(401, "invalid_key", INVALID);
    let key = world.key(&[]).await;
    let answer = world.get("/realms", key.text.expose()).await;
    assert_eq!(
        answer.code(),
        "insufficient_scope",
        "scopes are asked of who sends a key"
    );
}

#[tokio::test]
async fn what_is_refused_first_is_said() {
    let world = World::new().await;
    let key = world.key(&[]).await;
    // Neither module nor scopes: the module is said, as it comes first.
    let answer = world.get("/scoped", key.text.expose()).await;
    assert_eq!(answer.code(), "module_access_missing");
    // Scopes before licenses.
    world
        .manager
        .set_limited_edition(true, &admin())
        .await
        .expect("set");
    world
        .manager
        .assign(&key.key.record.id, &[module("launcher")], &admin())
        .await
        .expect("set");
    assert_eq!(
        world.get("/scoped", key.text.expose()).await.code(),
        "insufficient_scope"
    );
    // A dead key before everything.
    world
        .manager
        .revoke(&key.key.record.id, &admin())
        .await
        .expect("revoked");
    assert_eq!(
        world.get("/elsewhere", key.text.expose()).await.code(),
        "revoked_key"
    );
}

#[tokio::test]
async fn all_of_several_modules_or_any_of_them() {
    let world = World::new().await;
    let one = world.key(&["launcher"]).await;
    let answer = world.get("/both", one.text.expose()).await;
    assert_eq!(answer.json()["module"], "lino");
    world.get("/either", one.text.expose()).await.granted();
    let both = world.key(&["launcher", "lino"]).await;
    world.get("/both", both.text.expose()).await.granted();
    let waits = world.key(&["lino"]).await;
    assert_eq!(
        world.get("/either", waits.text.expose()).await.code(),
        "license_limit_reached"
    );
    let none = world.key(&[]).await;
    assert_eq!(
        world.get("/either", none.text.expose()).await.code(),
        "module_access_missing"
    );
}

#[tokio::test]
async fn no_refusal_holds_any_part_of_the_key() {
    let world = World::with(|b| b.with_query_parameter("api_key")).await;
    let key = world.key(&["lino"]).await;
    let text = key.text.expose();
    for path in [
        "/engines",
        "/elsewhere",
        "/scoped",
        "/lino//x",
        &format!("/engines?api_key={text}"),
    ] {
        let answer = world.get(path, text).await;
        let whole = format!("{:?} {:?} {:?}", answer.headers, answer.body, answer.denial);
        for part in text.as_bytes().windows(8).skip("rk_live_".len()) {
            let part = std::str::from_utf8(part).expect("ASCII");
            assert!(!whole.contains(part), "{path}: {whole}");
        }
    }
}
