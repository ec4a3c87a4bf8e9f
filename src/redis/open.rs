//! Connecting, and what can be said before.

use std::{future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use ::redis::{
    Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError,
    ServerErrorKind, io::tcp::TcpSettings,
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Local, RedisRateLimiter, Shared, link::Link, script::Ready};
use crate::{
    error::BackendError,
    memory::MemoryRateLimiter,
    name::InvalidName,
    observe::{self, Backend},
    open_error::{OpenError, OpenErrorKind},
    rate_limiter::Tiers,
};

impl RedisRateLimiter {
    /// Connects to the server at a URL such as `redis://user:password@host:6379/0`: settings may
    /// follow, then `.await`.
    ///
    /// ```no_run
    /// # async fn connect() -> Result<(), tower_api_key::OpenError> {
    /// use tower_api_key::{RedisRateLimiter, Tiers};
    ///
    /// let url = "redis://:secret@quotas.example.net";
    /// let limiter = RedisRateLimiter::connect(url, Tiers::default()).with_prefix("playout").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(url: impl Into<String>, tiers: Tiers) -> ConnectRedis {
        ConnectRedis {
            url: url.into(),
            tiers,
            prefix: "tower_api_key".to_owned(),
            timeout: Duration::from_millis(50),
            on_outage: OnOutage::Local,
            share: 4,
            starts_in_outage: false,
        }
    }
}

/// A [`RedisRateLimiter`] that is connected by `.await`.
///
/// It has to be awaited in the tokio runtime in which the limiter is to live: a task there finds the
/// server again after an outage.
///
/// # Errors
///
/// [`OpenError`] says what is wrong and where: the server, the user, or a setting.
#[derive(Clone)]
#[must_use = "connects when it is awaited"]
pub struct ConnectRedis {
    url: String,
    tiers: Tiers,
    prefix: String,
    timeout: Duration,
    on_outage: OnOutage,
    share: u32,
    starts_in_outage: bool,
}

/// What a limiter does while its server is away.
///
/// The server is away from the first request that it does not answer in [time], or answers with an
/// error. From then on it is tried once a second, and as soon as it answers it counts again. Only
/// where it could not make sense of a single request is it away for that one alone.
///
/// [time]: ConnectRedis::with_timeout
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnOutage {
    /// Each process counts for itself, by a [part](ConnectRedis::with_share) of each quota. What it
    /// admits and refuses is counted in [`observe`](crate::observe).
    #[default]
    Local,
    /// Requests are refused: 503, `limiter_unavailable`. The outage is told as in the other case, when
    /// it is found and by each try, and not by each request.
    Refuse,
}

impl ConnectRedis {
    /// What the names of all keys begin with, `tower_api_key` by default: limiters of one prefix
    /// share their quotas. 1 to 100 letters, digits, `-`, `.`, `_`, `~` or `:`.
    ///
    /// ```
    /// # use tower_api_key::{RedisRateLimiter, Tiers};
    /// let connect = RedisRateLimiter::connect("redis://quotas.example.net", Tiers::default());
    /// let connect = connect.with_prefix("playout:quotas");
    /// ```
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long the server may take to answer a request, 50 ms by default; then it is away. Not 0.
    ///
    /// It should be well below
    /// [`with_lookup_timeout`](crate::ApiKeyLayerBuilder::with_lookup_timeout): the layer waits no
    /// longer than that for any limiter, and answers 503 to those who find out that the server hangs.
    ///
    /// ```
    /// # use {std::time::Duration, tower_api_key::{RedisRateLimiter, Tiers}};
    /// let connect = RedisRateLimiter::connect("redis://quotas.example.net", Tiers::default());
    /// let connect = connect.with_timeout(Duration::from_millis(200));
    /// ```
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What happens while the server is away. By default each process counts for itself.
    ///
    /// ```
    /// # use tower_api_key::{OnOutage, RedisRateLimiter, Tiers};
    /// let connect = RedisRateLimiter::connect("redis://quotas.example.net", Tiers::default());
    /// let connect = connect.with_on_outage(OnOutage::Refuse);
    /// ```
    pub fn with_on_outage(mut self, on_outage: OnOutage) -> Self {
        self.on_outage = on_outage;
        self
    }

    /// How many processes share the quotas: while the server is away each of them counts by one part
    /// in so many of each limit, and by 1 at least. By default 4. With 1 each admits as much as all
    /// of them may together.
    ///
    /// ```
    /// # use tower_api_key::{RedisRateLimiter, Tiers};
    /// let connect = RedisRateLimiter::connect("redis://quotas.example.net", Tiers::default());
    /// let connect = connect.with_share(10);
    /// ```
    pub fn with_share(mut self, processes: u32) -> Self {
        self.share = processes;
        self
    }

    /// Whether the limiter is made also while the server cannot be reached, and begins as in an
    /// outage. By default that is an error, so that a wrong address is found when it is written.
    ///
    /// ```
    /// # use tower_api_key::{RedisRateLimiter, Tiers};
    /// let connect = RedisRateLimiter::connect("redis://quotas.example.net", Tiers::default());
    /// let connect = connect.with_start_in_outage(true);
    /// ```
    pub fn with_start_in_outage(mut self, starts: bool) -> Self {
        self.starts_in_outage = starts;
        self
    }

    async fn open(self) -> Result<RedisRateLimiter, OpenError> {
        let (server, place) = self.server()?;
        let invalid = |why: InvalidName| {
            OpenError::new(&place, OpenErrorKind::InvalidSetting).with_source(why)
        };
        self.check().map_err(invalid)?;
        let failed = |error: RedisError| OpenError::new(&place, kind(&error)).with_source(error);
        let client = Client::open(server).map_err(failed)?;
        let too_many =
            |error| OpenError::new(&place, OpenErrorKind::InvalidSetting).with_source(error);
        let ready = Ready::new(self.tiers).map_err(too_many)?;
        let link = Link::new(client, place.clone(), self.prefix, self.timeout);
        let link = Arc::new(link);
        if let Err(error) = link.open(OPENING, OPENING).await {
            if !self.starts_in_outage || kind(&error) != OpenErrorKind::Unreachable {
                return Err(failed(error));
            }
            let error = BackendError::unavailable(error);
            observe::backend_failed(Backend::Limiter, &error);
            link.find_again();
        }
        let local = (self.on_outage == OnOutage::Local).then(|| Local {
            limiter: MemoryRateLimiter::new(ready.divided_by(self.share)),
            share: self.share,
        });
        Ok(RedisRateLimiter {
            shared: Arc::new(Shared {
                link,
                ready: ArcSwap::from_pointee(ready),
                changing: Mutex::default(),
                local,
            }),
        })
    }

    /// How to reach the server, and what to call it: without a password.
    fn server(&self) -> Result<(ConnectionInfo, String), OpenError> {
        let server = self.url.as_str().into_connection_info().map_err(|error| {
            OpenError::new("the URL", OpenErrorKind::InvalidSetting).with_source(error)
        })?;
        let settings = server.redis_settings().clone();
        let place = format!("redis://{}/{}", server.addr(), settings.db());
        // Only this protocol tells at once that a connection has ended.
        let settings = settings.set_protocol(ProtocolVersion::RESP3);
        // Without it a request may wait until the one before is answered.
        let tcp = TcpSettings::default().set_nodelay(true);
        let server = server.set_redis_settings(settings).set_tcp_settings(tcp);
        Ok((server, place))
    }

    fn check(&self) -> Result<(), InvalidName> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
        if !(1..=100).contains(&self.prefix.len()) || !self.prefix.bytes().all(is_plain) {
            let rule = "1 to 100 letters, digits, `-`, `.`, `_`, `~` or `:`";
            return Err(InvalidName::new("prefix", &self.prefix, rule));
        }
        if self.share == 0 {
            return Err(InvalidName::new("share", "0", "1 process or more"));
        }
        if self.timeout.is_zero() {
            return Err(InvalidName::new("timeout", "0", "longer than nothing"));
        }
        Ok(())
    }
}

impl IntoFuture for ConnectRedis {
    type Output = Result<RedisRateLimiter, OpenError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl std::fmt::Debug for ConnectRedis {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectRedis")
            .field("tiers", &self.tiers)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("on_outage", &self.on_outage)
            .field("share", &self.share)
            .field("starts_in_outage", &self.starts_in_outage)
            .finish_non_exhaustive()
    }
}

fn kind(error: &RedisError) -> OpenErrorKind {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            OpenErrorKind::NotAccepted
        }
        (ErrorKind::InvalidClientConfig, _) => OpenErrorKind::InvalidSetting,
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => OpenErrorKind::NotPermitted,
        // Starting.
        (ErrorKind::Io | ErrorKind::Server(ServerErrorKind::BusyLoading), _) => {
            OpenErrorKind::Unreachable
        }
        _ => OpenErrorKind::Failed,
    }
}

/// The name of the server may have to be looked up, and keys to be exchanged.
const OPENING: Duration = Duration::from_secs(5);
