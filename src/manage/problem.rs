//! Refusals of management calls, as the problem documents that the layer's own refusals are.

use std::fmt;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::input::shown;
use crate::{
    denial::{Denial, DenialCode},
    keys::ManageError,
    observe,
};

/// Why a management call was refused, beside the codes of [`DenialCode`](crate::DenialCode).
///
/// Nothing is changed by a refused call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemCode {
    /// 400: the body or a parameter has a field that is not known, lacks one, or has one of the wrong
    /// type; `field` names it.
    InvalidRequest,
    /// 403: this caller may not do this; most often only an administrator may.
    Forbidden,
    /// 403: keys cannot be changed here, the store or the ledger is read-only.
    ReadOnly,
    /// 404: there is no such thing; `field` names what.
    NotFound,
    /// 405: the resource does not know this method; `Allow` names those it knows.
    MethodNotAllowed,
    /// 409: it is not in a state for this.
    Conflict,
    /// 412: it was changed since it was read (RFC 9110 §13.1.1). Read it again.
    PreconditionFailed,
    /// 413: the body is over 64 KiB.
    PayloadTooLarge,
    /// 415: the body is not `application/json`.
    UnsupportedMediaType,
    /// 422: a field's value cannot be taken; `field` names it.
    InvalidField,
    /// 500: the service could not do it; nothing is known to be wrong with the call.
    Internal,
}

impl ProblemCode {
    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    fn row(self) -> Row {
        let (code, status, title, remediation) = match self {
            Self::InvalidRequest => (
                "invalid_request",
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "Correct the request as the detail says; the OpenAPI document describes it.",
            ),
            Self::Forbidden => (
                "forbidden",
                StatusCode::FORBIDDEN,
                "Not allowed",
                "Ask an administrator to do it.",
            ),
            Self::ReadOnly => (
                "read_only",
                StatusCode::FORBIDDEN,
                "Read-only",
                "Change keys where this service reads them from.",
            ),
            Self::NotFound => (
                "not_found",
                StatusCode::NOT_FOUND,
                "Not found",
                "Check the id; it may have been removed.",
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "Use one of the methods in Allow.",
            ),
            Self::Conflict => (
                "conflict",
                StatusCode::CONFLICT,
                "Conflict",
                "Read it again, and decide anew.",
            ),
            Self::PreconditionFailed => (
                "precondition_failed",
                StatusCode::PRECONDITION_FAILED,
                "Changed in the meantime",
                "Read it again, and send the change with its new ETag in If-Match.",
            ),
            Self::PayloadTooLarge => (
                "payload_too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Body too large",
                "Send at most 64 KiB.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type",
                "Send JSON, with Content-Type: application/json.",
            ),
            Self::InvalidField => (
                "invalid_field",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid field",
                "Correct the field.",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                "Try again later.",
            ),
        };
        Row {
            code,
            status,
            title,
            remediation,
        }
    }
}

struct Row {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    remediation: &'static str,
}

/// A refused management call: the problem document of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A URI that tells more of the code.
    #[schema(value_type = String)]
    r#type: Box<str>,
    /// What happened, in a few words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, in one sentence.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// Why.
    code: &'static str,
    /// What can be done about it.
    remediation: &'static str,
    /// The field, parameter or header that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    field: Option<Box<str>>,
}

impl Problem {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<Box<str>>) -> Self {
        let row = code.row();
        Self {
            r#type: format!("{DOCS}manage/enum.ProblemCode.html#variant.{code:?}").into(),
            title: row.title,
            status: row.status.as_u16(),
            detail: detail.into(),
            code: row.code,
            remediation: row.remediation,
            field: None,
        }
    }

    /// A request whose `field` cannot be read.
    pub(super) fn invalid(field: impl Into<Box<str>>, problem: impl fmt::Display) -> Self {
        let field = field.into();
        let detail = format!("{field}: {problem}.");
        Self::new(ProblemCode::InvalidRequest, detail).with_field(field)
    }

    /// A `field` whose value cannot be taken.
    pub(super) fn unprocessable(field: impl Into<Box<str>>, problem: impl fmt::Display) -> Self {
        let field = field.into();
        let detail = format!("{field} {problem}.");
        Self::new(ProblemCode::InvalidField, detail).with_field(field)
    }

    /// What only administrators may do.
    pub(super) fn forbidden(what: &str) -> Self {
        let detail = format!("Only an administrator {what}.");
        Self::new(ProblemCode::Forbidden, detail)
    }

    pub(super) fn is(&self, code: ProblemCode) -> bool {
        self.code == code.row().code
    }

    pub(super) fn with_field(mut self, field: impl Into<Box<str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(crate) fn with_remediation(mut self, remediation: &'static str) -> Self {
        self.remediation = remediation;
        self
    }

    /// An outage, which is the same wherever it is met; the change may have been made.
    fn unavailable(code: DenialCode, detail: &str) -> Self {
        let denial = Denial::new(code);
        Self {
            r#type: format!("{DOCS}enum.DenialCode.html#variant.{code:?}").into(),
            title: denial.title(),
            status: denial.status().as_u16(),
            detail: detail.into(),
            code: code.as_str(),
            remediation: "Try again. A change may have been made: what was sent with an \
                          Idempotency-Key can be sent again with the same one.",
            field: None,
        }
    }
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let own = |code| Self::new(code, sentence(&error));
        match &error {
            ManageError::NotFound(_) => {
                Self::new(ProblemCode::NotFound, "No key has this id.").with_field("id")
            }
            ManageError::UnknownModule(module) => {
                let module = shown(module.as_str());
                let detail = format!("The ledger does not know the module {module}.");
                Self::new(ProblemCode::NotFound, detail).with_field("module")
            }
            ManageError::UnknownLicense(license) => {
                let license = shown(license.as_str());
                let detail = format!("The ledger does not know the license {license}.");
                Self::new(ProblemCode::NotFound, detail).with_field("license")
            }
            ManageError::Revoked(_) => Self::new(
                ProblemCode::Conflict,
                "The key was revoked, which is for good.",
            )
            .with_remediation("Make a new key: this one stays revoked."),
            ManageError::Duplicate { field } => own(ProblemCode::Conflict).with_field(*field),
            ManageError::Conflict => own(ProblemCode::PreconditionFailed),
            ManageError::ReadOnly => own(ProblemCode::ReadOnly),
            ManageError::InvalidField { field, problem } => Self::unprocessable(*field, problem),
            ManageError::StoreUnavailable(_) => {
                observe::management_failed(&error);
                let detail = "The key store cannot be reached at the moment.";
                Self::unavailable(DenialCode::StoreUnavailable, detail)
            }
            ManageError::LedgerUnavailable(_) => {
                observe::management_failed(&error);
                let detail = "The license ledger cannot be reached at the moment.";
                Self::unavailable(DenialCode::LedgerUnavailable, detail)
            }
            ManageError::NoRandomBytes(_) => {
                observe::management_failed(&error);
                Self::new(ProblemCode::Internal, "No new key could be made.")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it came from a status");
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, content_type);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// An error's text as people write sentences.
fn sentence(error: &ManageError) -> String {
    let mut sentence = error.to_string();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    sentence + "."
}

const DOCS: &str = "https://docs.rs/tower-api-key/latest/tower_api_key/";
