//! Signing in and out: a session in a cookie that no script can read.

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE},
    request,
};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::Sessions;
use crate::{
    clock::Timestamp,
    grant::Grant,
    jwt::SessionError,
    key_store::KeyId,
    manage::{
        Parts, Role,
        caller::{self, Caller},
        input,
        problem::{Problem, ProblemCode},
    },
};

/// Who signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// A key that may manage, or a session token of one.
    #[serde(deserialize_with = "wiped")]
    key: Zeroizing<String>,
}

/// Wiped when it is dropped, also where what follows it cannot be read.
fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

/// Who is signed in.
#[derive(Serialize)]
struct SignedIn {
    name: String,
    key_id: Option<KeyId>,
    role: Role,
    /// The first instant at which the session is over.
    expires_at: Option<Timestamp>,
    /// What a change is to be sent with, in `X-CSRF-Token`.
    csrf_token: Option<String>,
    /// The path of a route to try a key on.
    #[serde(skip_serializing_if = "Option::is_none")]
    example_path: Option<String>,
}

/// Begins a session with a key that may manage, and leaves it in a cookie.
pub(super) async fn sign_in(
    State(sessions): State<Sessions>,
    request: Request,
) -> Result<Response, Response> {
    let parts = &*sessions.parts;
    let (head, body) = request.into_parts();
    let mut body = Request::new(body);
    for name in [CONTENT_LENGTH, CONTENT_TYPE] {
        if let Some(value) = head.headers.get(&name) {
            body.headers_mut().insert(name, value.clone());
        }
    }
    let signing_in = input::Body::from_request(body, &()).await;
    let input::Body(SignIn { key }) = signing_in.map_err(IntoResponse::into_response)?;
    let caller = judge(parts, head, Some(&key)).await?;
    let session = begin(parts, &caller.grant, key);
    let (text, expires_at) = session.map_err(IntoResponse::into_response)?;
    let seconds = expires_at.saturating_since(parts.now().wall).as_secs();
    let cookie = parts.cookie.set(&text, seconds);
    let answer = SignedIn::new(&caller, Some(expires_at), Some(&text), &sessions);
    Ok((StatusCode::CREATED, [(SET_COOKIE, cookie)], Json(answer)).into_response())
}

/// Who is signed in.
pub(super) async fn read(
    State(sessions): State<Sessions>,
    request: Request,
) -> Result<Response, Response> {
    let parts = &*sessions.parts;
    let (head, _) = request.into_parts();
    let session = parts.cookie.session(&head.headers);
    let session = session.as_deref().map(String::as_str);
    let caller = judge(parts, head, session).await?;
    let expires_at = caller.grant.expires_at();
    Ok(Json(SignedIn::new(&caller, expires_at, session, &sessions)).into_response())
}

/// Forgets the session.
pub(super) async fn sign_out(State(Sessions { parts, .. }): State<Sessions>) -> Response {
    let cookie = parts.cookie.set("", 0);
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}

/// No answer here is for anybody else, or for later.
pub(super) async fn unstored(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// The caller behind `text`, where he may manage.
async fn judge(
    parts: &Parts,
    head: request::Parts,
    text: Option<&str>,
) -> Result<Caller, Response> {
    let request = Request::from_parts(head, Body::empty());
    let judged = parts.gate.judge(request, text).await;
    let (request, _) = judged.map_err(|answer| answer.map(Body::from))?;
    let (_, caller) = parts.caller_of(request).await?;
    Ok(caller)
}

/// A session that fits into a cookie, of who was granted.
fn begin(
    parts: &Parts,
    grant: &Grant,
    text: Zeroizing<String>,
) -> Result<(Zeroizing<String>, Timestamp), Problem> {
    let session = session_of(parts, grant, text)?;
    match session.0.len() {
        0..=LONGEST_COOKIE => Ok(session),
        _ => {
            let detail = "The session is longer than what browsers keep in a cookie.";
            let problem = Problem::new(ProblemCode::Conflict, detail);
            let remedy = "Sign in with a key, or with a token of fewer scopes and modules.";
            Err(problem.with_remediation(remedy))
        }
    }
}

/// A session of who was granted, or the one that he came with.
fn session_of(
    parts: &Parts,
    grant: &Grant,
    text: Zeroizing<String>,
) -> Result<(Zeroizing<String>, Timestamp), Problem> {
    if grant.is_session()
        && let Some(expires_at) = grant.expires_at()
    {
        return Ok((text, expires_at));
    }
    let sessions = parts.sessions.as_ref();
    let sessions = sessions.expect("a console is only made where there are sessions");
    match sessions.issue_for(grant, parts.now()) {
        Ok(token) => {
            let text = Zeroizing::new(token.text.expose().to_owned());
            Ok((text, token.expires_at))
        }
        Err(error @ SessionError::Over) => Err(Problem::new(
            ProblemCode::Conflict,
            format!("Your key: {error}."),
        )),
        Err(error) => Err(Problem::new(
            ProblemCode::Internal,
            format!("No session: {error}."),
        )),
    }
}

impl SignedIn {
    fn new(
        caller: &Caller,
        expires_at: Option<Timestamp>,
        session: Option<&str>,
        sessions: &Sessions,
    ) -> Self {
        let name = match caller.grant.name() {
            "" => caller.grant.principal(),
            name => name,
        };
        Self {
            name: name.to_owned(),
            key_id: caller.grant.key_id(),
            role: caller.role,
            expires_at,
            csrf_token: session.map(caller::csrf_token),
            example_path: sessions.example_path.as_deref().map(str::to_owned),
        }
    }
}

/// Bytes: with its name and attributes below the 4,096 that every browser keeps (RFC 6265 §6.1).
const LONGEST_COOKIE: usize = 3_800;
