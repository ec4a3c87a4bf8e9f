//! What people build by hand on published crates, as well as they would.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use dashmap::DashMap;
use http::StatusCode;
use sha2::{Digest, Sha256};
use tower::Layer;
use tower_governor::{
    GovernorError, GovernorLayer, governor::GovernorConfigBuilder, key_extractor::KeyExtractor,
};
use tower_http::auth::{AsyncAuthorizeRequest, AsyncRequireAuthorizationLayer};

use crate::support::{Keys, MODULES, RESOURCES, router};

/// What is kept of a key.
pub struct Record {
    pub modules: Vec<String>,
    pub scopes: Vec<String>,
    pub enabled: bool,
}

fn record() -> Arc<Record> {
    Arc::new(Record {
        modules: MODULES.map(String::from).to_vec(),
        scopes: ["read:assets", "read:engines", "write:engines"]
            .map(String::from)
            .to_vec(),
        enabled: true,
    })
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// axum's `from_fn`: header, SHA-256, moka, module by `MatchedPath`, extension.
#[derive(Clone)]
struct ByHand {
    keys: moka::sync::Cache<[u8; 32], Arc<Record>>,
    modules: Arc<HashMap<String, (&'static str, &'static str)>>,
}

pub fn by_hand(keys: &Keys) -> Router {
    let cache = moka::sync::Cache::new(2 * keys.count() as u64);
    for number in 0..keys.count() {
        cache.insert(digest(keys.text(number)), record());
    }
    cache.run_pending_tasks();
    let mut modules = HashMap::new();
    for (number, resource) in RESOURCES.iter().enumerate() {
        let needs = (MODULES[number % MODULES.len()], "read:engines");
        modules.insert(format!("/api/rest/v1/{resource}"), needs);
        modules.insert(format!("/api/rest/v1/{resource}/{{id}}"), needs);
    }
    let state = ByHand {
        keys: cache,
        modules: Arc::new(modules),
    };
    router().layer(middleware::from_fn_with_state(state, check))
}

async fn check(
    State(state): State<ByHand>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(text) = request.headers().get("x-api-key") else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Some(record) = state.keys.get(&digest(text.as_bytes())) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Some((module, scope)) = state.modules.get(path.as_str()) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    if !record.enabled
        || !record.modules.iter().any(|known| known == module)
        || !record.scopes.iter().any(|known| known == scope)
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    request.extensions_mut().insert(record);
    next.run(request).await
}

/// The same behind tower_governor, with a quota for each key that is never used up.
pub fn by_hand_with_quota(keys: &Keys) -> Router {
    let quota = GovernorConfigBuilder::default()
        .per_nanosecond(1)
        .burst_size(1_000_000)
        .key_extractor(ByKey)
        .finish()
        .expect("a quota");
    by_hand(keys).layer(GovernorLayer::new(quota))
}

#[derive(Clone)]
struct ByKey;

impl KeyExtractor for ByKey {
    type Key = String;

    fn extract<T>(&self, request: &http::Request<T>) -> Result<String, GovernorError> {
        let text = request
            .headers()
            .get("x-api-key")
            .and_then(|text| text.to_str().ok());
        text.map(String::from)
            .ok_or(GovernorError::UnableToExtractKey)
    }
}

/// tower-http's `AsyncRequireAuthorization` over dashmap: the key, and nothing but the key.
pub fn require_authorization<S>(
    keys: &Keys,
    inner: S,
) -> <AsyncRequireAuthorizationLayer<KnownKey> as Layer<S>>::Service {
    let known = DashMap::new();
    for number in 0..keys.count() {
        known.insert(digest(keys.text(number)), record());
    }
    AsyncRequireAuthorizationLayer::new(KnownKey(Arc::new(known))).layer(inner)
}

#[derive(Clone)]
pub struct KnownKey(Arc<DashMap<[u8; 32], Arc<Record>>>);

impl AsyncAuthorizeRequest<Body> for KnownKey {
    type RequestBody = Body;
    type ResponseBody = Body;
    type Future = Ready<Result<http::Request<Body>, http::Response<Body>>>;

    fn authorize(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let text = request.headers().get("x-api-key");
        let known = text.and_then(|text| self.0.get(&digest(text.as_bytes())));
        match known.map(|known| Arc::clone(&known)) {
            Some(record) => {
                request.extensions_mut().insert(record);
                ready(Ok(request))
            }
            None => ready(Err(StatusCode::UNAUTHORIZED.into_response())),
        }
    }
}
