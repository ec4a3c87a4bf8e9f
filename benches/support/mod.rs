//! A guarded service with any number of keys, on backends that keep next to nothing of each, so
//! that what is measured is the layer and not the store below it.
#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use axum::{Router, body::Body, routing::get};
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_key::{
    Actor, Allowance, ApiKeyLayer, ApiKeyLayerBuilder, BackendError, Changes, Check, Environment,
    Holder, HolderState, KeyDigest, KeyFormats, KeyHasher, KeyId, KeyQuery, KeyRecord, KeyStore,
    LicenseEvent, LicenseId, LicenseLedger, Line, MemoryLedger, MemoryRateLimiter, Module, Now,
    Operation, Overview, Quota, RateLimiter, RouteModules, Rule, Scope, Seat, Standing, Standings,
    Subject, Tier, Tiers, Timestamp, Usage, UsageCount,
};

/// The route that is asked for: one module, one scope.
pub const PATH: &str = "/api/rest/v1/engines";

/// Twenty-five resources, each with a list and an item: fifty routes. The first needs `launcher`.
pub const RESOURCES: [&str; 25] = [
    "engines",
    "projects",
    "assets",
    "nodes",
    "shows",
    "scenes",
    "cameras",
    "lights",
    "tracks",
    "channels",
    "playlists",
    "templates",
    "users",
    "groups",
    "roles",
    "jobs",
    "queues",
    "nodegraphs",
    "actions",
    "timers",
    "presets",
    "outputs",
    "inputs",
    "logs",
    "realms",
];

/// The modules that a key is assigned: ten of them, as many as a full product has.
pub const MODULES: [&str; 10] = [
    "launcher",
    "lino",
    "playout",
    "nodegraph_editor",
    "form_builder",
    "template_builder",
    "action_builder",
    "asset_store",
    "rundown",
    "monitoring",
];

const SCOPES: [&str; 3] = ["read:assets", "read:engines", "write:engines"];

/// What is special about a key; each has a key of its own beside the ordinary ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    NoModule,
    LimitReached,
    LicenseExpired,
    NoScope,
    Elsewhere,
    Expired,
    Revoked,
    Disabled,
}

impl Special {
    pub const ALL: [Self; 8] = [
        Self::NoModule,
        Self::LimitReached,
        Self::LicenseExpired,
        Self::NoScope,
        Self::Elsewhere,
        Self::Expired,
        Self::Revoked,
        Self::Disabled,
    ];

    fn of(id: &str) -> Option<Self> {
        let number: usize = id.strip_prefix("special-")?.parse().ok()?;
        Some(Self::ALL[number])
    }
}

/// The texts of all keys, one after the other.
pub struct Keys {
    texts: Vec<u8>,
    length: usize,
    count: usize,
}

impl Keys {
    fn generate(count: usize) -> Self {
        let formats = KeyFormats::default();
        let mut texts = Vec::new();
        for _ in 0..count + Special::ALL.len() {
            let text = formats
                .generate(&Environment::live())
                .expect("random bytes");
            texts.extend_from_slice(text.expose().as_bytes());
        }
        let length = texts.len() / (count + Special::ALL.len());
        Self {
            texts,
            length,
            count,
        }
    }

    /// How many ordinary keys there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The text of the ordinary key `number`.
    pub fn text(&self, number: usize) -> &[u8] {
        &self.texts[number * self.length..][..self.length]
    }

    pub fn special(&self, special: Special) -> &[u8] {
        self.text(self.count + special as usize)
    }
}

/// Knows every key by the first word of its digest, and makes the record when it is asked.
#[derive(Clone)]
pub struct Store(Arc<Known>);

struct Known {
    numbers: HashMap<u64, u32>,
    count: usize,
    scopes: [Scope; 3],
    tier: Tier,
    changes: Changes,
}

impl Store {
    pub fn new(keys: &Keys) -> Self {
        let hasher = KeyHasher::sha256();
        let word = |number| first_word(&hasher.digest(keys.text(number)));
        let numbers = 0..keys.count + Special::ALL.len();
        Self(Arc::new(Known {
            numbers: numbers
                .map(|number| (word(number), number as u32))
                .collect(),
            count: keys.count,
            scopes: SCOPES.map(|scope| Scope::new(scope).expect("a scope")),
            tier: Tier::new("standard").expect("a tier"),
            changes: Changes::new(),
        }))
    }
}

impl Known {
    fn record(&self, number: usize, digest: KeyDigest) -> KeyRecord {
        let created_at = Timestamp::from_unix_seconds(1_767_225_600);
        let special = number.checked_sub(self.count);
        let id = match special {
            // As long as the ids that a `KeyManager` makes.
            None => format!("01kb{number:022}"),
            Some(special) => format!("special-{special}"),
        };
        let name = format!("Studio {number:07}");
        let id = KeyId::new(id).expect("an id");
        let mut record = KeyRecord::new(id, digest, name, created_at);
        record.scopes = self.scopes.iter().cloned().collect();
        record.tier = Some(self.tier.clone());
        match special.map(|special| Special::ALL[special]) {
            Some(Special::NoScope) => record.scopes.clear(),
            Some(Special::Elsewhere) => {
                record.allowed_addresses = vec!["192.0.2.0/24".parse().expect("a range")];
            }
            Some(Special::Expired) => record.expires_at = Some(created_at),
            Some(Special::Revoked) => record.revoked_at = Some(created_at),
            Some(Special::Disabled) => record.enabled = false,
            _ => {}
        }
        record
    }
}

fn first_word(digest: &KeyDigest) -> u64 {
    u64::from_ne_bytes(*digest.as_bytes().first_chunk().expect("32 bytes"))
}

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        let number = self.0.numbers.get(&first_word(digest));
        Ok(number.map(|number| self.0.record(*number as usize, *digest)))
    }

    async fn get(&self, _: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        Ok(None)
    }

    async fn insert(&self, _: KeyRecord) -> Result<(), BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn update(&self, _: KeyRecord) -> Result<KeyRecord, BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn delete(&self, _: &KeyId) -> Result<bool, BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn list(&self, _: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        Ok(Vec::new())
    }

    async fn record_last_used(&self, _: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        Ok(())
    }

    async fn record_usage(&self, _: &[UsageCount], _: Timestamp) -> Result<(), BackendError> {
        Ok(())
    }

    async fn usage(&self, _: &KeyId, _: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        Ok(Vec::new())
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.0.changes)
    }
}

/// Says the same of every ordinary key: ten modules, each with a seat.
#[derive(Clone, Default)]
pub struct Ledger(MemoryLedger);

impl Ledger {
    fn of(special: Option<Special>) -> Standings {
        let modules = MODULES.iter().map(|name| {
            let module = Module::new(name).expect("a module");
            let license = LicenseId::new(format!("license-{name}")).expect("a license");
            let (valid_until, seat) = match special {
                Some(Special::LicenseExpired) => {
                    (Some(Timestamp::from_unix_seconds(0)), Seat::Reserved)
                }
                Some(Special::LimitReached) => (None, Seat::LimitReached),
                _ => (None, Seat::Reserved),
            };
            let standing = Standing::Licensed {
                license,
                valid_until,
                seat,
            };
            (module, standing)
        });
        let skipped = usize::from(special == Some(Special::NoModule));
        Standings::new(Timestamp::MIN, false, true, None, modules.skip(skipped))
    }
}

#[async_trait]
impl LicenseLedger for Ledger {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.apply(operation, actor).await
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.plan(operation).await
    }

    async fn standings(&self, holder: &Holder, _: &[Module]) -> Result<Standings, BackendError> {
        Ok(Self::of(Special::of(holder.as_str())))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let said = |(holder, _): &(Holder, _)| Self::of(Special::of(holder.as_str()));
        Ok(asked.iter().map(said).collect())
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        self.0.first_unknown(modules).await
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        self.0.overview().await
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        self.0.line(license, limit).await
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        self.0.holders(after, limit).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.events(after, limit).await
    }

    fn latest(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.latest()
    }

    fn changes(&self) -> &Changes {
        self.0.changes()
    }
}

/// Counts everybody and refuses nobody: a sliding window that nobody fills, and that is long enough
/// for nobody to be forgotten meanwhile.
pub fn ample() -> MemoryRateLimiter {
    let standard = Tier::new("standard").expect("a tier");
    let most = Quota::per_hour(3_600_000_000).expect("a quota");
    let tiers = Tiers::default().with_tier(standard, [most]);
    MemoryRateLimiter::new(tiers.expect("tiers"))
}

/// Admits everybody and counts nothing: what asking a limiter costs, without the limiter.
pub struct Admitting;

impl RateLimiter for Admitting {
    fn check(&self, _: Subject<'_>, _: Now) -> Check {
        Check::Done(Allowance::Admitted(Usage::NONE))
    }
}

/// Fifty routes in a map.
pub fn map() -> RouteModules {
    let mut map = RouteModules::builder();
    for (number, resource) in RESOURCES.iter().enumerate() {
        let rule = Rule::module(MODULES[number % MODULES.len()]).with_scope("read:engines");
        map = map
            .get(format!("/api/rest/v1/{resource}"), rule.clone())
            .get(format!("/api/rest/v1/{resource}/{{id}}"), rule);
    }
    map.build().expect("a map")
}

/// The same fifty routes in a router, each with a handler that does nothing.
pub fn router() -> Router {
    RESOURCES.iter().fold(Router::new(), |router, resource| {
        router
            .route(&format!("/api/rest/v1/{resource}"), get(async || ()))
            .route(&format!("/api/rest/v1/{resource}/{{id}}"), get(async || ()))
    })
}

/// A service that does nothing at all.
pub fn nothing()
-> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answered>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(|_| ready(Ok(Response::new(Body::empty()))))
}

pub type Answered = Ready<Result<Response<Body>, Infallible>>;

/// A layer with its keys.
pub struct World {
    pub keys: Keys,
    pub layer: ApiKeyLayer,
}

impl World {
    /// With response headers off and every key warm.
    pub fn warm(
        count: usize,
        settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder,
    ) -> Self {
        let world = Self::cold(count, settings);
        world.warm_up();
        world
    }

    pub fn cold(
        count: usize,
        settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder,
    ) -> Self {
        let keys = Keys::generate(count);
        let builder = ApiKeyLayer::builder(Store::new(&keys), map(), Ledger::default())
            // Shards fill unevenly: with some room none of them evicts.
            .with_cache_capacity(count + count / 8 + 1_024)
            .with_cache_headers(false)
            .with_rate_limit_headers(false)
            .with_maintenance_task(false);
        let layer = settings(builder).build().expect("a layer");
        Self { keys, layer }
    }

    /// Sends one request for each key.
    pub fn warm_up(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let service = self.layer.layer(nothing());
        runtime.block_on(async {
            for number in 0..self.keys.count {
                let request = request(PATH, self.keys.text(number));
                let Ok(answer) = service.clone().oneshot(request).await;
                assert_eq!(answer.status(), StatusCode::OK);
            }
            for special in Special::ALL {
                let request = request(PATH, self.keys.special(special));
                let Ok(answer) = service.clone().oneshot(request).await;
                assert!(!answer.status().is_success(), "{special:?}");
            }
        });
    }
}

/// A request with ten headers, the key among them.
pub fn request(path: &str, key: &[u8]) -> Request<Body> {
    let key = HeaderValue::from_bytes(key).expect("a header value");
    let mut request = without_key(path);
    request.headers_mut().insert("x-api-key", key);
    request
}

/// The same without the key: nine headers.
pub fn without_key(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "hub.example.com")
        .header("user-agent", "curl/8.5.0")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, br")
        .header("accept-language", "en")
        .header("cache-control", "no-cache")
        .header("x-request-id", "7b7f3a52-2a36-4f0e-9f5b-1d3f7e2c9a10")
        .header("x-forwarded-for", "203.0.113.9")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .body(Body::empty())
        .expect("a request")
}

/// The answer of a service that needs nobody else for it.
pub fn call<S>(service: &mut S, request: Request<Body>) -> S::Response
where
    S: Service<Request<Body>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else {
        panic!("the service is not ready");
    };
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(answer)) => answer,
        Poll::Pending => panic!("the service asked somebody"),
    }
}

/// Numbers without a pattern, the same in every run (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(42)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..count`, each as likely.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// One of `0..count` by Zipf's law with exponent 1, near enough: the logarithm is uniform. Ranks
    /// are spread over the numbers, so that the frequent ones are no neighbours.
    pub fn zipf(&mut self, count: usize) -> usize {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = ((count as f64).powf(uniform) as usize).clamp(1, count) - 1;
        (rank as u64).wrapping_mul(2_654_435_761) as usize % count
    }
}

/// A counter that all threads share, for what must not be optimised away.
pub static SINK: AtomicU64 = AtomicU64::new(0);

pub fn sink(value: u64) {
    SINK.fetch_add(value, Ordering::Relaxed);
}

/// How a request is made.
pub type Make<'w> = Box<dyn Fn() -> Request<Body> + 'w>;

/// A request for each refusal that is made without asking anybody.
pub fn refusals(world: &World) -> Vec<(&'static str, Make<'_>)> {
    fn make<'w>(f: impl Fn() -> Request<Body> + 'w) -> Make<'w> {
        Box::new(f)
    }
    let key = world.keys.text(0);
    let special = |special| make(move || request(PATH, world.keys.special(special)));
    let unknown = Keys::generate(1);
    warm_absence(world, unknown.text(0));
    vec![
        ("missing credential", make(|| without_key(PATH))),
        (
            "malformed key",
            make(|| request(PATH, b"rk_live_not-a-key")),
        ),
        ("unknown key", make(move || request(PATH, unknown.text(0)))),
        ("expired key", special(Special::Expired)),
        ("revoked key", special(Special::Revoked)),
        ("disabled key", special(Special::Disabled)),
        (
            "multiple credentials",
            make(move || {
                let mut request = request(PATH, key);
                request
                    .headers_mut()
                    .insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
                request
            }),
        ),
        (
            "ambiguous path",
            make(move || request("/api/rest/v1/../engines", key)),
        ),
        (
            "route not mapped",
            make(move || request("/api/rest/v1/nothing", key)),
        ),
        ("address not allowed", special(Special::Elsewhere)),
        ("module access missing", special(Special::NoModule)),
        ("insufficient scope", special(Special::NoScope)),
        ("license limit reached", special(Special::LimitReached)),
        ("license expired", special(Special::LicenseExpired)),
    ]
}

/// Lets the layer learn that nobody has this key.
fn warm_absence(world: &World, key: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let service = world.layer.layer(nothing());
    let answer = runtime
        .expect("a runtime")
        .block_on(service.oneshot(request(PATH, key)));
    let Ok(answer) = answer;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}
