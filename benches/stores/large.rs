//! Large stores: opening one, and a number of seats that changes while many wait.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, raw_sql};
use tower_api_key::{
    Actor, KeyDigest, KeyStore, License, LicenseId, LicenseLedger, Operation, PostgresStore, Seats,
    SqliteStore,
};

use crate::{address, fresh_file, many, note, own_name, row};

const WAITING: u64 = 100_000;

pub(crate) async fn sqlite() {
    let path = fresh_file("large");
    drop(SqliteStore::open(&path).await.expect("opens"));
    let url = format!("sqlite:{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("connects");
    let numbers = |count: u64| {
        format!("with recursive n(n) as (select 1 union all select n + 1 from n where n < {count})")
    };
    let fill = format!(
        "begin;
         insert into tower_key {} select printf('key-%08d', n), randomblob(32), null, null, '', 'Studio',
             'live', 0, null, null, null, 1, 0, '[]', null, null, '[]', '[]', 0 from n;
         insert into tower_key_digest select digest, id from tower_key;
         insert into tower_module values ('launcher', 'lic');
         insert into tower_license values ('lic', 0, null);
         insert into tower_holder {} select printf('key-%08d', n), 1, null, 0 from n;
         insert into tower_assignment {} select printf('key-%08d', n), 'launcher', n, 0 from n;
         insert into tower_place {} select 'lic', printf('key-%08d', n), n, 0, null, null from n;
         update tower_tenant set seq = {WAITING};
         commit;",
        numbers(many()),
        numbers(WAITING),
        numbers(WAITING),
        numbers(WAITING),
    );
    let fill = raw_sql(AssertSqlSafe(fill));
    fill.execute(&mut connection).await.expect("filled");
    let start = Instant::now();
    let store = SqliteStore::open(&path).await.expect("opens");
    measure("SQLite", start, &store).await;
}

pub(crate) async fn postgres() {
    let schema = own_name("large");
    let connect = || PostgresStore::connect(address()).with_schema(own_name("large"));
    drop(connect().await.expect("connects"));
    let mut connection = PgConnection::connect(&address()).await.expect("connects");
    let fill = format!(
        "SET search_path TO {schema};
         INSERT INTO tower_key SELECT 'default', 'key-' || lpad(n::text, 8, '0'), sha256(n::text::bytea),
             NULL, NULL, '', 'Studio', 'live', 0, NULL, NULL, NULL, true, false, '[]', NULL, NULL,
             '[]', '[]', 0 FROM generate_series(1, {}) n;
         INSERT INTO tower_key_digest SELECT tenant, digest, id FROM tower_key;
         INSERT INTO tower_module VALUES ('default', 'launcher', 'lic');
         INSERT INTO tower_license VALUES ('default', 'lic', 0, NULL);
         INSERT INTO tower_holder SELECT 'default', 'key-' || lpad(n::text, 8, '0'), true, NULL, false
             FROM generate_series(1, {WAITING}) n;
         INSERT INTO tower_assignment SELECT 'default', 'key-' || lpad(n::text, 8, '0'), 'launcher', n, 0
             FROM generate_series(1, {WAITING}) n;
         INSERT INTO tower_place SELECT 'default', 'lic', 'key-' || lpad(n::text, 8, '0'), n, 0, NULL,
             NULL FROM generate_series(1, {WAITING}) n;
         UPDATE tower_tenant SET seq = {WAITING};
         ANALYZE;",
        many(),
    );
    let fill = raw_sql(AssertSqlSafe(fill));
    fill.execute(&mut connection).await.expect("filled");
    let start = Instant::now();
    let store = connect().await.expect("connects");
    measure("PostgreSQL", start, &store).await;
}

async fn measure(name: &str, start: Instant, store: &(impl KeyStore + LicenseLedger)) {
    let absent = KeyDigest::from_bytes([0; 32]);
    assert_eq!(store.find(&absent).await.expect("asked"), None);
    row(
        &format!("{name}: seconds to open {} keys and look one up", many()),
        false,
        1.0,
        start.elapsed().as_secs_f64(),
    );
    let mut times = Vec::new();
    for (from, to) in [(0, 1), (1, 11), (11, 1_011), (1_011, 0)] {
        let license = LicenseId::new("lic").expect("a license");
        let license = License::new(license, Seats::Limited(to));
        let start = Instant::now();
        let set = Operation::SetLicense { license };
        let events = store.apply(set, &Actor::system()).await.expect("applied");
        assert_eq!(events.len() as u32, 1 + to.abs_diff(from));
        times.push(format!("{:.1}", start.elapsed().as_secs_f64() * 1e3));
    }
    note(
        &format!("{name}: ms to move 1, 10, 1,000 and back 1,011 seats while 100,000 wait"),
        times.join(", "),
    );
}
