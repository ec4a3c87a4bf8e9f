//! Where to ask about tokens.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::super::{
    discovery::discover,
    error::{FetchError, FetchErrorKind},
    http::HttpClient,
    url::{EndpointUrl, IssuerUrl},
};
use crate::{changes::Stamp, clock::Now, flight::Flights};

/// An introspection endpoint: given, or found through the issuer's own document.
pub(super) struct Endpoint {
    found: Arc<Found>,
    /// Nothing where it was given.
    issuer: Option<IssuerUrl>,
    /// Who asks and gives up cancels no search: a slow server is found in the end.
    searches: Flights<(), Result<EndpointUrl, FetchError>>,
}

struct Found {
    url: OnceLock<EndpointUrl>,
    /// When the latest search began that failed.
    failed: Mutex<Option<(Duration, FetchError)>>,
}

impl Endpoint {
    pub(super) fn at(url: EndpointUrl) -> Self {
        Self::new(None, url.into())
    }

    pub(super) fn of(issuer: IssuerUrl) -> Self {
        Self::new(Some(issuer), OnceLock::new())
    }

    fn new(issuer: Option<IssuerUrl>, url: OnceLock<EndpointUrl>) -> Self {
        let failed = Mutex::default();
        Self {
            found: Arc::new(Found { url, failed }),
            issuer,
            // The client ends each exchange.
            searches: Flights::new(Duration::MAX),
        }
    }

    /// # Errors
    ///
    /// [`FetchError`] of the search, or of the last one where it is too early for another.
    pub(super) async fn url(
        &self,
        client: &HttpClient,
        now: Now,
    ) -> Result<EndpointUrl, FetchError> {
        if let Some(url) = self.found.url.get() {
            return Ok(url.clone());
        }
        let issuer = self.issuer.as_ref().expect("a given one has been found");
        if let Some(error) = self.found.failed_since(now) {
            return Err(error);
        }
        let (found, client, name) = (Arc::clone(&self.found), client.clone(), issuer.clone());
        let search = |_| async move {
            let url = discover(&client, &name, "introspection_endpoint").await;
            match &url {
                Ok(url) => _ = found.url.set(url.clone()),
                Err(error) => *found.failed() = Some((now.monotonic, error.clone())),
            }
            url
        };
        let search = self
            .searches
            .join((), Stamp::START, || Stamp::START, search);
        let died = |_| Err(FetchError::new(issuer.url(), FetchErrorKind::Died));
        search.await.unwrap_or_else(died)
    }
}

impl Found {
    fn failed(&self) -> std::sync::MutexGuard<'_, Option<(Duration, FetchError)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed_since(&self, now: Now) -> Option<FetchError> {
        let failed = self.failed();
        let (at, error) = failed.as_ref()?;
        (now.monotonic.saturating_sub(*at) < SEARCH_AGAIN).then(|| error.clone())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found.url.get() {
            Some(url) => fmt::Debug::fmt(url, f),
            None => f.write_str("not found yet"),
        }
    }
}

/// How long after a search that failed the next one may begin, as `with_endpoint` says.
const SEARCH_AGAIN: Duration = Duration::from_secs(5);
