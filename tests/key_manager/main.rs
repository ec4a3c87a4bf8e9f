//! The manager of keys over the memory backends: every call, every refusal, every crash.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test's helper fails the test"
)]

mod change;
mod create;
mod faults;
#[path = "../support/interrupted.rs"]
mod interrupted;
mod licenses;
mod plan;
mod reconcile;
mod support;
