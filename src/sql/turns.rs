//! Work in a database that is better done together: whoever comes while others are at it goes
//! together in the next transaction.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task,
};

use crate::error::BackendError;

/// What can be done for several at once.
#[async_trait]
pub(crate) trait Work: Send + Sync + 'static {
    type Asked: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// Whether this can share a transaction with others of which the same is said.
    fn can_share(asked: &Self::Asked) -> bool;

    /// Does all of these, and gives each its answer, in the same order.
    async fn work(&self, asked: &[Self::Asked]) -> Result<Vec<Self::Answer>, BackendError>;
}

/// The way in for everyone who has something to be done.
#[derive(Debug, Clone)]
pub(crate) struct Turns<W: Work>(mpsc::Sender<Waiting<W>>);

#[derive(Debug)]
struct Waiting<W: Work> {
    asked: W::Asked,
    answer: oneshot::Sender<Result<W::Answer, BackendError>>,
}

/// As many go in one transaction.
const TOGETHER: usize = 64;

impl<W: Work> Turns<W> {
    /// Begins to work on the tokio runtime in which it is called, on so many transactions at a time,
    /// until the worker is dropped.
    pub(crate) fn begin(worker: &Weak<W>, at_a_time: usize) -> Self {
        let (way_in, come) = mpsc::channel(TOGETHER);
        let queue = Queue {
            come,
            first: VecDeque::new(),
        };
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..at_a_time {
            tokio::spawn(work(Arc::clone(&queue), Weak::clone(worker)));
        }
        Self(way_in)
    }

    pub(crate) async fn ask(&self, asked: W::Asked) -> Result<W::Answer, BackendError> {
        let (answer, wait) = oneshot::channel();
        let sent = self.0.send(Waiting { asked, answer }).await;
        sent.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}

fn gone() -> BackendError {
    BackendError::unavailable("the runtime in which the store was opened ended")
}

struct Queue<W: Work> {
    come: mpsc::Receiver<Waiting<W>>,
    /// Those who came while others went first.
    first: VecDeque<Waiting<W>>,
}

impl<W: Work> Queue<W> {
    /// Those who go together next; nobody when nobody will come any more.
    async fn next(&mut self) -> Option<Vec<Waiting<W>>> {
        if self.first.is_empty() {
            self.first.push_back(self.come.recv().await?);
            // Those who are about to ask are let in first.
            task::yield_now().await;
        }
        while self.first.len() < TOGETHER
            && let Ok(next) = self.come.try_recv()
        {
            self.first.push_back(next);
        }
        let sharing = self.first.iter();
        let sharing = sharing.take_while(|waiting| W::can_share(&waiting.asked));
        let together = sharing.count().max(1);
        Some(self.first.drain(..together).collect())
    }
}

async fn work<W: Work>(queue: Arc<Mutex<Queue<W>>>, worker: Weak<W>) {
    loop {
        let next = queue.lock().await.next().await;
        let (Some(waiting), Some(worker)) = (next, worker.upgrade()) else {
            return;
        };
        // Who went away before its turn wants nothing any more.
        let (asked, answers): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .filter(|waiting| !waiting.answer.is_closed())
            .map(|waiting| (waiting.asked, waiting.answer))
            .unzip();
        if asked.is_empty() {
            continue;
        }
        let done = AssertUnwindSafe(worker.work(&asked)).catch_unwind().await;
        match done.unwrap_or_else(|_| Err(BackendError::unavailable("the work panicked"))) {
            Ok(done) => {
                for (answer, done) in answers.into_iter().zip(done) {
                    // Whoever went away meanwhile finds it done.
                    let _ = answer.send(Ok(done));
                }
            }
            Err(error) => {
                let error = Shared(Arc::new(error));
                for answer in answers {
                    let _ = answer.send(Err(error.for_one()));
                }
            }
        }
    }
}

/// One error for all who went together.
#[derive(Debug, Clone)]
struct Shared(Arc<BackendError>);

impl Shared {
    fn for_one(&self) -> BackendError {
        match &*self.0 {
            BackendError::ReadOnly => BackendError::ReadOnly,
            _ => BackendError::unavailable(self.clone()),
        }
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transaction failed")
    }
}

impl Error for Shared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            BackendError::Unavailable(source) => Some(&**source),
            other => Some(other),
        }
    }
}
