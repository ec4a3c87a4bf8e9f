//! RealmKit's third method: session tokens.

use serde_json::Value;

use super::*;

const SESSIONS: &str = "POST /manage/v1/sessions";

#[test]
fn key_and_session_open_the_same_routes() {
    let hub = Hub::start();
    let key = x_api_key(hub.key("Administrator"));
    let begun = hub.send(SESSIONS, &[&key], None);
    assert_eq!(begun.status, 201, "{begun:?}");
    let token = begun.body["token"].as_str().expect("a token").to_owned();
    assert!(
        begun.body["expires_at"]
            .as_str()
            .expect("a time")
            .ends_with('Z')
    );
    let session = bearer(&token);

    let realm = json!({"name": "Marsh", "description": "wet"});
    let made = hub.send("POST /v1/realms", &[&session], Some(&realm));
    assert_eq!(made.status, 201, "{made:?}");
    let profile = hub.get("/v1/profile", &[&session]).granted();
    assert_eq!(profile, hub.get("/v1/profile", &[&key]).granted());
    assert_eq!(profile["key_id"], "administrator");
    // The key's session is refused what the key is refused.
    hub.get(ENGINES, &[&session])
        .refused(403, "module_access_missing", NO_MODULE);

    let last = token.len() - 1;
    let other = if token.ends_with('A') { "B" } else { "A" };
    for broken in [&token[..last], &format!("{}{other}", &token[..last - 3])] {
        hub.get("/v1/profile", &[&bearer(broken)])
            .refused(401, "invalid_key", INVALID);
    }
    // It is a bearer token and nothing else.
    hub.get("/v1/profile", &[&x_api_key(&token)])
        .refused(401, "invalid_key", INVALID);
}

#[test]
fn only_an_administrators_key_begins_sessions() {
    let hub = Hub::start();
    let key = x_api_key(hub.key("Administrator"));
    let token = hub.send(SESSIONS, &[&key], None).body["token"].clone();
    let session = bearer(token.as_str().expect("a token"));
    for caller in [session, x_api_key(hub.key("Realms"))] {
        let refused = hub.send(SESSIONS, &[&caller], None);
        assert_eq!(refused.status, 403, "{refused:?}");
        assert_eq!(refused.body["token"], Value::Null);
    }
    hub.send(SESSIONS, &[], None)
        .refused(401, "missing_credential", INVALID);
}
