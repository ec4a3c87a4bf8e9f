//! How often keys were used, by hour, and what came of it.
//!
//! 1. **What counts.** Each request with a key whose secret was proven counts once, under what the
//!    layer decided: granted, or refused with a code; rate-limited requests are those refused with
//!    [`RateLimited`](DenialCode::RateLimited). A session counts for its key. Requests without a
//!    key, with an unknown one or with a token that is no key's session do not count.
//! 2. **Under what the layer decided** means that a refusal by the guard of a single route behind it
//!    counts as granted. In shadow mode a request that reached the handler with its
//!    [`Grant`](crate::Grant) counts as granted too.
//! 3. **Hours** begin at the full hour in UTC. They are kept for 30 days.
//! 4. **Counts are written in batches**, with the times of last use: by the layer's own task, and by
//!    [`ApiKeyLayer::flush`](crate::ApiKeyLayer::flush). Until then they wait in the process, and in an
//!    outage of the store until it is over, under the hours they were counted in.
//!    [`KeyManager::usage`](crate::KeyManager::usage) of the layer's own manager has them already.
//! 5. **None is lost and none is counted twice**, with two exceptions: what waits is gone with the
//!    process, and of an answer that never came from the store nobody knows whether it was counted,
//!    so that it is written again.

use std::{cmp::Ordering, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, denial::DenialCode, key_store::KeyId, name::InvalidName};

/// How many requests of one key came to the same in one hour.
///
/// ```
/// use tower_api_key::{KeyId, Outcome, Timestamp, UsageCount};
/// let at: Timestamp = "2026-11-21T08:59:59Z".parse()?;
/// let count = UsageCount::new(KeyId::new("k1")?, at, Outcome::Granted, 3);
/// assert_eq!(count.hour, "2026-11-21T08:00:00Z".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UsageCount {
    /// Whose requests.
    pub key: KeyId,
    /// The first instant of the hour, in UTC.
    pub hour: Timestamp,
    /// What they came to.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}

impl UsageCount {
    /// So many requests in the hour of the instant `at`.
    pub fn new(key: KeyId, at: Timestamp, outcome: Outcome, count: u64) -> Self {
        Self {
            key,
            hour: Hour::of(at).start(),
            outcome,
            count,
        }
    }
}

/// What came of a request.
///
/// Its text form, also in serde, is `granted`, or the code of the refusal. It is ordered by that text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It reached the handler with a grant.
    Granted,
    /// It was refused, for this reason.
    Refused(DenialCode),
}

impl Outcome {
    /// The text form: `granted`, or the code of the refusal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => GRANTED,
            Self::Refused(code) => code.as_str(),
        }
    }
}

impl FromStr for Outcome {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            GRANTED => Ok(Self::Granted),
            code => match code.parse() {
                Ok(code) => Ok(Self::Refused(code)),
                Err(_) => Err(InvalidName::new("outcome", code, RULE)),
            },
        }
    }
}

impl PartialOrd for Outcome {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Outcome {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An hour, as a number: they follow each other from the first one there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour(u32);

impl Hour {
    /// The hour that an instant lies in.
    pub(crate) const fn of(instant: Timestamp) -> Self {
        // Never negative, and less than a quarter of a billion: the years are those from -9999 on.
        Self((instant.unix_micros().div_euclid(MICROS) - FIRST) as u32)
    }

    /// Its first instant.
    pub(crate) const fn start(self) -> Timestamp {
        Timestamp::from_unix_micros((self.0 as i64 + FIRST) * MICROS)
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The first hour of those that are kept while this one lasts.
    pub(crate) const fn first_kept(self) -> Self {
        Self(self.0.saturating_sub(KEPT_HOURS))
    }
}

const GRANTED: &str = "granted";
const RULE: &str = "`granted` or the code of a refusal";
const MICROS: i64 = Duration::from_secs(3_600).as_micros() as i64;
/// The number of the first hour there is, counted from 1970.
const FIRST: i64 = Timestamp::MIN.unix_micros().div_euclid(MICROS);
/// 30 days.
const KEPT_HOURS: u32 = 30 * 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn an_hour_begins_at_the_full_hour_before_and_after_1970() {
        for (at, start) in [
            ("2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z"),
            ("2026-11-21T08:59:59.999999Z", "2026-11-21T08:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:00:00Z"),
        ] {
            assert_eq!(Hour::of(instant(at)).start(), instant(start), "{at}");
        }
    }

    #[test]
    fn every_instant_has_an_hour() {
        for edge in [Timestamp::MIN, Timestamp::MAX] {
            let hour = Hour::of(edge);
            assert!(hour.start() <= edge);
            assert_eq!(Hour::from_number(hour.number()), hour);
        }
        assert!(Hour::of(Timestamp::MIN) < Hour::of(Timestamp::MAX));
        assert_eq!(Hour::of(Timestamp::MIN).first_kept().number(), 0);
    }

    #[test]
    fn hours_are_kept_for_thirty_days() {
        let now = Hour::of(instant("2026-11-30T08:15:00Z"));
        assert_eq!(now.first_kept().start(), instant("2026-10-31T08:00:00Z"));
    }

    #[test]
    fn outcomes_are_read_as_they_are_written() {
        let refusals = DenialCode::ALL.into_iter().map(Outcome::Refused);
        for outcome in refusals.chain([Outcome::Granted]) {
            assert_eq!(outcome.to_string().parse(), Ok(outcome));
            let json = serde_json::to_string(&outcome).expect("JSON");
            assert_eq!(json, format!("\"{outcome}\""));
            let read: Outcome = serde_json::from_str(&json).expect("an outcome");
            assert_eq!(read, outcome);
        }
        assert!("Granted".parse::<Outcome>().is_err());
        assert!("".parse::<Outcome>().is_err());
    }
}
