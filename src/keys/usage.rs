//! How often keys were used.

use std::collections::BTreeMap;

use crate::{
    clock::Timestamp,
    key_store::KeyId,
    keys::{KeyManager, ManageError},
    usage::{Hour, UsageCount},
};

impl KeyManager {
    /// How often a key was used, by hour and [`Outcome`](crate::Outcome): from the hour in which
    /// `since` lies until now, in order of the hour and then of the outcome's text, each once. An hour
    /// in which nothing came of a kind is not there.
    ///
    /// A layer's own manager ([`ApiKeyLayer::manager`](crate::ApiKeyLayer::manager)) adds what that layer
    /// has counted and not written yet; what waits in other processes is not there until they write
    /// it. What counts is said in [`usage`](crate::usage).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::{KeyId, KeyManager, ManageError, Timestamp};
    /// # async fn print(manager: &KeyManager, id: &KeyId) -> Result<(), ManageError> {
    /// let since: Timestamp = "2026-11-21T08:00:00Z".parse().expect("an instant");
    /// for usage in manager.usage(id, since).await? {
    ///     println!("{} {} {}", usage.hour, usage.outcome, usage.count);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound); an outage.
    pub async fn usage(
        &self,
        id: &KeyId,
        since: Timestamp,
    ) -> Result<Vec<UsageCount>, ManageError> {
        self.record(id).await?;
        let (store, since) = (&*self.0.store, Hour::of(since).start());
        let counts = match &self.0.uses {
            Some(uses) => uses.usage(store, id, since).await,
            None => store.usage(id, since).await,
        };
        let counts = counts.map_err(|error| ManageError::of_store(error, id))?;
        let mut sums = BTreeMap::new();
        for UsageCount {
            hour,
            outcome,
            count,
            ..
        } in counts
        {
            let sum: &mut u64 = sums.entry((hour, outcome)).or_default();
            *sum = sum.saturating_add(count);
        }
        let sums = sums
            .into_iter()
            .map(|((hour, outcome), count)| UsageCount::new(id.clone(), hour, outcome, count));
        Ok(sums.collect())
    }
}
