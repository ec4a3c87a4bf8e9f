//! How often a key was used, by hour.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Parts,
    input::{self, Named, Query},
    problem::Problem,
    refusals::{Missing, Refusals, Unprocessable},
};
use crate::{
    clock::Timestamp,
    denial::DenialCode,
    key_store::KeyId,
    usage::{Outcome, UsageCount},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageQuery {
    /// So many hours back, the current one included. They are kept for 30 days.
    #[serde(default = "day")]
    #[param(minimum = 1, maximum = 720, default = 24)]
    hours: u64,
}

/// How often a key was used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    /// The hours in which it was used at all, in order.
    items: Vec<HourOfUsage>,
}

/// What came of a key's requests in one hour.
#[derive(Debug, Serialize, ToSchema)]
struct HourOfUsage {
    /// The first instant of the hour, in UTC.
    hour: Timestamp,
    /// How many were granted.
    granted: u64,
    /// How many were refused because the quota was used up.
    limited: u64,
    /// How many were refused for any other reason, by its code.
    #[schema(value_type = BTreeMap<String, u64>)]
    refused: BTreeMap<&'static str, u64>,
}

impl Usage {
    /// These counts, which are in order of the hour.
    fn new(counts: Vec<UsageCount>) -> Self {
        let mut items: Vec<HourOfUsage> = Vec::new();
        for UsageCount {
            hour,
            outcome,
            count,
            ..
        } in counts
        {
            if items.last().is_none_or(|last| last.hour != hour) {
                items.push(HourOfUsage::new(hour));
            }
            let Some(item) = items.last_mut() else {
                continue;
            };
            match outcome {
                Outcome::Granted => item.granted += count,
                Outcome::Refused(DenialCode::RateLimited) => item.limited += count,
                Outcome::Refused(code) => *item.refused.entry(code.as_str()).or_default() += count,
            }
        }
        Self { items }
    }
}

impl HourOfUsage {
    fn new(hour: Timestamp) -> Self {
        Self {
            hour,
            granted: 0,
            limited: 0,
            refused: BTreeMap::new(),
        }
    }
}

/// Read the usage of a key
///
/// By hour: how often it was granted, refused by code, and rate limited.
#[utoipa::path(
    get,
    path = "/keys/{id}/usage",
    tag = "keys",
    params(("id" = KeyId, Path, description = "The key."), UsageQuery),
    responses(
        (status = 200, description = "Its hours.", body = Usage),
        Refusals, Missing, Unprocessable
    )
)]
pub(super) async fn read_usage(
    State(parts): State<Arc<Parts>>,
    Named(id): Named<KeyId>,
    Query(UsageQuery { hours }): Query<UsageQuery>,
) -> Result<Json<Usage>, Problem> {
    input::check_bounds("hours", hours, 1..=MOST_HOURS)?;
    let now = parts.now().wall.unix_seconds();
    let back = i64::try_from((hours - 1) * 3_600).unwrap_or(i64::MAX);
    let since = Timestamp::from_unix_seconds(now.saturating_sub(back));
    Ok(Json(Usage::new(parts.manager.usage(&id, since).await?)))
}

fn day() -> u64 {
    24
}

/// 30 days: so long they are kept.
const MOST_HOURS: u64 = 720;
