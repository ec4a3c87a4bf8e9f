//! The key that sessions are signed with.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, crypto::aws_lc::DEFAULT_PROVIDER, jwk::EllipticCurve};
use serde::Serialize;
use zeroize::Zeroizing;

use super::SessionError;
use crate::{
    jwt::{
        algorithm::Algorithm,
        issuer::SESSION,
        keys::{KeyError, VerificationKey, pem_contents},
    },
    key_format::KeyText,
};

/// A key to sign sessions with, and its id.
pub struct SigningKey {
    algorithm: Algorithm,
    secret: EncodingKey,
    verification: VerificationKey,
}

impl SigningKey {
    /// A secret of at least 32 random bytes, for services that verify their sessions themselves.
    ///
    /// # Errors
    ///
    /// [`KeyError::Size`] where it is shorter, [`KeyError::KeyId`] where the id is empty or over 256
    /// bytes.
    pub fn hs256(kid: &str, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        Ok(Self {
            algorithm: Algorithm::Hs256,
            verification: VerificationKey::hs256_secret(secret)?.with_kid(kid)?,
            secret: EncodingKey::from_secret(secret),
        })
    }

    /// An Ed25519 private key in PEM (`BEGIN PRIVATE KEY`), for services whose sessions others
    /// verify too.
    ///
    /// # Errors
    ///
    /// [`KeyError::Pem`] where the text is none, [`KeyError::KeyId`] where the id is empty or over
    /// 256 bytes.
    pub fn ed25519_pem(kid: &str, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let der = pem_contents(pem.as_ref(), "PRIVATE KEY")?;
        let public = DEFAULT_PROVIDER
            .key_utils
            .ed_pub_components_from_private_key;
        let point = public(&der, &EllipticCurve::Ed25519).map_err(|_| KeyError::Pem)?;
        Ok(Self {
            algorithm: Algorithm::EdDsa,
            verification: VerificationKey::ed25519(&point)?.with_kid(kid)?,
            secret: EncodingKey::from_ed_der(&der),
        })
    }

    /// Its id.
    pub fn kid(&self) -> &str {
        self.verification.kid().unwrap_or_default()
    }

    /// What verifies its signatures; of a secret, the secret itself.
    pub fn verification_key(&self) -> VerificationKey {
        self.verification.clone()
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A token with these claims.
    pub(super) fn token(&self, claims: &impl Serialize) -> Result<KeyText, SessionError> {
        #[derive(Serialize)]
        struct Header<'k> {
            alg: &'static str,
            kid: &'k str,
            typ: &'static str,
        }
        let header = Header {
            alg: self.algorithm.name(),
            kid: self.kid(),
            typ: SESSION,
        };
        let signer = (DEFAULT_PROVIDER.signer_factory)(&self.algorithm.of_library(), &self.secret)
            .map_err(|_| SessionError::Signing)?;
        let json =
            |json: Result<Vec<u8>, _>| json.map_err(|_: serde_json::Error| SessionError::Signing);
        let (header, claims) = (
            json(serde_json::to_vec(&header))?,
            json(serde_json::to_vec(claims))?,
        );
        // The room for all of it up front: growing would leave copies of the text behind.
        let room = (header.len() + claims.len()) / 3 * 4 + ROOM_FOR_SIGNATURE;
        let mut text = Zeroizing::new(String::with_capacity(room));
        BASE64_URL_SAFE_NO_PAD.encode_string(header, &mut text);
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let signature = signer.try_sign(text.as_bytes());
        let signature = Zeroizing::new(signature.map_err(|_| SessionError::Signing)?);
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&*signature, &mut text);
        Ok(KeyText::new(std::mem::take(&mut *text)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

/// 64 bytes as 86 characters, two dots, and what rounding takes.
const ROOM_FOR_SIGNATURE: usize = 86 + 2 + 8;
