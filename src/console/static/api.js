// Calls to the management API and the session. Every path is relative to the page's base address.

/// In seconds, where a service that is asked too often does not say when to come back.
const LEAST_WAIT = 10;

/// A call that did not succeed: what the service says of it, in its own words.
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail ?? body.title ?? `The service answered with status ${status}.`);
    this.status = status;
    this.code = body.code ?? "";
    this.remediation = body.remediation ?? "";
    // Over the limit: when to ask again, in milliseconds since 1970.
    this.retryAt = status === 429 ? Date.now() + 1000 * Math.max(1, Number(retryAfter) || LEAST_WAIT) : null;
    // The change came with the token of another session than the cookie's.
    this.isOfOtherSession = status === 403 && body.field === "x-csrf-token";
    // Of `modules[0]` or `scopes.1` the input is the one of the whole field.
    this.field = /^[a-z_]+/.exec(body.field ?? "")?.[0] ?? null;
  }
}

let session = null;
let skew = 0;
let whenEnded = () => {};
let whenTaken = () => {};

/// The session: `{name, key_id, role, expires_at, csrf_token}`, or null.
export const current = () => session;

/// Whether the person is an administrator, and not a manager only.
export const isAdministrator = () => session?.role === "administrator";

/// The service's time, as far as this page knows it, in milliseconds.
export const now = () => Date.now() + skew;

/// Calls `task` when the service no longer takes the session: with its problem, if it told one.
export function onEnded(task) {
  whenEnded = task;
}

/// Calls `task` when the browser's session has become somebody else's.
export function onTaken(task) {
  whenTaken = task;
}

/// That a call got no answer, and what that means.
function lost(method, headers) {
  return new Problem(0, {
    code: "unreachable",
    detail: "The service could not be reached.",
    remediation: method === "GET" ? "Check the connection. The page goes on by itself when the service is back."
      : headers["Idempotency-Key"] ? "Check the connection and try again: it is done once, however often it is sent."
      : "It is not known whether the change was made. Check the connection and try again.",
  });
}

async function send(method, path, { body, headers = {}, signal } = {}) {
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session) headers["X-CSRF-Token"] = session.csrf_token;
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", cache: "no-store", redirect: "error",
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : lost(method, headers);
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  // `Date` has whole seconds: less than that is no difference between the clocks.
  if (Number.isFinite(date)) skew = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
  if (response.ok) return response;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy in between may answer with anything: the status is what is known.
  }
  throw new Problem(response.status, problem ?? {}, response.headers.get("Retry-After"));
}

async function read(response, method, headers) {
  try {
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  } catch (error) {
    throw error.name === "AbortError" ? error : lost(method, headers);
  }
}

async function attempt(method, path, { body, ifMatch, ifNoneMatch, idempotencyKey, signal } = {}) {
  const headers = {};
  if (ifNoneMatch) headers["If-None-Match"] = ifNoneMatch;
  if (ifMatch) headers["If-Match"] = ifMatch;
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  const response = await send(method, `api/${path}`, { body, headers, signal });
  return { data: await read(response, method, headers), etag: response.headers.get("ETag") };
}

/// One call. Answers with `{data, etag}`; throws a `Problem`.
export async function call(method, path, options) {
  const sender = session;
  try {
    return await attempt(method, path, options).catch(async (problem) => {
      if (problem.isOfOtherSession && await isStill(sender)) return attempt(method, path, options);
      throw problem;
    });
  } catch (error) {
    if (error.status === 401) whenEnded(error);
    throw error;
  }
}

/// The data of a reading call.
export const get = async (path, signal) => (await call("GET", path, { signal })).data;

/// A segment of a path.
export const part = encodeURIComponent;

/// A query string of what is given.
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/// A name for one attempt, so that sending it again does not do it twice: a UUID of version 7 (RFC 9562
/// §5.7), by which the service gives a key a place among the others by its creation.
export function attemptName() {
  const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const time = Math.floor(now()).toString(16).padStart(12, "0");
  const random = crypto.getRandomValues(new Uint8Array(10));
  random[0] = 0x70 | (random[0] & 0x0f);
  random[2] = 0x80 | (random[2] & 0x3f);
  const [version, variant, node] = [random.subarray(0, 2), random.subarray(2, 4), random.subarray(4)].map(hex);
  return [time.slice(0, 8), time.slice(8), version, variant, node].join("-");
}

/// Reads the session of the cookie: null where there is none.
export async function readSession() {
  try {
    session = await read(await send("GET", "session"), "GET", {});
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    session = null;
  }
  return session;
}

/// Whether two sessions are of one person in one role.
export const isSame = (a, b) => a.key_id === b.key_id && a.role === b.role && (a.key_id !== null || a.name === b.name);

/// Reads the session of the cookie again, for another window of this browser may have signed in:
/// answers whether it is still that of the person of `known`.
export async function isStill(known) {
  const found = await readSession();
  if (found && isSame(found, known)) return true;
  if (found) whenTaken();
  else whenEnded(null);
  return false;
}

/// Signs in with a management key.
export async function signIn(key) {
  session = await read(await send("POST", "session", { body: { key } }), "POST", {});
  return session;
}

/// Forgets the session here, and tells the service.
export async function signOut() {
  try {
    if (session) await send("DELETE", "session");
  } finally {
    session = null;
  }
}

/// Forgets the session here: the service has ended it.
export function forgetSession() {
  session = null;
}

/// Opens the stream of events after `lastSeen`. Not an `EventSource`: that one tells neither why it
/// was refused nor that the heartbeats stopped.
export function openEvents(lastSeen, signal) {
  const headers = { Accept: "text/event-stream" };
  if (lastSeen !== null) headers["Last-Event-ID"] = String(lastSeen);
  return send("GET", "api/events", { headers, signal });
}
