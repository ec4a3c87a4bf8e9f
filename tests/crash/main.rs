//! Several stores on one database, as several processes have them: races, crashes, outages.
//!
//! `scripts/soak` runs all of this for longer: see there for the variables that say how long.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

#[path = "../support/sqlite.rs"]
mod file;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/postgres.rs"]
mod server;

mod history;
mod kills;
mod race;
mod restart;
mod workload;

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use tower_api_key::{
    Actor, Durability, Holder, KeyManager, KeyStore, License, LicenseEvent, LicenseId,
    LicenseLedger, ManualClock, Module, PostgresStore, Seats, SqliteStore,
};

/// Where stores keep what they keep.
#[derive(Debug, Clone)]
enum Database {
    Sqlite(PathBuf),
    Postgres {
        address: String,
        tenant: String,
        timeout: Duration,
    },
}

impl Database {
    /// A file of its own.
    fn sqlite() -> Self {
        Self::Sqlite(file::fresh())
    }

    /// A tenant of its own on the server that all tests share.
    fn postgres() -> Self {
        Self::tenant_at(server::address())
    }

    fn tenant_at(address: String) -> Self {
        let tenant = server::own_name("crash");
        Self::in_tenant(address, tenant)
    }

    fn in_tenant(address: String, tenant: String) -> Self {
        Self::Postgres {
            address,
            tenant,
            timeout: Duration::from_secs(5),
        }
    }

    fn with_timeout(mut self, limit: Duration) -> Self {
        if let Self::Postgres { timeout, .. } = &mut self {
            *timeout = limit;
        }
        self
    }

    /// The same tenant of the same server, through another port.
    fn through(mut self, port: u16) -> Self {
        if let Self::Postgres { address, .. } = &mut self {
            *address = server::through(address, port);
        }
        self
    }

    /// One store more, with the time of the system, or of a clock.
    async fn open(&self, clock: Option<Arc<ManualClock>>) -> Store {
        match self {
            Self::Sqlite(path) => {
                // Processes die here, the power does not fail.
                let mut open = SqliteStore::open(path).with_durability(Durability::ProcessDeath);
                if let Some(clock) = clock {
                    open = open.with_clock(clock);
                }
                Store::of(open.await.unwrap())
            }
            Self::Postgres {
                address,
                tenant,
                timeout,
            } => {
                let mut connect = PostgresStore::connect(address)
                    .with_schema("crashes")
                    .with_tenant(tenant)
                    .with_timeout(*timeout);
                if let Some(clock) = clock {
                    connect = connect.with_clock(clock);
                }
                Store::of(connect.await.unwrap())
            }
        }
    }
}

/// Both halves of a store, whatever database it is in.
#[derive(Clone)]
struct Store {
    keys: Arc<dyn KeyStore>,
    ledger: Arc<dyn LicenseLedger>,
}

impl Store {
    fn of(store: impl KeyStore + LicenseLedger + Clone) -> Self {
        Self {
            keys: Arc::new(store.clone()),
            ledger: Arc::new(store),
        }
    }

    fn manager(&self) -> KeyManager {
        KeyManager::new(self.keys.clone(), self.ledger.clone())
    }

    /// Licenses with a module each, of the same name.
    async fn add_licenses(&self, names: impl IntoIterator<Item = String>, seats: u32) {
        let (manager, actor) = (self.manager(), Actor::system());
        for name in names {
            let id = license(&name);
            let license = License::new(id.clone(), Seats::Limited(seats));
            manager.set_license(license, &actor).await.unwrap();
            let module = module(&name);
            let mapped = manager.map_module(&module, Some(&id), &actor).await;
            mapped.unwrap();
        }
    }

    async fn log(&self) -> Vec<LicenseEvent> {
        self.ledger.events(0, usize::MAX).await.unwrap()
    }
}

fn license(name: &str) -> LicenseId {
    LicenseId::new(name).unwrap()
}

fn module(name: &str) -> Module {
    Module::new(name).unwrap()
}

fn holder(name: &str) -> Holder {
    Holder::new(name).unwrap()
}

/// What `scripts/soak` tells; shown with `--nocapture`.
fn print(figures: &str) {
    let name = std::thread::current();
    let name = name.name().unwrap_or("a test").to_owned();
    io::stdout()
        .write_all(format!("{name}: {figures}\n").as_bytes())
        .unwrap();
}

/// Asks again and again whether something has come about; a minute is for ever.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        let mut soon = tokio::time::interval(Duration::from_millis(2));
        while !condition().await {
            soon.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}, at last");
}

/// A number that the environment may set.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().ok().expect("a number"),
        Err(_) => default,
    }
}
