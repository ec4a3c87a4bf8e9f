//! The ledger's tables: reading excerpts of it, and writing what changed.

use sqlx::{AssertSqlSafe, SqliteConnection, query, query::Query, query_as, query_scalar};

use super::error::write_failed;
use crate::{
    clock::Timestamp,
    error::BackendError,
    ledger_state::{
        LedgerState,
        excerpt::{Delta, Excerpt, HolderRow, PlaceRow, Reach},
    },
    license_ledger::{Actor, Eviction, Holder, LicenseEvent, LicenseId, Operation},
    sql::{EventRow, RESTORED_AT_ONCE, from_json, json_unless_empty, to_json, unavailable},
    transfer::LedgerCopy,
};

/// Applies operations in a transaction that has the lock already.
pub(super) async fn apply(
    transaction: &mut SqliteConnection,
    eviction: Eviction,
    operations: &[(Operation, Actor)],
    now: Timestamp,
) -> Result<Vec<Vec<LicenseEvent>>, BackendError> {
    let wanted = operations.iter().map(|(operation, _)| operation);
    let reach = Reach::of(wanted, Some(now));
    let excerpt = excerpt_with_lines(transaction, eviction, &reach).await?;
    let now = excerpt.instant();
    let each = operations
        .iter()
        .map(|(operation, actor)| (operation, actor, now));
    let applied = excerpt.apply(eviction, each);
    let events = applied.events.iter().flatten();
    write(transaction, &applied.delta, events).await?;
    Ok(applied.events)
}

/// The events that an operation would have, in a transaction that sees one moment.
pub(super) async fn plan(
    snapshot: &mut SqliteConnection,
    eviction: Eviction,
    operation: &Operation,
    now: Timestamp,
) -> Result<Vec<LicenseEvent>, BackendError> {
    let reach = Reach::of([operation], Some(now));
    let excerpt = excerpt_with_lines(snapshot, eviction, &reach).await?;
    Ok(excerpt.plan(eviction, operation))
}

/// Writes a whole ledger in a transaction that has the lock already, and answers with its log;
/// nothing where there are events already.
pub(super) async fn restore(
    transaction: &mut SqliteConnection,
    eviction: Eviction,
    copy: &LedgerCopy,
    now: Timestamp,
) -> Result<Option<Vec<LicenseEvent>>, BackendError> {
    let (clock, seq): (i64, i64) = query_as("select clock, seq from tower_tenant")
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    if seq > 0 {
        return Ok(None);
    }
    let now = now.max(Timestamp::from_unix_micros(clock));
    let (state, events) = copy.at(now, eviction);
    let delta = Delta::between(&LedgerState::new(eviction), &state);
    for (delta, events) in delta.pieces(&events, RESTORED_AT_ONCE) {
        write(transaction, &delta, events.iter()).await?;
    }
    Ok(Some(events))
}

/// What `reach` says, but for the lines.
pub(super) async fn excerpt(
    connection: &mut SqliteConnection,
    reach: &Reach,
) -> Result<Excerpt, BackendError> {
    let json: String = query_scalar(include_str!("excerpt.sql"))
        .bind(to_json(reach))
        .fetch_one(connection)
        .await
        .map_err(unavailable)?;
    from_json(&json)
}

/// All that `reach` says.
async fn excerpt_with_lines(
    connection: &mut SqliteConnection,
    eviction: Eviction,
    reach: &Reach,
) -> Result<Excerpt, BackendError> {
    let mut excerpt = excerpt(connection, reach).await?;
    read_lines(connection, eviction, reach, &mut excerpt).await?;
    Ok(excerpt)
}

/// The places that the operations may move, with their holders.
async fn read_lines(
    connection: &mut SqliteConnection,
    eviction: Eviction,
    reach: &Reach,
    excerpt: &mut Excerpt,
) -> Result<(), BackendError> {
    for (license, used) in excerpt.used.clone() {
        let moves = reach.moves(excerpt, &license, used);
        let reserved = match eviction {
            Eviction::OldestFirst => RESERVED_OLDEST_FIRST,
            Eviction::NewestFirst => RESERVED_NEWEST_FIRST,
        };
        for (statement, most) in [(reserved, moves.reserved), (WAITING, moves.waiting)] {
            if most == 0 {
                continue;
            }
            let rows: Vec<InLine> = query_as(statement)
                .bind(license.as_str())
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .fetch_all(&mut *connection)
                .await
                .map_err(unavailable)?;
            let rows = rows.into_iter().map(|row| in_line(&license, row));
            excerpt.add(rows.collect::<Result<Vec<_>, _>>()?);
        }
    }
    Ok(())
}

/// A place with its holder: `holder, seq, at, seat, seat_at, enabled, active_until, revoked`.
type InLine = (
    String,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    bool,
    Option<i64>,
    bool,
);

fn in_line(license: &LicenseId, row: InLine) -> Result<(PlaceRow, HolderRow), BackendError> {
    let (holder, seq, at, seat, seat_at, enabled, active_until, revoked) = row;
    let holder = Holder::new(holder).map_err(unavailable)?;
    let place = PlaceRow {
        license: license.clone(),
        holder: holder.clone(),
        seq: seq.cast_unsigned(),
        at,
        seat: seat.map(i64::cast_unsigned),
        seat_at,
    };
    let holder = HolderRow {
        holder,
        enabled,
        active_until,
        revoked,
    };
    Ok((place, holder))
}

const RESERVED_OLDEST_FIRST: &str = "\
    select holder, seq, at, seat, seat_at, enabled, active_until, revoked \
    from tower_place join tower_holder using (holder) \
    where license = ? and seat is not null order by seat limit ?";
const RESERVED_NEWEST_FIRST: &str = "\
    select holder, seq, at, seat, seat_at, enabled, active_until, revoked \
    from tower_place join tower_holder using (holder) \
    where license = ? and seat is not null order by seat desc limit ?";
const WAITING: &str = "\
    select holder, seq, at, seat, seat_at, enabled, active_until, revoked \
    from tower_place join tower_holder using (holder) \
    where license = ? and seat is null order by seq limit ?";

/// Writes what changed, table by table, and what happened to the end of the log. All goes to the
/// connection's thread at once: each way there and back takes longer than a statement.
async fn write<'e>(
    connection: &mut SqliteConnection,
    delta: &Delta,
    events: impl Iterator<Item = &'e LicenseEvent>,
) -> Result<(), BackendError> {
    let events: Vec<_> = events.map(EventRow::of).collect();
    let rows = [
        // What is gone goes first.
        (HOLDERS_GONE, json_unless_empty(&delta.holders_gone)),
        (ASSIGNMENTS_GONE, json_unless_empty(&delta.assignments_gone)),
        (PLACES_GONE, json_unless_empty(&delta.places_gone)),
        (LICENSES_GONE, json_unless_empty(&delta.licenses_gone)),
        (HOLDERS, json_unless_empty(&delta.holders)),
        (ASSIGNMENTS, json_unless_empty(&delta.assignments)),
        (MODULES, json_unless_empty(&delta.modules)),
        (LICENSES, json_unless_empty(&delta.licenses)),
        (PLACES, json_unless_empty(&delta.places)),
        (EVENTS, json_unless_empty(&events)),
    ];
    let rows = rows.into_iter();
    let (statements, rows): (Vec<_>, Vec<_>) = rows
        .filter_map(|(statement, rows)| Some((statement, rows?)))
        .unzip();
    let statements = format!("{TENANT}; {}", statements.join("; "));
    let own = query(AssertSqlSafe(statements))
        .bind(delta.clock)
        .bind(delta.seq.cast_signed())
        .bind(delta.limited_edition);
    let all = rows.into_iter().fold(own, Query::bind);
    all.execute(connection).await.map_err(write_failed)?;
    Ok(())
}

const TENANT: &str =
    "update tower_tenant set clock = ?, seq = ?, limited_edition = ?, ops = ops + 1";
const HOLDERS_GONE: &str =
    "delete from tower_holder where holder in (select value from json_each(?))";
const ASSIGNMENTS_GONE: &str = "\
    delete from tower_assignment where (holder, module) in \
    (select value ->> 0, value ->> 1 from json_each(?))";
const PLACES_GONE: &str = "\
    delete from tower_place where (license, holder) in \
    (select value ->> 0, value ->> 1 from json_each(?))";
const LICENSES_GONE: &str =
    "delete from tower_license where license in (select value from json_each(?))";
const HOLDERS: &str = "\
    insert into tower_holder \
    select value ->> 'holder', value ->> 'enabled', value ->> 'active_until', \
    value ->> 'revoked' from json_each(?) where true \
    on conflict (holder) do update set enabled = excluded.enabled, \
    active_until = excluded.active_until, revoked = excluded.revoked";
const ASSIGNMENTS: &str = "\
    insert into tower_assignment \
    select value ->> 'holder', value ->> 'module', value ->> 'seq', value ->> 'at' \
    from json_each(?) where true \
    on conflict (holder, module) do update set seq = excluded.seq, at = excluded.at";
const MODULES: &str = "\
    insert into tower_module \
    select value ->> 'module', value ->> 'license' from json_each(?) where true \
    on conflict (module) do update set license = excluded.license";
const LICENSES: &str = "\
    insert into tower_license \
    select value ->> 'license', value ->> 'seats', value ->> 'valid_until' \
    from json_each(?) where true \
    on conflict (license) do update set seats = excluded.seats, \
    valid_until = excluded.valid_until";
const PLACES: &str = "\
    insert into tower_place \
    select value ->> 'license', value ->> 'holder', value ->> 'seq', value ->> 'at', \
    value ->> 'seat', value ->> 'seat_at' from json_each(?) where true \
    on conflict (license, holder) do update set seq = excluded.seq, at = excluded.at, \
    seat = excluded.seat, seat_at = excluded.seat_at";
const EVENTS: &str = "\
    insert into tower_event \
    select value ->> 'seq', value ->> 'at', value ->> 'actor', value ->> 'event' \
    from json_each(?)";

#[cfg(test)]
mod tests {
    use sqlx::{Row, SqliteConnection};

    use super::*;
    use crate::SqliteStore;

    /// What SQLite does for a statement, step by step.
    async fn plan(connection: &mut SqliteConnection, statement: &'static str) -> Vec<String> {
        let statement = sqlx::AssertSqlSafe(format!("explain query plan {statement}"));
        let steps = sqlx::query(statement).bind("{}").bind("").bind("");
        let steps = steps.fetch_all(connection).await.unwrap();
        steps.iter().map(|step| step.get("detail")).collect()
    }

    /// A query that reads a table from end to end is found out by nobody before the table is long.
    #[tokio::test]
    async fn tables_that_grow_are_read_by_indexes() {
        let name = format!("tower-api-key-{}-plans.db", std::process::id());
        let path = std::env::temp_dir().join(name);
        let store = SqliteStore::open(&path).await.unwrap();
        let connection = &mut *store.0.readers.acquire().await.unwrap();
        for statement in [
            include_str!("excerpt.sql"),
            RESERVED_OLDEST_FIRST,
            RESERVED_NEWEST_FIRST,
            WAITING,
            HOLDERS_GONE,
            ASSIGNMENTS_GONE,
            PLACES_GONE,
            LICENSES_GONE,
        ] {
            for step in plan(connection, statement).await {
                let growing = ["holder", "assignment", "module", "place"];
                let scanned = growing.map(|table| format!("SCAN tower_{table}"));
                let is_scan = scanned.iter().any(|scan| step.starts_with(scan.as_str()));
                let is_index_of_its_own = step.contains("AUTOMATIC");
                assert!(!is_scan && !is_index_of_its_own, "{step} in {statement}");
            }
        }
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}
