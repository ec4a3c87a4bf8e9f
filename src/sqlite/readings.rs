//! What administrators read of the ledger.

use sqlx::{SqliteConnection, query_as, query_scalar};

use crate::{
    error::BackendError,
    license_ledger::{Holder, HolderState, LicenseEvent, LicenseId, Line, Overview},
    sql::{EventRow, HolderColumns, LineRows, OverviewRow, from_json, holder_state, unavailable},
};

/// Licenses and modules, as of one moment.
pub(super) async fn overview(connection: &mut SqliteConnection) -> Result<Overview, BackendError> {
    let json: String = query_scalar(
        "select json_object( \
             'clock', clock, \
             'seq', seq, \
             'limited_edition', iif(limited_edition, json('true'), json('false')), \
             'licenses', ( \
                 select json_group_array(json_array( \
                     json_object('license', license, 'seats', seats, 'valid_until', valid_until), \
                     (select count(*) from tower_place as place \
                      where place.license = known.license and seat is not null), \
                     (select count(*) from tower_place as place \
                      where place.license = known.license and seat is null) \
                 ) order by license) from tower_license as known \
             ), \
             'modules', ( \
                 select json_group_array( \
                     json_object('module', module, 'license', license) order by module \
                 ) from tower_module \
             ) \
         ) from tower_tenant",
    )
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    from_json::<OverviewRow>(&json).map(Overview::from)
}

/// Who holds the seats of a license and who waits.
pub(super) async fn line(
    connection: &mut SqliteConnection,
    license: &LicenseId,
    limit: i64,
) -> Result<Option<Line>, BackendError> {
    let json: Option<String> = query_scalar(
        "select json_object( \
             'reserved', ( \
                 select json_group_array(json_array(holder, seat_at)) from ( \
                     select holder, seat_at from tower_place \
                     where license = ?1 and seat is not null order by seat limit ?2 \
                 ) \
             ), \
             'waiting', ( \
                 select json_group_array(json_array(holder, at)) from ( \
                     select holder, at from tower_place \
                     where license = ?1 and seat is null order by seq limit ?2 \
                 ) \
             ) \
         ) from tower_license where license = ?1",
    )
    .bind(license.as_str())
    .bind(limit)
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    let rows = json.map(|json| from_json::<LineRows>(&json)).transpose()?;
    Ok(rows.map(Line::from))
}

/// The holders in order of their names' bytes.
pub(super) async fn holders(
    connection: &mut SqliteConnection,
    after: Option<&Holder>,
    limit: i64,
) -> Result<Vec<HolderState>, BackendError> {
    // No name is empty.
    let after = after.map_or("", Holder::as_str);
    let rows: Vec<HolderColumns> = query_as(
        "select holder, enabled, active_until, revoked from tower_holder \
         where holder > ? order by holder limit ?",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter().map(holder_state).collect()
}

/// The log after `after`.
pub(super) async fn events(
    connection: &mut SqliteConnection,
    after: i64,
    limit: i64,
) -> Result<Vec<LicenseEvent>, BackendError> {
    let rows: Vec<(i64, i64, String, String)> = query_as(
        "select seq, at, actor, event from tower_event where seq > ? order by seq limit ?",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter()
        .map(|(seq, at, actor, event)| EventRow::new(seq.cast_unsigned(), at, actor, event).event())
        .collect()
}
