//! Reservations on PostgreSQL: spread over tenants, and all for one license.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tower_api_key::{
    Actor, Holder, License, LicenseId, LicenseLedger, Module, Operation, PostgresStore, Seats,
};

use crate::{address, floor::Floor, median, note, own_name, row};

const SECONDS: u64 = 2;
const ROUNDS: usize = 5;

/// As many callers for one license, against one.
pub(crate) async fn one_hot_license() {
    let (one, many) = (tenants(1, "alone").await, tenants(1, "together").await);
    let (mut alone, mut together, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        alone.push(rate(&one, 1, round).await);
        together.push(rate(&many, 32, round).await);
        ratios.push(together[round] / alone[round]);
    }
    note(
        "PostgreSQL: reservations a second for one license, 1 and 32 callers",
        format!("{:.0}, {:.0}", median(alone), median(together)),
    );
    row(
        "PostgreSQL: 32 callers for one license against one",
        true,
        3.0,
        median(ratios),
    );
}

/// Over tenants that have nothing to do with each other.
pub(crate) async fn many_tenants() {
    const TENANTS: usize = 1_000;
    const CLIENTS: usize = 8;
    let floor = Floor::new(TENANTS).await;
    let stores = tenants(TENANTS, "spread").await;
    // Each tenant's first is not measured: 1,000 of them would be a large part.
    rate(&stores, CLIENTS, ROUNDS).await;
    let (mut spread, mut least, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let Some(reached) = floor.rate(CLIENTS, SECONDS) else {
            return note("PostgreSQL: the floor", "no pgbench here");
        };
        least.push(reached);
        spread.push(rate(&stores, CLIENTS, round).await);
        ratios.push(spread[round] / least[round]);
    }
    note(
        "PostgreSQL: reservations a second over 1,000 tenants, 8 callers; pgbench's one statement",
        format!("{:.0}, {:.0}", median(spread), median(least)),
    );
    row(
        "PostgreSQL: reservations over 1,000 tenants against pgbench's one (unsafe) statement",
        true,
        0.6,
        median(ratios),
    );
}

async fn tenants(count: usize, name: &str) -> Vec<PostgresStore> {
    let connect = PostgresStore::connect(address()).with_schema(own_name(name));
    let first = connect.with_tenant("tenant-0").await.expect("connects");
    let mut stores = Vec::new();
    for tenant in 0..count {
        let store = first.tenant(format!("tenant-{tenant}"));
        let store = store.await.expect("a tenant");
        let license = License::new(license(), Seats::Limited(1_000_000));
        for operation in [
            Operation::MapModule {
                module: module(),
                license: Some(license.id.clone()),
            },
            Operation::SetLicense { license },
        ] {
            let applied = store.apply(operation, &Actor::system()).await;
            applied.expect("applied");
        }
        stores.push(store);
    }
    stores
}

/// Reservations in a second, each of a holder of its own, by so many callers who take turns with the
/// stores.
async fn rate(stores: &[PostgresStore], callers: usize, round: usize) -> f64 {
    let stores: Arc<[PostgresStore]> = stores.into();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let stores = Arc::clone(&stores);
        tasks.spawn(async move {
            let mut done = 0;
            while start.elapsed() < Duration::from_secs(SECONDS) {
                let store = &stores[(caller + done * callers) % stores.len()];
                let assign = Operation::Assign {
                    holder: Holder::new(format!("key-{round}-{caller}-{done}")).expect("a holder"),
                    modules: vec![module()],
                };
                let events = store.apply(assign, &Actor::system()).await;
                assert_eq!(events.expect("applied").len(), 2, "assigned and reserved");
                done += 1;
            }
            done
        });
    }
    let done: usize = tasks.join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}

fn module() -> Module {
    Module::new("launcher").expect("a module")
}

fn license() -> LicenseId {
    LicenseId::new("launcher").expect("a license")
}
