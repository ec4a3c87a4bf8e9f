//! What is true of all tokens, tested from the outside in.

mod attacks;
mod claims;
mod keys;
mod random;
mod sessions;
mod support;
mod texts;
mod vectors;
mod verifier;
