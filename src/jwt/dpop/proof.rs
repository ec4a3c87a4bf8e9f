//! What a proof says (RFC 9449 §4.2).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use thiserror::Error;

use crate::{
    jwt::{
        algorithm::Algorithm,
        header::Parts,
        json::{Json, Object},
        keys::VerificationKey,
    },
    token::KeyThumbprint,
};

/// A well-formed proof, of which the signature has not been looked at.
pub(super) struct Proof<'t> {
    pub(super) thumbprint: KeyThumbprint,
    /// `jti`
    pub(super) id: String,
    /// `htm`
    pub(super) method: String,
    /// `htu`
    pub(super) target: String,
    /// `iat`, in microseconds since 1970.
    pub(super) issued_at: i64,
    /// `ath`
    pub(super) token_hash: [u8; 32],
    pub(super) nonce: Option<String>,
    algorithm: Algorithm,
    key: VerificationKey,
    signed: &'t [u8],
    signature: Vec<u8>,
}

/// What is wrong with a proof. Its sender wrote all of it, and sent a token that is valid: so he may
/// be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("exactly one header DPoP is needed")]
    Header,
    #[error("it is no JWT, or longer than 8 KiB")]
    Malformed,
    #[error("typ is not dpop+jwt")]
    Type,
    #[error("alg is none of those in WWW-Authenticate")]
    Algorithm,
    #[error("crit is not supported")]
    Critical,
    #[error("jwk is no public key for alg")]
    Key,
    #[error("the claim {0} is missing or malformed")]
    Claim(&'static str),
    #[error("htm is not the method of this request")]
    Method,
    #[error("htu is not the address of this request")]
    Target,
    #[error("iat is too long ago, or in the future")]
    Time,
    #[error("ath is not the hash of this token")]
    Token,
    #[error("the signature is not that of jwk")]
    Signature,
    #[error("it was sent before")]
    Replayed,
    #[error("too many proofs came in since its iat")]
    Forgotten,
}

impl<'t> Proof<'t> {
    pub(super) fn parse(text: &'t [u8], accepted: &[Algorithm]) -> Result<Self, Fault> {
        if text.len() > LONGEST_PROOF {
            return Err(Fault::Malformed);
        }
        let malformed = |_| Fault::Malformed;
        let parts = Parts::split(text).map_err(malformed)?;
        let header = parts.header().map_err(malformed)?;
        let payload = parts.payload().map_err(malformed)?;
        let signature = parts.signature().map_err(malformed)?;
        let object = |bytes| Object::parse(bytes, LONGEST_PROOF).map_err(|_| Fault::Malformed);
        let (header, claims) = (object(&header)?, object(&payload)?);

        if header.text("typ") != Some("dpop+jwt") {
            return Err(Fault::Type);
        }
        // RFC 7515 §4.1.11: it names what must be understood, and nothing of that is.
        if header.has("crit") {
            return Err(Fault::Critical);
        }
        let algorithm = header.text("alg").and_then(Algorithm::from_name);
        let algorithm = algorithm
            .filter(|algorithm| accepted.contains(algorithm))
            .ok_or(Fault::Algorithm)?;
        let Some(Json::Object(jwk)) = header.get("jwk") else {
            return Err(Fault::Key);
        };
        let key = VerificationKey::from_object(jwk).map_err(|_| Fault::Key)?;
        let thumbprint = key.thumbprint().filter(|_| key.fits(algorithm));
        let thumbprint = thumbprint.ok_or(Fault::Key)?;

        let text = |name| claims.text(name).ok_or(Fault::Claim(name));
        let id = text("jti")?;
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(Fault::Claim("jti"));
        }
        let nonce = match claims.has("nonce") {
            true => Some(text("nonce")?.to_owned()),
            false => None,
        };
        let mut token_hash = [0; 32];
        let decoded = BASE64_URL_SAFE_NO_PAD.decode_slice(text("ath")?, &mut token_hash);
        if !decoded.is_ok_and(|length| length == token_hash.len()) {
            return Err(Fault::Claim("ath"));
        }
        let issued_at = claims.get("iat").and_then(micros);
        Ok(Self {
            thumbprint,
            id: id.to_owned(),
            method: text("htm")?.to_owned(),
            target: text("htu")?.to_owned(),
            issued_at: issued_at.ok_or(Fault::Claim("iat"))?,
            token_hash,
            nonce,
            algorithm,
            key,
            signed: parts.message,
            signature,
        })
    }

    /// Whether who made it has its key.
    pub(super) fn is_signed(&self) -> bool {
        self.key
            .verifies(self.algorithm, self.signed, &self.signature)
    }
}

/// A NumericDate (RFC 7519 §2), which may have a fraction, in microseconds.
fn micros(seconds: &Json<'_>) -> Option<i64> {
    match seconds {
        Json::Integer(seconds) => seconds.checked_mul(1_000_000),
        // What no `i64` holds becomes its limit, which is in no window.
        Json::Float(seconds) => Some((seconds * 1e6) as i64),
        _ => None,
    }
}

/// Bytes. The longest key there is, RSA with 8,192 bits, makes one of some 3,500.
const LONGEST_PROOF: usize = 8 * 1_024;
/// Bytes; a UUID has 36.
const LONGEST_ID: usize = 256;
