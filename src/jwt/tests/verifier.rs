//! What becomes of a token that is right, and of settings that are not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::support::*;
use crate::{
    Changes, Module, Now, Scope, TokenError, TokenVerifier,
    jwt::{
        Algorithm, ClaimMapping, Issuer, IssuerFlaw, JwtSetupError, JwtVerifier, KeyError, KeySet,
        KeySource, VerificationKey, key_set::Watchers,
    },
};

#[test]
fn a_token_speaks_for_its_subject() {
    let verifier = verifier();
    let inside = CLAIMS.strip_suffix('}').unwrap();
    let thumbprint = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let claims = format!(
        r#"{inside},"scope":"write:realms  read:realms","name":"Ada","nbf":1800000000,"iat":1800000000,
        "cnf":{{"jkt":"{thumbprint}"}},"client_id":"app","jti":"7","tier":"premium","modules":["launcher"],"administrator":true}}"#
    );
    for (algorithm, _) in KINDS {
        let principal = taken(&verifier, &token(algorithm, &header(algorithm), &claims));
        assert_eq!(principal.holder.as_str(), "https://issuer.example|user-7");
        assert_eq!(principal.name.as_deref(), Some("Ada"));
        assert_eq!(
            principal.scopes,
            ["write:realms", "read:realms"].map(|scope| Scope::new(scope).unwrap())
        );
        assert_eq!(principal.expires_at, Some(at(NOW + 630).wall));
        assert_eq!(principal.keep_for, Duration::from_secs(300));
        assert_eq!(
            principal
                .confirmation
                .map(|key| base64(key.as_bytes()))
                .as_deref(),
            Some(thumbprint)
        );
        assert!(principal.session_of.is_none());
        // Not mapped, so not granted.
        assert!(
            principal.tier.is_none() && principal.modules.is_empty() && !principal.administrator
        );
    }
    let least = taken(&verifier, &saying(CLAIMS));
    assert!(least.name.is_none() && least.scopes.is_empty() && least.confirmation.is_none());
    for audiences in [
        r#"["https://api.example"]"#,
        r#"["a","https://api.example","b"]"#,
    ] {
        taken(&verifier, &saying(&with_claim("aud", Some(audiences))));
    }
}

#[test]
fn claims_are_mapped_as_the_host_says() {
    let mapping = ClaimMapping::new()
        .with_scopes_from(Some("/realm_access/roles"))
        .with_modules_from(Some("https://hub.example/modules"))
        .with_tier_from(Some("/a~1b/c~0d"))
        .with_name_from(Some("preferred_username"));
    let verifier = trusting(issuer().with_mapping(mapping.clone()));
    let inside = CLAIMS.strip_suffix('}').unwrap();
    let claims = format!(
        r#"{inside},"scope":"not:this","realm_access":{{"roles":["reader","writer"]}},
        "https://hub.example/modules":"launcher editor","a/b":{{"c~d":"premium"}},"name":"not this","preferred_username":"ada"}}"#
    );
    let principal = taken(&verifier, &saying(&claims));
    assert_eq!(
        principal.scopes,
        ["reader", "writer"].map(|scope| Scope::new(scope).unwrap())
    );
    assert_eq!(
        principal
            .modules
            .iter()
            .map(Module::as_str)
            .collect::<Vec<_>>(),
        ["launcher", "editor"]
    );
    assert_eq!(principal.tier.unwrap().as_str(), "premium");
    assert_eq!(principal.name.as_deref(), Some("ada"));

    let none = taken(&verifier, &saying(CLAIMS));
    assert!(
        none.scopes.is_empty()
            && none.modules.is_empty()
            && none.tier.is_none()
            && none.name.is_none()
    );
    for claims in [
        r#""realm_access":{"roles":7}"#,
        r#""https://hub.example/modules":{"launcher":true}"#,
        r#""https://hub.example/modules":["not a module"]"#,
        r#""a/b":{"c~d":["premium"]}"#,
        r#""a/b":{"c~d":"not a tier"}"#,
    ] {
        invalid(&verifier, saying(&format!("{inside},{claims}}}")), claims);
    }
    for claims in [
        r#""realm_access":7"#,
        r#""realm_access":null"#,
        r#""realm_access":{"roles":null}"#,
    ] {
        assert!(
            taken(&verifier, &saying(&format!("{inside},{claims}}}")))
                .scopes
                .is_empty(),
            "{claims}"
        );
    }
    let nothing = mapping
        .with_scopes_from(None)
        .with_modules_from(None)
        .with_tier_from(None)
        .with_name_from(None);
    let principal = taken(&trusting(issuer().with_mapping(nothing)), &saying(&claims));
    assert!(
        principal.scopes.is_empty()
            && principal.modules.is_empty()
            && principal.tier.is_none()
            && principal.name.is_none()
    );
}

#[test]
fn scopes_come_from_either_claim_but_not_from_both() {
    let verifier = verifier();
    let inside = CLAIMS.strip_suffix('}').unwrap();
    let scopes = |claims: &str| {
        let principal = taken(&verifier, &saying(&format!("{inside},{claims}}}")));
        principal
            .scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(scopes(r#""scp":"a b""#), ["a", "b"]);
    assert_eq!(scopes(r#""scp":["a","b"]"#), ["a", "b"]);
    assert_eq!(scopes(r#""scp":["a"],"scope":"b""#), ["b"]);
    assert_eq!(scopes(r#""scope":"""#), [""; 0]);
    let most = |count: usize| {
        let scopes: Vec<_> = (0..count).map(|n| format!("s{n}")).collect();
        format!(r#"{inside},"scope":"{}"}}"#, scopes.join(" "))
    };
    assert_eq!(taken(&verifier, &saying(&most(200))).scopes.len(), 200);
    invalid(&verifier, saying(&most(201)), "more than a key may have");
}

#[test]
fn a_name_that_is_not_fit_for_people_is_left_out() {
    let verifier = verifier();
    let long = format!("{:?}", "n".repeat(201));
    for name in ["\"\"", "\"a\\u0007b\"", "\"a\\nb\"", &long] {
        assert_eq!(
            taken(&verifier, &saying(&with_claim("name", Some(name)))).name,
            None,
            "{name}"
        );
    }
    assert_eq!(
        taken(
            &verifier,
            &saying(&with_claim("name", Some("\"B\u{fc}hne\"")))
        )
        .name
        .as_deref(),
        Some("B\u{fc}hne")
    );
}

#[test]
fn the_issuer_decides_about_its_tokens() {
    let other = Issuer::new("https://other.example")
        .with_audience("other")
        .with_algorithms([Algorithm::Rs256])
        .with_keep_for(Duration::from_secs(7))
        .with_leeway(Duration::ZERO)
        .with_key(VerificationKey::rsa_pem(pem!("rsa.pub")).unwrap());
    let verifier = JwtVerifier::builder()
        .with_issuer(issuer())
        .with_issuer(other)
        .build()
        .unwrap();
    taken(&verifier, &saying(CLAIMS));
    let of_other = |aud: &str, exp: i64| {
        format!(r#"{{"iss":"https://other.example","aud":"{aud}","sub":"7","exp":{exp}}}"#)
    };
    let rsa = header(Algorithm::Rs256);
    let principal = taken(
        &verifier,
        &token(Algorithm::Rs256, &rsa, &of_other("other", NOW + 1)),
    );
    assert_eq!(principal.holder.as_str(), "https://other.example|7");
    assert_eq!(principal.keep_for, Duration::from_secs(7));
    assert_eq!(principal.expires_at, Some(at(NOW + 1).wall), "no leeway");
    invalid(
        &verifier,
        token(Algorithm::Rs256, &rsa, &of_other(AUDIENCE, NOW + 1)),
        "the audience of another issuer",
    );
    invalid(
        &verifier,
        saying(&of_other("other", NOW + 1)),
        "the key of another issuer",
    );
    invalid(
        &verifier,
        token(
            Algorithm::Rs256,
            &rsa,
            &CLAIMS.replace("issuer.example", "third.example"),
        ),
        "nobody's",
    );
}

/// Answers with each of these in turn, once more fetched, and counts.
#[derive(Default)]
struct Fetched {
    known: Mutex<Option<Arc<KeySet>>>,
    next: Mutex<Vec<Result<Arc<KeySet>, ()>>>,
    fetches: AtomicUsize,
    watchers: Watchers,
}

#[async_trait]
impl KeySource for Fetched {
    fn known(&self, _now: Now) -> Option<Arc<KeySet>> {
        self.known.lock().clone()
    }

    async fn refresh(&self, _now: Now) -> Result<Arc<KeySet>, TokenError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let next = self.next.lock().pop().unwrap_or(Err(()));
        let keys = next.map_err(|()| TokenError::Unavailable("down".into()))?;
        *self.known.lock() = Some(Arc::clone(&keys));
        Ok(keys)
    }

    fn watched_by(&self, changes: &Changes) {
        self.watchers.add(changes);
    }
}

fn ed(kid: &str) -> Arc<KeySet> {
    let key = VerificationKey::ed25519_pem(pem!("ed25519.pub")).unwrap();
    Arc::new(KeySet::new([key.with_kid(kid).unwrap()]).unwrap())
}

#[test]
fn keys_are_fetched_where_none_fits_and_only_then() {
    let source = Arc::new(Fetched::default());
    let issuer = Issuer::new(ISSUER)
        .with_audience(AUDIENCE)
        .with_keys(Arc::clone(&source));
    let verifier = trusting(issuer);
    let fetches = || source.fetches.load(Ordering::Relaxed);
    let token = saying(CLAIMS);

    let down = verify(&verifier, &token, at(NOW));
    assert!(matches!(down, Err(TokenError::Unavailable(_))), "{down:?}");
    *source.next.lock() = vec![Ok(ed("ed")), Ok(ed("before"))];
    invalid(&verifier, &token, "the fetched keys lack it");
    assert_eq!(fetches(), 2);
    taken(&verifier, &token);
    taken(&verifier, &token);
    assert_eq!(fetches(), 3, "a known key is not fetched");

    // What is wrong whatever the keys are does not lead to a fetch either.
    for claims in [CLAIMS.replace("issuer", "other"), String::new()] {
        invalid(&verifier, saying(&claims), "no issuer of ours");
    }
    let other = r#"{"alg":"EdDSA","typ":"JWT","kid":"unknown"}"#;
    invalid(
        &verifier,
        super::support::token(Algorithm::EdDsa, other, CLAIMS),
        "type",
    );
    let other = r#"{"alg":"PS256","typ":"at+jwt","kid":"unknown"}"#;
    invalid(
        &verifier,
        super::support::token(Algorithm::Ps256, other, CLAIMS),
        "not pinned",
    );
    let mut forged = token.clone();
    forged.replace_range(token.len() - 3.., "AAA");
    invalid(&verifier, forged, "signature");
    assert_eq!(fetches(), 3);
}

#[test]
fn a_new_key_without_an_id_is_known_with_its_first_token() {
    // RFC 8037 appendix A.2.
    let before = VerificationKey::from_jwk(
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    );
    let now = VerificationKey::ed25519_pem(pem!("ed25519.pub")).unwrap();
    let [before, now] = [before.unwrap(), now].map(|key| Arc::new(KeySet::new([key]).unwrap()));
    let source = Arc::new(Fetched::default());
    *source.known.lock() = Some(before);
    *source.next.lock() = vec![Ok(now)];
    let issuer = Issuer::new(ISSUER).with_audience(AUDIENCE);
    let verifier = trusting(issuer.with_keys(Arc::clone(&source)));
    taken(&verifier, &saying(CLAIMS));
    taken(&verifier, &saying(CLAIMS));
    assert_eq!(source.fetches.load(Ordering::Relaxed), 1);
}

#[test]
fn what_says_that_it_is_no_access_token_is_refused_also_where_types_are_not_asked_for() {
    let verifier = trusting(issuer().without_type());
    let inside = CLAIMS.strip_suffix('}').unwrap();
    taken(&verifier, &saying(CLAIMS));
    for (name, value) in [("typ", "Bearer"), ("token_use", "access")] {
        taken(
            &verifier,
            &saying(&format!(r#"{inside},"{name}":"{value}"}}"#)),
        );
    }
    for claim in [
        r#""typ":"ID""#,
        r#""typ":"Refresh""#,
        r#""token_use":"id""#,
        r#""events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#,
    ] {
        invalid(&verifier, saying(&format!("{inside},{claim}}}")), claim);
    }
}

#[test]
fn a_verifier_hears_of_keys_withdrawn_by_any_of_its_sources() {
    let sources = [Arc::new(Fetched::default()), Arc::new(Fetched::default())];
    let mut builder = JwtVerifier::builder();
    for (number, source) in sources.iter().enumerate() {
        let issuer = Issuer::new(format!("https://issuer{number}.example"));
        builder = builder.with_issuer(issuer.with_audience("a").with_keys(Arc::clone(source)));
    }
    let verifier = builder.build().unwrap();
    let changes = verifier.changes().unwrap();
    for source in sources {
        let before = changes.stamp();
        assert!(changes.is_current("anybody", before));
        source.watchers.tell_everything();
        assert!(!changes.is_current("anybody", before));
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let flaw = |issuer: Issuer| match JwtVerifier::builder().with_issuer(issuer).build() {
        Err(JwtSetupError::Issuer { flaw, .. }) => Some(flaw),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    };
    let key = || VerificationKey::ed25519_pem(pem!("ed25519.pub")).unwrap();
    let secret = || VerificationKey::hs256_secret([7; 32]).unwrap();
    let new = || Issuer::new(ISSUER).with_audience(AUDIENCE);
    assert_eq!(flaw(new().with_key(key())), None);
    for name in ["", "a|b", "a b", "b\u{fc}hne", &"i".repeat(257)] {
        let issuer = Issuer::new(name).with_audience(AUDIENCE).with_key(key());
        assert_eq!(flaw(issuer), Some(IssuerFlaw::Name), "{name}");
    }
    assert_eq!(
        flaw(Issuer::new(ISSUER).with_key(key())),
        Some(IssuerFlaw::Audience)
    );
    assert_eq!(
        flaw(new().with_audience("").with_key(key())),
        Some(IssuerFlaw::Audience)
    );
    assert_eq!(
        flaw(new().with_algorithms([]).with_key(key())),
        Some(IssuerFlaw::NoAlgorithm)
    );
    let mixed = new().with_algorithms([Algorithm::Hs256, Algorithm::EdDsa]);
    assert_eq!(
        flaw(mixed.with_key(key()).with_key(secret())),
        Some(IssuerFlaw::MixedAlgorithms)
    );
    assert_eq!(flaw(new()), Some(IssuerFlaw::Keys));
    assert_eq!(
        flaw(new().with_key(key()).with_keys(Fetched::default())),
        Some(IssuerFlaw::Keys)
    );
    assert_eq!(flaw(new().with_key(secret())), Some(IssuerFlaw::IdleKey));
    assert_eq!(
        flaw(new().with_algorithms([Algorithm::Hs256]).with_key(key())),
        Some(IssuerFlaw::IdleKey)
    );
    let leeway = |seconds| {
        new()
            .with_key(key())
            .with_leeway(Duration::from_secs(seconds))
    };
    assert_eq!(
        (flaw(leeway(300)), flaw(leeway(301))),
        (None, Some(IssuerFlaw::Leeway))
    );
    for typ in ["", "session+jwt", "application/Session+JWT"] {
        assert_eq!(
            flaw(new().with_key(key()).with_type(typ)),
            Some(IssuerFlaw::Type),
            "{typ}"
        );
    }
    let named = || key().with_kid("k").unwrap();
    let twice = flaw(new().with_key(named()).with_key(named()));
    assert_eq!(twice, Some(IssuerFlaw::Key(KeyError::Duplicate)));

    assert_eq!(
        JwtVerifier::builder().build().err(),
        Some(JwtSetupError::NoIssuer)
    );
    let both = |second: Issuer| {
        let builder = JwtVerifier::builder().with_issuer(new().with_key(key()));
        builder.with_issuer(second.with_key(key())).build().err()
    };
    let twice = Some(JwtSetupError::Issuer {
        issuer: ISSUER.to_owned(),
        flaw: IssuerFlaw::Twice,
    });
    assert_eq!(both(new()), twice);
    assert_eq!(both(new().with_type("application/AT+JWT")), twice);
    assert_eq!(both(new().without_type()), twice);
    assert_eq!(both(new().with_type("acme+jwt")), None);
    assert_eq!(
        both(Issuer::new("https://other.example").with_audience("a")),
        None
    );
}
