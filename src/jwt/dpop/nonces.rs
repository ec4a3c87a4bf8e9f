//! Nonces that nobody needs to remember (RFC 9449 §8 and §9).

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock::Timestamp;

/// A new nonce after each period: the period's number under a MAC.
///
/// The current one is given out, and it is admitted with the one before it: so each is admitted from
/// one to two periods after it was given out, to everybody, and as often as he likes.
pub(super) struct Nonces {
    secret: Zeroizing<[u8; 32]>,
    /// Microseconds.
    period: i64,
}

impl Nonces {
    /// With a random secret where none is given.
    pub(super) fn new(
        period: Duration,
        secret: Option<Zeroizing<[u8; 32]>>,
    ) -> Result<Self, getrandom::Error> {
        let secret = match secret {
            Some(secret) => secret,
            None => {
                let mut random = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *random)?;
                random
            }
        };
        let period = super::micros(period);
        Ok(Self { secret, period })
    }

    /// The one to be used from now on.
    pub(super) fn current(&self, now: Timestamp) -> HeaderValue {
        let nonce = self.of(self.number(now));
        HeaderValue::try_from(nonce).expect("base64url is visible ASCII")
    }

    /// Whether it was given out in this period or the one before.
    pub(super) fn admits(&self, nonce: &str, now: Timestamp) -> bool {
        let number = self.number(now);
        [number, number - 1]
            .into_iter()
            .any(|number| bool::from(self.of(number).as_bytes().ct_eq(nonce.as_bytes())))
    }

    fn number(&self, now: Timestamp) -> i64 {
        now.unix_micros().div_euclid(self.period)
    }

    fn of(&self, number: i64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.secret).expect("a key of any length");
        mac.update(b"dpop nonce");
        mac.update(&number.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..NONCE_BYTES])
    }
}

/// As many random bits as RFC 9449 §4.2 asks of a `jti`, and some.
const NONCE_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_admitted_in_its_period_and_the_next() {
        let nonces = Nonces::new(Duration::from_secs(300), Some(Zeroizing::new([7; 32]))).unwrap();
        let at = |seconds| Timestamp::from_unix_seconds(seconds);
        let nonce = nonces.current(at(3_000));
        let nonce = nonce.to_str().unwrap();
        assert_eq!(nonce.len(), 22);
        assert_eq!(nonces.current(at(3_299)), nonce);
        assert_ne!(nonces.current(at(3_300)), nonce);
        for (seconds, admitted) in [(2_999, false), (3_000, true), (3_599, true), (3_600, false)] {
            assert_eq!(nonces.admits(nonce, at(seconds)), admitted, "{seconds}");
        }
        for other in ["", "x", &nonce[1..], &format!("{nonce}x")] {
            assert!(!nonces.admits(other, at(3_000)), "{other:?}");
        }
    }

    #[test]
    fn nobody_else_makes_such_nonces() {
        let now = Timestamp::from_unix_seconds(3_000);
        let nonces = |secret| Nonces::new(Duration::from_secs(300), secret).unwrap();
        let nonce = nonces(Some(Zeroizing::new([7; 32]))).current(now);
        assert_eq!(nonce, nonces(Some(Zeroizing::new([7; 32]))).current(now));
        assert_ne!(nonce, nonces(Some(Zeroizing::new([8; 32]))).current(now));
        assert_ne!(nonces(None).current(now), nonces(None).current(now));
    }
}
