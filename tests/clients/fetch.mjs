// Node's fetch against the example hub; scripts/clients starts it and sets the environment.

const { HUB, LAUNCHER, LINO, REALMS } = process.env;
const engines = `${HUB}/api/rest/v1/engines`;
let failures = 0;

function equal(fact, found, expected) {
  if (JSON.stringify(found) === JSON.stringify(expected)) {
    console.log(`ok: fetch: ${fact}`);
  } else {
    failures += 1;
    console.log(`not ok: fetch: ${fact}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(found)}`);
  }
}

async function call(url, init = {}) {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000), ...init });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
}

const bearer = (key) => ({ Authorization: `Bearer ${key}`, "Content-Type": "application/json" });

let answer = await call(`${HUB}/v1/realms`, { headers: bearer(REALMS) });
equal("the seed's code lists realms", [answer.status, answer.body[0].id], [200, "realm-1"]);

answer = await call(engines, { headers: { "X-API-Key": LAUNCHER } });
equal("a key in the header is granted", [answer.status, answer.body[0].id], [200, "engine-1"]);
equal("a grant varies by credential", answer.headers.get("vary"), "x-api-key, authorization");

answer = await call(`${engines}?${new URLSearchParams({ api_key: LAUNCHER })}`);
equal("a key in the query is granted", answer.status, 200);

answer = await call(engines);
equal("no key is refused", [answer.status, answer.body.code], [401, "missing_credential"]);
equal("the detail is the seed's", answer.body.detail, "API Key is missing or invalid.");
equal("a refusal is a problem document", answer.headers.get("content-type"), "application/problem+json");
equal(
  "there are two challenges",
  answer.headers.get("www-authenticate"),
  'Bearer realm="hub", ApiKey realm="hub", header="X-API-Key"',
);

answer = await call(`${HUB}/v1/realms`, { headers: bearer("your-api-key-here") });
equal("the placeholder is refused", [answer.status, answer.body.code], [401, "invalid_key"]);

answer = await call(engines, { headers: { "X-API-Key": LINO } });
equal("a foreign module is refused", [answer.status, answer.body.code, answer.body.module], [
  403,
  "module_access_missing",
  "launcher",
]);

const twice = new Headers();
twice.append("X-API-Key", LAUNCHER);
twice.append("Authorization", `Bearer ${LAUNCHER}`);
answer = await call(engines, { headers: twice });
equal("two credentials are refused", [answer.status, answer.body.code], [400, "multiple_credentials"]);

const profile = { method: "PUT", headers: bearer(REALMS), body: JSON.stringify({ display_name: "Zoë" }) };
answer = await call(`${HUB}/v1/profile`, profile);
equal("a profile is written", [answer.status, answer.body.display_name], [200, "Zoë"]);
answer = await call(`${HUB}/v1/profile`, { headers: bearer(REALMS) });
equal("a profile is read", [answer.status, answer.body.display_name], [200, "Zoë"]);

process.exit(failures === 0 ? 0 : 1);
