"""What the calls that schemathesis makes have in common."""

import uuid

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    """Not the key that the calls are made with: it is not to be deleted, revoked or disabled."""
    return (case.path_parameters or {}).get("id") != "administrator" or case.method == "GET"


@schemathesis.hook
def map_body(context, body):
    """A new key's expiry is in the future, which no schema can say."""
    if context.operation.label == "POST /keys" and isinstance(body, dict):
        if isinstance(body.get("expires_at"), str) and body["expires_at"][:1] in "012":
            body = {**body, "expires_at": "2999-12-31"}
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    """Each call is one of its own, and no other one made again."""
    if case.headers and case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
