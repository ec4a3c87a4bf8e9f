//! The OpenAPI document, made from the calls themselves.

use axum::{
    Extension,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use super::{
    Parts,
    input::{Nothing, Query},
    refusals::Refusals,
};
use crate::{key_store::Environment, openapi::SecuritySchemes};

/// The document as it is sent.
#[derive(Clone)]
pub(super) struct Document(Bytes);

/// Read this document
///
/// OpenAPI 3.1 of all calls, with the ways to send a credential.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "openapi",
    responses((status = 200, description = "The document.", body = Object), Refusals),
)]
pub(super) async fn read_openapi(
    Extension(Document(document)): Extension<Document>,
    _: Query<Nothing>,
) -> Response {
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

/// All calls of the router, as the layer's clients find them.
pub(super) fn document(calls: &OpenApi, parts: &Parts) -> Value {
    let mut document = serde_json::to_value(calls).expect("the document has texts for names");
    document["openapi"] = "3.1.0".into();
    document["info"] = json!({
        "title": "API key management",
        "description": "Keys, their modules, and the license seats they hold. A caller is an \
            administrator, or has the module rest_api_management. Instants are RFC 3339 in UTC; \
            refusals are problem documents (RFC 9457).",
        "version": env!("CARGO_PKG_VERSION"),
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
    });
    if let Some(admitted) = &parts.gate.gate.environments {
        document["components"]["schemas"]["NewKey"]["properties"]["environment"] = json!({
            "type": "string",
            "enum": admitted,
            "default": Environment::live(),
            "description": "What it is for.",
        });
    }
    // RFC 3986 §4.2: relative to where the document is, so it is right wherever the router is nested.
    document["servers"] = json!([{"url": "."}]);
    let cookie = json!({
        "type": "apiKey",
        "in": "cookie",
        "name": parts.cookie.name(),
        "description": "A console's session. A change needs its csrf_token in X-CSRF-Token.",
    });
    SecuritySchemes::of(&parts.gate.gate.carriers)
        .with("consoleSession", cookie)
        .add_to(&mut document);
    document
}

impl Document {
    pub(super) fn new(document: &Value) -> Self {
        Self(document.to_string().into())
    }
}
