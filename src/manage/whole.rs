//! Whole numbers as JSON Schema has them: `2.0` is one too.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use crate::license_ledger::Seats;

/// A whole number that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole(pub(super) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not negative")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
        let whole = u64::try_from(number).map(Whole);
        whole.map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
        // Beyond that not every whole number is one of these.
        let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        match is_whole {
            true => Ok(Whole(number as u64)),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }
}

/// Seats as clients write them; null: as many as want one.
pub(super) fn seats<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seats, D::Error> {
    let Some(Whole(seats)) = Option::deserialize(deserializer)? else {
        return Ok(Seats::Unlimited);
    };
    let seats = u32::try_from(seats).map(Seats::Limited);
    seats.map_err(|_| D::Error::custom(format_args!("more than {} seats", u32::MAX)))
}

/// The same where leaving them out is another thing.
pub(super) fn seats_if_given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Seats>, D::Error> {
    seats(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_in_any_form() {
        for (text, whole) in [
            ("0", 0),
            ("-0", 0),
            ("7.0", 7),
            ("1e3", 1_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(serde_json::from_str::<Whole>(text).unwrap().0, whole);
        }
        for text in ["-1", "0.5", "1e300", "-1.0", "\"1\"", "null", "true", "[1]"] {
            assert!(serde_json::from_str::<Whole>(text).is_err(), "{text}");
        }
    }
}
