//! The suites that a [`KeyStore`](crate::KeyStore), a [`LicenseLedger`](crate::LicenseLedger) or a
//! [`RateLimiter`](crate::RateLimiter) of your own must pass.
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
//! Ledgers are tested in the same way by
//! [`license_ledger_conformance`](crate::license_ledger_conformance), limiters by
//! [`rate_limiter_conformance`](crate::rate_limiter_conformance). Each case is also a plain function,
//! in [`key_store`], [`license_ledger`] or [`rate_limiter`], for those with a test harness of their
//! own:
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
//! and that changes made by other processes reach its [`Changes`](crate::Changes) in time. A limiter
//! must show on its own what it counts while time passes, and what it does when it cannot count.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{sync::Barrier, task::JoinSet};

pub mod key_store;
pub mod license_ledger;
pub mod newest_first_ledger;
pub mod rate_limiter;
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
            list_searches_names_and_hints_for_plain_text
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
            counts_add_up
            counts_of_one_batch_add_up
            each_outcome_comes_back
            usage_is_answered_since_an_hour
            long_batch_of_counts_skips_unknown_keys
            old_hours_are_forgotten
            usage_goes_with_its_key
            update_and_delete_are_told
            new_digests_are_told

            one_of_many_inserts_of_an_id_wins
            one_of_many_claims_of_a_digest_wins
            one_of_many_updates_of_a_revision_wins
            no_update_is_lost
            one_of_many_deletes_finds_the_key
            latest_of_many_uses_is_kept
            racing_counts_all_add_up
            counts_beside_deletes_leave_nothing
            current_stamp_means_current_record
        }
    };
}

/// Runs every case for a [`LicenseLedger`](crate::LicenseLedger), each as a test of its own on a
/// fresh ledger.
///
/// The argument is a function that takes an `Arc<ManualClock>` and whose future answers a ledger
/// that reads the time there. For a ledger that evicts the newest reservation first say
/// `newest_first`: the cases of that option.
///
/// ```
/// # use std::sync::Arc;
/// # use tower_api_key::{Eviction, LicenseLedger, ManualClock, MemoryLedger};
/// mod memory {
///     # use super::*;
///     async fn fresh_ledger(clock: Arc<ManualClock>) -> impl LicenseLedger {
///         MemoryLedger::new().with_clock(clock)
///     }
///     tower_api_key::license_ledger_conformance!(fresh_ledger);
/// }
///
/// mod newest_first {
///     # use super::*;
///     async fn fresh_ledger(clock: Arc<ManualClock>) -> impl LicenseLedger {
///         let ledger = MemoryLedger::new().with_clock(clock);
///         ledger.with_eviction(Eviction::NewestFirst)
///     }
///     tower_api_key::license_ledger_conformance!(newest_first, fresh_ledger);
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! license_ledger_conformance {
    (@each $module:ident, $fresh:expr, $($case:ident)*) => { $(
        #[::tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $case() {
            let clock = ::std::sync::Arc::new($crate::ManualClock::new());
            let ledger = ($fresh)(clock.clone()).await;
            $crate::conformance::$module::$case(ledger, clock).await;
        }
    )* };
    (newest_first, $fresh:expr) => {
        $crate::license_ledger_conformance! { @each newest_first_ledger, $fresh,
            newest_reservation_goes_first
            history_with_newest_first
        }
    };
    ($fresh:expr) => {
        $crate::license_ledger_conformance! { @each license_ledger, $fresh,
            example_1_first_come_first_served
            example_2_next_in_line_moves_up
            example_3_fewer_seats_take_the_oldest_reservations
            example_4_seats_come_back_in_line_order
            example_5_age_is_that_of_the_reservation
            example_6_license_expires
            example_7_license_is_renewed
            example_8_limited_edition
            example_9_no_seats_then_any_number
            example_10_two_modules_share_a_seat
            example_11_life_of_a_key
            example_12_order_is_no_timestamp

            reading_changes_nothing
            place_in_line_survives_license_events
            license_ends_at_its_very_instant
            ledger_time_never_goes_back
            late_tick_writes_the_same_history
            doing_it_again_writes_nothing
            several_modules_take_one_seat
            license_operations_leave_assignments_alone

            module_that_is_not_assigned
            module_without_license_needs_no_seat
            unknown_module_or_license_is_unavailable
            limited_edition_expires_every_license
            license_past_its_end_is_expired
            taken_seats_are_the_limit_reached
            inactive_holder_has_no_seat

            assigned_anew_is_last_in_line
            assigned_twice_keeps_its_place
            place_is_that_of_the_earliest_assignment
            modules_of_one_call_keep_their_order
            enabling_evicts_nobody
            expired_key_keeps_its_place
            revoked_key_is_inactive_for_good
            deleted_key_is_forgotten
            changes_while_expired_apply_at_renewal
            license_added_later_reserves_in_line_order
            failure_is_written_once
            remapped_module_keeps_its_places
            each_event_names_its_actor

            license_is_changed_only_as_expected
            license_is_removed_only_as_expected
            time_passes_whatever_was_expected

            log_is_read_in_pages
            latest_reaches_the_last_event
            holders_are_in_order_of_their_bytes
            line_is_cut_at_the_limit
            unknown_holder_is_active_without_modules
            several_holders_are_answered_in_the_order_asked
            first_unknown_module_is_named
            names_come_back_as_given
            extremes_come_back_as_given

            plan_names_who_would_lose_and_changes_nothing
            plan_includes_what_has_expired
            plan_of_every_operation_changes_nothing

            history_of_all_operations
            history_of_a_crowd
            history_of_expiries

            sixteen_racing_for_five_seats_never_oversell
            racing_calls_take_effect_one_after_the_other
            one_of_many_with_one_expectation_changes_the_license
            follower_of_the_log_misses_nothing
            readers_see_one_moment
            current_stamp_means_current_standings
        }
    };
}

/// Runs every case for a [`RateLimiter`](crate::RateLimiter), each as a test of its own on a fresh
/// limiter.
///
/// The argument is a function that takes the [tiers](rate_limiter::tiers) of the suite and whose
/// future answers a limiter that has these and has counted nothing yet.
///
/// ```
/// # use tower_api_key::{MemoryRateLimiter, RateLimiter, Tiers};
/// async fn fresh_limiter(tiers: Tiers) -> impl RateLimiter {
///     MemoryRateLimiter::new(tiers)
/// }
///
/// tower_api_key::rate_limiter_conformance!(fresh_limiter);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! rate_limiter_conformance {
    (@each $fresh:expr, $($case:ident)*) => { $(
        #[::tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $case() {
            let limiter = ($fresh)($crate::conformance::rate_limiter::tiers()).await;
            $crate::conformance::rate_limiter::$case(limiter).await;
        }
    )* };
    ($fresh:expr) => {
        $crate::rate_limiter_conformance! { @each $fresh,
            fresh_burst_is_exactly_the_quota
            burst_of_many_callers_is_exactly_the_quota
            request_is_counted_by_all_quotas_or_none
            racing_requests_are_counted_by_all_quotas_or_none
            request_counts_for_what_it_costs
            answer_that_nobody_awaits_counts_nothing

            keys_are_counted_apart
            key_is_counted_by_itself_wherever_it_comes_from
            keys_of_an_owner_are_counted_together
            networks_are_counted_together
            unknown_tier_counts_as_the_default_one
            tier_without_limit_admits_everything
            place_changes_nothing

            grant_tells_every_quota
            grant_tells_when_more_remains
            refusal_tells_what_is_used_up_and_for_how_long
            refusal_names_the_quota_that_takes_longest
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
                // A backend in memory never waits: without this a reader would keep its thread, and
                // the writers that have yielded on it, for ever.
                tokio::task::yield_now().await;
            }
        });
    }
    write.await;
    written.store(true, Ordering::SeqCst);
    readers.join_all().await;
}

/// Makes changes 1, 2, 3 … to `last`, each while readers remember what they read, as layers do,
/// and checks once its caller is answered whether what they remember may still be used.
async fn remember_beside<S, M, R, C>(
    backend: &Arc<S>,
    last: u64,
    change: impl Fn(Arc<S>) -> C,
    remember: impl Fn(Arc<S>) -> R,
    check: impl Fn(M, u64),
) where
    S: Send + Sync + 'static,
    M: Send + 'static,
    C: Future<Output = ()>,
    R: Future<Output = M> + Send + 'static,
{
    const READERS: usize = 4;
    for number in 1..=last {
        let start = Arc::new(Barrier::new(READERS + 1));
        let mut readers = JoinSet::new();
        for reader in 0..READERS {
            let (start, remember) = (start.clone(), remember(backend.clone()));
            readers.spawn(async move {
                start.wait().await;
                // Some read before the change, some in the middle of it, some after.
                for _ in 0..4 * reader {
                    tokio::task::yield_now().await;
                }
                remember.await
            });
        }
        start.wait().await;
        change(backend.clone()).await;
        for remembered in readers.join_all().await {
            check(remembered, number);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_run_by_its_macro() {
        let macros = include_str!("conformance.rs");
        let listed: Vec<_> = macros.lines().map(str::trim).collect();
        let mut cases = 0;
        for source in [
            include_str!("conformance/key_store/changes.rs"),
            include_str!("conformance/key_store/reads.rs"),
            include_str!("conformance/key_store/usage.rs"),
            include_str!("conformance/key_store/writes.rs"),
            include_str!("conformance/key_store/races.rs"),
            include_str!("conformance/read_only_key_store.rs"),
            include_str!("conformance/license_ledger/decisions.rs"),
            include_str!("conformance/license_ledger/examples.rs"),
            include_str!("conformance/license_ledger/history.rs"),
            include_str!("conformance/license_ledger/plans.rs"),
            include_str!("conformance/license_ledger/races.rs"),
            include_str!("conformance/license_ledger/reads.rs"),
            include_str!("conformance/license_ledger/rules.rs"),
            include_str!("conformance/license_ledger/statuses.rs"),
            include_str!("conformance/newest_first_ledger.rs"),
            include_str!("conformance/rate_limiter/answers.rs"),
            include_str!("conformance/rate_limiter/bursts.rs"),
            include_str!("conformance/rate_limiter/callers.rs"),
        ] {
            for line in source.lines() {
                if let Some(case) = line.strip_prefix("pub async fn ") {
                    let name = case.split(['(', '<']).next().unwrap();
                    if name == "random_history" {
                        continue; // the cases are those with a seed of their own
                    }
                    assert!(listed.contains(&name), "{name} is in no macro");
                    cases += 1;
                }
            }
        }
        assert!(cases >= 55, "{cases} cases were seen");
    }
}
