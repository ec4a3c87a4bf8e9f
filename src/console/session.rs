//! Signing in and out: a session in a cookie that no script can read.

use axum::{
    Json,
    body::Body as ResponseBody,
    extract::{FromRequest, OriginalUri, Request, State},
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
    answers::RefusedRequest,
    clock::Timestamp,
    credential::Presented,
    grant::Grant,
    jwt::SessionError,
    key_store::KeyId,
    manage::{
        Parts, Role,
        caller::{self, Caller},
        input::Body,
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
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Response {
    let parts = &*sessions.parts;
    let (head, body) = request.into_parts();
    let mut body = Request::new(body);
    for name in [CONTENT_LENGTH, CONTENT_TYPE] {
        if let Some(value) = head.headers.get(&name) {
            body.headers_mut().insert(name, value.clone());
        }
    }
    let Body(SignIn { key }) = match Body::from_request(body, &()).await {
        Ok(body) => body,
        Err(problem) => return unstored(problem.into_response()),
    };
    let caller = match judge(parts, head, Some(&key)).await {
        Ok(caller) => caller,
        Err(response) => return unstored(response),
    };
    let (text, expires_at) = match begin(parts, &caller.grant, key) {
        Ok(session) => session,
        Err(problem) => return unstored(problem.into_response()),
    };
    if text.len() > LONGEST_COOKIE {
        let detail = "The session is longer than what browsers keep in a cookie.";
        let problem = Problem::new(ProblemCode::Conflict, detail)
            .with_remediation("Sign in with a key, or with a token of fewer scopes and modules.");
        return unstored(problem.into_response());
    }
    let seconds = expires_at.saturating_since(parts.now().wall).as_secs();
    let cookie = parts.cookie.set(&text, mount(uri.path()), seconds);
    let answer = SignedIn::new(&caller, Some(expires_at), Some(&text), &sessions);
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    response.headers_mut().insert(SET_COOKIE, cookie);
    unstored(response)
}

/// Who is signed in.
pub(super) async fn read(State(sessions): State<Sessions>, request: Request) -> Response {
    let parts = &*sessions.parts;
    let (head, _) = request.into_parts();
    let session = parts.cookie.session(&head.headers);
    let session = session.as_deref().map(String::as_str);
    unstored(match judge(parts, head, session).await {
        Ok(caller) => {
            let expires_at = caller.grant.expires_at();
            Json(SignedIn::new(&caller, expires_at, session, &sessions)).into_response()
        }
        Err(response) => response,
    })
}

/// Forgets the session.
pub(super) async fn sign_out(
    State(Sessions { parts, .. }): State<Sessions>,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let cookie = parts.cookie.set("", mount(uri.path()), 0);
    response.headers_mut().insert(SET_COOKIE, cookie);
    unstored(response)
}

/// The caller behind `text`, where he may manage.
async fn judge(
    parts: &Parts,
    head: request::Parts,
    text: Option<&str>,
) -> Result<Caller, Response> {
    let request = Request::from_parts(head, ResponseBody::empty());
    let judged = parts.gate.judge(request, text).await;
    let (request, _) = judged.map_err(|answer| answer.map(ResponseBody::from))?;
    let grant: Option<Grant> = request.extensions().get().cloned();
    let grant = grant.ok_or_else(|| {
        let detail = "The request passed without a caller.";
        Problem::new(ProblemCode::Internal, detail).into_response()
    })?;
    parts.caller(grant).await.map_err(|denial| {
        let refused = RefusedRequest::new(&request, &Presented::Nothing);
        let answer = parts.gate.answers.answer(denial, refused);
        answer.map(ResponseBody::from)
    })
}

/// A session of who was granted, or the one that he came with.
fn begin(
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

/// Where the console is, by the path of its `session`.
fn mount(path: &str) -> &str {
    match path.strip_suffix("/session") {
        None | Some("") => "/",
        Some(mount) => mount,
    }
}

/// Bytes: with its name and attributes below the 4,096 that every browser keeps (RFC 6265 §6.1).
const LONGEST_COOKIE: usize = 3_800;

fn unstored(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}
