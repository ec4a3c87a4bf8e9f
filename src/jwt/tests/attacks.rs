//! Tokens that somebody made to be taken for what they are not: by their headers.

use jsonwebtoken::EncodingKey;

use super::support::*;
use crate::jwt::{Algorithm, Issuer, SessionTokens, SigningKey, VerificationKey};

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
