//! Access tokens that are bound to a key of the app that got them (RFC 9449).

use std::{sync::Arc, time::SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderValue, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::json;
use sha2::{Digest, Sha256};
use tower_api_key::{Timestamp, TokenVerifier};

use crate::{
    api::Api,
    app::App,
    issuer::{Issuer, OPAQUE_API, SIGNED_API},
    opaque, signed,
};

/// The key of an app, which proves with each request that it has it.
pub(crate) struct ProofKey(EncodingKey);

impl ProofKey {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("random bytes");
        // An Ed25519 key in PKCS #8 (RFC 8410 §7).
        let begin = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        Self(EncodingKey::from_ed_der(
            &[begin.as_slice(), &seed].concat(),
        ))
    }

    /// Adds the proof for a request, and for the token that it carries, if it carries one (§4.2).
    pub(crate) fn sign(&self, request: &mut Request<Vec<u8>>, token: Option<&str>) {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("dpop+jwt".to_owned());
        let key = Jwk::from_encoding_key(&self.0, Algorithm::EdDSA);
        header.jwk = Some(key.expect("an Ed25519 key"));
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("random bytes");
        let claims = json!({
            "jti": BASE64_URL_SAFE_NO_PAD.encode(id),
            "htm": request.method().as_str(),
            "htu": request.uri().to_string(),
            "iat": Timestamp::from(SystemTime::now()).unix_seconds(),
            "ath": token.map(|token| BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token))),
        });
        let proof = jsonwebtoken::encode(&header, &claims, &self.0).expect("a JWT");
        let proof = HeaderValue::try_from(proof).expect("ASCII");
        request.headers_mut().insert("dpop", proof);
    }
}

#[tokio::test]
async fn a_bound_token_is_taken_from_the_app_that_got_it_only() {
    let issuer = Issuer::start("ES256").await;
    let ada = issuer.ada();
    let verifiers: [(_, Arc<dyn TokenVerifier>); 2] = [
        (SIGNED_API, signed::verifier(&[&issuer])),
        (OPAQUE_API, opaque::verifier(&issuer).await),
    ];
    for (kind, verifier) in verifiers {
        let app = App::register(&issuer, "none", kind)
            .await
            .bound(ProofKey::new());
        let tokens = app.reader().await;
        let api = Api::serve(vec![verifier]).await;
        let key = app.key.as_ref().expect("a key");
        api.read_bound(&tokens.access, key).await.granted_to(&ada);
        api.read(&tokens.access).await.refused(401, "invalid_key");
        let thief = ProofKey::new();
        let stolen = api.read_bound(&tokens.access, &thief).await;
        stolen.refused(401, "invalid_key");

        let next = app.refresh(&tokens).await.expect("tokens");
        api.read_bound(&next.access, key).await.granted_to(&ada);
    }
}
