//! Quotas: so many requests in such a time, counted in such a way.

use std::{fmt, time::Duration};

use thiserror::Error;

use crate::name::unreserved;

/// So many requests in a window of time.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{Algorithm, Quota};
///
/// let hour = Quota::per_hour(1_000)?;
/// let burst = Quota::new("burst", 20, Duration::from_secs(1))?.with_algorithm(Algorithm::Gcra);
/// assert_eq!((hour.name(), hour.limit(), hour.window()), ("hour", 1_000, Duration::from_secs(3_600)));
/// # assert_eq!(burst.limit(), 20);
/// # Ok::<(), tower_api_key::QuotaError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    name: QuotaName,
    limit: u32,
    /// Seconds.
    window: u32,
    algorithm: Algorithm,
}

/// How a [`Quota`] of N requests in a window is counted.
///
/// | | at once | in any window | after a fresh burst of N |
/// |---|---|---|---|
/// | [`SlidingWindow`](Self::SlidingWindow) | N | N | the next N when the window has passed |
/// | [`Gcra`](Self::Gcra) | N | fewer than 2 N | one more each N-th part of the window |
/// | [`FixedWindow`](Self::FixedWindow) | N | at most 2 N | the next N when the window has passed |
///
/// Time is that at which a request reads the clock. Where requests run beside each other and count in
/// another order, a window is shorter by what lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// Never more than N requests in any window, wherever it begins, and under steady use never fewer
    /// than N less one sixtieth of N: when a request is refused, that many have been admitted within
    /// the window that ends there. While no more than 59 requests lie in the window it is exact. Time
    /// is counted in grains of at most 1/16384 of the window. After a change of tiers one group of the
    /// quota before and one of the new one, each of a sixtieth of its limit, may count for longer, and
    /// of what exceeds a limit that was lowered three of them.
    #[default]
    SlidingWindow,
    /// The generic cell rate algorithm (ITU-T I.371): a bucket of N that fills up evenly. The time of
    /// one request is rounded up to whole microseconds, so that of the highest rates fewer come through
    /// steadily: of 600,000 a second 500,000, of 1,500 a second 1,499.
    Gcra,
    /// A counter that begins anew with the first request after its window.
    FixedWindow,
}

/// The name of a quota, as clients see it in `RateLimit`: short, and cheap to copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuotaName {
    bytes: [u8; LONGEST_NAME],
    length: u8,
}

/// A quota that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The name breaks the rule.
    #[error(
        "quota name {0:?} is invalid: 1 to {LONGEST_NAME} letters, digits, `-`, `.`, `_` or `~`"
    )]
    Name(String),
    /// It would admit nobody.
    #[error("quota {0}: the limit must not be zero")]
    ZeroLimit(QuotaName),
    /// It is over in no time.
    #[error("quota {0}: the window must not be zero")]
    ZeroWindow(QuotaName),
    /// The number does not fit.
    #[error("quota {name}: the limit {limit} is above {}", u32::MAX)]
    LimitTooHigh {
        /// Which quota.
        name: QuotaName,
        /// What was asked for.
        limit: u64,
    },
    /// The headers count windows in whole seconds
    /// ([draft-ietf-httpapi-ratelimit-headers-10](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/)).
    #[error("quota {name}: the window {window:?} is not a number of whole seconds up to ten years")]
    Window {
        /// Which quota.
        name: QuotaName,
        /// What was asked for.
        window: Duration,
    },
    /// Time is counted in microseconds.
    #[error("quota {0}: more than a million requests a second cannot be counted")]
    TooFast(QuotaName),
}

impl Quota {
    /// `limit` requests in `window`, counted by [`Algorithm::SlidingWindow`].
    ///
    /// # Errors
    ///
    /// [`QuotaError`] where the name is not 1 to 20 letters, digits, `-`, `.`, `_` or `~`, limit or
    /// window is zero, the limit is above `u32::MAX` or a million a second, or the window is not a
    /// number of whole seconds up to ten years.
    pub fn new(name: &str, limit: u64, window: Duration) -> Result<Self, QuotaError> {
        let name = QuotaName::new(name)?;
        if limit == 0 {
            return Err(QuotaError::ZeroLimit(name));
        }
        if window.is_zero() {
            return Err(QuotaError::ZeroWindow(name));
        }
        let Ok(limit) = u32::try_from(limit) else {
            return Err(QuotaError::LimitTooHigh { name, limit });
        };
        let seconds = window.as_secs();
        if window.subsec_nanos() != 0 || seconds > LONGEST_WINDOW {
            return Err(QuotaError::Window { name, window });
        }
        if u64::from(limit) > seconds * MICROS {
            return Err(QuotaError::TooFast(name));
        }
        Ok(Self {
            name,
            limit,
            window: seconds as u32,
            algorithm: Algorithm::SlidingWindow,
        })
    }

    /// `limit` requests in a second, by the name `second`.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] where the limit cannot be.
    pub fn per_second(limit: u64) -> Result<Self, QuotaError> {
        Self::new("second", limit, Duration::from_secs(1))
    }

    /// `limit` requests in a minute, by the name `minute`.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] where the limit cannot be.
    pub fn per_minute(limit: u64) -> Result<Self, QuotaError> {
        Self::new("minute", limit, Duration::from_secs(60))
    }

    /// `limit` requests in an hour, by the name `hour`.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] where the limit cannot be.
    pub fn per_hour(limit: u64) -> Result<Self, QuotaError> {
        Self::new("hour", limit, Duration::from_secs(3_600))
    }

    /// `limit` requests in 24 hours, by the name `day`.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] where the limit cannot be.
    pub fn per_day(limit: u64) -> Result<Self, QuotaError> {
        Self::new("day", limit, Duration::from_secs(86_400))
    }

    /// How it is counted. By default as a sliding window.
    ///
    /// ```
    /// # use tower_api_key::{Algorithm, Quota};
    /// Quota::per_minute(60)?.with_algorithm(Algorithm::FixedWindow);
    /// # Ok::<(), tower_api_key::QuotaError>(())
    /// ```
    #[must_use]
    pub const fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// How many requests the window admits.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// How long the window is: whole seconds.
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.window as u64)
    }

    /// How it is counted.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) const fn short_name(&self) -> QuotaName {
        self.name
    }

    /// Its part of a quota that several share, at least one request.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for an outage"))]
    pub(crate) fn divided_by(mut self, parts: u32) -> Self {
        self.limit = (self.limit / parts).max(1);
        self
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            limit,
            window,
            algorithm,
        } = self;
        write!(f, "Quota({name}: {limit} in {window} s, {algorithm:?})")
    }
}

impl QuotaName {
    fn new(text: &str) -> Result<Self, QuotaError> {
        if !unreserved(text, LONGEST_NAME) {
            return Err(QuotaError::Name(text.chars().take(80).collect()));
        }
        let mut bytes = [0; LONGEST_NAME];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            bytes,
            length: text.len() as u8,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("made of ASCII")
    }
}

impl fmt::Display for QuotaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for QuotaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Bytes of a quota's name.
const LONGEST_NAME: usize = 20;
/// Seconds.
const LONGEST_WINDOW: u64 = 10 * 366 * 86_400;
/// Of a second.
const MICROS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_counted_is_refused_by_name() {
        let second = Duration::from_secs(1);
        let told = |name, limit, window| {
            let error = Quota::new(name, limit, window).expect_err("refused");
            error.to_string()
        };
        assert_eq!(
            told("hour", 0, second),
            "quota hour: the limit must not be zero"
        );
        assert_eq!(
            told("hour", 1, Duration::ZERO),
            "quota hour: the window must not be zero"
        );
        assert_eq!(
            told("hour", 1 << 32, second),
            "quota hour: the limit 4294967296 is above 4294967295"
        );
        assert_eq!(
            told("tenth", 1, Duration::from_millis(100)),
            "quota tenth: the window 100ms is not a number of whole seconds up to ten years"
        );
        assert!(told("long", 1, Duration::MAX).contains("up to ten years"));
        assert_eq!(
            told("fast", 1_000_001, second),
            "quota fast: more than a million requests a second cannot be counted"
        );
        for name in [
            "",
            "two words",
            "a\"b",
            "hour\r\n",
            "much-too-long-for-a-name",
        ] {
            assert!(told(name, 1, second).starts_with("quota name "), "{name}");
        }
    }
}
