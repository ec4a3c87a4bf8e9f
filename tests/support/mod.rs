//! A guarded service on the memory backend, with a clock that is moved by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt};
use tower_api_key::{
    Actor, ApiKeyLayer, ApiKeyLayerBuilder, ApiKeyService, CreatedKey, Grant, KeyManager, License,
    LicenseId, ManualClock, MemoryKeyStore, MemoryLedger, Module, NewKey, RouteModules, Rule,
    Seats,
};

pub mod faults;
pub mod log;

pub type Body = Full<Bytes>;

/// What reached the handler, in its answer's extensions.
#[derive(Clone)]
pub struct Seen {
    pub headers: http::HeaderMap,
    pub uri: http::Uri,
    pub grant: Option<Grant>,
    pub denial: Option<tower_api_key::Denial>,
}

/// An inner service that panics unless it was polled ready: tower-http, jwt-authorizer and
/// tower-resilience each shipped a layer that called a clone nobody had polled.
#[derive(Default)]
pub struct Strict {
    ready: bool,
    pub calls: Arc<AtomicUsize>,
    pub clones: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self {
            ready: false,
            calls: Arc::clone(&self.calls),
            clones: Arc::clone(&self.clones),
        }
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without having been polled ready"
        );
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::from("handled"));
        response.extensions_mut().insert(Seen {
            headers: request.headers().clone(),
            uri: request.uri().clone(),
            grant: request.extensions().get().cloned(),
            denial: request.extensions().get().cloned(),
        });
        ready(Ok(response))
    }
}

/// The world of most tests: a store, a ledger with the licenses of the seed, a layer around
/// [`Strict`].
pub struct World {
    pub clock: Arc<ManualClock>,
    pub store: MemoryKeyStore,
    pub ledger: MemoryLedger,
    pub layer: ApiKeyLayer,
    pub manager: KeyManager,
    pub inner: Strict,
    service: ApiKeyService<Strict>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub seen: Option<Seen>,
    pub denial: Option<tower_api_key::Denial>,
}

pub fn admin() -> Actor {
    Actor::new("admin").expect("an actor")
}

pub fn module(name: &str) -> Module {
    Module::new(name).expect("a module")
}

pub fn license(name: &str) -> LicenseId {
    LicenseId::new(name).expect("a license id")
}

pub fn map() -> RouteModules {
    RouteModules::builder()
        .get("/engines", "launcher")
        .prefix("/lino", "lino")
        .get("/free", "free")
        .get("/lost", "lost")
        .get("/both", Rule::all_modules(["launcher", "lino"]))
        .get("/either", Rule::any_module(["launcher", "lino"]))
        .get(
            "/scoped",
            Rule::module("launcher")
                .with_scope("read:a")
                .with_scope("write:b"),
        )
        .get("/realms", Rule::anonymous().with_scope("read:realms"))
        .get("/me", Rule::authenticated())
        .get("/health", Rule::public())
        .any("/helloworld.Greeter/SayHello", "launcher")
        .build()
        .expect("a map")
}

impl World {
    pub async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder) -> Self {
        Self::mapped(map(), settings).await
    }

    /// With routes of its own.
    pub async fn mapped(
        map: RouteModules,
        settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder,
    ) -> Self {
        let clock = Arc::new(ManualClock::new());
        let store = MemoryKeyStore::new();
        let ledger = MemoryLedger::new().with_clock(clock.clone());
        let builder = ApiKeyLayer::builder(store.clone(), map, ledger.clone())
            .with_clock(clock.clone())
            .with_maintenance_task(false);
        let layer = settings(builder).build().expect("a layer");
        let manager = layer.manager();
        for (name, seats) in [("launcher", 2), ("lino", 1)] {
            let seats = Seats::Limited(seats);
            let (license, module) = (license(name), module(name));
            manager
                .set_license(License::new(license.clone(), seats), &admin())
                .await
                .expect("set");
            manager
                .map_module(&module, Some(&license), &admin())
                .await
                .expect("mapped");
        }
        manager
            .map_module(&module("free"), None, &admin())
            .await
            .expect("mapped");
        let nowhere = license("nowhere");
        manager
            .map_module(&module("lost"), Some(&nowhere), &admin())
            .await
            .expect("mapped");
        let inner = Strict::default();
        let service = layer.layer(inner.clone());
        Self {
            clock,
            store,
            ledger,
            layer,
            manager,
            inner,
            service,
        }
    }

    pub async fn key(&self, modules: &[&str]) -> CreatedKey {
        let modules = modules.iter().map(|name| module(name));
        self.create(NewKey::named("test").with_modules(modules))
            .await
    }

    pub async fn create(&self, new: NewKey) -> CreatedKey {
        self.manager.create(new, &admin()).await.expect("created")
    }

    /// Sends a request through the service, polled ready as a server would.
    pub async fn send(&self, request: impl Outgoing) -> Answer {
        answer(self.service.clone(), request).await
    }

    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.send(get(path).header("x-api-key", key)).await
    }

    pub async fn anonymous(&self, path: &str) -> Answer {
        self.send(get(path)).await
    }

    pub fn calls(&self) -> usize {
        self.inner.calls.load(Ordering::SeqCst)
    }
}

/// A request, or one that lacks its empty body only.
pub trait Outgoing {
    fn request(self) -> Request<Body>;
}

impl Outgoing for Request<Body> {
    fn request(self) -> Request<Body> {
        self
    }
}

impl Outgoing for http::request::Builder {
    fn request(self) -> Request<Body> {
        self.body(Body::default()).expect("a valid request")
    }
}

/// What a service answers to a request.
pub async fn answer<S, B>(service: S, request: impl Outgoing) -> Answer
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error = Infallible>,
{
    let request = request.request();
    let response = service.oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.expect("infallible").to_bytes(),
        seen: parts.extensions.get().cloned(),
        denial: parts.extensions.get().cloned(),
    }
}

pub fn get(path: &str) -> http::request::Builder {
    Request::get(path)
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON document")
    }

    pub fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    /// It was refused with this status, code and detail, and the handler never ran.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str, detail: &str) -> &Self {
        assert!(self.seen.is_none(), "the handler ran");
        let json = self.json();
        assert_eq!(self.status.as_u16(), status, "{json}");
        assert_eq!(self.code(), code);
        assert_eq!(json["detail"], detail);
        assert_eq!(json["status"], status);
        assert_eq!(self.headers["cache-control"], "no-store");
        if status == 401 {
            // RFC 9110 §11.6.1.
            assert!(!self.challenges().is_empty(), "a 401 has a challenge");
        }
        assert_eq!(
            self.denial.as_ref().expect("a denial").code().as_str(),
            code
        );
        for member in ["type", "title", "remediation"] {
            let text = json[member].as_str().expect("a text");
            assert!(!text.is_empty(), "{member}");
        }
        self
    }

    #[track_caller]
    pub fn granted(&self) -> &Seen {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, StatusCode::OK, "{text}");
        self.seen.as_ref().expect("the handler's answer")
    }

    pub fn challenges(&self) -> Vec<&str> {
        let values = self.headers.get_all("www-authenticate").iter();
        values.map(|value| value.to_str().expect("ASCII")).collect()
    }
}
