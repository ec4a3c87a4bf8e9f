"""What the calls that schemathesis makes have in common."""

import itertools
import os
import uuid

import requests
import schemathesis

KEYS = itertools.count()
ASSIGN = "PUT /keys/{id}/modules/{module}"
REGENERATE = "POST /keys/{id}/regenerate"


@schemathesis.hook
def filter_case(context, case):
    """Not the key that the calls are made with: it is not to be deleted, revoked or disabled."""
    return (case.path_parameters or {}).get("id") != "administrator" or case.method == "GET"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Each call is one of its own, and some are about what is there."""
    if case.headers and case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    # A new key's expiry is in the future, which no schema can say.
    if case.operation.label == "POST /keys" and isinstance(case.body, dict):
        expiry = case.body.get("expires_at")
        if isinstance(expiry, str) and expiry[:1] in {"0", "1", "2"}:
            case.body["expires_at"] = "2999-12-31"
    # What exists is seldom found by chance.
    if case.operation.label in (ASSIGN, REGENERATE) and next(KEYS) % 4 == 0:
        case.path_parameters["id"] = some_key()
        if case.operation.label == ASSIGN:
            case.path_parameters["module"] = "launcher"


def some_key():
    """One that is neither the calls' own nor revoked."""
    answer = requests.get(
        os.environ["HUB"] + "/manage/v1/keys?limit=500",
        headers={"X-API-Key": os.environ["HUB_ADMIN_KEY"]},
        timeout=10,
    )
    keys = answer.json()["items"]
    usable = [key["id"] for key in keys if not key["revoked_at"] and not key["administrator"]]
    return next(iter(usable), "none")
