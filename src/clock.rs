//! Time: instants on the wall, monotonic time beside them, and where both are read.
//!
//! Only the service and the management calls read a [`Clock`]; everything below them takes the
//! reading as an argument. Tests move a [`ManualClock`] by hand, so none of them sleeps.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An instant in UTC with a resolution of one microsecond.
///
/// Its text form, also in serde, is RFC 3339 with a trailing `Z`.
///
/// ```
/// use tower_api_key::Timestamp;
/// let instant: Timestamp = "2026-11-21T08:00:00Z".parse()?;
/// assert_eq!(instant.unix_seconds(), 1_795_248_000);
/// assert_eq!(instant.to_string(), "2026-11-21T08:00:00Z");
/// # Ok::<(), tower_api_key::InvalidTimestamp>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 date and time, or an instant outside the years -9999 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an RFC 3339 date and time such as 2026-11-21T08:00:00Z")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    /// The last instant that can be written down: 9999-12-30T22:00:00Z.
    pub const MAX: Self = Self(253_402_207_200_000_000);
    /// The first instant that can be written down, in the year -9999.
    pub const MIN: Self = Self(-377_705_023_201_000_000);

    /// The instant `seconds` after 1970-01-01T00:00:00Z, kept within [`MIN`](Self::MIN) and
    /// [`MAX`](Self::MAX).
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self::from_unix_micros(seconds.saturating_mul(1_000_000))
    }

    /// The instant `micros` microseconds after 1970-01-01T00:00:00Z, kept within
    /// [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub const fn from_unix_micros(micros: i64) -> Self {
        if micros > Self::MAX.0 {
            Self::MAX
        } else if micros < Self::MIN.0 {
            Self::MIN
        } else {
            Self(micros)
        }
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// This instant moved by `duration`, or [`MAX`](Self::MAX) where it would lie beyond.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this instant is; zero where it is not after it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).try_into().unwrap_or(0))
    }

    /// Parses a limit: an RFC 3339 date and time is that instant, a bare date (`2026-12-31`) means
    /// through the end of that day in UTC, so the first instant of the next day.
    ///
    /// Limits are exclusive: something valid until an instant is no longer valid at it.
    ///
    /// ```
    /// use tower_api_key::Timestamp;
    /// assert_eq!(Timestamp::parse_limit("2026-12-31")?, "2027-01-01T00:00:00Z".parse()?);
    /// # Ok::<(), tower_api_key::InvalidTimestamp>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidTimestamp`] where the text is neither.
    pub fn parse_limit(text: &str) -> Result<Self, InvalidTimestamp> {
        if text.len() == 10
            && let Ok(date) = text.parse::<jiff::civil::Date>()
            && let Ok(next) = date.tomorrow()
            && let Ok(start) = next.to_zoned(jiff::tz::TimeZone::UTC)
        {
            return Ok(Self(start.timestamp().as_microsecond()));
        }
        text.parse()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => fmt::Display::fmt(&instant, f),
            // Not reachable: every constructor keeps within MIN and MAX, which jiff can write.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Self::from_unix_micros(instant.as_microsecond()))
            .map_err(|_| InvalidTimestamp(text.chars().take(80).collect()))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_micros(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => micros(before.duration()).saturating_neg(),
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One reading of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Now {
    /// The instant on the wall: what expiry is judged against.
    pub wall: Timestamp,
    /// Time since a start that is the same for the whole process and never set: what ages, windows
    /// and intervals are measured with. An hour's step of the wall clock does not touch it.
    pub monotonic: Duration,
}

impl Now {
    /// A reading of `wall` with `monotonic` time beside it.
    pub const fn new(wall: Timestamp, monotonic: Duration) -> Self {
        Self { wall, monotonic }
    }
}

/// Where the time comes from.
///
/// # Contract
///
/// 1. `wall` never goes back between two readings, in any thread: where the system's clock is set
///    back, it stands still until the system has caught up, so nothing that expired becomes valid
///    again.
/// 2. `monotonic` never goes back and runs at the speed of time.
/// 3. A reading takes nanoseconds, blocks on nothing and allocates nothing.
pub trait Clock: Send + Sync + 'static {
    /// Reads the time.
    fn now(&self) -> Now;
}

/// A shared clock is a clock, also behind `Arc<dyn Clock>`.
impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Now {
        (**self).now()
    }
}

/// The operating system's clocks.
///
/// On Linux these are the coarse clocks: a reading costs a quarter of a precise one and lags by at
/// most one timer tick (1 to 10 ms, by the kernel's configuration).
#[derive(Debug)]
pub struct SystemClock {
    highest: AtomicI64,
}

impl SystemClock {
    /// A clock that has seen no time yet.
    pub const fn new() -> Self {
        Self {
            highest: AtomicI64::new(i64::MIN),
        }
    }

    /// Rule 1 of the contract. With coarse clocks the shared cell is written once per timer tick,
    /// so threads do not fight for its cache line.
    fn never_back(&self, wall: Timestamp) -> Timestamp {
        let highest = self.highest.load(Ordering::Relaxed);
        if wall.0 > highest {
            Timestamp(
                self.highest
                    .fetch_max(wall.0, Ordering::Relaxed)
                    .max(wall.0),
            )
        } else {
            Timestamp(highest)
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let (wall, monotonic) = read_system();
        Now::new(self.never_back(wall), monotonic)
    }
}

#[cfg(target_os = "linux")]
fn read_system() -> (Timestamp, Duration) {
    use rustix::time::{ClockId, clock_gettime};
    let wall = clock_gettime(ClockId::RealtimeCoarse);
    let monotonic = clock_gettime(ClockId::MonotonicCoarse);
    let micros = wall
        .tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(wall.tv_nsec / 1_000);
    let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(monotonic.tv_nsec).unwrap_or(0);
    (
        Timestamp::from_unix_micros(micros),
        Duration::new(seconds, nanos),
    )
}

#[cfg(not(target_os = "linux"))]
fn read_system() -> (Timestamp, Duration) {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(std::time::Instant::now);
    (SystemTime::now().into(), start.elapsed())
}

/// A clock that stands still until it is moved: for tests, also of services that use this crate.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{Clock, ManualClock};
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().wall.saturating_since(before.wall), Duration::from_secs(60));
/// assert_eq!(clock.now().monotonic - before.monotonic, Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicI64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock at 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self::at(Timestamp::from_unix_seconds(1_767_225_600))
    }

    /// A clock at `wall`.
    pub fn at(wall: Timestamp) -> Self {
        Self {
            wall: AtomicI64::new(wall.0),
            monotonic: AtomicU64::new(0),
        }
    }

    /// Lets `duration` pass, on both clocks.
    pub fn advance(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.monotonic.fetch_add(micros, Ordering::SeqCst);
        self.wall
            .fetch_add(i64::try_from(micros).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an administrator or a time server would: monotonic time stays. It
    /// can be set back: then readings do go back, against rule 1 of [`Clock`], which lets a test
    /// show what a part of the system does on its own.
    pub fn set_wall(&self, wall: Timestamp) {
        self.wall.store(wall.0, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now::new(
            Timestamp::from_unix_micros(self.wall.load(Ordering::SeqCst)),
            Duration::from_micros(self.monotonic.load(Ordering::SeqCst)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timestamp_can_be_written_and_read_back() {
        for instant in [Timestamp::MIN, Timestamp::MAX, Timestamp(0), Timestamp(-1)] {
            assert_eq!(instant.to_string().parse::<Timestamp>(), Ok(instant));
        }
        assert_eq!(Timestamp::from_unix_micros(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_unix_seconds(i64::MIN), Timestamp::MIN);
    }

    #[test]
    fn bare_date_is_a_limit_through_the_end_of_that_day() {
        let limit = Timestamp::parse_limit("2026-02-28").expect("a date");
        assert_eq!(limit.to_string(), "2026-03-01T00:00:00Z");
        assert!(Timestamp::parse_limit("2026-02-30").is_err());
        assert!(
            "2026-02-28".parse::<Timestamp>().is_err(),
            "only limits may be bare dates"
        );
    }

    #[test]
    fn offsets_are_read_and_written_as_utc() {
        let instant: Timestamp = "2026-01-01T02:00:00+02:00".parse().expect("an instant");
        assert_eq!(instant.to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn system_clock_set_back_stands_still() {
        let clock = SystemClock::new();
        let later = Timestamp::from_unix_seconds(7_200);
        assert_eq!(clock.never_back(later), later);
        assert_eq!(clock.never_back(Timestamp::from_unix_seconds(3_600)), later);
        let next = Timestamp::from_unix_seconds(7_201);
        assert_eq!(clock.never_back(next), next);
    }

    #[test]
    fn system_clock_agrees_with_the_standard_library() {
        let before = Timestamp::from(SystemTime::now());
        let read = SystemClock::new().now().wall;
        let apart = read
            .saturating_since(before)
            .max(before.saturating_since(read));
        assert!(apart < Duration::from_secs(5), "{before} and {read}");
    }
}
