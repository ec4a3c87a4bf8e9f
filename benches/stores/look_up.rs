//! A look-up beside the same statement by hand on the same pool.

use std::{hint::black_box, time::Instant};

use sqlx::{PgPool, Row, SqlitePool};
use tower_api_key::{KeyDigest, KeyId, KeyRecord, KeyStore, PostgresStore, SqliteStore, Timestamp};

use crate::{address, fresh_file, median, micros, note, own_name, row};

const KEYS: u64 = 2_000;
const ROUNDS: usize = 41;
const TIMES: u64 = 200;

const COLUMNS: &str = "id, digest, previous_digest, previous_until, hint, name, environment, \
    created_at, last_used_at, expires_at, revoked_at, enabled, administrator, scopes, tier, owner, \
    allowed_addresses, modules, revision";

pub(crate) async fn sqlite() {
    let path = fresh_file("look-up");
    drop(SqliteStore::open(&path).await.expect("opens"));
    let pool = SqlitePool::connect(&format!("sqlite:{}", path.display())).await;
    let pool = pool.expect("a pool");
    let store = SqliteStore::with_pool(pool.clone()).await.expect("opens");
    fill(&store).await;
    let by_hand = format!(
        "select {COLUMNS} from tower_key \
         where id = (select key from tower_key_digest where digest = $1)"
    );
    let by_hand: &'static str = by_hand.leak();
    race("SQLite", &store, async |digest: KeyDigest| {
        let query = sqlx::query(by_hand).bind(digest.as_bytes().as_slice());
        let found = query.fetch_optional(&pool).await.expect("found");
        black_box(found.expect("there").get::<String, _>(0));
    })
    .await;
}

pub(crate) async fn postgres() {
    let pool = PgPool::connect(&address()).await.expect("a pool");
    let schema = own_name("look_up");
    let store = PostgresStore::with_pool(pool.clone()).with_schema(&schema);
    let store = store.await.expect("connects");
    fill(&store).await;
    let by_hand = format!(
        "SELECT {COLUMNS} FROM {schema}.tower_key WHERE tenant = $1 AND id = \
         (SELECT key FROM {schema}.tower_key_digest WHERE tenant = $1 AND digest = $2)"
    );
    let by_hand: &'static str = by_hand.leak();
    race("PostgreSQL", &store, async |digest: KeyDigest| {
        let query = sqlx::query(by_hand)
            .bind("default")
            .bind(digest.as_bytes().as_slice());
        let found = query.fetch_optional(&pool).await.expect("found");
        black_box(found.expect("there").get::<String, _>(0));
    })
    .await;
}

async fn race(name: &str, store: &impl KeyStore, by_hand: impl AsyncFn(KeyDigest)) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS as u64 {
        let digests = (0..TIMES).map(|time| digest((round * TIMES + time) * 7 % KEYS));
        let start = Instant::now();
        for digest in digests.clone() {
            black_box(store.find(&digest).await.expect("found").expect("there"));
        }
        let spent = micros(start.elapsed()) / TIMES as f64;
        let start = Instant::now();
        for digest in digests {
            by_hand(digest).await;
        }
        let spent_by_hand = micros(start.elapsed()) / TIMES as f64;
        // The first round warms up.
        if round > 0 {
            ours.push(spent);
            theirs.push(spent_by_hand);
            ratios.push(spent / spent_by_hand);
        }
    }
    note(
        &format!("{name}: µs for a look-up; by hand on the same pool"),
        format!("{:.0}, {:.0}", median(ours), median(theirs)),
    );
    row(
        &format!("{name}: a look-up against the same statement by hand"),
        false,
        1.15,
        median(ratios),
    );
}

async fn fill(store: &impl KeyStore) {
    for number in 0..KEYS {
        let id = KeyId::new(format!("key-{number:08}")).expect("an id");
        let created_at = Timestamp::from_unix_seconds(1_767_225_600);
        let record = KeyRecord::new(id, digest(number), "Studio", created_at);
        store.insert(record).await.expect("inserted");
    }
}

fn digest(number: u64) -> KeyDigest {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    KeyDigest::from_bytes(bytes)
}
