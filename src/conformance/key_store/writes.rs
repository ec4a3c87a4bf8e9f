//! What is written: rules 2, 3, 4, 6 and 7.

use super::*;
use crate::error::BackendError::{Conflict, DuplicateDigest, DuplicateId, NotFound};

/// Rules 2 and 7: an id is taken once.
pub async fn duplicate_id_is_refused(store: impl KeyStore) {
    insert(&store, &record(1)).await;
    let mut second = record(2);
    second.id = record(1).id;
    refused!(
        store.insert(second).await,
        DuplicateId,
        "rule 2: insert says DuplicateId"
    );
    unchanged(&store, &[record(1)]).await;
    assert_eq!(
        find(&store, digest(2)).await,
        None,
        "rule 7: a refused insert keeps nothing"
    );
}

/// Rules 2 and 7: a digest is taken while any record has it, as current or as previous one.
pub async fn duplicate_digest_is_refused(store: impl KeyStore) {
    let mut stored = record(1);
    stored.previous = previous(2, at(60));
    insert(&store, &stored).await;
    let newcomer = |current, before: Option<u32>| {
        let mut newcomer = record(9);
        newcomer.digest = digest(current);
        newcomer.previous = before.and_then(|before| previous(before, at(60)));
        newcomer
    };
    refused!(
        store.insert(newcomer(1, None)).await,
        DuplicateDigest,
        "rule 2: insert says DuplicateDigest where a record has the digest as current one"
    );
    refused!(
        store.insert(newcomer(2, None)).await,
        DuplicateDigest,
        "rule 2: insert says DuplicateDigest where a record has the digest as previous one"
    );
    refused!(
        store.insert(newcomer(8, Some(1))).await,
        DuplicateDigest,
        "rule 2: insert says DuplicateDigest where its previous digest is another's current one"
    );
    refused!(
        store.insert(newcomer(8, Some(2))).await,
        DuplicateDigest,
        "rule 2: insert says DuplicateDigest where its previous digest is another's previous one"
    );
    unchanged(&store, &[stored]).await;
    assert_eq!(
        find(&store, digest(8)).await,
        None,
        "rule 7: a refused insert keeps nothing"
    );
    insert(&store, &newcomer(8, None)).await;
}

/// Rule 2: the same record again is a duplicate, one way or the other.
pub async fn same_record_twice_is_refused(store: impl KeyStore) {
    insert(&store, &record(1)).await;
    refused!(
        store.insert(record(1)).await,
        DuplicateId | DuplicateDigest,
        "rule 2: insert says DuplicateId or DuplicateDigest"
    );
    unchanged(&store, &[record(1)]).await;
}

/// Rule 2: what no record has any more is free again.
pub async fn given_up_ids_and_digests_are_free(store: impl KeyStore) {
    let mut first = record(1);
    first.previous = previous(2, at(60));
    insert(&store, &first).await;
    let mut moved = record(1);
    moved.digest = digest(3);
    update(&store, &moved).await;
    let mut second = record(9);
    (second.digest, second.previous) = (digest(1), previous(2, at(60)));
    let inserted = store.insert(second).await;
    inserted.expect("rule 2: a digest is free once an update gave it up");
    delete(&store, &moved.id).await;
    let inserted = store.insert(moved.clone()).await;
    inserted.expect("rule 2: id and digest are free once their record is deleted");
    let rule = "rule 1: the new record is answered as written";
    assert_eq!(get(&store, &moved.id).await, Some(moved), "{rule}");
}

/// Rule 3: an update is kept and answered, its revision one higher each time.
pub async fn update_replaces_and_counts(store: impl KeyStore) {
    insert(&store, &record(1)).await;
    insert(&store, &record(2)).await;
    let mut current = record(1);
    for round in 1..4 {
        current.name = format!("Round {round}");
        let answer = update(&store, &current).await;
        current.revision += 1;
        assert_eq!(
            answer, current,
            "rule 3: update answers the new record, one revision higher"
        );
        let stored = get(&store, &current.id).await;
        assert_eq!(stored, Some(answer), "rule 3: update keeps what it answers");
    }
    let other = get(&store, &record(2).id).await;
    assert_eq!(
        other,
        Some(record(2)),
        "rule 3: update leaves other records alone"
    );
}

/// Rules 3 and 7: whoever read before somebody else wrote must read again.
pub async fn outdated_update_is_a_conflict(store: impl KeyStore) {
    insert(&store, &record(1)).await;
    let current = update(&store, &record(1)).await;
    for revision in [current.revision - 1, current.revision + 1] {
        let mut other = record(1);
        (other.name, other.digest) = ("Other".to_owned(), digest(2));
        other.revision = revision;
        refused!(
            store.update(other).await,
            Conflict,
            "rule 3: update says Conflict unless the stored revision is the one given"
        );
    }
    unchanged(&store, &[current]).await;
    assert_eq!(
        find(&store, digest(2)).await,
        None,
        "rule 7: a refused update keeps nothing"
    );
}

/// Rules 3 and 7: an update makes no record.
pub async fn update_of_an_unknown_key_is_not_found(store: impl KeyStore) {
    insert(&store, &record(1)).await;
    refused!(
        store.update(record(2)).await,
        NotFound,
        "rule 3: update says NotFound"
    );
    unchanged(&store, &[record(1)]).await;
    assert_eq!(
        find(&store, digest(2)).await,
        None,
        "rule 7: a refused update keeps nothing"
    );
}

/// Rules 3 and 7: an update cannot take another's digest.
pub async fn update_to_a_taken_digest_is_refused(store: impl KeyStore) {
    let mut other = record(1);
    other.previous = previous(2, at(60));
    insert(&store, &other).await;
    insert(&store, &record(3)).await;
    for taken in [1, 2] {
        let mut thief = record(3);
        thief.digest = digest(taken);
        refused!(
            store.update(thief).await,
            DuplicateDigest,
            "rule 3: update says DuplicateDigest where another record has the digest"
        );
        let mut thief = record(3);
        thief.previous = previous(taken, at(60));
        refused!(
            store.update(thief).await,
            DuplicateDigest,
            "rule 3: update says DuplicateDigest where another record has the previous digest"
        );
    }
    unchanged(&store, &[other, record(3)]).await;
    update(&store, &record(3)).await;
}

/// Rule 3: a record may move its digests about: a key is regenerated, with grace and without.
pub async fn key_can_be_regenerated(store: impl KeyStore) {
    insert(&store, &record(1)).await;
    let mut current = record(1);
    for round in 2..5 {
        (current.previous, current.digest) = (previous(round - 1, at(60)), digest(round));
        current = update(&store, &current).await;
        for known in [round, round - 1] {
            let rule = "rule 1: the updated record is found by both its digests";
            assert_eq!(
                find(&store, digest(known)).await.as_ref(),
                Some(&current),
                "{rule}"
            );
        }
        if round > 2 {
            let rule = "rule 1: only current and previous digest are found";
            assert_eq!(find(&store, digest(round - 2)).await, None, "{rule}");
        }
    }
    for (now, before) in [(3, 4), (4, 3)] {
        (current.previous, current.digest) = (previous(before, at(60)), digest(now));
        current = update(&store, &current).await;
        for known in [3, 4] {
            let rule = "rule 3: a record can exchange its own digests";
            assert_eq!(
                find(&store, digest(known)).await.as_ref(),
                Some(&current),
                "{rule}"
            );
        }
    }
    current.previous = None;
    current = update(&store, &current).await;
    assert_eq!(
        find(&store, digest(4)).await,
        Some(current),
        "rule 1: found by its digest"
    );
    assert_eq!(
        find(&store, digest(3)).await,
        None,
        "rule 1: the old text is gone"
    );
}

/// Rule 3: an update never takes back a use that was written since the record was read.
pub async fn update_leaves_last_used_as_stored(store: impl KeyStore) {
    let rule = "rule 3: update leaves last_used_at as stored";
    insert(&store, &record(1)).await;
    let mut early = record(1);
    early.last_used_at = Some(at(99));
    let answer = update(&store, &early).await;
    assert_eq!(answer.last_used_at, None, "{rule}, and answers it so");
    used(&store, &[(1, 10)]).await;
    for given in [None, Some(at(5)), Some(at(99))] {
        let mut next = get(&store, &early.id)
            .await
            .expect("rule 1: the record is there");
        next.last_used_at = given;
        let answer = update(&store, &next).await;
        assert_eq!(
            answer.last_used_at,
            Some(at(10)),
            "{rule}, and answers it so"
        );
        assert_eq!(get(&store, &early.id).await, Some(answer), "{rule}");
    }
}

/// Rule 4: a record is removed once, and only it.
pub async fn delete_removes_one_key(store: impl KeyStore) {
    let mut doomed = record(2);
    doomed.previous = previous(9, at(60));
    for record in [&record(1), &doomed, &record(3)] {
        insert(&store, record).await;
    }
    assert!(
        delete(&store, &doomed.id).await,
        "rule 4: delete answers that the record was there"
    );
    assert!(
        !delete(&store, &doomed.id).await,
        "rule 4: delete answers that it was not there"
    );
    let rule = "rule 4: delete removes a record";
    assert_eq!(get(&store, &doomed.id).await, None, "{rule}");
    for digest in digests(&doomed) {
        assert_eq!(find(&store, digest).await, None, "{rule}, its digests too");
    }
    unchanged(&store, &[record(1), record(3)]).await;
    refused!(
        store.update(doomed).await,
        NotFound,
        "rule 3: update says NotFound after delete"
    );
}

/// Rule 6: the latest use wins, in whatever order uses arrive.
pub async fn last_used_only_grows(store: impl KeyStore) {
    let rule = "rule 6: record_last_used raises last_used_at and never lowers it";
    for number in 1..4 {
        insert(&store, &record(number)).await;
    }
    let steps: [(&[_], _); 5] = [
        (&[(1, 10)], [Some(10), None, None]),
        (&[(1, 5), (2, 20)], [Some(10), Some(20), None]),
        (&[(2, 21), (1, 30), (2, 20)], [Some(30), Some(21), None]),
        (
            &[(1, 31), (1, 33), (1, 32), (3, -100)],
            [Some(33), Some(21), Some(-100)],
        ),
        (&[], [Some(33), Some(21), Some(-100)]),
    ];
    for (uses, expected) in steps {
        used(&store, uses).await;
        for (number, expected) in (1..).zip(expected) {
            let mut record = record(number);
            record.last_used_at = expected.map(at);
            let found = find(&store, record.digest).await;
            assert_eq!(
                found,
                Some(record),
                "{rule}, and changes nothing else: {uses:?}"
            );
        }
    }
}

/// Rule 6: unknown ids are skipped, revisions stay, and a batch may be long.
pub async fn long_batch_of_uses_skips_unknown_keys(store: impl KeyStore) {
    let known = [0, 20_000, 39_999];
    for number in known {
        insert(&store, &record(number)).await;
    }
    let uses: Vec<_> = (0..40_000)
        .map(|number| (number, i64::from(number)))
        .collect();
    used(&store, &uses).await;
    let keys = all(&store).await;
    assert_eq!(
        ids(&keys),
        ["k0", "k20000", "k39999"],
        "rule 6: ids it does not know are skipped"
    );
    for (key, number) in keys.iter().zip(known) {
        let instant = Some(at(i64::from(number)));
        assert_eq!(
            key.last_used_at, instant,
            "rule 6: each known id of a batch is raised"
        );
        assert_eq!(
            key.revision, 0,
            "rule 6: record_last_used changes no revision"
        );
    }
    update(&store, &record(0)).await;
}

/// Asserts that the records are these, and that all their digests find them.
async fn unchanged(store: &impl KeyStore, records: &[KeyRecord]) {
    let rule = "rule 7: a call that returns an error changed nothing";
    assert_eq!(all(store).await, records, "{rule}");
    for record in records {
        assert_eq!(
            get(store, &record.id).await.as_ref(),
            Some(record),
            "{rule}"
        );
        for digest in digests(record) {
            assert_eq!(find(store, digest).await.as_ref(), Some(record), "{rule}");
        }
    }
}

pub(super) async fn delete(store: &impl KeyStore, id: &KeyId) -> bool {
    store.delete(id).await.expect("rule 4: delete answers")
}

/// Records uses of keys: number and second of each.
async fn used(store: &impl KeyStore, uses: &[(u32, i64)]) {
    let uses = uses
        .iter()
        .map(|(number, second)| (record(*number).id, at(*second)));
    let recorded = store.record_last_used(&uses.collect::<Vec<_>>()).await;
    recorded.expect("rule 6: record_last_used keeps uses");
}
