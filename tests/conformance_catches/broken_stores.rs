//! Key stores with one fault each.

use std::{collections::HashSet, sync::Mutex};

use tower_api_key::{
    BackendError, Changes, DenialCode, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore,
    MemoryKeyStore, Outcome, Timestamp, UsageCount, conformance::key_store as suite,
};

use super::is_caught;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// None: the wrapper itself breaks nothing.
    None,
    IgnoresRevision,
    ComparesRevisionBeforeWriting,
    TakesLastUsedFromUpdates,
    RenamesInSpiteOfAnError,
    InsertOverwrites,
    LooksBeforeItInserts,
    ForgetsPreviousDigests,
    Judges,
    CutsInstantsToSeconds,
    ListsInNoOrder,
    ListsInOneOrder,
    LimitsBeforeItSearches,
    LetsUsesGoBack,
    CountsAnew,
    CountsOncePerBatch,
    CountsRefusalsAsOne,
    AnswersAllHours,
    CountsUnknownKeys,
    StopsAtUnknownKeys,
    ForgetsNoUsage,
    ForgetsBeforeItCounts,
    KeepsUsageOfDeletedKeys,
    ForgetsUsageOfUpdatedKeys,
    AddsUpOutsideOfTheLock,
    TellsNothing,
    TellsTooEarly,
    TellsTooLate,
    TellsNoAdditions,
}

struct BrokenStore {
    inner: MemoryKeyStore,
    fault: Fault,
    changes: Changes,
    /// What is told with the next call only.
    late: Mutex<Vec<KeyId>>,
    /// The counts, where the fault is about them.
    usage: Mutex<Vec<UsageCount>>,
}

fn store(fault: Fault) -> BrokenStore {
    BrokenStore {
        inner: MemoryKeyStore::new(),
        fault,
        changes: Changes::new(),
        late: Mutex::default(),
        usage: Mutex::default(),
    }
}

impl BrokenStore {
    /// Tells before a change is made, as far as this store does so.
    async fn before(&self, id: &KeyId) {
        for late in self.late.lock().expect("no caller panicked").drain(..) {
            self.changes.changed(late);
        }
        if self.fault == Fault::TellsTooEarly {
            self.changes.changed(id);
            super::a_moment().await;
        }
    }

    /// Tells after a change was made.
    fn after(&self, id: &KeyId, added: bool) {
        match self.fault {
            Fault::TellsNothing | Fault::TellsTooEarly => {}
            Fault::TellsTooLate => self
                .late
                .lock()
                .expect("no caller panicked")
                .push(id.clone()),
            _ => self.changes.changed(id),
        }
        if added && self.fault != Fault::TellsNoAdditions {
            self.changes.added();
        }
    }

    /// Whether the counts are kept here, and not by the store that has no fault.
    fn counts_itself(&self) -> bool {
        matches!(
            self.fault,
            Fault::CountsAnew
                | Fault::CountsUnknownKeys
                | Fault::KeepsUsageOfDeletedKeys
                | Fault::ForgetsUsageOfUpdatedKeys
                | Fault::AddsUpOutsideOfTheLock
        )
    }

    /// Adds to a count, in one of the ways that go wrong.
    async fn count(&self, count: &UsageCount) {
        let usage = || self.usage.lock().expect("no caller panicked");
        let is = |known: &UsageCount| {
            (&known.key, known.hour, known.outcome) == (&count.key, count.hour, count.outcome)
        };
        let found = usage().iter().find(|known| is(known)).cloned();
        if self.fault == Fault::AddsUpOutsideOfTheLock {
            super::a_moment().await;
        }
        let before = match (&found, self.fault) {
            (None, _) | (_, Fault::CountsAnew) => 0,
            (Some(found), _) => found.count,
        };
        let mut sum = count.clone();
        sum.count += before;
        let mut usage = usage();
        usage.retain(|known| !is(known));
        usage.push(sum);
        usage.sort_by_key(|count| (count.hour, count.outcome));
    }

    fn forget(&self, id: &KeyId) {
        let mut usage = self.usage.lock().expect("no caller panicked");
        usage.retain(|count| count.key != *id);
    }

    async fn overwrite(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.inner.delete(&record.id).await?;
        self.inner.insert(record).await
    }
}

#[async_trait::async_trait]
impl KeyStore for BrokenStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        let found = self.inner.find(digest).await?;
        Ok(found.filter(|found| match self.fault {
            Fault::ForgetsPreviousDigests => found.digest == *digest,
            Fault::Judges => found.enabled && found.revoked_at.is_none(),
            _ => true,
        }))
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.inner.get(id).await
    }

    async fn insert(&self, mut record: KeyRecord) -> Result<(), BackendError> {
        let id = record.id.clone();
        self.before(&id).await;
        match self.fault {
            Fault::CutsInstantsToSeconds => {
                let seconds = record.created_at.unix_seconds();
                record.created_at = Timestamp::from_unix_seconds(seconds);
                self.inner.insert(record).await?;
            }
            Fault::InsertOverwrites => self.overwrite(record).await?,
            Fault::LooksBeforeItInserts => {
                if self.inner.get(&id).await?.is_some() {
                    return Err(BackendError::DuplicateId);
                }
                super::a_moment().await;
                self.overwrite(record).await?;
            }
            _ => self.inner.insert(record).await?,
        }
        self.after(&id, true);
        Ok(())
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        let id = record.id.clone();
        self.before(&id).await;
        let stored = self.inner.get(&id).await?.ok_or(BackendError::NotFound)?;
        if self.fault == Fault::ComparesRevisionBeforeWriting {
            if stored.revision != record.revision {
                return Err(BackendError::Conflict);
            }
            super::a_moment().await;
            let stored = self.inner.get(&id).await?.ok_or(BackendError::NotFound)?;
            record.revision = stored.revision;
        }
        if self.fault == Fault::IgnoresRevision {
            record.revision = stored.revision;
        }
        let given = (record.name.clone(), record.last_used_at);
        let updated = self.inner.update(record).await;
        let updated = match (updated, self.fault) {
            (Ok(mut updated), Fault::TakesLastUsedFromUpdates) => {
                updated.last_used_at = given.1;
                self.overwrite(updated.clone()).await?;
                updated
            }
            (Err(error), Fault::RenamesInSpiteOfAnError) => {
                let mut renamed = stored;
                renamed.name = given.0;
                self.overwrite(renamed).await?;
                return Err(error);
            }
            (updated, _) => updated?,
        };
        if self.fault == Fault::ForgetsUsageOfUpdatedKeys {
            self.forget(&id);
        }
        self.after(&id, true);
        Ok(updated)
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.before(id).await;
        let deleted = self.inner.delete(id).await?;
        if self.fault != Fault::KeepsUsageOfDeletedKeys {
            self.forget(id);
        }
        self.after(id, false);
        Ok(deleted)
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        match self.fault {
            Fault::ListsInNoOrder => {
                let mut found = self.inner.list(query).await?;
                found.sort_by_key(|record| record.id.as_str().to_lowercase());
                Ok(found)
            }
            Fault::ListsInOneOrder => {
                let ascending = query.clone().with_descending(false);
                self.inner.list(&ascending).await
            }
            Fault::LimitsBeforeItSearches => {
                let everything = query.clone().with_contains(None);
                let mut found = self.inner.list(&everything).await?;
                found.retain(|record| query.matches(record));
                Ok(found)
            }
            _ => self.inner.list(query).await,
        }
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        if self.fault != Fault::LetsUsesGoBack {
            return self.inner.record_last_used(uses).await;
        }
        for (id, at) in uses {
            if let Some(mut record) = self.inner.get(id).await? {
                record.last_used_at = Some(*at);
                self.overwrite(record).await?;
            }
        }
        Ok(())
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        if self.counts_itself() {
            for count in counts {
                let known = self.inner.get(&count.key).await?.is_some();
                if known || self.fault == Fault::CountsUnknownKeys {
                    self.count(count).await;
                }
            }
            let mut usage = self.usage.lock().expect("no caller panicked");
            usage.retain(|count| count.hour >= forget_before);
            return Ok(());
        }
        let mut counts = counts.to_vec();
        match self.fault {
            Fault::CountsOncePerBatch => {
                let mut seen = HashSet::new();
                counts.retain(|count| seen.insert((count.key.clone(), count.hour, count.outcome)));
            }
            Fault::CountsRefusalsAsOne => {
                for count in counts.iter_mut().filter(|c| c.outcome != Outcome::Granted) {
                    count.outcome = Outcome::Refused(DenialCode::InvalidKey);
                }
            }
            Fault::StopsAtUnknownKeys => {
                let mut known = 0;
                for count in &counts {
                    if self.inner.get(&count.key).await?.is_none() {
                        break;
                    }
                    known += 1;
                }
                counts.truncate(known);
            }
            Fault::ForgetsNoUsage => return self.inner.record_usage(&counts, Timestamp::MIN).await,
            Fault::ForgetsBeforeItCounts => {
                self.inner.record_usage(&[], forget_before).await?;
                return self.inner.record_usage(&counts, Timestamp::MIN).await;
            }
            _ => {}
        }
        self.inner.record_usage(&counts, forget_before).await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        if self.counts_itself() {
            let usage = self.usage.lock().expect("no caller panicked");
            let own = |count: &&UsageCount| count.key == *id && count.hour >= since;
            return Ok(usage.iter().filter(own).cloned().collect());
        }
        let since = match self.fault {
            Fault::AnswersAllHours => Timestamp::MIN,
            _ => since,
        };
        self.inner.usage(id, since).await
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }
}

mod without_a_fault {
    use super::*;

    tower_api_key::key_store_conformance!(|| async { store(Fault::None) });
}

#[tokio::test]
async fn updates_that_overwrite_others_are_caught() {
    let broken = store(Fault::IgnoresRevision);
    is_caught(
        "rule 3: update says Conflict",
        suite::outdated_update_is_a_conflict(broken),
    )
    .await;
    let broken = || store(Fault::ComparesRevisionBeforeWriting);
    suite::outdated_update_is_a_conflict(broken()).await;
    let case = suite::one_of_many_updates_of_a_revision_wins(broken());
    is_caught("rule 3: one update of a revision is kept", case).await;
    let case = suite::no_update_is_lost(broken());
    is_caught("rule 3: no update overwrites another", case).await;
    let broken = store(Fault::TakesLastUsedFromUpdates);
    let case = suite::update_leaves_last_used_as_stored(broken);
    is_caught("rule 3: update leaves last_used_at as stored", case).await;
}

#[tokio::test]
async fn half_made_change_is_caught() {
    let broken = store(Fault::RenamesInSpiteOfAnError);
    let case = suite::outdated_update_is_a_conflict(broken);
    is_caught("rule 7: a call that returns an error changed nothing", case).await;
}

#[tokio::test]
async fn inserts_that_overwrite_others_are_caught() {
    let broken = store(Fault::InsertOverwrites);
    is_caught(
        "rule 2: insert says DuplicateId",
        suite::duplicate_id_is_refused(broken),
    )
    .await;
    let broken = || store(Fault::LooksBeforeItInserts);
    suite::duplicate_id_is_refused(broken()).await;
    let case = suite::one_of_many_inserts_of_an_id_wins(broken());
    is_caught("rule 2: one insert of an id is kept", case).await;
}

#[tokio::test]
async fn incomplete_finds_are_caught() {
    let broken = store(Fault::ForgetsPreviousDigests);
    let case = suite::key_is_found_by_its_previous_digest(broken);
    is_caught("as previous.digest", case).await;
    let case = suite::dead_keys_are_found_too(store(Fault::Judges));
    is_caught("rule 1: disabled, revoked and expired records", case).await;
    let case = suite::record_comes_back_whole(store(Fault::CutsInstantsToSeconds));
    is_caught("rule 1: a record is answered whole", case).await;
}

#[tokio::test]
async fn careless_lists_are_caught() {
    let case = suite::list_is_in_order_of_the_ids_bytes(store(Fault::ListsInNoOrder));
    is_caught("rule 5: list answers in order of the id's bytes", case).await;
    let case = suite::list_is_in_order_of_the_ids_bytes(store(Fault::ListsInOneOrder));
    is_caught("rule 5: list answers descending where", case).await;
    let case = suite::limit_counts_matches(store(Fault::LimitsBeforeItSearches));
    is_caught("rule 5: the limit counts matches", case).await;
}

#[tokio::test]
async fn uses_that_go_back_are_caught() {
    let case = suite::last_used_only_grows(store(Fault::LetsUsesGoBack));
    is_caught("rule 6: record_last_used raises", case).await;
}

#[tokio::test]
async fn careless_counts_are_caught() {
    let case = suite::counts_add_up(store(Fault::CountsAnew));
    is_caught("rule 10: record_usage adds the counts given", case).await;
    let broken = || store(Fault::CountsOncePerBatch);
    suite::counts_add_up(broken()).await;
    let case = suite::counts_of_one_batch_add_up(broken());
    is_caught(
        "rule 10: counts add up also where a batch has several",
        case,
    )
    .await;
    let case = suite::each_outcome_comes_back(store(Fault::CountsRefusalsAsOne));
    is_caught("rule 11: each outcome of an hour once", case).await;
    let case = suite::usage_is_answered_since_an_hour(store(Fault::AnswersAllHours));
    is_caught(
        "rule 11: usage answers the counts whose hour is `since`",
        case,
    )
    .await;
    let case = suite::long_batch_of_counts_skips_unknown_keys(store(Fault::CountsUnknownKeys));
    is_caught("rule 10: record_usage skips ids it does not know", case).await;
    let case = suite::long_batch_of_counts_skips_unknown_keys(store(Fault::StopsAtUnknownKeys));
    is_caught("rule 10: each known id of a batch is counted", case).await;
    let broken = || store(Fault::AddsUpOutsideOfTheLock);
    suite::counts_add_up(broken()).await;
    let case = suite::racing_counts_all_add_up(broken());
    is_caught("rule 10: counts written side by side all add up", case).await;
}

#[tokio::test]
async fn usage_that_outlives_its_time_or_its_key_is_caught() {
    for fault in [Fault::ForgetsNoUsage, Fault::ForgetsBeforeItCounts] {
        let case = suite::old_hours_are_forgotten(store(fault));
        is_caught("rule 10: record_usage forgets all hours", case).await;
    }
    let case = suite::usage_goes_with_its_key(store(Fault::ForgetsUsageOfUpdatedKeys));
    is_caught("rule 11: update leaves the counts as they are", case).await;
    let broken = || store(Fault::KeepsUsageOfDeletedKeys);
    let case = suite::usage_goes_with_its_key(broken());
    is_caught("rule 11: delete removes the counts", case).await;
    let case = suite::counts_beside_deletes_leave_nothing(store(Fault::AddsUpOutsideOfTheLock));
    is_caught("rule 11: delete removes the counts", case).await;
}

#[tokio::test]
async fn changes_that_are_not_told_in_time_are_caught() {
    for fault in [Fault::TellsNothing, Fault::TellsTooLate] {
        let case = suite::update_and_delete_are_told(store(fault));
        is_caught("rule 8: changes is told `changed` with the id", case).await;
    }
    let case = suite::new_digests_are_told(store(Fault::TellsNoAdditions));
    is_caught("rule 8: changes is told `added`", case).await;
    let broken = || store(Fault::TellsTooEarly);
    suite::update_and_delete_are_told(broken()).await;
    let case = suite::current_stamp_means_current_record(broken());
    is_caught("rule 8: a change is in force, and told", case).await;
}
