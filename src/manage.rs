//! The management API: keys, modules, licenses and the log over HTTP, as one axum router.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! use axum::Router;
//! use tower::Layer;
//! use tower_api_key::{
//!     ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules, manage::Management,
//! };
//!
//! let map = RouteModules::builder().prefix("/engines", "launcher").build()?;
//! let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
//! let management = Management::builder(&layer).build()?;
//!
//! let app = Router::new(); // your routes
//! let service: Router = Router::new()
//!     .nest("/manage/v1", management.router())
//!     .fallback_service(layer.layer(app));
//! # drop(service);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who may call it
//!
//! 1. The router guards itself, with the keys, tokens, limits and memory of its layer: nest it beside
//!    the guarded app, as above. Inside, under a route that the layer lets nobody through without a
//!    credential, it takes what the layer has granted.
//! 2. A caller is an *administrator*, or a *manager*: one with the module `rest_api_management`, and
//!    a seat where that module needs a license. Everyone else is refused as by a route that asks for
//!    the module. [`ManagementPolicy`] decides otherwise.
//! 3. Only an administrator hands out administration or the module `rest_api_management`: makes a
//!    key with it, gives it to one, enables such a key, moves its expiry to a later instant, or
//!    gives it a new text, unless it is the caller's own; says which license the module needs, or
//!    changes or removes that license, whose seats others may wait for. Keys of administrators are
//!    changed by administrators only.
//! 4. The cookie of a console's session is a credential here; a change then needs the session's
//!    `csrf_token` in `X-CSRF-Token`.
//! 5. Calls that change or plan count one request of the caller's quota. Those that read count none:
//!    a page that shows every change at once reads more often than a quota foresees.
//!
//! # Answers
//!
//! JSON; refusals are problem documents ([RFC 9457]) with a [`ProblemCode`], or, of the layer, a
//! [`DenialCode`](crate::DenialCode). A refused call changes nothing. A change is in force in this
//! process when its answer is sent. Answers are never to be stored (`Cache-Control: no-store`).
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457

use std::{borrow::Cow, fmt, sync::Arc};

use axum::{Extension, Router, middleware};
use http::Method;
use tokio::sync::watch;
use utoipa_axum::{router::OpenApiRouter, routes};
use zeroize::Zeroizing;

#[cfg(feature = "jwt")]
use crate::jwt::SessionTokens;
use crate::{
    clock::Now,
    keys::KeyManager,
    layer::{ApiKeyLayer, Shared},
    module_map::{ModuleMap, Requirement},
};

mod audit;
pub(crate) mod caller;
mod cookie;
mod etag;
mod events;
mod idempotency;
pub(crate) mod input;
mod keys;
mod licenses;
mod limited_edition;
mod modules;
mod openapi;
mod plan;
mod policy;
pub(crate) mod problem;
mod refusals;
mod reservations;
mod schema;
#[cfg(feature = "jwt")]
mod sessions;
mod usage;
mod view;
mod whole;

use cookie::SessionCookie;
use events::Places;
use problem::Problem;

pub use policy::{Applicant, ByModule, MANAGEMENT_MODULE, ManagementPolicy, Role};
pub use problem::ProblemCode;

/// The management API of one layer: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Management(Arc<Parts>);

/// Settings of [`Management`].
#[must_use]
pub struct ManagementBuilder {
    layer: Arc<Shared>,
    policy: Arc<dyn ManagementPolicy>,
    secret: Option<Zeroizing<[u8; 32]>>,
    #[cfg(feature = "jwt")]
    sessions: Option<SessionTokens>,
    insecure_cookie: bool,
}

/// What all handlers work with.
pub(crate) struct Parts {
    /// The layer whose keys are managed.
    layer: Arc<Shared>,
    /// The same with the routes of this router.
    pub(crate) gate: Shared,
    manager: KeyManager,
    policy: Arc<dyn ManagementPolicy>,
    /// What the texts of keys are made of that are asked for with an `Idempotency-Key`.
    secret: Zeroizing<[u8; 32]>,
    /// Where callers get sessions; nothing: they get none.
    #[cfg(feature = "jwt")]
    pub(crate) sessions: Option<SessionTokens>,
    /// Whether streams are to end.
    closing: watch::Sender<bool>,
    /// Who has how many of them.
    places: Places,
    /// The cookie that a session may come in.
    pub(crate) cookie: SessionCookie,
}

impl Management {
    /// The management of the keys of `layer`.
    pub fn builder(layer: &ApiKeyLayer) -> ManagementBuilder {
        ManagementBuilder {
            layer: Arc::clone(layer.shared()),
            policy: Arc::new(ByModule),
            secret: None,
            #[cfg(feature = "jwt")]
            sessions: None,
            insecure_cookie: false,
        }
    }

    /// Ends all streams of events, and those that begin from now on: call it when the service is to
    /// stop, or their connections hold it up. Clients come back to whoever serves then, and go on
    /// where they were.
    ///
    /// A client that does not read what its connection holds already keeps that connection, whatever
    /// the stream does: bound how long the server waits for its connections.
    pub fn shut_down(&self) {
        self.0.closing.send_replace(true);
    }

    /// The OpenAPI 3.1 document of the API, as `GET /openapi.json` answers it.
    pub fn openapi(&self) -> serde_json::Value {
        openapi::document(api(&self.0).get_openapi(), &self.0)
    }

    /// The routes, to be nested where the host likes.
    pub fn router(&self) -> Router {
        let parts = Arc::clone(&self.0);
        let (router, calls) = api(&parts).split_for_parts();
        let document = openapi::document(&calls, &parts);
        router
            .layer(Extension(openapi::Document::new(&document)))
            .fallback(no_such_route)
            .method_not_allowed_fallback(no_such_method)
            .layer(middleware::from_fn_with_state(
                Arc::clone(&parts),
                caller::authenticate,
            ))
            .with_state(parts)
    }
}

pub(crate) async fn no_such_route() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is nothing at this path.")
}

/// axum adds `Allow`.
pub(crate) async fn no_such_method(method: Method) -> Problem {
    let detail = format!("{method} is not known here.");
    Problem::new(ProblemCode::MethodNotAllowed, detail)
}

/// Every call, with what the OpenAPI document says of it.
fn api(parts: &Parts) -> OpenApiRouter<Arc<Parts>> {
    let api = OpenApiRouter::with_openapi(schema::not_collected())
        .merge(keys::api())
        .routes(routes!(openapi::read_openapi))
        .routes(routes!(modules::list_modules))
        .routes(routes!(modules::map_module))
        .routes(routes!(licenses::list_licenses))
        .routes(routes!(licenses::set_license, licenses::remove_license))
        .routes(routes!(reservations::list_reservations))
        .routes(routes!(reservations::plan_license))
        .routes(routes!(
            limited_edition::read_limited_edition,
            limited_edition::set_limited_edition
        ))
        .routes(routes!(limited_edition::plan_limited_edition))
        .routes(routes!(audit::read_audit))
        .routes(routes!(events::follow_events))
        .routes(routes!(usage::read_usage));
    parts.with_sessions(api)
}

impl Management {
    #[cfg(feature = "console")]
    pub(crate) fn parts(&self) -> &Arc<Parts> {
        &self.0
    }
}

impl Parts {
    pub(crate) fn now(&self) -> Now {
        self.gate.gate.lookup.clock.now()
    }

    #[cfg(feature = "jwt")]
    fn with_sessions(&self, api: OpenApiRouter<Arc<Self>>) -> OpenApiRouter<Arc<Self>> {
        match self.sessions {
            Some(_) => api.routes(routes!(sessions::begin_session)),
            None => api,
        }
    }

    #[cfg(not(feature = "jwt"))]
    fn with_sessions(&self, api: OpenApiRouter<Arc<Self>>) -> OpenApiRouter<Arc<Self>> {
        api
    }
}

impl ManagementBuilder {
    /// Who may manage. By default [`ByModule`].
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules};
    /// # use tower_api_key::manage::{ByModule, Management};
    /// # let map = RouteModules::builder().build()?;
    /// # let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
    /// Management::builder(&layer).with_policy(ByModule).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_policy(mut self, policy: impl ManagementPolicy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// What the texts of keys are made of that are asked for with an `Idempotency-Key`: 32 random
    /// bytes that several processes share and keep over restarts, so that a retry is answered with the same
    /// text by any of them. By default random bytes of this process: a retry that meets another one
    /// is refused then, and makes no second key either.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules};
    /// # use tower_api_key::manage::Management;
    /// # let map = RouteModules::builder().build()?;
    /// # let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
    /// # let from_your_configuration = [7; 32];
    /// Management::builder(&layer).with_secret(from_your_configuration).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_secret(mut self, secret: [u8; 32]) -> Self {
        self.secret = Some(Zeroizing::new(secret));
        self
    }

    /// Gives callers sessions with their rights, at `POST /sessions`. The layer must take them:
    /// give its [`JwtVerifier`](crate::jwt::JwtVerifier) their issuer. By default there is no such
    /// call.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules};
    /// # use tower_api_key::jwt::{JwtVerifier, SessionTokens, SigningKey};
    /// # use tower_api_key::manage::Management;
    /// # let map = RouteModules::builder().build()?;
    /// let key = SigningKey::hs256("2026-11", [7; 32])?; // random bytes of yours
    /// let sessions = SessionTokens::builder("https://hub.example", key).build()?;
    /// let verifier = JwtVerifier::builder().with_issuer(sessions.issuer()).build()?;
    /// let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
    ///     .with_token_verifier(verifier)
    ///     .build()?;
    /// Management::builder(&layer).with_sessions(sessions).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn with_sessions(mut self, sessions: SessionTokens) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Takes sessions in a cookie that is sent without TLS too: for a service that is reached by
    /// `http:`, on this machine. By default the console's cookie is sent over TLS only.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules};
    /// # use tower_api_key::manage::Management;
    /// # let map = RouteModules::builder().build()?;
    /// # let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
    /// Management::builder(&layer).with_insecure_cookie().build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_insecure_cookie(mut self) -> Self {
        self.insecure_cookie = true;
        self
    }

    /// The management API.
    ///
    /// # Errors
    ///
    /// The operating system's, where it has no random bytes.
    pub fn build(self) -> Result<Management, getrandom::Error> {
        let secret = match self.secret {
            Some(secret) => secret,
            None => {
                let mut secret = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *secret)?;
                secret
            }
        };
        Ok(Management(Arc::new(Parts {
            gate: self.layer.with_map(Arc::new(Everything)),
            manager: self.layer.manager(),
            layer: self.layer,
            policy: self.policy,
            secret,
            #[cfg(feature = "jwt")]
            sessions: self.sessions,
            closing: watch::Sender::new(false),
            places: Places::default(),
            cookie: SessionCookie {
                is_insecure: self.insecure_cookie,
            },
        })))
    }
}

/// Asks for a credential everywhere; what more is needed the policy says.
struct Everything;

impl ModuleMap for Everything {
    fn requirement(
        &self,
        method: &Method,
        _: &str,
        _: Option<&str>,
    ) -> Option<Cow<'_, Requirement>> {
        // As the module says, of who may call it.
        let cost = if method.is_safe() { 0 } else { 1 };
        Some(Cow::Owned(Requirement::Authenticated {
            scopes: Box::default(),
            cost,
        }))
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Management").finish_non_exhaustive()
    }
}

impl fmt::Debug for ManagementBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagementBuilder").finish_non_exhaustive()
    }
}
