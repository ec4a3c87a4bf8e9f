//! Behind proxies the client's address is what the trusted ones say, and no client has a say in it.

mod support;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::request::Builder;
use support::{World, get, module};
use tower_api_key::{
    AddressRange, Allowance, Check, CreatedKey, NewKey, Now, PeerAddress, RateLimiter, Refusal,
    Subject, Tier, TrustedProxies, Usage,
};

const NOT_ALLOWED: &str = "API Key may not be used from this address.";
const CLIENT: &str = "203.0.113.9";
/// The proxy in front of the service; the one in front of it is `10.0.0.2`.
const PROXY: &str = "10.0.0.1";

/// Admits three requests from each address, and notes which ones they were.
#[derive(Clone, Default)]
struct PerAddress {
    left: Arc<Mutex<HashMap<Option<IpAddr>, usize>>>,
    asked: Arc<Mutex<Vec<Option<IpAddr>>>>,
}

impl RateLimiter for PerAddress {
    fn check(&self, subject: Subject<'_>, _: Now) -> Check {
        let address = subject.address;
        self.asked.lock().expect("not poisoned").push(address);
        let mut left = self.left.lock().expect("not poisoned");
        let left = left.entry(address).or_insert(3);
        Check::Done(match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                Allowance::Admitted(Usage::NONE)
            }
            None => Allowance::Refused(Refusal::new(
                Tier::new("anonymous").expect("a tier"),
                "hour",
                Duration::from_secs(1),
            )),
        })
    }
}

/// A service that counts by address, behind these proxies.
struct Guarded {
    world: World,
    limiter: PerAddress,
}

impl Guarded {
    async fn behind(proxies: Option<TrustedProxies>) -> Self {
        let limiter = PerAddress::default();
        let world = World::with(|builder| {
            let builder = builder.with_rate_limiter(limiter.clone());
            match proxies {
                Some(proxies) => builder.with_trusted_proxies(proxies),
                None => builder,
            }
        });
        let world = world.await;
        Self { world, limiter }
    }

    /// For whom the limiter is asked, if a request comes in from `peer` with these header lines.
    async fn counted(&self, peer: &str, lines: &[(&str, &str)]) -> Option<IpAddr> {
        self.limiter.left.lock().expect("not poisoned").clear();
        let request = from(peer, with(get("/realms"), lines));
        self.world.send(request).await.granted();
        let mut asked = self.limiter.asked.lock().expect("not poisoned");
        asked.pop().expect("every request is counted")
    }
}

fn ranges() -> [AddressRange; 2] {
    ["10.0.0.0/30", "2001:db8:7::/64"].map(|range| range.parse().expect("a range"))
}

async fn x_forwarded_for() -> Guarded {
    Guarded::behind(Some(TrustedProxies::x_forwarded_for(ranges()))).await
}

async fn forwarded() -> Guarded {
    Guarded::behind(Some(TrustedProxies::forwarded(ranges()))).await
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn known(text: &str) -> Option<IpAddr> {
    Some(address(text))
}

fn with(request: Builder, lines: &[(&str, &str)]) -> Builder {
    let lines = lines.iter();
    lines.fold(request, |request, (name, value)| {
        request.header(*name, *value)
    })
}

fn from(peer: &str, mut request: Builder) -> Builder {
    let extensions = request.extensions_mut().expect("valid");
    extensions.insert(PeerAddress::from(address(peer)));
    request
}

#[tokio::test]
async fn by_default_no_header_has_a_say() {
    let service = Guarded::behind(None).await;
    for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        let lines = [(name, "for=198.51.100.1"), (name, "198.51.100.1")];
        assert_eq!(service.counted(CLIENT, &lines).await, known(CLIENT));
        assert_eq!(service.counted(PROXY, &lines).await, known(PROXY));
    }
}

#[tokio::test]
async fn header_sent_straight_to_the_service_is_ignored() {
    for (service, line) in [
        (x_forwarded_for().await, ("x-forwarded-for", "198.51.100.1")),
        (x_forwarded_for().await, ("x-forwarded-for", "10.0.0.1")),
        (x_forwarded_for().await, ("x-forwarded-for", "unknown")),
        (forwarded().await, ("forwarded", "for=198.51.100.1")),
        (forwarded().await, ("forwarded", "for=10.0.0.1")),
    ] {
        assert_eq!(service.counted(CLIENT, &[line]).await, known(CLIENT));
    }
}

/// Whatever a client sends, he is found where the proxies have appended these to it: in
/// `X-Forwarded-For` and in `Forwarded`.
async fn what_was_sent_is_ignored(appended: [&str; 2]) {
    let (x, f) = (x_forwarded_for().await, forwarded().await);
    let [for_x, for_f] = appended;
    for sent in [
        "198.51.100.1",
        "198.51.100.1, 10.0.0.2",
        "10.0.0.3",
        "rubbish \"",
        "",
    ] {
        let line = format!("{sent}, {for_x}");
        let lines = [("x-forwarded-for", &*line)];
        assert_eq!(x.counted(PROXY, &lines).await, known(CLIENT), "{line}");
        let line = format!("for={sent}, {for_f}");
        let lines = [("forwarded", &*line)];
        assert_eq!(f.counted(PROXY, &lines).await, known(CLIENT), "{line}");
    }
}

#[tokio::test]
async fn behind_one_proxy_what_the_client_sent_is_ignored() {
    what_was_sent_is_ignored([CLIENT, &format!("for={CLIENT};proto=https")]).await;
}

#[tokio::test]
async fn behind_two_proxies_what_the_client_sent_is_ignored() {
    let appended = [
        format!("{CLIENT}, 10.0.0.2"),
        format!("for={CLIENT}, for=10.0.0.2"),
    ];
    what_was_sent_is_ignored(appended.each_ref().map(String::as_str)).await;
    // Somebody else's proxy is a client.
    let x = x_forwarded_for().await;
    let lines = [("x-forwarded-for", "198.51.100.1, 192.0.2.5, 10.0.0.2")];
    assert_eq!(x.counted(PROXY, &lines).await, known("192.0.2.5"));
}

#[tokio::test]
async fn header_that_was_not_named_decides_nothing() {
    let mine = ("forwarded", "for=198.51.100.1");
    let lines = [mine, ("x-forwarded-for", CLIENT), mine];
    assert_eq!(
        x_forwarded_for().await.counted(PROXY, &lines).await,
        known(CLIENT)
    );
    let mine = ("x-forwarded-for", "198.51.100.1");
    let lines = [mine, ("forwarded", "for=203.0.113.9"), mine];
    assert_eq!(
        forwarded().await.counted(PROXY, &lines).await,
        known(CLIENT)
    );
    // Nor where the named one is missing.
    assert_eq!(
        forwarded().await.counted(PROXY, &[mine]).await,
        known(PROXY)
    );
}

/// HAProxy adds a line of its own instead of a word to the client's.
#[tokio::test]
async fn lines_of_the_clients_own_come_before_the_proxys() {
    let name = "x-forwarded-for";
    let lines = [
        (name, "198.51.100.1"),
        (name, "198.51.100.2, 10.0.0.2"),
        (name, CLIENT),
    ];
    let service = x_forwarded_for().await;
    assert_eq!(service.counted(PROXY, &lines).await, known(CLIENT));
    let name = "forwarded";
    let lines = [
        (name, "for=198.51.100.1"),
        (name, "for=198.51.100.2;host=\""),
        (name, "for=203.0.113.9"),
        (name, "for=10.0.0.2"),
    ];
    let service = forwarded().await;
    assert_eq!(service.counted(PROXY, &lines).await, known(CLIENT));
}

/// A parser that honours quotes across elements reads all of the line as the client's one element,
/// or takes what the client wrote for the only one that is well-formed.
#[tokio::test]
async fn quote_that_the_client_left_open_swallows_nothing() {
    let service = forwarded().await;
    for sent in [
        "for=198.51.100.1;host=\"",
        "for=\"198.51.100.1",
        "for=198.51.100.1, \"\\",
    ] {
        for appended in ["for=203.0.113.9", "for=\"203.0.113.9:80\";host=\"a\""] {
            let line = format!("{sent}, {appended}");
            let lines = [("forwarded", &*line)];
            assert_eq!(
                service.counted(PROXY, &lines).await,
                known(CLIENT),
                "{line}"
            );
        }
    }
}

/// The proxy passes the `Host` on in its own element, quoted and escaped as it should be.
#[tokio::test]
async fn what_the_client_gets_into_a_quoted_value_is_not_believed() {
    let service = forwarded().await;
    for host in [
        "a, for=198.51.100.1",
        "a, for=198.51.100.1;b=",
        "a, for=198.51.100.1;b=\\\"",
    ] {
        let line = format!("for=203.0.113.9;host=\"{host}\"");
        let lines = [("forwarded", &*line)];
        assert_eq!(service.counted(PROXY, &lines).await, None, "{line}");
    }
}

#[tokio::test]
async fn ports_brackets_and_mapped_addresses_make_no_difference() {
    let (x, f) = (x_forwarded_for().await, forwarded().await);
    for (text, is) in [
        ("203.0.113.9:4711", CLIENT),
        ("::ffff:203.0.113.9", CLIENT),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
    ] {
        for peer in [PROXY, "::ffff:10.0.0.1", "2001:db8:7::1"] {
            for proxy in [
                "",
                ",10.0.0.2:80",
                " , [2001:db8:7::2]:80",
                ",\t::ffff:10.0.0.2",
            ] {
                let line = format!("198.51.100.1, {text}{proxy}");
                let lines = [("x-forwarded-for", &*line)];
                assert_eq!(x.counted(peer, &lines).await, known(is), "{line}");
            }
            let line = format!("for=198.51.100.1, proto=https;For=\"{text}\"");
            let lines = [("forwarded", &*line)];
            assert_eq!(f.counted(peer, &lines).await, known(is), "{line}");
        }
    }
}

#[tokio::test]
async fn if_all_are_proxies_it_is_the_first_and_without_the_header_the_last() {
    let service = x_forwarded_for().await;
    let lines = [("x-forwarded-for", "10.0.0.3, 10.0.0.2")];
    assert_eq!(service.counted(PROXY, &lines).await, known("10.0.0.3"));
    assert_eq!(service.counted(PROXY, &[]).await, known(PROXY));
}

#[tokio::test]
async fn without_a_peer_no_header_is_believed() {
    let service = x_forwarded_for().await;
    let request = with(get("/realms"), &[("x-forwarded-for", CLIENT)]);
    service.world.send(request).await.granted();
    let asked = service.limiter.asked.lock().expect("not poisoned");
    assert_eq!(*asked, [None]);
}

async fn bound_to(world: &World, range: &str) -> CreatedKey {
    let range: AddressRange = range.parse().expect("a range");
    let new = NewKey::named("bound").with_modules([module("launcher")]);
    world.create(new.with_allowed_addresses([range])).await
}

#[tokio::test]
async fn allowed_addresses_are_those_behind_the_proxy() {
    let service = x_forwarded_for().await;
    let world = &service.world;
    let key = bound_to(world, "203.0.113.0/24").await;
    let send = |line: &'static str| {
        let request = get("/engines").header("x-api-key", key.text.expose());
        world.send(from(PROXY, request.header("x-forwarded-for", line)))
    };
    // From the store, and from memory.
    for _ in 0..2 {
        send("198.51.100.1, 203.0.113.9").await.granted();
    }
    // From the ledger, which has just changed.
    let (launcher, admin) = (module("launcher"), support::admin());
    let mapped = world.manager.map_module(&launcher, None, &admin).await;
    mapped.expect("mapped");
    send("203.0.113.9:80").await.granted();
    let answer = send("203.0.113.9, 198.51.100.1").await;
    answer.refused(403, "address_not_allowed", NOT_ALLOWED);
    assert_eq!(
        *service.limiter.asked.lock().expect("not poisoned"),
        [known(CLIENT); 3],
        "counted for the same address"
    );
}

#[tokio::test]
async fn nobody_enters_an_allowed_range_by_a_header() {
    let spoofs: [(&str, &[&str]); 9] = [
        // Straight from the client, and through a proxy that nobody trusts.
        ("198.51.100.1", &["203.0.113.9"]),
        ("198.51.100.1", &["203.0.113.9, 10.0.0.1"]),
        // Through the proxy, which appends the client's address.
        (PROXY, &["203.0.113.9, 198.51.100.1"]),
        (PROXY, &["203.0.113.9", "198.51.100.1"]),
        (PROXY, &["203.0.113.9, 10.0.0.2, 198.51.100.1"]),
        (PROXY, &["203.0.113.9, 198.51.100.1, 10.0.0.2"]),
        // Through a proxy that does not know the client's address, or does not tell it.
        (PROXY, &["203.0.113.9, unknown"]),
        (PROXY, &["203.0.113.9, _hidden, 10.0.0.2"]),
        (PROXY, &["203.0.113.9", ""]),
    ];
    for named in [true, false] {
        let service = if named {
            x_forwarded_for().await
        } else {
            forwarded().await
        };
        let world = &service.world;
        for (peer, lines) in spoofs {
            // One that nobody has seen yet, and then one that is remembered.
            let key = bound_to(world, "203.0.113.0/24").await;
            for _ in 0..2 {
                let mut request = from(peer, get("/me").header("x-api-key", key.text.expose()));
                for line in lines {
                    let line = match named {
                        true => line.to_string(),
                        false => format!("for={}", line.replace(", ", ", for=")),
                    };
                    let name = if named {
                        "x-forwarded-for"
                    } else {
                        "forwarded"
                    };
                    request = request.header(name, line);
                }
                let answer = world.send(request).await;
                answer.refused(403, "address_not_allowed", NOT_ALLOWED);
            }
        }
        assert_eq!(world.calls(), 0);
    }
}

#[tokio::test]
async fn limit_per_address_is_not_dodged_by_another_header_each_time() {
    let service = x_forwarded_for().await;
    let world = &service.world;
    for (peer, appended) in [
        ("203.0.113.7", ""),
        (PROXY, ", 203.0.113.9"),
        (PROXY, ", 203.0.113.10, 10.0.0.2"),
        (PROXY, ", unknown"),
    ] {
        for n in 0..6 {
            let line = format!("198.51.100.{n}{appended}");
            let lines = [("x-forwarded-for", &*line), ("x-real-ip", &*line)];
            let lines = if n % 2 == 0 { &lines[..1] } else { &lines[..] };
            let answer = world.send(from(peer, with(get("/realms"), lines))).await;
            let expected = if n < 3 { 200 } else { 429 };
            assert_eq!(answer.status, expected, "request {n} of {peer}: {line}");
        }
    }
    // And nobody uses up what is another's.
    let lines = [("x-forwarded-for", "203.0.113.9, 203.0.113.11")];
    let answer = world.send(from(PROXY, with(get("/realms"), &lines))).await;
    answer.granted();
}

#[tokio::test]
async fn whom_a_proxy_does_not_name_is_nobody() {
    let (x, f) = (x_forwarded_for().await, forwarded().await);
    for nobody in [
        "unknown",
        "_hidden",
        "_SEVKISEK",
        "203.0.113",
        "203.0.113.9:x",
        "é",
        "",
    ] {
        for proxy in ["", ", 10.0.0.2"] {
            let line = format!("198.51.100.1, {nobody}{proxy}");
            let lines = [("x-forwarded-for", &*line)];
            assert_eq!(x.counted(PROXY, &lines).await, None, "{line}");
        }
        let line = format!("for=198.51.100.1, for=\"{nobody}\", for=10.0.0.2");
        let lines = [("forwarded", &*line)];
        assert_eq!(f.counted(PROXY, &lines).await, None, "{line}");
    }
    let lines = [("forwarded", "for=198.51.100.1, proto=https;by=203.0.113.9")];
    assert_eq!(f.counted(PROXY, &lines).await, None);
}
