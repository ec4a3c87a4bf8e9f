//! A service that is stopped and started again on the same SQLite file.

use std::path::Path;

use tower_api_key::SqliteStore;

use super::{Process, files, soon};

async fn start(path: &Path) -> Process {
    Process::over(&SqliteStore::open(path).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_over_restarts() {
    let path = files::fresh();
    let mut process = start(&path).await;
    let key = process.reader().await;
    let begin = process.end().await;
    let (mut told, mut last) = (Vec::new(), None);
    for round in 0..5 {
        let mut stream = process.follow(&key, last).await;
        process.happen(7).await;
        // Not all that is on its way is read before the service stops.
        told.extend(soon("events", stream.seqs(round + 1)).await);
        last = stream.last_event_id;
        process.management.shut_down();
        process.happen(3).await;
        drop(stream);
        process = start(&path).await;
        // While nobody follows.
        process.happen(2).await;
    }
    let end = process.end().await;
    let mut stream = process.follow(&key, last).await;
    let rest = usize::try_from(end - last.unwrap()).unwrap();
    told.extend(soon("the rest", stream.seqs(rest)).await);
    assert_eq!(stream.ready(), None);
    let expected: Vec<_> = (begin + 1..=end).collect();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_does_with_the_file_is_told() {
    let path = files::fresh();
    let (here, there) = (start(&path).await, start(&path).await);
    let key = here.reader().await;
    let mut stream = here.follow(&key, None).await;
    let begin = here.end().await;
    for round in 1..=5 {
        there.happen(1).await;
        let (seq, _) = soon("the event", stream.event()).await;
        assert_eq!(seq, begin + round);
    }
}
