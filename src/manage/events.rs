//! The log as it grows: Server-Sent Events (the HTML standard, §9.2).
//!
//! 1. A stream begins with an `id:` without an event: where the log ends, or what the client named
//!    in `Last-Event-ID`. So a client that is cut off before its first event resumes from there.
//! 2. Then comes every entry of the log after that, once and in order: `id:` is its `seq`,
//!    `event:` its kind, `data:` the entry as `/audit` has it. After 15 seconds of silence comes a
//!    comment.
//! 3. Nothing is read ahead of a reader beyond one batch of the log, and nobody waits for a reader.
//! 4. In an outage of the ledger the stream stays open, and goes on where it stopped.
//! 5. A stream that the service ends says so in a `closing` event, which has no `id:`. The client
//!    comes back with its `Last-Event-ID`, and is judged anew.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_core::{Stream, future::BoxFuture, stream::BoxStream};
use futures_util::{StreamExt, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use tokio::time::{Instant, Interval, Sleep, interval_at, sleep};
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};

use super::{
    Parts,
    audit::EventName,
    caller::Caller,
    input::{self, Nothing, Query},
    problem::Problem,
    refusals::Refusals,
};
use crate::{
    changes::Stamp,
    error::BackendError,
    keys::ManageError,
    license_ledger::{EventKind, Holder, LicenseEvent},
    observe,
};

/// What happens from now on, or after an event: Server-Sent Events that end only with the caller's
/// rights, after an hour, or with the service.
///
/// Each event's `id` is its `seq`, its name the `event` of the entry, and its `data` the entry as
/// `/audit` has it. A stream that the service ends ends with `closing`, with the reason as `data`:
/// `{"reason": "rights_changed" | "expired" | "time_limit" | "shutting_down"}`.
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
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last_event = input::only(&headers, &LAST_EVENT_ID)?;
    // Before the answer begins: the client misses nothing that happens after it.
    let end = parts.manager.overview().await?.seq;
    let after = match last_event {
        None => end,
        Some(text) => {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|_| is_number);
            let invalid = |problem: &str| Problem::invalid(LAST_EVENT_ID.as_str(), problem);
            match number {
                Some(number) if number <= end => number,
                Some(_) => return Err(invalid(&format!("the log ends with event {end}"))),
                None => return Err(invalid("it is not the number of an event")),
            }
        }
    };
    let feed = Feed::new(parts, caller, after);
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // A proxy that gathers what it passes on would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let chunks = feed.chunks().map(Ok::<_, Infallible>);
    Ok((headers, Body::from_stream(chunks)).into_response())
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
        let parameter = ParameterBuilder::new()
            .name("Last-Event-ID")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}

/// One reader's stream.
struct Feed {
    reader: Reader,
    /// The last entry that was sent, or asked for.
    after: u64,
    log: BoxStream<'static, Result<LicenseEvent, BackendError>>,
    /// Why it is over before the next entry.
    closing: Option<Closing>,
    is_judged: bool,
    shutting_down: BoxFuture<'static, ()>,
    /// When it is over at the latest, and why.
    limit: (Pin<Box<Sleep>>, Closing),
    heartbeat: Interval,
    /// Whether the ledger's outage was told.
    is_failing: bool,
}

/// Who reads, as he was when the stream began.
struct Reader {
    parts: Arc<Parts>,
    caller: Caller,
    holder: Holder,
    /// The last entry that whoever judges the caller after the beginning knows of.
    known: u64,
    /// How often tokens had been withdrawn.
    withdrawals: u64,
    /// How far the ledger had come when the caller's role was last judged.
    judged: Option<Stamp>,
}

/// Why the service ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Closing {
    /// Something has happened by which the caller may have lost the right to it.
    RightsChanged,
    /// The caller's credential is over.
    Expired,
    /// It has lasted an hour.
    TimeLimit,
    ShuttingDown,
}

enum Next {
    Closing(Closing),
    Logged(Result<LicenseEvent, BackendError>),
    Silence,
}

impl Feed {
    fn new(parts: Arc<Parts>, caller: Caller, after: u64) -> Self {
        let mut closing = parts.closing.subscribe();
        let lookup = &parts.gate.gate.lookup;
        let until = caller.grant.expires_at();
        let left = until.map(|until| until.saturating_since(lookup.clock.now().wall));
        let limit = match left {
            Some(left) if left < LONGEST => (left, Closing::Expired),
            _ => (LONGEST, Closing::TimeLimit),
        };
        Self {
            after,
            log: parts.manager.follow(after).boxed(),
            closing: None,
            is_judged: false,
            shutting_down: Box::pin(async move {
                // Whoever could shut down is kept by `parts`.
                let _ = closing.wait_for(|is_closing| *is_closing).await;
            }),
            limit: (Box::pin(sleep(limit.0)), limit.1),
            heartbeat: interval_at(Instant::now() + HEARTBEAT, HEARTBEAT),
            is_failing: false,
            reader: Reader {
                known: *lookup.ledger.latest().borrow(),
                withdrawals: lookup.withdrawals(),
                judged: None,
                holder: caller.grant.holder(),
                parts,
                caller,
            },
        }
    }

    /// What is sent, piece by piece, as the reader takes it.
    fn chunks(self) -> impl Stream<Item = Bytes> + Send {
        let begin = format!("retry: {RETRY_MILLIS}\nid: {}\n\n", self.after);
        let rest = stream::unfold(Some(self), |feed| async {
            let mut feed = feed?;
            let (chunk, is_last) = match feed.next().await {
                Ok(chunk) => (chunk, false),
                Err(closing) => (closing.chunk(), true),
            };
            Some((chunk, (!is_last).then_some(feed)))
        });
        stream::iter([Bytes::from(begin)]).chain(rest)
    }

    async fn next(&mut self) -> Result<Bytes, Closing> {
        if !std::mem::replace(&mut self.is_judged, true) {
            self.reader.judge().await?;
        }
        loop {
            let next = poll_fn(|context| self.poll(context)).await;
            match next {
                Next::Closing(closing) => return Err(closing),
                Next::Silence => {
                    self.reader.judge().await?;
                    return Ok(Bytes::from_static(b":\n\n"));
                }
                Next::Logged(Ok(event)) => {
                    self.is_failing = false;
                    self.heartbeat.reset();
                    return self.take(event).await;
                }
                // The log is read again by and by.
                Next::Logged(Err(error)) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        observe::management_failed(&ManageError::of_ledger(error));
                    }
                }
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(closing) = self.closing {
            return Poll::Ready(Next::Closing(closing));
        }
        if self.shutting_down.as_mut().poll(context).is_ready() {
            // A future that is ready is not asked again.
            self.closing = Some(Closing::ShuttingDown);
            return Poll::Ready(Next::Closing(Closing::ShuttingDown));
        }
        if self.limit.0.as_mut().poll(context).is_ready() {
            return Poll::Ready(Next::Closing(self.limit.1));
        }
        if let Poll::Ready(Some(entry)) = self.log.poll_next_unpin(context) {
            return Poll::Ready(Next::Logged(entry));
        }
        self.heartbeat.poll_tick(context).map(|_| Next::Silence)
    }

    /// An entry for the reader, where he may still read it.
    async fn take(&mut self, event: LicenseEvent) -> Result<Bytes, Closing> {
        let reader = &mut self.reader;
        reader.judge_key()?;
        let is_news = event.seq > reader.known;
        match event.kind.holder() {
            None if is_news => reader.judge_role().await?,
            // It is told: otherwise the stream that follows this one would begin with it, and end.
            Some(holder) if is_news && *holder == reader.holder && may_end_rights(&event.kind) => {
                self.closing = Some(Closing::RightsChanged);
            }
            _ => {}
        }
        self.after = event.seq;
        Ok(chunk(&event))
    }
}

impl Reader {
    /// Whether the caller may still read, as far as this process knows.
    async fn judge(&mut self) -> Result<(), Closing> {
        self.judge_key()?;
        self.judged = None;
        self.judge_role().await
    }

    fn judge_key(&self) -> Result<(), Closing> {
        let (grant, lookup) = (&self.caller.grant, &self.parts.gate.gate.lookup);
        let now = lookup.clock.now().wall;
        if grant.expires_at().is_some_and(|end| end <= now) {
            return Err(Closing::Expired);
        }
        let is_of_token = grant.is_session() || grant.key_id().is_none();
        let is_withdrawn = is_of_token && lookup.withdrawals() != self.withdrawals;
        match is_withdrawn || !lookup.is_unchanged(grant.pass()) {
            true => Err(Closing::RightsChanged),
            false => Ok(()),
        }
    }

    /// Asks the policy, unless nothing has changed in the ledger since it was last asked.
    async fn judge_role(&mut self) -> Result<(), Closing> {
        let stamp = Some(self.parts.gate.gate.lookup.ledger.changes().stamp());
        if self.judged == stamp {
            return Ok(());
        }
        match self.parts.caller(self.caller.grant.clone()).await {
            Ok(_) => {
                self.judged = stamp;
                Ok(())
            }
            // An outage is not a denial.
            Err(denial) if denial.status() == StatusCode::SERVICE_UNAVAILABLE => Ok(()),
            Err(_) => Err(Closing::RightsChanged),
        }
    }
}

impl Closing {
    fn chunk(self) -> Bytes {
        let data = serde_json::json!({ "reason": self });
        format!("event: closing\ndata: {data}\n\n").into()
    }
}

/// An entry of the log: its JSON has no line breaks.
fn chunk(event: &LicenseEvent) -> Bytes {
    let name = serde_json::to_value(EventName::from(&event.kind));
    let name = name.expect("a name is JSON");
    let name = name.as_str().unwrap_or_default();
    let data = serde_json::to_string(event).expect("an entry of the log is JSON");
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", event.seq).into()
}

/// Whether a holder to whom this happened has to be judged anew.
fn may_end_rights(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::KeyChanged { .. }
            | EventKind::KeyDisabled { .. }
            | EventKind::KeyRevoked { .. }
            | EventKind::KeyDeleted { .. }
            | EventKind::KeyRegenerated { .. }
            | EventKind::KeyExpired { .. }
            | EventKind::ModuleUnassigned { .. }
            | EventKind::ReservationRemoved { .. }
    )
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How long a client waits before it comes back.
const RETRY_MILLIS: u32 = 1_000;
const HEARTBEAT: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(3_600);
