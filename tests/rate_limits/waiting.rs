//! `Retry-After`, `t` and `r` are true to the second, whatever came before.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::select};
use tower_api_key::{Algorithm, Quota};

use super::{
    ALGORITHMS, SECOND, costing, header, standard,
    support::{Answer, World},
};

/// One or two quotas, some small and some so large that requests are counted in groups.
fn quotas() -> impl Strategy<Value = Vec<Quota>> {
    let quota = |name: &'static str, windows: &'static [u64]| {
        let limit = prop_oneof![1..10_u64, 55..70_u64, 100..400_u64];
        (limit, select(windows), select(&ALGORITHMS)).prop_map(move |(limit, window, algorithm)| {
            let quota = Quota::new(name, limit, Duration::from_secs(window));
            quota.expect("a quota").with_algorithm(algorithm)
        })
    };
    let (short, long) = (
        quota("short", &[1, 2, 7, 10]),
        quota("long", &[60, 3_600, 86_400]),
    );
    prop_oneof![
        2 => prop_oneof![quota("short", &[1, 2, 7]), quota("long", &[60, 3_600, 40_000, 86_400])]
            .prop_map(|quota| vec![quota]),
        1 => (short, long).prop_map(|(short, long)| vec![short, long]),
    ]
}

/// A wait, as a part of the window and some microseconds, and then so many requests of such a cost.
type Step = (f64, u64, usize, u32);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![Just(0.0), 0.0..0.05_f64, 0.0..1.1_f64];
    let micros = prop_oneof![Just(0), Just(1), 0..1_000_000_u64];
    let count = prop_oneof![3 => 1..8_usize, 1 => 1..120_usize];
    let cost = prop_oneof![4 => Just(1_u32), 1 => 2..=9_u32];
    vec((wait, micros, count, cost), 1..12)
}

fn seconds(answer: &Answer) -> u64 {
    let seconds = header(answer, "retry-after").expect("every 429 says how long");
    seconds.parse().expect("whole seconds")
}

/// The number behind `r=` or `t=` of the quota that stands first or last.
fn field(answer: &Answer, name: &str, place: usize) -> u64 {
    let fields = header(answer, "ratelimit").expect("fields");
    let member = fields.split(", ").nth(place).expect("a quota");
    let mut parameters = member.split(';').skip(1);
    let value = parameters.find_map(|parameter| parameter.strip_prefix(name));
    value.expect("a parameter").parse().expect("a number")
}

/// A client that is sent away comes back a second early, and then in time.
struct Walk {
    world: World,
    key: String,
    quotas: Vec<Quota>,
    /// When requests were granted, in microseconds, with what they cost.
    granted: Vec<(u64, u64)>,
    now: Duration,
}

impl Walk {
    fn wait(&mut self, time: Duration) {
        self.world.clock.advance(time);
        self.now += time;
    }

    fn micros(&self) -> u64 {
        self.now.as_micros() as u64
    }

    async fn send(&mut self, cost: u32) -> Answer {
        let answer = self.world.get(&format!("/{cost}"), &self.key).await;
        if answer.status == 200 {
            let now = self.micros();
            self.granted.push((now, u64::from(cost)));
        }
        answer
    }

    /// What a window of a quota that ends now holds, of requests that each cost at most the whole
    /// of it; `more` microseconds than the window are looked back.
    fn held(&self, quota: &Quota, more: u64) -> u64 {
        let window = quota.window().as_micros() as u64 + more;
        let limit = u64::from(quota.limit());
        let now = self.micros();
        let within = self.granted.iter().filter(|(at, _)| at + window > now);
        within.map(|(_, cost)| (*cost).min(limit)).sum()
    }

    async fn check(&mut self, cost: u32) -> Result<(), TestCaseError> {
        let answer = self.send(cost).await;
        if answer.status == 200 {
            for (place, quota) in self.quotas.iter().enumerate() {
                let (limit, held) = (u64::from(quota.limit()), self.held(quota, 0));
                match quota.algorithm() {
                    Algorithm::SlidingWindow => {
                        prop_assert!(held <= limit, "{held} within {quota:?}");
                        let left = field(&answer, "r=", place);
                        prop_assert!(left <= limit - held, "{left} of {quota:?} are not left");
                        // Times are kept to a part of the window, and of many requests only those
                        // of groups.
                        let grain = quota.window().as_micros() as u64 / 16_384;
                        let (held, group) = (self.held(quota, grain), limit / 60 + 1);
                        prop_assert!(left + held + group > limit, "{left} left, {held} held");
                    }
                    _ => prop_assert!(held <= 2 * limit, "{held} within {quota:?}"),
                }
            }
            return Ok(());
        }
        prop_assert_eq!(answer.status, 429);
        let wait = seconds(&answer);
        prop_assert!(wait >= 1);
        if cost == 1 && self.quotas.len() == 1 {
            prop_assert_eq!(field(&answer, "t=", 0), wait);
            prop_assert_eq!(field(&answer, "r=", 0), 0);
        }
        self.wait((wait as u32 - 1) * SECOND);
        let early = self.send(cost).await;
        prop_assert_eq!(early.status, 429, "a second before its time");
        prop_assert_eq!(seconds(&early), 1);
        self.wait(SECOND);
        let served = self.send(cost).await;
        prop_assert_eq!(served.status, 200, "it has waited {} s", wait);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn who_waits_as_long_as_he_was_told_is_served_and_who_comes_a_second_early_is_not(
        quotas in quotas(),
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let world = costing(standard(quotas.clone())).await;
            let key = world.key(&[]).await.text.expose().to_owned();
            let window = quotas[0].window();
            let mut walk = Walk { world, key, quotas, granted: Vec::new(), now: Duration::ZERO };
            for (wait, micros, count, cost) in steps {
                walk.wait(window.mul_f64(wait) + Duration::from_micros(micros));
                for _ in 0..count {
                    walk.check(cost).await?;
                }
            }
            Ok::<_, TestCaseError>(())
        })?;
    }

    /// `t` is when one more is left, and not before.
    #[test]
    fn what_is_left_grows_when_it_was_said_to(
        quotas in quotas(),
        burst in 1..30_usize,
        micros in 0..3_000_000_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let world = costing(standard(quotas[..1].to_vec())).await;
            let key = world.key(&[]).await;
            let send = || world.get("/1", key.text.expose());
            let mut last = send().await;
            for _ in 1..burst {
                world.clock.advance(Duration::from_micros(micros));
                let answer = send().await;
                if answer.status != 200 {
                    return Ok(());
                }
                last = answer;
            }
            let (left, grows) = (field(&last, "r=", 0), field(&last, "t=", 0));
            prop_assert!(grows >= 1);
            // One more request is one less, unless something has come back meanwhile.
            world.clock.advance((grows as u32 - 1) * SECOND);
            let early = send().await;
            match left {
                0 => prop_assert_eq!(early.status, 429),
                _ => prop_assert_eq!(field(&early, "r=", 0), left - 1),
            }
            world.clock.advance(SECOND);
            let served = send().await;
            prop_assert_eq!(served.status, 200);
            prop_assert!(field(&served, "r=", 0) + 1 >= left);
            Ok(())
        })?;
    }
}
