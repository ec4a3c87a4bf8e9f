//! A reservation on SQLite beside the same by hand, and what durability costs.

use std::{
    path::Path,
    time::{Instant, SystemTime},
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tower_api_key::{
    Actor, Durability, EventKind, Holder, License, LicenseId, LicenseLedger, Module, Operation,
    ReservedCause, Seats, SqliteStore,
};

use crate::{fresh_file, median, micros, note, row};

const ROUNDS: usize = 41;
const TIMES: usize = 100;
/// They take turns, so that no line gets long.
const LICENSES: usize = 64;
const SEATS: u32 = 1_000;

pub(crate) async fn by_hand() {
    let store = licensed(&fresh_file("reserve"), Durability::PowerLoss).await;
    let path = fresh_file("reserve-by-hand");
    drop(licensed(&path, Durability::PowerLoss).await);
    let mut by_hand = ByHand::connect(&path).await;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let turns: Vec<_> = (0..TIMES).map(|time| Turn::new(round, time)).collect();
        let spent = spent(&store, &turns).await;
        let start = Instant::now();
        for turn in &turns {
            by_hand.reserve(turn).await.expect("reserved");
        }
        let spent_by_hand = micros(start.elapsed()) / TIMES as f64;
        // The first round warms up.
        if round > 0 {
            ours.push(spent);
            theirs.push(spent_by_hand);
            ratios.push(spent / spent_by_hand);
        }
    }
    note(
        "SQLite: µs for a reservation; by hand on one connection",
        format!("{:.0}, {:.0}", median(ours), median(theirs)),
    );
    row(
        "SQLite: a reservation against the same statements by hand",
        false,
        1.15,
        median(ratios),
    );
    let done_by_hand = SqliteStore::open(&path).await.expect("opens");
    is_the_same(&store, &done_by_hand).await;
}

pub(crate) async fn durability() {
    let paths = ["reserve-power-loss", "reserve-process-death"].map(fresh_file);
    let safe = licensed(&paths[0], Durability::PowerLoss).await;
    let fast = licensed(&paths[1], Durability::ProcessDeath).await;
    let (mut safely, mut quickly, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let turns: Vec<_> = (0..TIMES).map(|time| Turn::new(round, time)).collect();
        let (safe, fast) = (spent(&safe, &turns).await, spent(&fast, &turns).await);
        if round > 0 {
            safely.push(1e6 / safe);
            quickly.push(1e6 / fast);
            ratios.push(safe / fast);
        }
    }
    note(
        "SQLite: reservations a second that survive power loss; only process death; how many times as many",
        format!(
            "{:.0}, {:.0}, {:.2}",
            median(safely),
            median(quickly),
            median(ratios)
        ),
    );
}

/// Microseconds for one of these reservations on a store.
async fn spent(store: &SqliteStore, turns: &[Turn]) -> f64 {
    let start = Instant::now();
    for turn in turns {
        let assign = Operation::Assign {
            holder: turn.holder.clone(),
            modules: vec![turn.module.clone()],
        };
        let events = store.apply(assign, &Actor::system()).await;
        assert_eq!(events.expect("applied").len(), 2, "assigned and reserved");
    }
    micros(start.elapsed()) / turns.len() as f64
}

/// Who reserves what.
struct Turn {
    holder: Holder,
    module: Module,
}

impl Turn {
    fn new(round: usize, time: usize) -> Self {
        let number = round * TIMES + time;
        Self {
            holder: Holder::new(format!("key-{number:08}")).expect("a holder"),
            module: module(number % LICENSES),
        }
    }
}

/// The same tables, the same file settings, and the statements that somebody would write who needs
/// nothing else: a holder that is not known yet gets a seat that is free.
struct ByHand(SqliteConnection);

impl ByHand {
    async fn connect(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        Self(options.connect().await.expect("connects"))
    }

    async fn reserve(&mut self, turn: &Turn) -> Result<(), sqlx::Error> {
        let Turn { holder, module } = turn;
        let mut transaction = self.0.begin_with("begin immediate").await?;
        let now = since_1970();
        let (clock, seq, license, is_free): (i64, i64, String, bool) = sqlx::query_as(FREE)
            .bind(holder.as_str())
            .bind(module.as_str())
            .bind(now)
            .fetch_one(&mut *transaction)
            .await?;
        assert!(is_free, "a seat is free, and nothing else is to be done");
        let now = now.max(clock);
        let (assigned, reserved) = (seq + 1, seq + 2);
        sqlx::query("insert into tower_holder values (?, 1, null, 0)")
            .bind(holder.as_str())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("insert into tower_assignment values (?, ?, ?, ?)")
            .bind(holder.as_str())
            .bind(module.as_str())
            .bind(assigned)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("insert into tower_place values (?, ?, ?, ?, ?, ?)")
            .bind(&license)
            .bind(holder.as_str())
            .bind(assigned)
            .bind(now)
            .bind(reserved)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        let was_assigned = EventKind::ModuleAssigned {
            holder: holder.clone(),
            module: module.clone(),
        };
        let was_reserved = EventKind::Reserved {
            license: LicenseId::new(license).expect("a license"),
            holder: holder.clone(),
            cause: ReservedCause::Assigned,
        };
        sqlx::query("insert into tower_event values (?, ?, ?, ?), (?, ?, ?, ?)")
            .bind(assigned)
            .bind(now)
            .bind("system")
            .bind(serde_json::to_string(&was_assigned).expect("an entry"))
            .bind(reserved)
            .bind(now)
            .bind("system")
            .bind(serde_json::to_string(&was_reserved).expect("an entry"))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("update tower_tenant set clock = ?, seq = ?, ops = ops + 1")
            .bind(now)
            .bind(reserved)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }
}

/// What has to be known: the clock, the last number, the license, and that nobody is in the way: the
/// holder is new, there are seats left and nobody waits for them, the license has not ended, and no
/// end is due that would give seats to others.
const FREE: &str = "\
    select clock, seq, license, not limited_edition \
        and not exists (select 1 from tower_holder where holder = ?1) \
        and (seats is null or seats > \
            (select count(*) from tower_place as place \
             where place.license = tower_license.license and seat is not null)) \
        and not exists (select 1 from tower_place as place \
            where place.license = tower_license.license and seat is null) \
        and (valid_until is null or valid_until > max(clock, ?3)) \
        and not exists (select 1 from tower_holder \
            where revoked = 0 and active_until > clock and active_until <= ?3) \
        and not exists (select 1 from tower_license \
            where valid_until > clock and valid_until <= ?3) \
    from tower_tenant, tower_module join tower_license using (license) \
    where module = ?2";

/// Both sides have done the same.
async fn is_the_same(one: &SqliteStore, other: &SqliteStore) {
    let log = async |store: &SqliteStore| {
        let events = store.events(0, usize::MAX).await.expect("read");
        events.into_iter().map(|event| (event.seq, event.kind))
    };
    assert!(log(one).await.eq(log(other).await), "one log");
    let licenses = async |store: &SqliteStore| store.overview().await.expect("read").licenses;
    assert_eq!(licenses(one).await, licenses(other).await);
    let holders = async |store: &SqliteStore| store.holders(None, usize::MAX).await.expect("read");
    assert_eq!(holders(one).await, holders(other).await);
}

/// A store in a file of its own, with free seats.
async fn licensed(path: &Path, durability: Durability) -> SqliteStore {
    let store = SqliteStore::open(path).with_durability(durability);
    let store = store.await.expect("opens");
    for number in 0..LICENSES {
        let id = LicenseId::new(format!("license-{number:02}")).expect("a license");
        for operation in [
            Operation::MapModule {
                module: module(number),
                license: Some(id.clone()),
            },
            Operation::SetLicense {
                license: License::new(id, Seats::Limited(SEATS)),
            },
        ] {
            let applied = store.apply(operation, &Actor::system()).await;
            applied.expect("applied");
        }
    }
    store
}

fn module(number: usize) -> Module {
    Module::new(format!("module-{number:02}")).expect("a module")
}

/// In microseconds.
fn since_1970() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.expect("after 1970").as_micros();
    i64::try_from(micros).expect("before the year 290,000")
}
