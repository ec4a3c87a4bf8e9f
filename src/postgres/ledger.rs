//! The license ledger.

use async_trait::async_trait;
use sqlx::{FromRow, Row, postgres::PgRow};
use tokio::sync::watch;

use super::{
    PostgresStore,
    schema::{Schema, Statement},
};
use crate::{
    changes::Changes,
    error::BackendError,
    ledger_state::excerpt::{Excerpt, Reach},
    license_ledger::{
        Actor, Holder, HolderState, LicenseEvent, LicenseId, LicenseLedger, Line, Module,
        Operation, Overview, Standings,
    },
    sql::{
        EventRow, HolderColumns, LineRows, OverviewRow, ReadExcerpt, at_most, from_json,
        holder_state, unavailable,
    },
};

pub(super) struct Statements {
    pub(super) excerpt: Statement,
    pub(super) lock: Statement,
    overview: Statement,
    line: Statement,
    holders: Statement,
    events: Statement,
}

impl Statements {
    pub(super) fn new(schema: &Schema) -> Self {
        let text = |text: &str| Statement::new(text.replace("{schema}", &schema.to_string()));
        Self {
            excerpt: text("SELECT {schema}.tower_excerpt($1, $2, $3)"),
            lock: text("SELECT {schema}.tower_lock($1)"),
            overview: text(OVERVIEW),
            line: text(LINE),
            holders: text(
                "SELECT holder, enabled, active_until, revoked FROM {schema}.tower_holder \
                 WHERE tenant = $1 AND holder > $2 ORDER BY holder LIMIT $3",
            ),
            events: text(
                "SELECT seq, at, actor, event FROM {schema}.tower_event \
                 WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            ),
        }
    }
}

const OVERVIEW: &str = "\
    SELECT json_build_object(
        'clock', clock,
        'seq', seq,
        'limited_edition', limited_edition,
        'licenses', (
            SELECT coalesce(json_agg(json_build_array(
                json_build_object('license', license, 'seats', seats, 'valid_until', valid_until),
                (SELECT count(*) FROM {schema}.tower_place p
                 WHERE p.tenant = $1 AND p.license = known.license AND seat IS NOT NULL),
                (SELECT count(*) FROM {schema}.tower_place p
                 WHERE p.tenant = $1 AND p.license = known.license AND seat IS NULL)
            ) ORDER BY license), '[]')
            FROM {schema}.tower_license AS known WHERE tenant = $1
        ),
        'modules', (
            SELECT coalesce(json_agg(
                json_build_object('module', module, 'license', license) ORDER BY module
            ), '[]')
            FROM {schema}.tower_module WHERE tenant = $1
        )
    )::text
    FROM {schema}.tower_tenant WHERE tenant = $1";

const LINE: &str = "\
    SELECT json_build_object(
        'reserved', (
            SELECT coalesce(json_agg(json_build_array(holder, seat_at) ORDER BY seat), '[]') FROM (
                SELECT holder, seat, seat_at FROM {schema}.tower_place
                WHERE tenant = $1 AND license = $2 AND seat IS NOT NULL ORDER BY seat LIMIT $3
            ) AS reserved
        ),
        'waiting', (
            SELECT coalesce(json_agg(json_build_array(holder, at) ORDER BY seq), '[]') FROM (
                SELECT holder, seq, at FROM {schema}.tower_place
                WHERE tenant = $1 AND license = $2 AND seat IS NULL ORDER BY seq LIMIT $3
            ) AS waiting
        )
    )::text
    FROM {schema}.tower_license WHERE tenant = $1 AND license = $2";

#[async_trait]
impl LicenseLedger for PostgresStore {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.turns.ask((operation, actor.clone())).await
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        self.0.plan(operation).await
    }

    async fn standings(&self, holder: &Holder, _: &[Module]) -> Result<Standings, BackendError> {
        let mut standings = ReadExcerpt::standings_of(self, &[holder]).await?;
        standings.pop().ok_or_else(|| unavailable("no answer"))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let holders: Vec<_> = asked.iter().map(|(holder, _)| holder).collect();
        ReadExcerpt::standings_of(self, &holders).await
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        ReadExcerpt::first_unknown(self, modules).await
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        let query = self.0.ask(&self.0.server.ledger.overview);
        let rows = self.0.fetch(query).await?;
        let row = rows.first().ok_or_else(|| unavailable(GONE))?;
        json::<OverviewRow>(row).map(Overview::from)
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        let query = self.0.ask(&self.0.server.ledger.line);
        let query = query.bind(license.as_str()).bind(at_most(limit));
        let rows = self.0.fetch(query).await?;
        let line = rows.first().map(json::<LineRows>).transpose()?;
        Ok(line.map(Line::from))
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        let query = self.0.ask(&self.0.server.ledger.holders);
        // No name is empty.
        let query = query
            .bind(after.map_or("", Holder::as_str))
            .bind(at_most(limit));
        let rows = self.0.fetch(query).await?;
        rows.iter().map(holder).collect()
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        let query = self.0.ask(&self.0.server.ledger.events);
        let query = query
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(at_most(limit));
        let rows = self.0.fetch(query).await?;
        rows.iter().map(event).collect()
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.0.told.ledger.latest()
    }

    fn changes(&self) -> &Changes {
        self.0.told.ledger.changes()
    }
}

#[async_trait]
impl ReadExcerpt for PostgresStore {
    async fn excerpt(&self, reach: &Reach) -> Result<Excerpt, BackendError> {
        self.0.excerpt(reach).await
    }
}

pub(super) fn json<T: serde::de::DeserializeOwned>(row: &PgRow) -> Result<T, BackendError> {
    from_json(row.try_get(0).map_err(unavailable)?)
}

fn holder(row: &PgRow) -> Result<HolderState, BackendError> {
    holder_state(HolderColumns::from_row(row).map_err(unavailable)?)
}

/// An entry of the log: `seq, at, actor, event`.
pub(super) fn event(row: &PgRow) -> Result<LicenseEvent, BackendError> {
    let read = || {
        let seq: i64 = row.try_get(0)?;
        let entry = EventRow::new(
            seq.cast_unsigned(),
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
        );
        Ok::<_, sqlx::Error>(entry)
    };
    read().map_err(unavailable)?.event()
}

pub(super) const GONE: &str = "the tenant is gone";
