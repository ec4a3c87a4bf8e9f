//! Sessions of our own.

use std::time::Duration;

use super::support::*;
use crate::{
    Grant, KeyDigest, KeyId, KeyRecord, KeyThumbprint, Module, Now, Principal, Scope, Tier,
    Timestamp, TokenError, TokenVerifier,
    changes::Stamp,
    grant::GateId,
    intern::Interner,
    jwt::{
        IssuerFlaw, JwtSetupError, JwtVerifier, KeyError, Session, SessionError, SessionTokens,
        SigningKey, VerificationKey,
    },
    pass::Pass,
};

const HUB: &str = "https://hub.example";

fn hs(kid: &str, byte: u8) -> SigningKey {
    SigningKey::hs256(kid, [byte; 32]).unwrap()
}

fn sessions() -> SessionTokens {
    SessionTokens::builder(HUB, hs("a", 1)).build().unwrap()
}

fn issue(sessions: &SessionTokens, now: Now) -> String {
    let token = sessions.issue(&Session::of("user-7"), now).unwrap();
    token.text.expose().to_owned()
}

fn digest() -> KeyDigest {
    KeyDigest::from_bytes([7; 32])
}

fn grant_of_key(expires_at: Option<Timestamp>) -> Grant {
    let mut record = KeyRecord::new(
        KeyId::new("key-1").unwrap(),
        digest(),
        "stage left",
        at(0).wall,
    );
    record.administrator = true;
    record.scopes.insert(Scope::new("read:realms").unwrap());
    record.expires_at = expires_at;
    Grant::by_hand(record, None, at(NOW).wall)
}

fn grant_of(principal: Principal) -> Grant {
    let pass = Pass::of_token(
        principal,
        &digest(),
        Stamp::START,
        u64::MAX,
        &Interner::new(),
    );
    Grant::new(GateId::new(), pass, at(NOW).wall)
}

#[test]
fn a_session_carries_what_its_user_may_do() {
    let sessions = sessions();
    let verifier = trusting(sessions.issuer());
    let session = Session::of("user-7")
        .with_name("Ada \"the\" B\u{fc}hne")
        .with_scopes(["read:realms", "write:realms"].map(|scope| Scope::new(scope).unwrap()))
        .with_tier(Some(Tier::new("premium").unwrap()))
        .with_modules([Module::new("launcher").unwrap()])
        .with_administrator(true);
    let token = sessions.issue(&session, at(NOW)).unwrap();
    assert_eq!(token.expires_at, at(NOW + 3_600).wall);
    assert!(
        !format!("{token:?}").contains("eyJ"),
        "a token does not show itself"
    );
    let text = token.text.expose();
    assert!(verifier.recognizes(text.as_bytes()));
    let principal = taken(&verifier, text);
    assert_eq!(principal.holder.as_str(), "https://hub.example|user-7");
    assert_eq!(principal.name.as_deref(), Some("Ada \"the\" B\u{fc}hne"));
    assert_eq!(
        principal.scopes,
        ["read:realms", "write:realms"].map(|scope| Scope::new(scope).unwrap())
    );
    assert_eq!(principal.tier, Some(Tier::new("premium").unwrap()));
    assert_eq!(principal.modules, [Module::new("launcher").unwrap()]);
    assert!(principal.administrator);
    assert_eq!(principal.expires_at, Some(token.expires_at));
    assert_eq!(
        principal.keep_for,
        Duration::MAX,
        "until it expires or its key is withdrawn"
    );
    assert_eq!(principal.session_of, None);

    let least = taken(&verifier, &issue(&sessions, at(NOW)));
    assert_eq!(least.holder, principal.holder);
    assert!(
        least.name.is_none()
            && least.scopes.is_empty()
            && least.tier.is_none()
            && least.modules.is_empty()
            && !least.administrator
    );
}

#[test]
fn a_session_ends_by_itself() {
    for lifetime in [1, 900, 86_400] {
        let builder = SessionTokens::builder(HUB, hs("a", 1));
        let sessions = builder
            .with_lifetime(Duration::from_secs(lifetime))
            .build()
            .unwrap();
        let verifier = trusting(sessions.issuer());
        let token = issue(&sessions, at(NOW));
        let end = NOW + lifetime as i64;
        verify(&verifier, &token, at(end - 1)).unwrap();
        for later in [end, end + 1, end + 1_000_000] {
            let over = verify(&verifier, &token, at(later));
            assert!(matches!(over, Err(TokenError::Expired)), "{over:?}");
        }
    }
}

#[test]
fn the_session_of_a_key_names_its_key_and_no_rights() {
    let sessions = sessions();
    let verifier = trusting(sessions.issuer());
    let grant = grant_of_key(None);
    let token = sessions.issue_for(&grant, at(NOW)).unwrap();
    let principal = taken(&verifier, token.text.expose());
    assert_eq!(principal.session_of, grant.session_key());
    assert!(principal.session_of.is_some());
    assert_eq!(principal.holder.as_str(), "https://hub.example|key-1");
    assert!(principal.scopes.is_empty() && !principal.administrator && principal.name.is_none());
    assert_eq!(token.expires_at, at(NOW + 3_600).wall);

    let soon = grant_of_key(Some(at(NOW + 60).wall));
    assert_eq!(
        sessions.issue_for(&soon, at(NOW)).unwrap().expires_at,
        at(NOW + 60).wall
    );
    let over = grant_of_key(Some(
        at(NOW).wall.saturating_add(Duration::from_millis(900)),
    ));
    assert_eq!(
        sessions.issue_for(&over, at(NOW)).err(),
        Some(SessionError::Over)
    );
}

#[test]
fn the_session_of_a_tokens_holder_is_his_own() {
    let sessions = sessions();
    let verifier = trusting(sessions.issuer());
    let mut principal = Principal::new("https://issuer.example|user-7".parse().unwrap());
    principal.name = Some("Ada".to_owned());
    principal.scopes = vec![Scope::new("read:realms").unwrap()];
    principal.tier = Some(Tier::new("premium").unwrap());
    principal.modules = vec![Module::new("launcher").unwrap()];
    principal.confirmation = Some(KeyThumbprint::from_bytes([7; 32]));
    principal.expires_at = Some(at(NOW + 100).wall);
    let token = sessions
        .issue_for(&grant_of(principal.clone()), at(NOW))
        .unwrap();
    assert_eq!(
        token.expires_at,
        at(NOW + 100).wall,
        "no longer than what it rests on"
    );
    let verified = taken(&verifier, token.text.expose());
    assert_eq!(verified.holder, principal.holder);
    assert_eq!(verified.name, principal.name);
    assert_eq!(verified.scopes, principal.scopes);
    assert_eq!(verified.tier, principal.tier);
    assert_eq!(verified.modules, principal.modules);
    assert_eq!(
        verified.confirmation, principal.confirmation,
        "bound as before"
    );
    assert!(!verified.administrator && verified.session_of.is_none());

    // A session of that session ends when it does.
    let again = sessions
        .issue_for(&grant_of(verified), at(NOW + 50))
        .unwrap();
    assert_eq!(again.expires_at, at(NOW + 100).wall);
    let principal = verify(&verifier, again.text.expose(), at(NOW + 50)).unwrap();
    assert_eq!(principal.holder.as_str(), "https://issuer.example|user-7");
    assert!(principal.confirmation.is_some());
}

#[test]
fn nobody_signs_a_session_as_a_key_or_as_another_user() {
    let sessions = sessions();
    let verifier = trusting(sessions.issuer());
    for subject in ["key-1", "https://issuer.example|user-7", "|", "a|b"] {
        let token = sessions.issue(&Session::of(subject), at(NOW)).unwrap();
        let principal = taken(&verifier, token.text.expose());
        assert_eq!(principal.holder.as_str(), format!("{HUB}|{subject}"));
        assert_eq!(principal.session_of, None, "{subject}");
    }
}

#[test]
fn sessions_out_of_bounds_are_not_begun() {
    let sessions = sessions();
    let refused = |session: &Session| sessions.issue(session, at(NOW)).err();
    let long = "s".repeat(256);
    for subject in ["", "a b", "b\u{fc}hne", "a\n", &long] {
        assert_eq!(
            refused(&Session::of(subject)),
            Some(SessionError::Subject),
            "{subject}"
        );
    }
    assert_eq!(refused(&Session::of(&long[1..])), None);
    for name in ["", "a\u{7}", &"n".repeat(201)] {
        assert_eq!(
            refused(&Session::of("u").with_name(name)),
            Some(SessionError::Name),
            "{name}"
        );
    }
    let scopes = |count: usize, length: usize| {
        Session::of("u")
            .with_scopes((0..count).map(|n| Scope::new(format!("{n:0length$}")).unwrap()))
    };
    assert_eq!(refused(&scopes(200, 3)), None);
    assert_eq!(refused(&scopes(201, 3)), Some(SessionError::TooLarge));
    assert_eq!(refused(&scopes(200, 200)), Some(SessionError::TooLarge));
}

#[test]
fn claims_of_a_session_are_of_their_form() {
    let sessions = sessions();
    let verifier = trusting(sessions.issuer());
    let secret = jsonwebtoken::EncodingKey::from_secret(&[1; 32]);
    let saying = |more: &str| {
        let header = base64(r#"{"alg":"HS256","kid":"a","typ":"session+jwt"}"#);
        let claims = format!(
            r#"{{"iss":"{HUB}","aud":"{HUB}","exp":{},{more}}}"#,
            NOW + 60
        );
        signed(
            crate::jwt::Algorithm::Hs256,
            &secret,
            &header,
            &base64(claims),
        )
    };
    let key = base64([7; 16]);
    taken(&verifier, &saying(r#""sub":"a|b""#));
    taken(
        &verifier,
        &saying(&format!(r#""sub":"key-1","key":"{key}""#)),
    );
    let refused = [
        r#""sub":"key-1""#.to_owned(),
        r#""sub":"key-1","key":7"#.to_owned(),
        format!(r#""sub":"key-1","key":"{}""#, base64([7; 15])),
        format!(r#""sub":"key-1","key":"{}""#, base64([7; 32])),
        format!(r#""sub":"key-1","key":"{key}=""#),
        format!(r#""sub":"","key":"{key}""#),
        format!(r#""sub":"no key id","key":"{key}""#),
        r#""sub":"a| b""#.to_owned(),
        r#""sub":7"#.to_owned(),
        r#""sub":"a|b","administrator":"true""#.to_owned(),
        r#""sub":"a|b","administrator":1"#.to_owned(),
        r#""sub":"a|b","modules":7"#.to_owned(),
        r#""sub":"a|b","tier":7"#.to_owned(),
        r#""sub":"a|b","scope":7"#.to_owned(),
    ];
    for more in refused {
        invalid(&verifier, saying(&more), &more);
    }
}

#[test]
fn a_rotated_key_is_taken_until_its_last_session_is_over() {
    let sessions = sessions();
    let verifier = trusting(sessions.issuer());
    let first = issue(&sessions, at(NOW));
    sessions.rotate(hs("b", 2), at(NOW + 10)).unwrap();
    let second = issue(&sessions, at(NOW + 10));
    assert_ne!(
        first.split('.').next(),
        second.split('.').next(),
        "the header names the key"
    );
    for token in [&first, &second] {
        verify(&verifier, token, at(NOW + 11)).unwrap();
    }
    // A token that the old key signed for longer than it was in use: nobody has it from us.
    let secret = jsonwebtoken::EncodingKey::from_secret(&[1; 32]);
    let header = base64(r#"{"alg":"HS256","kid":"a","typ":"session+jwt"}"#);
    let claims = base64(format!(
        r#"{{"iss":"{HUB}","aud":"{HUB}","sub":"a|b","exp":{}}}"#,
        NOW + 1_000_000
    ));
    let forged = signed(crate::jwt::Algorithm::Hs256, &secret, &header, &claims);
    // Another process may go on signing with it for a while.
    verify(&verifier, &forged, at(NOW + 7_209)).unwrap();
    assert_eq!(
        sessions.rotate(hs("a", 9), at(NOW + 20)).err(),
        Some(KeyError::Duplicate),
        "another key of a name that is in use"
    );
    let gone = verify(&verifier, &forged, at(NOW + 7_210));
    assert!(matches!(gone, Err(TokenError::Invalid)), "{gone:?}");
    verify(&verifier, &second, at(NOW + 3_609)).unwrap();
    assert_eq!(sessions.withdraw("a"), Ok(false), "it is forgotten");

    assert_eq!(
        sessions.rotate(hs("b", 3), at(NOW)).err(),
        Some(KeyError::Duplicate)
    );
    let ed = SigningKey::ed25519_pem("c", pem!("ed25519")).unwrap();
    assert_eq!(
        sessions.rotate(ed, at(NOW)).err(),
        Some(KeyError::Unsupported)
    );
    verify(&verifier, &second, at(NOW + 3_609)).unwrap();
}

#[test]
fn a_withdrawn_key_ends_its_sessions_at_once() {
    let sessions = sessions();
    let verifier = trusting(sessions.issuer());
    let changes = verifier.changes().unwrap();
    let first = issue(&sessions, at(NOW));
    assert_eq!(sessions.withdraw("a"), Err(SessionError::CurrentKey));
    sessions.rotate(hs("b", 2), at(NOW)).unwrap();
    let second = issue(&sessions, at(NOW));
    let before = changes.stamp();
    assert_eq!(sessions.withdraw("unknown"), Ok(false));
    assert!(changes.is_current("anybody", before));
    assert_eq!(sessions.withdraw("a"), Ok(true));
    assert!(
        !changes.is_current("anybody", before),
        "what is remembered is forgotten"
    );
    invalid(&verifier, &first, "its key is withdrawn");
    taken(&verifier, &second);
    assert_eq!(sessions.withdraw("a"), Ok(false));
}

#[test]
fn several_processes_share_their_sessions() {
    let here = sessions();
    let there = SessionTokens::builder(HUB, hs("a", 1))
        .with_accepted_key(hs("b", 2).verification_key())
        .build()
        .unwrap();
    let (verifier_here, verifier_there) = (trusting(here.issuer()), trusting(there.issuer()));
    taken(&verifier_there, &issue(&here, at(NOW)));
    // The new key is known there already, and is made known here before it is signed with.
    here.accept(hs("b", 2).verification_key()).unwrap();
    there.rotate(hs("b", 2), at(NOW)).unwrap();
    taken(&verifier_here, &issue(&there, at(NOW)));
    here.rotate(hs("b", 2), at(NOW)).unwrap();
    taken(&verifier_there, &issue(&here, at(NOW)));
    // One that was retired and is signed with again is not forgotten.
    here.rotate(hs("a", 1), at(NOW)).unwrap();
    let token = issue(&here, at(NOW + 3_601));
    verify(&verifier_here, &token, at(NOW + 3_601)).unwrap();

    assert_eq!(
        here.accept(hs("a", 9).verification_key()).err(),
        Some(KeyError::Duplicate)
    );
    let nameless = VerificationKey::hs256_secret([9; 32]).unwrap();
    assert_eq!(here.accept(nameless).err(), Some(KeyError::KeyId));
    let ed = VerificationKey::ed25519_pem(pem!("ed25519.pub"))
        .unwrap()
        .with_kid("ed")
        .unwrap();
    assert_eq!(here.accept(ed).err(), Some(KeyError::Unsupported));
}

#[test]
fn sessions_can_be_verified_by_others_who_cannot_begin_any() {
    let key = SigningKey::ed25519_pem("ed", pem!("ed25519")).unwrap();
    assert_eq!(key.kid(), "ed");
    let public = VerificationKey::ed25519_pem(pem!("ed25519.pub")).unwrap();
    assert_eq!(key.verification_key().thumbprint(), public.thumbprint());
    let sessions = SessionTokens::builder(HUB, key).build().unwrap();
    let token = issue(&sessions, at(NOW));
    taken(&trusting(sessions.issuer()), &token);
    invalid(
        &trusting(sessions.issuer()),
        token.replacen("eyJ", "eyI", 1),
        "changed",
    );
    for pem in [pem!("ed25519.pub"), pem!("ec"), pem!("rsa"), b""] {
        assert_eq!(
            SigningKey::ed25519_pem("ed", pem).err(),
            Some(KeyError::Pem)
        );
    }
    assert_eq!(
        SigningKey::ed25519_pem("", pem!("ed25519")).err(),
        Some(KeyError::KeyId)
    );
    assert_eq!(SigningKey::hs256("k", [7; 31]).err(), Some(KeyError::Size));
}

#[test]
fn sessions_of_two_services_are_told_apart() {
    let verifier = trusting(sessions().issuer());
    let same_key = SessionTokens::builder("https://other.example", hs("a", 1))
        .build()
        .unwrap();
    invalid(&verifier, issue(&same_key, at(NOW)), "another service");
    let same_name = SessionTokens::builder(HUB, hs("a", 2)).build().unwrap();
    invalid(&verifier, issue(&same_name, at(NOW)), "another key");
    let narrowed = trusting(sessions().issuer().with_audience("another too"));
    taken(&narrowed, &issue(&sessions(), at(NOW)));
}

#[test]
fn settings_of_sessions_are_checked() {
    let flaw = |result: Result<SessionTokens, JwtSetupError>| match result {
        Err(JwtSetupError::Issuer { flaw, .. }) => Some(flaw),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    };
    for lifetime in [
        Duration::ZERO,
        Duration::from_millis(999),
        Duration::from_secs(86_401),
    ] {
        let builder = SessionTokens::builder(HUB, hs("a", 1)).with_lifetime(lifetime);
        assert_eq!(flaw(builder.build()), Some(IssuerFlaw::Lifetime));
    }
    for name in ["", "a|b", "a b"] {
        assert_eq!(
            flaw(SessionTokens::builder(name, hs("a", 1)).build()),
            Some(IssuerFlaw::Name)
        );
    }
    let accepting = |key| {
        SessionTokens::builder(HUB, hs("a", 1))
            .with_accepted_key(key)
            .build()
    };
    let ed = VerificationKey::ed25519_pem(pem!("ed25519.pub"))
        .unwrap()
        .with_kid("ed")
        .unwrap();
    assert_eq!(
        flaw(accepting(ed)),
        Some(IssuerFlaw::Key(KeyError::Unsupported))
    );
    assert_eq!(
        flaw(accepting(hs("a", 2).verification_key())),
        Some(IssuerFlaw::Key(KeyError::Duplicate))
    );
    let untyped = JwtVerifier::builder()
        .with_issuer(sessions().issuer().without_type())
        .build();
    let Err(JwtSetupError::Issuer { flaw, .. }) = untyped else {
        panic!("sessions have their type");
    };
    assert_eq!(flaw, IssuerFlaw::Type);
}
