//! One look-up at a time for each question, however many ask it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::changes::Stamp;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It took longer than the limit, waiting for its turn included.
    TimedOut,
    /// The look-up panicked, or no tokio runtime is there to run it.
    Died,
}

/// Look-ups under way, each in a task of its own: who asks and goes away cancels nobody.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    under_way: Arc<Mutex<HashMap<K, Flight<V>>>>,
    limit: Duration,
}

#[derive(Debug)]
struct Flight<V> {
    began: Stamp,
    /// Nothing until it ends; closed without an answer if it dies.
    answer: watch::Receiver<Option<Result<V, Failure>>>,
}

impl<K, V> Flights<K, V>
where
    K: Copy + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Look-ups that may take `limit` each, whatever they wait for.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            under_way: Arc::default(),
            limit,
        }
    }

    /// The answer to the question `key`, as of `since` or later: of a look-up under way that began
    /// then, or of a new one. `stamp` is taken before the look-up begins.
    pub(crate) async fn join<F>(
        &self,
        key: K,
        since: Stamp,
        stamp: impl FnOnce() -> Stamp,
        look_up: impl FnOnce(Stamp) -> F,
    ) -> Result<V, Failure>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut answer = self.board(key, since, stamp, look_up)?;
        match answer.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Failure::Died)),
            Err(_) => Err(Failure::Died),
        }
    }

    /// Where the answer will be.
    ///
    /// Apart from the waiting, so that a request that waits does not hold what it started.
    fn board<F>(
        &self,
        key: K,
        since: Stamp,
        stamp: impl FnOnce() -> Stamp,
        look_up: impl FnOnce(Stamp) -> F,
    ) -> Result<watch::Receiver<Option<Result<V, Failure>>>, Failure>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&key)
            && flight.began >= since
        {
            return Ok(flight.answer.clone());
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Failure::Died)?;
        let began = stamp();
        let (tell, answer) = watch::channel(None);
        let landing = Landing {
            under_way: Arc::clone(&self.under_way),
            key,
            began,
        };
        // Boxed: the task would hold it several times over as it moves along.
        let (limit, work) = (self.limit, Box::pin(look_up(began)));
        under_way.insert(
            key,
            Flight {
                began,
                answer: answer.clone(),
            },
        );
        // Given back before: a runtime that is shutting down drops the task, and with it the landing
        // that takes the lock, right here.
        drop(under_way);
        runtime.spawn(async move {
            // Goes before the channel closes, also by a panic.
            let landing = landing;
            let timed = tokio::time::timeout(limit, work);
            let outcome = timed.await.map_err(|_| Failure::TimedOut);
            // First gone, then told: who comes now finds what the look-up remembered.
            drop(landing);
            tell.send_replace(Some(outcome));
        });
        Ok(answer)
    }
}

/// Takes a look-up off the list when it ends, also by a panic.
struct Landing<K: Eq + Hash, V> {
    under_way: Arc<Mutex<HashMap<K, Flight<V>>>>,
    key: K,
    began: Stamp,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A later look-up for the same question may have taken the place.
        if under_way
            .get(&self.key)
            .is_some_and(|flight| flight.began == self.began)
        {
            under_way.remove(&self.key);
        }
    }
}
