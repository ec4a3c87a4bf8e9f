//! The connection to the server: one for all requests, and what becomes of it in an outage.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, PushInfo, PushKind, RedisError, RedisResult,
    ServerErrorKind, Value, aio::MultiplexedConnection,
};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    time::{self, Instant},
};

use super::script::{Request, SCRIPT};
use crate::{
    error::BackendError,
    observe::{self, Away, Backend},
    rate_limiter::Allowance,
};

/// The way to the server. Whoever finds that it is lost takes it down for all; from then on a task
/// tries each second whether there is a new one, so no request waits for that.
pub(super) struct Link {
    client: Client,
    place: String,
    /// Of one request, with all calls that it takes.
    timeout: Duration,
    /// What the names of keys begin with.
    prefix: String,
    /// Nothing: the server is away.
    current: ArcSwapOption<Connection>,
    /// How many connections there were.
    opened: AtomicU64,
    /// When the server was last tried.
    tried: Mutex<Option<Instant>>,
    /// Where that is done: a request may be polled elsewhere.
    runtime: Handle,
}

/// One connection to the server.
pub(super) struct Connection {
    number: u64,
    calls: MultiplexedConnection,
    /// By what the server knows the script.
    script: String,
}

impl Link {
    /// A way that is not there yet. It has to be made in the runtime in which it is to live.
    pub(super) fn new(client: Client, place: String, prefix: String, timeout: Duration) -> Self {
        Self {
            client,
            place,
            prefix,
            timeout,
            current: ArcSwapOption::empty(),
            opened: AtomicU64::new(0),
            tried: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Where the server is: without a password.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// What the names of keys begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The connection, while there is one.
    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.current.load_full()
    }

    /// Opens a connection within this limit, and tries it by a first request, which has its own.
    pub(super) async fn open(
        self: &Arc<Self>,
        limit: Duration,
        first: Duration,
    ) -> RedisResult<()> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Arc::downgrade(self);
        let config = AsyncConnectionConfig::new()
            // Each has one limit for all that it takes.
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(move |told: PushInfo| {
                // Told at once, so that a server that closes what is idle costs no request.
                if told.kind == PushKind::Disconnection
                    && let Some(link) = Weak::upgrade(&link)
                {
                    link.is_lost(number);
                }
                Ok::<_, ::redis::aio::SendError>(())
            });
        let client = &self.client;
        let (calls, script) = within(limit, async {
            let mut calls = client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let script = load(&mut calls).await?;
            Ok((calls, script))
        })
        .await?;
        // As a user who may only read would be refused, and on a server that has no memory left.
        let request = Request::of_nobody(&script, &self.prefix);
        let connection = Connection {
            number,
            calls,
            script,
        };
        within(first, call(&connection, &request)).await?;
        self.current.store(Some(Arc::new(connection)));
        Ok(())
    }

    /// Asks the server, which has the timeout to answer. What goes wrong is told here, once for all.
    pub(super) async fn ask(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request,
    ) -> Result<Allowance, Away> {
        let answer = within(self.timeout, call(&connection, &request)).await;
        answer.map_err(|error| {
            if is_of_one(&error) || self.is_lost(connection.number) {
                let error = BackendError::unavailable(error);
                observe::backend_failed(Backend::Limiter, &error);
            }
            Away
        })
    }

    /// What is asked in the limiter's runtime, also where whoever asked has gone away.
    pub(super) fn finish(&self, asked: impl Future<Output: Send> + Send + 'static) {
        self.runtime.spawn(asked);
    }

    /// Takes a connection down that does not work, if it is the current one; whether it was.
    fn is_lost(self: &Arc<Self>, number: u64) -> bool {
        let current = self.current.load();
        let Some(lost) = current.as_ref().filter(|current| current.number == number) else {
            return false;
        };
        let before = self.current.compare_and_swap(&*current, None);
        let is_news = before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, lost));
        if is_news {
            self.find_again();
        }
        is_news
    }

    /// Tries each second whether the server is there.
    pub(super) fn find_again(self: &Arc<Self>) {
        let link = Arc::downgrade(self);
        self.runtime.spawn(async move {
            while let Some(at) = link.upgrade().map(|link| link.next_try()) {
                time::sleep_until(at).await;
                let Some(link) = link.upgrade() else { return };
                match link.open(EVERY, link.timeout).await {
                    Ok(()) => return,
                    Err(error) => {
                        let error = BackendError::unavailable(error);
                        observe::backend_failed(Backend::Limiter, &error);
                    }
                }
            }
        });
    }

    /// When the server may be tried: at once where that was not done of late.
    fn next_try(&self) -> Instant {
        let mut tried = self.tried.lock();
        let now = Instant::now();
        let next = tried.map_or(now, |tried| now.max(tried + EVERY));
        *tried = Some(next);
        next
    }
}

impl Connection {
    pub(super) fn script(&self) -> &str {
        &self.script
    }

    #[cfg(test)]
    pub(super) fn calls(&self) -> MultiplexedConnection {
        self.calls.clone()
    }
}

/// Counts a request.
pub(super) async fn call(connection: &Connection, request: &Request) -> RedisResult<Allowance> {
    let mut calls = connection.calls.clone();
    let answer = calls.send_packed_command(&request.command).await;
    let answer = match answer.and_then(Value::extract_error) {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            load(&mut calls).await?;
            calls.send_packed_command(&request.command).await?
        }
        answer => answer?,
    };
    request.allowance(answer)
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    match time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(io::Error::from(elapsed).into()),
    }
}

/// Whether this is the trouble of a single request: in the script, or in what it answered. What a
/// command within the script may not do is a trouble of all; Redis 6 says that as `ERR …: -OOM …`.
fn is_of_one(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            let detail = error.detail().unwrap_or_default();
            !(detail.contains(": -") || detail.contains("ACL failure"))
        }
        kind => kind == ErrorKind::UnexpectedReturnType,
    }
}

async fn load(calls: &mut MultiplexedConnection) -> RedisResult<String> {
    let mut command = Cmd::new();
    command.arg("SCRIPT").arg("LOAD").arg(SCRIPT);
    let loaded = calls.send_packed_command(&command).await?;
    Ok(::redis::from_redis_value(loaded)?)
}

/// How often a server that is away is tried, and how long a try may take.
const EVERY: Duration = Duration::from_secs(1);
