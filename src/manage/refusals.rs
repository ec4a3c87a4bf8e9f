//! What the OpenAPI document says of refusals.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses, ToSchema,
    openapi::{Content, Ref, RefOr, Response, ResponseBuilder},
};

use super::problem::Problem;

/// What any call may be refused with.
pub(super) struct Refusals;
/// What a call with a body may be refused with too.
pub(super) struct BodyRefusals;
/// What a call with parameters that have bounds may be refused with too.
pub(super) struct Unprocessable;
/// What a call on a thing that may not be there may be refused with too.
pub(super) struct Missing;
/// What a call on a thing that may not be in a state for it may be refused with too.
pub(super) struct Conflicting;
/// What a call with `If-Match` may be refused with too.
pub(super) struct Stale;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented([
            (
                400,
                "The request cannot be read, and `field` names what cannot (`invalid_request`); or the \
                 layer cannot tell what is asked for or by whom (`multiple_credentials`, \
                 `ambiguous_path`).",
            ),
            (
                401,
                "No credential, or one that is of no use; `code` says which.",
            ),
            (
                403,
                "The caller may not manage (`module_access_missing` and what else a route refuses \
                 with), or may not do this (`forbidden`); or nobody can change anything here \
                 (`read_only`).",
            ),
            (
                429,
                "The caller's quota is used up, or all the streams are open that it may have; \
                 `Retry-After` says when to try again.",
            ),
            (500, "The service could not do it."),
            (
                503,
                "The store, the ledger or the limiter cannot be reached; `Retry-After` says when to \
                 try again.",
            ),
        ])
    }
}

impl IntoResponses for BodyRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented([
            (413, "The body is over 64 KiB."),
            (415, "The body is not `application/json`."),
            (422, "A value cannot be taken; `field` names whose."),
        ])
    }
}

impl IntoResponses for Unprocessable {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented([(422, "A value cannot be taken; `field` names whose.")])
    }
}

impl IntoResponses for Missing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented([(404, "There is no such thing; `field` names what.")])
    }
}

impl IntoResponses for Conflicting {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented([(409, "It is not in a state for this.")])
    }
}

impl IntoResponses for Stale {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented([(
            412,
            "It was changed since it was read: `If-Match` names no entity tag that it has now.",
        )])
    }
}

fn documented<const N: usize>(
    refusals: [(u16, &'static str); N],
) -> BTreeMap<String, RefOr<Response>> {
    let problem = || Content::new(Some(Ref::from_schema_name(Problem::name())));
    let refusals = refusals.into_iter().map(|(status, description)| {
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", problem())
            .build();
        (status.to_string(), response.into())
    });
    refusals.collect()
}
