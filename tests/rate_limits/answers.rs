//! What the answers say of quotas, byte by byte.

use std::time::Duration;

use tower_api_key::{
    Denial, DenialCode, MemoryRateLimiter, NewKey, Quota, RefusedRequest, RenderDenial, Timestamp,
};

use super::{
    HOUR, SECOND, guest, header, key_of, limited, one_too_many, per_hour, rate_headers, standard,
    support::{Answer, World, get},
    tier,
};

/// The world of a layer that says whatever it can.
pub(super) async fn outspoken(limit: u64) -> World {
    let limiter = MemoryRateLimiter::new(standard([per_hour(limit)]));
    World::with(|builder| {
        let builder = builder.with_rate_limiter(limiter);
        builder.with_x_rate_limit_headers(true)
    })
    .await
}

pub(super) fn lines(answer: &Answer) -> Vec<String> {
    let lines = answer.headers.iter();
    let mut lines: Vec<_> = lines
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn grant_says_what_is_left_as_in_the_draft() {
    let world = limited(Default::default()).await;
    let key = world.key(&[]).await;
    let answer = world.get("/me", key.text.expose()).await;
    answer.granted();
    assert_eq!(
        lines(&answer),
        [
            "cache-control: private",
            "ratelimit-policy: \"hour\";q=1000;w=3600",
            "ratelimit: \"hour\";r=999;t=3600",
            "vary: x-api-key, authorization",
        ]
    );
    world.clock.advance(1_860 * SECOND);
    let answer = world.get("/me", key.text.expose()).await;
    answer.granted();
    assert_eq!(
        rate_headers(&answer),
        [
            "ratelimit-policy: \"hour\";q=1000;w=3600",
            "ratelimit: \"hour\";r=998;t=1740",
        ]
    );
}

#[tokio::test]
async fn refusal_says_all_there_is_to_say() {
    let world = limited(standard([per_hour(2)])).await;
    let key = world.key(&[]).await;
    for _ in 0..2 {
        world.get("/me", key.text.expose()).await.granted();
    }
    let answer = world.get("/me", key.text.expose()).await;
    assert_eq!(answer.status, 429);
    let body = concat!(
        r#"{"type":"https://docs.rs/tower-api-key/latest/tower_api_key/"#,
        r#"enum.DenialCode.html#variant.RateLimited","title":"Rate limited","status":429,"#,
        r#""detail":"Too many requests for tier standard, quota hour.","code":"rate_limited","#,
        r#""remediation":"Wait as long as Retry-After says, or ask for a higher tier.","#,
        r#""tier":"standard","quota":"hour"}"#,
    );
    assert_eq!(str::from_utf8(&answer.body), Ok(body));
    assert_eq!(
        lines(&answer),
        [
            "cache-control: no-store",
            "content-type: application/problem+json",
            "ratelimit-policy: \"hour\";q=2;w=3600",
            "ratelimit: \"hour\";r=0;t=3600",
            "retry-after: 3600",
        ]
    );
    let denial = answer.denial.as_ref().expect("a denial");
    assert_eq!(denial.code(), DenialCode::RateLimited);
    assert_eq!(denial.tier(), Some(&tier("standard")));
    assert_eq!(denial.quota(), Some("hour"));
    assert_eq!(denial.retry_after(), Some(HOUR));
    assert_eq!(world.calls(), 2, "the handler saw nothing of it");
}

#[tokio::test]
async fn anonymous_caller_is_told_the_same() {
    let world = limited(Default::default()).await;
    let answer = world.send(guest("192.0.2.1")).await;
    answer.granted();
    assert_eq!(
        rate_headers(&answer),
        [
            "ratelimit-policy: \"hour\";q=100;w=3600",
            "ratelimit: \"hour\";r=99;t=3600",
        ]
    );
    for _ in 1..100 {
        world.send(guest("192.0.2.1")).await.granted();
    }
    let answer = world.send(guest("192.0.2.1")).await;
    one_too_many(&answer, "anonymous", "hour", 3_600);
    assert_eq!(header(&answer, "ratelimit"), Some("\"hour\";r=0;t=3600"));
    assert_eq!(header(&answer, "www-authenticate"), None);
}

#[tokio::test]
async fn seconds_are_rounded_up_to_be_waited_for() {
    let world = limited(standard([per_hour(1)])).await;
    let key = world.key(&[]).await;
    world.get("/me", key.text.expose()).await.granted();
    for (wait, seconds) in [
        (Duration::from_micros(1), 3_600),
        (SECOND - Duration::from_micros(1), 3_599),
        (Duration::from_millis(500), 3_599),
        (Duration::from_millis(3_598_499), 1),
        (Duration::from_micros(999), 1),
    ] {
        world.clock.advance(wait);
        let answer = world.get("/me", key.text.expose()).await;
        one_too_many(&answer, "standard", "hour", seconds);
        let fields = format!("\"hour\";r=0;t={seconds}");
        assert_eq!(header(&answer, "ratelimit"), Some(&*fields));
    }
    world.clock.advance(Duration::from_micros(1));
    world.get("/me", key.text.expose()).await.granted();
}

#[tokio::test]
async fn headers_of_older_clients_come_where_they_are_switched_on() {
    let world = outspoken(2).await;
    let key = world.key(&[]).await;
    // The clock begins at 1,767,225,600.
    world.clock.advance(Duration::from_millis(500));
    let answer = world.get("/me", key.text.expose()).await;
    answer.granted();
    assert_eq!(
        rate_headers(&answer),
        [
            "ratelimit-policy: \"hour\";q=2;w=3600",
            "ratelimit: \"hour\";r=1;t=3600",
            "x-ratelimit-limit: 2",
            "x-ratelimit-remaining: 1",
            "x-ratelimit-reset: 1767229201",
        ]
    );
    world.clock.advance(100 * SECOND);
    world.get("/me", key.text.expose()).await.granted();
    let answer = world.get("/me", key.text.expose()).await;
    one_too_many(&answer, "standard", "hour", 3_500);
    assert_eq!(
        rate_headers(&answer),
        [
            "ratelimit-policy: \"hour\";q=2;w=3600",
            "ratelimit: \"hour\";r=0;t=3500",
            "retry-after: 3500",
            "x-ratelimit-limit: 2",
            "x-ratelimit-remaining: 0",
            "x-ratelimit-reset: 1767229201",
        ]
    );
}

#[tokio::test]
async fn only_what_is_switched_on_is_said() {
    for (standard_on, x_on, count) in [(false, true, 3), (false, false, 0)] {
        let limiter = MemoryRateLimiter::new(standard([per_hour(1)]));
        let world = World::with(|builder| {
            let builder = builder.with_rate_limiter(limiter);
            let builder = builder.with_rate_limit_headers(standard_on);
            builder.with_x_rate_limit_headers(x_on)
        });
        let world = world.await;
        let key = world.key(&[]).await;
        let granted = world.get("/me", key.text.expose()).await;
        granted.granted();
        let refused = world.get("/me", key.text.expose()).await;
        // How long to wait is said in any case.
        one_too_many(&refused, "standard", "hour", 3_600);
        for (answer, more) in [(granted, 0), (refused, 1)] {
            let said = rate_headers(&answer);
            assert_eq!(said.len(), count + more, "{said:?}");
            assert_eq!(header(&answer, "ratelimit"), None);
            assert_eq!(header(&answer, "ratelimit-policy"), None);
            assert_eq!(header(&answer, "x-ratelimit-limit").is_some(), x_on);
        }
    }
}

#[tokio::test]
async fn nothing_is_said_where_nobody_counts() {
    let world = World::with(|builder| builder.with_x_rate_limit_headers(true)).await;
    let key = world.key(&[]).await;
    for answer in [
        world.get("/me", key.text.expose()).await,
        world.anonymous("/realms").await,
    ] {
        answer.granted();
        assert_eq!(rate_headers(&answer), [""; 0]);
    }
}

#[tokio::test]
async fn public_routes_and_administrators_hear_of_no_quota_and_use_none() {
    let world = outspoken(1).await;
    let admin = NewKey::named("admin").with_administrator(true);
    let (admin, key) = (world.create(admin).await, world.key(&[]).await);
    for _ in 0..3 {
        for answer in [
            world.get("/me", admin.text.expose()).await,
            world.get("/health", key.text.expose()).await,
            world.send(super::from("192.0.2.1", get("/health"))).await,
        ] {
            answer.granted();
            assert_eq!(rate_headers(&answer), [""; 0]);
        }
    }
    world.get("/me", key.text.expose()).await.granted();
    let demoted = tower_api_key::KeyPatch::new().with_administrator(false);
    super::change(&world, &admin, demoted).await;
    world.get("/me", admin.text.expose()).await.granted();
    let answer = world.get("/me", admin.text.expose()).await;
    one_too_many(&answer, "standard", "hour", 3_600);
    let answer = world.send(guest("192.0.2.1")).await;
    assert_eq!(header(&answer, "x-ratelimit-remaining"), Some("99"));
    // Whose quota is used up still reads what is public.
    world.get("/health", key.text.expose()).await.granted();
}

#[tokio::test]
async fn renderer_of_the_services_own_gets_the_headers_too() {
    struct Plain;
    impl RenderDenial for Plain {
        fn render(&self, denial: &Denial, _: &RefusedRequest<'_>) -> http::Response<bytes::Bytes> {
            let (tier, quota) = (denial.tier().expect("a tier"), denial.quota());
            let text = format!("{tier} {}", quota.expect("a quota"));
            let mut response = http::Response::new(text.into());
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
            response
        }
    }
    let limiter = MemoryRateLimiter::new(standard([per_hour(1)]));
    let world = World::with(|builder| builder.with_rate_limiter(limiter).with_renderer(Plain));
    let world = world.await;
    let key = world.key(&[]).await;
    world.get("/me", key.text.expose()).await.granted();
    let answer = world.get("/me", key.text.expose()).await;
    assert_eq!(
        (answer.status.as_u16(), &*answer.body),
        (418, &b"standard hour"[..])
    );
    assert_eq!(
        lines(&answer),
        [
            "cache-control: no-store",
            "ratelimit-policy: \"hour\";q=1;w=3600",
            "ratelimit: \"hour\";r=0;t=3600",
            "retry-after: 3600",
        ]
    );
}

#[tokio::test]
async fn longest_quotas_are_said_and_counted_whole() {
    let ten_years = Duration::from_secs(10 * 366 * 86_400);
    for algorithm in super::ALGORITHMS {
        let most = Quota::new("most", u64::from(u32::MAX), ten_years).expect("a quota");
        let rare = Quota::new("rare", 1, ten_years).expect("a quota");
        let tiers = standard([most.with_algorithm(algorithm)])
            .with_tier(tier("rare"), [rare.with_algorithm(algorithm)])
            .expect("tiers");
        let world = super::costing(tiers).await;
        let (key, rare) = (world.key(&[]).await, key_of(&world, "rare").await);
        let answer = world.get("/all", key.text.expose()).await;
        answer.granted();
        assert_eq!(
            header(&answer, "ratelimit-policy"),
            Some("\"most\";q=4294967295;w=316224000")
        );
        let whole = header(&answer, "ratelimit").expect("fields");
        assert!(whole.starts_with("\"most\";r=0;t="), "{whole}");
        let refused = world.get("/all", key.text.expose()).await;
        assert_eq!(refused.status, 429);
        let wait = header(&refused, "retry-after").expect("seconds");
        let wait: u64 = wait.parse().expect("a number");
        world.clock.advance(Duration::from_secs(wait));
        world.get("/all", key.text.expose()).await.granted();

        world.get("/plain", rare.text.expose()).await.granted();
        let refused = world.get("/plain", rare.text.expose()).await;
        one_too_many(&refused, "rare", "rare", 316_224_000);
    }
}

#[tokio::test]
async fn reset_is_told_by_the_wall_clock_of_the_answer() {
    let world = outspoken(1).await;
    let key = world.key(&[]).await;
    world.get("/me", key.text.expose()).await.granted();
    world.clock.advance(600 * SECOND);
    world
        .clock
        .set_wall(Timestamp::from_unix_seconds(2_000_000_000));
    let answer = world.get("/me", key.text.expose()).await;
    one_too_many(&answer, "standard", "hour", 3_000);
    assert_eq!(header(&answer, "x-ratelimit-reset"), Some("2000003000"));
}
