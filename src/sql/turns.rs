//! Operations on a ledger in a database: one transaction after the other, and whoever waits
//! meanwhile goes together in the next one.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::BackendError,
    ledger_state::excerpt::is_of_one_holder,
    license_ledger::{Actor, LicenseEvent, Operation},
    sql::ToldLog,
};

/// What applies operations to the tables.
#[async_trait]
pub(crate) trait Transactions: Send + Sync + 'static {
    fn told(&self) -> &ToldLog;

    /// Applies all of these in one transaction, in this order, and answers with the events of each.
    /// Where there are several, each is of one holder.
    async fn apply_all(
        &self,
        operations: &[(Operation, Actor)],
    ) -> Result<Vec<Vec<LicenseEvent>>, BackendError>;
}

/// The way in for everyone who has an operation to apply.
#[derive(Debug, Clone)]
pub(crate) struct Turns(mpsc::Sender<Asked>);

#[derive(Debug)]
struct Asked {
    operation: (Operation, Actor),
    answer: oneshot::Sender<Result<Vec<LicenseEvent>, BackendError>>,
}

/// As many as go in one transaction.
const TOGETHER: usize = 64;

impl Turns {
    /// Begins to work on the tokio runtime in which it is called, until the ledger is dropped.
    pub(crate) fn begin(ledger: Weak<impl Transactions>) -> Self {
        let (way_in, asked) = mpsc::channel(TOGETHER);
        tokio::spawn(work(asked, ledger));
        Self(way_in)
    }

    pub(crate) async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        let (answer, wait) = oneshot::channel();
        let operation = (operation, actor.clone());
        let sent = self.0.send(Asked { operation, answer }).await;
        sent.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}

fn gone() -> BackendError {
    BackendError::unavailable("the runtime in which the store was opened ended")
}

async fn work(mut asked: mpsc::Receiver<Asked>, ledger: Weak<impl Transactions>) {
    let mut queue: VecDeque<Asked> = VecDeque::new();
    loop {
        if queue.is_empty() {
            let Some(first) = asked.recv().await else {
                return;
            };
            queue.push_back(first);
        }
        while queue.len() < TOGETHER
            && let Ok(next) = asked.try_recv()
        {
            queue.push_back(next);
        }
        let alike = queue
            .iter()
            .take_while(|asked| is_of_one_holder(&asked.operation.0));
        let together = alike.count().max(1);
        // Who went away before its turn wants nothing any more.
        let (operations, answers): (Vec<_>, Vec<_>) = queue
            .drain(..together)
            .filter(|asked| !asked.answer.is_closed())
            .map(|asked| (asked.operation, asked.answer))
            .unzip();
        if operations.is_empty() {
            continue;
        }
        let Some(ledger) = ledger.upgrade() else {
            return;
        };
        let applied = AssertUnwindSafe(ledger.apply_all(&operations)).catch_unwind();
        let applied = applied
            .await
            .unwrap_or_else(|_| Err(BackendError::unavailable("applying an operation panicked")));
        match applied {
            Ok(events) => {
                ledger.told().tell_own(events.iter().flatten());
                for (answer, events) in answers.into_iter().zip(events) {
                    // Whoever went away meanwhile finds it done.
                    let _ = answer.send(Ok(events));
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
