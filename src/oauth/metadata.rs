//! What a service tells about itself to who wants a token for it (RFC 9728).

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use ::http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use bytes::Bytes;
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;
use tower_service::Service;

use crate::{jwt::mapping::is_fit_for_people, key_store::Scope, web_url::WebUrl};

/// The protected resource metadata document ([RFC 9728]) as a small service: what a client reads to
/// learn whom to ask for a token.
///
/// 1. It answers `GET` and `HEAD` with the document, as `application/json`, and any other method with
///    405. Whoever mounts it chooses the path: [`path`](Self::path) is where clients look.
/// 2. The document is checked and written once, at set-up.
/// 3. Where the layer stands before it, its path is [public](crate::Rule::public): who reads it has no
///    token yet.
/// 4. [`with_resource_metadata`](crate::ApiKeyLayerBuilder::with_resource_metadata) sends clients
///    there.
///
/// ```
/// use tower_api_key::{
///     ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules, Rule, oauth::ResourceMetadata,
/// };
///
/// let metadata = ResourceMetadata::builder("https://api.example.com/v1")
///     .with_authorization_server("https://issuer.example.com")
///     .with_scopes(["read:realms", "write:realms"])
///     .build()?;
/// assert_eq!(metadata.path(), "/.well-known/oauth-protected-resource/v1");
///
/// let map = RouteModules::builder()
///     .any(metadata.path(), Rule::public())
///     .prefix("/v1", Rule::authenticated())
///     .build()?;
/// let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
///     .with_resource_metadata(metadata.url())
///     .build()?;
/// # #[cfg(feature = "axum")]
/// let app = axum::Router::<()>::new()
///     .route_service(metadata.path(), metadata.clone())
///     .layer(layer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [RFC 9728]: https://www.rfc-editor.org/rfc/rfc9728
#[derive(Clone)]
pub struct ResourceMetadata {
    url: String,
    /// Of the URL: where its path begins.
    path: usize,
    document: Bytes,
    cache_control: HeaderValue,
}

/// How this service takes bearer tokens (RFC 6750 §2): never in a body, which the layer does not
/// read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BearerMethod {
    /// In the header `Authorization` (§2.1).
    Header,
    /// In the query parameter `access_token` (§2.3). A layer takes keys from a query string and no
    /// tokens: name this only where something in front of it moves them into the header.
    Query,
}

/// A member of the document that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} {value:?} is invalid: {rule}")]
pub struct InvalidMetadata {
    field: String,
    value: String,
    rule: &'static str,
}

impl InvalidMetadata {
    /// The member, for example `jwks_uri`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The rule that it breaks.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

/// The members of a [`ResourceMetadata`] (RFC 9728 §2); what is not set is left out.
#[derive(Debug, Clone)]
#[must_use = "settings do nothing until `build` is called"]
pub struct ResourceMetadataBuilder {
    resource: String,
    authorization_servers: Vec<String>,
    scopes: Vec<String>,
    bearer_methods: BTreeSet<BearerMethod>,
    jwks_uri: Option<String>,
    documentation: Option<String>,
    name: Option<String>,
    dpop_algorithms: Vec<String>,
    dpop_required: bool,
    others: Vec<(String, Result<Value, String>)>,
    max_age: Duration,
}

impl ResourceMetadata {
    /// For the protected resource with this identifier: the URL that clients know it by, and often
    /// the audience of its tokens.
    pub fn builder(resource: impl Into<String>) -> ResourceMetadataBuilder {
        ResourceMetadataBuilder {
            resource: resource.into(),
            authorization_servers: Vec::new(),
            scopes: Vec::new(),
            bearer_methods: BTreeSet::from([BearerMethod::Header]),
            jwks_uri: None,
            documentation: None,
            name: None,
            dpop_algorithms: Vec::new(),
            dpop_required: false,
            others: Vec::new(),
            max_age: Duration::from_secs(3_600),
        }
    }

    /// Where clients look for the document: the resource's identifier with
    /// `/.well-known/oauth-protected-resource` between host and path (RFC 9728 §3.1).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path of [`url`](Self::url): where to mount it, and what must be public.
    pub fn path(&self) -> &str {
        &self.url[self.path..]
    }

    /// The document.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    fn answer(&self, method: &Method) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let body = match *method {
            Method::GET => self.document.clone(),
            Method::HEAD => Bytes::new(),
            _ => {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                let allowed = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, allowed);
                return response;
            }
        };
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
        headers.insert(CONTENT_LENGTH, self.document.len().into());
        headers.insert(CACHE_CONTROL, self.cache_control.clone());
        *response.body_mut() = Full::new(body);
        response
    }
}

impl<B> Service<Request<B>> for ResourceMetadata {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method())))
    }
}

impl fmt::Debug for ResourceMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceMetadata")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl ResourceMetadataBuilder {
    /// An authorization server that hands out tokens for this service, by its issuer identifier
    /// (RFC 8414 §2). By default none is named.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_authorization_server("https://issuer.example.com")
    /// # ;
    /// ```
    pub fn with_authorization_server(mut self, issuer: impl Into<String>) -> Self {
        self.authorization_servers.push(issuer.into());
        self
    }

    /// Scopes that routes of this service ask for. By default none is named.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_scopes(["read:realms"])
    /// # ;
    /// ```
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// How bearer tokens are taken; an empty list says: not at all. By default in the header.
    ///
    /// ```
    /// # use tower_api_key::oauth::{BearerMethod, ResourceMetadata};
    /// # ResourceMetadata::builder("https://api.example.com")
    /// .with_bearer_methods([BearerMethod::Header, BearerMethod::Query])
    /// # ;
    /// ```
    pub fn with_bearer_methods(mut self, methods: impl IntoIterator<Item = BearerMethod>) -> Self {
        self.bearer_methods = methods.into_iter().collect();
        self
    }

    /// Where this service's own public keys are, if it signs its answers. By default not said.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_jwks_uri("https://api.example.com/jwks.json")
    /// # ;
    /// ```
    pub fn with_jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// A page for developers. By default not said.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_documentation("https://docs.example.com")
    /// # ;
    /// ```
    pub fn with_documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// A name for people: 1 to 200 characters. By default not said.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_name("RealmKit")
    /// # ;
    /// ```
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The JWS algorithms that proofs of possession may be signed with (RFC 9449). By default not
    /// said.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_dpop_algorithms(["ES256", "EdDSA"])
    /// # ;
    /// ```
    pub fn with_dpop_algorithms(
        mut self,
        algorithms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let algorithms = algorithms.into_iter().map(Into::into);
        self.dpop_algorithms.extend(algorithms);
        self
    }

    /// Whether only tokens that are bound to a key of the client are taken (RFC 9449). By default
    /// others are too.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_dpop_required(true)
    /// # ;
    /// ```
    pub fn with_dpop_required(mut self, required: bool) -> Self {
        self.dpop_required = required;
        self
    }

    /// Another member, such as `resource_policy_uri` or, in a language of its own,
    /// `resource_name#de` (RFC 9728 §2.1). It is told as it is.
    ///
    /// ```
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_member("resource_tos_uri", "https://example.com/terms")
    /// # ;
    /// ```
    pub fn with_member(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).map_err(|error| error.to_string());
        self.others.push((name.into(), value));
        self
    }

    /// How long caches may keep the document. By default an hour.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # tower_api_key::oauth::ResourceMetadata::builder("https://api.example.com")
    /// .with_max_age(Duration::from_secs(300))
    /// # ;
    /// ```
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Checks and writes the document.
    ///
    /// # Errors
    ///
    /// [`InvalidMetadata`] names the member that cannot be: URLs are `https` (`http` for localhost
    /// only) without fragment, `resource` and `authorization_servers` also without query; scopes are
    /// [`Scope`]s; algorithms are neither `none` nor symmetric; nothing is there twice.
    pub fn build(self) -> Result<ResourceMetadata, InvalidMetadata> {
        let resource = identifier("resource", &self.resource)?;
        let mut members = Map::new();
        members.insert("resource".into(), self.resource.into());

        for issuer in &self.authorization_servers {
            identifier("authorization_servers", issuer)?;
        }
        list(
            &mut members,
            "authorization_servers",
            self.authorization_servers,
        )?;
        for scope in &self.scopes {
            Scope::new(scope).map_err(|e| invalid("scopes_supported", scope, e.rule()))?;
        }
        list(&mut members, "scopes_supported", self.scopes)?;
        // Empty it says something too: RFC 9728 §2.
        let methods = self.bearer_methods.into_iter().map(BearerMethod::as_str);
        members.insert("bearer_methods_supported".into(), methods.collect());
        let urls = [
            ("jwks_uri", self.jwks_uri),
            ("resource_documentation", self.documentation),
        ];
        for (field, url) in urls {
            let Some(url) = url else { continue };
            WebUrl::parse(&url).ok_or_else(|| invalid(field, &url, WebUrl::RULE))?;
            members.insert(field.into(), url.into());
        }
        if let Some(name) = self.name {
            if !is_fit_for_people(&name) || name.trim().is_empty() {
                let rule = "1 to 200 characters for people to read";
                return Err(invalid("resource_name", &name, rule));
            }
            members.insert("resource_name".into(), name.into());
        }
        let dpop_field = "dpop_signing_alg_values_supported";
        for algorithm in &self.dpop_algorithms {
            if !is_asymmetric(algorithm) {
                let rule = "a JWS algorithm, neither `none` nor a symmetric one (RFC 9449 §4.3)";
                return Err(invalid(dpop_field, algorithm, rule));
            }
        }
        list(&mut members, dpop_field, self.dpop_algorithms)?;
        if self.dpop_required {
            members.insert("dpop_bound_access_tokens_required".into(), true.into());
        }
        for (name, value) in self.others {
            let value = value.map_err(|error| invalid(&name, &error, "a value in JSON"))?;
            if SETTINGS.contains(&name.as_str()) || name.is_empty() {
                let rule = "another member than those with a setting of their own";
                return Err(invalid("member", &name, rule));
            }
            if let Some(before) = members.insert(name.clone(), value) {
                return Err(invalid(&name, &before.to_string(), "said once"));
            }
        }

        // RFC 9728 §3.1: a slash right behind the host goes.
        let path = resource.uri().path();
        let path = if path == "/" { "" } else { path };
        let origin = resource.origin();
        let cache_control = format!("public, max-age={}", self.max_age.as_secs());
        Ok(ResourceMetadata {
            url: format!("{origin}{WELL_KNOWN}{path}"),
            path: origin.len(),
            document: Value::Object(members).to_string().into(),
            cache_control: HeaderValue::try_from(cache_control).expect("visible ASCII"),
        })
    }
}

impl BearerMethod {
    fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
        }
    }
}

fn invalid(field: &str, value: &str, rule: &'static str) -> InvalidMetadata {
    let (field, value) = (field.into(), value.chars().take(80).collect());
    InvalidMetadata { field, value, rule }
}

/// A URL by which somebody is known.
fn identifier(field: &str, text: &str) -> Result<WebUrl, InvalidMetadata> {
    let rule =
        "an https URL (http only for localhost), without user information, query and fragment";
    WebUrl::parse(text)
        .filter(|url| url.uri().query().is_none())
        .ok_or_else(|| invalid(field, text, rule))
}

/// RFC 9728 §3.2: who has no values is left out.
fn list(
    members: &mut Map<String, Value>,
    field: &'static str,
    values: Vec<String>,
) -> Result<(), InvalidMetadata> {
    let mut seen = BTreeSet::new();
    if let Some(again) = values.iter().find(|value| !seen.insert(value.as_str())) {
        return Err(invalid(field, again, "each value once"));
    }
    if !values.is_empty() {
        members.insert(field.into(), values.into());
    }
    Ok(())
}

fn is_asymmetric(algorithm: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let named = (1..=64).contains(&algorithm.len()) && algorithm.bytes().all(name);
    let upper = algorithm.to_ascii_uppercase();
    named && upper != "NONE" && !upper.starts_with("HS")
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The members that have a setting of their own.
const SETTINGS: [&str; 9] = [
    "resource",
    "authorization_servers",
    "scopes_supported",
    "bearer_methods_supported",
    "jwks_uri",
    "resource_documentation",
    "resource_name",
    "dpop_signing_alg_values_supported",
    "dpop_bound_access_tokens_required",
];

#[cfg(test)]
mod tests;
