//! What is promised where the store cannot tell of changes.

mod support;

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use support::{
    Body, Strict, World, admin,
    faults::{Fault, Faults, FaultyStore},
    get, map,
};
use tower::{Layer, ServiceExt};
use tower_api_key::{ApiKeyLayer, ApiKeyService, CreatedKey, KeyManager, NewKey};

const SECOND: Duration = Duration::from_secs(1);

/// A world whose layer asks a store that is silent, through a switch.
struct Silent {
    world: World,
    faults: Faults,
    /// The layer's own: the world's is that of another process.
    manager: KeyManager,
    service: ApiKeyService<Strict>,
}

impl Silent {
    async fn new() -> Self {
        let world = World::new().await;
        let faults = Faults::new();
        let store = FaultyStore {
            store: world.store.clone(),
            faults: faults.clone(),
            tells: false,
            changes: None,
        };
        let layer = ApiKeyLayer::builder(store, map(), world.ledger.clone())
            .with_clock(world.clock.clone())
            .with_cache_ttl(5 * SECOND)
            .with_max_staleness(30 * SECOND)
            .with_maintenance_task(false)
            .build()
            .expect("a layer");
        Self {
            manager: layer.manager(),
            service: layer.layer(world.inner.clone()),
            world,
            faults,
        }
    }

    /// The status and, of a refusal, the code.
    async fn get(&self, path: &str, key: &CreatedKey) -> (StatusCode, String) {
        let request = get(path)
            .header("x-api-key", key.text.expose())
            .body(Body::default())
            .expect("valid");
        let answer = self.service.clone().oneshot(request).await;
        let answer = answer.expect("infallible");
        let status = answer.status();
        let code = answer.extensions().get::<tower_api_key::Denial>();
        let code = code.map(|denial| denial.code().as_str().to_owned());
        answer.into_body().collect().await.expect("infallible");
        (status, code.unwrap_or_default())
    }
}

fn granted() -> (StatusCode, String) {
    (StatusCode::OK, String::new())
}

fn refused(status: u16, code: &str) -> (StatusCode, String) {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, code.to_owned())
}

/// A silent store made the layer blind to its own manager too: who revoked a key through it saw the
/// key work until its time to live was over.
#[tokio::test]
async fn a_change_made_through_the_layers_manager_is_in_force_at_once() {
    let silent = Silent::new().await;
    let manager = &silent.manager;
    let key = manager.create(NewKey::named("a"), &admin()).await;
    let key = key.expect("created");
    let id = &key.key.record.id;
    assert_eq!(silent.get("/me", &key).await, granted());
    manager.disable(id, &admin()).await.expect("disabled");
    assert_eq!(silent.get("/me", &key).await, refused(401, "disabled_key"));
    manager.enable(id, &admin()).await.expect("enabled");
    assert_eq!(silent.get("/me", &key).await, granted());
    let new = manager.regenerate(id, None, &admin()).await;
    let new = new.expect("a new text");
    assert_eq!(silent.get("/me", &key).await, refused(401, "invalid_key"));
    assert_eq!(silent.get("/me", &new).await, granted());
    manager.revoke(id, &admin()).await.expect("revoked");
    assert_eq!(silent.get("/me", &new).await, refused(401, "revoked_key"));
    manager.delete(id, &admin()).await.expect("deleted");
    assert_eq!(silent.get("/me", &new).await, refused(401, "invalid_key"));
}

/// That a text is unknown is remembered as well. Who imports his key after a first try, as one does,
/// was told for the time to live that it does not exist.
#[tokio::test]
async fn a_key_imported_through_the_layers_manager_works_at_once() {
    let silent = Silent::new().await;
    let elsewhere = World::new().await.key(&[]).await;
    assert_eq!(
        silent.get("/me", &elsewhere).await,
        refused(401, "invalid_key")
    );
    let actor = admin();
    let imported = silent
        .manager
        .import(NewKey::named("a"), &elsewhere.text, &actor);
    imported.await.expect("imported");
    assert_eq!(silent.get("/me", &elsewhere).await, granted());
}

/// An outage lets what is known go on for a while, but not what is known to have changed: right
/// after a revocation the old right must not come back because nobody can be asked for the new one.
#[tokio::test]
async fn an_outage_right_after_a_change_is_503_and_never_the_old_right() {
    let silent = Silent::new().await;
    let (key, other) = (silent.world.key(&[]).await, silent.world.key(&[]).await);
    for key in [&key, &other] {
        assert_eq!(silent.get("/me", key).await, granted());
    }
    let id = &key.key.record.id;
    let revoked = silent.manager.revoke(id, &admin()).await;
    revoked.expect("revoked");
    silent.faults.set(Fault::Down);
    assert_eq!(
        silent.get("/me", &key).await,
        refused(503, "store_unavailable")
    );
    // The same once its time to live is over, and while another key has the store spared.
    silent.world.clock.advance(6 * SECOND);
    assert_eq!(silent.get("/me", &other).await, granted());
    assert_eq!(
        silent.get("/me", &key).await,
        refused(503, "store_unavailable")
    );
    silent.faults.set(Fault::None);
    assert_eq!(silent.get("/me", &key).await, refused(401, "revoked_key"));
}

/// `max_staleness` was counted from the store's last answer to any question at all. A key that was
/// read yesterday and revoked since came back to life in an outage, because some other key had been
/// asked for a moment before.
#[tokio::test]
async fn what_was_read_long_ago_does_not_outlive_an_outage() {
    let silent = Silent::new().await;
    let (idle, busy) = (silent.world.key(&[]).await, silent.world.key(&[]).await);
    assert_eq!(silent.get("/me", &idle).await, granted());
    let id = &idle.key.record.id;
    // By another process: nobody tells this one.
    let revoked = silent.world.manager.revoke(id, &admin()).await;
    revoked.expect("revoked");
    silent.world.clock.advance(24 * 3_600 * SECOND);
    assert_eq!(silent.get("/me", &busy).await, granted());
    silent.faults.set(Fault::Down);
    silent.world.clock.advance(29 * SECOND);
    assert_eq!(
        silent.get("/me", &idle).await,
        refused(503, "store_unavailable"),
        "a key that was revoked a day ago"
    );
    // The outage spares the store; what is old is no newer for that.
    assert_eq!(silent.get("/me", &busy).await, granted());
    assert_eq!(
        silent.get("/me", &idle).await,
        refused(503, "store_unavailable")
    );
    silent.world.clock.advance(2 * SECOND);
    assert_eq!(
        silent.get("/me", &busy).await,
        refused(503, "store_unavailable"),
        "read 31 seconds ago"
    );
}
