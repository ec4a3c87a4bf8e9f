//! The management API over durable stores: no event is lost or doubled over a restart of the service,
//! nor over a switch to another process, and of many changes at once each is made or refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

#[path = "../support/sqlite.rs"]
mod files;
mod licenses;
mod restart;
#[path = "../support/postgres.rs"]
mod server;
#[path = "../support/stream.rs"]
mod stream;
mod switch;

use std::time::Duration;

use axum::Router;
use stream::Stream;
use tower_api_key::{
    Actor, ApiKeyLayer, KeyManager, KeyStore, LicenseLedger, NewKey, RouteModules,
    manage::Management,
};

/// A process that serves the management API.
struct Process {
    layer: ApiKeyLayer,
    management: Management,
    app: Router,
}

impl Process {
    fn over<S: KeyStore + LicenseLedger + Clone>(store: &S) -> Self {
        let map = RouteModules::builder().build().unwrap();
        let layer = ApiKeyLayer::builder(store.clone(), map, store.clone());
        let layer = layer.with_maintenance_task(false).build().unwrap();
        let management = Management::builder(&layer).build().unwrap();
        let app = management.router();
        Self {
            layer,
            management,
            app,
        }
    }

    fn keys(&self) -> KeyManager {
        self.layer.manager()
    }

    /// The text of a key that reads the log.
    async fn reader(&self) -> String {
        let new = NewKey::named("reader").with_administrator(true);
        let created = self.keys().create(new, &Actor::system()).await.unwrap();
        created.text.expose().to_owned()
    }

    async fn follow(&self, key: &str, last_event_id: Option<u64>) -> Stream {
        Stream::open(&self.app, "/events", key, last_event_id).await
    }

    /// Makes so many entries of the log.
    async fn happen(&self, count: usize) {
        let keys = self.keys();
        for _ in 0..count {
            let is_on = keys.overview().await.unwrap().limited_edition;
            let switched = keys.set_limited_edition(!is_on, &Actor::system()).await;
            switched.unwrap();
        }
    }

    async fn end(&self) -> u64 {
        self.keys().overview().await.unwrap().seq
    }
}

/// What comes within a minute, which is for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), future).await;
    waited.unwrap_or_else(|_| panic!("{what}, at last"))
}
