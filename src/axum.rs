//! axum: [`Grant`] as an extractor, and what axum's extensions tell about a request.
//!
//! `Grant` is extracted where the layer granted the request; where the route is for anonymous
//! callers and none identified himself, the answer is 401, and where no layer ran it is 500, never a
//! default. `Option<Grant>` is nothing for who did not identify himself, and 500 all the same where
//! no layer ran.
//!
//! ```
//! use tower_api_key::Grant;
//! async fn handler(grant: Grant) -> String {
//!     format!("hello, {}", grant.name())
//! }
//! async fn greeting(grant: Option<Grant>) -> String {
//!     grant.map_or_else(|| "hello".to_owned(), |grant| format!("hello, {}", grant.name()))
//! }
//! # let _: axum::Router = axum::Router::new()
//! #     .route("/", axum::routing::get(handler))
//! #     .route("/greeting", axum::routing::get(greeting));
//! ```

use std::net::SocketAddr;

use axum::{
    body::Body,
    extract::{
        ConnectInfo, FromRequestParts, MatchedPath, NestedPath, OptionalFromRequestParts,
        OriginalUri,
    },
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderMap, Uri, request::Parts};

use crate::{
    answers::{self, RefusedRequest},
    denial::DenialCode,
    grant::{Grant, Nobody},
};

pub(crate) fn connect_info(extensions: &Extensions) -> Option<SocketAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0)
}

pub(crate) fn matched_path(extensions: &Extensions) -> Option<&str> {
    extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}

pub(crate) fn nested_path(extensions: &Extensions) -> Option<&str> {
    extensions.get::<NestedPath>().map(NestedPath::as_str)
}

pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    extensions.get::<OriginalUri>().map(|original| &original.0)
}

pub(crate) fn replace_original_uri(extensions: &mut Extensions, uri: Uri) {
    extensions.insert(OriginalUri(uri));
}

/// Why there is no [`Grant`] for a handler.
#[derive(Debug)]
#[non_exhaustive]
pub enum GrantRejection {
    /// The layer let the request pass without a caller, and the handler asks for one: 401.
    Nobody(Box<Response>),
    /// No layer ran before the handler: 500.
    NotGated,
}

impl IntoResponse for GrantRejection {
    fn into_response(self) -> Response {
        match self {
            Self::Nobody(response) => *response,
            Self::NotGated => answers::not_gated(&HeaderMap::new()).map(Body::from),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Grant {
    type Rejection = GrantRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, GrantRejection> {
        if let Some(grant) = parts.extensions.get::<Self>() {
            return Ok(grant.clone());
        }
        let Nobody { answers, .. } = parts.extensions.get().ok_or(GrantRejection::NotGated)?;
        let denial = DenialCode::MissingCredential.into();
        let answer = answers.answer(denial, RefusedRequest::of_parts(parts));
        Err(GrantRejection::Nobody(Box::new(answer.map(Body::from))))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Grant {
    type Rejection = GrantRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, GrantRejection> {
        match parts.extensions.get::<Self>() {
            Some(grant) => Ok(Some(grant.clone())),
            None if parts.extensions.get::<Nobody>().is_some() => Ok(None),
            None => Err(GrantRejection::NotGated),
        }
    }
}
