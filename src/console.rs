//! The web console: a page on which people manage keys, modules and licenses, and see who uses them.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! use axum::Router;
//! use tower::Layer;
//! use tower_api_key::{ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules};
//! use tower_api_key::{console::Console, jwt, manage::Management};
//!
//! // From your configuration: 32 random bytes or more.
//! let secret = [7; 32];
//! let key = jwt::SigningKey::hs256("2026-11", secret)?;
//! let sessions = jwt::SessionTokens::builder("https://hub.example", key).build()?;
//! let verifier = jwt::JwtVerifier::builder().with_issuer(sessions.issuer()).build()?;
//!
//! let map = RouteModules::builder().prefix("/engines", "launcher").build()?;
//! let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
//!     .with_token_verifier(verifier)
//!     .build()?;
//! let management = Management::builder(&layer).with_sessions(sessions).build()?;
//! let console = Console::new(&management)?;
//!
//! let app = Router::new(); // your routes
//! let service: Router = Router::new()
//!     .nest_service("/console", console.router())
//!     .fallback_service(layer.layer(app));
//! # drop(service);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! 1. The page is a handful of static files in the binary: no build step, and no address but this
//!    service's own. It works under any path, and finds the management API below it, under `api`.
//! 2. People sign in with a key (or a session token) that may manage; the page then holds a session in
//!    a cookie that no script can read, and that the browser sends to this site alone. It ends with
//!    the session, and with what the key may do. Signing out forgets the cookie; a copy of it, if
//!    there is one, is good until the session ends, within the hour where nothing else is set.
//! 3. A change that comes with the cookie needs a token that only the page knows, so no other page
//!    can make it.
//! 4. The answers forbid all foreign and inline scripts, styles and frames
//!    ([CSP](https://www.w3.org/TR/CSP3/)), and DOM sinks that take text for markup ([Trusted
//!    Types](https://www.w3.org/TR/trusted-types/)).

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use http::{HeaderName, HeaderValue};
use thiserror::Error;

use crate::manage::{self, Management, Parts};

mod files;
mod session;

use files::Files;

/// The console of one [`Management`]: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Console {
    management: Management,
    files: Arc<Files>,
    example_path: Option<Arc<str>>,
}

/// What a session is begun and told with.
#[derive(Clone)]
struct Sessions {
    parts: Arc<Parts>,
    example_path: Option<Arc<str>>,
}

/// Why there is no console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// The management begins no sessions: nobody could sign in.
    #[error("the console needs sessions: set `ManagementBuilder::with_sessions`")]
    NoSessions,
}

impl Console {
    /// The console for what `management` manages.
    ///
    /// # Errors
    ///
    /// [`ConsoleError::NoSessions`] where nobody could sign in.
    pub fn new(management: &Management) -> Result<Self, ConsoleError> {
        if management.parts().sessions.is_none() {
            return Err(ConsoleError::NoSessions);
        }
        Ok(Self {
            management: management.clone(),
            files: Arc::new(Files::new()),
            example_path: None,
        })
    }

    /// Where a new key is tried: the path of a route that takes it, for the curl line that the page
    /// shows with the key. By default `/`.
    ///
    /// ```
    /// # use tower_api_key::console::Console;
    /// # fn with(console: Console) -> Console {
    /// console.with_example_path("/api/rest/v1/engines")
    /// # }
    /// ```
    #[must_use]
    pub fn with_example_path(mut self, path: &str) -> Self {
        self.example_path = Some(path.into());
        self
    }

    /// The routes, to be nested where the host likes, with `nest_service`: it takes `/console/` too, where
    /// the page is, and to which `/console` leads. All addresses are relative: a proxy in front may take
    /// a part of the path.
    pub fn router(&self) -> Router {
        let page = Router::new()
            .route("/", get(files::page))
            .route("/{file}", get(files::file))
            .with_state(Arc::clone(&self.files));
        let session = Router::new()
            .route(
                "/session",
                get(session::read)
                    .post(session::sign_in)
                    .delete(session::sign_out),
            )
            .layer(middleware::map_response(session::unstored))
            .with_state(Sessions {
                parts: Arc::clone(self.management.parts()),
                example_path: self.example_path.clone(),
            });
        page.merge(session)
            .nest("/api", self.management.router())
            .fallback(manage::no_such_route)
            .method_not_allowed_fallback(manage::no_such_method)
            .layer(middleware::from_fn(secure))
    }
}

/// What keeps the page from being used against those who look at it.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

const SECURITY: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    // For browsers that do not know `frame-ancestors`.
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}
