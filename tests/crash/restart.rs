//! A server that breaks off in the middle of mixed operations and comes back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::{sync::watch, task::JoinSet};
use tower_api_key::Actor;

use super::{
    Database, Store, server, setting, until,
    workload::{Client, LICENSES, Outcome, Possible, Random, SEATS, assert_sound},
};

const CLIENTS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Up,
    Down,
    Over,
}

/// What the clients have counted so far.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: [AtomicUsize; CLIENTS],
    outages: [AtomicUsize; CLIENTS],
}

/// Until each client has counted `more` than now.
async fn grows(what: &str, counts: &[AtomicUsize], more: usize) {
    let now = || counts.iter().map(|count| count.load(SeqCst));
    let before: Vec<_> = now().collect();
    let grown = || now().zip(&before).all(|(now, before)| now >= before + more);
    until(what, async || grown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_survives_its_own_crash() {
    let server = server::Server::start();
    let database = Database::tenant_at(server.address.clone());
    let stores = [database.open(None).await, database.open(None).await];
    let licenses = LICENSES.map(str::to_owned);
    stores[0].add_licenses(licenses, SEATS).await;
    let (phase, counts) = (watch::Sender::new(Phase::Up), Arc::new(Counts::default()));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let store = stores[client % stores.len()].clone();
        clients.spawn(operate(client, store, phase.subscribe(), counts.clone()));
    }
    let crashes = setting("CRASH_RESTARTS", 3);
    let mut random = Random::new(setting("CRASH_SEED", 1));
    for _ in 0..crashes {
        let calls = 1 + random.below(8) as usize;
        grows("calls are answered", &counts.acknowledged, calls).await;
        let told = grows("everyone is told of the outage", &counts.outages, 1);
        phase.send_replace(Phase::Down);
        tokio::join!(told, async { server.kill() });
        server.start_again();
        phase.send_replace(Phase::Up);
    }
    grows("the stores work again", &counts.acknowledged, 3).await;
    phase.send_replace(Phase::Over);
    let all = clients.join_all().await;

    let manager = stores[0].manager();
    manager.reconcile(&Actor::system()).await.unwrap();
    let (mut acknowledged, mut unknown) = (0, 0);
    for possible in all {
        possible.holds_in(&stores[1]).await;
        acknowledged += possible.acknowledged;
        unknown += possible.unknown;
    }
    assert_sound(&stores[1]).await;
    assert!(
        manager
            .reconcile(&Actor::system())
            .await
            .unwrap()
            .is_clean()
    );
    super::print(&format!(
        "{crashes} crashes, {acknowledged} calls acknowledged, {unknown} ended by an outage"
    ));
}

/// Calls until it is over; in an outage no more than once.
async fn operate(
    number: usize,
    store: Store,
    mut phase: watch::Receiver<Phase>,
    counts: Arc<Counts>,
) -> Possible {
    let manager = store.manager();
    let mut possible = Possible::default();
    let mut random = Random::new(setting("CRASH_SEED", 1) + 1_000 * number as u64);
    let mut client = Client::new(number, 0..0);
    while *phase.borrow() != Phase::Over {
        let step = client.next(&mut random);
        client.begins(&step);
        // Any error but one that names an outage is a panic here.
        let outcome = Outcome::of(&step.take(&manager).await);
        client.ended(&step, outcome);
        possible.ended(&step, outcome);
        if outcome == Outcome::Unknown {
            counts.outages[number].fetch_add(1, SeqCst);
            let back = phase.wait_for(|phase| *phase != Phase::Down).await;
            drop(back.unwrap());
        } else {
            counts.acknowledged[number].fetch_add(1, SeqCst);
        }
    }
    possible
}
