//! Tokens that are bound to their client's key, and the proofs that come with them.
//!
//! A bearer token is worth as much to a thief as to its client. An issuer can bind a token to a key
//! of the client instead (`cnf.jkt`), and the client then sends, with each request, a proof that it has
//! that key: a short JWT in the header `DPoP` ([RFC 9449]). [`Dpop`] checks those proofs:
//!
//! 1. The token comes as `Authorization: DPoP TOKEN`, with exactly one header `DPoP`.
//! 2. The proof is a JWT of type `dpop+jwt`, signed with one of the accepted algorithms and with the
//!    public key in its own header. That key is the one the token is bound to: its SHA-256 thumbprint
//!    (RFC 7638) is the token's `cnf.jkt`.
//! 3. `htm` is the request's method, byte by byte, and `htu` its address without query and fragment:
//!    one of the base URLs that the service is known by, followed by the path. Both are compared in
//!    their normal form (RFC 3986 §6.2.2 and §6.2.3). `Host` and forwarding headers have no say: who
//!    captured a proof for another service could send them.
//! 4. `iat` is not longer ago than 60 seconds, and not more than 5 seconds ahead.
//! 5. `ath` is the token's SHA-256.
//! 6. Where nonces are switched on, `nonce` is one that this service gave out lately (§9).
//! 7. No proof counts twice. Those that count are remembered, by a hash of key and `jti`, as long as
//!    their `iat` would admit them. When that memory is full the oldest go, and from then on proofs that
//!    are as old as those are refused: the window becomes shorter, no proof counts twice, and a client
//!    with a new proof is served.
//!
//! Whether a token is bound is what its verifier says
//! ([`Principal::confirmation`](crate::Principal::confirmation)). A bound token that is sent as `Bearer` is
//! refused in any case, also where no proofs are taken (§7.2); and so is an unbound one, or a key, that
//! is sent as `DPoP`.
//!
//! ```
//! # use tower_api_key::{ApiKeyLayer, MemoryKeyStore, RouteModules, TokenVerifier, Unlicensed};
//! use tower_api_key::jwt::Dpop;
//! # fn build(map: RouteModules, verifier: impl TokenVerifier) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, Unlicensed::new())
//!     .with_token_verifier(verifier)
//!     .with_dpop(Dpop::builder("https://api.example.com").build()?)
//!     .build()?;
//! # Ok(()) }
//! ```
//!
//! # Several processes
//!
//! Each process remembers the proofs that it has seen itself. Behind a balancer a captured proof can
//! thus count once in each of them, within its window. Shorten the window where that matters, or send
//! a client to one process always.
//!
//! [RFC 9449]: https://www.rfc-editor.org/rfc/rfc9449

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    clock::{Now, Timestamp},
    denial::{Denial, DenialCode},
    gate::{CheckPossession, Evidence},
    jwt::{
        algorithm::Algorithm,
        dpop::{
            nonces::Nonces,
            proof::{Fault, Proof},
            replays::Replays,
            target::Target,
        },
    },
    token::KeyThumbprint,
};

mod builder;
mod nonces;
mod proof;
mod replays;
mod target;

pub use builder::{DpopBuilder, DpopSetupError};

/// Checks that who sends a token has the key that the token is bound to ([RFC 9449]).
///
/// Clones share one memory of proofs: give all layers of a process that answer to the same base URL
/// clones of one. The rules are those of the module [`dpop`](self).
///
/// [RFC 9449]: https://www.rfc-editor.org/rfc/rfc9449
#[derive(Clone)]
pub struct Dpop(Arc<Checks>);

struct Checks {
    bases: Vec<Target>,
    algorithms: Vec<Algorithm>,
    max_age: Duration,
    leeway: Duration,
    replays: Replays,
    nonces: Option<Nonces>,
}

impl Dpop {
    /// Begins the check of proofs for a service that its clients know by `base_url`, such as
    /// `https://api.example.com`: what a client writes before the path that this service sees. Behind a
    /// proxy it is the proxy's, with the path that the proxy cuts off, if it cuts off any.
    pub fn builder(base_url: impl Into<String>) -> DpopBuilder {
        DpopBuilder::new(base_url.into())
    }
}

impl Checks {
    /// Whether a proof lets its request pass. The signature is checked last but one, since it costs
    /// most, and the memory last, so that only what is valid takes room in it.
    fn check(
        &self,
        evidence: &Evidence,
        key: &KeyThumbprint,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let header = evidence.proof.as_ref().ok_or(Fault::Header)?;
        let proof = Proof::parse(header.as_bytes(), &self.algorithms)?;
        if proof.thumbprint != *key {
            return Err(Refusal::OtherKey);
        }
        if proof.method != evidence.method.as_str() {
            return Err(Fault::Method.into());
        }
        if !self.is_asked(&proof.target, evidence.uri.path()) {
            return Err(Fault::Target.into());
        }
        let oldest = now.unix_micros().saturating_sub(micros(self.max_age));
        let newest = now.unix_micros().saturating_add(micros(self.leeway));
        if !(oldest..=newest).contains(&proof.issued_at) {
            return Err(Fault::Time.into());
        }
        if proof.token_hash != evidence.token_hash {
            return Err(Fault::Token.into());
        }
        if let Some(nonces) = &self.nonces
            && !proof
                .nonce
                .as_deref()
                .is_some_and(|nonce| nonces.admits(nonce, now))
        {
            return Err(Refusal::Nonce);
        }
        if !proof.is_signed() {
            return Err(Fault::Signature.into());
        }
        self.replays
            .admit(key, &proof.id, proof.issued_at, oldest)?;
        Ok(())
    }

    /// Whether `htu` is one of the addresses by which clients know this path.
    fn is_asked(&self, htu: &str, path: &str) -> bool {
        let Some(claimed) = Target::of_request(htu) else {
            return false;
        };
        target::normal_path(path).is_some_and(|path| {
            self.bases
                .iter()
                .any(|base| base.followed_by(&path, &claimed))
        })
    }
}

/// Why a proof does not let its request pass.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Proof(Fault),
    /// The token is not this client's (RFC 9449 §7.1, figure 16).
    OtherKey,
    Nonce,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Proof(fault)
    }
}

impl CheckPossession for Dpop {
    fn check(&self, evidence: &Evidence, key: &KeyThumbprint, now: Now) -> Result<(), Denial> {
        let checks = &*self.0;
        checks
            .check(evidence, key, now.wall)
            .map_err(|refusal| match (refusal, &checks.nonces) {
                (Refusal::Proof(fault), _) => Denial::new(DenialCode::InvalidDpopProof)
                    .with_detail(format!("The DPoP proof is not valid: {fault}.")),
                (Refusal::Nonce, Some(nonces)) => {
                    Denial::new(DenialCode::UseDpopNonce).with_dpop_nonce(nonces.current(now.wall))
                }
                (Refusal::OtherKey | Refusal::Nonce, _) => {
                    Denial::new(DenialCode::InvalidKey).with_remediation(OTHER_KEY)
                }
            })
    }

    fn algorithms(&self) -> String {
        let names = self.0.algorithms.iter().map(|algorithm| algorithm.name());
        names.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop")
            .field("bases", &self.0.bases)
            .field("algorithms", &self.0.algorithms)
            .field("max_age", &self.0.max_age)
            .field("leeway", &self.0.leeway)
            .finish_non_exhaustive()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

const OTHER_KEY: &str =
    "The token is bound to another key than the proof is signed with: sign with your own.";

#[cfg(test)]
mod tests;
