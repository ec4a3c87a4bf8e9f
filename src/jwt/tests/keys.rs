//! Keys and sets of keys.

use super::support::*;
use crate::jwt::{Algorithm, KeyError, KeySet, VerificationKey};

const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
/// RFC 7638 §3.1.
const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn rsa() -> String {
    format!(r#""kty":"RSA","e":"AQAB","n":"{RSA_N}""#)
}

fn jwk(members: &str) -> Result<VerificationKey, KeyError> {
    VerificationKey::from_jwk(format!("{{{members}}}"))
}

fn fitting(key: &VerificationKey) -> Vec<&'static str> {
    use Algorithm::*;
    [
        EdDsa, Es256, Es384, Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, Hs256,
    ]
    .into_iter()
    .filter(|algorithm| key.fits(*algorithm))
    .map(Algorithm::name)
    .collect()
}

#[test]
fn a_key_is_bound_to_its_kind() {
    let all_of_rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    assert_eq!(fitting(&jwk(ED).unwrap()), ["EdDSA"]);
    assert_eq!(fitting(&jwk(EC).unwrap()), ["ES256"]);
    assert_eq!(fitting(&jwk(&rsa()).unwrap()), all_of_rsa);
    assert_eq!(
        fitting(&VerificationKey::ec_pem(pem!("ec384.pub")).unwrap()),
        ["ES384"]
    );
    assert_eq!(
        fitting(&VerificationKey::hs256_secret([7; 32]).unwrap()),
        ["HS256"]
    );
    let only = jwk(&format!(r#"{},"alg":"PS256""#, rsa())).unwrap();
    assert_eq!(fitting(&only), ["PS256"]);
    for name in ["EdDSA", "Ed25519"] {
        assert_eq!(
            fitting(&jwk(&format!(r#"{ED},"alg":"{name}""#)).unwrap()),
            ["EdDSA"]
        );
    }
}

#[test]
fn keys_in_pem_are_those_in_jwk() {
    let components = |algorithm| {
        let jwk =
            jsonwebtoken::jwk::Jwk::from_encoding_key(&private(algorithm), algorithm.of_library());
        VerificationKey::from_jwk(serde_json::to_string(&jwk.unwrap()).unwrap()).unwrap()
    };
    let pems = [
        (
            Algorithm::EdDsa,
            VerificationKey::ed25519_pem(pem!("ed25519.pub")),
        ),
        (Algorithm::Es256, VerificationKey::ec_pem(pem!("ec.pub"))),
        (Algorithm::Rs256, VerificationKey::rsa_pem(pem!("rsa.pub"))),
        (
            Algorithm::Rs256,
            VerificationKey::rsa_pem(pem!("rsa.pkcs1.pub")),
        ),
    ];
    for (algorithm, pem) in pems {
        let pem = pem.unwrap();
        assert_eq!(
            pem.thumbprint(),
            components(algorithm).thumbprint(),
            "{algorithm}"
        );
        let signed = signature(algorithm, &private(algorithm), "text");
        assert!(pem.verifies(algorithm, b"text", &signed), "{algorithm}");
        assert!(!pem.verifies(algorithm, b"test", &signed), "{algorithm}");
    }
}

/// Also where nobody looked whether the key fits.
#[test]
fn a_key_verifies_nothing_with_the_algorithms_of_others() {
    let private = private(Algorithm::Rs256);
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&private, Algorithm::Rs256.of_library());
    let mut jwk = serde_json::to_value(jwk.unwrap()).unwrap();
    jwk["alg"] = "PS256".into();
    let only = VerificationKey::from_jwk(jwk.to_string()).unwrap();
    let any = VerificationKey::rsa_pem(pem!("rsa.pub")).unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
        let signed = signature(algorithm, &private, "text");
        assert!(any.verifies(algorithm, b"text", &signed));
        let takes = only.verifies(algorithm, b"text", &signed);
        assert_eq!(takes, algorithm == Algorithm::Ps256, "{algorithm}");
    }
}

#[test]
fn what_is_no_public_key_of_the_kind_is_refused() {
    let all = [
        pem!("ed25519"),
        pem!("ec"),
        pem!("rsa"),
        pem!("ed25519.pub"),
        pem!("ec.pub"),
        pem!("rsa.pub"),
        pem!("secp256k1.pub"),
        b"",
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
    ];
    type Parse = fn(&[u8]) -> Result<VerificationKey, KeyError>;
    let kinds: [(Parse, &[u8]); 3] = [
        (|pem| VerificationKey::ed25519_pem(pem), pem!("ed25519.pub")),
        (|pem| VerificationKey::ec_pem(pem), pem!("ec.pub")),
        (|pem| VerificationKey::rsa_pem(pem), pem!("rsa.pub")),
    ];
    for (parse, right) in kinds {
        for pem in all {
            match parse(pem) {
                Ok(_) => assert_eq!(pem, right),
                Err(error) => assert_eq!(error, KeyError::Pem),
            }
        }
        let twice = [right, right].concat();
        assert_eq!(parse(&twice).err(), Some(KeyError::Pem));
        let spoilt = String::from_utf8(right.to_vec())
            .unwrap()
            .replacen("MC", "M!", 1)
            .replacen("MF", "M!", 1)
            .replacen("MI", "M!", 1);
        assert_eq!(parse(spoilt.as_bytes()).err(), Some(KeyError::Pem));
    }
    assert_eq!(
        VerificationKey::rsa_pem(pem!("rsa1024.pub")).err(),
        Some(KeyError::Size)
    );
    assert_eq!(
        VerificationKey::hs256_secret([7; 31]).err(),
        Some(KeyError::Size)
    );
    assert_eq!(
        VerificationKey::hs256_secret("").err(),
        Some(KeyError::Size)
    );
}

#[test]
fn a_jwk_that_is_not_for_this_is_refused() {
    use KeyError::{Jwk, KeyId, Private, Size, Unsupported};
    let rsa = rsa();
    let short = base64([&[0x80][..], &[1; 254]].concat());
    let long = base64([&[0x80][..], &[1; 1_024]].concat());
    let refused = [
        ("".to_owned(), Jwk),
        (r#""kty":7"#.to_owned(), Jwk),
        (r#""kty":"oct""#.to_owned(), Unsupported),
        (
            r#""kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA""#
                .to_owned(),
            Unsupported,
        ),
        (
            r#""kty":"okp","crv":"Ed25519","x":"AA""#.to_owned(),
            Unsupported,
        ),
        (
            r#""kty":"OKP","crv":"X25519","x":"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08""#
                .to_owned(),
            Unsupported,
        ),
        (
            r#""kty":"OKP","crv":"Ed448","x":"AA""#.to_owned(),
            Unsupported,
        ),
        (
            r#""kty":"EC","crv":"P-521","x":"AA","y":"AA""#.to_owned(),
            Unsupported,
        ),
        (
            r#""kty":"EC","crv":"secp256k1","x":"AA","y":"AA""#.to_owned(),
            Unsupported,
        ),
        (r#""kty":"OKP","crv":"Ed25519""#.to_owned(), Jwk),
        (r#""kty":"OKP","crv":"Ed25519","x":"AAAA""#.to_owned(), Jwk),
        (
            r#""kty":"OKP","crv":"Ed25519","x":["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"]"#
                .to_owned(),
            Jwk,
        ),
        (ED.replace("URo", "URp"), Jwk),
        (EC.replace("f83O", "83O"), Jwk),
        (EC.replace("P-256", "P-384"), Jwk),
        (format!(r#"{ED},"use":"enc""#), Unsupported),
        (format!(r#"{ED},"use":7"#), Unsupported),
        (format!(r#"{ED},"key_ops":["sign"]"#), Unsupported),
        (format!(r#"{ED},"key_ops":[]"#), Unsupported),
        (format!(r#"{ED},"key_ops":"verify""#), Unsupported),
        (format!(r#"{ED},"alg":"ES256""#), Unsupported),
        (format!(r#"{ED},"alg":"none""#), Unsupported),
        (format!(r#"{ED},"alg":7"#), Jwk),
        (format!(r#"{rsa},"alg":"HS256""#), Unsupported),
        (format!(r#"{rsa},"alg":"RSA-OAEP""#), Unsupported),
        (format!(r#"{ED},"kid":7"#), Jwk),
        (format!(r#"{ED},"kid":"""#), KeyId),
        (format!(r#"{ED},"kid":"{}""#, "k".repeat(257)), KeyId),
        (
            format!(r#"{ED},"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#),
            Private,
        ),
        (
            format!(r#"{EC},"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI""#),
            Private,
        ),
        (format!(r#"{rsa},"p":"AA""#), Private),
        (format!(r#"{rsa},"k":"AA""#), Private),
        (format!(r#""kty":"RSA","e":"AQAB","n":"{short}""#), Size),
        (format!(r#""kty":"RSA","e":"AQAB","n":"{long}""#), Size),
        (
            format!(
                r#""kty":"RSA","e":"AQAB","n":"{}""#,
                RSA_N.replace("DKgw", "DKgg")
            ),
            Jwk,
        ),
        (rsa.replace("AQAB", "AQ"), Jwk),
        (rsa.replace("AQAB", "Ag"), Jwk),
        (rsa.replace("AQAB", ""), Jwk),
        (rsa.replace("AQAB", "AAAA"), Jwk),
        (rsa.replace("AQAB", "AQAAAAE"), Jwk),
        (rsa.replace("\"AQAB\"", "65537"), Jwk),
        (format!("{ED},{ED}"), Jwk),
    ];
    for (members, error) in refused {
        assert_eq!(jwk(&members).err(), Some(error), "{members}");
    }
    for members in [
        format!(r#"{ED},"use":"sig","key_ops":["verify"],"x5c":["MIIB"],"other":{{}}"#),
        EC.to_owned(),
        rsa,
    ] {
        jwk(&members).unwrap();
    }
}

/// RFC 7638 §3.1 and RFC 8037 appendix A.3.
#[test]
fn thumbprints_are_those_of_the_specifications() {
    let text = |key: VerificationKey| base64(key.thumbprint().unwrap().as_bytes());
    assert_eq!(
        text(jwk(&rsa()).unwrap()),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(
        text(jwk(ED).unwrap()),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    // Not part of it: names and uses. Zeros in front of a number do not change the number.
    let same = format!(
        r#""kid":"a","use":"sig","alg":"RS256","kty":"RSA","e":"AAEAAQ","n":"{}""#,
        base64([&[0][..], &unbase64(RSA_N)].concat())
    );
    assert_eq!(
        text(jwk(&same).unwrap()),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(
        VerificationKey::hs256_secret([7; 32]).unwrap().thumbprint(),
        None
    );
}

fn unbase64(text: &str) -> Vec<u8> {
    use ::base64::Engine;
    ::base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

#[test]
fn a_set_keeps_what_verifies_signatures() {
    let rsa = rsa();
    let keys = [
        format!(r#"{{{ED},"kid":"ed"}}"#),
        format!(r#"{{{rsa},"kid":"rsa","use":"sig"}}"#),
        format!(r#"{{{rsa},"kid":"enc","use":"enc"}}"#),
        r#"{"kty":"oct","kid":"secret","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"Ed448","kid":"448","x":"AA"}"#.to_owned(),
        r#"{"kty":"AKP","kid":"of the future","pub":"AA"}"#.to_owned(),
        "{}".to_owned(),
        format!(r#"{{{EC}}}"#),
        format!(r#"{{{EC},"kid":"ed"}}"#),
        // A second one of the same kind and name cannot be told from the first.
        r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#.to_owned(),
    ];
    let json = format!(r#"{{"keys":[{}],"other":1}}"#, keys.join(","));
    let set = KeySet::from_jwks(&json).unwrap();
    let kids: Vec<_> = set.keys().iter().map(VerificationKey::kid).collect();
    assert_eq!(kids, [Some("ed"), Some("rsa"), None, Some("ed")]);
    let thumbprint = |kid, algorithm| {
        set.find(kid, algorithm)
            .and_then(VerificationKey::thumbprint)
    };
    assert_eq!(
        thumbprint(Some("ed"), Algorithm::EdDsa),
        jwk(ED).unwrap().thumbprint()
    );
    assert_eq!(
        thumbprint(Some("ed"), Algorithm::Es256),
        jwk(EC).unwrap().thumbprint()
    );
    assert!(set.find(Some("rsa"), Algorithm::Rs256).is_some());
    assert!(set.find(Some("rsa"), Algorithm::Hs256).is_none());
    assert!(set.find(Some("enc"), Algorithm::Rs256).is_none());
    assert!(set.find(Some("secret"), Algorithm::Hs256).is_none());
}

#[test]
fn a_key_is_found_where_only_one_can_be_meant() {
    let ed = |kid: Option<&str>| {
        let key = jwk(ED).unwrap();
        kid.map_or_else(|| Ok(key.clone()), |kid| key.clone().with_kid(kid))
            .unwrap()
    };
    let found = |set: &KeySet, kid| {
        set.find(kid, Algorithm::EdDsa)
            .map(|key| key.kid().map(str::to_owned))
    };
    let one = KeySet::new([ed(Some("a")), jwk(EC).unwrap()]).unwrap();
    assert_eq!(found(&one, None), Some(Some("a".into())));
    assert_eq!(found(&one, Some("b")), None, "the wrong name is no name");
    let two = KeySet::new([ed(Some("a")), ed(Some("b"))]).unwrap();
    assert_eq!(found(&two, None), None);
    assert_eq!(found(&two, Some("b")), Some(Some("b".into())));
    let nameless = KeySet::new([ed(None), ed(Some("b"))]).unwrap();
    assert_eq!(found(&nameless, Some("unknown")), Some(None));
    assert_eq!(found(&nameless, Some("b")), Some(Some("b".into())));
    let nameless = KeySet::new([ed(None), ed(None)]).unwrap();
    assert_eq!(found(&nameless, Some("unknown")), None);
    assert_eq!(found(&KeySet::default(), None), None);
}

#[test]
fn sets_have_limits_and_no_two_of_a_name() {
    let named = |n: usize| jwk(ED).unwrap().with_kid(&format!("k{n}")).unwrap();
    assert_eq!(KeySet::new((0..100).map(named)).unwrap().keys().len(), 100);
    assert_eq!(
        KeySet::new((0..101).map(named)).err(),
        Some(KeyError::TooMany)
    );
    assert_eq!(
        KeySet::new([named(1), named(1)]).err(),
        Some(KeyError::Duplicate)
    );
    let json = |count| format!(r#"{{"keys":[{}]}}"#, vec!["{}"; count].join(","));
    assert!(KeySet::from_jwks(json(100)).unwrap().is_empty());
    assert_eq!(KeySet::from_jwks(json(101)).err(), Some(KeyError::TooMany));
    for json in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[7]}"#,
        r#"{"keys":[[]]}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        assert_eq!(KeySet::from_jwks(json).err(), Some(KeyError::Jwk), "{json}");
    }
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(512 * 1024));
    assert_eq!(KeySet::from_jwks(large).err(), Some(KeyError::Jwk));
}

#[test]
fn a_set_knows_what_another_lacks() {
    let ed = jwk(ED).unwrap().with_kid("a").unwrap();
    let ec = jwk(EC).unwrap().with_kid("b").unwrap();
    let both = KeySet::new([ed.clone(), ec.clone()]).unwrap();
    let one = KeySet::new([ed.clone()]).unwrap();
    assert!(
        both.contains_all(&one) && both.contains_all(&both) && one.contains_all(&KeySet::default())
    );
    assert!(!one.contains_all(&both));
    let renamed = KeySet::new([ed.with_kid("c").unwrap()]).unwrap();
    assert!(!renamed.contains_all(&one));
    let other = VerificationKey::ed25519_pem(pem!("ed25519.pub"))
        .unwrap()
        .with_kid("a")
        .unwrap();
    assert!(
        !KeySet::new([other]).unwrap().contains_all(&one),
        "another key of the same name"
    );
}

#[test]
fn no_key_shows_itself() {
    let secret = VerificationKey::hs256_secret([0x41; 32]).unwrap();
    let shown = format!(
        "{secret:?} {:?}",
        crate::jwt::SigningKey::hs256("k", [0x41; 32]).unwrap()
    );
    assert!(
        !shown.contains("65, 65") && !shown.contains("AAAA"),
        "{shown}"
    );
}
