//! Whether who sends a token has the key that the token is bound to.
//!
//! 1. A token that is bound to a key is worth nothing without a proof: it is refused where it is sent
//!    as a bearer token, also where proofs are not taken at all ([RFC 9449 §7.2][downgrade]).
//! 2. A token that is bound to none is refused where it is sent with a proof.
//! 3. A proof is for one request: it is checked each time, also where the token is remembered, and
//!    before anything is granted, counted or noted.
//!
//! [downgrade]: https://www.rfc-editor.org/rfc/rfc9449#section-7.2

use http::{HeaderMap, HeaderValue, Method, Uri};
use sha2::{Digest, Sha256};

use crate::{
    clock::Now,
    credential::{Carrier, Credential, PROOF},
    denial::{Denial, DenialCode},
    gate::{Gate, Incoming, judge::key_trouble},
    host,
    pass::Pass,
    token::KeyThumbprint,
};

/// What a proof is compared with: the request it came with, and the token.
#[cfg_attr(
    not(feature = "jwt"),
    expect(dead_code, reason = "read by checks of proofs")
)]
pub(crate) struct Evidence {
    pub(crate) method: Method,
    /// As the outermost router got it.
    pub(crate) uri: Uri,
    /// Nothing where there is not exactly one.
    pub(crate) proof: Option<HeaderValue>,
    pub(crate) token_hash: [u8; 32],
}

/// Checks proofs that a client has the key its token is bound to.
pub(crate) trait CheckPossession: Send + Sync {
    /// Refuses a request that does not prove it; asked once for each request.
    fn check(&self, evidence: &Evidence, key: &KeyThumbprint, now: Now) -> Result<(), Denial>;

    /// The names of the signature algorithms that proofs may use, with spaces between them.
    fn algorithms(&self) -> String;
}

impl Evidence {
    /// What comes with a credential that is to be proven.
    pub(super) fn of(credential: &Credential, request: Incoming<'_>) -> Option<Box<Self>> {
        if credential.carrier != Carrier::Dpop {
            return None;
        }
        let uri = host::original_uri(request.extensions).unwrap_or(request.uri);
        Some(Box::new(Self {
            method: request.method.clone(),
            uri: uri.clone(),
            proof: only_proof(request.headers),
            token_hash: Sha256::digest(credential.text()).into(),
        }))
    }
}

/// RFC 9449 §4.3, check 1: there is exactly one.
fn only_proof(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut proofs = headers.get_all(PROOF).iter();
    proofs.next().filter(|_| proofs.next().is_none()).cloned()
}

impl Gate {
    /// The caller, where nothing has to be proven or where the evidence proves it.
    pub(super) fn confirmed(
        &self,
        pass: Pass,
        evidence: Option<&Evidence>,
        now: Now,
    ) -> Result<Pass, Denial> {
        // So it is with all keys, and with most tokens.
        if !pass.is_bound() && evidence.is_none() {
            return Ok(pass);
        }
        // A token that is over needs no proof.
        if let Some(denial) = key_trouble(&pass, None, now.wall) {
            return Err(denial);
        }
        let remediation = match (pass.confirmation(), evidence, &self.possession) {
            (Some(key), Some(evidence), Some(possession)) => {
                return possession.check(evidence, &key, now).map(|()| pass);
            }
            (Some(_), None, Some(_)) => BOUND,
            (Some(_), _, _) => NOT_SUPPORTED,
            (None, _, _) => UNBOUND,
        };
        Err(Denial::new(DenialCode::InvalidKey).with_remediation(remediation))
    }
}

const BOUND: &str =
    "The token is bound to your client's key: send it as Authorization: DPoP, with a proof.";
const NOT_SUPPORTED: &str = "The token is bound to your client's key, which this service cannot check: get one that is not.";
const UNBOUND: &str =
    "The token is not bound to your client's key: send it as Authorization: Bearer.";
