use serde_json::{Value, json};

use super::*;
use crate::token::KeyThumbprint;

const ISSUER: &str = "https://issuer.example";

fn expected() -> Expected {
    Expected {
        issuer: ISSUER.into(),
        audiences: Vec::new(),
        mapping: ClaimMapping::default(),
        cache: Duration::ZERO,
        needs_token_type: true,
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

const NOW: i64 = 1_795_248_000;

/// The answer about a token of this user, with these members too.
fn active(members: Value) -> Value {
    let mut answer = json!({"active": true, "sub": "ada", "token_type": "Bearer"});
    let answer_members = answer.as_object_mut().expect("an object");
    answer_members.extend(members.as_object().expect("an object").clone());
    answer
}

fn judge(members: Value) -> Result<Principal, Refusal> {
    let answer = active(members).to_string();
    expected().judge(answer.as_bytes(), now())
}

/// Whether a token is taken.
#[track_caller]
fn refusal(members: Value) -> Option<Refusal> {
    judge(members).err()
}

fn is_malformed(refusal: Option<Refusal>) -> bool {
    matches!(refusal, Some(Refusal::Malformed(_)))
}

#[test]
fn answer_says_who_the_token_speaks_for_and_what_it_allows() {
    let principal = judge(json!({
        "iss": ISSUER,
        "aud": "somebody",
        "client_id": "console",
        "scope": "read:realms write:realms",
        "name": "Ada",
        "exp": NOW + 60,
        "nbf": NOW,
        "iat": NOW,
        "administrator": true,
        "modules": ["launcher"],
    }));
    let principal = principal.expect("valid");
    assert_eq!(principal.holder.as_str(), "https://issuer.example|ada");
    let scopes: Vec<_> = principal.scopes.iter().map(crate::Scope::as_str).collect();
    assert_eq!(scopes, ["read:realms", "write:realms"]);
    assert_eq!(principal.name.as_deref(), Some("Ada"));
    let expiry = Timestamp::from_unix_seconds(NOW + 60);
    assert_eq!(principal.expires_at, Some(expiry));
    // The rest is for those who ask for it, and nobody may ask for this.
    assert!(!principal.administrator);
    assert!(principal.modules.is_empty() && principal.tier.is_none());
    assert_eq!(principal.confirmation, None);
}

#[test]
fn mapping_says_which_members_count() {
    let mut expected = expected();
    expected.mapping = ClaimMapping::new()
        .with_scopes_from(Some("permissions"))
        .with_modules_from(Some("modules"))
        .with_tier_from(Some("plan"))
        .with_name_from(None);
    let answer = active(json!({
        "permissions": ["read:realms"],
        "scope": "write:realms",
        "modules": ["launcher"],
        "plan": "premium",
        "name": "Ada",
        "username": "ada@example.com",
    }));
    let judged = expected.judge(answer.to_string().as_bytes(), now());
    let principal = judged.expect("valid");
    assert_eq!(principal.scopes, ["read:realms".parse().expect("a scope")]);
    assert_eq!(principal.modules, ["launcher".parse().expect("a module")]);
    assert_eq!(principal.tier, "premium".parse().ok());
    assert_eq!(principal.name.as_deref(), Some("ada@example.com"));
    // As in a JWT: what cannot be read grants nothing, and nothing else is guessed.
    let unreadable = active(json!({"permissions": 7}));
    let judged = expected.judge(unreadable.to_string().as_bytes(), now());
    assert_eq!(judged, Err(Refusal::Invalid));
}

#[test]
fn username_is_the_name_of_who_has_no_other() {
    for (members, name) in [
        (json!({"username": "ada"}), Some("ada")),
        (json!({"username": "ada", "name": "Ada"}), Some("Ada")),
        (json!({"username": "a\nb"}), None),
        (json!({"username": ""}), None),
        (json!({"username": 7}), None),
        (json!({}), None),
    ] {
        let principal = judge(members).expect("valid");
        assert_eq!(principal.name.as_deref(), name);
    }
}

#[test]
fn token_that_is_not_active_is_invalid_whatever_else_is_said() {
    assert_eq!(refusal(json!({"active": false})), Some(Refusal::Invalid));
    let bare = expected().judge(br#"{"active":false}"#, now());
    assert_eq!(bare, Err(Refusal::Invalid));
}

#[test]
fn active_is_a_boolean_or_this_is_no_answer() {
    for active in [
        json!("true"),
        json!(1),
        json!(null),
        json!([true]),
        json!({}),
    ] {
        assert!(is_malformed(refusal(json!({"active": active}))), "{active}");
    }
    let none = br#"{"sub":"ada","token_type":"Bearer"}"#;
    assert!(is_malformed(expected().judge(none, now()).err()));
}

#[test]
fn answer_that_can_be_read_in_two_ways_is_none() {
    let good = r#"{"active":true,"sub":"ada","token_type":"Bearer"}"#;
    assert!(expected().judge(good.as_bytes(), now()).is_ok());
    for text in [
        "",
        "true",
        "[]",
        r#"[{"active":true}]"#,
        r#"{"active":true,"sub":"ada","token_type":"Bearer""#,
        r#"{"active":true,"sub":"ada","token_type":"Bearer"}{}"#,
        r#"{"active":false,"active":true,"sub":"ada","token_type":"Bearer"}"#,
        r#"{"active":true,"sub":"ada","\u0073ub":"eve","token_type":"Bearer"}"#,
        r#"{"active":true,"sub":"ada","token_type":"Bearer","cnf":{"jkt":"a","jkt":"b"}}"#,
        "<html></html>",
    ] {
        let judged = expected().judge(text.as_bytes(), now());
        assert!(is_malformed(judged.err()), "{text}");
    }
    let padded = format!("{good}{}", " ".repeat(LONGEST));
    assert!(is_malformed(
        expected().judge(padded.as_bytes(), now()).err()
    ));
}

#[test]
fn issuer_that_is_said_is_ours_to_the_letter() {
    assert_eq!(refusal(json!({"iss": ISSUER})), None);
    assert_eq!(refusal(json!({"iss": null})), None);
    for other in [
        "",
        "https://issuer.example/",
        "https://ISSUER.example",
        "issuer.example",
    ] {
        assert_eq!(
            refusal(json!({"iss": other})),
            Some(Refusal::Invalid),
            "{other}"
        );
    }
    assert!(is_malformed(refusal(json!({"iss": [ISSUER]}))));
}

#[test]
fn audience_is_needed_where_one_is_set() {
    let expected = Expected {
        audiences: vec!["https://api.example".into(), "realms".into()],
        ..expected()
    };
    for (aud, taken) in [
        (json!("https://api.example"), true),
        (json!("realms"), true),
        (json!(["other", "realms"]), true),
        (json!("https://api.example/"), false),
        (json!("other realms"), false),
        (json!("Realms"), false),
        (json!([]), false),
        (json!(["realms", 7]), false),
        (json!({"realms": "realms"}), false),
        (json!(null), false),
        (json!(7), false),
    ] {
        let answer = active(json!({"aud": aud})).to_string();
        let refusal = expected.judge(answer.as_bytes(), now()).err();
        assert_eq!(refusal, (!taken).then_some(Refusal::Invalid), "{aud}");
    }
    let unsaid = active(json!({})).to_string();
    let refusal = expected.judge(unsaid.as_bytes(), now()).err();
    assert_eq!(refusal, Some(Refusal::Invalid));
    // Where none is set, whatever it is meant for.
    assert_eq!(judge(json!({"aud": "other"})).err(), None);
}

#[test]
fn token_is_expired_from_its_expiry_on() {
    for (exp, refused) in [
        (json!(NOW + 1), None),
        (json!(NOW as f64 + 0.5), None),
        (json!(null), None),
        (json!(NOW), Some(Refusal::Expired)),
        (json!(NOW - 1), Some(Refusal::Expired)),
        (json!(0), Some(Refusal::Expired)),
    ] {
        assert_eq!(refusal(json!({"exp": exp})), refused, "{exp}");
    }
    for exp in [
        json!("1795248060"),
        json!(true),
        json!(-1),
        json!(1e300),
        json!([]),
    ] {
        assert!(is_malformed(refusal(json!({"exp": exp}))), "{exp}");
    }
    // What is invalid anyway is not called expired.
    let both = json!({"exp": NOW - 1, "iss": "https://other.example"});
    assert_eq!(refusal(both), Some(Refusal::Invalid));
}

#[test]
fn token_of_the_future_is_invalid_beyond_the_leeway() {
    for (nbf, refused) in [
        (json!(NOW - 60), None),
        (json!(NOW + 30), None),
        (json!(null), None),
        (json!(NOW + 31), Some(Refusal::Invalid)),
    ] {
        assert_eq!(refusal(json!({"nbf": nbf})), refused, "{nbf}");
    }
    assert!(is_malformed(refusal(json!({"nbf": "now"}))));
}

#[test]
fn answer_is_remembered_as_long_as_set_and_never_beyond_expiry() {
    let judge = |cache, members| {
        let expected = Expected {
            cache: Duration::from_secs(cache),
            ..expected()
        };
        let answer = active(members).to_string();
        let principal = expected.judge(answer.as_bytes(), now()).expect("valid");
        principal.keep_for.as_secs()
    };
    assert_eq!(judge(0, json!({"exp": NOW + 60})), 0);
    assert_eq!(judge(10, json!({"exp": NOW + 60})), 10);
    assert_eq!(judge(60, json!({"exp": NOW + 10})), 10);
    assert_eq!(judge(60, json!({})), 60);
}

#[test]
fn only_access_tokens_are_taken() {
    for (members, refused) in [
        (json!({"token_type": "bearer"}), None),
        (
            json!({"token_type": "BEARER", "token_use": "access_token"}),
            None,
        ),
        (json!({"typ": "Bearer"}), None),
        (json!({"token_type": null}), Some(Refusal::Untyped)),
        (json!({"token_type": ""}), Some(Refusal::Invalid)),
        (json!({"token_type": "mac"}), Some(Refusal::Invalid)),
        (
            json!({"token_type": "refresh_token"}),
            Some(Refusal::Invalid),
        ),
        (json!({"token_type": "Bearer "}), Some(Refusal::Invalid)),
        (
            json!({"token_use": "refresh_token"}),
            Some(Refusal::Invalid),
        ),
        (json!({"token_use": "id"}), Some(Refusal::Invalid)),
        (json!({"typ": "Refresh"}), Some(Refusal::Invalid)),
        (json!({"typ": "Offline"}), Some(Refusal::Invalid)),
        (json!({"typ": "ID"}), Some(Refusal::Invalid)),
        // Bound to a key that is not said.
        (json!({"token_type": "DPoP"}), Some(Refusal::Invalid)),
    ] {
        assert_eq!(refusal(members.clone()), refused, "{members}");
    }
    assert!(is_malformed(refusal(json!({"token_type": ["Bearer"]}))));
}

#[test]
fn token_type_may_be_unsaid_where_the_setting_says_so() {
    let expected = Expected {
        needs_token_type: false,
        ..expected()
    };
    let judge = |answer: Value| expected.judge(answer.to_string().as_bytes(), now()).err();
    assert_eq!(judge(json!({"active": true, "sub": "ada"})), None);
    let refresh = json!({"active": true, "sub": "ada", "token_use": "refresh_token"});
    assert_eq!(judge(refresh), Some(Refusal::Invalid));
    let mac = json!({"active": true, "sub": "ada", "token_type": "mac"});
    assert_eq!(judge(mac), Some(Refusal::Invalid));
}

/// RFC 9449 §6.2; the thumbprint is that of its §6.1.
#[test]
fn bound_token_says_to_which_key() {
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    for kind in ["DPoP", "dpop", "Bearer"] {
        let principal = judge(json!({"token_type": kind, "cnf": {"jkt": jkt}})).expect("valid");
        let thumbprint = principal.confirmation.as_ref().map(KeyThumbprint::as_bytes);
        let bytes = thumbprint.expect("bound");
        assert_eq!((bytes[0], bytes[31]), (0xd1, 0x82));
    }
}

#[test]
fn token_bound_in_another_way_is_invalid() {
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    for cnf in [
        json!({}),
        json!(null),
        json!(jkt),
        json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
        json!({"jkt": null}),
        json!({"jkt": ""}),
        json!({"jkt": &jkt[1..]}),
        json!({"jkt": format!("{jkt}=")}),
        json!({"jkt": [jkt]}),
    ] {
        let refused = refusal(json!({"cnf": cnf}));
        assert_eq!(refused, Some(Refusal::Invalid), "{cnf}");
    }
}

#[test]
fn client_that_acts_for_nobody_is_taken_for_no_user() {
    let holder = |answer: Value| {
        let judged = expected().judge(answer.to_string().as_bytes(), now());
        judged.expect("valid").holder.as_str().to_owned()
    };
    let client = json!({"active": true, "client_id": "x", "token_type": "Bearer"});
    assert_eq!(holder(client), "https://issuer.example#client|x");
    let null = json!({"active": true, "sub": null, "client_id": "x", "token_type": "Bearer"});
    assert_eq!(holder(null), "https://issuer.example#client|x");
    // However a user is called, his name begins behind the issuer's own.
    for sub in ["x", "client|x", "client:x", "#client|x", "|x"] {
        let user = active(json!({"sub": sub, "client_id": "x"}));
        assert_eq!(holder(user), format!("https://issuer.example|{sub}"));
    }
}

#[test]
fn answer_that_names_nobody_is_none() {
    let nobody = json!({"active": true, "token_type": "Bearer"});
    let judged = expected().judge(nobody.to_string().as_bytes(), now());
    assert!(is_malformed(judged.err()));
    assert!(is_malformed(refusal(json!({"sub": 7}))));
    assert!(is_malformed(refusal(json!({"sub": "ada", "client_id": 7}))));
}

#[test]
fn name_that_no_holder_can_have_is_invalid() {
    let long = "a".repeat(256);
    for sub in ["", "a b", "é", "a\n", &long] {
        assert_eq!(
            refusal(json!({"sub": sub})),
            Some(Refusal::Invalid),
            "{sub:?}"
        );
    }
    assert_eq!(refusal(json!({"sub": &long[1..]})), None);
}
