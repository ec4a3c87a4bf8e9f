//! The keys of an issuer, fetched from where it publishes them.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch};

use super::{
    discovery::discover,
    error::{FetchError, FetchErrorKind, OAuthSetupError},
    http::HttpClient,
    url::{EndpointUrl, IssuerUrl},
};
use crate::{
    changes::Changes,
    clock::{Clock, Now, SystemClock},
    error::BackendError,
    jwt::{KeySet, KeySource, key_set::Watchers},
    observe::{self, Backend},
    token::TokenError,
};

/// The keys that an issuer publishes as a JWK Set ([RFC 7517
/// §5](https://www.rfc-editor.org/rfc/rfc7517#section-5)): a handle, whose clones share one set.
///
/// 1. They are fetched when first needed, or by [`prefetch`](Self::prefetch), and again when they are
///    5 minutes old and someone asks: who asks gets the old ones meanwhile.
/// 2. A token that names a key not in the set has it fetched again, and waits: a key that the issuer
///    has just begun to use is known with its first token. A request waits as long as the layer lets a
///    verification last; the fetch goes on without it.
/// 3. There is one fetch at a time, whoever asks and whoever goes away, and at most one in 10 s,
///    failed ones included. Tokens that name made-up keys cause no more than that: in between, the
///    answer to them is that of the latest fetch. Was it a set without the key, the token is invalid
///    (401); did it fail, nobody knows (503).
/// 4. While fetches fail the old keys stay in use, until they are an hour old. From then on no token
///    is verified (503) until a fetch succeeds.
/// 5. Where a new set lacks a key of the old one, or has another one in its place, verified tokens are
///    forgotten at once.
///
/// A key that the issuer withdraws is therefore refused after 5 minutes, plus the time for which
/// verified tokens are remembered. Where nobody asked for longer, the old keys still judge the first
/// token, up to that hour.
///
/// ```no_run
/// use tower_api_key::oauth::RemoteKeys;
/// use tower_api_key::jwt::Issuer;
///
/// # async fn set_up() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = RemoteKeys::discover("https://issuer.example").build()?;
/// keys.prefetch().await?; // to fail now, and not on the first request
/// let issuer = Issuer::new("https://issuer.example").with_audience("api").with_keys(keys);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RemoteKeys(Arc<Shared>);

struct Shared {
    place: Place,
    client: HttpClient,
    least_interval: Duration,
    refresh_after: Duration,
    max_staleness: Duration,
    clock: Arc<dyn Clock>,
    fetched: ArcSwapOption<Fetched>,
    latest: Mutex<Option<Attempt>>,
    watchers: Watchers,
}

#[derive(Debug, Clone)]
enum Place {
    Issuer(IssuerUrl),
    KeySet(EndpointUrl),
}

/// A set, and when the fetch of it began.
struct Fetched {
    keys: Arc<KeySet>,
    at: Duration,
}

#[derive(Clone)]
struct Attempt {
    began: Duration,
    /// Nothing until it ends; closed without an outcome if it dies.
    outcome: watch::Receiver<Option<Result<Arc<KeySet>, FetchError>>>,
}

impl Attempt {
    fn is_under_way(&self) -> bool {
        // Closed: it has ended, or died.
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }

    /// Its outcome, once it has one; nothing where it died.
    async fn outcome(mut self) -> Option<Result<Arc<KeySet>, FetchError>> {
        self.outcome.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl RemoteKeys {
    /// The keys of this issuer, found through the document it publishes about itself (OpenID Connect
    /// Discovery 1.0, or [RFC 8414](https://www.rfc-editor.org/rfc/rfc8414)), whose `issuer` must be
    /// this text exactly.
    pub fn discover(issuer: impl Into<String>) -> RemoteKeysBuilder {
        RemoteKeysBuilder::new(issuer.into(), true)
    }

    /// The JWK Set at this URL.
    pub fn at(jwks_uri: impl Into<String>) -> RemoteKeysBuilder {
        RemoteKeysBuilder::new(jwks_uri.into(), false)
    }

    /// Fetches the keys now, unless that was tried a moment ago: then its outcome is the answer.
    ///
    /// # Errors
    ///
    /// [`FetchError`], and the keys will be fetched when they are needed.
    pub async fn prefetch(&self) -> Result<(), FetchError> {
        self.outcome(self.0.clock.now()).await.map(|_| ())
    }

    /// The outcome of the latest attempt, which is a new one where it is time for one.
    async fn outcome(&self, now: Now) -> Result<Arc<KeySet>, FetchError> {
        let outcome = self.attempt(now)?.outcome().await;
        outcome.unwrap_or_else(|| Err(self.0.died()))
    }

    fn attempt(&self, now: Now) -> Result<Attempt, FetchError> {
        let shared = &self.0;
        let mut latest = shared.latest.lock();
        if let Some(attempt) = &*latest
            && (attempt.is_under_way()
                || now.monotonic.saturating_sub(attempt.began) < shared.least_interval)
        {
            return Ok(attempt.clone());
        }
        let runtime = Handle::try_current().map_err(|_| shared.died())?;
        let (tell, outcome) = watch::channel(None);
        let began = now.monotonic;
        let attempt = Attempt { began, outcome };
        *latest = Some(attempt.clone());
        drop(latest);
        // A task of its own: who asked and goes away cancels nobody.
        let shared = Arc::clone(shared);
        runtime.spawn(async move {
            let outcome = shared.fetch().await;
            let outcome = outcome.map(|keys| shared.land(keys, began));
            if let Err(error) = &outcome {
                // While the old keys are good nobody else would tell.
                let error = BackendError::unavailable(error.clone());
                observe::backend_failed(Backend::Verifier, &error);
            }
            tell.send_replace(Some(outcome));
        });
        Ok(attempt)
    }
}

#[async_trait]
impl KeySource for RemoteKeys {
    fn known(&self, now: Now) -> Option<Arc<KeySet>> {
        let fetched = self.0.fetched.load();
        let fetched = fetched.as_ref()?;
        let age = now.monotonic.saturating_sub(fetched.at);
        if age >= self.0.refresh_after {
            // Goes on by itself, and tells by itself if it fails.
            let _ = self.attempt(now);
        }
        (age < self.0.max_staleness).then(|| Arc::clone(&fetched.keys))
    }

    async fn refresh(&self, now: Now) -> Result<Arc<KeySet>, TokenError> {
        self.outcome(now)
            .await
            .map_err(|error| TokenError::Unavailable(error.into()))
    }

    fn watched_by(&self, changes: &Changes) {
        self.0.watchers.add(changes);
    }
}

impl Shared {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let discovered;
        let url = match &self.place {
            Place::KeySet(url) => url,
            Place::Issuer(issuer) => {
                discovered = discover(&self.client, issuer, "jwks_uri").await?;
                &discovered
            }
        };
        let text = self.client.fetch_json(url).await?;
        let malformed = || FetchError::new(url, FetchErrorKind::Malformed);
        let keys = KeySet::from_jwks(&text).map_err(|error| malformed().with_source(error))?;
        // Nobody withdraws all keys at once: those that are known stay in use for a while.
        match keys.is_empty() {
            true => Err(malformed().with_source("no key in it can be used")),
            false => Ok(keys),
        }
    }

    /// Puts a new set in place of the old one.
    fn land(&self, keys: KeySet, at: Duration) -> Arc<KeySet> {
        let keys = Arc::new(keys);
        let fetched = Fetched {
            keys: Arc::clone(&keys),
            at,
        };
        let before = self.fetched.swap(Some(Arc::new(fetched)));
        if before.is_some_and(|before| !keys.contains_all(&before.keys)) {
            // Last: whose answer is as of now has it from the new keys.
            self.watchers.tell_everything();
        }
        keys
    }

    fn died(&self) -> FetchError {
        let kind = FetchErrorKind::Died;
        match &self.place {
            Place::Issuer(issuer) => FetchError::new(issuer.url(), kind),
            Place::KeySet(url) => FetchError::new(url, kind),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Sets up [`RemoteKeys`].
#[must_use]
pub struct RemoteKeysBuilder {
    url: String,
    is_issuer: bool,
    client: Option<HttpClient>,
    least_interval: Duration,
    refresh_after: Duration,
    max_staleness: Duration,
    clock: Arc<dyn Clock>,
}

impl RemoteKeysBuilder {
    fn new(url: String, is_issuer: bool) -> Self {
        Self {
            url,
            is_issuer,
            client: None,
            least_interval: Duration::from_secs(10),
            refresh_after: Duration::from_secs(300),
            max_staleness: Duration::from_secs(3_600),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Asks through this client; by default through one of its own with default settings.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = Some(client);
        self
    }

    /// The least time between the beginnings of two fetches, at least 1 s; by default 10 s.
    ///
    /// ```
    /// # use {std::time::Duration, tower_api_key::oauth::RemoteKeys};
    /// RemoteKeys::at("https://issuer.example/keys").with_least_interval(Duration::from_secs(30));
    /// ```
    pub fn with_least_interval(mut self, interval: Duration) -> Self {
        self.least_interval = interval;
        self
    }

    /// The age at which keys are fetched again when someone asks for them, at least the interval; by
    /// default 5 minutes.
    ///
    /// ```
    /// # use {std::time::Duration, tower_api_key::oauth::RemoteKeys};
    /// RemoteKeys::at("https://issuer.example/keys").with_refresh_after(Duration::from_secs(60));
    /// ```
    pub fn with_refresh_after(mut self, age: Duration) -> Self {
        self.refresh_after = age;
        self
    }

    /// The age from which keys are no longer used if no newer ones can be fetched, at least that at
    /// which they are fetched again; by default an hour.
    ///
    /// ```
    /// # use {std::time::Duration, tower_api_key::oauth::RemoteKeys};
    /// RemoteKeys::at("https://issuer.example/keys").with_max_staleness(Duration::from_secs(900));
    /// ```
    pub fn with_max_staleness(mut self, age: Duration) -> Self {
        self.max_staleness = age;
        self
    }

    /// Where [`RemoteKeys::prefetch`] reads the time; by default a [`SystemClock`]. The layer must
    /// read the same kind of clock.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The keys, none of which is fetched yet.
    ///
    /// # Errors
    ///
    /// [`OAuthSetupError`] where the URL is not `https` (or `http` to this very machine), times do not go
    /// together, or the operating system has no root certificates.
    pub fn build(self) -> Result<RemoteKeys, OAuthSetupError> {
        let place = if self.is_issuer {
            Place::Issuer(IssuerUrl::parse(&self.url)?)
        } else {
            Place::KeySet(EndpointUrl::parse(&self.url)?)
        };
        if self.least_interval < LEAST_INTERVAL {
            let flaw = "keys may be fetched at most once a second";
            return Err(OAuthSetupError::Setting(flaw));
        }
        if self.refresh_after < self.least_interval {
            let flaw = "keys are fetched again at an age less than the least interval";
            return Err(OAuthSetupError::Setting(flaw));
        }
        if self.max_staleness < self.refresh_after {
            let flaw = "keys become too old before the age at which they are fetched again";
            return Err(OAuthSetupError::Setting(flaw));
        }
        let client = self
            .client
            .map_or_else(|| HttpClient::builder().build(), Ok)?;
        Ok(RemoteKeys(Arc::new(Shared {
            place,
            client,
            least_interval: self.least_interval,
            refresh_after: self.refresh_after,
            max_staleness: self.max_staleness,
            clock: self.clock,
            fetched: ArcSwapOption::empty(),
            latest: Mutex::new(None),
            watchers: Watchers::default(),
        })))
    }
}

impl fmt::Debug for RemoteKeysBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL: it has not been looked at, and may hold a password.
        f.debug_struct("RemoteKeysBuilder")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

const LEAST_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
