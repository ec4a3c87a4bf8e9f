use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use http::{HeaderValue, Method};
use jsonwebtoken::{Algorithm as Library, EncodingKey, crypto};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::clock::{Clock, ManualClock};

const NOW: i64 = 1_800_000_000;
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

/// Who has a key.
struct Client {
    algorithm: Library,
    key: EncodingKey,
    jwk: Value,
}

impl Client {
    fn es256() -> Self {
        Self {
            algorithm: Library::ES256,
            key: EncodingKey::from_ec_pem(P256.as_bytes()).unwrap(),
            jwk: json!({
                "kty": "EC", "crv": "P-256",
                "x": "WSA-GafIJiNzh_U5LdsNsZ1MTOUd4-S3cWTheq538u4",
                "y": "S8Rm_Gx9qSVrl-M9jD0BnzdnAZef5zk26dNRBc5asUY",
            }),
        }
    }

    fn ed25519() -> Self {
        Self {
            algorithm: Library::EdDSA,
            key: EncodingKey::from_ed_pem(ED25519.as_bytes()).unwrap(),
            jwk: json!({
                "kty": "OKP", "crv": "Ed25519", "x": "yvBwaFY_wBxUVXGTExvpbytMAFreQ27VMANKkzFZaDg",
            }),
        }
    }

    fn rsa(algorithm: Library) -> Self {
        Self {
            algorithm,
            key: EncodingKey::from_rsa_pem(include_bytes!("tests/rsa.pem")).unwrap(),
            jwk: json!({ "kty": "RSA", "e": "AQAB", "n": RSA_2048 }),
        }
    }

    fn thumbprint(&self) -> KeyThumbprint {
        let names: &[&str] = match self.jwk["kty"].as_str().unwrap() {
            "EC" => &["crv", "kty", "x", "y"],
            "OKP" => &["crv", "kty", "x"],
            _ => &["e", "kty", "n"],
        };
        let members: Vec<_> = names
            .iter()
            .map(|name| format!("\"{name}\":{}", self.jwk[name]))
            .collect();
        let text = format!("{{{}}}", members.join(","));
        KeyThumbprint::from_bytes(Sha256::digest(text).into())
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": format!("{:?}", self.algorithm), "jwk": self.jwk })
    }

    fn signed(&self, header: impl ToString, claims: impl ToString) -> String {
        let parts = [header.to_string(), claims.to_string()];
        let message = parts.map(|part| BASE64.encode(part)).join(".");
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// A proof that is as it should be.
    fn proof(&self, id: &str) -> String {
        self.signed(self.header(), claims(id))
    }
}

fn claims(id: &str) -> Value {
    json!({
        "jti": id, "htm": "POST", "htu": "https://api.example.com/a/b", "iat": NOW,
        "ath": BASE64.encode(Sha256::digest(TOKEN)),
    })
}

fn dpop() -> Dpop {
    Dpop::builder("https://api.example.com").build().unwrap()
}

fn evidence(proof: &str) -> Evidence {
    Evidence {
        method: Method::POST,
        uri: "/a/b?c=d".parse().unwrap(),
        proof: Some(proof.parse().unwrap()),
        token_hash: Sha256::digest(TOKEN).into(),
    }
}

/// What is said to a proof of this client that comes at `NOW`.
fn check(dpop: &Dpop, client: &Client, proof: &str) -> Result<(), Refusal> {
    let now = Timestamp::from_unix_seconds(NOW);
    (dpop.0).check(&evidence(proof), &client.thumbprint(), now)
}

/// What is said to the first proof with this header and these claims.
fn check_changed(
    header: impl FnOnce(&mut Value),
    claim: impl FnOnce(&mut Value),
) -> Result<(), Refusal> {
    let client = Client::es256();
    let (mut own_header, mut own_claims) = (client.header(), claims("a"));
    header(&mut own_header);
    claim(&mut own_claims);
    check(&dpop(), &client, &client.signed(own_header, own_claims))
}

fn fault(fault: Fault) -> Result<(), Refusal> {
    Err(Refusal::Proof(fault))
}

fn as_it_is(_: &mut Value) {}

#[test]
fn a_proof_with_each_accepted_algorithm_passes_once() {
    let rsa = [Library::RS256, Library::PS256].map(Client::rsa);
    for client in [Client::es256(), Client::ed25519()].iter().chain(&rsa) {
        let (dpop, proof) = (dpop(), client.proof("a"));
        assert_eq!(
            check(&dpop, client, &proof),
            Ok(()),
            "{:?}",
            client.algorithm
        );
        assert_eq!(check(&dpop, client, &proof), fault(Fault::Replayed));
        assert_eq!(
            check(&dpop, client, &client.proof("a")),
            fault(Fault::Replayed)
        );
        assert_eq!(check(&dpop, client, &client.proof("b")), Ok(()));
    }
}

/// RFC 9449 §7.1, figures 13 and 14; the key is that of §6.1.
#[test]
fn the_proof_of_the_specification_passes() {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
        VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
        nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
        QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj\
        oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z\
        WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF\
        c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E\
        OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let mut key = [0; 32];
    BASE64
        .decode_slice("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", &mut key)
        .unwrap();
    let key = KeyThumbprint::from_bytes(key);
    let request = |proof: &str, path: &str| Evidence {
        method: Method::GET,
        uri: path.parse().unwrap(),
        ..evidence(proof)
    };
    let at = |seconds: i64| Timestamp::from_unix_seconds(1_562_262_618 + seconds);
    let new = || {
        Dpop::builder("https://resource.example.org")
            .build()
            .unwrap()
    };
    let good = request(proof, "/protectedresource");
    for seconds in [-5, 0, 60] {
        let dpop = new();
        assert_eq!(dpop.0.check(&good, &key, at(seconds)), Ok(()), "{seconds}");
        assert_eq!(
            dpop.0.check(&good, &key, at(seconds)),
            fault(Fault::Replayed)
        );
    }
    for seconds in [-6, 61] {
        assert_eq!(new().0.check(&good, &key, at(seconds)), fault(Fault::Time));
    }
    let elsewhere = request(proof, "/otherresource");
    assert_eq!(new().0.check(&elsewhere, &key, at(0)), fault(Fault::Target));
    for (start, end) in [("2oW9", "jA"), ("2oW8", "jA"), ("2oW9", "jQ")] {
        let (message, signature) = proof.rsplit_once('.').unwrap();
        let signature = format!("{start}{}{end}", &signature[4..signature.len() - 2]);
        let changed = format!("{message}.{signature}");
        let checked = new()
            .0
            .check(&request(&changed, "/protectedresource"), &key, at(0));
        assert_eq!(checked.is_ok(), changed == proof);
    }
}

/// RFC 9449 §4.1, figure 2: a proof for the token endpoint names no token.
#[test]
fn a_proof_for_the_token_endpoint_is_none_for_a_resource() {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
        VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
        nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
        QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIj\
        oiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia\
        WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg\
        4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let refused = check(&dpop(), &Client::es256(), proof);
    assert_eq!(refused, fault(Fault::Claim("ath")));
}

#[test]
fn what_is_no_jwt_is_no_proof() {
    let client = Client::es256();
    let good = client.proof("a");
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts");
    };
    let twice = r#"{"typ":"dpop+jwt","typ":"dpop+jwt"}"#;
    let long = "x".repeat(9_000);
    let texts = [
        String::new(),
        "..".into(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{header}.{payload}=.{signature}"),
        format!("{header} .{payload}.{signature}"),
        format!("{good}, {good}"),
        format!("{}.{payload}.{signature}", BASE64.encode("[]")),
        format!("{header}.{}.{signature}", BASE64.encode("7")),
        format!(
            "{header}.{}.{signature}",
            BASE64.encode(b"{\"jti\":\"\xff\"}")
        ),
        client.signed(twice, claims("a")),
        client.signed(client.header(), r#"{"jti":"a","jti":"b"}"#),
        client.signed(client.header(), json!({ "jti": long })),
    ];
    for text in texts {
        let refused = check(&dpop(), &client, &text);
        assert_eq!(refused, fault(Fault::Malformed), "{text}");
    }
    let none = Evidence {
        proof: None,
        ..evidence("x")
    };
    let now = Timestamp::from_unix_seconds(NOW);
    let refused = dpop().0.check(&none, &client.thumbprint(), now);
    assert_eq!(refused, fault(Fault::Header));
    assert_eq!(check(&dpop(), &client, &good), Ok(()));
}

#[test]
fn another_type_of_token_is_no_proof() {
    for typ in [
        json!("JWT"),
        json!("at+jwt"),
        json!("dpop+jwtx"),
        json!(null),
        json!(["dpop+jwt"]),
    ] {
        let refused = check_changed(|header| header["typ"] = typ.clone(), as_it_is);
        assert_eq!(refused, fault(Fault::Type), "{typ}");
    }
    let without = check_changed(
        |header| drop(header.as_object_mut().unwrap().remove("typ")),
        as_it_is,
    );
    assert_eq!(without, fault(Fault::Type));
}

#[test]
fn no_signature_and_none_with_a_shared_key_proves_anything() {
    for alg in [
        json!("none"),
        json!("None"),
        json!(""),
        json!("HS256"),
        json!("HS512"),
        json!("es256"),
        json!("ES384"),
        json!("RS512"),
        json!(null),
        json!(["ES256"]),
    ] {
        let refused = check_changed(|header| header["alg"] = alg.clone(), as_it_is);
        assert_eq!(refused, fault(Fault::Algorithm), "{alg}");
    }
    let narrow = Dpop::builder("https://api.example.com")
        .with_algorithms([Algorithm::EdDsa])
        .build()
        .unwrap();
    let (es256, ed25519) = (Client::es256(), Client::ed25519());
    assert_eq!(
        check(&narrow, &es256, &es256.proof("a")),
        fault(Fault::Algorithm)
    );
    assert_eq!(check(&narrow, &ed25519, &ed25519.proof("a")), Ok(()));
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    for crit in [json!(["b64"]), json!([]), json!(null)] {
        let refused = check_changed(|header| header["crit"] = crit, as_it_is);
        assert_eq!(refused, fault(Fault::Critical));
    }
    // What need not be understood is not looked at.
    let more = |header: &mut Value| header["jku"] = json!("https://evil.example/keys");
    assert_eq!(check_changed(more, as_it_is), Ok(()));
}

#[test]
fn the_key_must_be_a_public_one_for_the_algorithm() {
    let mut private = Client::es256().jwk;
    private["d"] = json!("4BLlpivqSoD5PYa9w9m5ua4PFrCTtbj8y95wtWPrLFI");
    let mut off_size = Client::es256().jwk;
    off_size["x"] = json!("AFkgPhmnyCYjc4f1OS3bDbGdTEzlHePkt3Fk4Xqud_Lu");
    let small = json!({ "kty": "RSA", "e": "AQAB", "n": RSA_1024 });
    let keys = [
        private,
        off_size,
        small,
        Client::ed25519().jwk,
        Client::rsa(Library::RS256).jwk,
        json!({ "kty": "oct", "k": "AAAA" }),
        json!({}),
        json!("key"),
        json!(null),
    ];
    for jwk in keys {
        let refused = check_changed(|header| header["jwk"] = jwk.clone(), as_it_is);
        assert_eq!(refused, fault(Fault::Key), "{jwk}");
    }
    let without = |header: &mut Value| drop(header.as_object_mut().unwrap().remove("jwk"));
    assert_eq!(check_changed(without, as_it_is), fault(Fault::Key));
    let small = |header: &mut Value| {
        header["alg"] = json!("RS256");
        header["jwk"] = json!({ "kty": "RSA", "e": "AQAB", "n": RSA_1024 });
    };
    assert_eq!(check_changed(small, as_it_is), fault(Fault::Key));
}

#[test]
fn every_claim_is_needed() {
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        let without = |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove(name));
        assert_eq!(check_changed(as_it_is, without), fault(Fault::Claim(name)));
        for other in [json!(null), json!({}), json!([1]), json!(true)] {
            let changed = |claims: &mut Value| claims[name] = other;
            assert_eq!(check_changed(as_it_is, changed), fault(Fault::Claim(name)));
        }
    }
    for (name, value) in [
        ("jti", json!("")),
        ("jti", json!("x".repeat(257))),
        ("iat", json!("1800000000")),
        ("iat", json!(i64::MAX)),
        ("ath", json!("")),
        ("ath", json!(BASE64.encode([7; 31]))),
        ("ath", json!(BASE64.encode([7; 33]))),
        ("nonce", json!(7)),
    ] {
        let changed = |claims: &mut Value| claims[name] = value.clone();
        let refused = check_changed(as_it_is, changed);
        assert_eq!(refused, fault(Fault::Claim(name)), "{value}");
    }
    let longest = |claims: &mut Value| claims["jti"] = json!("x".repeat(256));
    assert_eq!(check_changed(as_it_is, longest), Ok(()));
}

#[test]
fn the_key_is_the_one_that_the_token_is_bound_to() {
    let (own, thief) = (Client::es256(), Client::ed25519());
    let now = Timestamp::from_unix_seconds(NOW);
    let checked = dpop()
        .0
        .check(&evidence(&thief.proof("a")), &own.thumbprint(), now);
    assert_eq!(checked, Err(Refusal::OtherKey));
}

#[test]
fn a_signature_of_another_key_or_of_another_text_is_refused() {
    let client = Client::es256();
    let other = Client {
        key: EncodingKey::from_ec_pem(OTHER_P256.as_bytes()).unwrap(),
        ..Client::es256()
    };
    assert_eq!(
        check(&dpop(), &client, &other.proof("a")),
        fault(Fault::Signature)
    );
    let proof = client.proof("a");
    let (message, signature) = proof.rsplit_once('.').unwrap();
    let another = client.proof("b");
    let (another, _) = another.rsplit_once('.').unwrap();
    for changed in [format!("{another}.{signature}"), format!("{message}.")] {
        assert_eq!(check(&dpop(), &client, &changed), fault(Fault::Signature));
    }
    // What was refused takes no place in the memory.
    let dpop = dpop();
    assert_eq!(
        check(&dpop, &client, &other.proof("a")),
        fault(Fault::Signature)
    );
    assert_eq!(check(&dpop, &client, &proof), Ok(()));
}

#[test]
fn the_method_is_compared_byte_by_byte() {
    for method in ["GET", "post", "POST ", ""] {
        let refused = check_changed(as_it_is, |claims| claims["htm"] = json!(method));
        assert_eq!(refused, fault(Fault::Method), "{method}");
    }
}

#[test]
fn the_address_is_the_one_that_clients_know() {
    for same in [
        "https://api.example.com/a/b",
        "HTTPS://API.example.com:443/a/%62",
        "https://api.example.com/a/b?other=query#fragment",
    ] {
        let passed = check_changed(as_it_is, |claims| claims["htu"] = json!(same));
        assert_eq!(passed, Ok(()), "{same}");
    }
    for other in [
        "https://api.example.com/a/c",
        "https://api.example.com/a",
        "https://api.example.com",
        "http://api.example.com/a/b",
        "https://api.example.org/a/b",
        "https://api.example.com:8443/a/b",
        "https://user@api.example.com/a/b",
        "/a/b",
        "",
    ] {
        let refused = check_changed(as_it_is, |claims| claims["htu"] = json!(other));
        assert_eq!(refused, fault(Fault::Target), "{other}");
    }
}

#[test]
fn every_base_url_is_known_and_host_has_no_say() {
    let dpop = Dpop::builder("https://api.example.com/v2/")
        .with_base_url("http://localhost:3000")
        .build()
        .unwrap();
    let client = Client::es256();
    let at = |id: &str, htu: &str, uri: &str| {
        let mut claims = claims(id);
        claims["htu"] = json!(htu);
        let evidence = Evidence {
            uri: uri.parse().unwrap(),
            ..evidence(&client.signed(client.header(), claims))
        };
        let now = Timestamp::from_unix_seconds(NOW);
        dpop.0.check(&evidence, &client.thumbprint(), now)
    };
    assert_eq!(at("a", "https://api.example.com/v2/a/b", "/a/b"), Ok(()));
    assert_eq!(at("b", "http://localhost:3000/a/b", "/a/b"), Ok(()));
    // HTTP/2 puts scheme and authority into the request's own URI.
    let own = "https://evil.example/a/b";
    assert_eq!(at("c", own, own), fault(Fault::Target));
    assert_eq!(at("d", "http://localhost:3000/a/b", own), Ok(()));
    let refused = at("e", "https://api.example.com/a/b", "/a/b");
    assert_eq!(refused, fault(Fault::Target));
}

#[test]
fn a_proof_is_of_now() {
    for (iat, passes) in [
        (json!(NOW - 61), false),
        (json!(NOW - 60), true),
        (json!(NOW as f64 - 60.5), false),
        (json!(NOW as f64 - 59.5), true),
        (json!(NOW + 5), true),
        (json!(NOW + 6), false),
        (json!(NOW as f64 + 5.5), false),
        (json!(0), false),
        (json!(-1), false),
        (json!(1e300), false),
        (json!(-1e300), false),
        (json!(NOW * 1_000), false),
    ] {
        let expected = if passes { Ok(()) } else { fault(Fault::Time) };
        let checked = check_changed(as_it_is, |claims| claims["iat"] = iat.clone());
        assert_eq!(checked, expected, "{iat}");
    }
    let strict = Dpop::builder("https://api.example.com")
        .with_max_age(Duration::from_secs(1))
        .with_leeway(Duration::ZERO)
        .build()
        .unwrap();
    let client = Client::es256();
    for (iat, passes) in [
        (NOW - 2, false),
        (NOW - 1, true),
        (NOW, true),
        (NOW + 1, false),
    ] {
        let mut claims = claims(&iat.to_string());
        claims["iat"] = json!(iat);
        let checked = check(&strict, &client, &client.signed(client.header(), claims));
        assert_eq!(checked.is_ok(), passes, "{iat}");
    }
}

#[test]
fn the_proof_is_for_this_token() {
    let other = BASE64.encode(Sha256::digest("another token"));
    let refused = check_changed(as_it_is, |claims| claims["ath"] = json!(other));
    assert_eq!(refused, fault(Fault::Token));
}

#[test]
fn a_nonce_is_asked_for_where_that_is_switched_on() {
    let dpop = Dpop::builder("https://api.example.com")
        .with_nonces(Duration::from_secs(300))
        .build()
        .unwrap();
    let client = Client::es256();
    let clock = ManualClock::new();
    let now = Now {
        wall: Timestamp::from_unix_seconds(NOW),
        ..clock.now()
    };
    let with_nonce = |id: &str, nonce: &str| {
        let mut claims = claims(id);
        claims["nonce"] = json!(nonce);
        client.signed(client.header(), claims)
    };
    let check =
        |proof: &str| CheckPossession::check(&dpop, &evidence(proof), &client.thumbprint(), now);
    let mut given = None;
    for proof in [
        client.proof("a"),
        with_nonce("a", "made-up"),
        with_nonce("a", ""),
    ] {
        let denial = check(&proof).unwrap_err();
        assert_eq!(denial.code(), DenialCode::UseDpopNonce);
        given = denial.dpop_nonce().cloned();
    }
    let given = given.unwrap();
    let nonce = given.to_str().unwrap();
    // What was refused has not used up its id, and a nonce serves for many proofs.
    assert_eq!(check(&with_nonce("a", nonce)), Ok(()));
    assert_eq!(check(&with_nonce("b", nonce)), Ok(()));
    let replayed = check(&with_nonce("a", nonce)).unwrap_err();
    assert_eq!(replayed.code(), DenialCode::InvalidDpopProof);
    assert_eq!(replayed.dpop_nonce(), None);
}

#[test]
fn what_is_wrong_is_told() {
    let client = Client::es256();
    let clock = ManualClock::new();
    let now = Now {
        wall: Timestamp::from_unix_seconds(NOW + 61),
        ..clock.now()
    };
    let evidence = evidence(&client.proof("a"));
    let check = |key: &KeyThumbprint| CheckPossession::check(&dpop(), &evidence, key, now);
    let denial = check(&client.thumbprint()).unwrap_err();
    assert_eq!(denial.code(), DenialCode::InvalidDpopProof);
    assert_eq!(
        denial.detail(),
        "The DPoP proof is not valid: iat is too long ago, or in the future."
    );
    let denial = check(&KeyThumbprint::from_bytes([0; 32])).unwrap_err();
    assert_eq!(denial.code(), DenialCode::InvalidKey);
    assert_eq!(denial.remediation(), OTHER_KEY);
}

#[test]
fn clones_share_their_memory() {
    let (dpop, client) = (dpop(), Client::es256());
    assert_eq!(check(&dpop.clone(), &client, &client.proof("a")), Ok(()));
    assert_eq!(
        check(&dpop, &client, &client.proof("a")),
        fault(Fault::Replayed)
    );
}

#[test]
fn a_full_memory_refuses_what_it_cannot_tell_apart() {
    let client = Client::es256();
    let small = Dpop::builder("https://api.example.com")
        .with_replay_capacity(1)
        .build()
        .unwrap();
    assert_eq!(check(&small, &client, &client.proof("a")), Ok(()));
    assert_eq!(
        check(&small, &client, &client.proof("b")),
        fault(Fault::Forgotten)
    );
    assert_eq!(
        check(&small, &client, &client.proof("a")),
        fault(Fault::Replayed)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes: Vec<u8>,
        header: String,
        claims: String,
        cut in 0_usize..600,
        flip in 0_u8..8,
    ) {
        let client = Client::es256();
        let dpop = dpop();
        let mut changed = client.proof("a").into_bytes();
        let at = cut % changed.len();
        changed[at] ^= 1 << flip;
        let signed = client.signed(header, claims).into_bytes();
        for text in [bytes, signed, changed[..at].to_vec(), changed] {
            if let Ok(text) = HeaderValue::from_bytes(&text) {
                let evidence = Evidence { proof: Some(text), ..evidence("x") };
                let now = Timestamp::from_unix_seconds(NOW);
                prop_assert!(dpop.0.check(&evidence, &client.thumbprint(), now).is_err());
            }
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let new = || Dpop::builder("https://api.example.com");
    let seconds = Duration::from_secs;
    let error = |builder: DpopBuilder| builder.build().unwrap_err().to_string();
    for base in [
        "api.example.com",
        "",
        "https://",
        "https://h/?q",
        "ftp://h",
        "https://u@h/",
    ] {
        assert!(error(Dpop::builder(base)).starts_with(&format!("{base:?}")));
        assert!(error(new().with_base_url(base)).starts_with(&format!("{base:?}")));
    }
    assert!(error(new().with_algorithms([])).contains("is empty"));
    let shared = [Algorithm::Es256, Algorithm::Hs256];
    assert!(error(new().with_algorithms(shared)).contains("HS256"));
    for (builder, name) in [
        (new().with_max_age(Duration::from_millis(999)), "max_age"),
        (new().with_max_age(seconds(3_601)), "max_age"),
        (new().with_leeway(seconds(301)), "leeway"),
        (new().with_replay_capacity(0), "replay_capacity"),
        (new().with_nonces(Duration::from_millis(999)), "nonces"),
        (new().with_nonces(seconds(86_401)), "nonces"),
    ] {
        assert_eq!(error(builder), format!("`{name}` is out of its range"));
    }
    let widest = new()
        .with_max_age(seconds(3_600))
        .with_leeway(seconds(300))
        .with_nonces(seconds(86_400));
    assert!(widest.build().is_ok());
}

#[test]
fn nothing_secret_is_shown() {
    let builder = Dpop::builder("https://api.example.com")
        .with_nonces(Duration::from_secs(300))
        .with_nonce_secret([0xab; 32]);
    let shown = format!("{builder:?} {:?}", dpop());
    assert!(!shown.contains("171"), "{shown}");
    assert!(shown.contains("api.example.com"));
}

const P256: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4BLlpivqSoD5PYa9
w9m5ua4PFrCTtbj8y95wtWPrLFKhRANCAARZID4Zp8gmI3OH9Tkt2w2xnUxM5R3j
5LdxZOF6rnfy7kvEZvxsfakla5fjPYw9AZ83ZwGXn+c5NunTUQXOWrFG
-----END PRIVATE KEY-----
";
const OTHER_P256: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgEZUyZ6vJdf54fth8
N+fuxbz0OcslNI41PsVm/ruMqhahRANCAAS0Uo5P4CjwYpOgK5wVG3P/nbK8n4iQ
zPUo2FKoqmocHd38A/TaMbQ/DlYRSSBUcVqcr+DoaSGz+yyJuBnwzJC3
-----END PRIVATE KEY-----
";
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIB+XJDUjOL4xWdqNWjgEyvvPorBd3bSPAK6CiMG5G8mI
-----END PRIVATE KEY-----
";
const RSA_2048: &str = "0Q53PaIZWIjEsOCM9E5d1Lohc0Q8XlWNSHHuBAP1sGvDCHXv4_I6QZ5TrfuN34a8juLatzQXFU1GraEUmDaYhlw691spDg0Bgxru5Tx3UPOJVCiYxTZflpI4voX6mujLeEN5xEE4SqKmA7ZLv9H0DuXLn0xKL66e9U-OosptL3TP0XsxWSIWF6m5HNWNME-L2qqgk6bobkyT1_pfyDcExNGWdQxvGPSsXXHWD3p5qLzhOy0KxAxtKQeUuSoFGfIygXw-hE7K5J_8UU_gClYmwgmEpZS-_Xlky1ek8zQjvwKl3-d_fW7vi_XadpUzTLPyt9MPNXN_5qe0Wdk1ZaaxRw";
const RSA_1024: &str = "syy_1ilKuZD5E6yHkH331mvDCAsvXVV3rCA_g9Suv4mP4XO2ZUW7snyozo8fp8jKXzxAOcStKbV8YNqLdj7B3ZKuzcNmp6fgUkIkWhDw5QcWiQ-G-Lm93gqjwIA5DqyXZQVGu9zz0ygpTqYXuuQRRpNnv4ljH3eKWOuj2Tz_4vU";
