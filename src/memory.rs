//! Keys and licenses in the memory of this process: for tests, examples, and services whose keys
//! come from elsewhere at every start. And quotas, for every service of one process.
//!
//! 1. Nothing outlives the process.
//! 2. A handle is cheap to clone, and all clones see the same data.
//! 3. What is read is answered without waiting for anything but a lock that is held for
//!    microseconds: a search through a million keys takes it a thousand keys at a time.

mod cells;
mod key_store;
mod ledger;
mod rate_limiter;
mod windows;

pub use key_store::MemoryKeyStore;
pub use ledger::MemoryLedger;
pub use rate_limiter::MemoryRateLimiter;
