//! Claims that are not of their form, or not of this moment.

use super::support::*;
use crate::{Timestamp, TokenError, jwt::Algorithm};

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
        now.wall = Timestamp::from_unix_micros(micros);
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
        assert!(matches!(verified, Err(TokenError::Expired)), "{verified:?}");
    }
    let nbf = with_claim("nbf", Some("1800000030"));
    taken(&verifier, &saying(&nbf));
    let fraction = with_claim("exp", Some("1799999970.5"));
    taken(&verifier, &saying(&fraction));
    let fraction = with_claim("exp", Some("1799999969.5"));
    assert!(matches!(
        verify(&verifier, saying(&fraction), at(NOW)),
        Err(TokenError::Expired)
    ));
}

#[test]
fn only_the_issuers_own_tokens_expire() {
    let verifier = verifier();
    let long_over = at(NOW + 100_000);
    let refused = |token: &str, why: &str| {
        let verified = verify(&verifier, token, long_over);
        assert!(
            matches!(verified, Err(TokenError::Invalid)),
            "{why}: {verified:?}"
        );
    };
    let right = saying(CLAIMS);
    assert!(matches!(
        verify(&verifier, &right, long_over),
        Err(TokenError::Expired)
    ));
    refused(&format!("{}A", &right[..right.len() - 1]), "signature");
    refused(&right[..right.rfind('.').unwrap() + 1], "no signature");
    refused(&saying(&with_claim("aud", Some("\"other\""))), "audience");
    refused(&saying(&with_claim("sub", None)), "subject");
    refused(&saying(&with_claim("scope", Some("7"))), "scope");
    refused(&saying(&with_claim("nbf", Some("1900000000"))), "not yet");
}
