use proptest::prelude::*;

use super::*;

fn everywhere() -> Carriers {
    Carriers {
        query: Some("api_key".into()),
        ..Carriers::default()
    }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .fold(
            HeaderMap::new(),
            |mut headers, (name, value): (_, HeaderValue)| {
                headers.append(name, value);
                headers
            },
        )
}

/// What a request with these headers presents.
fn presented(carriers: &Carriers, headers: &HeaderMap, query: Option<&str>) -> Presented {
    carriers.take(&mut headers.clone(), query)
}

/// `nothing`, `many`, or the carrier and the text.
fn read(carriers: &Carriers, fields: &[(&'static str, &str)], query: Option<&str>) -> String {
    shown(&presented(carriers, &headers(fields), query))
}

fn shown(presented: &Presented) -> String {
    match presented {
        Presented::Nothing => "nothing".into(),
        Presented::Many => "many".into(),
        Presented::One(credential) => {
            let text = String::from_utf8_lossy(credential.text());
            format!("{:?} {text}", credential.carrier)
        }
    }
}

#[test]
fn key_is_found_in_each_carrier() {
    let carriers = everywhere();
    assert_eq!(read(&carriers, &[("x-api-key", "K")], None), "Header K");
    assert_eq!(
        read(&carriers, &[("authorization", "Bearer K")], None),
        "Bearer K"
    );
    assert_eq!(read(&carriers, &[], Some("a=1&api_key=K")), "Query K");
    assert_eq!(
        read(&carriers, &[("x-other", "K")], Some("key=K")),
        "nothing"
    );
    assert_eq!(read(&carriers, &[], None), "nothing");
}

#[test]
fn carrier_that_is_off_is_not_read() {
    assert_eq!(
        read(&Carriers::default(), &[], Some("api_key=K")),
        "nothing"
    );
    let none = Carriers {
        header: None,
        bearer: false,
        ..Carriers::default()
    };
    let fields = [("x-api-key", "K"), ("authorization", "Bearer K")];
    assert_eq!(read(&none, &fields, None), "nothing");
    let mut kept = headers(&fields);
    none.strip(&mut kept, Presented::Nothing);
    assert_eq!(kept, headers(&fields));
}

#[test]
fn header_of_another_name_is_read_instead() {
    let carriers = Carriers {
        header: Some(HeaderName::from_static("x-service-key")),
        ..Carriers::default()
    };
    assert_eq!(read(&carriers, &[("x-service-key", "K")], None), "Header K");
    assert_eq!(read(&carriers, &[("x-api-key", "K")], None), "nothing");
}

#[test]
fn bearer_is_read_in_any_case_after_any_spaces() {
    for value in [
        "Bearer K",
        "bearer K",
        "BEARER K",
        "bEaReR   K",
        "Bearer \t K",
        "Bearer\tK",
    ] {
        assert_eq!(
            read(&everywhere(), &[("authorization", value)], None),
            "Bearer K",
            "{value}"
        );
    }
    assert_eq!(
        read(&everywhere(), &[("authorization", "Bearer K L")], None),
        "Bearer K L"
    );
}

#[test]
fn bearer_alone_is_an_empty_credential() {
    for value in ["Bearer", "bearer", "Bearer ", "Bearer    "] {
        assert_eq!(
            read(&everywhere(), &[("authorization", value)], None),
            "Bearer ",
            "{value:?}"
        );
    }
}

#[test]
fn foreign_scheme_is_nothing() {
    let values = [
        "Basic dTpw",
        "Bearers K",
        "BearerK",
        "Bearer,K",
        "Beare",
        "",
        "Token K",
        "é",
    ];
    for value in values {
        let fields = [("authorization", value)];
        assert_eq!(read(&everywhere(), &fields, None), "nothing", "{value:?}");
    }
    let two = [("authorization", "Basic a"), ("authorization", "Digest b")];
    assert_eq!(read(&everywhere(), &two, None), "nothing");
    let beside = [("authorization", "Basic a"), ("x-api-key", "K")];
    assert_eq!(read(&everywhere(), &beside, None), "Header K");
}

#[test]
fn empty_header_and_parameter_are_empty_credentials() {
    assert_eq!(read(&everywhere(), &[("x-api-key", "")], None), "Header ");
    assert_eq!(read(&everywhere(), &[("x-api-key", " ")], None), "Header ");
    for query in ["api_key=", "api_key", "a&api_key&b", "&api_key=&"] {
        assert_eq!(read(&everywhere(), &[], Some(query)), "Query ", "{query}");
    }
}

#[test]
fn bytes_that_are_no_utf_8_are_read_as_they_are() {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
    match presented(&everywhere(), &headers, None) {
        Presented::One(credential) => assert_eq!(credential.text(), b"\xff\xfe"),
        other => panic!("{other:?}"),
    }
    match presented(&everywhere(), &HeaderMap::new(), Some("api_key=%ff%00")) {
        Presented::One(credential) => assert_eq!(credential.text(), b"\xff\0"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn parameter_is_percent_decoded_once_and_is_no_form() {
    for (query, text) in [
        ("api_key=a%2Bb", "a+b"),
        ("api_key=a+b", "a+b"),
        ("api_key=%2541", "%41"),
        ("api_key=%", "%"),
        ("api_key=%4", "%4"),
        ("api_key=%zz%41", "%zzA"),
        ("api_key=a=b=c", "a=b=c"),
        ("api_key=a;b", "a;b"),
        ("%61pi_key=K", "K"),
        ("api%5Fkey=K", "K"),
        ("%61%70%69%5f%6b%65%79=K", "K"),
    ] {
        assert_eq!(
            read(&everywhere(), &[], Some(query)),
            format!("Query {text}"),
            "{query}"
        );
    }
}

#[test]
fn parameter_of_another_name_is_nothing() {
    for query in [
        "",
        "&",
        "=K",
        "API_KEY=K",
        "api_key2=K",
        "xapi_key=K",
        "api%255Fkey=K",
        "api+key=K",
        "a;api_key=K",
        "api_ke",
        "api_key%00=K",
        "a=api_key",
        "api_key[]=K",
        " api_key=K",
    ] {
        assert_eq!(read(&everywhere(), &[], Some(query)), "nothing", "{query}");
    }
}

#[test]
fn only_credential_leaves_the_headers_at_once() {
    let accept = ("accept", "*/*");
    for fields in [
        [accept, ("x-api-key", "K")],
        [accept, ("authorization", "Bearer K")],
    ] {
        let mut taken = headers(&fields);
        let presented = Carriers::default().take(&mut taken, None);
        assert!(matches!(presented, Presented::One(_)), "{fields:?}");
        assert_eq!(taken, headers(&[accept]));
    }
    let two = [("x-api-key", "K"), ("authorization", "Bearer K")];
    let mut many = headers(&two);
    let presented = Carriers::default().take(&mut many, None);
    assert!(matches!(presented, Presented::Many));
    assert_eq!(many, headers(&two));
}

#[test]
fn more_than_one_credential_is_many() {
    let header = ("x-api-key", "K");
    let bearer = ("authorization", "Bearer K");
    let basic = ("authorization", "Basic dTpw");
    for (fields, query) in [
        (&[header, header][..], None),
        (&[header, ("x-api-key", "")], None),
        (&[bearer, bearer], None),
        (&[bearer, basic], None),
        (&[basic, bearer], None),
        (&[basic, basic, bearer], None),
        (&[header, bearer], None),
        (&[header], Some("api_key=K")),
        (&[bearer], Some("api_key=K")),
        (&[], Some("api_key=K&api_key=K")),
        (&[], Some("api_key=K&api%5fkey=L")),
        (&[], Some("api_key&api_key")),
    ] {
        assert_eq!(
            read(&everywhere(), fields, query),
            "many",
            "{fields:?} {query:?}"
        );
    }
}

#[test]
fn first_of_many_is_taken_where_asked_for() {
    let carriers = Carriers {
        first_of_many: true,
        ..everywhere()
    };
    let bearer = ("authorization", "Bearer B");
    let basic = ("authorization", "Basic dTpw");
    let query = Some("api_key=Q&api_key=R");
    for (fields, first) in [
        (
            &[bearer, ("x-api-key", "H"), ("x-api-key", "I")][..],
            "Header H",
        ),
        (&[bearer, ("authorization", "Bearer C")], "Bearer B"),
        (&[basic, bearer], "Bearer B"),
        (&[basic], "Query Q"),
    ] {
        assert_eq!(read(&carriers, fields, query), first, "{fields:?}");
    }
}

#[test]
fn strip_removes_credentials_and_nothing_else() {
    let mut stripped = headers(&[
        ("accept", "*/*"),
        ("x-api-key", "K"),
        ("authorization", "Basic a"),
        ("x-api-key", "L"),
        ("authorization", "bearer K"),
        ("authorization", "Digest b"),
        ("authorization", "Bearer"),
        ("x-request-id", "7"),
    ]);
    everywhere().strip(&mut stripped, Presented::Many);
    let left = [
        ("accept", "*/*"),
        ("authorization", "Basic a"),
        ("authorization", "Digest b"),
        ("x-request-id", "7"),
    ];
    assert_eq!(stripped, headers(&left));
}

#[test]
fn strip_leaves_a_foreign_scheme_alone() {
    let mut stripped = headers(&[("authorization", "Basic dTpw")]);
    everywhere().strip(&mut stripped, Presented::Many);
    assert_eq!(stripped, headers(&[("authorization", "Basic dTpw")]));
}

#[test]
fn strip_uri_drops_the_parameter_and_keeps_every_other_byte() {
    for (before, after) in [
        ("/a?api_key=K", "/a"),
        ("/a?api_key", "/a"),
        ("/a?api_key=K&", "/a"),
        ("/a?&api_key=K", "/a"),
        ("/a?api_key=K&b=2", "/a?b=2"),
        ("/a?b=2&api_key=K", "/a?b=2"),
        ("/a?b=2&api_key=K&c=3", "/a?b=2&c=3"),
        ("/a?&&api_key=K&&", "/a?&&&"),
        ("/a?b=%7e+;x&%61pi_key=K&=&c", "/a?b=%7e+;x&=&c"),
        ("/a?api_key=K&api%5Fkey=L&b", "/a?b"),
        ("/a?b?c=/&api_key=?", "/a?b?c=/"),
        ("/%7e/?api_key=K&%zz", "/%7e/?%zz"),
        ("http://host:1/a?api_key=K&b", "http://host:1/a?b"),
        ("http://host?api_key=K&b", "http://host/?b"),
        ("http://host?api_key=K", "http://host/"),
        ("/?api_key=K", "/"),
    ] {
        let uri = everywhere().strip_uri(&before.parse().unwrap()).unwrap();
        assert_eq!(uri.to_string(), after, "{before}");
    }
}

#[test]
fn strip_uri_changes_nothing_where_there_is_nothing() {
    for uri in [
        "/a",
        "/a?",
        "/a?b=api_key",
        "/api_key?API_KEY=K",
        "*",
        "host:443",
        "http://host",
    ] {
        assert_eq!(everywhere().strip_uri(&uri.parse().unwrap()), None, "{uri}");
    }
    let uri = "/a?api_key=K".parse().unwrap();
    assert_eq!(
        Carriers::default().strip_uri(&uri),
        None,
        "the parameter is off"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let base = everywhere;
    assert_eq!(base().check(), Ok(()));
    let authorization = Some(AUTHORIZATION);
    let twice = Carriers {
        header: authorization.clone(),
        ..base()
    };
    assert_eq!(twice.check().unwrap_err().kind(), "credential header");
    let raw = Carriers {
        header: authorization,
        bearer: false,
        ..base()
    };
    assert_eq!(raw.check(), Ok(()));
    assert_eq!(read(&raw, &[("authorization", "K")], None), "Header K");
    for query in ["", "api key", "schlüssel"] {
        let carriers = Carriers {
            query: Some(query.into()),
            ..base()
        };
        assert_eq!(
            carriers.check().unwrap_err().kind(),
            "credential parameter",
            "{query}"
        );
    }
    let none = Carriers {
        header: None,
        bearer: false,
        dpop: false,
        query: None,
        first_of_many: false,
    };
    assert!(none.check().is_err());
    let bound_only = Carriers { dpop: true, ..none };
    assert_eq!(bound_only.check(), Ok(()));
    let twice = Carriers {
        header: Some(AUTHORIZATION),
        ..bound_only
    };
    assert_eq!(twice.check().unwrap_err().kind(), "credential header");
}

#[test]
fn a_token_with_a_proof_is_read_only_where_such_are_taken() {
    let bound = Carriers {
        dpop: true,
        ..everywhere()
    };
    for value in ["DPoP T", "dpop T", "DPOP   T", "DPoP\tT ", " DPoP T"] {
        let fields = [("authorization", value), ("dpop", "P")];
        assert_eq!(read(&bound, &fields, None), "Dpop T", "{value:?}");
        assert_eq!(read(&everywhere(), &fields, None), "nothing", "{value:?}");
        let alone = Carriers {
            query: None,
            ..bound.clone()
        };
        assert_eq!(read(&alone, &fields, None), "Dpop T", "{value:?}");
    }
    assert_eq!(read(&bound, &[("authorization", "DPoP")], None), "Dpop ");
    for foreign in ["DPoPT", "DPo P", "DPo", "Basic DPoP"] {
        assert_eq!(
            read(&bound, &[("authorization", foreign)], None),
            "nothing",
            "{foreign}"
        );
    }
    assert_eq!(
        read(&bound, &[("authorization", "Bearer K")], None),
        "Bearer K"
    );
    let bound_only = Carriers {
        bearer: false,
        ..bound
    };
    let bearer = [("authorization", "Bearer K")];
    assert_eq!(read(&bound_only, &bearer, None), "nothing");
}

#[test]
fn a_token_with_a_proof_beside_another_credential_is_one_too_many() {
    let bound = Carriers {
        dpop: true,
        query: None,
        ..everywhere()
    };
    let dpop = ("authorization", "DPoP T");
    for other in [
        ("authorization", "Bearer T"),
        ("authorization", "Basic T"),
        dpop,
        ("x-api-key", "K"),
    ] {
        assert_eq!(read(&bound, &[dpop, other], None), "many", "{other:?}");
    }
    let first = Carriers {
        first_of_many: true,
        ..bound
    };
    let both = [("authorization", "Bearer A"), ("authorization", "DPoP B")];
    assert_eq!(read(&first, &both, None), "Bearer A");
}

#[test]
fn every_proof_goes_with_the_credential() {
    let bound = Carriers {
        dpop: true,
        ..Carriers::default()
    };
    let both = |proofs: &[(&'static str, &str)]| {
        let mut fields = vec![("authorization", "DPoP T"), ("accept", "*/*")];
        fields.extend(proofs);
        headers(&fields)
    };
    for proofs in [&[("dpop", "P")][..], &[("dpop", "P"), ("dpop", "Q")], &[]] {
        let sent = both(proofs);
        let mut stripped = sent.clone();
        let presented = bound.take(&mut stripped, None);
        bound.strip(&mut stripped, presented);
        assert_eq!(stripped, headers(&[("accept", "*/*")]), "{proofs:?}");

        let mut kept = sent.clone();
        let presented = bound.take(&mut kept, None);
        bound.leave(&mut kept, presented);
        assert_eq!(kept, sent);
        assert!(kept.get_all("dpop").iter().all(HeaderValue::is_sensitive));
    }
    let mut foreign = both(&[("dpop", "P")]);
    let presented = Carriers::default().take(&mut foreign, None);
    Carriers::default().strip(&mut foreign, presented);
    assert_eq!(foreign, both(&[("dpop", "P")]), "it is none of ours");
}

#[test]
fn kept_credentials_are_marked_sensitive() {
    let mut kept = headers(&[
        ("x-api-key", "canary"),
        ("x-api-key", "canary"),
        ("authorization", "Bearer canary"),
        ("accept", "*/*"),
    ]);
    everywhere().mark_sensitive(&mut kept);
    assert!(!format!("{kept:?}").contains("canary"), "{kept:?}");
    assert!(!kept["accept"].is_sensitive());
}

#[test]
fn debug_form_hides_the_text() {
    let headers = headers(&[("x-api-key", "canary")]);
    let none = HeaderMap::new();
    for presented in [
        presented(&everywhere(), &headers, None),
        presented(&everywhere(), &none, Some("api_key=canary")),
        presented(&everywhere(), &none, Some("api_key=canar%79")),
    ] {
        assert!(shown(&presented).contains("canary"));
        let debug = format!("{presented:?} {presented:#?}");
        assert!(
            !debug.contains("canary") && !debug.contains("99"),
            "{debug}"
        );
    }
}

/// Percent-decoding, written once more.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        let digit = char::from(*text.get(at)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high * 16 + low);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// The pairs of a query string: as they stand, with name and value decoded.
fn pairs(query: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let pair = |pair: &[u8]| {
        let end = pair
            .iter()
            .position(|&byte| byte == b'=')
            .unwrap_or(pair.len());
        let value = pair.get(end + 1..).unwrap_or_default();
        (pair.to_vec(), decode(&pair[..end]), decode(value))
    };
    query.split(|&byte| byte == b'&').map(pair).collect()
}

fn any_query() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "&", "&", "=", "api_key", "%61pi_key", "api%5Fkey", "api%5fke%79", "api_key=", "%", "%4",
            "%41", "%zz", "%00", "%26", "%3D", "+", ";", "a", "api", "_key", "?", "/", "%2561pi_key",
        ]).prop_map(String::from),
        1 => "[!$-;=?-~é]{0,4}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn any_value() -> impl Strategy<Value = HeaderValue> {
    let scheme = prop::sample::select(vec![
        "", "Bearer", "Bearer\t", "bearer ", "BeArEr  ", "Basic ", "Bear", "DPoP", "dpoP ", "DPo",
    ]);
    (scheme, prop::collection::vec(any::<u8>(), 0..6))
        .prop_filter_map("a byte that no header can have", |(scheme, rest)| {
            HeaderValue::from_bytes(&[scheme.as_bytes(), &rest].concat()).ok()
        })
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec!["x-api-key", "authorization", "accept", "dpop"]);
    prop::collection::vec((name, any_value()), 0..5).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        headers
    })
}

fn any_carriers() -> impl Strategy<Value = Carriers> {
    let header = prop::option::of(Just(HeaderName::from_static("x-api-key")));
    let query = prop::option::of(Just("api_key".to_owned()));
    (header, any::<[bool; 2]>(), query, any::<bool>()).prop_map(
        |(header, [bearer, dpop], query, first_of_many)| Carriers {
            header,
            bearer,
            dpop,
            query,
            first_of_many,
        },
    )
}

/// What the rules at the top of the file say, slowly: every credential of the request in order, and
/// whether a foreign `Authorization` stands beside one of ours.
fn credentials(carriers: &Carriers, headers: &HeaderMap, query: &str) -> (Vec<Vec<u8>>, bool) {
    let mut texts = Vec::new();
    if let Some(name) = &carriers.header {
        let values = headers.get_all(name).iter();
        texts.extend(values.map(|value| trim(value.as_bytes())));
    }
    let mut mixed = false;
    if carriers.bearer || carriers.dpop {
        let values = headers.get_all("authorization").iter();
        let tokens: Vec<_> = values.map(|value| token(carriers, value)).collect();
        mixed = tokens.iter().any(Option::is_some) && tokens.iter().any(Option::is_none);
        texts.extend(tokens.into_iter().flatten());
    }
    if let Some(name) = &carriers.query {
        let named = pairs(query.as_bytes())
            .into_iter()
            .filter(|pair| pair.1 == name.as_bytes());
        texts.extend(named.map(|pair| pair.2));
    }
    (texts, mixed)
}

fn trim(mut bytes: &[u8]) -> Vec<u8> {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes.to_vec()
}

fn token(carriers: &Carriers, value: &HeaderValue) -> Option<Vec<u8>> {
    let value = trim(value.as_bytes());
    let end = value
        .iter()
        .position(|byte| b" \t".contains(byte))
        .unwrap_or(value.len());
    let scheme = value[..end].to_ascii_lowercase();
    let ours = (carriers.bearer && scheme == b"bearer") || (carriers.dpop && scheme == b"dpop");
    ours.then(|| trim(&value[end..]))
}

proptest! {
    #[test]
    fn what_is_read_is_what_the_rules_say(
        carriers in any_carriers(),
        headers in any_headers(),
        query in any_query(),
    ) {
        let (texts, mixed) = credentials(&carriers, &headers, &query);
        match presented(&carriers, &headers, Some(&query)) {
            Presented::Nothing => prop_assert!(texts.is_empty()),
            Presented::Many => {
                prop_assert!(!carriers.first_of_many && (texts.len() > 1 || mixed));
            }
            Presented::One(credential) => {
                prop_assert_eq!(&texts[0][..], credential.text());
                prop_assert!(carriers.first_of_many || (texts.len() == 1 && !mixed));
            }
        }
    }

    #[test]
    fn what_is_left_to_the_service_is_what_was_sent(
        carriers in any_carriers(),
        mut headers in any_headers(),
        query in any_query(),
    ) {
        let before = headers.clone();
        let presented = carriers.take(&mut headers, Some(&query));
        if carriers.first_of_many || carriers.query.is_some() {
            prop_assert_eq!(&headers, &before);
        }
        carriers.leave(&mut headers, presented);
        prop_assert_eq!(&headers, &before);
        for (name, value) in &headers {
            let ours = carriers.header.as_ref() == Some(name)
                || ((carriers.bearer || carriers.dpop) && name == AUTHORIZATION)
                || (carriers.dpop && name == "dpop");
            prop_assert_eq!(value.is_sensitive(), ours);
        }
    }

    #[test]
    fn nothing_is_read_after_stripping(
        carriers in any_carriers(),
        mut headers in any_headers(),
        query in any_query(),
    ) {
        let before = headers.clone();
        let uri: Uri = format!("/p?{query}").parse().unwrap();
        let presented = carriers.take(&mut headers, uri.query());
        carriers.strip(&mut headers, presented);
        let uri = carriers.strip_uri(&uri).unwrap_or(uri);
        let presented = carriers.take(&mut headers, uri.query());
        prop_assert!(matches!(presented, Presented::Nothing), "{uri} {headers:?}");
        // What was no credential is still there, in its order.
        let accept = |headers: &HeaderMap| -> Vec<_> {
            headers.get_all("accept").iter().cloned().collect()
        };
        prop_assert_eq!(accept(&before), accept(&headers));
        let authorization = before.get_all("authorization").iter();
        let foreign: Vec<_> = authorization.filter(|v| token(&carriers, v).is_none()).collect();
        prop_assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), foreign);
        if carriers.header.is_none() {
            prop_assert_eq!(before.get("x-api-key"), headers.get("x-api-key"));
        }
    }

    #[test]
    fn strip_uri_keeps_every_other_byte(
        start in prop::sample::select(vec!["/", "/a/b", "http://host", "https://host:8443/x%20y"]),
        query in any_query(),
    ) {
        let uri: Uri = format!("{start}?{query}").parse().unwrap();
        let pairs = pairs(query.as_bytes());
        let kept: Vec<_> = pairs.iter().filter(|pair| pair.1 != b"api_key").collect();
        match everywhere().strip_uri(&uri) {
            None => prop_assert_eq!(kept.len(), pairs.len()),
            Some(stripped) => {
                prop_assert!(kept.len() < pairs.len());
                let kept: Vec<_> = kept.iter().map(|pair| &pair.0[..]).collect();
                let kept = kept.join(&b'&');
                let left = stripped.query().map(str::as_bytes);
                prop_assert_eq!(left, (!kept.is_empty()).then_some(&kept[..]));
                prop_assert_eq!(stripped.path(), uri.path());
                prop_assert_eq!(stripped.authority(), uri.authority());
                prop_assert_eq!(stripped.scheme(), uri.scheme());
            }
        }
    }

    #[test]
    fn any_query_bytes_are_read_without_a_panic(query: String, value in any_value()) {
        let mut headers = HeaderMap::new();
        headers.append("authorization", value);
        let _ = presented(&everywhere(), &headers, Some(&query));
        if let Ok(uri) = Uri::try_from(format!("/p?{query}")) {
            let _ = everywhere().strip_uri(&uri);
        }
    }
}
