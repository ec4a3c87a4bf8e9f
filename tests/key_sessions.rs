//! Tokens that are sessions of a key: they have its rights as they are at each request.

mod support;

use std::time::Duration;

use async_trait::async_trait;
use support::{Answer, World, admin, get, module};
use tower_api_key::{
    Clock, CreatedKey, Holder, KeyDigest, KeyId, KeyStore, ManualClock, MemoryKeyStore, NewKey,
    Now, Principal, Scope, SessionKey, TokenError, TokenVerifier,
};

/// Takes `session:ID:DIGEST` for a session of the first ten minutes, begun with the text of that
/// digest.
struct Sessions;

#[async_trait]
impl TokenVerifier for Sessions {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"session:")
    }

    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError> {
        let until = ManualClock::new().now().wall.saturating_add(LIFETIME);
        if now.wall >= until {
            return Err(TokenError::Expired);
        }
        let text = std::str::from_utf8(token).map_err(|_| TokenError::Invalid)?;
        let (id, digest) = text["session:".len()..].split_once(':').expect("two parts");
        let holder = Holder::new(format!("https://hub.example|{id}")).expect("a holder");
        let mut principal = Principal::new(holder);
        let digest: KeyDigest = digest.parse().expect("a digest");
        let id = KeyId::new(id).expect("an id");
        principal.session_of = Some(SessionKey::new(id, &digest));
        principal.expires_at = Some(until);
        principal.keep_for = LIFETIME;
        Ok(principal)
    }
}

const LIFETIME: Duration = Duration::from_secs(600);

async fn world() -> World {
    World::with(|builder| builder.with_token_verifier(Sessions)).await
}

fn token(key: &CreatedKey) -> String {
    let record = &key.key.record;
    format!("session:{}:{}", record.id, record.digest)
}

async fn bearer(world: &World, path: &str, token: &str) -> Answer {
    let request = get(path).header("authorization", format!("Bearer {token}"));
    world.send(request).await
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_key() {
    let world = world().await;
    let new = NewKey::named("stage left").with_modules([module("launcher")]);
    let scope = Scope::new("read:realms").expect("a scope");
    let key = world.create(new.with_scopes([scope])).await;
    for path in ["/engines", "/realms", "/me", "/engines"] {
        let answer = bearer(&world, path, &token(&key)).await;
        let grant = answer.granted().grant.clone().expect("a grant");
        assert_eq!(grant.key_id(), Some(key.key.record.id.clone()));
        assert_eq!(grant.name(), "stage left");
        assert!(grant.is_session());
        assert_eq!(grant.session_key(), None, "no session prolongs itself");
        let until = world.clock.now().wall.saturating_add(LIFETIME);
        assert_eq!(grant.expires_at(), Some(until));
    }
    let answer = world.get("/me", key.text.expose()).await;
    let grant = answer.granted().grant.clone().expect("a grant");
    assert!(!grant.is_session());
    let session = SessionKey::new(key.key.record.id.clone(), &key.key.record.digest);
    assert_eq!(grant.session_key(), Some(session));
    assert_eq!(
        bearer(&world, "/lino", &token(&key)).await.code(),
        "module_access_missing"
    );
}

#[tokio::test]
async fn a_seat_that_the_key_loses_is_lost_for_its_sessions() {
    let world = world().await;
    let key = world.key(&["launcher"]).await;
    bearer(&world, "/engines", &token(&key)).await.granted();
    let launcher = module("launcher");
    let unassigned = world
        .manager
        .unassign(&key.key.record.id, &[launcher], &admin())
        .await;
    unassigned.expect("unassigned");
    assert_eq!(
        bearer(&world, "/engines", &token(&key)).await.code(),
        "module_access_missing"
    );
}

#[tokio::test]
async fn a_session_ends_with_its_key() {
    let world = world().await;
    let [disabled, revoked, deleted] = [
        world.key(&[]).await,
        world.key(&[]).await,
        world.key(&[]).await,
    ];
    for key in [&disabled, &revoked, &deleted] {
        bearer(&world, "/me", &token(key)).await.granted();
    }
    let (manager, actor) = (&world.manager, admin());
    let id = |key: &CreatedKey| key.key.record.id.clone();
    manager
        .disable(&id(&disabled), &actor)
        .await
        .expect("disabled");
    manager
        .revoke(&id(&revoked), &actor)
        .await
        .expect("revoked");
    manager
        .delete(&id(&deleted), &actor)
        .await
        .expect("deleted");
    for (key, code) in [
        (&disabled, "disabled_key"),
        (&revoked, "revoked_key"),
        (&deleted, "invalid_key"),
    ] {
        assert_eq!(bearer(&world, "/me", &token(key)).await.code(), code);
    }
    manager
        .enable(&id(&disabled), &actor)
        .await
        .expect("enabled");
    bearer(&world, "/me", &token(&disabled)).await.granted();
}

#[tokio::test]
async fn a_session_is_over_at_its_time_and_at_that_of_its_key() {
    let world = world().await;
    let key = world.key(&[]).await;
    bearer(&world, "/me", &token(&key)).await.granted();
    let soon = world
        .clock
        .now()
        .wall
        .saturating_add(Duration::from_secs(60));
    let short = world
        .create(NewKey::named("short").with_expires_at(soon))
        .await;
    bearer(&world, "/me", &token(&short)).await.granted();
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        bearer(&world, "/me", &token(&short)).await.code(),
        "expired_key"
    );
    world.clock.advance(LIFETIME - Duration::from_secs(61));
    bearer(&world, "/me", &token(&key)).await.granted();
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        bearer(&world, "/me", &token(&key)).await.code(),
        "expired_key"
    );
}

#[tokio::test]
async fn a_new_text_ends_the_sessions_that_were_begun_with_the_old_one() {
    let world = world().await;
    let (manager, actor) = (&world.manager, admin());
    let (at_once, later) = (world.key(&[]).await, world.key(&[]).await);
    let grace = Duration::from_secs(60);
    for (key, grace) in [(&at_once, None), (&later, Some(grace))] {
        bearer(&world, "/me", &token(key)).await.granted();
        let regenerated = manager.regenerate(&key.key.record.id, grace, &actor).await;
        let regenerated = regenerated.expect("regenerated");
        bearer(&world, "/me", &token(&regenerated)).await.granted();
    }
    assert_eq!(
        bearer(&world, "/me", &token(&at_once)).await.code(),
        "invalid_key"
    );
    bearer(&world, "/me", &token(&later)).await.granted();
    world.clock.advance(grace);
    assert_eq!(
        bearer(&world, "/me", &token(&later)).await.code(),
        "expired_key"
    );
}

#[tokio::test]
async fn sessions_are_counted_with_their_key() {
    use tower_api_key::{MemoryRateLimiter, Quota, Tier, Tiers};
    let standard = Tier::new("standard").expect("a tier");
    let two = Quota::per_hour(2).expect("a quota");
    let tiers = Tiers::default().with_tier(standard, [two]).expect("tiers");
    let world = World::with(|builder| {
        let builder = builder.with_token_verifier(Sessions);
        builder.with_rate_limiter(MemoryRateLimiter::new(tiers))
    });
    let world = world.await;
    let key = world.key(&[]).await;
    world.get("/me", key.text.expose()).await.granted();
    bearer(&world, "/me", &token(&key)).await.granted();
    for answer in [
        world.get("/me", key.text.expose()).await,
        bearer(&world, "/me", &token(&key)).await,
    ] {
        assert_eq!(answer.status, 429);
    }
}

#[tokio::test]
async fn a_session_counts_as_a_use_of_its_key() {
    let world = world().await;
    let key = world.key(&[]).await;
    bearer(&world, "/me", &token(&key)).await.granted();
    let seen = world.manager.read(&key.key.record.id).await.expect("read");
    assert_eq!(seen.record.last_used_at, Some(world.clock.now().wall));
    world.layer.flush().await.expect("written");
    let store: &MemoryKeyStore = &world.store;
    let record = store
        .get(&key.key.record.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(record.last_used_at, Some(world.clock.now().wall));
}
