"""Python's requests against the example hub; scripts/clients starts it and sets the environment."""

import os
import sys

import requests

HUB, LAUNCHER, LINO, REALMS = (os.environ[name] for name in ("HUB", "LAUNCHER", "LINO", "REALMS"))
ENGINES = f"{HUB}/api/rest/v1/engines"
failures = 0


def check(fact, response, code, /, **expected):
    """The status, and members of the JSON document, are as expected."""
    global failures
    found = {name: response.json().get(name) for name in expected} if expected else {}
    if response.status_code == code and found == expected:
        print(f"ok: requests: {fact}")
    else:
        failures += 1
        text = f"{response.status_code} {response.headers} {response.text}"
        print(f"not ok: requests: {fact}: expected {code} {expected}, got {text}")


def equal(fact, found, expected):
    global failures
    if found == expected:
        print(f"ok: requests: {fact}")
    else:
        failures += 1
        print(f"not ok: requests: {fact}: expected {expected!r}, got {found!r}")


def bearer(key):
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


session = requests.Session()
session.request = lambda *given, **named: requests.Session.request(session, *given, timeout=10, **named)

answer = session.get(f"{HUB}/v1/realms", headers=bearer(REALMS))
check("the seed's code lists realms", answer, 200)
equal("a list of realms comes back", [realm["id"] for realm in answer.json()][:2], ["realm-1", "realm-2"])

answer = session.get(ENGINES, headers={"X-API-Key": LAUNCHER})
check("a key in the header is granted", answer, 200)
equal("a grant is kept out of shared caches", answer.headers["Cache-Control"], "private")
check("a key in the query is granted", session.get(ENGINES, params={"api_key": LAUNCHER}), 200)

answer = session.get(ENGINES)
check(
    "no key is refused", answer, 401,
    code="missing_credential", detail="API Key is missing or invalid.", status=401,
)
equal("a refusal is a problem document", answer.headers["Content-Type"], "application/problem+json")
equal("a refusal is not stored", answer.headers["Cache-Control"], "no-store")
equal(
    "there are two challenges", answer.raw.headers.getlist("WWW-Authenticate"),
    ['Bearer realm="hub"', 'ApiKey realm="hub", header="X-API-Key"'],
)
check(
    "the placeholder is refused", session.get(f"{HUB}/v1/realms", headers=bearer("your-api-key-here")),
    401, code="invalid_key",
)
check("Basic is no credential of ours", session.get(ENGINES, auth=("user", LAUNCHER)), 401, code="missing_credential")
check(
    "a foreign module is refused", session.get(ENGINES, headers={"X-API-Key": LINO}), 403,
    code="module_access_missing", module="launcher",
    detail="API Key does not have access to required module resource",
)

answer = session.post(f"{HUB}/v1/realms", headers=bearer(REALMS), json={"name": "Dünen"})
check("a realm is created", answer, 201, name="Dünen")
realm = f"{HUB}{answer.headers['Location']}"
check("a realm is downloaded", session.get(f"{realm}/download", headers=bearer(REALMS)), 200, name="Dünen")
check(
    "a key without the scope does not delete", session.delete(realm, headers=bearer(LINO)), 403,
    code="insufficient_scope", missing_scopes=["delete:realms"],
)
check("a realm is deleted", session.delete(realm, headers=bearer(REALMS)), 204)
check("a deleted realm is gone", session.delete(realm, headers=bearer(REALMS)), 404, status=404)

sys.exit(failures != 0)
