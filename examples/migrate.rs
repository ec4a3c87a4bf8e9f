//! Moves keys and licenses from one database to another, or to a file and back:
//!
//! ```sh
//! cargo run --example migrate --features sqlite,postgres -- sqlite:hub.db postgres://keys@db/keys
//! cargo run --example migrate --features sqlite -- export sqlite:hub.db keys.jsonl
//! cargo run --example migrate --features sqlite -- import keys.jsonl sqlite:hub.db
//! ```
//!
//! What the lines are, also those for keys of another system, tells the documentation of
//! `tower_api_key::transfer`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to people"
)]

use std::{
    error::Error,
    fs::OpenOptions,
    io::{self, BufReader, BufWriter},
    process::ExitCode,
};

use tower_api_key::{Actor, transfer::Archive};

#[path = "hub/database.rs"]
mod database;

use database::{Database, FORMS, Opened};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["export", from, file] => export(from, file).await,
        ["import", file, to] => import(file, to).await,
        ["--help" | "-h"] => {
            println!("{}", help());
            return ExitCode::SUCCESS;
        }
        [from, to] if !from.starts_with('-') => copy(from, to).await,
        _ => {
            eprintln!("{}", help());
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("migrate: {}", database::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    format!(
        "\
usage: migrate FROM TO             moves everything, into an empty place
       migrate export FROM FILE    writes everything to a file that is not there yet
       migrate import FILE TO      reads what an export wrote, into an empty place, or adds what
                                   another system had

FILE is - for standard output and input. FROM and TO are places as for the hub; this build knows
{FORMS}.

Stop what uses the places meanwhile. An import into memory: only checks the file. PGPASSWORD sets
PostgreSQL's password: what stands on the command line is shown to everyone who lists processes."
    )
}

async fn copy(from: &str, to: &str) -> Result<(), Box<dyn Error>> {
    let to = place(to)?;
    take(&read(from).await?, &to).await
}

async fn export(from: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let archive = read(from).await?;
    if file == "-" {
        archive.write(io::stdout().lock())?;
    } else {
        let mut create = OpenOptions::new();
        create.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut create, 0o600);
        let created = create
            .open(file)
            .map_err(|error| format!("{file}: {error}"))?;
        archive.write(BufWriter::new(&created))?;
        created.sync_all()?;
    }
    eprintln!("migrate: {} keys written", archive.keys().len());
    Ok(())
}

async fn import(file: &str, to: &str) -> Result<(), Box<dyn Error>> {
    let to = place(to)?;
    let archive = if file == "-" {
        Archive::read(io::stdin().lock())?
    } else {
        let opened = OpenOptions::new().read(true).open(file);
        Archive::read(BufReader::new(
            opened.map_err(|error| format!("{file}: {error}"))?,
        ))?
    };
    take(&archive, &to).await
}

fn place(text: &str) -> Result<Database, Box<dyn Error>> {
    let parsed = text.parse();
    parsed.map_err(|problem: String| format!("one of the places {problem}").into())
}

/// Everything that is in a place.
async fn read(from: &str) -> Result<Archive, Box<dyn Error>> {
    let from = place(from)?;
    match &from {
        // Opening it would make it.
        Database::Sqlite(path) if !path.exists() => {
            return Err(format!("{from}: there is no such file").into());
        }
        Database::Memory => return Err("there is nothing in memory: to export".into()),
        _ => {}
    }
    let Opened { keys, ledger } = from.open().await?;
    Ok(Archive::export(&keys, &ledger).await?)
}

async fn take(archive: &Archive, to: &Database) -> Result<(), Box<dyn Error>> {
    let Opened { keys, ledger } = to.open().await?;
    let imported = archive
        .import(&keys, &ledger, &Actor::new("migrate")?)
        .await?;
    eprintln!(
        "migrate: {} keys and {} entries of the log are new in {to}; {} keys were there already",
        imported.keys, imported.events, imported.known
    );
    Ok(())
}
