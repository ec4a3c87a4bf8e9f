//! Notifications: how a process tells the others at once what it has committed.
//!
//! A change of a key is notified with its commit. What happened to a ledger is notified after it,
//! since the server lets only one transaction at a time commit that notifies, and syncs its log
//! meanwhile: 750 reservations a second for all tenants together where there were 3,400 without
//! (measured with `benches/stores`). What is lost in between, with the process or with its connection,
//! is found by the others' next poll, like all that no notification told.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use super::{connections::is_answer, schema::Schema};

/// Of what something is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    Keys,
    Ledger,
}

/// The number of a tenant's latest change: `k17 tenant` of its keys, `l42 tenant` of its ledger.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News<'n> {
    pub(super) of: Of,
    pub(super) number: u64,
    pub(super) tenant: &'n str,
}

impl<'n> News<'n> {
    pub(super) fn parse(payload: &'n str) -> Option<Self> {
        let (what, tenant) = payload.split_once(' ')?;
        let (of, number) = match what.split_at_checked(1)? {
            ("k", number) => (Of::Keys, number),
            ("l", number) => (Of::Ledger, number),
            _ => return None,
        };
        let number = number.parse().ok()?;
        Some(Self { of, number, tenant })
    }

    fn payload(&self) -> String {
        let of = match self.of {
            Of::Keys => 'k',
            Of::Ledger => 'l',
        };
        format!("{of}{} {}", self.number, self.tenant)
    }
}

/// What this process has committed to ledgers and not notified yet: each tenant's latest number.
#[derive(Default)]
pub(super) struct Outbox {
    latest: Mutex<BTreeMap<String, u64>>,
    is_filled: Notify,
}

impl Outbox {
    pub(super) fn put(&self, tenant: &str, number: u64) {
        let mut latest = self.latest();
        let before = latest.entry(tenant.to_owned()).or_default();
        *before = number.max(*before);
        drop(latest);
        self.is_filled.notify_one();
    }

    fn latest(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something.
    pub(super) async fn filled(&self) {
        self.is_filled.notified().await;
    }

    /// Sends what is there, each tenant's latest.
    pub(super) async fn send(
        &self,
        channel: &Channel,
        listener: &mut PgListener,
    ) -> Result<(), sqlx::Error> {
        let latest = std::mem::take(&mut *self.latest());
        if latest.is_empty() {
            return Ok(());
        }
        let payloads = latest.iter().map(|(tenant, number)| {
            let (of, number) = (Of::Ledger, *number);
            News { of, number, tenant }.payload()
        });
        // There is nothing to lose that would be worth a sync.
        let sent = sqlx::query(
            "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, payload) \
             FROM unnest($2) AS payload",
        )
        .bind(&channel.0)
        .bind(payloads.collect::<Vec<_>>())
        .execute(listener)
        .await;
        match sent {
            // The server may refuse, where its queue is full: no reason to follow no more.
            Err(error) if !is_answer(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Where the changes of all tenants in a schema are notified.
pub(super) struct Channel(String);

impl Channel {
    /// As `tower_key_changed` has it. Channels belong to a database, so the name has to say whose this
    /// is; and a schema's name may be as long as a channel's.
    pub(super) fn of(schema: &Schema) -> Self {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(schema.name());
        let digits = digest[..16].iter().map(|byte| format!("{byte:02x}"));
        Self(format!("tower_api_key_{}", digits.collect::<String>()))
    }

    pub(super) async fn listen(&self, listener: &mut PgListener) -> Result<(), sqlx::Error> {
        match listener.listen(&self.0).await {
            // A standby server has no notifications: there the poll is all.
            Ok(()) | Err(sqlx::Error::Database(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_read_as_it_is_written() {
        for (of, tenant) in [(Of::Keys, "default"), (Of::Ledger, "studio 7, Köln")] {
            let news = News {
                of,
                number: 42,
                tenant,
            };
            assert_eq!(News::parse(&news.payload()).as_ref(), Some(&news));
        }
    }

    #[test]
    fn what_strangers_notify_is_no_news() {
        for payload in [
            "",
            "k",
            "k1",
            "17 default",
            "m17 default",
            "k-1 default",
            "ä1 x",
        ] {
            assert_eq!(News::parse(payload), None, "{payload:?}");
        }
    }

    #[test]
    fn channel_is_short_enough_and_each_schemas_own() {
        let long = Channel::of(&Schema::new(&"a".repeat(63)).unwrap());
        let other = Channel::of(&Schema::new(&"a".repeat(62)).unwrap());
        assert!(long.0.len() <= 63);
        assert_ne!(long.0, other.0);
    }

    #[test]
    fn latest_number_goes_for_those_before() {
        let outbox = Outbox::default();
        for (tenant, number) in [("a", 7), ("a", 9), ("a", 8), ("b", 1)] {
            outbox.put(tenant, number);
        }
        let latest = outbox.latest.into_inner().unwrap();
        let expected = [("a".to_owned(), 9), ("b".to_owned(), 1)];
        assert_eq!(latest, BTreeMap::from(expected));
    }
}
