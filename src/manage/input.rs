//! What clients send, read strictly: what is wrong is named, and nothing is guessed.

use std::{borrow::Cow, ops::RangeInclusive, str::FromStr};

use axum::{
    body,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
};
use http::{HeaderMap, HeaderName, header::CONTENT_TYPE, request::Parts};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_path_to_error::{Error, Segment};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type},
    },
};

use super::problem::{Problem, ProblemCode};
use crate::{clock::Timestamp, name::InvalidName};

/// A JSON body of at most 64 KiB.
///
/// A field that is not known, one that is there twice and one of the wrong type are 400 with its
/// name; so is a body that is no JSON, or more than one document.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        parse(&read(request).await?).map(Self)
    }
}

/// A JSON body that may be left out, or null: then every field has its default.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let is_json = is_json(&head.headers);
        let bytes = read(Request::from_parts(head, body)).await?;
        // Many clients name a type also where they send nothing.
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json {
            return Err(not_json());
        }
        let body: Option<T> = parse(&bytes)?;
        Ok(Self(body.unwrap_or_default()))
    }
}

fn not_json() -> Problem {
    let detail = "The body must be sent as Content-Type: application/json.";
    Problem::new(ProblemCode::UnsupportedMediaType, detail).with_field("content-type")
}

async fn read(request: Request) -> Result<bytes::Bytes, Problem> {
    let length = request.headers().get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || {
        let detail = format!("The body is over {LONGEST_BODY} bytes.");
        Problem::new(ProblemCode::PayloadTooLarge, detail)
    };
    // Before anything of it is read.
    if length.is_some_and(|length| length > LONGEST_BODY as u64) {
        return Err(too_large());
    }
    let read = body::to_bytes(request.into_body(), LONGEST_BODY).await;
    read.map_err(|error| {
        let source = std::error::Error::source(&error);
        match source.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
            true => too_large(),
            false => Problem::new(
                ProblemCode::InvalidRequest,
                "The body ended before it was complete.",
            ),
        }
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde takes a list for an object, as its fields in the order of the source.
    if bytes.trim_ascii_start().starts_with(b"[") {
        let detail = "The body is a list, and not an object.";
        return Err(Problem::new(ProblemCode::InvalidRequest, detail));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let syntax = error.inner().is_syntax() || error.inner().is_eof();
        match syntax {
            true => Problem::new(
                ProblemCode::InvalidRequest,
                format!("The body is not JSON: {}.", error.inner()),
            ),
            false => at_fault(&error),
        }
    })?;
    json.end().map_err(|error| {
        let detail = format!("The body is more than one JSON document: {error}.");
        Problem::new(ProblemCode::InvalidRequest, detail)
    })?;
    Ok(value)
}

/// The query parameters: those that are not known, and those that are there twice, are 400.
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let form = serde_urlencoded::Deserializer::new(pairs);
        let value = serde_path_to_error::deserialize(form);
        value.map(Self).map_err(|error| at_fault(&error))
    }
}

/// No query parameters, or nothing in a body: what takes none refuses those it does not know too.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A name in the path, its last parameter. What is no name cannot be there: 404.
pub(super) struct Named<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for Named<T>
where
    S: Send + Sync,
    T: FromStr<Err = InvalidName>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let [name] = last_parameters(parts, state).await?;
        Ok(Self(parse_name(&name)?))
    }
}

/// The names that are the last two parameters of the path.
pub(super) struct NamedPair<T, U>(pub(super) T, pub(super) U);

impl<S, T, U> FromRequestParts<S> for NamedPair<T, U>
where
    S: Send + Sync,
    T: FromStr<Err = InvalidName>,
    U: FromStr<Err = InvalidName>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let [outer, inner] = last_parameters(parts, state).await?;
        Ok(Self(parse_name(&outer)?, parse_name(&inner)?))
    }
}

/// The last parameters of the path: those before them belong to where the host has nested the router.
async fn last_parameters<S, const N: usize>(
    parts: &mut Parts,
    state: &S,
) -> Result<[String; N], Problem>
where
    S: Send + Sync,
{
    let parameters = RawPathParams::from_request_parts(parts, state).await;
    let parameters = parameters.map_err(|_| not_found("The path is not UTF-8."))?;
    let values: Vec<_> = parameters.iter().map(|(_, value)| value).collect();
    let last = values.last_chunk().map(|last| last.map(str::to_owned));
    // Not reachable: the routes have the parameters that their handlers ask for.
    last.ok_or_else(|| not_found("The path is too short."))
}

fn parse_name<T: FromStr<Err = InvalidName>>(text: &str) -> Result<T, Problem> {
    let name = text.parse();
    name.map_err(|error: InvalidName| {
        let (kind, rule) = (error.kind(), error.rule());
        not_found(format!("This is no {kind}: that would be {rule}."))
    })
}

fn not_found(detail: impl Into<Box<str>>) -> Problem {
    Problem::new(ProblemCode::NotFound, detail)
}

/// The first instant at which something is no longer valid, as clients write it: an instant, or a
/// date, which means through the end of that day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Limit(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let limit = Timestamp::parse_limit(&text).map(Self);
        limit.map_err(|_| {
            let expected = "neither an RFC 3339 date and time nor a date such as 2026-12-31, \
                            before 9999-12-30";
            serde::de::Error::custom(expected)
        })
    }
}

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        let format = |format| {
            let format = SchemaFormat::KnownFormat(format);
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(format))
        };
        // A fraction of a second has at most nine digits.
        let instant = format(KnownFormat::DateTime).max_length(Some(35));
        AnyOfBuilder::new()
            .item(instant)
            .item(format(KnownFormat::Date))
            .description(Some(
                "An instant (RFC 3339), or a date: through the end of that day, UTC. \
                 Before 9999-12-30.",
            ))
            .into()
    }
}

impl ToSchema for Limit {}

/// For a field that must be there and may be null: serde takes one that is left out for null.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

/// For a field where null is one thing, and leaving it out another.
pub(super) fn if_given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// # Errors
///
/// 422 where a number is out of its bounds.
pub(super) fn check_bounds(
    field: &str,
    number: u64,
    bounds: RangeInclusive<u64>,
) -> Result<(), Problem> {
    match bounds.contains(&number) {
        true => Ok(()),
        false => {
            let problem = format!("must be {} to {}", bounds.start(), bounds.end());
            Err(Problem::unprocessable(field, problem))
        }
    }
}

/// The greatest number that every client reads alike (RFC 8259 §6): the log does not get there.
pub(super) const GREATEST: u64 = (1 << 53) - 1;

/// The only value of a header; nothing where it is not there.
///
/// # Errors
///
/// 400 where it is there twice, or is not visible ASCII.
pub(super) fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::invalid(name.as_str(), "the header is there twice"));
    }
    let text = value.to_str();
    let text = text.map_err(|_| Problem::invalid(name.as_str(), "it is not visible ASCII"))?;
    Ok(Some(text))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The name of the field at fault, and what is wrong with it; not what it holds, which may be a
/// secret in the wrong place.
fn at_fault<E: std::fmt::Display>(error: &Error<E>) -> Problem {
    let message = error.inner().to_string();
    // serde_json tells a place in the text, which the name of the field says better.
    let problem = message
        .rfind(" at line ")
        .map_or(&*message, |place| &message[..place]);
    let problem = without_values(problem);
    let path = error.path();
    let is_named = path
        .iter()
        .any(|segment| matches!(segment, Segment::Map { .. }));
    match is_named {
        true => Problem::invalid(shown(&path.to_string()), problem),
        // A field that is missing or there twice is named by the message: `missing field `name``.
        false => match problem.split('`').nth(1) {
            Some(field) => Problem::invalid(field, &problem),
            None => Problem::new(
                ProblemCode::InvalidRequest,
                format!("The request: {problem}."),
            ),
        },
    }
}

/// An error's text without what stands in double quotes, which are values, and with those names in
/// backticks that may be shown.
fn without_values(message: &str) -> String {
    let mut kept = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(start) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(start);
        let (quote, inner) = quoted.split_at(1);
        let end = closing(inner, quote);
        match quote {
            "`" => kept += &format!("{before}`{}`", shown(&inner[..end])),
            _ => kept += before.trim_end(),
        }
        rest = inner.get(end + 1..).unwrap_or_default();
    }
    kept + rest
}

/// Where a quotation ends: a quote behind a backslash is part of it.
fn closing(text: &str, quote: &str) -> usize {
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if text[place..].starts_with(quote) => return place,
            _ => {}
        }
    }
    text.len()
}

/// A name that a client sent, where it cannot be a secret that went astray: no name of ours has
/// twenty letters and digits in a row, and every generated key has.
pub(super) fn shown(name: &str) -> &str {
    let mut runs = name.split(|character: char| !character.is_ascii_alphanumeric());
    let is_short = name.len() <= 64 && !name.contains(char::is_control);
    match is_short && runs.all(|run| run.len() < 20) {
        true => name,
        false => "…",
    }
}

/// Bytes.
const LONGEST_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "rk_live_1234567890abcdef1234567890abcdef";

    #[test]
    fn what_a_field_holds_is_not_said_again() {
        for (message, kept) in [
            (
                "invalid type: string \"a\\\"b\", expected u64",
                "invalid type: string, expected u64",
            ),
            ("module \"a b\" is invalid: rule", "module is invalid: rule"),
            ("no quotes", "no quotes"),
            ("open \"end", "open"),
            ("missing field `name`", "missing field `name`"),
        ] {
            assert_eq!(without_values(message), kept);
        }
        let unknown = format!("unknown field `{KEY}`, expected `name`");
        assert_eq!(
            without_values(&unknown),
            "unknown field `…`, expected `name`"
        );
    }

    #[test]
    fn name_that_may_be_a_secret_is_not_shown() {
        for name in ["launcher", "allowed_addresses[17]", "nodegraph_editor", "ä"] {
            assert_eq!(shown(name), name);
        }
        for name in [KEY, "a\nb", &"a-".repeat(33), &KEY[8..28]] {
            assert_eq!(shown(name), "…");
        }
    }
}
