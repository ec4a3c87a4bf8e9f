//! Tokens that somebody made to be taken for what they are not.

use jsonwebtoken::EncodingKey;
use proptest::prelude::*;

use super::support::*;
use crate::jwt::{Algorithm, Issuer, KeySet, SessionTokens, SigningKey, VerificationKey, header};

/// RFC 8725 §3.1, and a spelling of `none` that some library took.
#[test]
fn no_algorithm_is_no_signature() {
    let verifier = verifier();
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        "",
        "null",
        "HS256",
        "ES512",
        "eddsa",
        "RS256\\u0000",
    ] {
        for typ in ["at+jwt", "JWT"] {
            for kid in ["", r#","kid":"ed""#, r#","kid":"rsa""#] {
                let header = base64(format!(r#"{{"alg":"{alg}","typ":"{typ}"{kid}}}"#));
                let message = format!("{header}.{}", base64(CLAIMS));
                invalid(&verifier, format!("{message}."), alg);
                invalid(&verifier, format!("{message}.AA"), alg);
                let right = signature(Algorithm::EdDsa, &private(Algorithm::EdDsa), &message);
                invalid(&verifier, format!("{message}.{}", base64(right)), alg);
            }
        }
    }
    for alg in ["null", "0", "[\"EdDSA\"]", "{}", "true"] {
        let header = format!(r#"{{"alg":{alg},"typ":"at+jwt","kid":"ed"}}"#);
        invalid(&verifier, token(Algorithm::EdDsa, &header, CLAIMS), alg);
    }
    let header = r#"{"typ":"at+jwt","kid":"ed"}"#;
    invalid(
        &verifier,
        token(Algorithm::EdDsa, header, CLAIMS),
        "without any",
    );
    taken(&verifier, &saying(CLAIMS));
}

/// RFC 8725 §2.1: what everyone may know (a public key) as the secret of an HMAC.
#[test]
fn no_public_key_is_a_secret() {
    let pems = [
        pem!("rsa.pub"),
        pem!("rsa.pkcs1.pub"),
        pem!("ec.pub"),
        pem!("ed25519.pub"),
    ];
    let ders = [
        crate::jwt::keys::pem_contents(pem!("rsa.pub"), "PUBLIC KEY").unwrap(),
        crate::jwt::keys::pem_contents(pem!("rsa.pkcs1.pub"), "RSA PUBLIC KEY").unwrap(),
        crate::jwt::keys::pem_contents(pem!("ec.pub"), "PUBLIC KEY").unwrap(),
        crate::jwt::keys::pem_contents(pem!("ed25519.pub"), "PUBLIC KEY").unwrap(),
    ];
    let mut secrets: Vec<&[u8]> = pems
        .into_iter()
        .chain(ders.iter().map(|der| &***der))
        .collect();
    secrets.extend(pems.map(<[u8]>::trim_ascii));
    secrets.push(&ders[2][26..]);
    secrets.push(&ders[3][12..]);
    secrets.extend([b"".as_slice(), b"null", &[0; 32]]);

    let hub = SigningKey::hs256("hub", [9; 32]).unwrap();
    let hub = SessionTokens::builder("https://hub.example", hub)
        .build()
        .unwrap();
    let verifier = crate::jwt::JwtVerifier::builder()
        .with_issuer(issuer())
        .with_issuer(hub.issuer())
        .build()
        .unwrap();
    let claims = base64(CLAIMS);
    for secret in secrets {
        let key = EncodingKey::from_secret(secret);
        for kid in [
            "",
            r#","kid":"rsa""#,
            r#","kid":"ec""#,
            r#","kid":"ed""#,
            r#","kid":"hub""#,
        ] {
            let header = base64(format!(r#"{{"alg":"HS256","typ":"at+jwt"{kid}}}"#));
            let forged = signed(Algorithm::Hs256, &key, &header, &claims);
            invalid(&verifier, forged, "an HMAC with what is public");
        }
    }
    for (algorithm, _) in KINDS {
        taken(&verifier, &token(algorithm, &header(algorithm), CLAIMS));
    }
}

#[test]
fn a_key_serves_its_own_algorithms_only() {
    let verifier = verifier();
    for (algorithm, _) in KINDS {
        for (_, kid) in KINDS.iter().filter(|(other, _)| *other != algorithm) {
            let header = format!(r#"{{"alg":"{algorithm}","typ":"at+jwt","kid":"{kid}"}}"#);
            invalid(&verifier, token(algorithm, &header, CLAIMS), kid);
        }
    }
    // Rightly signed, with algorithms that the key has but the issuer is not pinned to.
    for algorithm in [
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps512,
    ] {
        let header = format!(r#"{{"alg":"{algorithm}","typ":"at+jwt","kid":"rsa"}}"#);
        let token = token(algorithm, &header, CLAIMS);
        invalid(&verifier, &token, "an algorithm that is not pinned");
        let rsa = VerificationKey::rsa_pem(pem!("rsa.pub")).unwrap();
        let pinned = Issuer::new(ISSUER)
            .with_audience(AUDIENCE)
            .with_algorithms([algorithm]);
        taken(
            &trusting(pinned.with_key(rsa.with_kid("rsa").unwrap())),
            &token,
        );
    }
}

#[test]
fn a_key_id_is_a_name_and_nothing_else() {
    let verifier = verifier();
    let long = "k".repeat(9_000);
    let kids = [
        r#""""#,
        r#""unknown""#,
        r#""ED""#,
        r#""ed ""#,
        r#""ed\u0000""#,
        r#""../../../../dev/null""#,
        r#""/proc/self/environ""#,
        r#""' UNION SELECT 'key'; --""#,
        r#""ed' OR '1'='1""#,
        r#""$(id)""#,
        r#""http://127.0.0.1/""#,
        r#""\ud83d\ude00""#,
        &format!("{long:?}"),
        "null",
        "7",
        "[\"ed\"]",
        "{\"ed\":1}",
        r#""ed","kid":"ed""#,
        r#""ed","\u006bid":"rsa""#,
    ];
    for kid in kids {
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":{kid}}}"#);
        invalid(&verifier, token(Algorithm::EdDsa, &header, CLAIMS), kid);
    }
    // One that names none is taken, because only one key fits its algorithm.
    taken(
        &verifier,
        &token(
            Algorithm::EdDsa,
            r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
            CLAIMS,
        ),
    );
}

#[test]
fn keys_that_a_token_brings_or_points_at_prove_nothing() {
    let verifier = verifier();
    let stranger = EncodingKey::from_ed_pem(pem!("stranger")).unwrap();
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}"#;
    let members = [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"https://issuer.example.evil.example/keys""#.to_owned(),
        r#""jku":"http://127.0.0.1:1/keys""#.to_owned(),
        r#""x5u":"https://evil.example/cert""#.to_owned(),
        r#""x5c":["MIIB"]"#.to_owned(),
        r#""x5t":"AAAA","x5t#S256":"AAAA""#.to_owned(),
        r#""jwk":7,"jku":null,"x5u":[],"x5c":{}"#.to_owned(),
    ];
    for member in members {
        for kid in ["", r#","kid":"ed""#, r#","kid":"evil""#] {
            let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt"{kid},{member}}}"#);
            let forged = signed(
                Algorithm::EdDsa,
                &stranger,
                &base64(&header),
                &base64(CLAIMS),
            );
            invalid(&verifier, forged, &member);
            let right = token(Algorithm::EdDsa, &header, CLAIMS);
            if kid.contains("evil") {
                invalid(&verifier, right, &member);
            } else {
                taken(&verifier, &right);
            }
        }
    }
}

/// RFC 7515 §4.1.11: who does not understand what is critical must refuse.
#[test]
fn critical_extensions_are_refused() {
    let verifier = verifier();
    for member in [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""crit":["b64"],"b64":false"#,
        r#""b64":true"#,
    ] {
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"ed",{member}}}"#);
        invalid(&verifier, token(Algorithm::EdDsa, &header, CLAIMS), member);
    }
}

/// RFC 8725 §3.11 and §3.12.
#[test]
fn a_token_of_another_type_is_refused() {
    let verifier = verifier();
    let with_type = |typ: &str| {
        let header = format!(r#"{{"alg":"EdDSA","kid":"ed"{typ}}}"#);
        token(Algorithm::EdDsa, &header, CLAIMS)
    };
    for typ in [
        "",
        r#","typ":"JWT""#,
        r#","typ":"jwt""#,
        r#","typ":"session+jwt""#,
        r#","typ":"application/session+jwt""#,
        r#","typ":"dpop+jwt""#,
        r#","typ":"logout+jwt""#,
        r#","typ":"at+jwt ""#,
        r#","typ":"at""#,
        r#","typ":"""#,
        r#","typ":null"#,
        r#","typ":7"#,
        r#","typ":["at+jwt"]"#,
        r#","typ":"at+jwt","typ":"at+jwt""#,
    ] {
        invalid(&verifier, with_type(typ), typ);
    }
    for typ in [
        r#","typ":"at+jwt""#,
        r#","typ":"AT+JWT""#,
        r#","typ":"application/at+jwt""#,
    ] {
        taken(&verifier, &with_type(typ));
    }
    let untyped = trusting(issuer().without_type());
    for typ in [
        "",
        r#","typ":"JWT""#,
        r#","typ":"at+jwt""#,
        r#","typ":"application/jwt""#,
    ] {
        taken(&untyped, &with_type(typ));
    }
    for typ in [
        r#","typ":"session+jwt""#,
        r#","typ":"dpop+jwt""#,
        r#","typ":"logout+jwt""#,
        r#","typ":null"#,
    ] {
        invalid(&untyped, with_type(typ), typ);
    }
}

#[test]
fn claims_of_another_form_are_refused() {
    let verifier = verifier();
    let long = format!("{:?}", "s".repeat(256));
    let refused: &[(&str, &[&str])] = &[
        (
            "iss",
            &[
                "",
                "7",
                "null",
                "[\"https://issuer.example\"]",
                "\"https://issuer.example/\"",
                "\"HTTPS://issuer.example\"",
                "\"https://Issuer.example\"",
                "\"https://issuer.example \"",
                "\"https://issuer.example.evil.example\"",
                "\"http://issuer.example\"",
                "\"\"",
            ],
        ),
        (
            "aud",
            &[
                "",
                "7",
                "null",
                "{}",
                "[]",
                "[7]",
                "{\"https://api.example\":1}",
                "\"\"",
                "\"https://api.example/\"",
                "\"https://API.example\"",
                "\"https://api.example https://other.example\"",
                "[\"https://other.example\"]",
                "[\"https://api.example\",7]",
                "[[\"https://api.example\"]]",
            ],
        ),
        (
            "sub",
            &[
                "",
                "7",
                "null",
                "[]",
                "\"\"",
                "\"user 7\"",
                "\"b\\u00fchne\"",
                "\"a\\nb\"",
                "\"a\\u0000\"",
                &long,
            ],
        ),
        (
            "exp",
            &[
                "",
                "\"1800000600\"",
                "null",
                "true",
                "[1800000600]",
                "{}",
                "-1",
                "-1e300",
                "1e300",
                "18446744073709551615",
                "9223372036854775807",
                "253402207201",
            ],
        ),
        (
            "nbf",
            &[
                "\"1\"",
                "null",
                "-1",
                "1e300",
                "[]",
                "1800000031",
                "1800000031.5",
                "9e11",
            ],
        ),
        ("iat", &["\"1\"", "null", "-1", "{}", "1800000301"]),
        (
            "scope",
            &[
                "7",
                "true",
                "{}",
                "[7]",
                "[\"a\",null]",
                "\"a\\\"b\"",
                "\"a\\nb\"",
                "[\"a b\"]",
                "[\"\"]",
            ],
        ),
        ("scp", &["7", "{}", "[[]]"]),
        ("name", &["7", "{}", "[\"Ada\"]"]),
        (
            "cnf",
            &[
                "null",
                "7",
                "\"x\"",
                "[]",
                "{}",
                "{\"jkt\":7}",
                "{\"jkt\":\"AAAA\"}",
                "{\"x5t#S256\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                "{\"jkt\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"jwk\":{}}",
                "{\"jkt\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\"}",
                "{\"jkt\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}",
            ],
        ),
    ];
    for (name, values) in refused {
        for value in *values {
            let claims = with_claim(name, Some(*value).filter(|value| !value.is_empty()));
            invalid(&verifier, saying(&claims), &format!("{name} {value}"));
        }
    }
    taken(
        &verifier,
        &saying(&with_claim("other", Some("[{\"a\":null}]"))),
    );
}

#[test]
fn a_payload_that_can_be_read_in_two_ways_is_refused() {
    let verifier = verifier();
    let inside = CLAIMS.strip_suffix('}').unwrap();
    let deep = |depth: usize| {
        format!(
            "{inside},\"x\":{}{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let objects = |depth: usize| {
        format!(
            "{inside},\"x\":{}1{}}}",
            "{\"a\":".repeat(depth),
            "}".repeat(depth)
        )
    };
    let many = |count: usize| {
        let more: Vec<_> = (0..count).map(|n| format!(",\"m{n}\":0")).collect();
        format!("{inside}{}}}", more.concat())
    };
    let refused = [
        format!(r#"{inside},"iss":"https://issuer.example"}}"#),
        format!(r#"{inside},"exp":9999999999}}"#),
        format!(r#"{inside},"\u0065xp":9999999999}}"#),
        format!(r#"{inside},"x":{{"a":1,"a":2}}}}"#),
        format!(r#"{inside},"x":[{{"a":1,"\u0061":2}}]}}"#),
        format!(r#"{inside},"x":"\ud800"}}"#),
        format!(r#"{inside},"x":"\udfff\ud800"}}"#),
        format!(r#"{inside},"\ud800":1}}"#),
        format!("{CLAIMS}{CLAIMS}"),
        format!("{CLAIMS},"),
        format!("[{CLAIMS}]"),
        format!("\u{feff}{CLAIMS}"),
        format!("{inside},\"x\":\"\n\"}}"),
        format!("{inside},}}"),
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        deep(8),
        deep(5_000),
        objects(8),
        objects(2_000),
        many(253),
    ];
    for claims in refused {
        invalid(&verifier, saying(&claims), &claims);
    }
    for claims in [format!(" {CLAIMS}\r\n"), deep(7), objects(7), many(252)] {
        taken(&verifier, &saying(&claims));
    }
    let header = |header: &str| token(Algorithm::EdDsa, header, CLAIMS);
    for text in [
        r#"{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"ed"}"#,
        r#"{"alg":"EdDSA","\u0061lg":"none","typ":"at+jwt","kid":"ed"}"#,
        r#"[{"alg":"EdDSA","typ":"at+jwt","kid":"ed"}]"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"ed"}{}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"ed","x":[[[[[[[[]]]]]]]]}"#,
    ] {
        invalid(&verifier, header(text), text);
    }
}

#[test]
fn time_is_judged_to_the_microsecond() {
    let verifier = verifier();
    let token = saying(CLAIMS);
    let at_micros = |micros: i64| {
        let mut now = at(0);
        now.wall = crate::clock::Timestamp::from_unix_micros(micros);
        verify(&verifier, &token, now)
    };
    // With the leeway of half a minute.
    let over = (NOW + 630) * 1_000_000;
    assert_eq!(
        at_micros(over - 1)
            .unwrap()
            .expires_at
            .unwrap()
            .unix_micros(),
        over
    );
    for micros in [over, over + 1, i64::MAX] {
        let verified = at_micros(micros);
        assert!(
            matches!(verified, Err(crate::TokenError::Expired)),
            "{verified:?}"
        );
    }
    let nbf = with_claim("nbf", Some("1800000030"));
    taken(&verifier, &saying(&nbf));
    let fraction = with_claim("exp", Some("1799999970.5"));
    taken(&verifier, &saying(&fraction));
    let fraction = with_claim("exp", Some("1799999969.5"));
    assert!(matches!(
        verify(&verifier, saying(&fraction), at(NOW)),
        Err(crate::TokenError::Expired)
    ));
}

#[test]
fn only_the_issuers_own_tokens_expire() {
    let verifier = verifier();
    let long_over = at(NOW + 100_000);
    let refused = |token: &str, why: &str| {
        let verified = verify(&verifier, token, long_over);
        assert!(
            matches!(verified, Err(crate::TokenError::Invalid)),
            "{why}: {verified:?}"
        );
    };
    let right = saying(CLAIMS);
    assert!(matches!(
        verify(&verifier, &right, long_over),
        Err(crate::TokenError::Expired)
    ));
    refused(&format!("{}A", &right[..right.len() - 1]), "signature");
    refused(&right[..right.rfind('.').unwrap() + 1], "no signature");
    refused(&saying(&with_claim("aud", Some("\"other\""))), "audience");
    refused(&saying(&with_claim("sub", None)), "subject");
    refused(&saying(&with_claim("scope", Some("7"))), "scope");
    refused(&saying(&with_claim("nbf", Some("1900000000"))), "not yet");
}

#[test]
fn every_bit_and_byte_of_a_signature_counts() {
    let verifier = verifier();
    for (algorithm, _) in KINDS {
        let token = token(algorithm, &header(algorithm), CLAIMS);
        taken(&verifier, &token);
        let (message, _) = token.rsplit_once('.').unwrap();
        let right = signature(algorithm, &private(algorithm), message);
        let with = |signature: &[u8]| format!("{message}.{}", base64(signature));
        taken(&verifier, &with(&right));
        for bit in 0..right.len() * 8 {
            let mut flipped = right.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            invalid(&verifier, with(&flipped), "a flipped bit");
        }
        for length in 0..right.len() {
            invalid(&verifier, with(&right[..length]), "a truncated signature");
        }
        for more in [&[0][..], &[0; 64], &right] {
            invalid(
                &verifier,
                with(&[&right, more].concat()),
                "a longer signature",
            );
            invalid(
                &verifier,
                with(&[more, &right].concat()),
                "a longer signature",
            );
        }
        for byte in [0, 1, 0x7f, 0xff] {
            invalid(
                &verifier,
                with(&vec![byte; right.len()]),
                "a signature of nothing",
            );
        }
    }
}

/// CVE-2022-21449 and its like: R and S of zero or of the curve's order; ASN.1 instead of the two
/// numbers; the other S that ASN.1-minded verifiers take is right, and nobody gains by it.
#[test]
fn signatures_of_curves_are_two_numbers_within_bounds() {
    let verifier = verifier();
    let order = *b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
    let token = token(Algorithm::Es256, &header(Algorithm::Es256), CLAIMS);
    let (message, _) = token.rsplit_once('.').unwrap();
    let right = signature(Algorithm::Es256, &private(Algorithm::Es256), message);
    let (r, s) = right.split_at(32);
    let mut one = [0; 32];
    one[31] = 1;
    let pairs = [
        [&[0; 32], s],
        [r, &[0; 32]],
        [&[0; 32], &[0; 32]],
        [&order, s],
        [r, &order],
        [&order, &order],
        [&one, &one],
        [s, r],
    ];
    for pair in pairs {
        invalid(
            &verifier,
            format!("{message}.{}", base64(pair.concat())),
            "out of bounds",
        );
    }
    // SEQUENCE { INTEGER r, INTEGER s }, both with a zero in front so that they are positive.
    let integer = |number: &[u8]| [&[2, 33, 0], number].concat();
    let der = [&[0x30, 70][..], &integer(r), &integer(s)].concat();
    invalid(&verifier, format!("{message}.{}", base64(der)), "ASN.1");
    taken(&verifier, &token);
}

#[test]
fn each_token_has_one_text() {
    let verifier = verifier();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, claims) = (base64(header(Algorithm::EdDsa)), base64(CLAIMS));
    let key = private(Algorithm::EdDsa);
    let spoilt = |part: &str| {
        let mut spoilt = vec![
            format!("{part}="),
            format!("{part}=="),
            format!("{part}\n"),
            format!(" {part}"),
            format!("{part}%3D"),
            format!("{}\t{}", &part[..4], &part[4..]),
        ];
        // Unused bits that are not zero: another text of the same bytes.
        let last = *part.as_bytes().last().unwrap();
        let index = alphabet.iter().position(|&byte| byte == last).unwrap();
        if part.len() % 4 != 0 {
            let other = char::from(alphabet[index | 1]);
            spoilt.push(format!("{}{other}", &part[..part.len() - 1]));
        }
        spoilt
    };
    // Signed as they stand: only the base64 is wrong.
    let padded = |json: &str| {
        // So that its base64 has unused bits.
        let missing = (4 - json.len() % 3) % 3;
        base64(format!("{json}{}", " ".repeat(missing)))
    };
    assert_ne!(padded(CLAIMS).len() % 4, 0);
    for part in spoilt(&padded(&header(Algorithm::EdDsa))) {
        invalid(
            &verifier,
            signed(Algorithm::EdDsa, &key, &part, &claims),
            &part,
        );
    }
    for part in spoilt(&padded(CLAIMS)) {
        invalid(
            &verifier,
            signed(Algorithm::EdDsa, &key, &head, &part),
            &part,
        );
    }
    taken(
        &verifier,
        &signed(
            Algorithm::EdDsa,
            &key,
            &padded(&header(Algorithm::EdDsa)),
            &padded(CLAIMS),
        ),
    );
    let right = signed(Algorithm::EdDsa, &key, &head, &claims);
    let (message, signature) = right.rsplit_once('.').unwrap();
    for signature in spoilt(signature) {
        invalid(&verifier, format!("{message}.{signature}"), &signature);
    }
    // The other alphabet, on a signature that has one of the two characters.
    let mut seen = 0;
    for number in 0..40 {
        let right = saying(&with_claim("n", Some(&number.to_string())));
        let (message, signature) = right.rsplit_once('.').unwrap();
        let other = signature.replace('-', "+").replace('_', "/");
        if other != signature {
            seen += 1;
            invalid(
                &verifier,
                format!("{message}.{other}"),
                "the other alphabet",
            );
        }
    }
    assert!(seen > 20, "most signatures have one");
    for text in [
        format!("{right}."),
        format!(".{right}"),
        format!("{message}"),
        format!("{right}.AA"),
        right.replace('.', ".."),
        format!("Bearer {right}"),
    ] {
        invalid(&verifier, &text, &text);
    }
}

#[test]
fn long_tokens_are_refused_unread() {
    let verifier = verifier();
    let with_filler =
        |length: usize| saying(&with_claim("x", Some(&format!("{:?}", "x".repeat(length)))));
    let overhead = with_filler(0).len();
    // Base64 takes four bytes for three.
    let fitting = with_filler((header::LONGEST_TOKEN - overhead) / 4 * 3 - 3);
    assert!((header::LONGEST_TOKEN - 16..=header::LONGEST_TOKEN).contains(&fitting.len()));
    taken(&verifier, &fitting);
    invalid(
        &verifier,
        with_filler((header::LONGEST_TOKEN - overhead) / 4 * 3 + 9),
        "a little over",
    );
    invalid(&verifier, with_filler(1_000_000), "a megabyte");
    for text in [
        "e".repeat(1_000_000),
        ".".repeat(1_000_000),
        format!("ey{}", "..".repeat(500_000)),
        format!("{}..", "eyJh".repeat(250_000)),
    ] {
        invalid(&verifier, &text, "a megabyte of nothing");
    }
}

/// Sessions and access tokens of one issuer, even with one key, are never taken for one another.
#[test]
fn sessions_and_access_tokens_are_told_apart() {
    let secret = [9; 32];
    let key = || {
        VerificationKey::hs256_secret(secret)
            .unwrap()
            .with_kid("k")
            .unwrap()
    };
    let sessions = SessionTokens::builder(ISSUER, SigningKey::hs256("k", secret).unwrap())
        .build()
        .unwrap();
    let access = Issuer::new(ISSUER)
        .with_audience(ISSUER)
        .with_algorithms([Algorithm::Hs256])
        .with_key(key());
    let (only_access, untyped) = (
        trusting(access.clone()),
        trusting(access.clone().without_type()),
    );
    let only_sessions = trusting(sessions.issuer());
    let both = crate::jwt::JwtVerifier::builder()
        .with_issuer(access)
        .with_issuer(sessions.issuer())
        .build()
        .unwrap();

    let admin = crate::jwt::Session::of("user-7").with_administrator(true);
    let session = sessions.issue(&admin, at(NOW)).unwrap();
    let session = session.text.expose();
    invalid(&only_access, session, "a session is no access token");
    invalid(&untyped, session, "a session is no access token");
    assert!(taken(&only_sessions, session).administrator);
    assert!(taken(&both, session).administrator);

    // The very claims of the session, called an access token.
    let claims = session.split('.').nth(1).unwrap();
    for typ in ["at+jwt", "JWT"] {
        let head = base64(format!(r#"{{"alg":"HS256","typ":"{typ}","kid":"k"}}"#));
        let token = signed(
            Algorithm::Hs256,
            &EncodingKey::from_secret(&secret),
            &head,
            claims,
        );
        invalid(&only_sessions, &token, "an access token is no session");
        let principal = taken(&untyped, &token);
        assert!(
            !principal.administrator,
            "no claim of an access token makes an administrator"
        );
        assert_eq!(
            principal.holder.as_str(),
            format!("{ISSUER}|{ISSUER}|user-7")
        );
    }
}

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
