//! The command line.

use std::{ffi::OsString, fmt};

use tower_api_key::KeyText;

pub(crate) const HELP: &str = "\
usage: hub [--listen ADDR] [--database memory:] [--admin-key TEXT]

  --listen ADDR       where to serve, by default 127.0.0.1:3000; port 0 takes a free one
  --database memory:  where keys and licenses are kept; this build knows memory only
  --admin-key TEXT    the administrator's key, by default a new one. HUB_ADMIN_KEY sets it too,
                      and does not show it to everyone who lists processes";

pub(crate) struct Options {
    pub(crate) listen: String,
    pub(crate) admin_key: Option<KeyText>,
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
        admin_key: admin_key.map(KeyText::new),
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
                let database = value()?;
                if database != "memory:" {
                    return Err(Problem(format!(
                        "--database {database}: this build keeps its data in memory only, \
                         which is --database memory:"
                    )));
                }
            }
            "--help" | "-h" => return Ok(Parsed::Help),
            // It may be a key that lost its option: it is not repeated.
            _ if !name.starts_with('-') => {
                return Err(Problem("what stands alone is no option".into()));
            }
            _ => return Err(Problem(format!("{name} is no option"))),
        }
    }
    Ok(Parsed::Run(options))
}
