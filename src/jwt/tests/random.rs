//! Texts that nobody thought of.

use proptest::prelude::*;

use super::support::*;
use crate::jwt::{KeySet, VerificationKey};

fn arbitrary_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| serde_json::json!(value).to_string()),
        "\\PC{0,12}".prop_map(|text| serde_json::json!(text).to_string()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((claim_name(), inner), 0..6).prop_map(object),
        ]
    })
}

fn claim_name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &[
                "iss", "aud", "sub", "exp", "nbf", "iat", "scope", "scp", "name", "cnf", "jkt",
                "alg", "kid", "typ", "crit"
            ][..]
        )
        .prop_map(str::to_owned),
        "[a-z]{1,4}",
    ]
}

fn object(members: Vec<(String, String)>) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

proptest! {
    #[test]
    fn random_bytes_are_no_token(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        invalid(&verifier(), bytes, "random bytes");
    }

    #[test]
    fn random_json_that_the_issuer_never_signed_is_no_token(header in arbitrary_json(), claims in arbitrary_json(), signature in prop::collection::vec(any::<u8>(), 0..80)) {
        let token = format!("{}.{}.{}", base64(header), base64(claims), base64(signature));
        invalid(&verifier(), token, "random JSON");
    }

    /// Whatever the issuer signs, no claim of any form makes the verifier panic, and without the
    /// claims that are needed it is no token.
    #[test]
    fn random_claims_that_the_issuer_signed_are_judged(name in claim_name(), value in arbitrary_json()) {
        let verified = verify(&verifier(), saying(&with_claim(&name, Some(&value))), at(NOW));
        if let Ok(principal) = verified {
            prop_assert!(principal.holder.as_str().starts_with("https://issuer.example|"));
            prop_assert!(!principal.administrator && principal.session_of.is_none());
        }
    }

    #[test]
    fn no_byte_of_a_token_can_be_another(place in any::<prop::sample::Index>(), byte in any::<u8>(), kind in 0..3_usize) {
        let (algorithm, _) = KINDS[kind];
        let mut token = token(algorithm, &header(algorithm), CLAIMS).into_bytes();
        let place = place.index(token.len());
        prop_assume!(token[place] != byte);
        token[place] = byte;
        invalid(&verifier(), token, "another byte");
    }

    #[test]
    fn no_byte_of_a_token_can_be_left_out_or_put_in(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let token = saying(CLAIMS).into_bytes();
        let place = place.index(token.len());
        let mut shorter = token.clone();
        shorter.remove(place);
        invalid(&verifier(), shorter, "a byte left out");
        let mut longer = token;
        longer.insert(place, byte);
        invalid(&verifier(), longer, "a byte put in");
    }

    #[test]
    fn random_bytes_are_no_key_set(bytes in prop::collection::vec(any::<u8>(), 0..200), json in arbitrary_json()) {
        prop_assert!(KeySet::from_jwks(bytes).is_err());
        let _ = KeySet::from_jwks(&json);
        let _ = VerificationKey::from_jwk(&json);
        let keys = format!(r#"{{"keys":[{json}]}}"#);
        prop_assert!(KeySet::from_jwks(keys).map_or(true, |set| set.is_empty()));
    }
}
