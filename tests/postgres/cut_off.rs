//! A process that is cut off from the server: what it knows is worth `max_staleness` and no more.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tower::Layer;
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, CreatedKey, KeyManager, License, LicenseLedger, ManualClock,
    NewKey, PostgresStore, Seats,
};

use super::{
    proxy::{Network, Proxy},
    server,
    support::{Answer, Strict, admin, answer, get, license, map, module},
    until,
};

const MAX_STALENESS: Duration = Duration::from_secs(30);

/// What passes after `max_staleness`, one after the other.
const LONGER: [Duration; 3] = [
    Duration::from_micros(1),
    MAX_STALENESS,
    Duration::from_secs(86_400),
];

#[tokio::test]
async fn revoked_key_is_never_granted_again_where_connections_break() {
    revoked_key_is_never_granted_again(Network::Cut).await;
}

#[tokio::test]
async fn revoked_key_is_never_granted_again_where_nothing_comes_through() {
    revoked_key_is_never_granted_again(Network::Silent).await;
}

async fn revoked_key_is_never_granted_again(network: Network) {
    let world = World::new(2).await;
    let (far, near) = (&world.far, &world.near);
    let (revoked, good, unseen) = (near.key().await, near.key().await, near.key().await);
    far.hears_all_of(near).await;
    for key in [&revoked, &good] {
        far.get("/engines", key).await.granted();
    }

    world.proxy.set(network);
    let id = &revoked.key.record.id;
    near.manager.revoke(id, &admin()).await.unwrap();
    is_revoked(&near.get("/engines", &revoked).await);
    no_keys(&far.get("/me", &unseen).await);
    world.clock.advance(MAX_STALENESS);
    for path in ["/engines", "/me"] {
        far.get(path, &revoked).await.granted();
        far.get(path, &good).await.granted();
    }
    for longer in LONGER {
        world.clock.advance(longer);
        let requests = ["/engines", "/me"].map(|path| [(path, &revoked), (path, &good)]);
        let requests = requests.as_flattened().iter();
        let answers = requests.map(|(path, key)| far.get(path, key));
        for answer in join_all(answers).await {
            no_keys(&answer);
        }
        is_revoked(&near.get("/engines", &revoked).await);
        near.get("/engines", &good).await.granted();
    }

    world.proxy.set(Network::Open);
    is_revoked(&far.get_after(no_keys, "/engines", &revoked).await);
    far.get_after(no_keys, "/engines", &good).await.granted();
}

#[tokio::test]
async fn seat_that_was_taken_away_is_never_granted_again() {
    let world = World::new(3).await;
    let (far, near) = (&world.far, &world.near);
    // The keys are near, only their seats are far away.
    let half = Process::on(&near.store, &far.store, &world.clock);
    let (evicted, unassigned, good) = (near.key().await, near.key().await, near.key().await);
    let all = [&evicted, &unassigned, &good];
    far.hears_all_of(near).await;
    for process in [far, &half] {
        for key in all {
            process.get("/engines", key).await.granted();
        }
    }

    world.proxy.set(Network::Cut);
    let (id, modules) = (&unassigned.key.record.id, [module("launcher")]);
    near.manager.unassign(id, &modules, &admin()).await.unwrap();
    near.set_seats(1).await;
    is_evicted(&near.get("/engines", &evicted).await);
    is_unassigned(&near.get("/engines", &unassigned).await);
    near.get("/engines", &good).await.granted();
    world.clock.advance(MAX_STALENESS);
    for process in [far, &half] {
        for key in all {
            process.get("/engines", key).await.granted();
        }
    }
    for longer in LONGER {
        world.clock.advance(longer);
        for key in all {
            no_keys(&far.get("/engines", key).await);
            no_seats(&half.get("/engines", key).await);
            half.get("/me", key).await.granted();
        }
    }

    world.proxy.set(Network::Open);
    for (process, outage) in [(far, no_keys as fn(&Answer)), (&half, no_seats)] {
        is_evicted(&process.get_after(outage, "/engines", &evicted).await);
        is_unassigned(&process.get_after(outage, "/engines", &unassigned).await);
        process.get_after(outage, "/engines", &good).await.granted();
    }
}

/// Two processes with one database: one through a network that can be cut, one that is never.
struct World {
    clock: Arc<ManualClock>,
    proxy: Proxy,
    far: Process,
    near: Process,
}

impl World {
    async fn new(seats: u32) -> Self {
        let schema = server::own_name("cut_off");
        let clock = Arc::new(ManualClock::new());
        let proxy = Proxy::to(server::port()).await;
        let connect = async |address: String| {
            let store = PostgresStore::connect(address)
                .with_schema(&schema)
                .with_clock(clock.clone())
                .with_timeout(Duration::from_secs(1))
                .with_poll_interval(Duration::from_millis(20));
            let store = store.await.unwrap();
            Process::on(&store, &store, &clock)
        };
        let near = connect(server::address()).await;
        let far = connect(server::address_through(proxy.port())).await;
        near.set_seats(seats).await;
        let (module, license) = (module("launcher"), license("launcher"));
        near.manager
            .map_module(&module, Some(&license), &admin())
            .await
            .unwrap();
        Self {
            clock,
            proxy,
            far,
            near,
        }
    }
}

/// A guarded service as one process has it.
struct Process {
    store: PostgresStore,
    manager: KeyManager,
    service: ApiKeyService<Strict>,
}

impl Process {
    fn on(keys: &PostgresStore, ledger: &PostgresStore, clock: &Arc<ManualClock>) -> Self {
        let layer = ApiKeyLayer::builder(keys.clone(), map(), ledger.clone())
            .with_clock(clock.clone())
            .with_max_staleness(MAX_STALENESS)
            .with_maintenance_task(false)
            .with_lookup_timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Self {
            store: keys.clone(),
            manager: layer.manager(),
            service: layer.layer(Strict::default()),
        }
    }

    async fn set_seats(&self, seats: u32) {
        let license = License::new(license("launcher"), Seats::Limited(seats));
        self.manager.set_license(license, &admin()).await.unwrap();
    }

    /// A new key with a seat.
    async fn key(&self) -> CreatedKey {
        let new = NewKey::named("a").with_modules([module("launcher")]);
        self.manager.create(new, &admin()).await.unwrap()
    }

    /// Until nothing is left to be told, so that what is asked from here on is remembered.
    async fn hears_all_of(&self, other: &Self) {
        let last = *other.store.latest().borrow();
        let heard = self.store.latest();
        until("all is told", async || *heard.borrow() >= last).await;
    }

    async fn get(&self, path: &str, key: &CreatedKey) -> Answer {
        let request = get(path).header("x-api-key", key.text.expose());
        answer(self.service.clone(), request).await
    }

    /// The first answer that is not 503: those before are as `outage` says.
    async fn get_after(&self, outage: fn(&Answer), path: &str, key: &CreatedKey) -> Answer {
        let waiting = async {
            loop {
                let answer = self.get(path, key).await;
                if answer.status != 503 {
                    return answer;
                }
                outage(&answer);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        waited.expect("the outage ends, at last")
    }
}

#[track_caller]
fn no_keys(answer: &Answer) {
    let detail = "API keys cannot be checked at the moment.";
    answer.refused(503, "store_unavailable", detail);
    is_outage(answer);
}

#[track_caller]
fn no_seats(answer: &Answer) {
    let detail = "Licenses cannot be checked at the moment.";
    answer.refused(503, "ledger_unavailable", detail);
    is_outage(answer);
}

#[track_caller]
fn is_outage(answer: &Answer) {
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(answer.challenges().is_empty(), "an outage is no 401");
}

#[track_caller]
fn is_revoked(answer: &Answer) {
    answer.refused(401, "revoked_key", "API Key has been revoked.");
}

#[track_caller]
fn is_evicted(answer: &Answer) {
    let detail = "License limit reached, cannot reserve additional licenses.";
    answer.refused(403, "license_limit_reached", detail);
}

#[track_caller]
fn is_unassigned(answer: &Answer) {
    let detail = "API Key does not have access to required module resource";
    answer.refused(403, "module_access_missing", detail);
}
