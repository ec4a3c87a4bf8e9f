//! What is read: rules 1 and 5.

use super::*;
use crate::{
    key_store::{Environment, Scope, Tier},
    license_ledger::Module,
};

/// Rule 1: the record is found by its digest.
pub async fn key_is_found_by_its_digest(store: impl KeyStore) {
    for number in 0..3 {
        insert(&store, &record(number)).await;
    }
    for number in 0..3 {
        let found = find(&store, digest(number)).await;
        let rule = "rule 1: find answers the record whose digest is the one asked for";
        assert_eq!(found, Some(record(number)), "{rule}");
    }
}

/// Rule 1: the record is found by its previous digest, and by its current one beside it.
pub async fn key_is_found_by_its_previous_digest(store: impl KeyStore) {
    let mut both = record(1);
    both.previous = previous(2, at(60));
    insert(&store, &both).await;
    for (number, field) in [(2, "previous.digest"), (1, "digest")] {
        let found = find(&store, digest(number)).await;
        let rule = "rule 1: find answers the record that has the digest asked for as";
        assert_eq!(found.as_ref(), Some(&both), "{rule} {field}");
    }
}

/// Rule 1: nothing where there is none, however close a digest comes.
pub async fn unknown_digest_finds_nothing(store: impl KeyStore) {
    let rule = "rule 1: find answers nothing where no record has the digest";
    assert_eq!(find(&store, digest(1)).await, None, "{rule}");
    insert(&store, &record(1)).await;
    for byte in [0, 7, 8, 15, 16, 31] {
        for bit in [0x01, 0x20, 0x80] {
            let mut bytes = *digest(1).as_bytes();
            bytes[byte] ^= bit;
            let found = find(&store, KeyDigest::from_bytes(bytes)).await;
            assert_eq!(found, None, "{rule}: byte {byte} differs by {bit:#x}");
        }
    }
}

/// Rule 1: a digest is 32 bytes and no text: zeros and letters in both cases count.
pub async fn digests_are_compared_byte_by_byte(store: impl KeyStore) {
    let digests = [
        [0x00; 32],
        [0xff; 32],
        *b"digests are no text: A is not a.",
        *b"digests are no text: a is not A.",
    ]
    .map(KeyDigest::from_bytes);
    let numbered = || (1..).zip(digests);
    for (number, digest) in numbered() {
        let mut record = record(number);
        record.digest = digest;
        insert(&store, &record).await;
    }
    for (number, digest) in numbered() {
        let found = find(&store, digest).await.map(|found| found.id);
        let rule = "rule 1: find answers the record with this digest, byte by byte";
        assert_eq!(found, Some(record(number).id), "{rule}");
    }
}

/// Rule 1: a record comes back whole, odd texts and the outermost instants included.
pub async fn record_comes_back_whole(store: impl KeyStore) {
    let records = [full_record(), odd_record()];
    for record in &records {
        insert(&store, record).await;
    }
    let listed = all(&store).await;
    for record in &records {
        let rule = "rule 1: a record is answered whole";
        let found = find(&store, record.digest).await;
        assert_eq!(found.as_ref(), Some(record), "{rule} by find");
        let got = get(&store, &record.id).await;
        assert_eq!(got.as_ref(), Some(record), "{rule} by get");
        let listed = listed.iter().find(|listed| listed.id == record.id);
        assert_eq!(listed, Some(record), "{rule} by list");
    }
}

/// Rule 1: every field is kept as last written, also where an update takes it away.
pub async fn record_is_answered_as_last_written(store: impl KeyStore) {
    let rule = "rule 1: a record is answered as last written";
    insert(&store, &record(1)).await;
    let mut richer = full_record();
    (richer.id, richer.revision) = (record(1).id, 0);
    let richer = update(&store, &richer).await;
    let found = find(&store, richer.digest).await;
    assert_eq!(found.as_ref(), Some(&richer), "{rule}");
    assert_eq!(
        find(&store, digest(1)).await,
        None,
        "{rule}: not by a digest it gave up"
    );

    let mut bare = record(1);
    (bare.revision, bare.enabled) = (richer.revision, false);
    let bare = update(&store, &bare).await;
    assert_eq!(
        find(&store, digest(1)).await.as_ref(),
        Some(&bare),
        "{rule}"
    );
    assert_eq!(get(&store, &bare.id).await.as_ref(), Some(&bare), "{rule}");
    assert_eq!(all(&store).await, [bare], "{rule}");
    for given_up in digests(&richer) {
        assert_eq!(
            find(&store, given_up).await,
            None,
            "{rule}: not by a digest it gave up"
        );
    }
}

/// Rule 1: the store does not judge.
pub async fn dead_keys_are_found_too(store: impl KeyStore) {
    let mut disabled = record(1);
    disabled.enabled = false;
    let mut revoked = record(2);
    revoked.revoked_at = Some(at(1));
    let mut expired = record(3);
    expired.expires_at = Some(Timestamp::MIN);
    let mut outlived = record(4);
    outlived.previous = previous(5, Timestamp::MIN);
    let keys = [(1, disabled), (2, revoked), (3, expired), (5, outlived)];
    for (_, record) in &keys {
        insert(&store, record).await;
    }
    for (number, record) in keys {
        let found = find(&store, digest(number)).await;
        let rule = "rule 1: disabled, revoked and expired records are answered too";
        assert_eq!(found, Some(record), "{rule}");
    }
}

/// Rule 1: ids that differ in case or in a trailing character are different.
pub async fn ids_are_compared_byte_by_byte(store: impl KeyStore) {
    for (number, text) in (1..).zip(["key", "KEY", "key.", "key-", "ke"]) {
        let mut record = record(number);
        record.id = id(text);
        insert(&store, &record).await;
        let rule = "rule 1: get answers the record with this id, byte by byte";
        assert_eq!(get(&store, &id(text)).await, Some(record), "{rule}");
    }
    for unknown in ["Key", "k", "keys"] {
        let rule = "rule 1: get answers nothing where no record has this id";
        assert_eq!(get(&store, &id(unknown)).await, None, "{rule}");
    }
}

/// Rule 5: the order is that of the id's bytes, whatever the language of the machine.
pub async fn list_is_in_order_of_the_ids_bytes(store: impl KeyStore) {
    let longest = "z".repeat(128);
    let ordered = [
        "-", ".a", "0", "10", "2", "A", "AA", "B", "Z", "_", "a", "a-b", "a.b", "aB", "a_b", "ab",
        "b", &longest, "~",
    ];
    for number in [
        7, 2, 14, 0, 18, 5, 11, 9, 3, 16, 1, 12, 6, 17, 4, 10, 8, 15, 13,
    ] {
        let mut record = record(number);
        record.id = id(ordered[number as usize]);
        insert(&store, &record).await;
    }
    let rule = "rule 5: list answers in order of the id's bytes";
    assert_eq!(ids(&all(&store).await), ordered, "{rule}");
    let mut reversed = ordered;
    reversed.reverse();
    let query = |descending| KeyQuery::first(100).with_descending(descending);
    for (descending, ordered) in [(false, ordered), (true, reversed)] {
        let rule = match descending {
            false => rule,
            true => "rule 5: list answers descending where that is asked for",
        };
        let all = list(&store, query(descending)).await;
        assert_eq!(ids(&all), ordered, "{rule}");
        for (place, text) in ordered.iter().enumerate() {
            let rest = query(descending).with_after(Some(id(text)));
            let rest = list(&store, rest).await;
            let wanted = &ordered[place + 1..];
            assert_eq!(ids(&rest), *wanted, "{rule}, those after {text}");
        }
    }
}

/// Rule 5: a list read page by page holds each key once.
pub async fn pages_hold_each_key_once(store: impl KeyStore) {
    for number in 0..23 {
        insert(&store, &record(number)).await;
    }
    let whole = all(&store).await;
    assert_eq!(
        whole.len(),
        23,
        "rule 5: list answers all keys where the limit allows"
    );
    for limit in [1, 2, 7, 22, 23, 24] {
        let pages = read_in_pages(&store, limit).await;
        assert_eq!(
            pages, whole,
            "rule 5: pages of {limit} hold each key once, in order"
        );
    }
}

/// Rule 5: the outermost limits, and a starting point that is no key's.
pub async fn list_takes_any_limit_and_any_start(store: impl KeyStore) {
    for number in 1..4 {
        insert(&store, &record(number)).await;
    }
    let none = list(&store, KeyQuery::first(0)).await;
    assert!(
        none.is_empty(),
        "rule 5: a limit of 0 answers nothing, not {none:?}"
    );
    let most = list(&store, KeyQuery::first(usize::MAX)).await;
    assert_eq!(
        ids(&most),
        ["k1", "k2", "k3"],
        "rule 5: the greatest limit answers all"
    );
    for (start, rest) in [("k2-was-deleted", &["k3"][..]), ("k3", &[]), ("z", &[])] {
        let page = list(&store, KeyQuery::first(9).with_after(Some(id(start)))).await;
        assert_eq!(
            ids(&page),
            rest,
            "rule 5: those whose id comes after {start}"
        );
    }
}

/// Rule 5: names and hints are searched for plain text, ASCII letters in either case.
pub async fn list_searches_names_and_hints_for_plain_text(store: impl KeyStore) {
    let names = [
        "Studio A",
        "studio b",
        "100% LIVE",
        "1000 live",
        "a_b",
        "aXb",
        r"back\slash",
        "It's",
        "ÄRGER",
        "ärger",
        "",
    ];
    for (number, name) in (10..).zip(names) {
        let mut record = record(number);
        record.name = name.to_owned();
        if name == "It's" {
            record.hint = "acme…A1b2".to_owned();
        }
        insert(&store, &record).await;
    }
    let searches: [(&str, &[&str]); 13] = [
        ("studio", &["Studio A", "studio b"]),
        ("STUDIO B", &["studio b"]),
        ("dio", &["Studio A", "studio b"]),
        ("live", &["100% LIVE", "1000 live"]),
        ("100%", &["100% LIVE"]),
        ("%", &["100% LIVE"]),
        ("_", &["a_b"]),
        (r"\", &[r"back\slash"]),
        ("'", &["It's"]),
        ("ärger", &["ärger"]),
        ("no such name", &[]),
        ("", &names),
        ("ACME…a1b", &["It's"]),
    ];
    for (text, expected) in searches {
        let query = KeyQuery::first(100).with_contains(Some(text.to_owned()));
        let found = list(&store, query).await;
        let found: Vec<_> = found.iter().map(|record| record.name.as_str()).collect();
        let rule =
            "rule 5: what names and hints contain is plain text, ASCII letters in either case";
        assert_eq!(found, expected, "{rule}: {text:?}");
    }
}

/// Rule 5: the limit counts what matches, not what was looked at.
pub async fn limit_counts_matches(store: impl KeyStore) {
    for number in 10..40 {
        let mut record = record(number);
        record.name = if number % 3 == 0 { "wanted" } else { "other" }.to_owned();
        insert(&store, &record).await;
    }
    let query = KeyQuery::first(3).with_contains(Some("Want".to_owned()));
    let first = list(&store, query.clone()).await;
    assert_eq!(
        ids(&first),
        ["k12", "k15", "k18"],
        "rule 5: the limit counts matches"
    );
    let next = list(&store, query.with_after(Some(id("k18")))).await;
    assert_eq!(
        ids(&next),
        ["k21", "k24", "k27"],
        "rule 5: a search goes on page by page"
    );
}

fn full_record() -> KeyRecord {
    let mut full = record(1_001);
    full.previous = previous(1_002, at(3_600));
    full.hint = "rh_live_…9aZk".to_owned();
    full.name = "Studio A".to_owned();
    full.environment = Environment::test();
    full.created_at = Timestamp::from_unix_micros(1_767_225_600_000_001);
    full.last_used_at = Some(Timestamp::from_unix_micros(1_767_225_600_999_999));
    full.expires_at = Some(at(86_400));
    full.revoked_at = Some(at(7));
    full.enabled = false;
    full.administrator = true;
    full.scopes = ["read:realms", "a", "~!#%&'*+;,=/?:@[]{}|^`<>()$"]
        .map(|text| Scope::new(text).expect("a valid scope"))
        .into();
    full.tier = Some(Tier::new("standard").expect("a valid tier"));
    full.owner = Some("tenant-7".to_owned());
    full.allowed_addresses = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]
        .map(|text| text.parse().expect("a valid range"))
        .into();
    // In the order given, not in one of their own.
    full.modules = ["main/control", "launcher", "%_'"]
        .map(|text| Module::new(text).expect("a valid module"))
        .into();
    full.revision = 41;
    full
}

/// Texts that a careless store would mangle, instants at the ends of time.
fn odd_record() -> KeyRecord {
    let mut odd = record(1_003);
    odd.id = id(&"~".repeat(128));
    odd.name = "  '; DROP TABLE keys; -- \"\\ %_ $1 ? 日本語 🎬 e\u{301}\t\r\n".to_owned();
    odd.owner = Some(String::new());
    odd.hint = "…".repeat(100);
    odd.created_at = Timestamp::MIN;
    odd.expires_at = Some(Timestamp::MAX);
    odd
}
