//! Tower middleware for API keys: key validation, module checks and license seats in one layer.
//!
//! A service wraps itself in [`ApiKeyLayer`]. From then on a request reaches it only if it carries
//! a key that works, the key is assigned the [`Module`] that the route asks for, and the module's
//! license is reserved for the key. Whoever is refused is told why, exactly, as a problem document
//! ([RFC 9457]) or a gRPC status; whoever is granted finds a [`Grant`] among the request's
//! extensions. It works around any Tower service: axum, tonic, plain hyper.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt};
//! use tower_api_key::{
//!     Actor, ApiKeyLayer, Grant, License, LicenseId, MemoryKeyStore, MemoryLedger, Module, NewKey,
//!     RouteModules, Rule, Seats,
//! };
//!
//! // What each route asks for. What no entry covers is denied.
//! let map = RouteModules::builder()
//!     .prefix("/api/engines", "launcher")
//!     .get("/health", Rule::public())
//!     .build()?;
//! let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
//!
//! // One license with two seats, and a key that gets one of them.
//! let (manager, admin) = (layer.manager(), Actor::new("admin")?);
//! let (module, license) = (Module::new("launcher")?, LicenseId::new("launcher-2026")?);
//! manager.set_license(License::new(license.clone(), Seats::Limited(2)), &admin).await?;
//! manager.map_module(&module, Some(&license), &admin).await?;
//! let created = manager.create(NewKey::named("stage left").with_modules([module]), &admin).await?;
//!
//! // The service, guarded.
//! let service = layer.layer(tower::service_fn(async |request: Request<String>| {
//!     let grant = request.extensions().get::<Grant>().expect("granted");
//!     Ok::<_, std::convert::Infallible>(Response::new(format!("hello, {}", grant.name())))
//! }));
//! let request = Request::get("/api/engines").header("x-api-key", created.text.expose());
//! let response = service.clone().oneshot(request.body(String::new())?).await?;
//! assert_eq!(response.status(), 200);
//! let response = service.oneshot(Request::get("/api/engines").body(String::new())?).await?;
//! assert_eq!(response.status(), 401);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One request
//!
//! ```text
//!  request ──► credential ──► module map ──► key ──► address ──► module, scopes ──► license ──► quota ──► handler
//!                 │               │            │         │              │               │          │         │
//!              400, 401         (403)         401       403            403             403        429     + Grant
//!
//!  from memory, without await, box or lock across calls; only where memory does not know:
//!  key ◄── KeyStore          license ◄── LicenseLedger          quota ◄── RateLimiter        503 where they are down
//! ```
//!
//! 1. The credential is read from `X-API-Key`, from `Authorization: Bearer`, or, where that is
//!    switched on, from a query parameter. More than one is refused.
//! 2. The map says what the route asks for, by the raw bytes of the path or by the router's own
//!    matched path. A path that two parsers could read in two ways is refused.
//! 3. The key must be known, of an admitted environment, neither disabled nor revoked nor expired,
//!    and used from an address it may be used from.
//! 4. It must be assigned the module, and have the scopes. A route without an entry is denied.
//! 5. The module's license must be reserved for it: see [`LicenseLedger`].
//! 6. The [`RateLimiter`], if there is one, must admit it.
//! 7. The inner service runs, with a [`Grant`] and without the credential.
//!
//! # Where to begin
//!
//! | to | see |
//! |---|---|
//! | guard a service | [`ApiKeyLayer`], [`ApiKeyLayerBuilder`] |
//! | say what routes ask for | [`RouteModules`], [`Rule`]; at a single route [`RequireModule`], [`RequireScopes`] |
//! | know where they call from | [`PeerAddress`]; behind proxies [`TrustedProxies`] |
//! | read who calls | [`Grant`], and with axum as an extractor |
//! | hand out keys, seats and modules | [`KeyManager`] |
//! | see how often keys are used, and why they are refused | [`KeyManager::usage`], [`usage`] |
//! | limit rates | [`Tiers`], [`Quota`], [`MemoryRateLimiter`]; in another way: [`RateLimiter`] |
//! | understand a refusal | [`DenialCode`], [`Denial`]; render it in your own way: [`RenderDenial`] |
//! | take bearer tokens beside keys | the modules `jwt` and `oauth`; in another way: [`TokenVerifier`] |
//! | keep keys elsewhere | [`KeyStore`], [`LicenseLedger`], and the suites in `conformance` |
//! | move them from one place to another | [`transfer`] |
//! | let people manage keys over HTTP | the module `manage` |
//! | watch it run | [`observe`] |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `tracing` (default) | events, listed in [`observe`] |
//! | `metrics` | counters through the `metrics` facade, listed in [`observe`] |
//! | `axum` | [`Grant`] as an extractor, the router's `MatchedPath`, `ConnectInfo` as the address |
//! | `tonic` | [`Denial`] as a `tonic::Status`, tonic's connection as the address |
//! | `sqlite` | `SqliteStore`: keys and licenses in a SQLite file; SQLite is built in; Rust 1.94 |
//! | `postgres` | `PostgresStore`: keys and licenses in PostgreSQL, shared by any number of processes; Rust 1.94 |
//! | `redis` | `RedisRateLimiter`: quotas counted in a Redis server, shared by any number of processes |
//! | `jwt` | `jwt`: session tokens, and JWTs of issuers you trust |
//! | `oauth` | `oauth`: access tokens of OAuth 2.0 issuers, JWTs and opaque ones |
//! | `manage` | `manage`: the management API as an axum router, with its OpenAPI document |
//! | `console` | `console`: the web console on top of it |
//! | `conformance` | the suites that a backend of your own must pass; no dependency |
//!
//! A feature adds to what there is and changes no behaviour of hosts that do not use its framework.
//!
//! - With axum, enable `axum`. Without it, nested routers are judged by what they leave of the path,
//!   a key in the query string stays in `OriginalUri`, and `ConnectInfo` is not read.
//! - With tonic over TLS, insert a [`PeerAddress`] yourself: only tonic's `TcpConnectInfo` is read.
//!
//! # Runtime
//!
//! A request that memory can decide needs no runtime. Asking a backend needs tokio, with its timer
//! enabled.
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answers;
mod body;
mod cache;
pub mod changes;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "console")]
pub mod console;
mod credential;
pub mod denial;
mod error;
mod flight;
mod forwarded;
mod future;
mod gate;
mod grant;
mod host;
mod intern;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod key_format;
pub mod key_store;
pub mod keys;
mod layer;
pub mod ledger_state;
pub mod license_ledger;
mod lookup;
mod maintenance;
#[cfg(feature = "manage")]
pub mod manage;
pub mod memory;
pub mod module_map;
mod name;
mod noted_store;
#[cfg(feature = "oauth")]
pub mod oauth;
pub mod observe;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod open_error;
mod openapi;
mod pass;
pub mod path;
mod rate_headers;
pub mod rate_limiter;
#[cfg(feature = "redis")]
pub mod redis;
mod require;
mod service;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod strangers;
pub mod token;
pub mod transfer;
mod unlicensed;
pub mod usage;
mod uses;
mod web_url;

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "tonic")]
pub mod tonic;

#[cfg(feature = "redis")]
#[doc(inline)]
pub use self::redis::{ConnectRedis, OnOutage, RedisRateLimiter};
pub use answers::{RefusedRequest, RenderDenial};
pub use body::ResponseBody;
#[doc(inline)]
pub use changes::{Changes, Stamp};
#[doc(inline)]
pub use clock::{Clock, InvalidTimestamp, ManualClock, Now, SystemClock, Timestamp};
#[doc(inline)]
pub use denial::{Denial, DenialCode};
pub use error::{BackendError, BoxError};
pub use forwarded::TrustedProxies;
pub use future::ResponseFuture;
pub use grant::Grant;
pub use host::PeerAddress;
#[doc(inline)]
pub use key_format::{GenerateError, KeyFormat, KeyFormats, KeyHasher, KeyText};
#[doc(inline)]
pub use key_store::{
    AddressRange, Environment, KeyDigest, KeyFingerprint, KeyId, KeyQuery, KeyRecord, KeyStore,
    PreviousDigest, Scope, Tier,
};
#[doc(inline)]
pub use keys::{
    AssignedModule, CreatedKey, HeldSeat, KeyManager, KeyPatch, ManageError, ManagedKey, NewKey,
    Plan, Planned, PlannedSeat, Reconciled, Reservations, ReservationsCursor, ReservationsQuery,
    WaitingHolder,
};
pub use layer::{ApiKeyLayer, ApiKeyLayerBuilder, SetupError};
#[doc(inline)]
pub use ledger_state::{LedgerState, ReplayError, seats_at};
#[doc(inline)]
pub use license_ledger::{
    Actor, EventKind, Eviction, Holder, HolderState, KeyEvent, License, LicenseEvent, LicenseId,
    LicenseLedger, LicenseUse, Line, Module, Operation, Overview, Reason, RemovedCause,
    ReservedCause, Seat, Seats, Standing, Standings, Status,
};
#[doc(inline)]
pub use memory::{MemoryKeyStore, MemoryLedger, MemoryRateLimiter};
#[doc(inline)]
pub use module_map::{
    Lint, LintKind, ModuleMap, Modules, Requirement, RouteEntry, RouteError, RouteFlaw,
    RouteModules, RouteModulesBuilder, RouteProblem, Rule,
};
pub use name::InvalidName;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub use open_error::{OpenError, OpenErrorKind};
pub use openapi::SecuritySchemes;
#[doc(inline)]
pub use path::{PathForm, PathForms};
#[cfg(feature = "postgres")]
#[doc(inline)]
pub use postgres::{ConnectPostgres, PostgresStore};
#[doc(inline)]
pub use rate_limiter::{
    Algorithm, Allowance, Check, CountBy, Place, Quota, QuotaError, QuotaName, QuotaUsage,
    RateLimiter, Refusal, Subject, TierError, Tiers, Usage,
};
pub use require::{RequireModule, RequireScopes};
pub use service::ApiKeyService;
#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use sqlite::{Durability, OpenSqlite, SqliteStore};
#[doc(inline)]
pub use token::{KeyThumbprint, Principal, SessionKey, TokenError, TokenVerifier, UserModules};
pub use unlicensed::Unlicensed;
#[doc(inline)]
pub use usage::{Outcome, UsageCount};

/// The README's example compiles; it extracts a `Grant`.
#[cfg(all(doctest, feature = "console", feature = "oauth"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
