//! Several processes on the same PostgreSQL: whichever a client comes back to knows where it was.

use tower_api_key::PostgresStore;

use super::{Process, server, soon};

async fn start(schema: &str) -> Process {
    let store = PostgresStore::connect(server::address()).with_schema(schema);
    Process::over(&store.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_over_a_switch_to_another_process() {
    let schema = server::own_name("switch");
    let processes = [start(&schema).await, start(&schema).await];
    let key = processes[0].reader().await;
    let begin = processes[0].end().await;
    let (mut told, mut last) = (Vec::new(), None);
    for round in 0..10 {
        let (here, there) = (&processes[round % 2], &processes[(round + 1) % 2]);
        let mut stream = here.follow(&key, last).await;
        // The first round begins from now on: only then is there something to read.
        here.happen(3).await;
        there.happen(3).await;
        told.extend(soon("events", stream.seqs(4)).await);
        last = stream.last_event_id;
        drop(stream);
        there.happen(1).await;
    }
    let end = processes[0].end().await;
    let mut stream = processes[1].follow(&key, last).await;
    let rest = usize::try_from(end - last.unwrap()).unwrap();
    told.extend(soon("the rest", stream.seqs(rest)).await);
    assert_eq!(stream.ready(), None);
    let expected: Vec<_> = (begin + 1..=end).collect();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_does_is_told_while_it_happens() {
    let schema = server::own_name("told");
    let (here, there) = (start(&schema).await, start(&schema).await);
    let key = here.reader().await;
    let begin = here.end().await;
    let mut streams = Vec::new();
    for process in [&here, &there] {
        streams.push(process.follow(&key, Some(begin)).await);
    }
    for round in 1..=5 {
        let process = if round % 2 == 0 { &here } else { &there };
        process.happen(1).await;
        for stream in &mut streams {
            let (seq, _) = soon("the event", stream.event()).await;
            assert_eq!(seq, begin + round);
        }
    }
}

/// A key that another process ends reads no more here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_takes_ends_the_stream() {
    use tower_api_key::{Actor, KeyId, NewKey};
    let schema = server::own_name("taken");
    let (here, there) = (start(&schema).await, start(&schema).await);
    let id = KeyId::new("reader").unwrap();
    let new = NewKey::named("reader").with_administrator(true);
    let system = Actor::system();
    let created = here.keys().create(new.with_id(id.clone()), &system).await;
    let created = created.unwrap();
    let mut stream = here.follow(created.text.expose(), None).await;
    there.keys().revoke(&id, &system).await.unwrap();
    let (_, reason) = soon("the end", stream.closing()).await;
    assert_eq!(reason, "rights_changed");
}
