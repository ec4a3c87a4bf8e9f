use http::HeaderValue;
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

const PROXIES: [&str; 3] = ["10.0.0.0/8", "192.0.2.7", "2001:db8:7::/48"];

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn x_forwarded_for() -> TrustedProxies {
    TrustedProxies::x_forwarded_for(PROXIES.map(|range| range.parse().expect("a range")))
}

fn forwarded() -> TrustedProxies {
    TrustedProxies::forwarded(PROXIES.map(|range| range.parse().expect("a range")))
}

fn headers<V: AsRef<[u8]>>(name: &'static str, lines: &[V]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let value = HeaderValue::from_bytes(line.as_ref()).expect("a header value");
        headers.append(name, value);
    }
    headers
}

/// Whom these lines of the header name to a service behind the proxy 10.0.0.1.
fn client<V: AsRef<[u8]>>(proxies: &TrustedProxies, lines: &[V]) -> Option<IpAddr> {
    let headers = headers(proxies.header.name(), lines);
    proxies.client_address(&headers, address("10.0.0.1"))
}

#[track_caller]
fn names(proxies: &TrustedProxies, line: &str, expected: Option<&str>) {
    assert_eq!(client(proxies, &[line]), expected.map(address), "{line:?}");
}

#[test]
fn the_first_address_from_the_right_that_is_not_trusted_is_the_clients() {
    for (line, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        (
            "203.0.113.9, 2001:db8:7::1,10.9.9.9 ,192.0.2.7",
            "203.0.113.9",
        ),
        ("203.0.113.9, 192.0.2.8, 10.9.9.9", "192.0.2.8"),
        ("10.3.3.3, 10.2.2.2", "10.3.3.3"),
    ] {
        names(&x_forwarded_for(), line, Some(expected));
    }
}

#[test]
fn without_a_trusted_peer_or_without_the_header_it_is_the_peer() {
    for (proxies, name, other) in [
        (x_forwarded_for(), "x-forwarded-for", "forwarded"),
        (forwarded(), "forwarded", "x-forwarded-for"),
    ] {
        let lines = ["for=203.0.113.9", "203.0.113.9"];
        let stranger = address("198.51.100.1");
        let found = proxies.client_address(&headers(name, &lines), stranger);
        assert_eq!(found, Some(stranger));
        for headers in [HeaderMap::new(), headers(other, &lines)] {
            let proxy = address("10.0.0.1");
            assert_eq!(proxies.client_address(&headers, proxy), Some(proxy));
        }
    }
}

#[test]
fn lines_are_one_list_in_order() {
    let lines = ["198.51.100.1", "198.51.100.2, 203.0.113.9", "10.9.9.9"];
    assert_eq!(
        client(&x_forwarded_for(), &lines),
        Some(address("203.0.113.9"))
    );
    assert_eq!(
        client(&x_forwarded_for(), &lines[..2]),
        Some(address("203.0.113.9"))
    );
    assert_eq!(
        client(&x_forwarded_for(), &lines[..1]),
        Some(address("198.51.100.1"))
    );
}

#[test]
fn addresses_may_have_brackets_and_ports() {
    for (element, expected) in [
        ("203.0.113.9:0", "203.0.113.9"),
        ("203.0.113.9:65535", "203.0.113.9"),
        ("203.0.113.9:_x.y-Z_1", "203.0.113.9"),
        (" \t203.0.113.9:80\t ", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
    ] {
        names(&x_forwarded_for(), element, Some(expected));
        let quoted = format!("for=\"{}\"", element.trim());
        names(&forwarded(), &quoted, Some(expected));
    }
    // A proxy by whatever name is a proxy.
    for proxy in [
        "10.2.2.2:80",
        "::ffff:10.2.2.2",
        "[::ffff:10.2.2.2]:80",
        "[2001:db8:7::1]",
    ] {
        let line = format!("203.0.113.9, {proxy}");
        names(&x_forwarded_for(), &line, Some("203.0.113.9"));
    }
}

#[test]
fn an_element_that_names_no_address_leaves_it_unknown() {
    for element in [
        "",
        " ",
        "unknown",
        "_hidden",
        "unix:",
        "localhost",
        "203.0.113",
        "203.0.113.009",
        "203.0.113.9.",
        "203.0.113.9/32",
        "203.0.113.9:",
        "203.0.113.9:_",
        "203.0.113.9:+80",
        "203.0.113.9:http",
        "203.0.113.9:123456",
        "203.0.113.9:80:80",
        "203.0.113.9 198.51.100.1",
        "[203.0.113.9]",
        "[203.0.113.9]:80",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]80",
        "[[2001:db8::1]]",
        "[fe80::1%eth0]",
        "\"203.0.113.9\"",
        "for=203.0.113.9",
        "203.0.113.9é",
    ] {
        // Not even what stands to its left is believed.
        for line in [element.into(), format!("198.51.100.1, {element}, 10.2.2.2")] {
            names(&x_forwarded_for(), &line, None);
        }
    }
    assert_eq!(client(&x_forwarded_for(), &[b"\xff" as &[u8]]), None);
    assert_eq!(client(&x_forwarded_for(), &["203.0.113.9", ""]), None);
}

#[test]
fn forwarded_names_the_client_among_other_parameters() {
    for element in [
        "for=203.0.113.9",
        "For=\"203.0.113.9\"",
        "FOR=203.0.113.9:80",
        "for=\"203.0.113.9:80\"",
        "for=203.0.113.9;proto=https;by=10.0.0.1",
        "by=\"[2001:db8:7::1]:443\" ; proto=https\t;\tfor=203.0.113.9",
        "host=\"example.com:8080\";for=\"203.0.113.9:_p\"",
        "secret=\"=\";;for=203.0.113.9;",
    ] {
        for line in [
            element.into(),
            format!("for=198.51.100.1,{element},for=10.2.2.2;proto=http"),
        ] {
            names(&forwarded(), &line, Some("203.0.113.9"));
        }
    }
}

#[test]
fn element_of_forwarded_that_is_malformed_leaves_it_unknown() {
    for element in [
        "",
        ";",
        "for",
        "for=",
        "for=\"\"",
        "for=unknown",
        "for=\"_hidden\"",
        "for=\"203.0.113.9",
        "for=203.0.113.9\"",
        "for=\"\"203.0.113.9\"\"",
        "for=\"203.0.113.\\9\"",
        "for==203.0.113.9",
        "for= 203.0.113.9",
        "for =203.0.113.9",
        "\"for\"=203.0.113.9",
        "by=203.0.113.9",
        "xfor=203.0.113.9",
        "203.0.113.9",
        "for=203.0.113.9;proto",
        "for=203.0.113.9;host=\"a",
        "for=203.0.113.9;host=a\"",
        "for=203.0.113.9;host=\"",
        "for=203.0.113.9;ho\"st=a",
        "for=203.0.113.9;for=203.0.113.9",
        "for=unknown;for=203.0.113.9",
        "for=203.0.113.9;host=é",
    ] {
        for line in [
            element.into(),
            format!("for=198.51.100.1, {element}, for=10.2.2.2"),
        ] {
            names(&forwarded(), &line, None);
        }
    }
}

#[test]
fn a_quote_left_open_swallows_nothing() {
    for sent in [
        "for=\"",
        "for=198.51.100.1;host=\"",
        "for=\"198.51.100.1",
        "for=198.51.100.1, \"\\",
    ] {
        for appended in ["for=203.0.113.9", "for=\"203.0.113.9:80\";proto=https"] {
            names(
                &forwarded(),
                &format!("{sent}, {appended}"),
                Some("203.0.113.9"),
            );
            let lines = [sent, appended];
            assert_eq!(client(&forwarded(), &lines), Some(address("203.0.113.9")));
        }
    }
}

/// A proxy that passes the `Host` on in quotes lets the client write into its own element.
#[test]
fn an_element_within_a_quoted_value_is_none() {
    for host in [
        "a, for=198.51.100.1",
        "a, for=198.51.100.1;b=",
        "a, for=198.51.100.1;b=\\\"",
        "a, for=198.51.100.1;b=\\\"\\\"",
        "a, for=\\\"198.51.100.1",
    ] {
        for line in [
            format!("for=203.0.113.9;host=\"{host}\""),
            format!("for=203.0.113.9;host=\"{host}\";by=\"10.0.0.1\""),
            format!("host=\"{host}\";for=203.0.113.9"),
        ] {
            names(&forwarded(), &line, None);
        }
    }
}

#[test]
fn what_is_left_of_the_client_is_not_read() {
    let far: &[u8] = b"\xff\xff, 10.9.9.9:x, \"";
    let line = [far, b", 203.0.113.9, 10.2.2.2"].concat();
    assert_eq!(
        client(&x_forwarded_for(), &[line]),
        Some(address("203.0.113.9"))
    );
}

#[test]
fn header_of_64_kilobytes_is_read_to_its_end() {
    let proxies = "10.9.9.9,".repeat(7_000);
    let line = format!("203.0.113.9, {proxies}10.2.2.2");
    names(&x_forwarded_for(), &line, Some("203.0.113.9"));
    let proxies = "for=10.9.9.9,".repeat(5_000);
    let line = format!("for=203.0.113.9, {proxies}for=10.2.2.2");
    names(&forwarded(), &line, Some("203.0.113.9"));
    names(&x_forwarded_for(), &",".repeat(65_535), None);
    names(&forwarded(), &";".repeat(65_535), None);
    let line = format!("203.0.113.9, {}", "1".repeat(65_000));
    names(&x_forwarded_for(), &line, None);
}

/// Any line that `http` takes.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        select(b",,;;\"\"\\= \t:[]._for0123456789abcd".to_vec()),
        0x20_u8..=0xff
    ];
    vec(byte.prop_filter("no DEL", |byte| *byte != 0x7f), 0..60)
}

/// What is made of the pieces of a header that means something.
fn likely_line() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "for=",
        "10.2.2.2",
        "203.0.113.9",
        "198.51.100.1",
        ",",
        ", ",
        ";",
        "\"",
        "[2001:db8:7::1]",
        ":80",
        "host=",
        "unknown",
        "\\",
    ]);
    vec(piece, 0..16).prop_map(|pieces| pieces.concat().into_bytes())
}

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(prop_oneof![line(), likely_line()], 0..4)
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        any::<u16>().prop_map(|n| address(&format!("10.0.{}.{}", n >> 8, n & 0xff))),
    ]
    .prop_map(|address| address.to_canonical())
}

/// An address as one proxy or another writes it.
fn written(address: IpAddr, style: u8, forwarded: bool) -> String {
    let text = match (address, style % 3) {
        (IpAddr::V4(v4), 0) => v4.to_string(),
        (IpAddr::V4(v4), 1) => format!("{v4}:80"),
        (IpAddr::V4(v4), _) => format!("[{}]:80", v4.to_ipv6_mapped()),
        (IpAddr::V6(v6), 0) if !forwarded => v6.to_string(),
        (IpAddr::V6(v6), 0 | 1) => format!("[{v6}]"),
        (IpAddr::V6(v6), _) => format!("[{v6}]:4711"),
    };
    match (forwarded, style % 4) {
        (false, _) => text,
        (true, 0) => format!("for=\"{text}\""),
        (true, 1) => format!("by=10.0.0.1;For=\"{text}\";proto=https"),
        (true, 2) => format!("proto=http; for={text}"),
        (true, _) => format!("host=\"a:b\";FOR={text};"),
    }
}

proptest! {
    #[test]
    fn whatever_a_client_sends_its_proxys_word_counts(
        sent in lines(),
        address in any_address().prop_filter("no proxy", |a| !x_forwarded_for().trusts(*a)),
        style: u8,
        own_line: bool,
    ) {
        for (proxies, syntax) in [(x_forwarded_for(), false), (forwarded(), true)] {
            let appended = written(address, style, syntax).into_bytes();
            let mut lines = sent.clone();
            match lines.last_mut() {
                Some(last) if !own_line => *last = [&last[..], b", ", &appended].concat(),
                _ => lines.push(appended),
            }
            prop_assert_eq!(client(&proxies, &lines), Some(address));
            let found = proxies.client_address(&headers(proxies.header.name(), &lines), address);
            prop_assert_eq!(found, Some(address), "straight from the client");
        }
    }

    #[test]
    fn what_a_client_gets_into_a_quoted_value_is_never_believed(
        host in prop_oneof![line(), likely_line()],
        end in select(vec!["", ";", ";a=", ";a=\"", ";a=\"\"", ";a=\\", ";a=b", " "]),
        before: bool,
        by: bool,
    ) {
        let own = address("203.0.113.200");
        let aimed = [&host[..], b",for=198.51.100.1", end.as_bytes()].concat();
        for host in [host, aimed] {
            // RFC 9110 §5.6.4.
            let escaped: Vec<u8> = host.iter().flat_map(|byte| match byte {
                b'"' | b'\\' => vec![b'\\', *byte],
                _ => vec![*byte],
            }).collect();
            let host: &[u8] = &[b"host=\"", &*escaped, b"\""].concat();
            let by: &[u8] = if by { b";by=\"10.0.0.1\"" } else { b"" };
            let element = match before {
                true => [host, by, b";for=203.0.113.200"].concat(),
                false => [b"for=203.0.113.200;", host, by].concat(),
            };
            let found = client(&forwarded(), &[element]);
            prop_assert!(found.is_none_or(|found| found == own), "{found:?}");
        }
    }

    #[test]
    fn the_client_is_the_last_whom_no_proxy_answers_for(
        chain in vec((any_address(), any::<u8>(), any::<bool>()), 1..6),
    ) {
        for (proxies, syntax) in [(x_forwarded_for(), false), (forwarded(), true)] {
            let mut lines: Vec<String> = Vec::new();
            for (address, style, own_line) in &chain {
                let element = written(*address, *style, syntax);
                match lines.last_mut() {
                    Some(last) if !own_line => *last += &format!(" ,{element}"),
                    _ => lines.push(element),
                }
            }
            let mut from_the_right = chain.iter().rev().map(|(address, ..)| *address);
            let expected = from_the_right.find(|address| !proxies.trusts(*address));
            prop_assert_eq!(client(&proxies, &lines), Some(expected.unwrap_or(chain[0].0)));
        }
    }
}
