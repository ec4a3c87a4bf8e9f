//! What an answer's headers say of the caller's quotas.
//!
//! `RateLimit-Policy` and `RateLimit` as in [draft-ietf-httpapi-ratelimit-headers-10][draft], lists
//! of structured fields (RFC 9651) with one member a quota, and beside them, where the service asks
//! for it, the three `X-RateLimit` headers that older clients read, of one quota: of the one that a
//! refusal names, whose reset is then when `Retry-After` is over, and else of that of which least is
//! left.
//!
//! [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/

use std::{fmt, io::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};

use crate::{
    clock::Timestamp,
    rate_limiter::{QuotaUsage, Refusal, Usage},
};

/// Which headers a layer writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateHeaders {
    /// `RateLimit-Policy` and `RateLimit`.
    pub(crate) standard: bool,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    pub(crate) x: bool,
}

/// The values of those headers, one after the other in one piece of memory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RateFields {
    text: Bytes,
    /// Where each of [`NAMES`] ends; empty ones are not written.
    ends: [u16; FIELDS],
}

impl RateHeaders {
    /// What to say of a request that was admitted, if anything: nothing of who has no quota.
    pub(crate) fn fields(self, usage: &Usage, now: Timestamp) -> Option<RateFields> {
        if self.are_off() {
            return None;
        }
        let tightest = usage.tightest()?;
        Some(self.of(usage, tightest, tightest.reset(), now))
    }

    /// What to say of a request that was refused: how long it takes until it is admitted.
    pub(crate) fn fields_of_refusal(self, refusal: &Refusal, now: Timestamp) -> Option<RateFields> {
        let named = |usage: &&QuotaUsage| usage.quota().name() == refusal.quota;
        let usage = &refusal.usage;
        match usage.quotas().find(named) {
            Some(_) if self.are_off() => None,
            Some(named) => Some(self.of(usage, named, refusal.retry_after, now)),
            None => self.fields(usage, now),
        }
    }

    fn are_off(self) -> bool {
        !(self.standard || self.x)
    }

    /// With the `X-RateLimit` headers of this quota.
    fn of(self, usage: &Usage, told: &QuotaUsage, reset: Duration, now: Timestamp) -> RateFields {
        let mut text = Vec::with_capacity(USUAL_LENGTH);
        let mut ends = [0; FIELDS];
        if self.standard {
            let between = |text: &Vec<u8>, start: u16| match text.len() > usize::from(start) {
                true => ", ",
                false => "",
            };
            for usage in usage.quotas() {
                let (quota, name) = (usage.quota(), usage.name());
                let (limit, window) = (quota.limit(), quota.window().as_secs());
                let between = between(&text, 0);
                write(
                    &mut text,
                    format_args!("{between}\"{name}\";q={limit};w={window}"),
                );
            }
            ends[0] = text.len() as u16;
            for usage in usage.quotas() {
                let (name, remaining) = (usage.name(), usage.remaining());
                let (between, reset) = (between(&text, ends[0]), usage.reset_seconds());
                write(
                    &mut text,
                    format_args!("{between}\"{name}\";r={remaining};t={reset}"),
                );
            }
        }
        ends[1] = text.len() as u16;
        if self.x {
            // Rounded up, as `t` is: who waits until then is not early.
            let reset = now.saturating_add(reset).unix_micros();
            let reset = reset.div_euclid(1_000_000) + i64::from(reset.rem_euclid(1_000_000) > 0);
            let (limit, remaining) = (told.quota().limit(), told.remaining());
            for (end, number) in ends[2..]
                .iter_mut()
                .zip([limit.into(), remaining.into(), reset])
            {
                write(&mut text, format_args!("{number}"));
                *end = text.len() as u16;
            }
        } else {
            let end = ends[1];
            ends[2..].fill(end);
        }
        RateFields {
            text: text.into(),
            ends,
        }
    }
}

impl RateFields {
    /// Writes them beside what a handler has written: its own quotas are another matter.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let mut start = 0;
        for (place, (name, end)) in NAMES.iter().zip(self.ends).enumerate() {
            let text = self.text.slice(start..end.into());
            start = end.into();
            if text.is_empty() {
                continue;
            }
            let value = HeaderValue::from_maybe_shared(text).expect("visible ASCII");
            match headers.entry(name) {
                Entry::Vacant(vacant) => drop(vacant.insert(value)),
                // The first two are lists. Of the others a client reads one value.
                Entry::Occupied(mut occupied) if place < 2 => occupied.append(value),
                Entry::Occupied(_) => {}
            }
        }
    }
}

impl fmt::Debug for RateFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn write(text: &mut Vec<u8>, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("memory takes what is written");
}

const FIELDS: usize = 5;
const NAMES: [HeaderName; FIELDS] = [
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];
/// Bytes, of one quota and all headers.
const USUAL_LENGTH: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key_store::Tier, rate_limiter::Quota};

    const ALL: RateHeaders = RateHeaders {
        standard: true,
        x: true,
    };

    fn usage(quotas: &[(Quota, u32, f64)]) -> Usage {
        quotas
            .iter()
            .fold(Usage::NONE, |usage, (quota, remaining, reset)| {
                let reset = Duration::from_secs_f64(*reset);
                usage.and(QuotaUsage::new(*quota, *remaining, reset))
            })
    }

    fn written(fields: Option<RateFields>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        fields.expect("something to say").write(&mut headers);
        let lines = headers.iter().map(|(name, value)| {
            let value = value.to_str().expect("ASCII");
            format!("{name}: {value}")
        });
        lines.collect()
    }

    #[test]
    fn they_read_as_the_draft_says() {
        let now = Timestamp::from_unix_micros(1_795_248_000_400_000);
        let hour = Quota::per_hour(1_000).expect("a quota");
        let second = Quota::new("burst", 20, Duration::from_secs(1)).expect("a quota");
        let one = usage(&[(hour, 998, 1_739.2)]);
        assert_eq!(
            written(ALL.fields(&one, now)),
            [
                "ratelimit-policy: \"hour\";q=1000;w=3600",
                "ratelimit: \"hour\";r=998;t=1740",
                "x-ratelimit-limit: 1000",
                "x-ratelimit-remaining: 998",
                "x-ratelimit-reset: 1795249740",
            ]
        );
        let two = usage(&[(second, 19, 0.5), (hour, 7, 10.0)]);
        let fields = written(ALL.fields(&two, now));
        assert_eq!(
            fields[..3],
            [
                "ratelimit-policy: \"burst\";q=20;w=1, \"hour\";q=1000;w=3600",
                "ratelimit: \"burst\";r=19;t=1, \"hour\";r=7;t=10",
                "x-ratelimit-limit: 1000",
            ]
        );
        let x = false;
        let standard = RateHeaders { x, ..ALL };
        assert_eq!(written(standard.fields(&one, now)).len(), 2);
        let standard = false;
        let x = RateHeaders { standard, ..ALL };
        assert_eq!(written(x.fields(&one, now)).len(), 3);
    }

    fn x_of(fields: Option<RateFields>) -> [String; 3] {
        let [.., limit, remaining, reset] = &written(fields)[..] else {
            panic!("three at least");
        };
        [limit, remaining, reset].map(|line| line.rsplit(' ').next().expect("a value").to_owned())
    }

    #[test]
    fn reset_of_a_refusal_is_when_it_is_admitted() {
        let now = Timestamp::from_unix_seconds(1_000);
        let hour = Quota::per_hour(1_000).expect("a quota");
        let burst = Quota::new("burst", 20, Duration::from_secs(1)).expect("a quota");
        let refused = |usage: Usage, quota, seconds| {
            let (tier, takes) = (Tier::new("standard").expect("a tier"), seconds);
            let refusal = Refusal::new(tier, quota, Duration::from_secs(takes));
            x_of(ALL.fields_of_refusal(&refusal.with_usage(usage), now))
        };
        // Both used up.
        let both = usage(&[(burst, 0, 0.5), (hour, 0, 1_800.0)]);
        assert_eq!(refused(both, "hour", 1_800), ["1000", "0", "2800"]);
        // A request that costs more than is left of either.
        let some = usage(&[(burst, 1, 0.5), (hour, 3, 10.0)]);
        assert_eq!(refused(some, "hour", 1_800), ["1000", "3", "2800"]);
        // Who is admitted is told of the one that stays used up for longer.
        for quotas in [
            [(burst, 0, 0.5), (hour, 0, 1_800.0)],
            [(hour, 0, 1_800.0), (burst, 0, 0.5)],
        ] {
            let admitted = x_of(ALL.fields(&usage(&quotas), now));
            assert_eq!(admitted, ["1000", "0", "2800"]);
        }
    }

    #[test]
    fn nothing_is_said_where_nothing_is_counted_or_nobody_asked() {
        let now = Timestamp::from_unix_seconds(0);
        assert_eq!(ALL.fields(&Usage::NONE, now), None);
        let none = RateHeaders {
            standard: false,
            x: false,
        };
        let hour = Quota::per_hour(1).expect("a quota");
        assert_eq!(none.fields(&usage(&[(hour, 1, 0.0)]), now), None);
    }

    #[test]
    fn the_longest_quotas_are_written_whole() {
        let long = Duration::from_secs(10 * 366 * 86_400);
        let quotas = [1, 2, 3, 4].map(|n| {
            let name = format!("a-very-long-name-no{n}");
            let quota = Quota::new(&name, u64::from(u32::MAX), long).expect("a quota");
            (quota, u32::MAX, long.as_secs_f64())
        });
        let fields = written(ALL.fields(&usage(&quotas), Timestamp::from_unix_seconds(0)));
        assert_eq!(fields.len(), 5);
        assert_eq!(fields[1].matches("r=4294967295;t=316224000").count(), 4);
    }

    #[test]
    fn what_a_handler_says_of_its_own_quota_stays() {
        let hour = Quota::per_hour(5).expect("a quota");
        let fields = ALL.fields(&usage(&[(hour, 1, 0.0)]), Timestamp::from_unix_seconds(0));
        let mut headers = HeaderMap::new();
        let own = |text| HeaderValue::from_static(text);
        headers.insert("ratelimit", own("\"own\";r=1;t=2"));
        headers.insert("x-ratelimit-limit", own("7"));
        fields.expect("something to say").write(&mut headers);
        assert_eq!(headers.get_all("ratelimit").iter().count(), 2);
        assert_eq!(headers.get_all("x-ratelimit-limit").iter().count(), 1);
        assert_eq!(headers["x-ratelimit-limit"], "7");
    }
}
