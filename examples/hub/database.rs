//! Where keys and licenses are kept: `memory:`, `sqlite:PATH`, `postgres://…`, whichever were built
//! in.

use std::{error::Error, fmt, path::PathBuf, str::FromStr, sync::Arc};

use tower_api_key::{KeyStore, transfer::RestoreLedger};

/// A place, by what the command line calls it.
pub(crate) enum Database {
    Memory,
    Sqlite(PathBuf),
    /// The URL may have a password in it.
    Postgres(String),
}

/// A store and its ledger, in use.
pub(crate) struct Opened {
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) ledger: Arc<dyn RestoreLedger>,
}

/// The forms that this build can open, for messages.
pub(crate) const FORMS: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
    (true, true) => "sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or memory:",
    (true, false) => "sqlite:PATH or memory:",
    (false, true) => "postgres://USER:PASSWORD@HOST/DATABASE or memory:",
    (false, false) => "memory: alone",
};

impl Default for Database {
    /// A file in the working directory, where that is built in.
    fn default() -> Self {
        match cfg!(feature = "sqlite") {
            true => Self::Sqlite("hub.db".into()),
            false => Self::Memory,
        }
    }
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let (database, feature, is_there) = match scheme {
            "memory" if rest.is_empty() => return Ok(Self::Memory),
            "sqlite" if !rest.is_empty() => {
                let database = Self::Sqlite(rest.into());
                (database, "sqlite", cfg!(feature = "sqlite"))
            }
            "postgres" | "postgresql" if rest.starts_with("//") => {
                let database = Self::Postgres(text.to_owned());
                (database, "postgres", cfg!(feature = "postgres"))
            }
            // It may be a URL with a password: it is not repeated.
            _ => {
                return Err(format!(
                    "is given what is no place for keys: this build knows {FORMS}"
                ));
            }
        };
        match is_there {
            true => Ok(database),
            false => Err(format!(
                "{scheme}: needs the feature `{feature}`: this build knows {FORMS}"
            )),
        }
    }
}

impl Database {
    pub(crate) async fn open(&self) -> Result<Opened, Box<dyn Error>> {
        match self {
            Self::Memory => {
                let ledger = tower_api_key::MemoryLedger::new();
                Ok(Opened {
                    keys: Arc::new(tower_api_key::MemoryKeyStore::new()),
                    ledger: Arc::new(ledger),
                })
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => Ok(Opened::of(tower_api_key::SqliteStore::open(path).await?)),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let store = tower_api_key::PostgresStore::connect(url).await?;
                Ok(Opened::of(store))
            }
            #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
            _ => Err(format!("this build knows {FORMS}").into()),
        }
    }
}

impl Opened {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    fn of<T: KeyStore + RestoreLedger>(store: T) -> Self {
        let store = Arc::new(store);
        Self {
            keys: Arc::clone(&store) as _,
            ledger: store,
        }
    }
}

/// For people: without a password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(path) => {
                let absolute = std::path::absolute(path);
                absolute.as_ref().unwrap_or(path).display().fmt(f)
            }
            Self::Postgres(url) => {
                let place = url.split_once("://").map_or("", |(_, place)| place);
                let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
                let place = place.split('?').next().unwrap_or_default();
                write!(f, "postgres://{place}")
            }
        }
    }
}

/// An error with what brought it about, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line += &format!(": {error}");
        cause = error.source();
    }
    line
}
