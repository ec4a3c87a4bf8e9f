//! A service with the management API nested in it, and those who call it.

use std::sync::Arc;

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_api_key::{
    Actor, ApiKeyLayer, Clock, Environment, KeyId, KeyManager, KeyQuery, KeyStore, License,
    LicenseId, LicenseLedger, ManualClock, MemoryKeyStore, MemoryLedger, MemoryRateLimiter, Module,
    NewKey, RouteModules, Seats, Tiers, Timestamp,
    manage::{MANAGEMENT_MODULE, Management, ManagementBuilder},
};

use crate::interrupted::{self, Plan};

/// Where the API is nested.
pub(crate) const MOUNT: &str = "/manage/v1";

/// `launcher` needs a license of one seat, `open` needs none. Managing needs none either.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: MemoryKeyStore,
    pub(crate) ledger: MemoryLedger,
    pub(crate) layer: ApiKeyLayer,
    pub(crate) keys: KeyManager,
    pub(crate) management: Management,
    /// The whole service, as a server would run it.
    pub(crate) app: Router,
    pub(crate) administrator: Client,
    pub(crate) manager: Client,
    /// Has a key, and may not manage.
    pub(crate) outsider: Client,
}

/// Somebody with a key.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: KeyId,
    pub(crate) text: String,
}

impl Client {
    /// As this client stands in the log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::key(&self.id)
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    /// With settings of its own.
    pub(crate) async fn with(
        settings: impl FnOnce(ManagementBuilder) -> ManagementBuilder,
    ) -> Self {
        let (store, clock) = (MemoryKeyStore::new(), Arc::new(ManualClock::new()));
        let ledger = MemoryLedger::new().with_clock(clock.clone());
        let (behind, beneath) = (store.clone(), ledger.clone());
        Self::over(clock, store, ledger, behind, beneath, settings).await
    }

    /// With these backends in front of the memory's, which get the seed of the data.
    pub(crate) async fn over(
        clock: Arc<ManualClock>,
        store: MemoryKeyStore,
        ledger: MemoryLedger,
        front_store: impl KeyStore,
        front_ledger: impl LicenseLedger,
        settings: impl FnOnce(ManagementBuilder) -> ManagementBuilder,
    ) -> Self {
        let map = RouteModules::builder().prefix("/engines", "launcher");
        let layer = ApiKeyLayer::builder(front_store, map.build().unwrap(), front_ledger)
            .with_clock(clock.clone())
            .with_environments(["live", "test"].map(|name| Environment::new(name).unwrap()))
            .with_maintenance_task(false)
            .with_rate_limiter(MemoryRateLimiter::new(Tiers::default()))
            .build()
            .unwrap();
        // What is there at the start is not made by the backends in front, which may fail.
        let keys = KeyManager::new(store.clone(), ledger.clone()).with_clock(clock.clone());
        let system = Actor::system();
        let license = License::new(license("launcher-2026"), Seats::Limited(1));
        keys.set_license(license.clone(), &system).await.unwrap();
        for (name, license) in [
            ("launcher", Some(&license.id)),
            ("open", None),
            (MANAGEMENT_MODULE, None),
        ] {
            let mapped = keys.map_module(&module(name), license, &system).await;
            mapped.unwrap();
        }
        let client = async |new: NewKey| {
            let id = KeyId::new(&new.name).unwrap();
            let created = keys.create(new.with_id(id.clone()), &system).await.unwrap();
            let text = created.text.expose().to_owned();
            Client { id, text }
        };
        let management = settings(Management::builder(&layer)).build().unwrap();
        let handled = Router::new().fallback(async || "handled");
        let app = Router::new()
            .nest(MOUNT, management.router())
            .fallback_service(layer.layer(handled));
        let administrator = client(NewKey::named("administrator").with_administrator(true)).await;
        let manages = NewKey::named("manager").with_modules([module(MANAGEMENT_MODULE)]);
        let manager = client(manages).await;
        let outsider = client(NewKey::named("outsider").with_modules([module("open")])).await;
        Self {
            clock,
            store,
            ledger,
            layer,
            keys,
            management,
            app,
            administrator,
            manager,
            outsider,
        }
    }

    /// With backends that follow a plan, once what is there at the start is made and the manager has
    /// called: who calls is remembered from then on.
    pub(crate) async fn interrupted() -> (Self, Arc<Plan>) {
        let (store, clock) = (MemoryKeyStore::new(), Arc::new(ManualClock::new()));
        let ledger = MemoryLedger::new().with_clock(clock.clone());
        let plan = Arc::new(Plan::default());
        let front = interrupted::Store(store.clone(), plan.clone());
        let beneath = interrupted::Ledger(ledger.clone(), plan.clone());
        let world = Self::over(clock, store, ledger, front, beneath, |settings| settings).await;
        let called = world.call("GET", "/keys", &world.manager, None).await;
        called.is(200);
        (world, plan)
    }

    /// What the service answers to a request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        Answer::of(response).await
    }

    /// Calls the API, with the body as JSON where there is one.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        client: &Client,
        body: Option<Value>,
    ) -> Answer {
        self.call_with(method, path, client, &[], body).await
    }

    /// The same with more headers.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        client: &Client,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = request(method, path).header("x-api-key", &client.text);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    /// Calls the API as the administrator.
    pub(crate) async fn administer(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.call(method, path, &self.administrator, body).await
    }

    /// The id and the text of a new key.
    pub(crate) async fn key(&self, new: NewKey) -> Client {
        let created = self.keys.create(new, &Actor::system()).await.unwrap();
        Client {
            id: created.key.record.id,
            text: created.text.expose().to_owned(),
        }
    }

    /// The status of a request to the guarded service.
    pub(crate) async fn guarded(&self, path: &str, text: &str) -> StatusCode {
        let request = Request::get(path).header("x-api-key", text);
        self.send(request.body(Body::empty()).unwrap()).await.status
    }

    /// The instant so many seconds from now.
    pub(crate) fn clock_in(&self, seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(self.clock.now().wall.unix_seconds() + seconds)
    }

    /// All that is stored and logged, to tell that nothing has changed. When keys were used is left
    /// out: every call is a use.
    pub(crate) async fn everything(&self) -> String {
        let keys = self.store.list(&KeyQuery::first(usize::MAX)).await.unwrap();
        let log = self.ledger.events(0, usize::MAX).await.unwrap();
        let keys: Vec<_> = keys
            .into_iter()
            .map(|mut record| {
                record.last_used_at = None;
                record
            })
            .collect();
        format!("{keys:?}\n{log:?}")
    }
}

/// A request to a call of the API.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("{MOUNT}{path}"))
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            let text = String::from_utf8_lossy(&self.body);
            panic!("{} without a JSON document: {error}: {text:?}", self.status)
        })
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().unwrap()
    }

    /// It was answered with this status, and the answer is not for keeping.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.header("cache-control"), "no-store");
        self
    }

    /// It was refused, with a whole problem document (RFC 9457).
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> &Self {
        self.is(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json = self.json();
        assert_eq!(json["code"], code, "{json}");
        assert_eq!(json["status"], status, "{json}");
        for member in ["type", "title", "detail", "remediation"] {
            let text = json[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member} in {json}");
        }
        self
    }

    /// It was refused because of this field.
    #[track_caller]
    pub(crate) fn blames(&self, field: &str) -> &Self {
        let json = self.json();
        assert_eq!(json["field"], field, "{json}");
        self
    }
}

pub(crate) fn module(name: &str) -> Module {
    Module::new(name).unwrap()
}

pub(crate) fn license(name: &str) -> LicenseId {
    LicenseId::new(name).unwrap()
}
