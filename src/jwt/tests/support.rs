//! An issuer with a key of each kind, tokens of his, and what a verifier says of them.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use jsonwebtoken::{EncodingKey, crypto::aws_lc::DEFAULT_PROVIDER};

use crate::{
    clock::{Now, Timestamp},
    jwt::{Algorithm, Issuer, JwtVerifier, VerificationKey},
    token::{Principal, TokenError, TokenVerifier},
};

pub(super) const ISSUER: &str = "https://issuer.example";
pub(super) const AUDIENCE: &str = "https://api.example";
pub(super) const NOW: i64 = 1_800_000_000;
/// Algorithm and key id of each key of the issuer.
pub(super) const KINDS: [(Algorithm, &str); 3] = [
    (Algorithm::EdDsa, "ed"),
    (Algorithm::Es256, "ec"),
    (Algorithm::Rs256, "rsa"),
];
/// What every token must say, and no more.
pub(super) const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":"https://api.example","sub":"user-7","exp":1800000600}"#;

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("keys/", $name, ".pem")).as_slice()
    };
}
pub(super) use pem;

pub(super) fn at(seconds: i64) -> Now {
    Now::new(Timestamp::from_unix_seconds(seconds), Duration::ZERO)
}

pub(super) fn issuer() -> Issuer {
    let ed = VerificationKey::ed25519_pem(pem!("ed25519.pub")).unwrap();
    let ec = VerificationKey::ec_pem(pem!("ec.pub")).unwrap();
    let rsa = VerificationKey::rsa_pem(pem!("rsa.pub")).unwrap();
    Issuer::new(ISSUER)
        .with_audience(AUDIENCE)
        .with_key(ed.with_kid("ed").unwrap())
        .with_key(ec.with_kid("ec").unwrap())
        .with_key(rsa.with_kid("rsa").unwrap())
}

pub(super) fn verifier() -> JwtVerifier {
    trusting(issuer())
}

pub(super) fn trusting(issuer: Issuer) -> JwtVerifier {
    JwtVerifier::builder().with_issuer(issuer).build().unwrap()
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The issuer's private key of this kind.
pub(super) fn private(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::EdDsa => EncodingKey::from_ed_pem(pem!("ed25519")),
        Algorithm::Es256 => EncodingKey::from_ec_pem(pem!("ec")),
        _ => EncodingKey::from_rsa_pem(pem!("rsa")),
    }
    .unwrap()
}

/// The signature of a text.
pub(super) fn signature(algorithm: Algorithm, key: &EncodingKey, message: &str) -> Vec<u8> {
    let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm.of_library(), key).unwrap();
    signer.try_sign(message.as_bytes()).unwrap()
}

/// A token of these two texts in base64url, signed.
pub(super) fn signed(
    algorithm: Algorithm,
    key: &EncodingKey,
    header: &str,
    payload: &str,
) -> String {
    let message = format!("{header}.{payload}");
    let signature = signature(algorithm, key, &message);
    format!("{message}.{}", base64(signature))
}

/// A token with this header and these claims, signed by the issuer.
pub(super) fn token(algorithm: Algorithm, header: &str, claims: &str) -> String {
    signed(
        algorithm,
        &private(algorithm),
        &base64(header),
        &base64(claims),
    )
}

/// The header that a token of this kind has.
pub(super) fn header(algorithm: Algorithm) -> String {
    let (_, kid) = KINDS.iter().find(|(kind, _)| *kind == algorithm).unwrap();
    format!(r#"{{"alg":"{algorithm}","typ":"at+jwt","kid":"{kid}"}}"#)
}

/// A token with these claims, rightly signed.
pub(super) fn saying(claims: &str) -> String {
    token(Algorithm::EdDsa, &header(Algorithm::EdDsa), claims)
}

/// The usual claims with this one instead or besides; without it where there is no value.
pub(super) fn with_claim(name: &str, value: Option<&str>) -> String {
    let mut claims: Vec<(String, String)> = [
        ("iss", format!("{ISSUER:?}")),
        ("aud", format!("{AUDIENCE:?}")),
        ("sub", "\"user-7\"".to_owned()),
        ("exp", (NOW + 600).to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    claims.retain(|(known, _)| known != name);
    claims.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    let members = claims
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

pub(super) fn verify(
    verifier: &JwtVerifier,
    token: impl AsRef<[u8]>,
    now: Now,
) -> Result<Principal, TokenError> {
    let verified = verifier.verify(token.as_ref(), now).now_or_never();
    verified.expect("keys that are known need no waiting")
}

#[track_caller]
pub(super) fn taken(verifier: &JwtVerifier, token: &str) -> Principal {
    match verify(verifier, token, at(NOW)) {
        Ok(principal) => principal,
        Err(error) => panic!("{error}: {token}"),
    }
}

#[track_caller]
pub(super) fn invalid(verifier: &JwtVerifier, token: impl AsRef<[u8]>, why: &str) {
    let verified = verify(verifier, token, at(NOW));
    assert!(
        matches!(verified, Err(TokenError::Invalid)),
        "{why}: {verified:?}"
    );
}
