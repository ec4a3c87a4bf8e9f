//! What concurrent callers of several stores are answered can be explained by one order of their
//! calls: linearizability (Herlihy and Wing), decided by a search (Wing and Gong) that never tries
//! again from where it failed.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{sync::watch, task::JoinSet};
use tower_api_key::{
    Actor, Clock, Eviction, Holder, LedgerState, License, LicenseEvent, ManualClock, Operation,
    Seats, Standings, Timestamp,
};

use super::{
    Database, Store, holder, license, module,
    proxy::{Network, Proxy},
    server, setting, until,
    workload::Random,
};

const CLIENTS: usize = 8;
const CALLS_OF_EACH: usize = 12;

#[derive(Debug, Clone)]
enum Call {
    Apply(Operation),
    Standings(Holder),
}

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Events(Vec<LicenseEvent>),
    Standings(Standings),
}

/// A call from the instant before it to the instant after. One that failed may have taken effect,
/// may do so at any time later, or never.
#[derive(Debug, Clone)]
struct Entry {
    /// Of this call alone.
    actor: Actor,
    call: Call,
    began: u64,
    ended: u64,
    answer: Option<Answer>,
}

impl Entry {
    fn happens_in(&self, state: &mut LedgerState, now: Timestamp) -> Answer {
        match &self.call {
            Call::Apply(operation) => Answer::Events(state.apply(operation, &self.actor, now)),
            Call::Standings(holder) => Answer::Standings(state.standings(holder)),
        }
    }
}

/// What happened until nobody called any more, and the log that was read then.
#[derive(Debug, Clone)]
struct History {
    entries: Vec<Entry>,
    log: Vec<LicenseEvent>,
    now: Timestamp,
}

impl History {
    fn is_linearizable(&self) -> bool {
        let done = vec![false; self.entries.len()];
        let state = LedgerState::new(Eviction::OldestFirst);
        self.goes_on(done, &state, &mut HashSet::new())
    }

    fn goes_on(
        &self,
        done: Vec<bool>,
        state: &LedgerState,
        tried: &mut HashSet<(Vec<bool>, String)>,
    ) -> bool {
        let open = || (0..done.len()).filter(|entry| !done[*entry]);
        let answered = open().filter(|entry| self.entries[*entry].answer.is_some());
        // Whoever began after this was not among the next to take effect.
        let Some(first_end) = answered.map(|entry| self.entries[entry].ended).min() else {
            if state.seq() == self.log.len() as u64 {
                return true;
            }
            return self.next(&done, state, tried, u64::MAX);
        };
        self.next(&done, state, tried, first_end)
    }

    fn next(
        &self,
        done: &[bool],
        state: &LedgerState,
        tried: &mut HashSet<(Vec<bool>, String)>,
        first_end: u64,
    ) -> bool {
        if !tried.insert((done.to_vec(), format!("{state:?}"))) {
            return false;
        }
        let could_be_next =
            |number: &usize| !done[*number] && self.entries[*number].began < first_end;
        (0..done.len()).filter(could_be_next).any(|number| {
            let (entry, mut after) = (&self.entries[number], state.clone());
            let answer = entry.happens_in(&mut after, self.now);
            let is_as_answered = entry.answer.as_ref().is_none_or(|given| *given == answer);
            let is_as_logged = match &answer {
                // One that failed and changes nothing need not have taken effect.
                Answer::Events(events) if events.is_empty() => entry.answer.is_some(),
                Answer::Events(events) => self.log[state.seq() as usize..].starts_with(events),
                Answer::Standings(_) => true,
            };
            let mut done = done.to_vec();
            done[number] = true;
            is_as_answered && is_as_logged && self.goes_on(done, &after, tried)
        })
    }
}

/// A small world: four holders, two modules, one license.
fn random_call(random: &mut Random) -> Call {
    let holder = holder(&format!("h{}", random.below(4)));
    let mut modules = vec![module("m0"), module("m1")];
    match random.below(3) {
        0 => drop(modules.pop()),
        1 => drop(modules.remove(0)),
        _ => {}
    }
    Call::Apply(match random.below(16) {
        0..5 => return Call::Standings(holder),
        5..9 => Operation::Assign { holder, modules },
        9..12 => Operation::Unassign { holder, modules },
        12 => Operation::DeleteKey { holder },
        13 => Operation::SetActive {
            holder,
            active: random.below(3) > 0,
        },
        _ => set_seats(random.below(4) as u32),
    })
}

fn set_seats(seats: u32) -> Operation {
    let license = License::new(license("l"), Seats::Limited(seats));
    Operation::SetLicense { license }
}

/// What all clients of one history share.
struct Recorder {
    instants: AtomicU64,
    begun: AtomicU64,
    failed: AtomicU64,
    ended: AtomicU64,
    network: watch::Sender<Network>,
}

impl Recorder {
    fn instant(&self) -> u64 {
        self.instants.fetch_add(1, SeqCst)
    }

    async fn record(&self, store: &Store, actor: String, call: Call) -> Entry {
        let actor = Actor::new(actor).unwrap();
        let began = self.instant();
        self.begun.fetch_add(1, SeqCst);
        let answer = match call.clone() {
            Call::Apply(operation) => {
                let events = store.ledger.apply(operation, &actor).await;
                events.map(Answer::Events)
            }
            Call::Standings(holder) => {
                let standings = store.ledger.standings(&holder, &[]).await;
                standings.map(Answer::Standings)
            }
        };
        let ended = match answer {
            Ok(_) => self.instant(),
            Err(_) => u64::MAX,
        };
        Entry {
            actor,
            call,
            began,
            ended,
            answer: answer.ok(),
        }
    }

    async fn client(self: Arc<Self>, store: Store, client: usize, seed: u64) -> Vec<Entry> {
        let (mut entries, mut random) = (Vec::new(), Random::new(seed));
        let mut network = self.network.subscribe();
        for number in 0..CALLS_OF_EACH {
            let call = random_call(&mut random);
            let entry = self.record(&store, format!("{client}.{number}"), call);
            let entry = entry.await;
            let failed = entry.answer.is_none();
            // A question without an answer says nothing.
            if !failed || matches!(entry.call, Call::Apply(_)) {
                entries.push(entry);
            }
            if failed {
                self.failed.fetch_add(1, SeqCst);
                let open = network.wait_for(|network| *network == Network::Open);
                drop(open.await.unwrap());
            }
        }
        self.ended.fetch_add(1, SeqCst);
        entries
    }
}

/// What happens to the network while a history is recorded.
#[derive(Clone, Copy)]
enum Trouble<'t> {
    None,
    Cuts(&'t Proxy),
    Kill(&'t server::Server),
}

const CUTS: u64 = 2;

async fn recorded(
    stores: &[Store],
    clock: &ManualClock,
    seed: u64,
    trouble: Trouble<'_>,
) -> History {
    let recorder = Arc::new(Recorder {
        instants: AtomicU64::new(0),
        begun: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        network: watch::Sender::new(Network::Open),
    });
    let mut entries = Vec::new();
    let map = |name| Operation::MapModule {
        module: module(name),
        license: Some(license("l")),
    };
    for operation in [set_seats(2), map("m0"), map("m1")] {
        let call = Call::Apply(operation);
        entries.push(recorder.record(&stores[0], "first".to_owned(), call).await);
    }
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let store = stores[client % stores.len()].clone();
        let seed = seed * 1_000 + client as u64;
        clients.spawn(recorder.clone().client(store, client, seed));
    }
    let calls = (CLIENTS * CALLS_OF_EACH) as u64;
    let begun = async |calls: u64| {
        until("calls begin", async || recorder.begun.load(SeqCst) > calls).await;
    };
    let hurts = async |failed: u64| {
        let ended = || recorder.ended.load(SeqCst) == CLIENTS as u64;
        until("a call fails", async || {
            recorder.failed.load(SeqCst) > failed || ended()
        })
        .await;
    };
    match trouble {
        Trouble::None => {}
        Trouble::Cuts(proxy) => {
            for cut in 0..CUTS {
                begun(calls * (cut + 1) / (CUTS + 2)).await;
                let failed = recorder.failed.load(SeqCst);
                recorder.network.send_replace(Network::Cut);
                proxy.set(Network::Cut);
                hurts(failed).await;
                proxy.set(Network::Open);
                recorder.network.send_replace(Network::Open);
            }
        }
        Trouble::Kill(server) => {
            begun(calls / 2).await;
            let failed = recorder.failed.load(SeqCst);
            recorder.network.send_replace(Network::Cut);
            server.kill();
            hurts(failed).await;
            server.start_again();
            recorder.network.send_replace(Network::Open);
        }
    }
    entries.extend(clients.join_all().await.into_iter().flatten());
    History {
        entries,
        log: stores[0].log().await,
        now: clock.now().wall,
    }
}

/// What a run has seen.
#[derive(Default)]
struct Figures {
    histories: usize,
    calls: usize,
    failed_but_logged: usize,
    failed: usize,
}

impl Figures {
    fn check(&mut self, history: &History, seed: u64) {
        assert!(
            history.is_linearizable(),
            "no order explains history {seed}: {history:#?}"
        );
        assert!(!with_two_swapped(history).is_linearizable());
        self.histories += 1;
        self.calls += history.entries.len();
        for entry in history
            .entries
            .iter()
            .filter(|entry| entry.answer.is_none())
        {
            self.failed += 1;
            let is_its = |event: &LicenseEvent| event.actor == entry.actor;
            self.failed_but_logged += usize::from(history.log.iter().any(is_its));
        }
    }

    fn sum(all: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.histories += one.histories;
            sum.calls += one.calls;
            sum.failed_but_logged += one.failed_but_logged;
            sum.failed += one.failed;
        }
        sum
    }

    fn print(&self, trouble: &str) {
        let Self {
            histories,
            calls,
            failed,
            failed_but_logged,
        } = self;
        super::print(&format!(
            "{histories} histories, {calls} calls, {trouble}; of {failed} changes that failed \
             {failed_but_logged} took effect"
        ));
    }
}

/// The first and the last change that had an effect, each in the other's place.
fn with_two_swapped(history: &History) -> History {
    let mut wrong = history.clone();
    let has_events =
        |entry: &Entry| matches!(&entry.answer, Some(Answer::Events(e)) if !e.is_empty());
    let entries = 0..wrong.entries.len();
    let effective: Vec<_> = entries
        .filter(|entry| has_events(&wrong.entries[*entry]))
        .collect();
    let by_end = |entry: &&usize| wrong.entries[**entry].ended;
    let first = *effective.iter().min_by_key(by_end).unwrap();
    let last = *effective.iter().max_by_key(by_end).unwrap();
    let times = |entry: &Entry| (entry.began, entry.ended);
    let (of_first, of_last) = (times(&wrong.entries[first]), times(&wrong.entries[last]));
    (wrong.entries[first].began, wrong.entries[first].ended) = of_last;
    (wrong.entries[last].began, wrong.entries[last].ended) = of_first;
    wrong
}

async fn opened(databases: &[Database], clock: &Arc<ManualClock>) -> Vec<Store> {
    let mut stores = Vec::new();
    for database in databases {
        stores.push(database.open(Some(clock.clone())).await);
    }
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_linearizable() {
    let (clock, mut figures) = (Arc::new(ManualClock::new()), Figures::default());
    for seed in 0..setting("CRASH_HISTORIES", 50) / 5 {
        let database = Database::sqlite();
        let stores = opened(&[database.clone(), database.clone(), database], &clock).await;
        let history = recorded(&stores, &clock, seed, Trouble::None).await;
        figures.check(&history, seed);
    }
    figures.print("no trouble");
}

/// Half of the clients are behind a network that is cut.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_behind_a_cut_network_is_linearizable() {
    let histories = setting("CRASH_HISTORIES", 50);
    // What is cut off waits for its timeout: meanwhile others go on.
    let lanes = (0..LANES).map(|lane| async move {
        let (clock, mut figures) = (Arc::new(ManualClock::new()), Figures::default());
        let proxy = Proxy::to(server::port()).await;
        for seed in (lane..histories).step_by(LANES) {
            let near = Database::postgres().with_timeout(LIMIT);
            let far = near.clone().through(proxy.port());
            let stores = opened(&[near.clone(), far.clone(), near, far], &clock).await;
            let trouble = Trouble::Cuts(&proxy);
            let history = recorded(&stores, &clock, seed as u64, trouble).await;
            figures.check(&history, seed as u64);
        }
        figures
    });
    let figures = Figures::sum(join_all(lanes).await);
    figures.print(&format!("{} cuts", histories as u64 * CUTS));
    assert!(figures.failed > 0, "no cut hit a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_is_killed_is_linearizable() {
    let server = server::Server::start();
    let (clock, mut figures) = (Arc::new(ManualClock::new()), Figures::default());
    let kills = setting("CRASH_HISTORIES", 50) / 10;
    for seed in 0..kills {
        let database = Database::tenant_at(server.address.clone()).with_timeout(LIMIT);
        let stores = opened(&[database.clone(), database.clone(), database], &clock).await;
        let history = recorded(&stores, &clock, seed, Trouble::Kill(&server)).await;
        figures.check(&history, seed);
    }
    figures.print(&format!("{kills} kills"));
    assert!(figures.failed > 0, "no kill hit a change");
}

const LANES: usize = 4;
const LIMIT: Duration = Duration::from_millis(500);

/// An answer from before a change that was acknowledged already.
#[test]
fn stale_answer_is_rejected() {
    let (now, mut state) = (
        Timestamp::from_unix_seconds(0),
        LedgerState::new(Eviction::OldestFirst),
    );
    let assign = Operation::Assign {
        holder: holder("h0"),
        modules: vec![module("m0")],
    };
    let actor = Actor::system();
    state.apply(&Operation::Tick, &actor, now);
    let stale = Answer::Standings(state.standings(&holder("h0")));
    let log = state.apply(&assign, &actor, now);
    let history = |began| History {
        entries: vec![
            Entry {
                actor: actor.clone(),
                call: Call::Apply(Operation::Tick),
                began: 0,
                ended: 1,
                answer: Some(Answer::Events(Vec::new())),
            },
            Entry {
                actor: actor.clone(),
                call: Call::Apply(assign.clone()),
                began: 2,
                ended: 4,
                answer: Some(Answer::Events(log.clone())),
            },
            Entry {
                actor: actor.clone(),
                call: Call::Standings(holder("h0")),
                began,
                ended: 6,
                answer: Some(stale.clone()),
            },
        ],
        log: log.clone(),
        now,
    };
    assert!(history(3).is_linearizable());
    assert!(!history(5).is_linearizable());
}
