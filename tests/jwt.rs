//! Sessions and access tokens beside keys, through the layer.

mod support;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use support::{Answer, World, admin, get, module};
use tower_api_key::{
    Clock, NewKey, Scope,
    jwt::{
        Algorithm, Issuer, JwtVerifier, Session, SessionError, SessionTokens, SigningKey,
        VerificationKey,
    },
};

const HUB: &str = "https://hub.example";
const ISSUER: &str = "https://issuer.example";
const SECRET: [u8; 32] = [7; 32];

fn sessions() -> SessionTokens {
    let key = SigningKey::hs256("first", [1; 32]).expect("a key");
    let builder = SessionTokens::builder(HUB, key).with_lifetime(Duration::from_secs(600));
    builder.build().expect("sessions")
}

async fn world(sessions: &SessionTokens) -> World {
    let key = VerificationKey::hs256_secret(SECRET).expect("a key");
    let issuer = Issuer::new(ISSUER)
        .with_audience("hub")
        .with_algorithms([Algorithm::Hs256])
        .with_key(key);
    let verifier = JwtVerifier::builder()
        .with_issuer(sessions.issuer())
        .with_issuer(issuer)
        .build()
        .expect("a verifier");
    World::with(|builder| builder.with_token_verifier(verifier)).await
}

async fn bearer(world: &World, path: &str, token: &str) -> Answer {
    let request = get(path).header("authorization", format!("Bearer {token}"));
    world.send(request).await
}

/// What the caller of `/me` may hand on as a session.
async fn session_for(world: &World, sessions: &SessionTokens, key: &str) -> String {
    let answer = world.get("/me", key).await;
    let grant = answer.granted().grant.clone().expect("a grant");
    let token = sessions.issue_for(&grant, world.clock.now());
    token.expect("a session").text.expose().to_owned()
}

fn access_token(world: &World, typ: &str, seconds: i64) -> String {
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.typ = Some(typ.to_owned());
    let exp = world.clock.now().wall.unix_seconds() + seconds;
    let claims = json!({
        "iss": ISSUER, "aud": ["hub"], "sub": "user-7", "exp": exp, "scope": "read:realms", "name": "Ada",
    });
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&SECRET)).expect("a token")
}

#[tokio::test]
async fn one_route_takes_keys_sessions_and_access_tokens() {
    let sessions = sessions();
    let world = world(&sessions).await;
    let scope = Scope::new("read:realms").expect("a scope");
    let key = world
        .create(NewKey::named("stage left").with_scopes([scope.clone()]))
        .await;
    let of_key = session_for(&world, &sessions, key.text.expose()).await;
    let user = Session::of("user-8")
        .with_name("Bo")
        .with_scopes([scope.clone()]);
    let of_user = sessions.issue(&user, world.clock.now()).expect("a session");
    let access = access_token(&world, "at+jwt", 60);
    let id = key.key.record.id.as_str();
    let callers = [
        (key.text.expose(), id, "stage left"),
        (&of_key, id, "stage left"),
        (of_user.text.expose(), "https://hub.example|user-8", "Bo"),
        (&access, "https://issuer.example|user-7", "Ada"),
    ];
    // Each twice: as read, and as remembered.
    for (text, principal, name) in callers.iter().chain(&callers) {
        let answer = bearer(&world, "/realms", text).await;
        let grant = answer.granted().grant.clone().expect("a grant");
        assert_eq!((grant.principal(), grant.name()), (*principal, *name));
        assert_eq!(grant.scopes(), std::slice::from_ref(&scope));
    }
}

#[tokio::test]
async fn the_session_of_a_key_uses_the_seat_of_the_key() {
    let sessions = sessions();
    let world = world(&sessions).await;
    let key = world.key(&["lino"]).await;
    let session = session_for(&world, &sessions, key.text.expose()).await;
    // The only seat of this license is the key's, and it is enough for both.
    bearer(&world, "/lino", &session).await.granted();
    world.get("/lino", key.text.expose()).await.granted();
    bearer(&world, "/lino", &session).await.granted();
    let lino = module("lino");
    let id = &key.key.record.id;
    let unassigned = world.manager.unassign(id, &[lino], &admin()).await;
    unassigned.expect("unassigned");
    let answer = bearer(&world, "/lino", &session).await;
    assert_eq!(answer.code(), "module_access_missing");
    world.manager.revoke(id, &admin()).await.expect("revoked");
    assert_eq!(bearer(&world, "/me", &session).await.code(), "revoked_key");
}

#[tokio::test]
async fn a_session_begins_no_other_one() {
    let sessions = sessions();
    let world = world(&sessions).await;
    let key = world.key(&[]).await;
    let session = session_for(&world, &sessions, key.text.expose()).await;
    let answer = bearer(&world, "/me", &session).await;
    let grant = answer.granted().grant.clone().expect("a grant");
    let again = sessions.issue_for(&grant, world.clock.now());
    assert_eq!(again.err(), Some(SessionError::OfSession));

    // The session of a token's holder ends with that token, however often it is begun anew.
    let mut token = access_token(&world, "at+jwt", 60);
    for _ in 0..3 {
        let answer = bearer(&world, "/me", &token).await;
        let grant = answer.granted().grant.clone().expect("a grant");
        assert_eq!(grant.principal(), "https://issuer.example|user-7");
        let session = sessions.issue_for(&grant, world.clock.now());
        token = session.expect("a session").text.expose().to_owned();
        world.clock.advance(Duration::from_secs(10));
    }
    // The token's own minute, and the leeway that its issuer has.
    world.clock.advance(Duration::from_secs(59));
    bearer(&world, "/me", &token).await.granted();
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(bearer(&world, "/me", &token).await.code(), "expired_key");
}

#[tokio::test]
async fn what_is_remembered_ends_in_time() {
    let sessions = sessions();
    let world = world(&sessions).await;
    let user = Session::of("user-8");
    let session = sessions.issue(&user, world.clock.now()).expect("a session");
    let session = session.text.expose();
    bearer(&world, "/me", session).await.granted();
    world.clock.advance(Duration::from_secs(599));
    bearer(&world, "/me", session).await.granted();
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(bearer(&world, "/me", session).await.code(), "expired_key");
}

#[tokio::test]
async fn a_withdrawn_key_ends_sessions_that_are_remembered() {
    let sessions = sessions();
    let world = world(&sessions).await;
    let key = world.key(&[]).await;
    let of_key = session_for(&world, &sessions, key.text.expose()).await;
    let user = Session::of("user-8");
    let of_user = sessions.issue(&user, world.clock.now()).expect("a session");
    let second = SigningKey::hs256("second", [2; 32]).expect("a key");
    sessions.rotate(second, world.clock.now()).expect("rotated");
    let later = sessions.issue(&user, world.clock.now()).expect("a session");
    let texts = [&of_key, of_user.text.expose(), later.text.expose()];
    for text in texts {
        bearer(&world, "/me", text).await.granted();
    }
    assert_eq!(sessions.withdraw("first"), Ok(true));
    for text in &texts[..2] {
        assert_eq!(bearer(&world, "/me", text).await.code(), "invalid_key");
    }
    bearer(&world, "/me", texts[2]).await.granted();
}

#[tokio::test]
async fn tokens_that_are_not_right_are_invalid_keys() {
    let sessions = sessions();
    let world = world(&sessions).await;
    let right = access_token(&world, "at+jwt", 60);
    bearer(&world, "/me", &right).await.granted();
    let (message, signature) = right.rsplit_once('.').expect("three parts");
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let payload = message.split('.').nth(1).expect("a payload");
    let refused = [
        format!("{message}."),
        format!("{message}.{}", &signature[1..]),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        access_token(&world, "JWT", 60),
        access_token(&world, "session+jwt", 60),
    ];
    for text in refused {
        assert_eq!(
            bearer(&world, "/me", &text).await.code(),
            "invalid_key",
            "{text}"
        );
    }
    let over = access_token(&world, "at+jwt", -60);
    assert_eq!(bearer(&world, "/me", &over).await.code(), "expired_key");
}
