//! What verifying a token costs, against jsonwebtoken's `decode` of the same token with the same
//! checks.

use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, jwk::Jwk,
};
use serde::{Deserialize, Serialize};
use tower_api_key::{
    Clock, SystemClock, TokenVerifier,
    jwt::{self, Issuer, JwtVerifier, VerificationKey},
};

use crate::{
    lanes::{Lane, on_end, race, ratio},
    rounds, row,
};

/// The claims of RFC 9068, and some scopes.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    client_id: String,
    jti: String,
    iat: i64,
    exp: i64,
    scope: String,
}

pub fn report() {
    let signers = [
        Signer::hs256(),
        Signer::eddsa(),
        Signer::es256(),
        Signer::rs256(),
    ];
    let lanes = signers.iter().flat_map(Signer::lanes).collect();
    let times = race(lanes, rounds(), 100);
    for Signer { ours, theirs, .. } in signers {
        let reached = ratio(times.of(ours), times.of(theirs));
        let figure = format!("{ours}: verifying a token against `decode`");
        row("12", &figure, false, 1.1, reached);
    }
}

/// A token, and who verifies it.
struct Signer {
    ours: &'static str,
    theirs: &'static str,
    token: String,
    verifier: JwtVerifier,
    key: DecodingKey,
    validation: Validation,
}

impl Signer {
    fn hs256() -> Self {
        let secret = [7; 32];
        let (sign, verify) = (
            EncodingKey::from_secret(&secret),
            DecodingKey::from_secret(&secret),
        );
        let known = VerificationKey::hs256_secret(secret).expect("a secret");
        Self::new(
            ["HS256", "decode HS256"],
            Algorithm::HS256,
            &sign,
            verify,
            known,
        )
    }

    fn eddsa() -> Self {
        let key = Ed25519KeyPair::generate().expect("a key");
        let der = key.to_pkcs8v1().expect("its form");
        Self::of_pair(["EdDSA", "decode EdDSA"], Algorithm::EdDSA, der.as_ref())
    }

    fn es256() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let der = key.to_pkcs8v1().expect("its form");
        Self::of_pair(["ES256", "decode ES256"], Algorithm::ES256, der.as_ref())
    }

    fn rs256() -> Self {
        let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = key.as_der().expect("its form");
        Self::of_pair(["RS256", "decode RS256"], Algorithm::RS256, der.as_ref())
    }

    fn of_pair(names: [&'static str; 2], algorithm: Algorithm, pkcs8: &[u8]) -> Self {
        let body = BASE64_STANDARD.encode(pkcs8);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let sign = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        let sign = sign.expect("a key");
        let mut jwk = Jwk::from_encoding_key(&sign, algorithm).expect("its public part");
        jwk.common.key_id = Some(KID.into());
        let known = VerificationKey::from_jwk(serde_json::to_vec(&jwk).expect("JSON"));
        let verify = DecodingKey::from_jwk(&jwk).expect("a key");
        Self::new(names, algorithm, &sign, verify, known.expect("a key"))
    }

    fn new(
        [ours, theirs]: [&'static str; 2],
        algorithm: Algorithm,
        sign: &EncodingKey,
        key: DecodingKey,
        known: VerificationKey,
    ) -> Self {
        let now = SystemClock::new().now().wall.unix_seconds();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: "5ba552d67".into(),
            client_id: "s6BhdRkqt3".into(),
            jti: "dbe39bf3a3ba4238a513f51d6e1691c4".into(),
            iat: now,
            exp: now + 86_400,
            scope: "read:realms download:realms read:profile".into(),
        };
        let header = Header {
            typ: Some("at+jwt".into()),
            kid: Some(KID.into()),
            ..Header::new(algorithm)
        };
        let own = match algorithm {
            Algorithm::HS256 => jwt::Algorithm::Hs256,
            Algorithm::ES256 => jwt::Algorithm::Es256,
            Algorithm::RS256 => jwt::Algorithm::Rs256,
            _ => jwt::Algorithm::EdDsa,
        };
        let known = match algorithm {
            Algorithm::HS256 => known.with_kid(KID).expect("a key id"),
            _ => known,
        };
        let issuer = Issuer::new(ISSUER)
            .with_audience(AUDIENCE)
            .with_algorithms([own])
            .with_key(known);
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        Self {
            ours,
            theirs,
            token: encode(&header, &claims, sign).expect("a token"),
            verifier: JwtVerifier::builder()
                .with_issuer(issuer)
                .build()
                .expect("a verifier"),
            key,
            validation,
        }
    }

    fn lanes(&self) -> [Lane<'_>; 2] {
        let clock = SystemClock::new();
        let ours = on_end(self.ours, move || {
            let verified = self.verifier.verify(self.token.as_bytes(), clock.now());
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(Ok(principal)) = pin!(verified).poll(&mut cx) else {
                panic!("the token is not verified at once");
            };
            black_box(&principal);
        });
        let theirs = on_end(self.theirs, || {
            let decoded = decode::<Claims>(&self.token, &self.key, &self.validation);
            black_box(&decoded.expect("a token"));
        });
        [ours, theirs]
    }
}

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";
const KID: &str = "2026-11";
