//! The keys that signatures are verified with.

use std::fmt;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use jsonwebtoken::{DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    jwt::{
        algorithm::Algorithm,
        json::{Json, Object},
    },
    token::KeyThumbprint,
};

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is no PEM of a public key of the kind asked for.
    #[error("this is no public key of this kind in PEM")]
    Pem,
    /// The text is no JWK (RFC 7517), or no JWK Set.
    #[error("this is no JSON Web Key, or no set of them")]
    Jwk,
    /// A key of a kind or for a use that no signature here is verified with.
    #[error("this key is not for signatures of a supported kind")]
    Unsupported,
    /// It has a private part, which a verifier should never have seen.
    #[error("this is a private key where a public one belongs")]
    Private,
    /// An RSA modulus under 2,048 bits or over 8,192, or a secret under 32 bytes.
    #[error("this key is too small to be safe, or too large")]
    Size,
    /// A key id that is empty or longer than 256 bytes.
    #[error("a key id has 1 to 256 bytes")]
    KeyId,
    /// Two keys with one key id for the same algorithm.
    #[error("two keys have the same id")]
    Duplicate,
    /// More than 100 keys in one set.
    #[error("there are too many keys")]
    TooMany,
}

/// A key to verify signatures with, bound to its kind: an RSA key never verifies an HMAC.
#[derive(Clone)]
pub struct VerificationKey {
    kid: Option<Box<str>>,
    kind: Kind,
    /// The only algorithm it is for, where its owner said so.
    only: Option<Algorithm>,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    const fn fits(self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Hs256, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Secret => matches!(algorithm, Hs256),
            Self::Rsa => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Self::P256 => matches!(algorithm, Es256),
            Self::P384 => matches!(algorithm, Es384),
            Self::Ed25519 => matches!(algorithm, EdDsa),
        }
    }
}

impl VerificationKey {
    /// An Ed25519 public key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError::Pem`] where the text is none.
    pub fn ed25519_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let der = pem_contents(pem.as_ref(), PUBLIC_KEY)?;
        let point = der.strip_prefix(&ED25519_LEAD).ok_or(KeyError::Pem)?;
        Self::ed25519(point).map_err(|_| KeyError::Pem)
    }

    /// A public key on P-256 or P-384 in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError::Pem`] where the text is none.
    pub fn ec_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let der = pem_contents(pem.as_ref(), PUBLIC_KEY)?;
        let (kind, point) = match der.strip_prefix(&P256_LEAD) {
            Some(point) => (Kind::P256, point),
            None => (
                Kind::P384,
                der.strip_prefix(&P384_LEAD).ok_or(KeyError::Pem)?,
            ),
        };
        let (x, y) = point.split_at(point.len() / 2);
        Self::ec(kind, x, y).map_err(|_| KeyError::Pem)
    }

    /// An RSA public key of 2,048 to 8,192 bits in PEM (`BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC
    /// KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError::Pem`] where the text is none, [`KeyError::Size`] where the key is too small or
    /// too large.
    pub fn rsa_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let pem = pem.as_ref();
        let der = pem_contents(pem, PUBLIC_KEY).or_else(|_| pem_contents(pem, "RSA PUBLIC KEY"))?;
        let components = DEFAULT_PROVIDER
            .key_utils
            .rsa_pub_components_from_public_key;
        let (n, e) = components(&der).map_err(|_| KeyError::Pem)?;
        Self::rsa(&n, &e)
    }

    /// A secret for HS256 that issuer and verifier share, of at least 32 random bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Size`] where it is shorter.
    pub fn hs256_secret(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        if secret.len() < LEAST_SECRET {
            return Err(KeyError::Size);
        }
        Ok(Self::of_kind(
            Kind::Secret,
            DecodingKey::from_secret(secret),
        ))
    }

    /// A public key as JWK ([RFC 7517 §4](https://www.rfc-editor.org/rfc/rfc7517#section-4)), with
    /// its `kid` and `alg`, if it has them.
    ///
    /// # Errors
    ///
    /// [`KeyError::Jwk`] where it is none, [`KeyError::Unsupported`] where it is not for signatures
    /// (`use`, `key_ops`), of another kind, or a secret (`oct`), [`KeyError::Private`] where it has
    /// a private part, [`KeyError::Size`] where it is too small or too large, and
    /// [`KeyError::KeyId`].
    pub fn from_jwk(json: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let jwk = Object::parse(json.as_ref(), MOST_JWK_BYTES).map_err(|_| KeyError::Jwk)?;
        Self::from_object(&jwk)
    }

    pub(crate) fn from_object(jwk: &Object<'_>) -> Result<Self, KeyError> {
        let kty = jwk.text("kty").ok_or(KeyError::Jwk)?;
        if ["d", "k", "p", "q", "dp", "dq", "qi", "oth"]
            .iter()
            .any(|name| jwk.has(name))
        {
            let secret = kty == "oct";
            return Err(if secret {
                KeyError::Unsupported
            } else {
                KeyError::Private
            });
        }
        if !is_for_signatures(jwk) {
            return Err(KeyError::Unsupported);
        }
        let mut key = match (kty, jwk.text("crv")) {
            ("RSA", _) => Self::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
            ("EC", Some("P-256")) => Self::ec(Kind::P256, &bytes(jwk, "x")?, &bytes(jwk, "y")?)?,
            ("EC", Some("P-384")) => Self::ec(Kind::P384, &bytes(jwk, "x")?, &bytes(jwk, "y")?)?,
            ("OKP", Some("Ed25519")) => Self::ed25519(&bytes(jwk, "x")?)?,
            _ => return Err(KeyError::Unsupported),
        };
        if let Some(alg) = jwk.get("alg") {
            let alg = Algorithm::from_name(alg.text().ok_or(KeyError::Jwk)?);
            key.only = alg.filter(|alg| key.kind.fits(*alg));
            if key.only.is_none() {
                return Err(KeyError::Unsupported);
            }
        }
        match jwk.get("kid") {
            Some(kid) => key.with_kid(kid.text().ok_or(KeyError::Jwk)?),
            None => Ok(key),
        }
    }

    /// The id by which tokens name it: 1 to 256 bytes. By default it has none, and serves tokens
    /// that name no key or one that is not known.
    ///
    /// ```
    /// # use tower_api_key::jwt::VerificationKey;
    /// VerificationKey::hs256_secret([7; 32])?.with_kid("2026-11")?;
    /// # Ok::<(), tower_api_key::jwt::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyError::KeyId`] where it is empty or longer.
    pub fn with_kid(mut self, kid: &str) -> Result<Self, KeyError> {
        if !(1..=MOST_KID_BYTES).contains(&kid.len()) {
            return Err(KeyError::KeyId);
        }
        self.kid = Some(kid.into());
        Ok(self)
    }

    /// Its id.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether it verifies signatures made with `algorithm`.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is one of `message` with this key and `algorithm`.
    ///
    /// `signature` is the bytes of RFC 7518 §3: for ECDSA, R and S one after the other.
    pub(crate) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> bool {
        // The provider is named and not asked for, because asking panics in a program in which some
        // other crate enables another one.
        self.fits(algorithm)
            && (DEFAULT_PROVIDER.verifier_factory)(&algorithm.of_library(), &self.key)
                .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }

    /// What [RFC 7638](https://www.rfc-editor.org/rfc/rfc7638) calls it by: SHA-256 of its public
    /// part. A secret has none.
    pub fn thumbprint(&self) -> Option<KeyThumbprint> {
        use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let ec = |curve, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            let (x, y) = (text(x), text(y));
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        };
        let public = match (self.kind, self.key.kind()) {
            (Kind::Rsa, RsaModulusExponent { n, e }) => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n))
            }
            (Kind::P256, SecretOrDer(point)) => ec("P-256", point),
            (Kind::P384, SecretOrDer(point)) => ec("P-384", point),
            (Kind::Ed25519, SecretOrDer(point)) => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(point))
            }
            _ => return None,
        };
        Some(KeyThumbprint::from_bytes(Sha256::digest(public).into()))
    }

    /// Whether some algorithm fits both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.kind == other.kind
            && (self.only.is_none() || other.only.is_none() || self.only == other.only)
    }

    /// Whether the other is the same key under the same id, for the same algorithms.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_material = match (self.kind, other.kind) {
            (Kind::Secret, Kind::Secret) => {
                let [own, its] = [&self.key, &other.key].map(DecodingKey::try_get_as_bytes);
                matches!((own, its), (Ok(own), Ok(its)) if bool::from(own.ct_eq(its)))
            }
            _ => self.thumbprint().is_some() && self.thumbprint() == other.thumbprint(),
        };
        (self.kid(), self.kind, self.only) == (other.kid(), other.kind, other.only) && same_material
    }

    fn of_kind(kind: Kind, key: DecodingKey) -> Self {
        let (kid, only) = (None, None);
        Self {
            kid,
            kind,
            only,
            key,
        }
    }

    pub(crate) fn ed25519(point: &[u8]) -> Result<Self, KeyError> {
        if point.len() != 32 {
            return Err(KeyError::Jwk);
        }
        Ok(Self::of_kind(
            Kind::Ed25519,
            DecodingKey::from_ed_der(point),
        ))
    }

    fn ec(kind: Kind, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        // RFC 7518 §6.2.1.2: the full size of a coordinate, also where it begins with zeros.
        let size = if kind == Kind::P256 { 32 } else { 48 };
        if x.len() != size || y.len() != size {
            return Err(KeyError::Jwk);
        }
        let point = [&[4], x, y].concat();
        Ok(Self::of_kind(kind, DecodingKey::from_ec_der(&point)))
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2_048..=8_192).contains(&bits) {
            return Err(KeyError::Size);
        }
        // An exponent of one would make every text its own signature.
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !odd(n) || !odd(e) || e == [1] || e.len() > 4 {
            return Err(KeyError::Jwk);
        }
        Ok(Self::of_kind(
            Kind::Rsa,
            DecodingKey::from_rsa_raw_components(n, e),
        ))
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("kind", &self.kind)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

/// The bytes between `BEGIN label` and `END label` (RFC 7468), without anything around them.
pub(crate) fn pem_contents(pem: &[u8], label: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = str::from_utf8(pem).map_err(|_| KeyError::Pem)?.trim();
    let body = text
        .strip_prefix(&format!("-----BEGIN {label}-----"))
        .and_then(|rest| rest.strip_suffix(&format!("-----END {label}-----")))
        .ok_or(KeyError::Pem)?;
    let base64: Zeroizing<Vec<u8>> = Zeroizing::new(
        body.bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect(),
    );
    let der = BASE64_STANDARD
        .decode(&*base64)
        .map_err(|_| KeyError::Pem)?;
    Ok(Zeroizing::new(der))
}

/// The bytes that a member of a JWK stands for.
fn bytes(jwk: &Object<'_>, name: &str) -> Result<Vec<u8>, KeyError> {
    let text = jwk.text(name).ok_or(KeyError::Jwk)?;
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| KeyError::Jwk)
}

/// Whether a JWK may verify signatures: by `use` (RFC 7517 §4.2) and `key_ops` (§4.3), where it has
/// them.
fn is_for_signatures(jwk: &Object<'_>) -> bool {
    let by_use = jwk
        .get("use")
        .is_none_or(|purpose| purpose.text() == Some("sig"));
    by_use
        && match jwk.get("key_ops") {
            None => true,
            Some(Json::Array(ops)) => ops.iter().any(|op| op.text() == Some("verify")),
            Some(_) => false,
        }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

const PUBLIC_KEY: &str = "PUBLIC KEY";
/// What a SubjectPublicKeyInfo (RFC 5280 §4.1) of this kind begins with: all but the point.
const ED25519_LEAD: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// With the `04` of an uncompressed point.
const P256_LEAD: [u8; 27] = *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
const P384_LEAD: [u8; 24] = *b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";
const LEAST_SECRET: usize = 32;
const MOST_KID_BYTES: usize = 256;
const MOST_JWK_BYTES: usize = 16 * 1024;
