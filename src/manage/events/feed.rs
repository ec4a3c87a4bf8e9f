//! One stream: a task that keeps its times, and the chunks on their way from it to the reader.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_core::{Stream, stream::BoxStream};
use futures_util::{
    StreamExt,
    future::{self, Either},
    stream,
};
use tokio::{
    sync::mpsc::{self, error::SendError},
    time::{Instant, error::Elapsed, sleep, timeout, timeout_at},
};

use super::{
    super::{Parts, audit::EventName},
    reader::{Closing, Reader},
};
use crate::{error::BackendError, keys::ManageError, license_ledger::LicenseEvent, observe};

/// One reader's stream.
pub(super) struct Feed {
    reader: Reader,
    /// The last entry that is not to be sent.
    after: u64,
    log: BoxStream<'static, Result<LicenseEvent, BackendError>>,
    /// When the silence has lasted long enough.
    heartbeat: Instant,
    /// Whether the ledger's outage was told.
    is_failing: bool,
}

impl Feed {
    pub(super) fn new(reader: Reader, after: u64) -> Self {
        Self {
            log: reader.parts.manager.follow(after).boxed(),
            reader,
            after,
            heartbeat: Instant::now() + HEARTBEAT,
            is_failing: false,
        }
    }

    /// What is sent, piece by piece. A task of its own makes it, which ends when it is time to,
    /// whether or not anybody reads, and with the stream.
    pub(super) fn chunks(self) -> impl Stream<Item = Bytes> + Send {
        let begin = format!("retry: {RETRY_MILLIS}\nid: {}\n\n", self.after);
        let (sender, receiver) = mpsc::channel(ON_THE_WAY);
        let task = tokio::spawn(self.run(sender));
        let rest = stream::unfold(Some((receiver, task)), |under_way| async {
            let (mut receiver, task) = under_way?;
            match receiver.recv().await {
                Some(chunk) => Some((chunk, Some((receiver, task)))),
                // Of a task that panicked nothing is known.
                None => Some((chunk_of(task.await.ok()??), None)),
            }
        });
        stream::iter([Bytes::from(begin)]).chain(rest)
    }

    /// Sends until the end, and says why it came; nothing where the reader has gone.
    async fn run(mut self, sender: mpsc::Sender<Bytes>) -> Option<Closing> {
        let parts = Arc::clone(&self.reader.parts);
        let limit = self.reader.limit;
        let ended = pin!(ended(&parts, limit));
        let gone = pin!(sender.closed());
        let followed = pin!(self.follow(&sender));
        // What ends it waits for nobody, neither who reads nor who judges.
        match future::select(future::select(ended, gone), followed).await {
            Either::Left((Either::Left((closing, _)), _)) => Some(closing),
            Either::Left((Either::Right(_), _)) => None,
            Either::Right((outcome, _)) => outcome.err(),
        }
    }

    /// Sends until the caller may not read on, has not read, or has gone.
    async fn follow(&mut self, sender: &mpsc::Sender<Bytes>) -> Result<(), Closing> {
        loop {
            let room = timeout(PATIENCE, sender.reserve());
            let Some(permit) = taken(self.reader.while_judged(room).await?)? else {
                return Ok(());
            };
            let next = timeout_at(self.heartbeat, self.log.next());
            match self.reader.while_judged(next).await? {
                Ok(Some(Ok(event))) => {
                    self.is_failing = false;
                    self.reader.judge().await?;
                    permit.send(chunk(&event));
                    self.reader.judge_after(&event)?;
                }
                // The log is read again by and by.
                Ok(Some(Err(error))) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        observe::management_failed(&ManageError::of_ledger(error));
                    }
                    continue;
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    drop(permit);
                    // Who has not read what came before the silence is not told of it.
                    let all = timeout(PATIENCE - HEARTBEAT, sender.reserve_many(ON_THE_WAY));
                    let Some(permits) = taken(self.reader.while_judged(all).await?)? else {
                        return Ok(());
                    };
                    for permit in permits.take(1) {
                        permit.send(Bytes::from_static(b":\n\n"));
                    }
                }
            }
            self.heartbeat = Instant::now() + HEARTBEAT;
        }
    }
}

/// Comes true when a stream is over, whoever reads it.
async fn ended(parts: &Parts, limit: (Duration, Closing)) -> Closing {
    let mut closing = parts.closing.subscribe();
    let shut_down = pin!(closing.wait_for(|is_closing| *is_closing));
    match future::select(shut_down, pin!(sleep(limit.0))).await {
        // Whoever could shut down is kept by `parts`.
        Either::Left(_) => Closing::ShuttingDown,
        Either::Right(_) => limit.1,
    }
}

/// The room there is now; nothing where the reader has gone.
fn taken<T>(room: Result<Result<T, SendError<()>>, Elapsed>) -> Result<Option<T>, Closing> {
    match room {
        Ok(room) => Ok(room.ok()),
        Err(_) => Err(Closing::NotRead),
    }
}

fn chunk_of(closing: Closing) -> Bytes {
    let data = serde_json::json!({ "reason": closing });
    format!("event: closing\ndata: {data}\n\n").into()
}

/// An entry of the log: its JSON has no line breaks.
fn chunk(event: &LicenseEvent) -> Bytes {
    let name = serde_json::to_value(EventName::from(&event.kind));
    let name = name.expect("a name is JSON");
    let name = name.as_str().unwrap_or_default();
    let data = serde_json::to_string(event).expect("an entry of the log is JSON");
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", event.seq).into()
}

/// How long a client waits before it comes back.
const RETRY_MILLIS: u32 = 1_000;
const HEARTBEAT: Duration = Duration::from_secs(15);
/// For how long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many chunks are written before the reader takes one.
const ON_THE_WAY: usize = 32;
