//! The log as it grows: Server-Sent Events (the HTML standard, §9.2).
//!
//! 1. A stream begins with an `id:` without an event: where the log ends, or what the client named
//!    in `Last-Event-ID`. So a client that is cut off before its first event resumes from there.
//! 2. Then comes every entry of the log after that, once and in order: `id:` is its `seq`,
//!    `event:` its kind, `data:` the entry as `/audit` has it. After 15 seconds of silence comes a
//!    comment.
//! 3. Nothing is read ahead of a reader beyond one batch of the log and the few entries on their way
//!    to it, and nobody waits for a reader. Who takes nothing for 30 seconds is let go.
//! 4. In an outage of the ledger the stream stays open, and goes on where it stopped.
//! 5. Before each entry, and each second, it is judged whether the caller may still read; the policy
//!    is asked where anything has changed in the ledger, and every 15 seconds.
//! 6. A stream that the service ends says so in a `closing` event, which has no `id:`. The client
//!    comes back with its `Last-Event-ID`, and is judged anew.
//! 7. A caller has at most 32 of them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use utoipa::{
    IntoParams,
    openapi::{
        path::{Parameter, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};

use super::{
    Parts,
    caller::Caller,
    input::{self, Nothing, Query},
    problem::Problem,
    refusals::Refusals,
    schema::optional_header,
};
use crate::denial::{Denial, DenialCode};

mod feed;
mod places;
mod reader;

use feed::Feed;
use places::MOST;
pub(super) use places::Places;
use reader::Reader;

/// Follow the log
///
/// What happens from now on, or after an event: Server-Sent Events that end only with the caller's
/// rights, after an hour, or with the service.
///
/// Each event's `id` is its `seq`, its name the `event` of the entry, and its `data` the entry as
/// `/audit` has it. A stream that the service ends ends with `closing`, with the reason as `data`:
/// `{"reason": "rights_changed" | "expired" | "time_limit" | "not_read" | "shutting_down"}`.
///
/// A caller may have 32 streams at a time; one more is refused with 429.
#[utoipa::path(
    get,
    path = "/events",
    tag = "log",
    params(LastEventId),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        Refusals
    )
)]
pub(super) async fn follow_events(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    _: Query<Nothing>,
    request: Request,
) -> Result<Response, Response> {
    let principal = caller.grant.principal();
    let Some(place) = parts.places.take(principal) else {
        let denial = Denial::new(DenialCode::RateLimited)
            .with_detail(format!(
                "{MOST} streams of this caller are open, as many as may be."
            ))
            .with_remediation("End one of them first.")
            .with_retry_after(AGAIN_AFTER);
        return Err(parts.refuse(denial, &request));
    };
    let after = begin(&parts, request.headers()).await;
    let after = after.map_err(IntoResponse::into_response)?;
    let feed = Feed::new(Reader::new(parts, caller), after);
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // A proxy that gathers what it passes on would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    // Its place is free when the server has let go of it, and not before.
    let chunks = feed.chunks().map(move |chunk| {
        let _ = &place;
        Ok::<_, Infallible>(chunk)
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// The entry that a stream begins after.
async fn begin(parts: &Parts, headers: &HeaderMap) -> Result<u64, Problem> {
    let last_event = input::only(headers, &LAST_EVENT_ID)?;
    // Before the answer begins: the client misses nothing that happens after it.
    let end = parts.manager.overview().await?.seq;
    let Some(text) = last_event else {
        return Ok(end);
    };
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    let invalid = |problem: &str| Problem::invalid(LAST_EVENT_ID.as_str(), problem);
    match number {
        Some(number) if number <= end => Ok(number),
        Some(_) => Err(invalid(&format!("the log ends with event {end}"))),
        None => Err(invalid("it is not the number of an event")),
    }
}

/// What a client that comes back has read.
struct LastEventId;

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0_u64))
            .maximum(Some(input::GREATEST));
        let description = "Begins after this one. By default with what happens from now on.";
        optional_header("Last-Event-ID", description, schema)
    }
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// When to try again for a place.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
