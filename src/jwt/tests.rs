//! What is true of all tokens, tested from the outside in.

mod attacks;
mod keys;
mod sessions;
mod support;
mod vectors;
mod verifier;
