//! Sixteen writers race for five seats, again and again.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tokio::{sync::Barrier, sync::Mutex, task::JoinSet};
use tower_api_key::{Actor, EventKind, LicenseEvent, Operation};

use super::{Database, Store, file, holder, license, module, server, setting};

const WRITERS: usize = 16;
const SEATS: u64 = 5;
const STORES: usize = 4;

/// One of those who race.
trait Writer: Send + Sync + 'static {
    /// Tries to get one of the seats of a round, once or several times; it wants one in the end.
    fn take(&self, round: usize) -> impl Future<Output = ()> + Send;

    /// How many hold a seat of the round.
    fn held(&self, round: usize) -> impl Future<Output = u64> + Send;
}

/// Lets the writers race, and answers the most seats that were ever seen taken in each round, and
/// how many were in the end.
async fn race(writers: Vec<impl Writer>) -> Vec<(u64, u64)> {
    let writers: Vec<_> = writers.into_iter().map(Arc::new).collect();
    let mut rounds = Vec::new();
    for round in 0..setting("CRASH_ROUNDS", 60) {
        let start = Arc::new(Barrier::new(writers.len()));
        let mut racing = JoinSet::new();
        for writer in &writers {
            let (writer, start) = (Arc::clone(writer), Arc::clone(&start));
            racing.spawn(async move {
                start.wait().await;
                writer.take(round).await;
                writer.held(round).await
            });
        }
        let seen = racing.join_all().await.into_iter().max().unwrap();
        let held = writers[0].held(round).await;
        rounds.push((seen.max(held), held));
    }
    rounds
}

struct StoreWriter {
    name: String,
    comes_twice: bool,
    store: Store,
}

impl Writer for StoreWriter {
    async fn take(&self, round: usize) {
        let holder = holder(&self.name);
        let modules = vec![module(&name(round))];
        let assign = Operation::Assign {
            holder: holder.clone(),
            modules: modules.clone(),
        };
        let mut operations = vec![assign.clone()];
        // Some give up what they got and come again, so that seats pass on during the race.
        if self.comes_twice {
            operations.extend([Operation::Unassign { holder, modules }, assign]);
        }
        for operation in operations {
            let applied = self.store.ledger.apply(operation, &Actor::system()).await;
            applied.unwrap();
        }
    }

    async fn held(&self, round: usize) -> u64 {
        let overview = self.store.ledger.overview().await.unwrap();
        let mut licenses = overview.licenses.iter();
        let of_round = licenses.find(|known| known.license.id == license(&name(round)));
        of_round.unwrap().used
    }
}

fn name(round: usize) -> String {
    format!("round-{round}")
}

async fn stores_never_oversell(database: Database) {
    let mut stores = Vec::new();
    for _ in 0..STORES {
        stores.push(database.open(None).await);
    }
    let rounds = setting("CRASH_ROUNDS", 60);
    stores[0].add_licenses((0..rounds).map(name), 5).await;
    let writers = (0..WRITERS).map(|number| StoreWriter {
        name: format!("w{number}"),
        comes_twice: number < STORES,
        store: stores[number % STORES].clone(),
    });
    let seen = race(writers.collect()).await;
    assert_eq!(seen, vec![(SEATS, SEATS); rounds]);
    let log = stores[0].log().await;
    let most = most_held(&log);
    assert_eq!(most.len(), rounds);
    assert!(most.values().all(|most| *most == SEATS), "{most:?}");
}

/// The most seats that were taken at once of each license, as the log tells.
fn most_held(log: &[LicenseEvent]) -> BTreeMap<&str, u64> {
    let (mut held, mut most) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
    for event in log {
        match &event.kind {
            EventKind::Reserved { license, .. } => {
                let held = held.entry(license.as_str()).or_default();
                *held += 1;
                let most = most.entry(license.as_str()).or_default();
                *most = (*most).max(*held);
            }
            EventKind::ReservationRemoved { license, .. } => {
                *held.get_mut(license.as_str()).unwrap() -= 1;
            }
            _ => {}
        }
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_never_oversells() {
    stores_never_oversell(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_never_oversells() {
    stores_never_oversell(Database::postgres()).await;
}

/// What the same race makes of those who count first and then take: without this the tests above
/// might not race at all.
fn assert_oversold(rounds: &[(u64, u64)]) {
    let oversold = rounds.iter().filter(|(most, _)| *most > SEATS).count();
    assert!(
        oversold > rounds.len() / 10,
        "{oversold} of {}",
        rounds.len()
    );
}

struct RacyPostgres(Mutex<PgConnection>, String);

impl Writer for RacyPostgres {
    async fn take(&self, round: usize) {
        let table = &self.1;
        let statement = format!(
            "INSERT INTO {table} SELECT {round} \
             WHERE (SELECT count(*) FROM {table} WHERE round = {round}) < {SEATS}"
        );
        let mut connection = self.0.lock().await;
        let query = sqlx::query(AssertSqlSafe(statement));
        query.execute(&mut *connection).await.unwrap();
    }

    async fn held(&self, round: usize) -> u64 {
        let statement = format!("SELECT count(*) FROM {} WHERE round = {round}", self.1);
        let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(statement));
        let mut connection = self.0.lock().await;
        query
            .fetch_one(&mut *connection)
            .await
            .unwrap()
            .cast_unsigned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_first_oversells_in_postgres() {
    let table = server::own_name("racy");
    server::execute(&format!("CREATE TABLE {table} (round bigint)")).await;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let connection = PgConnection::connect(&server::address()).await.unwrap();
        writers.push(RacyPostgres(Mutex::new(connection), table.clone()));
    }
    assert_oversold(&race(writers).await);
}

struct RacySqlite(Mutex<SqliteConnection>);

impl Writer for RacySqlite {
    async fn take(&self, round: usize) {
        if self.held(round).await < SEATS {
            let statement = format!("INSERT INTO racy VALUES ({round})");
            let mut connection = self.0.lock().await;
            let query = sqlx::query(AssertSqlSafe(statement));
            query.execute(&mut *connection).await.unwrap();
        }
    }

    async fn held(&self, round: usize) -> u64 {
        let statement = format!("SELECT count(*) FROM racy WHERE round = {round}");
        let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(statement));
        let mut connection = self.0.lock().await;
        query
            .fetch_one(&mut *connection)
            .await
            .unwrap()
            .cast_unsigned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_first_oversells_in_sqlite() {
    let options = SqliteConnectOptions::new()
        .filename(file::fresh())
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let connection = SqliteConnection::connect_with(&options).await.unwrap();
        writers.push(RacySqlite(Mutex::new(connection)));
    }
    let create = sqlx::query("CREATE TABLE racy (round INTEGER)");
    create
        .execute(&mut *writers[0].0.lock().await)
        .await
        .unwrap();
    assert_oversold(&race(writers).await);
}
