//! What other processes change, told to this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::{Either, select};
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow},
};
use tokio::{
    sync::oneshot,
    time::{self, Instant},
};

use super::{
    connections::{Connections, in_time},
    ledger::event,
    notify::{Channel, News, Of, Outbox},
    schema::{Schema, Statement},
};
use crate::{
    clock::Clock,
    error::BackendError,
    observe,
    sql::{KeyChange, ToldOfBoth},
};

/// The tenants whose stores are open in this process.
#[derive(Clone, Default)]
pub(super) struct Followed(Arc<Mutex<BTreeMap<String, Weak<ToldOfBoth>>>>);

type Tenants = Vec<(String, Arc<ToldOfBoth>)>;

impl Followed {
    /// Follows a tenant too, until what is told of it is dropped. `fresh` is what nobody has read
    /// anything by yet; another handle's is taken instead where there is one.
    pub(super) fn add(&self, tenant: &str, fresh: ToldOfBoth) -> Arc<ToldOfBoth> {
        let mut tenants = self.tenants();
        tenants.retain(|_, told| told.strong_count() > 0);
        if let Some(told) = tenants.get(tenant).and_then(Weak::upgrade) {
            return told;
        }
        let told = Arc::new(fresh);
        tenants.insert(tenant.to_owned(), Arc::downgrade(&told));
        told
    }

    fn tenants(&self) -> MutexGuard<'_, BTreeMap<String, Weak<ToldOfBoth>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Tenants {
        let open = |(tenant, told): (&String, &Weak<_>)| Some((tenant.clone(), told.upgrade()?));
        self.tenants().iter().filter_map(open).collect()
    }

    /// Those of which the notifications say something that has not been told yet.
    fn behind(&self, notifications: &BTreeSet<String>) -> Tenants {
        let behind = |notification: &String| {
            let news = News::parse(notification)?;
            let told = self.tenants().get(news.tenant)?.upgrade()?;
            let known = match news.of {
                Of::Keys => told.keys.number(),
                Of::Ledger => told.ledger.number(),
            };
            // What this process has committed itself is told already.
            (known < news.number).then(|| (news.tenant.to_owned(), told))
        };
        notifications.iter().filter_map(behind).collect()
    }
}

/// Reads what is new after each notification, and at the latest after each interval; and notifies the
/// others of what is new here.
///
/// It has a connection of its own: a pool that is busy holds up no word of a revocation.
pub(super) struct Follower {
    pub(super) options: PgConnectOptions,
    pub(super) channel: Channel,
    pub(super) outbox: Arc<Outbox>,
    pub(super) statements: Statements,
    pub(super) followed: Followed,
    pub(super) connections: Arc<Connections>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) every: Duration,
    pub(super) timeout: Duration,
}

pub(super) struct Statements {
    positions: Statement,
    key_changes: Statement,
    events: Statement,
}

impl Statements {
    pub(super) fn new(schema: &Schema) -> Self {
        Self {
            positions: Statement::new(format!(
                "SELECT tenant, key_seq, seq FROM {schema}.tower_tenant WHERE tenant = ANY ($1)"
            )),
            key_changes: Statement::new(format!(
                "SELECT seq, key, added FROM {schema}.tower_key_change \
                 WHERE tenant = $1 AND seq > $2 AND seq <= $3 ORDER BY seq"
            )),
            events: Statement::new(format!(
                "SELECT seq, at, actor, event FROM {schema}.tower_event \
                 WHERE tenant = $1 AND seq > $2 AND seq <= $3 ORDER BY seq"
            )),
        }
    }
}

impl Follower {
    /// Follows on the runtime of the caller until the other end of `ended` is dropped.
    pub(super) fn start(self, ended: oneshot::Receiver<Infallible>) {
        tokio::spawn(async move {
            select(ended, pin!(self.follow())).await;
        });
    }

    async fn follow(&self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let Err(error) = self.follow_until_lost(&mut pause).await;
            // Once for each time the connection is lost, not for each attempt.
            if pause == SHORTEST_PAUSE {
                observe::maintenance_failed("follow", &BackendError::unavailable(error));
            }
            self.connections.give_back();
            time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn follow_until_lost(&self, pause: &mut Duration) -> Result<Infallible, sqlx::Error> {
        let mut listener = in_time(self.timeout, self.listen()).await?;
        let mut rest = Instant::now() + REST;
        loop {
            let poll = Instant::now() + self.every;
            let all = self.followed.all();
            in_time(self.timeout, self.catch_up(&mut listener, all)).await?;
            *pause = SHORTEST_PAUSE;
            // However much there is to tell of some tenants, the others have their turn.
            while Instant::now() < poll {
                if rest <= Instant::now() {
                    self.connections.give_back();
                    rest = Instant::now() + REST;
                }
                let sent = self.outbox.send(&self.channel, &mut listener);
                in_time(self.timeout, sent).await?;
                let notifications = self.notified(&mut listener, poll.min(rest)).await?;
                let behind = self.followed.behind(&notifications);
                if !behind.is_empty() {
                    in_time(self.timeout, self.catch_up(&mut listener, behind)).await?;
                }
            }
        }
    }

    /// Waits for notifications and takes all that are there: none when `until` comes first, or something
    /// to be sent.
    async fn notified(
        &self,
        listener: &mut PgListener,
        until: Instant,
    ) -> Result<BTreeSet<String>, sqlx::Error> {
        let mut notifications = BTreeSet::new();
        let first = {
            let (received, filled) = (pin!(listener.try_recv()), pin!(self.outbox.filled()));
            match time::timeout_at(until, select(received, filled)).await {
                Err(_) | Ok(Either::Right(_)) => return Ok(notifications),
                Ok(Either::Left((received, _))) => received?,
            }
        };
        let Some(first) = first else {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        };
        notifications.insert(first.payload().to_owned());
        while let Some(next) = listener.next_buffered() {
            notifications.insert(next.payload().to_owned());
        }
        Ok(notifications)
    }

    /// Listens first: what is committed before the first reading is read by it, what is committed
    /// later is notified.
    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.timeout)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        // A lost connection is for `follow` to open again: a reading has to come after it.
        listener.eager_reconnect(false);
        self.channel.listen(&mut listener).await?;
        Ok(listener)
    }

    /// Tells what is new, of the keys and of the ledgers, and then that all is told.
    async fn catch_up(
        &self,
        listener: &mut PgListener,
        tenants: Tenants,
    ) -> Result<(), sqlx::Error> {
        let began = self.clock.now().monotonic;
        // Before the reading: what this process commits meanwhile must not seem to be undone.
        let before = |(tenant, told): (String, Arc<ToldOfBoth>)| {
            let numbers = (told.keys.number(), told.ledger.number());
            (tenant, (told, numbers))
        };
        let tenants: BTreeMap<_, _> = tenants.into_iter().map(before).collect();
        let names: Vec<_> = tenants.keys().map(String::as_str).collect();
        let positions = self.statements.positions.query().bind(names);
        for row in positions.fetch_all(&mut *listener).await? {
            let tenant: &str = row.try_get(0)?;
            let Some((told, (key_number, number))) = tenants.get(tenant) else {
                continue;
            };
            let latest = row.try_get::<i64, _>(1)?.cast_unsigned();
            if told.keys.must_read(*key_number, latest) {
                let rows = self.statements.key_changes.query().bind(tenant);
                let rows = rows.bind(key_number.cast_signed());
                let rows = rows.bind(latest.cast_signed()).fetch_all(&mut *listener);
                let rows: Result<Vec<_>, _> = rows.await?.iter().map(key_change).collect();
                told.keys.tell_read(*key_number, latest, &rows?);
            }
            let latest = row.try_get::<i64, _>(2)?.cast_unsigned();
            if told.ledger.must_read(*number, latest) {
                let rows = self.statements.events.query().bind(tenant);
                let rows = rows.bind(number.cast_signed());
                let rows = rows.bind(latest.cast_signed()).fetch_all(&mut *listener);
                // An entry that cannot be read means what everything means.
                let events: Result<Vec<_>, _> = rows.await?.iter().map(event).collect();
                let events = events.unwrap_or_default();
                told.ledger.tell_read(*number, latest, &events);
            }
            told.heard(began);
        }
        Ok(())
    }
}

fn key_change(row: &PgRow) -> Result<KeyChange<String>, sqlx::Error> {
    Ok(KeyChange {
        number: row.try_get::<i64, _>(0)?.cast_unsigned(),
        key: row.try_get(1)?,
        added: row.try_get(2)?,
    })
}

/// So long connections stay at hand at most.
const REST: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
