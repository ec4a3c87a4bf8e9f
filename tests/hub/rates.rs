//! The three tiers, as curl sees them.

use super::*;

/// What the headers of one answer say of its quota.
#[derive(Debug, PartialEq)]
struct Said {
    limit: u64,
    remaining: u64,
    /// Seconds.
    more_in: u64,
}

/// Checks that all of an answer's headers say the same, and reads it.
#[track_caller]
fn said(answer: &Answer) -> Said {
    let one = |name| {
        let [value] = answer.header(name)[..] else {
            panic!("{name} once: {answer:?}");
        };
        value
    };
    let number = |text: &str, name: &str| -> u64 {
        let member = text.split(';').find_map(|member| member.strip_prefix(name));
        let number = member.unwrap_or_else(|| panic!("{name} in {text}"));
        number.parse().expect("a number")
    };
    let (policy, state) = (one("ratelimit-policy"), one("ratelimit"));
    assert!(policy.starts_with("\"hour\";") && state.starts_with("\"hour\";"));
    assert_eq!(number(policy, "w="), 3_600);
    let said = Said {
        limit: number(policy, "q="),
        remaining: number(state, "r="),
        more_in: number(state, "t="),
    };
    assert_eq!(number(one("x-ratelimit-limit"), ""), said.limit);
    assert_eq!(number(one("x-ratelimit-remaining"), ""), said.remaining);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let reset = number(one("x-ratelimit-reset"), "");
    let ahead = reset - now.expect("after 1970").as_secs();
    // Rounded up, and read a moment later.
    assert!(ahead.abs_diff(said.more_in) <= 1, "{ahead} {said:?}");
    said
}

const REALMS: &str = "/v1/realms";

/// The whole quota of a caller, and the refusal after it.
#[track_caller]
fn uses_up(hubs: &[&Hub], headers: &[&str], tier: &str, limit: u64) {
    for (used, hub) in (1..=limit).zip(hubs.iter().cycle()) {
        let answer = hub.get(REALMS, headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = said(&answer);
        assert_eq!((said.limit, said.remaining), (limit, limit - used));
        assert!((3_500..=3_600).contains(&said.more_in), "{said:?}");
    }
    for hub in hubs {
        let answer = hub.get(REALMS, headers);
        let detail = format!("Too many requests for tier {tier}, quota hour.");
        answer.refused(429, "rate_limited", &detail);
        let said = said(&answer);
        assert_eq!((said.limit, said.remaining), (limit, 0));
        assert_eq!(answer.header("retry-after"), [said.more_in.to_string()]);
        assert_eq!(answer.body["tier"], tier);
        assert_eq!(answer.body["quota"], "hour");
    }
}

#[test]
fn nobody_gets_100_requests_an_hour_a_key_1000_and_a_premium_one_5000() {
    let hub = Hub::start();
    uses_up(&[&hub], &[], "anonymous", 100);
    // What a client says of its address is nothing here.
    let spoofed = hub.get(REALMS, &["X-Forwarded-For: 198.51.100.7"]);
    assert_eq!(spoofed.status, 429);
    uses_up(&[&hub], &[&bearer(hub.key("Realms"))], "standard", 1_000);
    let premium = bearer(hub.key("Premium"));
    let first = said(&hub.get(REALMS, &[&premium]));
    assert_eq!((first.limit, first.remaining), (5_000, 4_999));
    // Each key has its own, and what is public costs none.
    let lino = x_api_key(hub.key("Lino"));
    let shows = hub.get("/api/rest/v1/lino/shows", &[&lino]);
    assert_eq!(said(&shows).remaining, 999);
    let health = hub.get("/health", &[&lino]);
    assert_eq!(health.status, 200);
    assert!(health.header("ratelimit").is_empty());
    assert_eq!(
        said(&hub.get("/api/rest/v1/lino/shows", &[&lino])).remaining,
        998
    );
}

#[test]
fn a_redis_that_is_none_is_told() {
    let told = |url: &str| {
        let mut command = command(&["--database=memory:", "--redis", url]);
        let output = command.stderr(Stdio::piped()).output().expect("cargo");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let text = told("http://hidden:hidden@127.0.0.1");
    assert!(
        text.contains("--redis is given no redis://HOST:PORT"),
        "{text}"
    );
    assert!(!text.contains("hidden"));
    if !cfg!(feature = "redis") {
        let text = told("redis://127.0.0.1:1");
        assert!(text.contains("--redis needs the feature `redis`"), "{text}");
    }
}

#[cfg(all(feature = "redis", feature = "sqlite"))]
#[path = "../support/redis.rs"]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]
mod server;

/// Two hubs with their keys in one file, that count in one Redis.
#[cfg(all(feature = "redis", feature = "sqlite"))]
fn two_hubs(server: &server::Server) -> (Hub, Hub) {
    let database = fresh();
    let hub = || {
        let listen = "--listen=127.0.0.1:0";
        let arguments = [listen, "--database", &database, "--redis", &server.address];
        Hub::run(&mut command(&arguments))
    };
    (hub(), hub())
}

#[cfg(all(feature = "redis", feature = "sqlite"))]
#[test]
fn two_hubs_on_one_redis_share_each_quota_exactly() {
    let server = server::Server::start();
    let (first, second) = two_hubs(&server);
    let hubs = [&first, &second];
    uses_up(&hubs, &[], "anonymous", 100);
    uses_up(&hubs, &[&bearer(first.key("Realms"))], "standard", 1_000);
    let premium = bearer(first.key("Premium"));
    for (hub, remaining) in [(&first, 4_999), (&second, 4_998)] {
        let said = said(&hub.get(REALMS, &[&premium]));
        assert_eq!((said.limit, said.remaining), (5_000, remaining));
    }
}

#[cfg(all(feature = "redis", feature = "sqlite"))]
#[test]
fn hubs_go_on_without_redis_and_back_to_it() {
    let server = server::Server::start();
    let (first, second) = two_hubs(&server);
    let key = bearer(first.key("Realms"));
    let limit = |hub: &Hub| said(&hub.get(REALMS, &[&key])).limit;
    assert_eq!((limit(&first), limit(&second)), (1_000, 1_000));
    server.kill();
    // Each by its share.
    assert_eq!((limit(&first), limit(&second)), (250, 250));
    server.start_again();
    for hub in [&first, &second] {
        let started = Instant::now();
        while limit(hub) != 1_000 {
            assert!(started.elapsed() < Duration::from_secs(10), "it is back");
            std::thread::yield_now();
        }
    }
}
