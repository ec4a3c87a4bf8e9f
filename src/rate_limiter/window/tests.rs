use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn quota(limit: u64, seconds: u64) -> Quota {
    Quota::new("test", limit, Duration::from_secs(seconds)).expect("a quota")
}

/// Every admitted request with its time: what the sliding window is held against.
struct ExactLog {
    admitted: Vec<(u64, u32)>,
}

impl ExactLog {
    /// Requests in the window of this length that ends at `end`, its beginning left out.
    fn within(&self, length: u64, end: u64) -> u64 {
        let is_in = |at: u64| at <= end && at + length > end;
        let inside = self.admitted.iter().filter(|(at, _)| is_in(*at));
        inside.map(|(_, cost)| u64::from(*cost)).sum()
    }
}

/// As a limiter asks.
fn room(window: &mut Window, by: &Measure, now: u64) -> Room {
    window.read(by, now).room()
}

/// Sends requests of these costs, each so many microseconds after the one before.
fn drive(
    measure: &Measure,
    requests: impl IntoIterator<Item = (u64, u32)>,
    after: impl FnMut(&ExactLog, &mut Window, u64, u32, bool),
) {
    let requests = requests.into_iter().map(|(wait, cost)| (wait, cost, 0));
    drive_late(measure, requests, after);
}

/// The same where each request comes so much later than its clock was read.
fn drive_late(
    measure: &Measure,
    requests: impl IntoIterator<Item = (u64, u32, u64)>,
    mut after: impl FnMut(&ExactLog, &mut Window, u64, u32, bool),
) {
    let mut window = Window::new(0);
    let mut log = ExactLog {
        admitted: Vec::new(),
    };
    let mut clock = 1_000_000_007;
    for (wait, cost, late) in requests {
        clock += wait;
        if clock > 500 * 366 * 86_400 * SECOND {
            break;
        }
        let now = clock - late;
        let cost = measure.cost(cost);
        let mut reading = window.read(measure, now);
        let has_room = reading.room().remaining >= cost;
        let admitted = reading.free_at(cost) <= now;
        if admitted {
            reading.take(cost);
        }
        assert_eq!(admitted, has_room, "{window:?} at {now}");
        if admitted {
            log.admitted.push((now, cost));
        }
        after(&log, &mut window, now, cost, admitted);
    }
}

/// Waits that lie close together, spread over the window, or span it.
pub(crate) fn waits(window: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        5 => Just(0),
        5 => 0..window / 500,
        3 => 0..window / 20,
        1 => 0..window,
        1 => window - 3..window + 3,
        1 => Just(window * 3),
    ]
}

fn quotas() -> impl Strategy<Value = Quota> {
    let limits = prop_oneof![1_u64..70, 55_u64..260, 900_u64..1_100];
    let windows = prop_oneof![
        Just(1_u64),
        Just(60),
        Just(3_600),
        Just(86_400),
        1_u64..100_000,
        604_800_u64..=10 * 366 * 86_400,
    ];
    (limits, windows).prop_map(|(limit, seconds)| quota(limit, seconds))
}

fn histories() -> impl Strategy<Value = (Quota, Vec<(u64, u32)>)> {
    quotas().prop_flat_map(|quota| {
        let most = (quota.limit() * 3).min(1_500) as usize;
        let request = (
            waits(micros(&quota)),
            prop_oneof![9 => Just(1), 1 => 1_u32..50],
        );
        (Just(quota), prop::collection::vec(request, 1..most))
    })
}

/// The clock may have been read by so much earlier.
const SKEW: u64 = SECOND / 10;

fn late_histories() -> impl Strategy<Value = (Quota, Vec<(u64, u32, u64)>)> {
    (histories(), any::<u32>()).prop_map(|((quota, requests), spread)| {
        let late = (1..).map(|n: u64| (n * u64::from(spread) % (2 * SKEW)).saturating_sub(SKEW));
        let late_one = |((wait, cost), late)| (wait, cost, late);
        let requests = requests.into_iter().zip(late).map(late_one).collect();
        (quota, requests)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn who_comes_late_gets_nothing_beyond_the_limit((quota, requests) in late_histories()) {
        let measure = Measure::new(&quota);
        drive_late(&measure, requests, |log, _, now, _, _| {
            for end in [now, now + SKEW] {
                let within = log.within(measure.window - SKEW, end);
                assert!(within <= u64::from(quota.limit()), "{within} at {now}");
            }
        });
    }

    #[test]
    fn who_waits_as_told_is_served_also_where_others_come_late(
        (quota, requests) in late_histories(),
        algorithm in algorithms(),
    ) {
        let measure = Measure::new(&quota.with_algorithm(algorithm));
        drive_late(&measure, requests, |_, window, now, cost, admitted| {
            let free_at = window.read(&measure, now).free_at(cost);
            let room_at = |at| room(&mut window.clone(), &measure, at);
            if !admitted {
                assert!(free_at > now);
                if algorithm != Algorithm::Gcra {
                    assert!(free_at <= now + measure.window + SKEW);
                }
                assert!(room_at(free_at).remaining >= cost);
                assert!(room_at(free_at - 1).remaining < cost);
            }
            let Room { remaining, grows_at } = room_at(now);
            if remaining < quota.limit() {
                assert!(room_at(grows_at).remaining > remaining);
                assert_eq!(room_at(grows_at - 1).remaining, remaining);
            }
            let idle_at = window.idle_at(&measure).max(now);
            assert_eq!(room_at(idle_at).remaining, quota.limit());
        });
    }

    #[test]
    fn no_window_holds_more_than_the_limit((quota, requests) in histories()) {
        let measure = Measure::new(&quota);
        drive(&measure, requests, |log, _, now, _, _| {
            let within = log.within(measure.window, now);
            assert!(within <= u64::from(quota.limit()), "{within} at {now}");
        });
    }

    #[test]
    fn who_is_refused_has_had_all_but_a_sixtieth_within_the_window(
        (quota, requests) in histories()
    ) {
        let measure = Measure::new(&quota);
        drive(&measure, requests, |log, _, now, cost, admitted| {
            if !admitted {
                let had = log.within(measure.window + measure.tick, now) + u64::from(cost);
                // Less than a group is missing, and a group is the sixtieth part and one.
                let least = u64::from(quota.limit() - (measure.group - 1));
                assert!(had > least, "{had} of {quota:?} at {now}");
                assert!(f64::from(measure.group - 1) <= f64::from(quota.limit()) / 60.0);
            }
        });
    }

    #[test]
    fn up_to_59_in_the_window_the_log_is_exact((quota, requests) in histories()) {
        let measure = Measure::new(&quota);
        let mut ever_more = false;
        drive(&measure, requests, |log, window, now, _, _| {
            ever_more |= log.within(2 * measure.window, now) > MARKS as u64;
            if !ever_more {
                let used = u64::from(quota.limit() - room(window, &measure, now).remaining);
                assert!(used >= log.within(measure.window, now));
                assert!(used <= log.within(measure.window + measure.tick, now));
            }
        });
    }

    #[test]
    fn who_waits_as_told_is_served_and_who_is_early_is_not(
        (quota, requests) in histories(),
        algorithm in algorithms(),
    ) {
        let measure = Measure::new(&quota.with_algorithm(algorithm));
        drive(&measure, requests, |_, window, now, cost, admitted| {
            if !admitted {
                let free_at = window.read(&measure, now).free_at(cost);
                assert!(free_at > now);
                if algorithm != Algorithm::Gcra {
                    assert!(free_at <= now + measure.window, "it is at most a window away");
                }
                let room_at = |at| room(&mut window.clone(), &measure, at).remaining;
                assert!(room_at(free_at) >= cost);
                assert!(room_at(free_at - 1) < cost);
                // So is who counts in whole seconds, as the headers do.
                let told = (free_at - now).div_ceil(SECOND) * SECOND;
                assert!(room_at(now + told) >= cost);
                assert!(room_at(now + told - SECOND) < cost);
            }
        });
    }

    #[test]
    fn more_is_left_when_it_is_said_to_be_and_not_before(
        (quota, requests) in histories(),
        algorithm in algorithms(),
    ) {
        let measure = Measure::new(&quota.with_algorithm(algorithm));
        drive(&measure, requests, |_, window, now, _, _| {
            let Room { remaining, grows_at } = room(window, &measure, now);
            if remaining == quota.limit() {
                assert_eq!(grows_at, now);
            } else {
                let room_at = |at| room(&mut window.clone(), &measure, at).remaining;
                assert_eq!(room_at(grows_at - 1), remaining);
                assert!(room_at(grows_at) > remaining);
            }
        });
    }

    #[test]
    fn the_other_algorithms_admit_less_than_twice_the_limit(
        (quota, requests) in histories(),
        algorithm in prop_oneof![Just(Algorithm::Gcra), Just(Algorithm::FixedWindow)],
    ) {
        let measure = Measure::new(&quota.with_algorithm(algorithm));
        drive(&measure, requests, |log, window, now, _, _| {
            let limit = u64::from(quota.limit());
            assert!(log.within(measure.window, now) <= 2 * limit);
            assert!(room(window, &measure, now).remaining <= quota.limit());
        });
    }

    #[test]
    fn what_is_idle_counts_nothing((quota, requests) in histories(), algorithm in algorithms()) {
        let measure = Measure::new(&quota.with_algorithm(algorithm));
        drive(&measure, requests, |_, window, now, _, _| {
            let at = window.idle_at(&measure).max(now);
            assert_eq!(room(&mut window.clone(), &measure, at).remaining, quota.limit());
        });
    }

    #[test]
    fn a_changed_quota_goes_on_with_what_was_counted(
        (before, requests) in histories(),
        after in quotas(),
    ) {
        let (from, by) = (Measure::new(&before), Measure::new(&after));
        drive(&from, requests, |log, window, now, _, _| {
            let mut carried = window.clone().carried(&from, &by, 7, now);
            assert_eq!(carried.quota, 7);
            let remaining = u64::from(room(&mut carried, &by, now).remaining);
            let reach = from.window.min(by.window);
            let had = log.within(reach, now);
            assert!(remaining <= u64::from(after.limit()).saturating_sub(had));
            if remaining < u64::from(after.limit()) {
                let Room { remaining, grows_at } = room(&mut carried, &by, now);
                assert_eq!(room(&mut carried.clone(), &by, grows_at - 1).remaining, remaining);
                assert!(room(&mut carried.clone(), &by, grows_at).remaining > remaining);
            }
            // At most one group of each kind counts for more than it should.
            let most = log.within(reach + from.tick + by.tick, now);
            let spare = u64::from(from.group + by.group);
            assert!(remaining + most + spare >= u64::from(after.limit()).min(most + spare));
        });
    }

    #[test]
    fn a_quota_that_is_lowered_and_raised_again_has_lost_nothing(
        (quota, requests) in histories(),
        limit in 1_u64..1_100,
        part in 0_u64..10,
    ) {
        let measure = Measure::new(&quota);
        let lower = Measure::new(&self::quota(limit.min(quota.limit().into()), quota.window().as_secs()));
        drive(&measure, requests, |log, window, now, _, _| {
            let mut lowered = window.clone().carried(&measure, &lower, 1, now);
            let later = now + measure.window * part / 10;
            let Room { remaining, grows_at } = room(&mut lowered, &lower, later);
            if remaining < lower.limit {
                assert!(grows_at <= later + lower.window);
                let room_at = |at| room(&mut lowered.clone(), &lower, at).remaining;
                assert_eq!(room_at(grows_at - 1), remaining);
                assert!(room_at(grows_at) > remaining);
            }
            let raised = lowered.carried(&lower, &measure, 0, later);
            let counted = raised.count(&measure, later);
            assert!(counted >= log.within(measure.window, later));
            let before = u64::from(quota.limit() - room(window, &measure, now).remaining);
            assert!(counted <= before, "nor gained anything");
        });
    }
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        Just(Algorithm::SlidingWindow),
        Just(Algorithm::Gcra),
        Just(Algorithm::FixedWindow),
    ]
}

const ALGORITHMS: [Algorithm; 3] = [
    Algorithm::SlidingWindow,
    Algorithm::Gcra,
    Algorithm::FixedWindow,
];

#[test]
fn a_fresh_burst_is_exactly_the_limit_and_the_next_comes_when_the_window_has_passed() {
    for algorithm in ALGORITHMS {
        for (limit, seconds) in [(1, 1), (60, 60), (61, 60), (100, 3_600), (1_000, 3_600)] {
            let measure = Measure::new(&quota(limit, seconds).with_algorithm(algorithm));
            let mut window = Window::new(0);
            let burst = |window: &mut Window, now| {
                let mut admitted = 0;
                while room(window, &measure, now).remaining > 0 {
                    window.read(&measure, now).take(1);
                    admitted += 1;
                }
                admitted
            };
            let now = 123_456_789;
            assert_eq!(burst(&mut window, now), limit, "{algorithm:?}");
            if algorithm != Algorithm::Gcra {
                let over = now + measure.window;
                assert_eq!(
                    room(&mut window, &measure, over - 1).remaining,
                    0,
                    "{limit}"
                );
                assert_eq!(burst(&mut window, over), limit, "{algorithm:?}");
            }
        }
    }
}

/// However much more is asked for than there is: no window is short by more than a sixtieth.
#[test]
fn steady_use_gets_all_but_a_sixtieth_in_every_window() {
    for (limit, percent) in [
        (100, 100),
        (1_000, 105),
        (1_000, 200),
        (5_000, 1_000),
        (60, 150),
    ] {
        let quota = quota(limit, 3_600);
        let measure = Measure::new(&quota);
        let wait = measure.window * 100 / (limit * percent);
        let requests = (measure.window * 4 / wait) as usize;
        drive(
            &measure,
            std::iter::repeat_n((wait, 1), requests),
            |log, _, now, _, _| {
                let first = log.admitted[0].0;
                if now > first + measure.window {
                    let within = log.within(measure.window, now) as f64;
                    // The last of the evenly spaced requests may just not be in the window yet, nor
                    // those of a grain of time.
                    let late = 1 + measure.tick.div_ceil(wait);
                    let least = limit as f64 * (1.0 - 1.0 / 60.0) - late as f64;
                    assert!(within >= least, "{within} of {limit} at {percent} percent");
                }
            },
        );
    }
}

#[test]
fn who_comes_late_does_not_make_others_earlier() {
    let measure = Measure::new(&quota(4, 60));
    let (now, mut window) = (100 * SECOND, Window::new(0));
    window.read(&measure, now).take(3);
    window.read(&measure, now - SKEW).take(1);
    for (at, remaining) in [(now + measure.window - 1, 0), (now + measure.window, 4)] {
        assert_eq!(room(&mut window, &measure, at).remaining, remaining);
    }
}

#[test]
fn a_bucket_fills_up_evenly() {
    let measure = Measure::new(&quota(10, 60).with_algorithm(Algorithm::Gcra));
    let mut window = Window::new(0);
    window.read(&measure, 0).take(10);
    for second in 1..=60 {
        let room = room(&mut window.clone(), &measure, second * SECOND);
        assert_eq!(u64::from(room.remaining), second / 6);
    }
}

#[test]
fn who_asks_for_more_than_the_whole_quota_gets_it_whole() {
    let measure = Measure::new(&quota(5, 60));
    assert_eq!(measure.cost(4), 4);
    assert_eq!(measure.cost(u32::MAX), 5);
}

#[test]
fn the_largest_quota_is_counted_like_the_smallest() {
    let quota = quota(u64::from(u32::MAX), 10 * 366 * 86_400);
    for algorithm in ALGORITHMS {
        let measure = Measure::new(&quota.with_algorithm(algorithm));
        let mut window = Window::new(0);
        window.read(&measure, 5).take(u32::MAX);
        assert_eq!(room(&mut window, &measure, 5).remaining, 0, "{algorithm:?}");
        let free_at = window.read(&measure, 5).free_at(u32::MAX);
        assert_eq!(room(&mut window, &measure, free_at).remaining, u32::MAX);
    }
}

#[test]
fn the_longest_window_is_exact_to_the_microsecond() {
    let (short, long) = (quota(2, 3_600), quota(2, 10 * 366 * 86_400));
    let (from, by) = (Measure::new(&short), Measure::new(&long));
    for now in [SECOND + 1, SECOND + 777, 400 * 366 * 86_400 * SECOND + 999] {
        let mut window = Window::new(0);
        window.read(&from, now).take(1);
        let mut window = window.carried(&from, &by, 1, now + 333);
        window.read(&by, now + 333).take(1);
        for (at, remaining) in [(now, 1), (now + 333, 2)] {
            let left = at + by.window;
            assert_eq!(room(&mut window, &by, left - 1).remaining, remaining - 1);
            assert_eq!(room(&mut window, &by, left).remaining, remaining);
        }
    }
}

#[test]
fn the_largest_quota_is_lowered_at_once() {
    let long = 10 * 366 * 86_400;
    let (largest, least) = (quota(u64::from(u32::MAX), long), quota(3, long));
    let (from, by) = (Measure::new(&largest), Measure::new(&least));
    let mut window = Window::new(0);
    window.read(&from, SECOND).take(u32::MAX);
    let mut lowered = window.carried(&from, &by, 1, SECOND);
    assert_eq!(room(&mut lowered, &by, SECOND).remaining, 0);
    assert_eq!(lowered.read(&by, SECOND).free_at(3), SECOND + by.window);
}

#[test]
fn a_quota_that_was_lowered_for_a_while_finds_all_again() {
    let (high, low) = (quota(5_000, 3_600), quota(100, 3_600));
    for algorithm in [Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        let [from, by] = [high, low].map(|quota| Measure::new(&quota.with_algorithm(algorithm)));
        let mut window = Window::new(0);
        window.read(&from, SECOND).take(5_000);
        let mut lowered = window.carried(&from, &by, 1, SECOND);
        assert_eq!(room(&mut lowered, &by, SECOND).remaining, 0);
        let over = SECOND + from.window;
        assert_eq!(lowered.read(&by, SECOND).free_at(1), over);
        let mut raised = lowered.carried(&by, &from, 0, SECOND);
        for (at, remaining) in [(SECOND, 0), (over - 1, 0), (over, 5_000)] {
            let left = room(&mut raised, &from, at).remaining;
            assert_eq!(left, remaining, "{algorithm:?}");
        }
    }
}

#[test]
fn the_grain_divides_a_second_or_is_whole_seconds() {
    for seconds in (1..2_000).chain([3_600, 32_768, 32_769, 86_400, 10 * 366 * 86_400]) {
        let window = seconds * SECOND;
        let grain = whole_part(window.div_ceil(GRAINS));
        assert!(SECOND.is_multiple_of(grain) || grain.is_multiple_of(SECOND));
        assert!(
            (GRAINS / 2..=GRAINS).contains(&(window / grain)),
            "{seconds}"
        );
    }
}

proptest! {
    #[test]
    fn ticks_are_those_of_a_division(quota in quotas(), time in 0..1_u64 << 53, off in 0..3_u64) {
        let measure = Measure::new(&quota);
        let even = (time - time % measure.tick + off).saturating_sub(1);
        for time in [time, even] {
            assert_eq!(measure.ticks(time), time / measure.tick);
        }
    }
}

#[test]
fn a_window_takes_136_bytes() {
    assert_eq!(size_of::<Window>(), 136);
}
