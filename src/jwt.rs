//! Bearer tokens that are JWTs (RFC 7519).

mod algorithm;
pub(crate) mod json;
mod key_set;
mod keys;

pub use algorithm::Algorithm;
pub use key_set::{KeySet, KeySource};
pub use keys::{KeyError, VerificationKey};
