use crate::{
    BackendError,
    transfer::{Archive, TransferError},
};

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// The two examples of the docs.
fn documented() -> [String; 2] {
    let docs = include_str!("../transfer.rs");
    let mut blocks = docs.split("//! ```json\n").skip(1).map(|block| {
        let lines = block.lines().take_while(|line| *line != "//! ```");
        let lines = lines.map(|line| line.trim_start_matches("//! "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    });
    [blocks.next().unwrap(), blocks.next().unwrap()]
}

fn problem(lines: &str) -> String {
    match Archive::read(lines.as_bytes()) {
        Ok(archive) => panic!("{archive:?} was read from {lines}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn examples_of_the_docs_are_read_and_written_again() {
    let [copy, additions] = documented();
    let archive = Archive::read(copy.as_bytes()).unwrap();
    let mut written = Vec::new();
    archive.write(&mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), copy);
    let ledger = archive.ledger().unwrap();
    assert_eq!((archive.keys().len(), ledger.events().len()), (1, 4));

    let archive = Archive::read(additions.as_bytes()).unwrap();
    let mut written = Vec::new();
    archive.write(&mut written).unwrap();
    let again = Archive::read(&written[..]).unwrap();
    assert_eq!(format!("{archive:?}"), "Archive { keys: 1, operations: 3 }");
    assert_eq!(format!("{again:?}"), format!("{archive:?}"));
    assert_eq!(again.keys(), archive.keys());
}

/// A key's line with these fields changed.
fn key(changes: &str) -> String {
    let mut key = serde_json::json!({
        "id": "k1", "digest": DIGEST, "name": "a", "created_at": "2026-11-20T08:00:00Z",
    });
    let changes: serde_json::Map<_, _> = serde_json::from_str(changes).unwrap();
    for (name, value) in changes {
        key[name] = value;
    }
    format!("{{\"key\":{key}}}")
}

#[test]
fn line_and_field_that_are_wrong_are_named() {
    let text = "rk_live_1234567890abcdef1234567890abcdef";
    let wrong = [
        ("{", "line 1: EOF while parsing"),
        ("[]", "line 1: invalid type: sequence"),
        ("{}", "line 1: is not an object with one object in it"),
        (r#"{"key":{},"event":{}}"#, "line 1: is not an object with"),
        (r#"{"kye":{}}"#, "line 1: kye: is no line of an archive"),
        (r#"{"key":{}}"#, "line 1: key.id: is missing"),
        (r#"{"key":{"id":"k1"}}"#, "line 1: key.digest: is missing"),
        (
            &key(r#"{"id":"a b"}"#),
            "line 1: key.id: key id \"a b\" is invalid",
        ),
        (
            &key(r#"{"enabeld":false}"#),
            "line 1: key.enabeld: unknown field",
        ),
        (
            &key(r#"{"enabled":0}"#),
            "line 1: key.enabled: invalid type: integer `0`",
        ),
        (
            &key(r#"{"enabled":null}"#),
            "line 1: key.enabled: invalid type: null",
        ),
        (
            &key(r#"{"expires_at":"soon"}"#),
            "line 1: key.expires_at: \"soon\" is not",
        ),
        (
            &key(r#"{"created_at":1}"#),
            "line 1: key.created_at: invalid type: integer",
        ),
        (
            &key(r#"{"scopes":["a b"]}"#),
            "line 1: key.scopes: scope \"a b\"",
        ),
        (
            &key(r#"{"previous":{}}"#),
            "line 1: key.previous: missing field `digest`",
        ),
        (&key(r#"{"name":" "}"#), "line 1: key.name: is empty"),
        (
            &key(r#"{"owner":"\u0007"}"#),
            "line 1: key.owner: has a control character",
        ),
        (
            &key(r#"{"hint":"\u0007"}"#),
            "line 1: key.hint: has more than 64 characters or a",
        ),
        (
            &key(r#"{"modules":["m"]}"#),
            "line 1: key.modules: are assigned by lines of",
        ),
        (
            &key(&format!("{{\"digest\":\"{text}\"}}")),
            "line 1: key.digest: key digest",
        ),
        (
            &key(&format!("{{\"key\":\"{text}\"}}")),
            "line 1: key.key: unknown field `key`",
        ),
        (
            r#"{"license":{"id":"lic"}}"#,
            "line 1: license.seats: is missing",
        ),
        (
            r#"{"license":{"id":"lic","seats":-1}}"#,
            "line 1: license.seats: invalid value: integer `-1`, expected u32",
        ),
        (
            r#"{"license":{"id":"lic","seats":1,"valid_until":"2026-13-01"}}"#,
            "line 1: license.valid_until: \"2026-13-01\" is not",
        ),
        (
            r#"{"module":{"module":"m"}}"#,
            "line 1: module.license: is missing",
        ),
        (
            r#"{"assign":{"holder":"k","modules":"m"}}"#,
            "line 1: assign.modules: invalid type",
        ),
        (r#"{"event":{}}"#, "line 1: event: has its place in a copy"),
    ];
    for (line, expected) in wrong {
        let problem = problem(line);
        assert!(problem.starts_with(expected), "{problem} of {line}");
        assert!(!problem.contains(text), "{problem}");
        let other = key(&format!(
            "{{\"id\":\"k0\",\"digest\":\"{}\"}}",
            "0".repeat(64)
        ));
        let later = self::problem(&format!("\n{other}\n\n{line}\r\n"));
        let expected = expected.replacen("line 1", "line 4", 1);
        assert!(later.starts_with(&expected), "{later}");
    }
}

#[test]
fn key_that_is_there_twice_is_named() {
    let other = "1".repeat(64);
    let with =
        |id: &str, digest: &str| key(&format!("{{\"id\":\"{id}\",\"digest\":\"{digest}\"}}"));
    let lines = format!("{}\n{}", with("a", DIGEST), with("a", &other));
    assert_eq!(problem(&lines), "line 2: key.id: is that of line 1 too");
    let lines = format!("{}\n{}", with("a", DIGEST), with("b", DIGEST));
    assert_eq!(problem(&lines), "line 2: key.digest: is that of line 1 too");
    let previous = format!(
        "{{\"id\":\"b\",\"digest\":\"{other}\",\
         \"previous\":{{\"digest\":\"{DIGEST}\",\"until\":\"2026-11-20T08:00:00Z\"}}}}"
    );
    let lines = format!("{}\n{}", with("a", DIGEST), key(&previous));
    assert_eq!(
        problem(&lines),
        "line 2: key.previous: is that of line 1 too"
    );
}

#[test]
fn copy_that_is_not_whole_is_refused() {
    let [copy, additions] = documented();
    let lines: Vec<_> = copy.lines().collect();
    let cut = lines[..6].join("\n");
    let expected = "line 1: copy.events: says 4, and there are 3: some lines are missing or new";
    assert_eq!(problem(&cut), expected);
    let expected = "line 5: event: seq is 3, not 2";
    let gap = [&lines[..4], &lines[5..], &lines[6..]].concat().join("\n");
    assert_eq!(problem(&gap), expected);
    let unheld = copy.replace(
        r#""holder":"k1","active":true"#,
        r#""holder":"k2","active":true"#,
    );
    let error = Archive::read(unheld.as_bytes()).unwrap_err();
    assert!(matches!(error, TransferError::Inconsistent(_)), "{error}");

    let other = copy.replace(r#""version":1"#, r#""version":2,"more":true"#);
    let expected = "line 1: copy.version: is 2, and this crate reads 1";
    assert_eq!(problem(&other), expected);
    for (old, new, expected) in [
        (
            r#""actor":"admin""#,
            r#""actor":"""#,
            "line 4: event.actor: actor \"\"",
        ),
        (
            r#""seats":2"#,
            r#""seats":"2""#,
            "line 5: event.seats: invalid type",
        ),
        (
            r#""event":"reserved""#,
            r#""event":"given""#,
            "line 7: event.event: unknown variant",
        ),
        (
            r#","cause":"assigned""#,
            "",
            "line 7: event.cause: is missing",
        ),
        (
            r#""revoked":false"#,
            r#""revoked":0"#,
            "line 3: holder.revoked: invalid type",
        ),
    ] {
        let problem = problem(&copy.replacen(old, new, 1));
        assert!(problem.starts_with(expected), "{problem}");
    }
    for (lines, expected) in [
        (
            format!("{copy}{additions}"),
            "line 8: license: has no place in a copy",
        ),
        (
            format!("{additions}{copy}"),
            "line 5: copy: is the first line, or none",
        ),
    ] {
        let problem = problem(&lines);
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn interruption_says_how_far_it_came() {
    let source = BackendError::ReadOnly;
    let (done, of) = (3, 5);
    let error = TransferError::Interrupted { done, of, source };
    let expected = "stopped after 3 of 5 steps: the same import again does the rest";
    assert_eq!(error.to_string(), expected);
}
