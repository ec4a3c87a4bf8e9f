//! The command line.

use std::{ffi::OsString, fmt};

use tower_api_key::KeyText;

use crate::{
    database::{Database, FORMS},
    rates::Rates,
    tokens::Trusted,
};

pub(crate) fn help() -> String {
    format!(
        "\
usage: hub [--listen ADDR] [--database PLACE] [--redis URL] [--admin-key TEXT]
           [--issuer URL --audience AUD [--introspection-client ID:SECRET]]

  --listen ADDR       where to serve, by default 127.0.0.1:3000; port 0 takes a free one
  --database PLACE    where keys and licenses are kept, by default {default};
                      this build knows {FORMS}
  --redis URL         where requests are counted, redis://:PASSWORD@HOST:PORT; by default each hub
                      counts its own{redis}
  --admin-key TEXT    an administrator's key, by default a new one on the first start
  --issuer URL        an OAuth 2.0 issuer whose access tokens are accepted beside keys{oauth}
  --audience AUD      whom those tokens must be for
  --introspection-client ID:SECRET
                      asks the issuer about tokens that are no JWTs, as this client

HUB_ADMIN_KEY and HUB_INTROSPECTION_CLIENT set these too, and PGPASSWORD PostgreSQL's password: what
stands on the command line is shown to everyone who lists processes. HUB_SECRET, 32 random characters
or more, lets sessions and retried creations survive a restart, and several hubs share them.",
        redis = match cfg!(feature = "redis") {
            true => "",
            false => " (needs the feature `redis`)",
        },
        oauth = match cfg!(feature = "oauth") {
            true => "",
            false => " (needs the\n                      feature `oauth`)",
        },
        default = match Database::default() {
            Database::Sqlite(path) => format!("sqlite:{}", path.display()),
            _ => "memory:".into(),
        }
    )
}

pub(crate) struct Options {
    pub(crate) listen: String,
    pub(crate) database: Database,
    pub(crate) rates: Rates,
    pub(crate) trusted: Trusted,
    pub(crate) admin_key: Option<KeyText>,
    /// What sessions are signed with, and what else has to last.
    pub(crate) secret: Option<KeyText>,
}

pub(crate) enum Parsed {
    Run(Options),
    Help,
}

/// What is wrong with the command line.
pub(crate) struct Problem(String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, Problem> {
    let admin_key = std::env::var("HUB_ADMIN_KEY").ok();
    let mut options = Options {
        listen: "127.0.0.1:3000".into(),
        database: Database::default(),
        rates: Rates::default(),
        trusted: Trusted {
            introspection_client: std::env::var("HUB_INTROSPECTION_CLIENT").ok(),
            ..Trusted::default()
        },
        admin_key: admin_key.map(KeyText::new),
        secret: std::env::var("HUB_SECRET").ok().map(KeyText::new),
    };
    let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value = || {
            let missing = || Problem(format!("{name} needs a value"));
            value
                .clone()
                .or_else(|| arguments.next())
                .ok_or_else(missing)
        };
        match name {
            "--listen" => options.listen = value()?,
            "--admin-key" => options.admin_key = Some(KeyText::new(value()?)),
            "--database" => {
                let place = value()?.parse();
                options.database =
                    place.map_err(|problem| Problem(format!("--database {problem}")))?;
            }
            "--redis" => {
                let rates = value()?.parse();
                options.rates = rates.map_err(|problem| Problem(format!("--redis {problem}")))?;
            }
            "--issuer" => options.trusted.issuer = Some(value()?),
            "--audience" => options.trusted.audience = Some(value()?),
            "--introspection-client" => options.trusted.introspection_client = Some(value()?),
            "--help" | "-h" => return Ok(Parsed::Help),
            // It may be a key that lost its option: it is not repeated.
            _ if !name.starts_with('-') => {
                return Err(Problem("what stands alone is no option".into()));
            }
            _ => return Err(Problem(format!("{name} is no option"))),
        }
    }
    match options.trusted.flaw() {
        Some(flaw) => Err(Problem(flaw.into())),
        None => Ok(Parsed::Run(options)),
    }
}
