//! The settings of a check of proofs.

use std::{fmt, sync::Arc, time::Duration};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    error::BoxError,
    jwt::{
        algorithm::Algorithm,
        dpop::{Checks, Dpop, nonces::Nonces, replays::Replays, target::Target},
    },
};

/// The settings of a [`Dpop`].
#[must_use = "settings do nothing until `build` is called"]
pub struct DpopBuilder {
    bases: Vec<String>,
    algorithms: Vec<Algorithm>,
    max_age: Duration,
    leeway: Duration,
    capacity: usize,
    nonces_last: Option<Duration>,
    nonce_secret: Option<Zeroizing<[u8; 32]>>,
}

/// Settings with which no proof could be checked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DpopSetupError {
    /// A base URL that is none: `https://HOST[:PORT][/PATH]`, or with `http`.
    #[error("{0:?} is no base URL: it needs a scheme, a host, and neither query nor fragment")]
    BaseUrl(String),
    /// No algorithm is accepted.
    #[error("the list of algorithms is empty: no proof would be accepted")]
    NoAlgorithm,
    /// Who can verify could sign as well (RFC 9449 §11.6).
    #[error("proofs cannot be signed with {0}, whose key is shared")]
    Symmetric(Algorithm),
    /// A duration outside its range, or a memory for no proof.
    #[error("`{0}` is out of its range")]
    OutOfRange(&'static str),
    /// The operating system has no random bytes for the secret of the nonces.
    #[error("no secret for the nonces could be generated")]
    Random(#[source] BoxError),
}

impl DpopBuilder {
    pub(super) fn new(base_url: String) -> Self {
        Self {
            bases: vec![base_url],
            algorithms: vec![
                Algorithm::Es256,
                Algorithm::EdDsa,
                Algorithm::Rs256,
                Algorithm::Ps256,
            ],
            max_age: Duration::from_secs(60),
            leeway: Duration::from_secs(5),
            capacity: 250_000,
            nonces_last: None,
            nonce_secret: None,
        }
    }

    /// Another base URL by which clients know the service. By default there is one.
    ///
    /// ```
    /// # |builder: tower_api_key::jwt::DpopBuilder|
    /// builder.with_base_url("https://api.example.org/v2")
    /// # ;
    /// ```
    pub fn with_base_url(mut self, base_url: impl Into<String>) -> Self {
        self.bases.push(base_url.into());
        self
    }

    /// The algorithms that proofs may be signed with; clients are told of them in this order. By
    /// default ES256, EdDSA, RS256 and PS256; those for RSA need 2,048 bits.
    ///
    /// ```
    /// # use tower_api_key::jwt::Algorithm;
    /// # |builder: tower_api_key::jwt::DpopBuilder|
    /// builder.with_algorithms([Algorithm::Es256])
    /// # ;
    /// ```
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How old a proof may be, by its `iat`. By default 60 seconds; from 1 second to an hour.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::jwt::DpopBuilder|
    /// builder.with_max_age(Duration::from_secs(30))
    /// # ;
    /// ```
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How far ahead of our own a client's clock may be. By default 5 seconds; up to 5 minutes, and
    /// zero is allowed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::jwt::DpopBuilder|
    /// builder.with_leeway(Duration::from_secs(2))
    /// # ;
    /// ```
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How many proofs are remembered at most, some 20 to 40 bytes each. By default 250,000.
    ///
    /// The memory is divided into up to sixteen parts, and all proofs of one key are in the same part: a
    /// client that sends so many that its part is full shortens the window for those in that part only.
    /// Requests per second times the window in seconds, and twice that, is a good number.
    ///
    /// ```
    /// # |builder: tower_api_key::jwt::DpopBuilder|
    /// builder.with_replay_capacity(1_000_000)
    /// # ;
    /// ```
    pub fn with_replay_capacity(mut self, proofs: usize) -> Self {
        self.capacity = proofs;
        self
    }

    /// Asks for a nonce of this service in each proof (RFC 9449 §9), so that no proof can be made long
    /// before it is sent. A nonce is given out for so long, and admitted for as long again; a client
    /// without one gets 401 `use_dpop_nonce`, with the nonce in the header `DPoP-Nonce`. By default none
    /// is asked for; from 1 second to a day.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::jwt::DpopBuilder|
    /// builder.with_nonces(Duration::from_secs(300))
    /// # ;
    /// ```
    pub fn with_nonces(mut self, each_lasts: Duration) -> Self {
        self.nonces_last = Some(each_lasts);
        self
    }

    /// The secret from which nonces are made: the same one for all processes behind one address, so
    /// that each admits the nonces of the others. By default one of this process's own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # |builder: tower_api_key::jwt::DpopBuilder, secret: [u8; 32]|
    /// builder.with_nonces(Duration::from_secs(300)).with_nonce_secret(secret)
    /// # ;
    /// ```
    pub fn with_nonce_secret(mut self, secret: [u8; 32]) -> Self {
        self.nonce_secret = Some(Zeroizing::new(secret));
        self
    }

    /// The check.
    ///
    /// # Errors
    ///
    /// [`DpopSetupError`] names the setting that cannot work.
    pub fn build(self) -> Result<Dpop, DpopSetupError> {
        let mut bases = Vec::new();
        for base in self.bases {
            match Target::base(&base) {
                Some(target) => bases.push(target),
                None => return Err(DpopSetupError::BaseUrl(base)),
            }
        }
        if self.algorithms.is_empty() {
            return Err(DpopSetupError::NoAlgorithm);
        }
        if let Some(symmetric) = self.algorithms.iter().find(|own| own.is_symmetric()) {
            return Err(DpopSetupError::Symmetric(*symmetric));
        }
        let at_least_a_second = |duration: Duration| duration >= Duration::from_secs(1);
        let in_range = [
            (
                "max_age",
                at_least_a_second(self.max_age) && self.max_age <= LONGEST_AGE,
            ),
            ("leeway", self.leeway <= LONGEST_LEEWAY),
            ("replay_capacity", self.capacity > 0),
            (
                "nonces",
                self.nonces_last
                    .is_none_or(|lasts| at_least_a_second(lasts) && lasts <= LONGEST_NONCE),
            ),
        ];
        if let Some((name, _)) = in_range.into_iter().find(|(_, holds)| !holds) {
            return Err(DpopSetupError::OutOfRange(name));
        }
        let nonces = match self.nonces_last {
            Some(lasts) => {
                let nonces = Nonces::new(lasts, self.nonce_secret);
                Some(nonces.map_err(|error| DpopSetupError::Random(error.into()))?)
            }
            None => None,
        };
        Ok(Dpop(Arc::new(Checks {
            bases,
            algorithms: self.algorithms,
            max_age: self.max_age,
            leeway: self.leeway,
            replays: Replays::new(self.capacity),
            nonces,
        })))
    }
}

impl fmt::Debug for DpopBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopBuilder")
            .field("bases", &self.bases)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

const LONGEST_AGE: Duration = Duration::from_secs(3_600);
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);
const LONGEST_NONCE: Duration = Duration::from_secs(86_400);
