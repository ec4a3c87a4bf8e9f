//! The management API over the memory backends: every call, every caller, every refusal.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test's helper fails the test"
)]

mod audit;
#[path = "../support/mod.rs"]
mod backends;
mod document;
mod events;
mod idempotency;
mod input;
#[path = "../support/interrupted.rs"]
mod interrupted;
mod keys;
mod licenses;
mod modules;
mod preconditions;
mod roles;
#[cfg(feature = "jwt")]
mod sessions;
#[path = "../support/stream.rs"]
mod stream;
mod support;
mod unknown;
mod usage;
