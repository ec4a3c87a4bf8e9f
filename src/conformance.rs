//! The suites that a [`KeyStore`](crate::KeyStore) or a [`LicenseLedger`](crate::LicenseLedger) of
//! your own must pass.
//!
//! One line runs a whole suite: it makes a test of each case, so that a failure carries the name of
//! what is broken and its message the sentence of the contract. Cases that are added here later run
//! without a change at your end.
//!
//! 1. Enable the feature `conformance` for tests, and have `tokio` (features `macros` and
//!    `rt-multi-thread`) among the `dev-dependencies`.
//! 2. Write a function that opens a fresh, empty store: a database of its own, a schema, a tenant.
//!    It is called once for each case, and cases run side by side.
//! 3. Hand it to the macro, in a module of its own for each store, since every case becomes a
//!    function there.
//!
//! ```
//! use tower_api_key::{KeyStore, MemoryKeyStore};
//!
//! async fn fresh_store() -> impl KeyStore {
//!     MemoryKeyStore::new()
//! }
//!
//! tower_api_key::key_store_conformance!(fresh_store);
//! # fn main() {}
//! ```
//!
//! Each case is also a plain function in [`key_store`], for those with a test harness of their own:
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
//! use tower_api_key::{MemoryKeyStore, conformance::key_store};
//!
//! key_store::key_is_found_by_its_digest(MemoryKeyStore::new()).await;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What no suite can see
//!
//! A backend that outlives its process must show on its own that what it answered is still there
//! after a restart, that a connection lost in the middle of a change leaves all or nothing of it,
//! and that changes made by other processes reach its [`Changes`](crate::Changes) in time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{sync::Barrier, task::JoinSet};

pub mod key_store;
pub mod read_only_key_store;

/// Runs every case for a [`KeyStore`](crate::KeyStore), each as a test of its own on a fresh store.
///
/// The argument is a function without parameters whose future answers the store. For a store that
/// cannot be written say `read_only` first, and answer one that holds at least one key.
///
/// ```
/// # use tower_api_key::{KeyStore, MemoryKeyStore};
/// mod memory {
///     # use super::*;
///     tower_api_key::key_store_conformance!(|| async { MemoryKeyStore::new() });
/// }
/// # macro_rules! later { ($($later:tt)*) => {}; }
/// # later! {
/// mod file {
///     tower_api_key::key_store_conformance!(read_only, super::open_file);
/// }
/// # }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! key_store_conformance {
    (@each $module:ident, $fresh:expr, $($case:ident)*) => { $(
        #[::tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $case() {
            let store = ($fresh)().await;
            $crate::conformance::$module::$case(store).await;
        }
    )* };
    (read_only, $fresh:expr) => {
        $crate::key_store_conformance! { @each read_only_key_store, $fresh,
            every_write_is_refused
            all_that_is_listed_is_found
            pages_of_what_is_there_hold_each_key_once
        }
    };
    ($fresh:expr) => {
        $crate::key_store_conformance! { @each key_store, $fresh,
            key_is_found_by_its_digest
            key_is_found_by_its_previous_digest
            unknown_digest_finds_nothing
            digests_are_compared_byte_by_byte
            record_comes_back_whole
            record_is_answered_as_last_written
            dead_keys_are_found_too
            ids_are_compared_byte_by_byte
            list_is_in_order_of_the_ids_bytes
            pages_hold_each_key_once
            list_takes_any_limit_and_any_start
            list_searches_names_for_plain_text
            limit_counts_matches

            duplicate_id_is_refused
            duplicate_digest_is_refused
            same_record_twice_is_refused
            given_up_ids_and_digests_are_free
            update_replaces_and_counts
            outdated_update_is_a_conflict
            update_of_an_unknown_key_is_not_found
            update_to_a_taken_digest_is_refused
            key_can_be_regenerated
            update_leaves_last_used_as_stored
            delete_removes_one_key
            last_used_only_grows
            long_batch_of_uses_skips_unknown_keys
            update_and_delete_are_told
            new_digests_are_told

            one_of_many_inserts_of_an_id_wins
            one_of_many_claims_of_a_digest_wins
            one_of_many_updates_of_a_revision_wins
            no_update_is_lost
            one_of_many_deletes_finds_the_key
            latest_of_many_uses_is_kept
            current_stamp_means_current_record
        }
    };
}

/// How many call at once in a race.
const CALLERS: u32 = 16;

/// Lets all callers loose at once and answers what each was answered.
async fn race<S, T, F>(backend: &Arc<S>, call: impl Fn(Arc<S>, u32) -> F) -> Vec<T>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(CALLERS as usize));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (start, call) = (start.clone(), call(backend.clone(), caller));
        callers.spawn(async move {
            start.wait().await;
            (caller, call.await)
        });
    }
    let mut results = callers.join_all().await;
    results.sort_by_key(|(caller, _)| *caller);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Lets readers call again and again while something is written, and at least once after it.
async fn race_beside<S, F>(
    backend: &Arc<S>,
    read: impl Fn(Arc<S>) -> F + Clone + Send + 'static,
    write: impl Future<Output = ()>,
) where
    S: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let written = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (backend, read, written) = (backend.clone(), read.clone(), written.clone());
        readers.spawn(async move {
            let mut last = false;
            while !last {
                last = written.load(Ordering::SeqCst);
                read(backend.clone()).await;
            }
        });
    }
    write.await;
    written.store(true, Ordering::SeqCst);
    readers.join_all().await;
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_run_by_its_macro() {
        let macros = include_str!("conformance.rs");
        let listed: Vec<_> = macros.lines().map(str::trim).collect();
        let mut cases = 0;
        for source in [
            include_str!("conformance/key_store/reads.rs"),
            include_str!("conformance/key_store/writes.rs"),
            include_str!("conformance/key_store/races.rs"),
            include_str!("conformance/read_only_key_store.rs"),
        ] {
            for line in source.lines() {
                if let Some(case) = line.strip_prefix("pub async fn ") {
                    let name = case.split('(').next().unwrap();
                    assert!(listed.contains(&name), "{name} is in no macro");
                    cases += 1;
                }
            }
        }
        assert!(cases >= 38, "{cases} cases were seen");
    }
}
