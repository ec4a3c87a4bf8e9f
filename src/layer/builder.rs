//! The settings of a layer.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use thiserror::Error;

use crate::{
    answers::{Answers, RenderDenial},
    clock::{Clock, SystemClock},
    credential::Carriers,
    forwarded::TrustedProxies,
    gate::{CheckPossession, Gate},
    grant::GateId,
    key_format::{KeyFormats, KeyHasher},
    key_store::{Environment, KeyStore},
    keys::KeyLocks,
    layer::{ApiKeyLayer, Shared},
    license_ledger::{LicenseLedger, Module},
    lookup::{Limits, Lookup, Tokens},
    maintenance,
    module_map::ModuleMap,
    name::InvalidName,
    path::{PathForm, PathForms},
    rate_headers::RateHeaders,
    rate_limiter::{Quota, RateLimiter, TierError},
    strangers::Strangers,
    token::{TokenVerifier, UserModules},
    uses::Uses,
    web_url::WebUrl,
};

/// The settings of an [`ApiKeyLayer`], each with a default that is safe.
///
/// How a credential is read:
///
/// 1. It stands in a header of its own (`X-API-Key: KEY`), in `Authorization: Bearer KEY` ([RFC 6750
///    §2.1][bearer]), or in a query parameter (`?api_key=KEY`), which is off by default.
/// 2. `Bearer` counts in any case, with one or more spaces behind it. An empty credential is there,
///    and invalid. Space around a header's value is not part of it.
/// 3. `Authorization` with another scheme is neither read nor removed; `Authorization: DPoP` is read
///    where tokens that are bound to a key are taken (RFC 9449, feature `jwt`).
/// 4. Names and values of the query string are percent-decoded once; `+` stands for itself.
/// 5. More than one credential is refused, equal ones too: a header or parameter twice, two of the
///    places of rule 1, a `Bearer` beside another `Authorization` header.
/// 6. Where the request goes on, the credential does not go with it, except on public routes, in
///    shadow mode, and [with a setting](Self::with_credential_kept).
///
/// ```
/// use tower_api_key::{ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules};
///
/// let map = RouteModules::builder().get("/engines", "launcher").build()?;
/// let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
///     .with_query_parameter("api_key")
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [bearer]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
#[must_use = "settings do nothing until `build` is called"]
pub struct ApiKeyLayerBuilder {
    store: Arc<dyn KeyStore>,
    map: Arc<dyn ModuleMap>,
    ledger: Arc<dyn LicenseLedger>,
    limiter: Option<Arc<dyn RateLimiter>>,
    tokens: Tokens,
    clock: Arc<dyn Clock>,
    formats: KeyFormats,
    hasher: KeyHasher,
    /// As the service spells it.
    header: Option<String>,
    bearer: bool,
    query: Option<String>,
    first_of_many: bool,
    environments: Option<Vec<Environment>>,
    proxies: Option<TrustedProxies>,
    admitted_paths: Vec<PathForm>,
    admits_preflight: bool,
    shadowed: Vec<Module>,
    limits: Limits,
    realm: String,
    resource_metadata: Option<String>,
    renderer: Option<Box<dyn RenderDenial>>,
    type_base: Option<String>,
    keeps_credential: bool,
    cache_headers: bool,
    rate_headers: RateHeaders,
    failure_quota: Option<Quota>,
    maintenance: maintenance::Settings,
    usage: bool,
    possession: Option<Arc<dyn CheckPossession>>,
}

/// Settings that cannot work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A header or parameter name that cannot be used, or none at all.
    #[error(transparent)]
    Carriers(#[from] InvalidName),
    /// A realm that cannot stand in a header.
    #[error("the realm {0:?} cannot stand in a header")]
    Realm(String),
    /// A setting that must not be zero is.
    #[error("`{0}` must not be zero")]
    Zero(&'static str),
    /// An empty list of environments admits no key at all.
    #[error("the list of environments is empty: no key would be admitted")]
    NoEnvironment,
    /// An empty list of trusted proxies leaves nobody whose header would be read.
    #[error("the list of trusted proxies is empty: no header would ever be read")]
    NoTrustedProxy,
    /// Quotas that cannot be.
    #[error(transparent)]
    Tiers(#[from] TierError),
    /// A verifier is known by a byte.
    #[error("more than {MOST_VERIFIERS} token verifiers")]
    TooManyVerifiers,
    /// A base of problem types to which no code can be appended for a URI reference.
    #[error("the problem type base {0:?} is neither a URI with a scheme nor an absolute path")]
    ProblemTypeBase(String),
    /// A place of the resource metadata that clients must not be sent to.
    #[error("the resource metadata URL {0:?} is not {rule}", rule = WebUrl::RULE)]
    ResourceMetadata(String),
    /// The bearer challenge says where the resource metadata is, and there is none.
    #[error("a resource metadata URL is told to bearers, but bearer tokens are not read")]
    ResourceMetadataWithoutBearer,
}

impl ApiKeyLayerBuilder {
    pub(super) fn new(
        store: Arc<dyn KeyStore>,
        map: Arc<dyn ModuleMap>,
        ledger: Arc<dyn LicenseLedger>,
    ) -> Self {
        Self {
            store,
            map,
            ledger,
            limiter: None,
            tokens: Tokens::default(),
            clock: Arc::new(SystemClock::new()),
            formats: KeyFormats::default(),
            hasher: KeyHasher::default(),
            header: Some("X-API-Key".into()),
            bearer: true,
            query: None,
            first_of_many: false,
            environments: None,
            proxies: None,
            admitted_paths: Vec::new(),
            admits_preflight: false,
            shadowed: Vec::new(),
            limits: Limits {
                max_staleness: Duration::from_secs(30),
                cache_ttl: Duration::from_secs(5),
                cache_capacity: 100_000,
                lookup_timeout: Duration::from_millis(250),
                verification_timeout: Duration::from_secs(5),
                lookups_at_once: 64,
            },
            realm: "api".into(),
            resource_metadata: None,
            renderer: None,
            type_base: None,
            keeps_credential: false,
            cache_headers: true,
            rate_headers: RateHeaders {
                standard: true,
                x: false,
            },
            failure_quota: Some(
                Quota::new("failed-auth", 60, Duration::from_secs(60)).expect("a valid quota"),
            ),
            maintenance: maintenance::Settings::default(),
            usage: true,
            possession: None,
        }
    }

    /// Reads keys from the header `name`, in any case; answers spell it like this. By default
    /// `X-API-Key`.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_header("X-Studio-Key")
    /// # ;
    /// ```
    pub fn with_header(mut self, name: impl Into<String>) -> Self {
        self.header = Some(name.into());
        self
    }

    /// Reads no header of its own.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.without_header()
    /// # ;
    /// ```
    pub fn without_header(mut self) -> Self {
        self.header = None;
        self
    }

    /// Whether keys and tokens are read from `Authorization: Bearer` (RFC 6750 §2.1). By default
    /// they are.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_bearer(false)
    /// # ;
    /// ```
    pub fn with_bearer(mut self, bearer: bool) -> Self {
        self.bearer = bearer;
        self
    }

    /// Reads keys from the query parameter `name` too. By default from none: query strings end up
    /// in access logs, browser histories and `Referer` headers.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_query_parameter("api_key")
    /// # ;
    /// ```
    pub fn with_query_parameter(mut self, name: impl Into<String>) -> Self {
        self.query = Some(name.into());
        self
    }

    /// Takes the first of several credentials (header before bearer token before query parameter)
    /// instead of refusing the request. By default it is refused (RFC 6750 §3.1).
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_first_of_many(true)
    /// # ;
    /// ```
    pub fn with_first_of_many(mut self, first: bool) -> Self {
        self.first_of_many = first;
        self
    }

    /// Leaves the credential in the request; header values are marked as sensitive. By default it
    /// is removed, so that it reaches no handler.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_credential_kept(true)
    /// # ;
    /// ```
    pub fn with_credential_kept(mut self, kept: bool) -> Self {
        self.keeps_credential = kept;
        self
    }

    /// The key formats that are accepted; their first one is what [`ApiKeyLayer::manager`]
    /// generates. By default `rk_live_…` with a checksum, and the plain hex form beside it.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, InvalidName, KeyFormat, KeyFormats};
    /// # fn set(builder: ApiKeyLayerBuilder) -> Result<ApiKeyLayerBuilder, InvalidName> {
    /// let builder = builder.with_formats(KeyFormats::new(KeyFormat::checked("acme")?));
    /// # Ok(builder) }
    /// ```
    pub fn with_formats(mut self, formats: KeyFormats) -> Self {
        self.formats = formats;
        self
    }

    /// How texts become digests. By default SHA-256; a peppered HMAC makes a stolen store useless
    /// without the pepper.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, InvalidName, KeyHasher};
    /// # fn set(builder: ApiKeyLayerBuilder, pepper: [u8; 32]) -> Result<ApiKeyLayerBuilder, InvalidName> {
    /// let builder = builder.with_hasher(KeyHasher::hmac_sha256(pepper)?);
    /// # Ok(builder) }
    /// ```
    pub fn with_hasher(mut self, hasher: KeyHasher) -> Self {
        self.hasher = hasher;
        self
    }

    /// Admits only keys of these environments. By default every key.
    ///
    /// ```
    /// # use tower_api_key::Environment;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_environments([Environment::live()])
    /// # ;
    /// ```
    pub fn with_environments(
        mut self,
        environments: impl IntoIterator<Item = Environment>,
    ) -> Self {
        self.environments = Some(environments.into_iter().collect());
        self
    }

    /// Takes the client's address from the header of these proxies: the address that a key's allowed
    /// addresses and the rate limiter go by. By default it is the connection's other end, and no
    /// header has a say.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, InvalidName, TrustedProxies};
    /// # fn set(builder: ApiKeyLayerBuilder) -> Result<ApiKeyLayerBuilder, InvalidName> {
    /// let builder = builder.with_trusted_proxies(TrustedProxies::x_forwarded_for(["10.0.7.1".parse()?]));
    /// # Ok(builder) }
    /// ```
    pub fn with_trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// Admits a form of path that two parsers could read in two ways. By default none.
    ///
    /// ```
    /// # use tower_api_key::PathForm;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_path_form_admitted(PathForm::EncodedSlash)
    /// # ;
    /// ```
    pub fn with_path_form_admitted(mut self, form: PathForm) -> Self {
        self.admitted_paths.push(form);
        self
    }

    /// Lets CORS preflight requests through without a credential. By default they are treated like
    /// any other request: put a CORS layer outside, which answers them itself.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_preflight_admitted(true)
    /// # ;
    /// ```
    pub fn with_preflight_admitted(mut self, admitted: bool) -> Self {
        self.admits_preflight = admitted;
        self
    }

    /// Puts a module in shadow mode: a request to a route all of whose modules are in it always
    /// passes, with its credential, and what would have been its refusal is counted, logged, and put
    /// among the request's extensions. Always: also where the refusal would have been 400 (more than
    /// one credential), 429 or 503 (an outage). Only an ambiguous path is refused all the same, since
    /// no route is known then. By default no module is in shadow mode.
    ///
    /// Neither a module misspelt here nor one misspelt in the map is reported: compare both with
    /// what the ledger knows, [`RouteModules::modules`](crate::RouteModules::modules) and
    /// [`Overview::modules`](crate::Overview::modules).
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, InvalidName, Module};
    /// # fn set(builder: ApiKeyLayerBuilder) -> Result<ApiKeyLayerBuilder, InvalidName> {
    /// let builder = builder.with_shadowed_module(Module::new("launcher")?);
    /// # Ok(builder) }
    /// ```
    pub fn with_shadowed_module(mut self, module: Module) -> Self {
        self.shadowed.push(module);
        self
    }

    /// Counts requests and refuses those over the quota. By default there is no limit.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, RateLimiter};
    /// # fn set(builder: ApiKeyLayerBuilder, limiter: impl RateLimiter) -> ApiKeyLayerBuilder {
    /// builder.with_rate_limiter(limiter)
    /// # }
    /// ```
    pub fn with_rate_limiter(mut self, limiter: impl RateLimiter) -> Self {
        self.limiter = Some(Arc::new(limiter));
        self
    }

    /// Whether grants and 429s say what is left of the caller's quotas, in `RateLimit-Policy` and
    /// `RateLimit` ([draft-ietf-httpapi-ratelimit-headers-10][draft]). By default they do, where a
    /// limiter tells; what passes in shadow mode alone has none. `t` is in seconds until more is left.
    ///
    /// [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_rate_limit_headers(false)
    /// # ;
    /// ```
    pub fn with_rate_limit_headers(mut self, on: bool) -> Self {
        self.rate_headers.standard = on;
        self
    }

    /// Whether grants and 429s have `X-RateLimit-Limit`, `X-RateLimit-Remaining` and
    /// `X-RateLimit-Reset` too, for clients that read those: of the quota of which least is left, and
    /// the last one in seconds since 1970. By default they do not.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_x_rate_limit_headers(true)
    /// # ;
    /// ```
    pub fn with_x_rate_limit_headers(mut self, on: bool) -> Self {
        self.rate_headers.x = on;
        self
    }

    /// How many credentials from one address (of IPv6 one /64 network) may turn out to be nobody's;
    /// after that, credentials from there that are not remembered get 429 before the store is asked.
    /// By default 60 a minute, by the name `failed-auth`.
    ///
    /// Only what the store had to be asked about counts: what is malformed, or known not to exist, is
    /// 401 without it, and what the store could not answer is nobody's fault. More attempts than may
    /// still fail wait in line until it is known of those under way. A key that is remembered is never
    /// held up.
    ///
    /// Callers whose address is not known share one bucket, and so do all behind a proxy that the layer
    /// does not know: there one who guesses holds up every key that is not remembered. So tell the layer
    /// of addresses, by [`PeerAddress`](crate::PeerAddress) and
    /// [`with_trusted_proxies`](Self::with_trusted_proxies), or switch it off.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, Quota, QuotaError};
    /// # fn set(builder: ApiKeyLayerBuilder) -> Result<ApiKeyLayerBuilder, QuotaError> {
    /// let builder = builder.with_failure_quota(Quota::per_minute(10)?);
    /// # Ok(builder) }
    /// ```
    pub fn with_failure_quota(mut self, quota: Quota) -> Self {
        self.failure_quota = Some(quota);
        self
    }

    /// Asks the store about every well-formed key, however many from one address are nobody's. By
    /// default there is a [quota](Self::with_failure_quota).
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.without_failure_quota()
    /// # ;
    /// ```
    pub fn without_failure_quota(mut self) -> Self {
        self.failure_quota = None;
        self
    }

    /// Accepts bearer tokens that are no keys; called again, those of one more verifier. Of several the
    /// first that recognizes a text decides about it, so one `JwtVerifier` takes the JWTs of all issuers.
    /// Beside a verifier that takes any text (`Introspection`) imported keys of foreign forms come in
    /// the header of their own, and not as bearers. By default no tokens are accepted.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, TokenVerifier};
    /// # fn set(builder: ApiKeyLayerBuilder, verifier: impl TokenVerifier) -> ApiKeyLayerBuilder {
    /// builder.with_token_verifier(verifier)
    /// # }
    /// ```
    pub fn with_token_verifier(mut self, verifier: impl TokenVerifier) -> Self {
        self.tokens.verifiers.push(Arc::new(verifier));
        self
    }

    /// Where the modules of users come from, who have a token instead of a key. By default the ledger
    /// knows them, as those of keys.
    ///
    /// ```
    /// # use tower_api_key::UserModules;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_user_modules(UserModules::FromToken)
    /// # ;
    /// ```
    pub fn with_user_modules(mut self, source: UserModules) -> Self {
        self.tokens.user_modules = source;
        self
    }

    /// Accepts tokens that are bound to a key of their client's, sent as `Authorization: DPoP`, and checks
    /// the proofs that come with them ([RFC 9449][dpop]). By default none are; a bound token is refused
    /// as a bearer token in any case.
    ///
    /// [dpop]: https://www.rfc-editor.org/rfc/rfc9449
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, jwt::{Dpop, DpopSetupError}};
    /// # fn set(builder: ApiKeyLayerBuilder) -> Result<ApiKeyLayerBuilder, DpopSetupError> {
    /// let builder = builder.with_dpop(Dpop::builder("https://api.example.com").build()?);
    /// # Ok(builder) }
    /// ```
    #[cfg(feature = "jwt")]
    pub fn with_dpop(mut self, dpop: crate::jwt::Dpop) -> Self {
        self.possession = Some(Arc::new(dpop));
        self
    }

    /// Where the time comes from. By default the system's clocks.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tower_api_key::ManualClock;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_clock(Arc::new(ManualClock::new()))
    /// # ;
    /// ```
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How long what is known is used after the last word from a backend that cannot be reached;
    /// after that the answer is 503. By default 30 seconds; zero is allowed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_max_staleness(Duration::from_secs(10))
    /// # ;
    /// ```
    pub fn with_max_staleness(mut self, most: Duration) -> Self {
        self.limits.max_staleness = most;
        self
    }

    /// How long the answers of a store that cannot tell of changes are used. By default 5 seconds;
    /// zero is allowed. Stores that tell of changes are not affected.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_cache_ttl(Duration::from_secs(1))
    /// # ;
    /// ```
    pub fn with_cache_ttl(mut self, ttl: Duration) -> Self {
        self.limits.cache_ttl = ttl;
        self
    }

    /// How many credentials are remembered (some 250 bytes each), and a quarter as many unknown
    /// texts. By default 100,000.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_cache_capacity(10_000)
    /// # ;
    /// ```
    pub fn with_cache_capacity(mut self, credentials: usize) -> Self {
        self.limits.cache_capacity = credentials;
        self
    }

    /// How long a look-up may take, waiting for its turn included, before the answer is 503. By
    /// default 250 ms.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_lookup_timeout(Duration::from_millis(100))
    /// # ;
    /// ```
    pub fn with_lookup_timeout(mut self, timeout: Duration) -> Self {
        self.limits.lookup_timeout = timeout;
        self
    }

    /// How long the verification of a token may take, waiting for its turn included, before the
    /// request is answered 503. By default 5 seconds: an issuer that has to be asked is farther away
    /// than a store, and a token's requests wait for it while no key's do.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_verification_timeout(Duration::from_secs(2))
    /// # ;
    /// ```
    pub fn with_verification_timeout(mut self, timeout: Duration) -> Self {
        self.limits.verification_timeout = timeout;
        self
    }

    /// How many look-ups of keys may be under way at once, and as many verifications of tokens. By
    /// default 64.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_lookups_at_once(16)
    /// # ;
    /// ```
    pub fn with_lookups_at_once(mut self, most: usize) -> Self {
        self.limits.lookups_at_once = most;
        self
    }

    /// The realm named in `WWW-Authenticate` (RFC 9110 §11.5), in ASCII. By default `api`.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_realm("studio")
    /// # ;
    /// ```
    pub fn with_realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Tells clients where this service's OAuth metadata is, in the `Bearer` challenge of each 401
    /// and of a 403 for want of a scope ([RFC 9728 §5.1][challenge]): from there they find out whom
    /// to ask for a token. An `https` URL (`http` only for localhost). By default they are not told.
    ///
    /// `ResourceMetadata`, with the feature `oauth`, is a service that answers with the document and
    /// knows its URL.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_resource_metadata("https://api.example.com/.well-known/oauth-protected-resource")
    /// # ;
    /// ```
    ///
    /// [challenge]: https://www.rfc-editor.org/rfc/rfc9728#section-5.1
    pub fn with_resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.resource_metadata = Some(url.into());
        self
    }

    /// Renders refusals in the service's own way. By default as RFC 9457 problem documents.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayerBuilder, RenderDenial};
    /// # fn set(builder: ApiKeyLayerBuilder, renderer: impl RenderDenial) -> ApiKeyLayerBuilder {
    /// builder.with_renderer(renderer)
    /// # }
    /// ```
    pub fn with_renderer(mut self, renderer: impl RenderDenial) -> Self {
        self.renderer = Some(Box::new(renderer));
        self
    }

    /// The URI, or path from the root, that, followed by a refusal's code, is its problem type
    /// (RFC 9457 §3.1.1). By default the code's place in these docs.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_problem_type_base("https://example.com/errors#")
    /// # ;
    /// ```
    pub fn with_problem_type_base(mut self, base: impl Into<String>) -> Self {
        self.type_base = Some(base.into());
        self
    }

    /// Whether grants get `Vary` with the credential headers and, where the handler set none,
    /// `Cache-Control: private`. By default they do (RFC 9111 §3.5 protects `Authorization` only).
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_cache_headers(false)
    /// # ;
    /// ```
    pub fn with_cache_headers(mut self, on: bool) -> Self {
        self.cache_headers = on;
        self
    }

    /// Whether the requests of each key are counted, by hour and by what came of them: see
    /// [`usage`](crate::usage). By default they are. Switched off, nothing is counted or written, and
    /// what the store has is neither changed nor forgotten.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_usage(false)
    /// # ;
    /// ```
    pub fn with_usage(mut self, on: bool) -> Self {
        self.usage = on;
        self
    }

    /// How often last-used times are written, each key at most once, and with them what was counted of
    /// [`usage`](crate::usage). By default each minute. At shutdown those of the last interval are
    /// lost, unless the service calls [`ApiKeyLayer::flush`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_last_used_interval(Duration::from_secs(300))
    /// # ;
    /// ```
    pub fn with_last_used_interval(mut self, interval: Duration) -> Self {
        self.maintenance.last_used_every = interval;
        self
    }

    /// How often store and ledger are compared, and what a crash cut in two between them is repaired,
    /// as [`KeyManager::reconcile`](crate::KeyManager::reconcile) does: at start, and then so often
    /// where anything has changed since. By default each minute.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_reconcile_interval(Duration::from_secs(600))
    /// # ;
    /// ```
    pub fn with_reconcile_interval(mut self, interval: Duration) -> Self {
        self.maintenance.reconcile_every = interval;
        self
    }

    /// Whether a task of the layer's own, within a tokio runtime, lets the ledger's time pass and
    /// writes last-used times, until the layer and its services are gone. By default it does;
    /// otherwise call [`ApiKeyLayer::maintain`] twice a second.
    ///
    /// ```
    /// # |builder: tower_api_key::ApiKeyLayerBuilder|
    /// builder.with_maintenance_task(false)
    /// # ;
    /// ```
    pub fn with_maintenance_task(mut self, on: bool) -> Self {
        self.maintenance.task = on;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the setting that cannot work.
    pub fn build(mut self) -> Result<ApiKeyLayer, SetupError> {
        let carriers = Carriers {
            header: self.header.as_deref().map(header_name).transpose()?,
            bearer: self.bearer,
            dpop: self.possession.is_some(),
            query: self.query,
            first_of_many: self.first_of_many,
        };
        carriers.check()?;
        if self.environments.as_ref().is_some_and(Vec::is_empty) {
            return Err(SetupError::NoEnvironment);
        }
        if self.proxies.as_ref().is_some_and(TrustedProxies::is_empty) {
            return Err(SetupError::NoTrustedProxy);
        }
        for (name, zero) in [
            ("cache_capacity", self.limits.cache_capacity == 0),
            ("lookup_timeout", self.limits.lookup_timeout.is_zero()),
            (
                "verification_timeout",
                self.limits.verification_timeout.is_zero(),
            ),
            ("lookups_at_once", self.limits.lookups_at_once == 0),
        ] {
            if zero {
                return Err(SetupError::Zero(name));
            }
        }
        if self.tokens.verifiers.len() > MOST_VERIFIERS {
            return Err(SetupError::TooManyVerifiers);
        }
        // What is beyond ASCII is opaque to who reads a header (RFC 9110 §5.5).
        if !self.realm.is_ascii() {
            return Err(SetupError::Realm(self.realm));
        }
        if let Some(base) = self.type_base.take_if(|base| !is_uri_reference(base)) {
            return Err(SetupError::ProblemTypeBase(base));
        }
        if self.resource_metadata.is_some() && !self.bearer {
            return Err(SetupError::ResourceMetadataWithoutBearer);
        }
        let web_url = |url: String| WebUrl::parse(&url).ok_or(SetupError::ResourceMetadata(url));
        let resource_metadata = self.resource_metadata.map(web_url).transpose()?;
        let header = carriers.header.as_ref().map(HeaderName::as_str);
        let algorithms = self.possession.as_deref().map(CheckPossession::algorithms);
        let answers = Answers::new(
            &self.realm,
            resource_metadata.as_ref(),
            carriers.clone(),
            self.header.as_deref(),
            algorithms.as_deref(),
            self.renderer,
            self.type_base,
        )
        .map_err(|_| SetupError::Realm(self.realm))?;
        let strangers = |quota| Strangers::new(quota, Arc::clone(&self.clock)).map(Arc::new);
        let strangers = self.failure_quota.map(strangers).transpose()?;
        let shared = Arc::new(Shared {
            vary: vary(header, self.bearer || self.possession.is_some()),
            cache_headers: self.cache_headers,
            answers: Arc::new(answers),
            keeps_credential: self.keeps_credential,
            maintenance: maintenance::Schedule::new(self.maintenance),
            key_locks: KeyLocks::new(),
            gate: Gate {
                id: GateId::new(),
                lookup: Arc::new(Lookup::new(
                    self.store,
                    self.ledger,
                    self.tokens,
                    self.clock,
                    strangers,
                    self.limits,
                )),
                uses: Arc::new(Uses::new(self.usage)),
                map: self.map,
                limiter: self.limiter,
                rate_headers: self.rate_headers,
                carriers,
                formats: self.formats,
                hasher: self.hasher,
                environments: self.environments,
                proxies: self.proxies,
                admitted_paths: PathForms::from_iter(self.admitted_paths),
                admits_preflight: self.admits_preflight,
                shadowed: self.shadowed,
                possession: self.possession,
            },
        });
        shared.start_maintenance();
        Ok(ApiKeyLayer { shared })
    }
}

impl fmt::Debug for ApiKeyLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyLayerBuilder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

const MOST_VERIFIERS: usize = 256;

fn header_name(name: &str) -> Result<HeaderName, InvalidName> {
    let rule = "a header name (RFC 9110 §5.1)";
    name.parse()
        .map_err(|_| InvalidName::new("credential header", name, rule))
}

/// A URI with a scheme, or a path from the root (RFC 3986 §3.1, §4.2); characters that no URI has
/// are in neither.
fn is_uri_reference(text: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && (scheme.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let rooted = text.starts_with('/') || text.split_once(':').is_some_and(|(s, _)| scheme(s));
    rooted && (text.bytes()).all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

/// The headers that decide what a client gets (RFC 9110 §12.5.5).
fn vary(header: Option<&str>, authorization: bool) -> Option<HeaderValue> {
    match (header, authorization) {
        // The usual case costs no reference count that all threads would share.
        (Some("x-api-key"), true) => Some(HeaderValue::from_static("x-api-key, authorization")),
        (Some(name), true) => HeaderValue::try_from(format!("{name}, authorization")).ok(),
        (Some(name), false) => HeaderValue::try_from(name).ok(),
        (None, true) => Some(HeaderValue::from_static("authorization")),
        (None, false) => None,
    }
}
