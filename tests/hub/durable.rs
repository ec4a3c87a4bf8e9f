//! What outlives the hub, and moves from one to another.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{ENGINES, Hub, bearer, command, example, folder, fresh, x_api_key};

/// The example itself, in a folder of its own.
fn in_folder(folder: &Path) -> Command {
    let tests = std::env::current_exe().expect("a path");
    let build = tests.ancestors().nth(2).expect("it is in `deps`");
    let mut command = Command::new(build.join("examples/hub"));
    command.arg("--listen=127.0.0.1:0").current_dir(folder);
    command.env_remove("HUB_ADMIN_KEY").stdout(Stdio::piped());
    command
}

fn granted(hub: &Hub, key: &str) {
    hub.get(ENGINES, &[&x_api_key(key)]).granted();
}

#[test]
fn keys_seats_and_log_are_kept_over_kill_9() {
    // Built, for what follows.
    Hub::start();
    let folder = folder();
    let hub = Hub::run(&mut in_folder(&folder));
    let keys = hub.keys.clone();
    assert_eq!(keys.len(), 7);
    granted(&hub, &keys["Launcher"]);
    let before = exported(&folder);
    assert!(before.contains(r#""event":"reserved""#), "{before}");
    // It kills.
    drop(hub);

    let hub = Hub::run(&mut in_folder(&folder));
    assert!(hub.keys.is_empty(), "texts are shown once: {:?}", hub.keys);
    granted(&hub, &keys["Launcher"]);
    let lino = hub.get("/api/rest/v1/lino/shows", &[&x_api_key(&keys["Lino"])]);
    lino.granted();
    hub.get("/v1/stats", &[&bearer(&keys["Realms"])]).granted();
    assert_eq!(events(&exported(&folder)), events(&before));
}

#[test]
fn administrators_key_can_be_given_later_and_again() {
    let database = fresh();
    drop(Hub::at(&database));
    let text = "rk_live_abcdef1234567890abcdef1234567890";
    for known in [Some("(as given)"), None] {
        let arguments = ["--listen=127.0.0.1:0", "--database", &database];
        let hub = Hub::run(command(&arguments).env("HUB_ADMIN_KEY", text));
        let said = hub.keys.get("Administrator").map(String::as_str);
        assert_eq!((said, hub.keys.len()), (known, known.iter().count()));
        hub.get("/v1/stats", &[&x_api_key(text)]).granted();
    }
}

#[test]
fn file_that_is_no_database_is_named() {
    let path = folder().join("hub.db");
    fs::write(
        &path,
        "not a database at all, but long enough to be one".repeat(99),
    )
    .expect("a file");
    let database = format!("sqlite:{}", path.display());
    let output = command(&["--database", &database])
        .stderr(Stdio::piped())
        .output();
    let output = output.expect("cargo");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let expected = format!("hub: {}: not a database", path.display());
    assert!(text.starts_with(&expected), "{text}");
}

fn migrate(arguments: &[&str]) -> (bool, String, String) {
    let output = example("migrate", arguments)
        .stderr(Stdio::piped())
        .output();
    let output = output.expect("cargo");
    (
        output.status.success(),
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8(output.stderr).expect("text"),
    )
}

/// The lines of everything that the hub in this folder keeps.
fn exported(folder: &Path) -> String {
    let from = format!("sqlite:{}", folder.join("hub.db").display());
    let (done, lines, said) = migrate(&["export", &from, "-"]);
    assert!(done, "{said}");
    lines
}

fn events(lines: &str) -> Vec<&str> {
    let lines = lines.lines();
    lines
        .filter(|line| line.starts_with("{\"event\""))
        .collect()
}

#[test]
fn migrated_hub_goes_on_with_its_keys() {
    let (folder, other) = (folder(), folder());
    let from = format!("sqlite:{}", folder.join("hub.db").display());
    let to = format!("sqlite:{}", other.join("other.db").display());
    let third = format!("sqlite:{}", other.join("third.db").display());
    let file = other.join("keys.jsonl").display().to_string();
    let keys = Hub::at(&from).keys.clone();
    let steps = [
        &[&from[..], &to][..],
        &["export", &to, &file],
        &["import", &file, &third],
    ];
    for arguments in steps {
        let (done, _, said) = migrate(arguments);
        assert!(done, "{said}");
        assert!(said.contains("7 keys"), "{said}");
    }
    let hub = Hub::at(&third);
    assert!(hub.keys.is_empty());
    granted(&hub, &keys["Launcher"]);

    let (done, _, said) = migrate(&["import", &file, &third]);
    assert!(done && said.contains("7 keys were there already"), "{said}");
    let mut damaged = fs::read_to_string(&file).expect("a file");
    damaged.truncate(damaged.len() - 2);
    fs::write(&file, damaged).expect("a file");
    let (done, _, said) = migrate(&["import", &file, "memory:"]);
    let last = exported(&folder).lines().count();
    let expected = format!("migrate: line {last}: EOF while parsing");
    assert!(!done && said.starts_with(&expected), "{said}");
}

#[test]
fn migrate_makes_no_mistake_worse() {
    let folder = folder();
    let path = folder.join("hub.db");
    let there = format!("sqlite:{}", path.display());
    let (done, _, said) = migrate(&[&there, "memory:"]);
    assert!(!done && said.contains("no such file"), "{said}");
    assert!(!path.exists());

    drop(Hub::at(&there));
    let file = folder.join("keys.jsonl").display().to_string();
    fs::write(&file, "mine").expect("a file");
    let (done, _, said) = migrate(&["export", &there, &file]);
    assert!(!done && said.contains("File exists"), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "mine");

    let other = fresh();
    drop(Hub::at(&other));
    let (done, _, said) = migrate(&[&there, &other]);
    assert!(!done && said.contains("not empty: the key "), "{said}");
}
