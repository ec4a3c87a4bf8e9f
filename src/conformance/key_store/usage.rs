//! How often keys were used: rules 10 and 11.

use std::sync::Arc;

use super::{at, id, insert, record, update, writes::delete};
use crate::{
    clock::Timestamp,
    conformance::{CALLERS, race},
    denial::DenialCode,
    key_store::{KeyId, KeyStore},
    usage::{Outcome, UsageCount},
};

/// Rule 10: what is counted again is added to what was counted, each outcome and hour by itself.
pub async fn counts_add_up(store: impl KeyStore) {
    let rule = "rule 10: record_usage adds the counts given to those it has";
    for number in 1..3 {
        insert(&store, &record(number)).await;
    }
    count(&store, &[(1, 0, GRANTED, 5), (1, 0, LIMITED, 1)]).await;
    holds(&store, 1, &[(0, GRANTED, 5), (0, LIMITED, 1)], rule).await;
    count(&store, &[(1, 1, GRANTED, 1), (2, 0, GRANTED, 9)]).await;
    count(&store, &[(1, 0, GRANTED, 6), (1, 0, EXPIRED, 2)]).await;
    let all = [
        (0, EXPIRED, 2),
        (0, GRANTED, 11),
        (0, LIMITED, 1),
        (1, GRANTED, 1),
    ];
    holds(&store, 1, &all, rule).await;
    holds(
        &store,
        2,
        &[(0, GRANTED, 9)],
        "rule 11: usage answers the counts of one key",
    )
    .await;
}

/// Rule 10: a batch may hold the same several times, in any order, and be empty.
pub async fn counts_of_one_batch_add_up(store: impl KeyStore) {
    let rule = "rule 10: counts add up also where a batch has several";
    insert(&store, &record(1)).await;
    let batch = [
        (1, 2, LIMITED, 1),
        (1, 0, GRANTED, 1),
        (1, 2, LIMITED, 2),
        (1, 0, GRANTED, 3),
    ];
    for sum in 1..3 {
        count(&store, &batch).await;
        let expected = [(0, GRANTED, 4 * sum), (2, LIMITED, 3 * sum)];
        holds(&store, 1, &expected, rule).await;
    }
    count(&store, &[]).await;
    holds(&store, 1, &[(0, GRANTED, 8), (2, LIMITED, 6)], rule).await;
}

/// Rule 11: each outcome is answered as it was counted, in order of its text.
pub async fn each_outcome_comes_back(store: impl KeyStore) {
    let rule = "rule 11: each outcome of an hour once, in order of the outcome's text";
    insert(&store, &record(1)).await;
    let refusals = DenialCode::ALL.into_iter().map(Outcome::Refused);
    let counts = (1..).zip(refusals.chain([GRANTED]));
    let mut expected: Vec<_> = counts.map(|(count, outcome)| (0, outcome, count)).collect();
    for (hour, outcome, sum) in expected.iter().rev() {
        count(&store, &[(1, *hour, *outcome, *sum)]).await;
    }
    expected.sort_by_key(|(_, outcome, _)| outcome.as_str());
    holds(&store, 1, &expected, rule).await;
}

/// Rule 11: hours before `since` are not answered, and those of before 1970 come first.
pub async fn usage_is_answered_since_an_hour(store: impl KeyStore) {
    let rule = "rule 11: usage answers the counts whose hour is `since` or later";
    insert(&store, &record(1)).await;
    let hours = [-1_000_000, -1, 0, 1];
    for hour in hours {
        count(&store, &[(1, hour, GRANTED, 7)]).await;
    }
    for (since, expected) in [
        (Timestamp::MIN, &hours[..]),
        (hour(-1), &hours[1..]),
        (hour(0), &hours[2..]),
        (hour(1), &hours[3..]),
        (hour(2), &[]),
        (Timestamp::MAX, &[]),
    ] {
        let answer = usage(&store, &record(1).id, since).await;
        let answer: Vec<_> = answer.iter().map(|count| count.hour).collect();
        let expected: Vec<_> = expected.iter().map(|number| hour(*number)).collect();
        assert_eq!(answer, expected, "{rule}");
    }
}

/// Rule 10: unknown ids are skipped, records stay as they are, and a batch may be long.
pub async fn long_batch_of_counts_skips_unknown_keys(store: impl KeyStore) {
    let known = [0, 10_000, 19_999];
    for number in known {
        insert(&store, &record(number)).await;
    }
    let counts: Vec<_> = (0..20_000)
        .map(|number| (number, 0, GRANTED, u64::from(number) + 1))
        .collect();
    count(&store, &counts).await;
    for number in known {
        let rule = "rule 10: each known id of a batch is counted";
        holds(&store, number, &[(0, GRANTED, u64::from(number) + 1)], rule).await;
        let rule = "rule 10: record_usage changes no record";
        let stored = store.get(&record(number).id).await;
        assert_eq!(
            stored.expect("rule 1: get answers"),
            Some(record(number)),
            "{rule}"
        );
    }
    let rule = "rule 10: record_usage skips ids it does not know";
    holds(&store, 1, &[], rule).await;
    insert(&store, &record(1)).await;
    holds(&store, 1, &[], rule).await;
    let unknown = usage(&store, &id("no-such-key"), Timestamp::MIN).await;
    assert_eq!(unknown, [], "{rule}");
}

/// Rule 10: what is too old is forgotten, of every key, and of the batch too.
pub async fn old_hours_are_forgotten(store: impl KeyStore) {
    let rule = "rule 10: record_usage forgets all hours before `forget_before`";
    for number in 1..3 {
        insert(&store, &record(number)).await;
    }
    count(
        &store,
        &[(1, 0, GRANTED, 1), (1, 1, LIMITED, 2), (2, 0, GRANTED, 3)],
    )
    .await;
    count_and_forget(&store, &[], hour(0)).await;
    holds(
        &store,
        2,
        &[(0, GRANTED, 3)],
        "rule 10: hours from `forget_before` on are kept",
    )
    .await;
    count_and_forget(&store, &[(1, 0, GRANTED, 4), (1, 1, GRANTED, 5)], hour(1)).await;
    holds(&store, 1, &[(1, GRANTED, 5), (1, LIMITED, 2)], rule).await;
    holds(&store, 2, &[], rule).await;
    count_and_forget(&store, &[], hour(2)).await;
    holds(&store, 1, &[], rule).await;
    // What was forgotten does not come back when it is counted again.
    count(&store, &[(1, 1, GRANTED, 1)]).await;
    holds(&store, 1, &[(1, GRANTED, 1)], rule).await;
}

/// Rule 11: an update leaves the counts, a delete takes them along.
pub async fn usage_goes_with_its_key(store: impl KeyStore) {
    let mut renamed = record(1);
    for number in 1..3 {
        insert(&store, &record(number)).await;
    }
    count(&store, &[(1, 0, GRANTED, 1), (2, 0, GRANTED, 2)]).await;
    renamed.name = "renamed".to_owned();
    update(&store, &renamed).await;
    holds(
        &store,
        1,
        &[(0, GRANTED, 1)],
        "rule 11: update leaves the counts as they are",
    )
    .await;
    assert!(delete(&store, &renamed.id).await, "rule 4: it was there");
    let rule = "rule 11: delete removes the counts with the record";
    holds(&store, 1, &[], rule).await;
    insert(&store, &record(1)).await;
    holds(&store, 1, &[], rule).await;
    holds(
        &store,
        2,
        &[(0, GRANTED, 2)],
        "rule 11: those of others stay",
    )
    .await;
}

/// Rule 10: counts written side by side all add up, whatever the order of the keys in a batch.
pub async fn racing_counts_all_add_up(store: impl KeyStore) {
    const STEPS: u64 = 8;
    const KEYS: u32 = 8;
    let store = Arc::new(store);
    for number in 0..KEYS {
        insert(&*store, &record(number)).await;
    }
    let results = race(&store, |store, caller| async move {
        for _ in 0..STEPS {
            let mut batch: Vec<_> = (0..KEYS).map(|number| (number, 0, GRANTED, 1)).collect();
            batch.rotate_left(caller as usize % KEYS as usize);
            if caller % 2 == 0 {
                batch.reverse();
            }
            store.record_usage(&counts(&batch), Timestamp::MIN).await?;
        }
        Ok::<_, crate::BackendError>(())
    });
    for result in results.await {
        result.expect("rule 10: counts do not stand in each other's way");
    }
    let sum = u64::from(CALLERS) * STEPS;
    for number in 0..KEYS {
        let rule = "rule 10: counts written side by side all add up";
        holds(&*store, number, &[(0, GRANTED, sum)], rule).await;
    }
}

/// Rules 10 and 11: a count that races a delete is added before it or skipped: nothing is left.
pub async fn counts_beside_deletes_leave_nothing(store: impl KeyStore) {
    let store = Arc::new(store);
    for round in 0..8 {
        insert(&*store, &record(round)).await;
        let results = race(&store, |store, caller| async move {
            if caller == 0 {
                return store.delete(&record(round).id).await.map(drop);
            }
            let batch = counts(&[(round, 0, GRANTED, 1)]);
            store.record_usage(&batch, Timestamp::MIN).await
        });
        for result in results.await {
            result.expect("rules 4, 10: counts and deletes do not stand in each other's way");
        }
        insert(&*store, &record(round)).await;
        let rule = "rule 11: delete removes the counts with the record";
        holds(&*store, round, &[], rule).await;
    }
}

const GRANTED: Outcome = Outcome::Granted;
const LIMITED: Outcome = Outcome::Refused(DenialCode::RateLimited);
const EXPIRED: Outcome = Outcome::Refused(DenialCode::ExpiredKey);

/// The first instant of an hour of the suite.
fn hour(number: i64) -> Timestamp {
    at(number * 3_600)
}

/// Number of the key, hour, outcome, and how many.
fn counts(counts: &[(u32, i64, Outcome, u64)]) -> Vec<UsageCount> {
    let counts = counts.iter().map(|(number, at, outcome, count)| {
        UsageCount::new(record(*number).id, hour(*at), *outcome, *count)
    });
    counts.collect()
}

async fn count(store: &impl KeyStore, counts: &[(u32, i64, Outcome, u64)]) {
    count_and_forget(store, counts, Timestamp::MIN).await;
}

async fn count_and_forget(
    store: &impl KeyStore,
    counted: &[(u32, i64, Outcome, u64)],
    before: Timestamp,
) {
    let recorded = store.record_usage(&counts(counted), before).await;
    recorded.expect("rule 10: record_usage keeps counts");
}

async fn usage(store: &impl KeyStore, id: &KeyId, since: Timestamp) -> Vec<UsageCount> {
    let usage = store.usage(id, since).await;
    usage.expect("rule 11: usage answers")
}

/// Asserts that these are all counts of a key: hour, outcome, and how many.
async fn holds(store: &impl KeyStore, number: u32, expected: &[(i64, Outcome, u64)], rule: &str) {
    let expected = expected
        .iter()
        .map(|(hour, outcome, count)| (number, *hour, *outcome, *count));
    let expected = counts(&expected.collect::<Vec<_>>());
    let answer = usage(store, &record(number).id, Timestamp::MIN).await;
    assert_eq!(answer, expected, "{rule}");
}
