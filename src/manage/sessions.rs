//! Sessions: tokens with a caller's rights, for a while.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{
    Parts,
    caller::Caller,
    input::{Nothing, OptionalBody, Query},
    problem::{Problem, ProblemCode},
    refusals::{BodyRefusals, Conflicting, Refusals},
};
use crate::{clock::Timestamp, jwt::SessionError, key_format::KeyText};

/// A session that has just begun.
#[derive(Serialize, ToSchema)]
pub(super) struct BegunSession {
    /// To be sent as `Authorization: Bearer`.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String)]
    token: KeyText,
    /// The first instant at which it is no longer valid.
    expires_at: Timestamp,
}

fn exposed<S: Serializer>(text: &KeyText, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.expose())
}

/// Begin a session
///
/// With the caller's rights, and no longer than the caller's credential.
///
/// The session of a key has the rights of that key as they are at each request, and ends with it. A
/// session begins no other one.
#[utoipa::path(
    post,
    path = "/sessions",
    tag = "sessions",
    responses(
        (status = 201, description = "The session: its token is told this once.", body = BegunSession),
        Refusals, BodyRefusals, Conflicting
    )
)]
pub(super) async fn begin_session(
    State(parts): State<Arc<Parts>>,
    caller: Caller,
    _: Query<Nothing>,
    _: OptionalBody<Nothing>,
) -> Result<(StatusCode, Json<BegunSession>), Problem> {
    let now = parts.now();
    // Not reachable: without them there is no such route.
    let sessions = parts.sessions.as_ref().ok_or_else(|| {
        let detail = "No sessions are given out here.";
        Problem::new(ProblemCode::NotFound, detail)
    })?;
    let token = sessions.issue_for(&caller.grant, now).map_err(refusal)?;
    let session = BegunSession {
        token: token.text,
        expires_at: token.expires_at,
    };
    Ok((StatusCode::CREATED, Json(session)))
}

fn refusal(error: SessionError) -> Problem {
    match error {
        SessionError::OfSession => Problem::new(
            ProblemCode::Forbidden,
            "A session does not begin another one.",
        )
        .with_remediation("Call with the key itself."),
        SessionError::Over => Problem::new(
            ProblemCode::Conflict,
            "The session would be over at once: the caller's credential expires within a second.",
        )
        .with_remediation("Call with a credential that lasts."),
        SessionError::TooLarge => Problem::new(
            ProblemCode::Conflict,
            "The caller has more scopes or modules than a session can carry.",
        )
        .with_remediation("Use the credential itself."),
        _ => Problem::new(ProblemCode::Internal, "The session could not be begun."),
    }
}
