//! Connecting, and what can be said before.

use std::{future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::oneshot, time};

use super::{
    PostgresStore, Server, Shared,
    connections::{Connections, NOT_PERMITTED, READ_ONLY, code, in_time},
    follow::{self, Followed, Follower},
    keys, ledger,
    migrate::{Problem, Tenant, prepare},
    notify::{Channel, Outbox},
    schema::Schema,
    write::{Memory, Writer},
};
use crate::{
    clock::{Clock, SystemClock},
    license_ledger::Eviction,
    name::InvalidName,
    open_error::{OpenError, OpenErrorKind},
    sql::{ToldOfBoth, Turns},
};

impl PostgresStore {
    /// Connects to the database at a URL such as `postgres://user:password@host:5432/database`, with
    /// ten connections at most and one more to follow changes: settings may follow, then `.await`.
    ///
    /// ```no_run
    /// # async fn connect() -> Result<(), tower_api_key::OpenError> {
    /// use tower_api_key::PostgresStore;
    ///
    /// let url = "postgres://keys:secret@db.example.net/services";
    /// let store = PostgresStore::connect(url).with_tenant("studio-7").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(url: impl Into<String>) -> ConnectPostgres {
        ConnectPostgres::new(Source::Url(url.into()))
    }

    /// Uses a pool of your own: settings may follow, then `.await`.
    ///
    /// One connection more, with the pool's options, follows changes.
    pub fn with_pool(pool: PgPool) -> ConnectPostgres {
        ConnectPostgres::new(Source::Pool(pool))
    }

    /// The store of another tenant in the same schema, with the same settings: all share the pool
    /// and the connection that follows changes.
    ///
    /// ```no_run
    /// # async fn tenants() -> Result<(), tower_api_key::OpenError> {
    /// use tower_api_key::PostgresStore;
    ///
    /// let url = "postgres://keys:secret@db.example.net/services";
    /// let studio_7 = PostgresStore::connect(url).with_tenant("studio-7").await?;
    /// let studio_8 = studio_7.tenant("studio-8").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`] where the server cannot be reached, and where the tenant is new and cannot be
    /// written.
    pub async fn tenant(&self, name: impl Into<String>) -> Result<Self, OpenError> {
        let server = &self.0.server;
        let name = name.into();
        check_tenant(&name).map_err(|error| {
            OpenError::new(&server.place, OpenErrorKind::InvalidSetting).with_source(error)
        })?;
        let began = server.clock.now().monotonic;
        let prepared = async {
            let mut lease = server.connections.lease().await?;
            let tenant = prepare(lease.connection(), &server.schema, &name).await?;
            lease.is_answered();
            Ok(tenant)
        };
        let prepared = in_time(server.connections.timeout(), prepared).await;
        let tenant = prepared.map_err(|problem| open_error(&server.place, problem))?;
        Ok(Arc::clone(server).store(name, tenant.told(began)))
    }
}

/// A [`PostgresStore`] that is connected by `.await`.
///
/// It has to be awaited in the tokio runtime in which the store is to live: a task there follows
/// what other processes change, until the last handle of the store is dropped.
///
/// # Errors
///
/// [`OpenError`] says what is wrong and where: the server, the user, or the tables.
#[derive(Clone)]
#[must_use = "connects when it is awaited"]
pub struct ConnectPostgres {
    source: Source,
    schema: String,
    tenant: String,
    timeout: Duration,
    poll_interval: Duration,
    clock: Arc<dyn Clock>,
    /// Nothing: the ledger's time is the server's.
    time: Option<Arc<dyn Clock>>,
    eviction: Eviction,
}

#[derive(Clone)]
enum Source {
    Url(String),
    Pool(PgPool),
}

impl ConnectPostgres {
    fn new(source: Source) -> Self {
        Self {
            source,
            schema: "tower_api_key".to_owned(),
            tenant: "default".to_owned(),
            timeout: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
            clock: Arc::new(SystemClock::new()),
            time: None,
            eviction: Eviction::default(),
        }
    }

    /// The schema that holds the tables, `tower_api_key` by default.
    ///
    /// ```
    /// # use tower_api_key::PostgresStore;
    /// let connect = PostgresStore::connect("postgres://db.example.net").with_schema("keys");
    /// ```
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Whose keys these are, `default` by default: tenants see nothing of each other.
    ///
    /// ```
    /// # use tower_api_key::PostgresStore;
    /// let connect = PostgresStore::connect("postgres://db.example.net").with_tenant("studio-7");
    /// ```
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// How long a statement may take, the wait for a connection included, 5 s by default; then the
    /// call that needs it is an outage.
    ///
    /// ```
    /// # use {std::time::Duration, tower_api_key::PostgresStore};
    /// let connect = PostgresStore::connect("postgres://db.example.net");
    /// let connect = connect.with_timeout(Duration::from_secs(2));
    /// ```
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a change of another process stays unknown at most where no notification comes
    /// through, 1 s by default. It has to be well below the layers' `max_staleness`.
    ///
    /// ```
    /// # use {std::time::Duration, tower_api_key::PostgresStore};
    /// let connect = PostgresStore::connect("postgres://db.example.net");
    /// let connect = connect.with_poll_interval(Duration::from_millis(500));
    /// ```
    pub fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Where the time is read, also the ledger's. By default that is a [`SystemClock`], and for the
    /// ledger the server's own clock, which is one for all processes. The layer that uses the store
    /// must read the same kind of clock.
    ///
    /// ```
    /// # use {std::sync::Arc, tower_api_key::{ManualClock, PostgresStore}};
    /// let clock = Arc::new(ManualClock::new());
    /// let connect = PostgresStore::connect("postgres://db.example.net").with_clock(clock);
    /// ```
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self.time = Some(Arc::clone(&self.clock));
        self
    }

    /// Which reservation goes first where there are more than seats, by default the oldest. All
    /// processes that share a tenant must say the same.
    ///
    /// ```
    /// # use tower_api_key::{Eviction, PostgresStore};
    /// let connect = PostgresStore::connect("postgres://db.example.net");
    /// let connect = connect.with_eviction(Eviction::NewestFirst);
    /// ```
    pub fn with_eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    async fn open(self) -> Result<PostgresStore, OpenError> {
        let (options, mut place) = self.options()?;
        let invalid = |error: InvalidName| {
            OpenError::new(&place, OpenErrorKind::InvalidSetting).with_source(error)
        };
        let schema = Schema::new(&self.schema).map_err(invalid)?;
        check_tenant(&self.tenant).map_err(invalid)?;
        place = format!("{place}, schema {schema}");
        let failed = |problem| open_error(&place, problem);
        let began = self.clock.now().monotonic;

        let (pool, tenant) = match &self.source {
            Source::Pool(pool) => {
                let prepared = async {
                    let mut connection = pool.acquire().await?;
                    check_isolation(&mut connection).await?;
                    prepare(&mut connection, &schema, &self.tenant).await
                };
                (
                    pool.clone(),
                    in_time(OPENING, prepared).await.map_err(failed)?,
                )
            }
            Source::Url(_) => {
                // Not through a pool, which would try a refused connection again until its time is
                // over, and keep to itself why it was refused.
                let connected = async { Ok(options.connect().await?) };
                let mut connection: PgConnection =
                    in_time(OPENING, connected).await.map_err(failed)?;
                let prepared = prepare(&mut connection, &schema, &self.tenant);
                let tenant = in_time(OPENING, prepared).await.map_err(failed)?;
                // All is done: whether the server hears the farewell does not matter.
                let _ = time::timeout(self.timeout, connection.close()).await;
                (self.pool(options.clone()), tenant)
            }
        };
        let told = tenant.told(began);
        let server = self.server(pool, options, schema, place);
        Ok(server.store(self.tenant, told))
    }

    /// How to reach the server, and what to call it: without a password.
    fn options(&self) -> Result<(PgConnectOptions, String), OpenError> {
        let options = match &self.source {
            Source::Pool(pool) => (*pool.connect_options()).clone(),
            Source::Url(url) => url.parse::<PgConnectOptions>().map_err(|error| {
                OpenError::new("the URL", OpenErrorKind::InvalidSetting).with_source(error)
            })?,
        };
        let user = options.get_username();
        let database = options.get_database().unwrap_or(user);
        let place = match options.get_socket() {
            Some(path) => format!("{user}@{}/{database}", path.display()),
            None => format!(
                "postgres://{user}@{}:{}/{database}",
                options.get_host(),
                options.get_port()
            ),
        };
        Ok((options, place))
    }

    fn pool(&self, options: PgConnectOptions) -> PgPool {
        // The server gives up too what nobody waits for any more, and with it the locks it holds.
        let settings = format!(
            "SET statement_timeout = {}; SET default_transaction_isolation = 'read committed'",
            self.timeout.as_millis().max(1)
        );
        let settings: Arc<str> = settings.into();
        PgPoolOptions::new()
            .acquire_timeout(self.timeout)
            // Asking each time whether the connection still works would double the time of a call.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > RECENTLY {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let settings = sqlx::AssertSqlSafe(Arc::clone(&settings));
                Box::pin(async move { connection.execute(settings).await.map(drop) })
            })
            .connect_lazy_with(options)
    }

    fn server(
        &self,
        pool: PgPool,
        options: PgConnectOptions,
        schema: Schema,
        place: String,
    ) -> Arc<Server> {
        let (followed, outbox) = (Followed::default(), Arc::<Outbox>::default());
        let connections = Arc::new(Connections::of(pool, self.timeout));
        let (following, ended) = oneshot::channel();
        let follower = Follower {
            // It alone would log a statement each second.
            options: options.disable_statement_logging(),
            channel: Channel::of(&schema),
            outbox: Arc::clone(&outbox),
            statements: follow::Statements::new(&schema),
            followed: followed.clone(),
            connections: Arc::clone(&connections),
            clock: Arc::clone(&self.clock),
            every: self.poll_interval,
            timeout: self.timeout,
        };
        follower.start(ended);
        let writer = Arc::new(Writer::new(Arc::clone(&connections), &schema));
        Arc::new(Server {
            writes: Turns::begin(&Arc::downgrade(&writer), WRITES),
            writer,
            connections,
            keys: keys::Statements::new(&schema),
            ledger: ledger::Statements::new(&schema),
            schema,
            place,
            eviction: self.eviction,
            clock: Arc::clone(&self.clock),
            time: self.time.clone(),
            followed,
            outbox,
            _following: following,
        })
    }
}

impl Server {
    fn store(self: Arc<Self>, tenant: String, told: ToldOfBoth) -> PostgresStore {
        let told = self.followed.add(&tenant, told);
        PostgresStore(Arc::new_cyclic(|shared| Shared {
            server: self,
            tenant,
            told,
            turns: Turns::begin(shared, 1),
            memory: Memory::default(),
        }))
    }
}

impl Tenant {
    /// What was changed before has never been read by anyone here, and need not be told.
    fn told(&self, began: Duration) -> ToldOfBoth {
        let told = ToldOfBoth::from(self.key_seq, self.seq);
        told.heard(began);
        told
    }
}

impl IntoFuture for ConnectPostgres {
    type Output = Result<PostgresStore, OpenError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl std::fmt::Debug for ConnectPostgres {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectPostgres")
            .field("schema", &self.schema)
            .field("tenant", &self.tenant)
            .field("timeout", &self.timeout)
            .field("poll_interval", &self.poll_interval)
            .finish_non_exhaustive()
    }
}

/// A statement that waited for a lock must see what was committed meanwhile.
async fn check_isolation(connection: &mut PgConnection) -> Result<(), Problem> {
    let isolation = sqlx::query_scalar("SHOW default_transaction_isolation");
    let isolation: String = isolation.fetch_one(connection).await?;
    match isolation == "read committed" {
        true => Ok(()),
        false => Err(Problem::Isolation(isolation)),
    }
}

fn check_tenant(name: &str) -> Result<(), InvalidName> {
    match (1..=200).contains(&name.len()) && !name.contains('\0') {
        true => Ok(()),
        false => Err(InvalidName::new("tenant", name, "1 to 200 bytes")),
    }
}

fn open_error(place: &str, problem: Problem) -> OpenError {
    let error = match problem {
        Problem::Other(kind) => return OpenError::new(place, kind),
        Problem::Isolation(found) => {
            let source = format!(
                "default_transaction_isolation is {found:?} in the pool's connections, and has to be \
                 \"read committed\""
            );
            return OpenError::new(place, OpenErrorKind::InvalidSetting).with_source(source);
        }
        Problem::Sql(error) => error,
    };
    let kind = match (&error, code(&error).as_deref()) {
        (_, Some(READ_ONLY)) => OpenErrorKind::ReadOnly,
        (_, Some(INVALID_PASSWORD | INVALID_AUTHORIZATION)) => OpenErrorKind::NotAccepted,
        (_, Some(NOT_PERMITTED)) => OpenErrorKind::NotPermitted,
        (_, Some(NO_SUCH_DATABASE)) => OpenErrorKind::NotFound,
        (_, Some(DISK_FULL)) => OpenErrorKind::Full,
        // Starting, stopping, or without a free connection.
        (_, Some(CANNOT_CONNECT_NOW | ADMIN_SHUTDOWN | TOO_MANY_CONNECTIONS)) => {
            OpenErrorKind::Unreachable
        }
        (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut, _) => OpenErrorKind::Unreachable,
        _ => OpenErrorKind::Failed,
    };
    OpenError::new(place, kind).with_source(error)
}

/// A migration may have to wait for that of another process.
const OPENING: Duration = Duration::from_secs(60);
/// While one is committed the next is under way.
const WRITES: usize = 2;
const RECENTLY: Duration = Duration::from_secs(1);

const INVALID_AUTHORIZATION: &str = "28000";
const INVALID_PASSWORD: &str = "28P01";
const NO_SUCH_DATABASE: &str = "3D000";
const DISK_FULL: &str = "53100";
const TOO_MANY_CONNECTIONS: &str = "53300";
const ADMIN_SHUTDOWN: &str = "57P01";
const CANNOT_CONNECT_NOW: &str = "57P03";
