//! Bearer tokens that are JWTs ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)): sessions of
//! your own, and tokens of issuers whose keys you know.
//!
//! A [`JwtVerifier`] takes the tokens of its [`Issuer`]s. [`SessionTokens`] gives out tokens of this
//! service itself, and is one of those issuers. Where an issuer's keys are fetched over the network,
//! a [`KeySource`] stands between.
//!
//! What an issuer's tokens are signed with, whom they are for and what they call themselves is pinned
//! at set-up ([RFC 8725](https://www.rfc-editor.org/rfc/rfc8725)): a token cannot choose its own
//! algorithm, bring its own key, or pass for one of another kind.
//!
//! Nobody is asked about a JWT: what its issuer revokes is taken until the token's `exp`. Where that is
//! too long, let the issuer give out tokens that live for minutes, or ask it about each of them
//! (`Introspection::with_jwts`, feature `oauth`).
//!
//! A token that its issuer bound to a key of the client's is taken with a proof that the client has
//! that key, where a layer has a [`Dpop`].

pub(crate) mod algorithm;
pub(crate) mod claims;
pub mod dpop;
pub(crate) mod header;
mod issuer;
pub(crate) mod json;
pub(crate) mod key_set;
pub(crate) mod keys;
pub(crate) mod mapping;
mod self_test;
mod sessions;
mod verifier;

#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
#[doc(inline)]
pub use dpop::{Dpop, DpopBuilder, DpopSetupError};
pub use issuer::{Issuer, IssuerFlaw};
pub use key_set::{KeySet, KeySource};
pub use keys::{KeyError, VerificationKey};
pub use mapping::ClaimMapping;
pub use sessions::{
    Session, SessionError, SessionToken, SessionTokens, SessionTokensBuilder, SigningKey,
};
pub use verifier::{JwtSetupError, JwtVerifier, JwtVerifierBuilder};
