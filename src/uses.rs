//! When keys were last used and how often: noted on the request, written behind it.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    changes::Changes,
    clock::Timestamp,
    denial::DenialCode,
    error::BackendError,
    key_store::{KeyId, KeyStore},
    observe,
    pass::{Pass, State, Tally},
    usage::{Hour, Outcome, UsageCount},
};

mod counts;

use counts::{Count, Counts};

/// The keys used since they were last written, each once, and what was counted of them.
///
/// A key takes its shard's lock on its first use after a writing, on the first one in an hour, and
/// when it is refused; the others move its time and count in the pass itself.
#[derive(Debug)]
pub(crate) struct Uses {
    shards: [Mutex<Shard>; SHARDS],
    /// One writing at a time: who flushes waits for the one under way.
    writing: tokio::sync::Mutex<()>,
    /// Held while counts go over to the store: who reads both reads each count once.
    handing_over: tokio::sync::Mutex<()>,
    counts_usage: bool,
    /// Number of the hour in which the store was last told what to forget; none yet: 0.
    told_to_forget: AtomicU32,
}

#[derive(Debug, Default)]
struct Shard {
    used: HashSet<OfKey>,
    /// Of requests that were refused, of hours that are over, and of passes that are no longer queued.
    counts: Counts,
}

/// A pass that stands for its key, whatever else was read of it since.
#[derive(Debug)]
struct OfKey(Pass);

/// What came of a writing.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) last_used: Result<(), BackendError>,
    pub(crate) usage: Result<(), BackendError>,
}

impl Uses {
    pub(crate) fn new(counts_usage: bool) -> Self {
        Self {
            shards: Default::default(),
            writing: tokio::sync::Mutex::new(()),
            handing_over: tokio::sync::Mutex::new(()),
            counts_usage,
            told_to_forget: AtomicU32::new(0),
        }
    }

    /// Notes an authenticated request.
    pub(crate) fn note(&self, pass: &Pass, now: Timestamp) {
        if pass.used(now) && pass.state() != State::Token {
            self.queue(pass.clone());
        }
    }

    /// Counts a granted request.
    #[inline]
    pub(crate) fn granted(&self, pass: &Pass, now: Timestamp) {
        if !self.counts_usage || pass.state() == State::Token {
            return;
        }
        if let Some(tally) = pass.count(Hour::of(now)) {
            self.keep(pass, tally);
        }
        if pass.is_taken() && pass.requeue() {
            self.queue(pass.clone());
        }
    }

    /// Counts a refused request.
    pub(crate) fn refused(&self, pass: &Pass, code: DenialCode, now: Timestamp) {
        if !self.counts_usage || pass.state() == State::Token {
            return;
        }
        let mut shard = self.shard(pass.slot().index());
        shard.count(pass, Hour::of(now), Outcome::Refused(code), 1);
    }

    #[cold]
    fn keep(&self, pass: &Pass, tally: Tally) {
        self.shard(pass.slot().index()).granted(pass, tally);
    }

    /// When a key was last used, as far as that waits to be written.
    pub(crate) fn last_used(&self, key: &KeyId) -> Option<Timestamp> {
        let shard = self.shard(Changes::slot(key.as_str()).index());
        let queued = shard.used.get(key.as_str());
        queued.and_then(|OfKey(pass)| pass.last_used())
    }

    /// How often a key was used since this hour: what the store has and what waits, in no order, and an
    /// outcome of an hour maybe twice.
    pub(crate) async fn usage(
        &self,
        store: &dyn KeyStore,
        key: &KeyId,
        since: Timestamp,
    ) -> Result<Vec<UsageCount>, BackendError> {
        let _handing_over = self.handing_over.lock().await;
        let mut counts = store.usage(key, since).await?;
        let shard = self.shard(Changes::slot(key.as_str()).index());
        counts.extend(shard.counts.of_key(key, since));
        let queued = shard.used.get(key.as_str());
        let tally = queued.and_then(|OfKey(pass)| pass.counted());
        let granted = tally.map(|Tally { hour, count }| Count {
            hour,
            outcome: Outcome::Granted,
            count,
        });
        let granted = granted.map(|count| count.of_key(key));
        counts.extend(granted.filter(|count| count.hour >= since));
        Ok(counts)
    }

    fn queue(&self, pass: Pass) {
        let mut shard = self.shard(pass.slot().index());
        if let Some(OfKey(other)) = shard.used.take(&OfKey(pass.clone()))
            && !other.is(&pass)
        {
            // What was read of the key before, or its other text: it goes on by itself.
            pass.raise_last_used(&other);
            shard.begin_writing(&other);
        }
        shard.used.insert(OfKey(pass));
    }

    /// Writes what was noted until now, in batches. What could not be written, also because this
    /// future was dropped, waits for the next time; what a read-only store cannot keep is dropped.
    pub(crate) async fn write(&self, store: &dyn KeyStore, now: Timestamp) -> Written {
        let _writing = self.writing.lock().await;
        let mut counting = Counting {
            uses: self,
            store,
            hour: Hour::of(now),
            failed: None,
        };
        let mut last_used = Ok(());
        for shard in 0..SHARDS {
            // What waited through an outage makes room for the rest.
            counting.write(shard).await;
            last_used = self.write_last_used(shard, store, &mut counting).await;
            if last_used.is_err() {
                break;
            }
            // A shard that has held a million keys need not go on taking their room.
            self.shard(shard).used.shrink_to_fit();
        }
        if last_used.is_ok() {
            counting.forget().await;
        }
        Written {
            last_used,
            usage: counting.failed.map_or(Ok(()), Err),
        }
    }

    async fn write_last_used(
        &self,
        shard: usize,
        store: &dyn KeyStore,
        counting: &mut Counting<'_>,
    ) -> Result<(), BackendError> {
        // Keys that are used meanwhile come back: those that are there now are enough.
        let mut left = self.shard(shard).used.len();
        while left > 0 {
            let mut batch = Batch {
                uses: self,
                passes: self.take(shard, left.min(BATCH)),
            };
            left = left.saturating_sub(batch.passes.len().max(1));
            let written: Vec<(KeyId, Timestamp)> = batch
                .passes
                .iter()
                .filter_map(|pass| Some((KeyId::new(pass.principal()).ok()?, pass.last_used()?)))
                .collect();
            match store.record_last_used(&written).await {
                Err(error @ BackendError::ReadOnly) => {
                    batch.passes.clear();
                    self.forget();
                    return Err(error);
                }
                answer => answer?,
            }
            batch.passes.clear();
            observe::last_used_written(written.len());
            counting.write(shard).await;
        }
        Ok(())
    }

    /// Takes passes out of the queue, and what was counted in them.
    fn take(&self, shard: usize, most: usize) -> Vec<Pass> {
        let mut shard = self.shard(shard);
        let all = shard.used.extract_if(|_| true);
        let taken: Vec<_> = all.take(most).map(|OfKey(pass)| pass).collect();
        for pass in &taken {
            // Before the time is read: a use in between is queued again.
            shard.begin_writing(pass);
        }
        taken
    }

    fn forget(&self) {
        for shard in 0..SHARDS {
            let mut shard = self.shard(shard);
            for OfKey(pass) in shard.used.drain() {
                pass.begin_writing();
            }
            shard.counts.clear();
        }
    }

    fn forget_counts(&self) {
        for shard in 0..SHARDS {
            self.shard(shard).counts.clear();
        }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn begin_writing(&mut self, pass: &Pass) {
        if let Some(tally) = pass.begin_writing() {
            self.granted(pass, tally);
        }
    }

    fn granted(&mut self, pass: &Pass, tally: Tally) {
        self.count(pass, tally.hour, Outcome::Granted, tally.count);
    }

    fn count(&mut self, pass: &Pass, hour: Hour, outcome: Outcome, count: u64) {
        let waits = Count {
            hour,
            outcome,
            count,
        };
        if !self.counts.add(pass.principal(), waits) {
            observe::usage_dropped(count);
        }
    }
}

/// A writing of counts, which goes on beside that of last uses whatever comes of one of the two.
struct Counting<'u> {
    uses: &'u Uses,
    store: &'u dyn KeyStore,
    hour: Hour,
    failed: Option<BackendError>,
}

impl Counting<'_> {
    /// Writes what waits in a shard now.
    async fn write(&mut self, shard: usize) {
        let mut last: Option<KeyId> = None;
        while self.failed.is_none() {
            let handing_over = self.uses.handing_over.lock().await;
            let batch = self.uses.shard(shard).counts.after(last.as_ref(), BATCH);
            let Some(end) = batch.last() else { return };
            last = Some(end.key.clone());
            self.record(&batch).await;
            if self.failed.is_none() {
                // Only now: a future that is dropped while it waits for the store has lost nothing.
                self.uses.shard(shard).counts.take_off(&batch);
                observe::usage_written(batch.len());
            }
            drop(handing_over);
        }
    }

    /// Lets the store forget what is too old, once an hour where nothing is counted.
    async fn forget(&mut self) {
        let told = self.uses.told_to_forget.load(Ordering::Relaxed);
        if self.uses.counts_usage && self.failed.is_none() && told < self.hour.number() {
            self.record(&[]).await;
        }
    }

    async fn record(&mut self, counts: &[UsageCount]) {
        let forget_before = self.hour.first_kept().start();
        match self.store.record_usage(counts, forget_before).await {
            Ok(()) => {
                let told = &self.uses.told_to_forget;
                told.fetch_max(self.hour.number(), Ordering::Relaxed);
            }
            Err(error) => {
                if let BackendError::ReadOnly = error {
                    self.uses.forget_counts();
                }
                self.failed = Some(error);
            }
        }
    }
}

/// Passes on their way to the store: back into the queue unless they arrive.
struct Batch<'u> {
    uses: &'u Uses,
    passes: Vec<Pass>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for pass in self.passes.drain(..) {
            // Not where a request has queued it meanwhile.
            if pass.requeue() {
                self.uses.queue(pass);
            }
        }
    }
}

impl PartialEq for OfKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.principal() == other.0.principal()
    }
}

impl Eq for OfKey {}

impl Borrow<str> for OfKey {
    fn borrow(&self) -> &str {
        self.0.principal()
    }
}

impl Hash for OfKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.principal().hash(state);
    }
}

const SHARDS: usize = 16;
const BATCH: usize = 1_000;
