//! What a refused client gets: the reasons, their answers over HTTP and gRPC, and how to render
//! them another way.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    clock::Timestamp,
    key_store::{Scope, Tier},
    license_ledger::{LicenseId, Module},
};

/// Why a request was refused.
///
/// Each code has one HTTP status, one gRPC status and one remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenialCode {
    /// 401: no credential was sent. Send the key in the header `X-API-Key`, or as
    /// `Authorization: Bearer`. A scheme that is not ours counts as nothing.
    MissingCredential,
    /// 401: the key is malformed or unknown. Check that the whole key was copied, and that it was
    /// neither regenerated nor deleted.
    InvalidKey,
    /// 401: the key is past its expiry. Ask for a new one or a later expiry.
    ExpiredKey,
    /// 401: the key was revoked, for good. Ask for a new one.
    RevokedKey,
    /// 401: the key is disabled. Ask its administrator to enable it.
    DisabledKey,
    /// 401: the key is for another environment. Use one made for this one.
    WrongEnvironment,
    /// 400: more than one credential in one request, or one sent twice (RFC 6750 §3.1). Send one.
    MultipleCredentials,
    /// 400: two parsers could read the path in two ways. Send it in its plain form.
    AmbiguousPath,
    /// 403: the key is not assigned the module. Assign the required module resource to it.
    ModuleAccessMissing,
    /// 403: no seat is reserved for the key. Make sure the license is available and reserved.
    LicenseNotReserved,
    /// 403: the license is past its end, or the system is in limited edition. Renew it.
    LicenseExpired,
    /// 403: all seats are taken. Release unused reservations, or get more seats.
    LicenseLimitReached,
    /// 403: the key lacks scopes the route asks for (RFC 6750 §3.1).
    InsufficientScope,
    /// 403: the key may not be used from this address.
    AddressNotAllowed,
    /// 403: no entry of the service's module map covers the route.
    RouteNotMapped,
    /// 429: the quota of the caller's tier is used up (RFC 6585 §4).
    RateLimited,
    /// 503: the key store cannot be asked. Nothing is known against the key.
    StoreUnavailable,
    /// 503: the license ledger cannot be asked. Nothing is known against the key.
    LedgerUnavailable,
    /// 503: the rate limiter cannot be asked. Nothing is known against the key.
    LimiterUnavailable,
}

/// The fixed part of an answer.
struct Row {
    code: &'static str,
    status: StatusCode,
    /// The name of the variant, which is the anchor in these docs.
    variant: &'static str,
    title: &'static str,
    detail: &'static str,
    remediation: &'static str,
}

impl DenialCode {
    /// The code as clients see it, such as `module_access_missing`.
    pub fn as_str(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    /// The gRPC status code: 16 UNAUTHENTICATED, 7 PERMISSION_DENIED, 8 RESOURCE_EXHAUSTED,
    /// 14 UNAVAILABLE or 3 INVALID_ARGUMENT.
    pub fn grpc_status(self) -> u8 {
        match self.status() {
            StatusCode::UNAUTHORIZED => 16,
            StatusCode::FORBIDDEN => 7,
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::BAD_REQUEST => 3,
            _ => 14,
        }
    }

    fn row(self) -> Row {
        let (code, status, variant, title, detail, remediation) = match self {
            Self::MissingCredential => (
                "missing_credential",
                StatusCode::UNAUTHORIZED,
                "MissingCredential",
                "Credential missing",
                "API Key is missing or invalid.",
                "Send your API key as the WWW-Authenticate headers of this answer say, such as X-API-Key.",
            ),
            Self::InvalidKey => (
                "invalid_key",
                StatusCode::UNAUTHORIZED,
                "InvalidKey",
                "API key invalid",
                "API Key is missing or invalid.",
                "Check that the whole key was copied and that it was not regenerated or deleted.",
            ),
            Self::ExpiredKey => (
                "expired_key",
                StatusCode::UNAUTHORIZED,
                "ExpiredKey",
                "API key expired",
                "API Key has expired.",
                "Ask your administrator for a new key or a later expiry.",
            ),
            Self::RevokedKey => (
                "revoked_key",
                StatusCode::UNAUTHORIZED,
                "RevokedKey",
                "API key revoked",
                "API Key has been revoked.",
                "Ask your administrator for a new key; a revoked one never works again.",
            ),
            Self::DisabledKey => (
                "disabled_key",
                StatusCode::UNAUTHORIZED,
                "DisabledKey",
                "API key disabled",
                "API Key is disabled.",
                "Ask your administrator to enable the key.",
            ),
            Self::WrongEnvironment => (
                "wrong_environment",
                StatusCode::UNAUTHORIZED,
                "WrongEnvironment",
                "API key of another environment",
                "API Key belongs to another environment.",
                "Use a key made for this environment.",
            ),
            Self::MultipleCredentials => (
                "multiple_credentials",
                StatusCode::BAD_REQUEST,
                "MultipleCredentials",
                "More than one credential",
                "The request carries more than one credential.",
                "Send one credential, once.",
            ),
            Self::AmbiguousPath => (
                "ambiguous_path",
                StatusCode::BAD_REQUEST,
                "AmbiguousPath",
                "Ambiguous path",
                "The path can be read in more than one way.",
                "Send the path in its plain form.",
            ),
            Self::ModuleAccessMissing => (
                "module_access_missing",
                StatusCode::FORBIDDEN,
                "ModuleAccessMissing",
                "Module access missing",
                "API Key does not have access to required module resource",
                "Assign the required module resource to the API key.",
            ),
            Self::LicenseNotReserved => (
                "license_not_reserved",
                StatusCode::FORBIDDEN,
                "LicenseNotReserved",
                "License not reserved",
                "Required license is not reserved for this API Key.",
                "Make sure the required license is available and reserved for the API key.",
            ),
            Self::LicenseExpired => (
                "license_expired",
                StatusCode::FORBIDDEN,
                "LicenseExpired",
                "License expired",
                "Required license has expired.",
                "Renew the license or contact your administrator.",
            ),
            Self::LicenseLimitReached => (
                "license_limit_reached",
                StatusCode::FORBIDDEN,
                "LicenseLimitReached",
                "License limit reached",
                "License limit reached, cannot reserve additional licenses.",
                "Release unused reservations or get more seats.",
            ),
            Self::InsufficientScope => (
                "insufficient_scope",
                StatusCode::FORBIDDEN,
                "InsufficientScope",
                "Scope missing",
                "API Key lacks a required scope.",
                "Use a key with all of the required scopes.",
            ),
            Self::AddressNotAllowed => (
                "address_not_allowed",
                StatusCode::FORBIDDEN,
                "AddressNotAllowed",
                "Address not allowed",
                "API Key may not be used from this address.",
                "Call from an allowed address, or have this one added to the key.",
            ),
            Self::RouteNotMapped => (
                "route_not_mapped",
                StatusCode::FORBIDDEN,
                "RouteNotMapped",
                "Route not mapped",
                "No access rule covers this route.",
                "Check method and path; if they are right, the service has to add a rule.",
            ),
            Self::RateLimited => (
                "rate_limited",
                StatusCode::TOO_MANY_REQUESTS,
                "RateLimited",
                "Rate limited",
                "Too many requests.",
                "Wait as long as Retry-After says, or ask for a higher tier.",
            ),
            Self::StoreUnavailable => (
                "store_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "StoreUnavailable",
                "Key store unavailable",
                "API keys cannot be checked at the moment.",
                "Try again; your key was neither accepted nor refused.",
            ),
            Self::LedgerUnavailable => (
                "ledger_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "LedgerUnavailable",
                "License ledger unavailable",
                "Licenses cannot be checked at the moment.",
                "Try again; your license was neither accepted nor refused.",
            ),
            Self::LimiterUnavailable => (
                "limiter_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "LimiterUnavailable",
                "Rate limiter unavailable",
                "Rate limits cannot be checked at the moment.",
                "Try again later.",
            ),
        };
        Row {
            code,
            status,
            variant,
            title,
            detail,
            remediation,
        }
    }
}

impl fmt::Display for DenialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for DenialCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A refusal as data: what the client is told, and what the service may read from the response's
/// extensions.
///
/// It never holds a key nor any part of one. Its serde form is the problem document of RFC 9457
/// that clients get.
#[derive(Clone, PartialEq, Eq)]
pub struct Denial {
    code: DenialCode,
    /// What only some refusals say, out of the way of those that do not.
    more: Option<Box<More>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct More {
    detail: Option<String>,
    module: Option<Module>,
    license: Option<LicenseId>,
    valid_until: Option<Timestamp>,
    required_scopes: Vec<Scope>,
    missing_scopes: Vec<Scope>,
    tier: Option<Tier>,
    quota: Option<String>,
    retry_after: Option<Duration>,
}

impl Denial {
    /// A refusal that says no more than its code.
    pub fn new(code: DenialCode) -> Self {
        Self { code, more: None }
    }

    fn more(mut self, change: impl FnOnce(&mut More)) -> Self {
        change(self.more.get_or_insert_default());
        self
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        self.more(|more| more.detail = Some(detail.into()))
    }

    pub(crate) fn with_module(self, module: &Module) -> Self {
        self.more(|more| more.module = Some(module.clone()))
    }

    pub(crate) fn with_license(self, license: &LicenseId, valid_until: Option<Timestamp>) -> Self {
        self.more(|more| {
            more.license = Some(license.clone());
            more.valid_until = valid_until;
        })
    }

    pub(crate) fn with_scopes(self, required: &[Scope], missing: Vec<Scope>) -> Self {
        self.more(|more| {
            more.required_scopes = required.to_vec();
            more.missing_scopes = missing;
        })
    }

    /// Names the tier and the quota that is used up, and when one more request is admitted.
    #[must_use]
    pub fn with_quota(self, tier: Tier, quota: impl Into<String>, retry_after: Duration) -> Self {
        let quota = quota.into();
        self.more(|more| {
            more.detail = Some(format!("Too many requests for tier {tier}, quota {quota}."));
            more.tier = Some(tier);
            more.quota = Some(quota);
            more.retry_after = Some(retry_after);
        })
    }

    pub(crate) fn with_retry_after(self, after: Duration) -> Self {
        self.more(|more| more.retry_after = Some(after))
    }

    /// Why.
    pub fn code(&self) -> DenialCode {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// What happened, in one sentence for the client.
    pub fn detail(&self) -> &str {
        let own = self.more.as_ref().and_then(|more| more.detail.as_deref());
        own.unwrap_or_else(|| self.code.row().detail)
    }

    /// What the client can do about it.
    pub fn remediation(&self) -> &'static str {
        self.code.row().remediation
    }

    /// The module that was asked for.
    pub fn module(&self) -> Option<&Module> {
        self.more.as_ref()?.module.as_ref()
    }

    /// The license that the module needs.
    pub fn license(&self) -> Option<&LicenseId> {
        self.more.as_ref()?.license.as_ref()
    }

    /// The scopes that the caller lacks.
    pub fn missing_scopes(&self) -> &[Scope] {
        self.more.as_ref().map_or(&[], |more| &more.missing_scopes)
    }

    /// How long to wait before trying again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.more.as_ref()?.retry_after
    }

    /// `Retry-After` in whole seconds, rounded up, so that who waits that long is not early.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let after = self.retry_after()?;
        Some((after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1))
    }

    /// The problem document, as bytes of `application/problem+json`, with problem types below
    /// `type_base`, or in these docs where there is none.
    pub(crate) fn problem(&self, type_base: Option<&str>) -> Bytes {
        let mut body = Vec::with_capacity(512);
        let problem = Problem {
            denial: self,
            type_base,
        };
        serde_json::to_writer(&mut body, &problem).expect("a map of texts into memory");
        body.into()
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.more {
            Some(more) => f
                .debug_tuple("Denial")
                .field(&self.code)
                .field(more)
                .finish(),
            None => f.debug_tuple("Denial").field(&self.code).finish(),
        }
    }
}

impl From<DenialCode> for Denial {
    fn from(code: DenialCode) -> Self {
        Self::new(code)
    }
}

impl Serialize for Denial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Problem {
            denial: self,
            type_base: None,
        }
        .serialize(serializer)
    }
}

struct Problem<'a> {
    denial: &'a Denial,
    type_base: Option<&'a str>,
}

impl Serialize for Problem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let denial = self.denial;
        let row = denial.code.row();
        let mut map = serializer.serialize_map(None)?;
        // RFC 9457 §3.1.1: the type is a URI that people can follow.
        let (base, name) = self
            .type_base
            .map_or((DOCS, row.variant), |base| (base, row.code));
        map.serialize_entry("type", &format_args!("{base}{name}"))?;
        map.serialize_entry("title", row.title)?;
        map.serialize_entry("status", &row.status.as_u16())?;
        map.serialize_entry("detail", denial.detail())?;
        map.serialize_entry("code", row.code)?;
        map.serialize_entry("remediation", row.remediation)?;
        if let Some(more) = &denial.more {
            let mut text = |name, value: Option<&str>| match value {
                Some(value) => map.serialize_entry(name, value),
                None => Ok(()),
            };
            text("module", more.module.as_ref().map(Module::as_str))?;
            text("license", more.license.as_ref().map(LicenseId::as_str))?;
            text("tier", more.tier.as_ref().map(Tier::as_str))?;
            text("quota", more.quota.as_deref())?;
            if let Some(valid_until) = &more.valid_until {
                map.serialize_entry("valid_until", valid_until)?;
            }
            if !more.required_scopes.is_empty() {
                map.serialize_entry("required_scopes", &more.required_scopes)?;
                map.serialize_entry("missing_scopes", &more.missing_scopes)?;
            }
        }
        map.end()
    }
}

/// Renders refusals in the service's own way.
///
/// The layer asks for status, headers and body, then adds what the RFCs demand and the answer does
/// not carry: `WWW-Authenticate` on every 401, `Retry-After` where there is one, `Cache-Control:
/// no-store`, and the [`Denial`] among the response's extensions. gRPC clients get the trailers-only
/// answer of their protocol and never this one.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_api_key::{Denial, RenderDenial};
///
/// struct Plain;
/// impl RenderDenial for Plain {
///     fn render(&self, denial: &Denial) -> Response<Bytes> {
///         let mut response = Response::new(denial.detail().to_owned().into());
///         *response.status_mut() = denial.status();
///         response
///     }
/// }
/// ```
pub trait RenderDenial: Send + Sync + 'static {
    /// The answer to a refused request.
    fn render(&self, denial: &Denial) -> Response<Bytes>;
}

/// How refusals of one layer are answered.
pub(crate) struct Answers {
    pub(crate) renderer: Option<Box<dyn RenderDenial>>,
    pub(crate) type_base: Option<String>,
    /// `Bearer realm="…"`, closed by what the refusal adds.
    bearer: Option<String>,
    api_key: Option<HeaderValue>,
}

impl Answers {
    /// For a layer in `realm` that reads keys from `header` and, if so, as bearer tokens.
    pub(crate) fn new(
        realm: &str,
        header: Option<&str>,
        bearer: bool,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        HeaderValue::from_str(&realm)?;
        let api_key = header.map(|name| {
            HeaderValue::from_str(&format!("ApiKey realm=\"{realm}\", header=\"{name}\""))
        });
        Ok(Self {
            renderer: None,
            type_base: None,
            bearer: bearer.then(|| format!("Bearer realm=\"{realm}\"")),
            api_key: api_key.transpose()?,
        })
    }

    /// The whole answer to a request with these headers.
    pub(crate) fn answer(&self, denial: Denial, request: &HeaderMap) -> Response<Bytes> {
        match grpc_content_type(request) {
            Some(content_type) => trailers_only(denial, content_type.clone()),
            None => self.http(denial),
        }
    }

    /// The answer where a guard or an extractor finds that no layer ran before it: 500.
    pub(crate) fn not_gated() -> Response<Bytes> {
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
            "detail": "This route is not guarded. Is `ApiKeyLayer` enabled?",
        });
        let mut response = Response::new(problem.to_string().into());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn http(&self, denial: Denial) -> Response<Bytes> {
        let mut response = match &self.renderer {
            Some(renderer) => renderer.render(&denial),
            None => {
                let mut response = Response::new(denial.problem(self.type_base.as_deref()));
                *response.status_mut() = denial.status();
                response.headers_mut().insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/problem+json"),
                );
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.challenge(&denial, headers);
        if let Some(seconds) = denial.retry_after_seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(denial);
        response
    }

    /// RFC 9110 §11.6.1 for every 401; RFC 6750 §3 and §3.1 say which error a challenge names.
    fn challenge(&self, denial: &Denial, headers: &mut HeaderMap) {
        let unauthorized = denial.status() == StatusCode::UNAUTHORIZED;
        if !unauthorized && denial.code != DenialCode::InsufficientScope {
            return;
        }
        if let Some(bearer) = &self.bearer {
            let value = match denial.code {
                DenialCode::MissingCredential => bearer.clone(),
                DenialCode::InsufficientScope => {
                    let required = denial.more.as_ref().map_or(&[][..], |m| &m.required_scopes);
                    let scope = required
                        .iter()
                        .map(Scope::as_str)
                        .collect::<Vec<_>>()
                        .join(" ");
                    format!("{bearer}, error=\"insufficient_scope\", scope=\"{scope}\"")
                }
                _ => format!("{bearer}, error=\"invalid_token\""),
            };
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        }
        if unauthorized && let Some(api_key) = &self.api_key {
            headers.append(WWW_AUTHENTICATE, api_key.clone());
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// The content type of a gRPC request, in all its forms (`application/grpc`, `…+proto`, `…-web`).
fn grpc_content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let head = value.as_bytes().get(..GRPC.len())?;
    head.eq_ignore_ascii_case(GRPC).then_some(value)
}

/// A gRPC answer without a body: HTTP 200, the status in the headers (gRPC over HTTP/2,
/// "Trailers-Only").
fn trailers_only(denial: Denial, content_type: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert("grpc-status", u16::from(denial.code.grpc_status()).into());
    if let Ok(message) = HeaderValue::try_from(grpc_message(denial.detail())) {
        headers.insert("grpc-message", message);
    }
    headers.insert("error-code", HeaderValue::from_static(denial.code.as_str()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = denial.retry_after_seconds() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response.extensions_mut().insert(denial);
    response
}

/// `grpc-message` is percent-encoded: all but space to `~`, and `%` itself.
fn grpc_message(text: &str) -> String {
    const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    percent_encoding::utf8_percent_encode(text, ENCODED).to_string()
}

const GRPC: &[u8] = b"application/grpc";
const DOCS: &str =
    "https://docs.rs/tower-api-key/latest/tower_api_key/enum.DenialCode.html#variant.";
