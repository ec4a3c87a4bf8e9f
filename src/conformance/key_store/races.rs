//! Many callers at once: what rules 2, 3, 4 and 6 promise to each of them.

use std::sync::Arc;

use super::*;
use crate::{
    conformance::{CALLERS, race},
    error::BackendError::{self, Conflict, DuplicateDigest, DuplicateId},
    license_ledger::Module,
};

const ROUNDS: u32 = 12;

/// Rule 2: of many who insert the same id, one wins.
pub async fn one_of_many_inserts_of_an_id_wins(store: impl KeyStore) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        let results = race(&store, move |store, caller| async move {
            let mut newcomer = record(round * CALLERS + caller);
            newcomer.id = id(&format!("contested-{round}"));
            store.insert(newcomer).await
        });
        let results = results.await;
        let winners = winners(&results);
        assert_eq!(
            winners.len(),
            1,
            "rule 2: one insert of an id is kept, not those of {winners:?}"
        );
        for (caller, result) in (0..).zip(results) {
            let found = find(&*store, digest(round * CALLERS + caller)).await;
            assert_eq!(
                found.is_some(),
                result.is_ok(),
                "rule 7: a refused insert keeps nothing"
            );
            if result.is_err() {
                refused!(
                    result,
                    DuplicateId,
                    "rule 2: the others are told DuplicateId"
                );
            }
        }
    }
}

/// Rules 2 and 3: of many who insert or update to the same digest, as current or as previous one,
/// one wins.
pub async fn one_of_many_claims_of_a_digest_wins(store: impl KeyStore) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        let contested = 1_000_000 + round;
        let number = move |caller| round * CALLERS + caller;
        let updates = |caller: u32| caller.is_multiple_of(2);
        for caller in (0..CALLERS).filter(|caller| updates(*caller)) {
            insert(&*store, &record(number(caller))).await;
        }
        let results = race(&store, move |store, caller| async move {
            let mut claim = record(number(caller));
            match caller % 4 < 2 {
                true => claim.digest = digest(contested),
                false => claim.previous = previous(contested, at(60)),
            }
            match updates(caller) {
                true => store.update(claim).await.map(drop),
                false => store.insert(claim).await,
            }
        });
        let results = results.await;
        let winners = winners(&results);
        assert_eq!(
            winners.len(),
            1,
            "rule 2: a digest is taken once, not by {winners:?}"
        );
        let found = find(&*store, digest(contested)).await.map(|found| found.id);
        let winner = record(number(winners[0])).id;
        assert_eq!(
            found,
            Some(winner),
            "rule 1: the winner is found by the digest"
        );
        for result in results.into_iter().filter(Result::is_err) {
            refused!(
                result,
                DuplicateDigest,
                "rules 2, 3: the others are told DuplicateDigest"
            );
        }
    }
}

/// Rule 3: of many who update the same revision, one wins.
pub async fn one_of_many_updates_of_a_revision_wins(store: impl KeyStore) {
    let store = Arc::new(store);
    insert(&*store, &record(1)).await;
    for round in 1..=u64::from(ROUNDS) {
        let read = get(&*store, &record(1).id)
            .await
            .expect("rule 1: the record is there");
        let results = race(&store, move |store, caller| {
            let mut written = read.clone();
            written.name = format!("caller {caller}");
            async move { store.update(written).await }
        });
        let (kept, refusals): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
        assert_eq!(
            kept.len(),
            1,
            "rule 3: one update of a revision is kept, not {kept:?}"
        );
        let answer = kept.into_iter().find_map(Result::ok);
        let stored = get(&*store, &record(1).id).await;
        assert_eq!(
            stored, answer,
            "rule 3: what the winner was answered is stored"
        );
        let revision = stored.map(|stored| stored.revision);
        assert_eq!(revision, Some(round), "rule 3: the revision is one higher");
        for result in refusals {
            refused!(result, Conflict, "rule 3: the others are told Conflict");
        }
    }
}

/// Rule 3: who reads again after a conflict loses nothing that others wrote.
pub async fn no_update_is_lost(store: impl KeyStore) {
    const STEPS: u32 = 4;
    let store = Arc::new(store);
    insert(&*store, &record(1)).await;
    let results = race(&store, |store, caller| async move {
        for step in 0..STEPS {
            loop {
                let mut written = get(&*store, &record(1).id)
                    .await
                    .expect("rule 1: it is there");
                written
                    .modules
                    .push(Module::new(format!("{caller}.{step}")).expect("valid"));
                match store.update(written).await {
                    Ok(_) => break,
                    Err(Conflict) => tokio::task::yield_now().await,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    });
    for result in results.await {
        result.expect("rule 3: an update is kept or a conflict");
    }
    let stored = get(&*store, &record(1).id)
        .await
        .expect("rule 1: the record is there");
    let written = CALLERS * STEPS;
    assert_eq!(
        stored.modules.len(),
        written as usize,
        "rule 3: no update overwrites another"
    );
    assert_eq!(
        stored.revision,
        u64::from(written),
        "rule 3: each update raises the revision"
    );
}

/// Rule 4: of many who delete a key, one is told that it was there.
pub async fn one_of_many_deletes_finds_the_key(store: impl KeyStore) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        insert(&*store, &record(round)).await;
        let delete =
            |store: Arc<_>, _| async move { KeyStore::delete(&*store, &record(round).id).await };
        let results = race(&store, delete).await;
        let there = results
            .iter()
            .filter(|result| matches!(result, Ok(true)))
            .count();
        assert_eq!(
            there, 1,
            "rule 4: one delete answers that the record was there: {results:?}"
        );
    }
}

/// Rules 3 and 6: uses written side by side, and beside updates, leave the latest.
pub async fn latest_of_many_uses_is_kept(store: impl KeyStore) {
    let store = Arc::new(store);
    insert(&*store, &record(1)).await;
    let results = race(&store, |store, caller| async move {
        for step in 0..ROUNDS {
            let instant = at(i64::from(step * CALLERS + caller));
            store.record_last_used(&[(record(1).id, instant)]).await?;
            if caller == 0 {
                let current = get(&*store, &record(1).id)
                    .await
                    .expect("rule 1: it is there");
                store.update(current).await?;
            }
        }
        Ok::<_, BackendError>(())
    });
    for result in results.await {
        result.expect("rules 3, 6: uses and updates do not stand in each other's way");
    }
    let stored = get(&*store, &record(1).id)
        .await
        .expect("rule 1: the record is there");
    let latest = Some(at(i64::from(ROUNDS * CALLERS - 1)));
    assert_eq!(
        stored.last_used_at, latest,
        "rules 3, 6: the latest use is kept"
    );
    assert_eq!(
        stored.revision,
        u64::from(ROUNDS),
        "rule 6: uses change no revision"
    );
}

/// Who was answered well.
fn winners<T>(results: &[Result<T, BackendError>]) -> Vec<u32> {
    let callers = (0..).zip(results);
    callers
        .filter_map(|(caller, result)| result.is_ok().then_some(caller))
        .collect()
}
