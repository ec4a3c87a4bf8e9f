//! Processes that are killed in the middle of mixed operations, each replaced by another one.

use std::{
    env,
    io::{self, Write},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
    time::timeout,
};
use tower_api_key::Actor;

use super::{
    Database, setting,
    workload::{Client, LICENSES, Outcome, Possible, Random, SEATS, Step, assert_sound},
};

const PROCESSES: usize = 4;

async fn kills(database: Database) {
    let store = database.open(None).await;
    store.add_licenses(LICENSES.map(str::to_owned), SEATS).await;
    let each = setting("CRASH_KILLS", 20_usize).div_ceil(PROCESSES);
    let mut processes = JoinSet::new();
    for number in 0..PROCESSES {
        processes.spawn(one_after_the_other(database.clone(), number, each));
    }
    let (mut acknowledged, mut unknown) = (0, 0);
    let all = processes.join_all().await;
    // Each replacement has healed what its predecessor left, so there is nothing left to do.
    let report = store.manager().reconcile(&Actor::system()).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    for possible in all {
        possible.holds_in(&store).await;
        acknowledged += possible.acknowledged;
        unknown += possible.unknown;
    }
    assert_sound(&store).await;
    let killed = each * PROCESSES;
    super::print(&format!(
        "{killed} processes killed, {unknown} of them in the middle of a call, {acknowledged} calls \
         acknowledged, {} events",
        store.log().await.len()
    ));
    // Otherwise no kill was in the middle of anything.
    assert!(unknown * 4 > killed);
}

/// Kills a client so often, and lets the last one end by itself.
async fn one_after_the_other(database: Database, number: usize, kills: usize) -> Possible {
    let mut possible = Possible::default();
    let mut random = Random::new(setting("CRASH_SEED", 1) + 1_000 * number as u64);
    let mut client = Client::new(number, 0..0);
    for kill in 0..=kills {
        let seed = random.below(u64::MAX);
        let mut process = Process::start(&database, client, seed, (kill == kills).then_some(12));
        let calls = 1 + random.below(24);
        while kill == kills || process.begun < calls {
            if !process.read_line(&mut possible).await {
                break;
            }
        }
        if kill < kills {
            // A random moment of what it does now, unless that ends before.
            let moment = Duration::from_micros(random.below(8_000));
            let _ = timeout(moment, process.read_line(&mut possible)).await;
            process.child.start_kill().unwrap();
        }
        // What it had written before.
        while process.read_line(&mut possible).await {}
        let ended: ExitStatus = process.child.wait().await.unwrap();
        assert_eq!(ended.success(), kill == kills, "{number}: {ended}");
        if let Some(step) = process.running {
            possible.ended(&step, Outcome::Unknown);
        }
        client = process.client;
    }
    possible
}

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    begun: u64,
    running: Option<Step>,
    client: Client,
}

impl Process {
    fn start(database: &Database, client: Client, seed: u64, calls: Option<u64>) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "kills::process_that_is_killed", "--nocapture"])
            .env("CRASH_CLIENT", client.number().to_string())
            .env("CRASH_CLIENT_FIRST_KEY", client.keys().start.to_string())
            .env("CRASH_CLIENT_END_OF_KEYS", client.keys().end.to_string())
            .env("CRASH_CLIENT_SEED", seed.to_string())
            .env("CRASH_CLIENT_CALLS", calls.unwrap_or(u64::MAX).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        match database {
            Database::Sqlite(path) => command.env("CRASH_FILE", path),
            Database::Postgres {
                address, tenant, ..
            } => command
                .env("CRASH_ADDRESS", address)
                .env("CRASH_TENANT", tenant),
        };
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            begun: 0,
            running: None,
            client,
        }
    }

    /// Whether there was one.
    async fn read_line(&mut self, possible: &mut Possible) -> bool {
        let Some(line) = self.lines.next_line().await.unwrap() else {
            return false;
        };
        match line.split_once(": ") {
            Some(("begin", step)) => {
                let step = Step::read(step);
                self.client.begins(&step);
                assert_eq!(self.running.replace(step), None);
                self.begun += 1;
            }
            Some(("end", outcome)) => {
                let step = self.running.take().unwrap();
                let outcome = Outcome::read(outcome);
                self.client.ended(&step, outcome);
                possible.ended(&step, outcome);
            }
            // What the test harness says.
            _ => {}
        }
        true
    }
}

/// Does nothing unless it was started by one of the tests below.
#[tokio::test]
async fn process_that_is_killed() {
    let Ok(number) = env::var("CRASH_CLIENT") else {
        return;
    };
    let keys = setting("CRASH_CLIENT_FIRST_KEY", 0)..setting("CRASH_CLIENT_END_OF_KEYS", 0);
    let mut client = Client::new(number.parse().unwrap(), keys);
    let database = match env::var("CRASH_FILE") {
        Ok(path) => Database::Sqlite(path.into()),
        Err(_) => Database::in_tenant(
            env::var("CRASH_ADDRESS").unwrap(),
            env::var("CRASH_TENANT").unwrap(),
        ),
    };
    let manager = database.open(None).await.manager();
    manager.reconcile(&Actor::system()).await.unwrap();
    let mut random = Random::new(setting("CRASH_CLIENT_SEED", 0));
    // The harness does not end its own line.
    say("");
    for _ in 0..setting("CRASH_CLIENT_CALLS", 0_u64) {
        let step = client.next(&mut random);
        client.begins(&step);
        say(&format!("begin: {step}"));
        let result = step.take(&manager).await;
        let outcome = Outcome::of(&result);
        client.ended(&step, outcome);
        match outcome {
            Outcome::Unknown => say(&format!("end: {result:?}")),
            outcome => say(&format!("end: {outcome:?}")),
        }
    }
}

fn say(line: &str) {
    // In one piece, so that a kill leaves no half a line.
    io::stdout()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_survives_kills() {
    kills(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_survives_kills() {
    kills(Database::postgres()).await;
}

/// The checks would tell.
#[tokio::test]
#[should_panic(expected = "c0-1 is Gone")]
async fn lost_key_is_noticed() {
    let store = Database::sqlite().open(None).await;
    let mut possible = Possible::default();
    let step = Step::Create("c0-1".to_owned(), Vec::new());
    possible.ended(&step, Outcome::Done);
    possible.holds_in(&store).await;
}

#[tokio::test]
#[should_panic(expected = "c0-1 leaked a seat of l0")]
async fn leaked_seat_is_noticed() {
    let store = Database::sqlite().open(None).await;
    let licenses = LICENSES.map(str::to_owned);
    store.add_licenses(licenses, SEATS).await;
    let step = Step::Create("c0-1".to_owned(), vec!["l0".to_owned()]);
    step.take(&store.manager()).await.unwrap();
    let id = tower_api_key::KeyId::new("c0-1").unwrap();
    assert!(store.keys.delete(&id).await.unwrap());
    assert_sound(&store).await;
}
