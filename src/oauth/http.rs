//! A small HTTPS client: one request, one JSON answer, everything bounded.

use std::{fmt, fmt::Write as _, sync::Arc, time::Duration};

use ::http::{
    HeaderValue, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, USER_AGENT},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use zeroize::Zeroizing;

use super::{
    error::{FetchError, FetchErrorKind, OAuthSetupError},
    url::EndpointUrl,
};
use crate::error::BoxError;

/// Asks authorization servers: a handle, whose clones share one pool of connections.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_api_key::oauth::HttpClient;
///
/// let client = HttpClient::builder()
///     .with_root_certificates(&std::fs::read("ca.pem")?) // an authority of your own
///     .with_timeout(Duration::from_secs(2))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HttpClient(Arc<Shared>);

struct Shared {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl HttpClient {
    /// A client that trusts the operating system's root certificates and waits for 5 s.
    pub fn builder() -> HttpClientBuilder {
        HttpClientBuilder {
            tls: Tls::NativeRoots,
            timeout: Duration::from_secs(5),
        }
    }

    /// The JSON text at `url`.
    ///
    /// # Errors
    ///
    /// [`FetchError`] unless the answer is a 200 of a JSON type within the limits.
    pub(crate) async fn fetch_json(&self, url: &EndpointUrl) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Full::default());
        // The second one: a server that has its keys in this type only may insist (Kubernetes does).
        let accepted = HeaderValue::from_static("application/json, application/jwk-set+json");
        request.headers_mut().insert(ACCEPT, accepted);
        self.exchange(url, request).await
    }

    /// The JSON text that `url` answers a form with.
    ///
    /// # Errors
    ///
    /// [`FetchError`] unless the answer is a 200 of a JSON type within the limits.
    pub(crate) async fn post_form(
        &self,
        url: &EndpointUrl,
        fields: &[(&str, &str)],
        authorization: Option<&HeaderValue>,
    ) -> Result<Bytes, FetchError> {
        let mut form = Zeroizing::new(String::new());
        for (name, value) in fields {
            let ampersand = if form.is_empty() { "" } else { "&" };
            let _ = write!(form, "{ampersand}{}={}", Encoded(name), Encoded(value));
        }
        let body = Bytes::from_owner(Zeroizing::new(form.as_bytes().to_vec()));
        let mut request = Request::post("/")
            .body(Full::new(body))
            .expect("a method and a path that are constants");
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form_type);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.exchange(url, request).await
    }

    async fn exchange(
        &self,
        url: &EndpointUrl,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Bytes, FetchError> {
        *request.uri_mut() = url.uri().clone();
        let agent = concat!("tower-api-key/", env!("CARGO_PKG_VERSION"));
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let failed = |kind| FetchError::new(url, kind);
        let whole = async {
            let response = self.0.client.request(request).await.map_err(|error| {
                let kind = if error.is_connect() {
                    FetchErrorKind::Unreachable
                } else {
                    FetchErrorKind::BrokenOff
                };
                failed(kind).with_source(error)
            })?;
            let (head, body) = response.into_parts();
            if head.status != StatusCode::OK {
                return Err(failed(FetchErrorKind::Status(head.status.as_u16())));
            }
            if !is_json(&head.headers) {
                return Err(failed(FetchErrorKind::NotJson));
            }
            let body = Limited::new(body, LONGEST_ANSWER).collect().await;
            body.map(http_body_util::Collected::to_bytes)
                .map_err(|error| {
                    if error.is::<LengthLimitError>() {
                        failed(FetchErrorKind::TooLarge)
                    } else {
                        failed(FetchErrorKind::BrokenOff).with_source(error)
                    }
                })
        };
        tokio::time::timeout(self.0.timeout, whole)
            .await
            .unwrap_or_else(|_| Err(failed(FetchErrorKind::TimedOut)))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("timeout", &self.0.timeout)
            .finish_non_exhaustive()
    }
}

/// Sets up an [`HttpClient`].
#[derive(Debug)]
#[must_use]
pub struct HttpClientBuilder {
    tls: Tls,
    timeout: Duration,
}

enum Tls {
    NativeRoots,
    Roots(Vec<u8>),
    Own(Box<ClientConfig>),
}

// Says which, not what: a configuration may hold a private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NativeRoots => "NativeRoots",
            Self::Roots(_) => "Roots",
            Self::Own(_) => "Own",
        })
    }
}

impl HttpClientBuilder {
    /// Trusts the root certificates in this PEM text, and no others: an authority of your own. By
    /// default those of the operating system.
    pub fn with_root_certificates(mut self, pem: &[u8]) -> Self {
        self.tls = Tls::Roots(pem.to_vec());
        self
    }

    /// Uses this TLS configuration: for client certificates, pinned ones, a crypto provider of your
    /// own. Its ALPN protocols are replaced.
    pub fn with_tls_config(mut self, config: ClientConfig) -> Self {
        self.tls = Tls::Own(Box::new(config));
        self
    }

    /// Ends an exchange (name look-up, connection, request and answer together) after this time; by
    /// default 5 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// [`OAuthSetupError`] where no root certificate can be trusted, or the time limit is zero.
    pub fn build(self) -> Result<HttpClient, OAuthSetupError> {
        if self.timeout.is_zero() {
            return Err(OAuthSetupError::Setting("a time limit of zero"));
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(self.timeout));
        http.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.config()?)
            // An `EndpointUrl` is `https` wherever it has to be.
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(LONGEST_HEAD)
            .build(https);
        Ok(HttpClient(Arc::new(Shared {
            client,
            timeout: self.timeout,
        })))
    }
}

impl Tls {
    fn config(self) -> Result<ClientConfig, OAuthSetupError> {
        let no_roots = OAuthSetupError::NoRootCertificates;
        let roots = match self {
            Self::Own(mut config) => {
                config.alpn_protocols.clear();
                return Ok(*config);
            }
            Self::Roots(pem) => Some(parse_roots(&pem).map_err(no_roots)?),
            Self::NativeRoots => None,
        };
        // Named here: a process may have no default provider, or two to choose from.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| OAuthSetupError::Tls(error.into()))?;
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder
                .with_native_roots()
                .map_err(|error| no_roots(error.into()))?,
        };
        Ok(builder.with_no_client_auth())
    }
}

fn parse_roots(pem: &[u8]) -> Result<RootCertStore, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err("no certificate in the PEM text".into());
    }
    Ok(roots)
}

/// The `Authorization` field of a client that shows its secret by HTTP Basic ([RFC 6749
/// §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)): both parts form-encoded first.
pub(crate) fn basic_authorization(id: &str, secret: &str) -> HeaderValue {
    let pair = Zeroizing::new(format!("{}:{}", Encoded(id), Encoded(secret)));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

/// As `application/x-www-form-urlencoded`.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, words) in self.0.split(' ').enumerate() {
            let plus = if position == 0 { "" } else { "+" };
            write!(f, "{plus}{}", utf8_percent_encode(words, FORM))?;
        }
        Ok(())
    }
}

/// `application/json`, or a type built on it (`application/jwk-set+json`, RFC 6839 §3.1).
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// What the form encoding leaves as it is besides letters and digits.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');
/// Bytes of the longest answer, as `FetchErrorKind::TooLarge` says.
const LONGEST_ANSWER: usize = 512 * 1_024;
/// Bytes of the longest head of an answer.
const LONGEST_HEAD: usize = 64 * 1_024;
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS: usize = 32;

#[cfg(test)]
mod tests;
