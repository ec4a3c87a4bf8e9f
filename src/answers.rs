//! Refusals as answers: over HTTP, over gRPC, and in the service's own way.

use std::fmt;

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    request::Parts,
};

use crate::{
    credential::{Carriers, PROOF, Presented},
    denial::{Denial, DenialCode, Problem},
    grant::Grant,
    key_store::Scope,
    web_url::WebUrl,
};

/// Renders refusals in the service's own way.
///
/// The renderer decides on status, headers and body. The layer then adds what the answer lacks:
/// the challenges in `WWW-Authenticate` on a 401 (RFC 9110 §11.6.1), `Retry-After` where there is
/// one, `Cache-Control: no-store`, and always the [`Denial`] among the response's extensions. gRPC
/// clients get the trailers-only answer of their protocol and never this one.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_api_key::{Denial, RefusedRequest, RenderDenial};
///
/// struct Plain;
/// impl RenderDenial for Plain {
///     fn render(&self, denial: &Denial, _: &RefusedRequest<'_>) -> Response<Bytes> {
///         let mut response = Response::new(denial.detail().to_owned().into());
///         *response.status_mut() = denial.status();
///         response
///     }
/// }
/// ```
pub trait RenderDenial: Send + Sync + 'static {
    /// The answer to a refused request.
    fn render(&self, denial: &Denial, request: &RefusedRequest<'_>) -> Response<Bytes>;
}

/// What a renderer may know of the request it answers: all but its credential.
#[derive(Clone, Copy)]
pub struct RefusedRequest<'r> {
    method: &'r Method,
    uri: &'r Uri,
    headers: &'r HeaderMap,
    carriers: Option<&'r Carriers>,
    /// Whether its credential came with a proof.
    to_be_proven: bool,
}

impl<'r> RefusedRequest<'r> {
    pub(crate) fn new<B>(request: &'r http::Request<B>, presented: &Presented) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            carriers: None,
            to_be_proven: presented.is_to_be_proven() || was_proven(request.extensions()),
        }
    }

    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "used by extractors")
    )]
    pub(crate) fn of_parts(parts: &'r Parts) -> Self {
        let Parts {
            method,
            uri,
            headers,
            extensions,
            ..
        } = parts;
        Self {
            method,
            uri,
            headers,
            carriers: None,
            to_be_proven: was_proven(extensions),
        }
    }

    /// The method.
    pub fn method(&self) -> &'r Method {
        self.method
    }

    /// The path, as the client sent it; the query is left out, since it may hold a key.
    pub fn path(&self) -> &'r str {
        self.uri.path()
    }

    /// A header's first value, such as that of `Accept` or `Accept-Language`. Nothing for the
    /// headers that carry credentials.
    pub fn header(&self, name: &HeaderName) -> Option<&'r HeaderValue> {
        let own = self.carriers.and_then(|carriers| carriers.header.as_ref());
        let secret = name == AUTHORIZATION || name == PROOF || own == Some(name);
        self.headers.get(name).filter(|_| !secret)
    }
}

impl fmt::Debug for RefusedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// Whether the layer has found the proof in order that came with the credential.
fn was_proven(extensions: &Extensions) -> bool {
    extensions.get().is_some_and(Grant::is_bound)
}

/// How refusals of one layer are answered.
pub(crate) struct Answers {
    carriers: Carriers,
    renderer: Option<Box<dyn RenderDenial>>,
    type_base: Option<String>,
    /// `Bearer realm="…"` with what each bearer is told; the refusal may add an error.
    bearer: Option<String>,
    /// `DPoP realm="…", algs="…"` in the same way.
    dpop: Option<String>,
    /// One for each other carrier.
    api_key: Vec<HeaderValue>,
    /// What who sent nothing is told to do.
    how_to_send: String,
}

impl Answers {
    /// For a layer in `realm` that reads credentials from `carriers`, whose header is spelled like
    /// `header`, that tells who sends tokens where its metadata is, and that takes proofs signed with one
    /// of `algorithms`.
    pub(crate) fn new(
        realm: &str,
        resource_metadata: Option<&WebUrl>,
        carriers: Carriers,
        header: Option<&str>,
        algorithms: Option<&str>,
        renderer: Option<Box<dyn RenderDenial>>,
        type_base: Option<String>,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        // RFC 9110 §5.6.4: what is quoted in a quoted string.
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let realm = quoted(realm);
        let header = header.filter(|_| carriers.header.is_some());
        let mut api_key = Vec::new();
        let mut ways = Vec::new();
        if let Some(header) = header {
            api_key.push(format!("ApiKey realm=\"{realm}\", header=\"{header}\"").try_into()?);
            ways.push(format!("in the header {header}"));
        }
        if carriers.bearer {
            ways.push("as Authorization: Bearer".into());
        }
        if let Some(name) = &carriers.query {
            // With a header beside it nobody needs to be told of the way that ends up in logs.
            if ways.is_empty() {
                let name = quoted(name);
                api_key.push(format!("ApiKey realm=\"{realm}\", query=\"{name}\"").try_into()?);
                ways.push(format!("in the query parameter {name}"));
            }
        }
        // RFC 9728 §5.1, for either scheme. A URL has nothing that would have to be quoted.
        let metadata = resource_metadata
            .map(|url| format!(", resource_metadata=\"{}\"", url.as_str()))
            .unwrap_or_default();
        let bearer = carriers
            .bearer
            .then(|| format!("Bearer realm=\"{realm}\"{metadata}"));
        let dpop =
            algorithms.map(|names| format!("DPoP realm=\"{realm}\", algs=\"{names}\"{metadata}"));
        HeaderValue::from_str(&realm)?;
        let how_to_send = match ways.is_empty() {
            true => {
                "Send your token as Authorization: DPoP, with a proof in the header DPoP.".into()
            }
            false => format!("Send your API key {}.", ways.join(" or ")),
        };
        Ok(Self {
            carriers,
            renderer,
            type_base,
            bearer,
            dpop,
            api_key,
            how_to_send,
        })
    }

    /// The whole answer to a refused request.
    pub(crate) fn answer(&self, denial: Denial, request: RefusedRequest<'_>) -> Response<Bytes> {
        let mut response = match grpc_content_type(request.headers) {
            Some(content_type) => {
                let code = denial.code();
                trailers_only(
                    content_type,
                    code.grpc_status(),
                    denial.detail(),
                    code.as_str(),
                )
            }
            None => self.http(&denial, request),
        };
        let headers = response.headers_mut();
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(seconds) = denial.retry_after_seconds()
            && !headers.contains_key(RETRY_AFTER)
        {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(nonce) = denial.dpop_nonce() {
            headers.insert(NONCE, nonce.clone());
        }
        if let Some(fields) = denial.rate_fields() {
            fields.write(headers);
        }
        response.extensions_mut().insert(denial);
        response
    }

    fn http(&self, denial: &Denial, request: RefusedRequest<'_>) -> Response<Bytes> {
        let mut response = match &self.renderer {
            Some(renderer) => {
                let carriers = Some(&self.carriers);
                renderer.render(
                    denial,
                    &RefusedRequest {
                        carriers,
                        ..request
                    },
                )
            }
            None => problem(
                denial.status(),
                &Problem {
                    denial,
                    type_base: self.type_base.as_deref(),
                    remediation: match denial.code() {
                        DenialCode::MissingCredential => &self.how_to_send,
                        _ => denial.remediation(),
                    },
                },
            ),
        };
        if !response.headers().contains_key(WWW_AUTHENTICATE) {
            self.challenge(denial, request.to_be_proven, response.headers_mut());
        }
        response
    }

    /// RFC 9110 §11.6.1 for every 401; RFC 6750 §3 and §3.1 say which error a challenge names, and RFC
    /// 9449 §7.2 that it is the challenge of the scheme by which the credential came.
    fn challenge(&self, denial: &Denial, to_be_proven: bool, headers: &mut HeaderMap) {
        let unauthorized = denial.status() == StatusCode::UNAUTHORIZED;
        if !unauthorized && denial.code() != DenialCode::InsufficientScope {
            return;
        }
        let error = match denial.code() {
            DenialCode::MissingCredential => String::new(),
            DenialCode::InsufficientScope => {
                let required = denial.required_scopes().iter().map(Scope::as_str);
                let scope = required.collect::<Vec<_>>().join(" ");
                format!(", error=\"insufficient_scope\", scope=\"{scope}\"")
            }
            code @ (DenialCode::InvalidDpopProof | DenialCode::UseDpopNonce) => {
                format!(", error=\"{code}\"")
            }
            _ => ", error=\"invalid_token\"".into(),
        };
        for (scheme, is_used) in [(&self.bearer, !to_be_proven), (&self.dpop, to_be_proven)] {
            let Some(scheme) = scheme else { continue };
            let value = match (is_used, unauthorized) {
                (true, _) => format!("{scheme}{error}"),
                (false, true) => scheme.clone(),
                (false, false) => continue,
            };
            let value = HeaderValue::try_from(value).expect("realm and scopes are visible ASCII");
            headers.append(WWW_AUTHENTICATE, value);
        }
        if unauthorized {
            for challenge in &self.api_key {
                headers.append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("carriers", &self.carriers)
            .finish_non_exhaustive()
    }
}

/// The answer where a guard or an extractor finds that no layer ran before it: 500, over gRPC
/// status 13 INTERNAL.
pub(crate) fn not_gated(request: &HeaderMap) -> Response<Bytes> {
    const DETAIL: &str = "This route is not guarded. Is `ApiKeyLayer` enabled?";
    let mut response = match grpc_content_type(request) {
        Some(content_type) => trailers_only(content_type, 13, DETAIL, "not_gated"),
        None => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let title = status.canonical_reason();
            let body = serde_json::json!({
                "type": "about:blank", "title": title, "status": 500, "detail": DETAIL,
            });
            problem(status, &body)
        }
    };
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The content type of a gRPC request, in all its forms (`application/grpc`, `…+proto`, `…-web`).
fn grpc_content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let head = value.as_bytes().get(..GRPC.len())?;
    head.eq_ignore_ascii_case(GRPC).then_some(value)
}

fn problem(status: StatusCode, document: &impl serde::Serialize) -> Response<Bytes> {
    let mut body = Vec::with_capacity(512);
    serde_json::to_writer(&mut body, document).expect("a map of texts, into memory");
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A gRPC answer without a body: HTTP 200, the status in the headers (gRPC over HTTP/2,
/// "Trailers-Only").
fn trailers_only(
    content_type: &HeaderValue,
    status: u8,
    message: &str,
    code: &'static str,
) -> Response<Bytes> {
    // `grpc-message` is percent-encoded: all but space to `~`, and `%` itself.
    const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    let message = percent_encoding::utf8_percent_encode(message, ENCODED).to_string();
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type.clone());
    headers.insert("grpc-status", u16::from(status).into());
    let message = HeaderValue::try_from(message).expect("encoded into visible ASCII");
    headers.insert("grpc-message", message);
    headers.insert("error-code", HeaderValue::from_static(code));
    response
}

/// The nonce for the next proof (RFC 9449 §8).
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const GRPC: &[u8] = b"application/grpc";

/// A shared renderer is a renderer, also behind `Arc<dyn RenderDenial>`.
impl<T: RenderDenial + ?Sized> RenderDenial for std::sync::Arc<T> {
    fn render(&self, denial: &Denial, request: &RefusedRequest<'_>) -> Response<Bytes> {
        (**self).render(denial, request)
    }
}
