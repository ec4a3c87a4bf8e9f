// Where the page begins: the session, the routes, the shortcuts.

import { current, forgetSession, isSame, isStill, now, onEnded, onTaken, readSession, signOut } from "./api.js";
import { activityPage } from "./activity.js";
import { closeAll } from "./dialog.js";
import { buildFrame } from "./frame.js";
import { keyPage } from "./key.js";
import { keysPage } from "./keys.js";
import { licensePage } from "./license.js";
import { licensesPage } from "./licenses.js";
import { follow, stop } from "./live.js";
import { forgetAll } from "./names.js";
import { makeRunner } from "./runner.js";
import { showHelp, useShortcuts } from "./shortcuts.js";
import { showSignIn } from "./sign_in.js";
import { button, problemBox, toast } from "./ui.js";
import { h } from "./dom.js";
import { exactly } from "./words.js";

const ROUTES = [
  [/^#\/keys$/, "keys", keysPage],
  [/^#\/keys\/([^/]+)$/, "keys", keyPage],
  [/^#\/licenses$/, "licenses", licensesPage],
  [/^#\/licenses\/([^/]+)$/, "licenses", licensePage],
  [/^#\/activity(?:\?(.*))?$/, "activity", activityPage],
];
const ENDED = "Your session has ended. Sign in again to go on where you were.";

const app = document.getElementById("app");
let frame = null;
/// The session that the frame was built for.
let shown = null;
let runner = null;

/// Where each entry of the browser's history was scrolled to, by the number that it carries: one
/// that no earlier loading of the page has given.
const scrolled = new Map();
let entry = 0;
let entries = Date.now();
// The page is not there yet when a browser would scroll it.
history.scrollRestoration = "manual";

/// Notes where the page that is left was; answers with where that of the address was, if it was there before.
function turn() {
  scrolled.set(entry, scrollY);
  const known = history.state?.entry;
  entry = scrolled.has(known) ? known : (entries += 1);
  if (entry !== known) history.replaceState({ entry }, "");
  return scrolled.get(entry) ?? 0;
}

function route() {
  if (!frame) return;
  closeAll();
  for (const [pattern, section, page] of ROUTES) {
    const found = pattern.exec(location.hash);
    if (!found) continue;
    frame.section(section);
    runner.open(page({ reload: runner.reload, render: runner.render }, decode(found[1])), turn());
    return;
  }
  location.replace("#/keys");
}

function decode(text) {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return text;
  }
}

function start() {
  leave();
  shown = current();
  frame = buildFrame(app, { signOut: () => end(null, true), ended: timeIsOver, help: showHelp });
  runner ??= makeRunner((title) => { document.title = `${title} · API Console`; });
  runner.moveTo(frame.main);
  follow((state) => {
    if (state.ended) return end(ended(state.ended));
    frame?.connection(state);
    if (state.anew) forgetAll();
    // Whatever happened while nobody listened is read now.
    if (state.up) runner.reload();
  });
  route();
}

/// Somebody else has signed in in another window: the session, and so the page, is theirs.
function taken() {
  // Of several calls each may find it.
  if (!frame || isSame(shown, current())) return;
  start();
  toast(["This browser is now signed in as ", h("bdi", null, current().name), "."], { tone: "bad", more: "That was done in another window. What was being changed here is not saved." });
}

/// The session is over, unless another window of this browser has begun one since.
async function timeIsOver() {
  const found = await readSession().catch(() => null);
  if (found && Date.parse(found.expires_at) > now()) taken();
  else end(ENDED);
}

function leave() {
  stop();
  runner?.close();
  frame?.stop();
  frame = null;
  closeAll();
}

/// Why the service no longer takes the session: a key may have lost what it needs to be here.
function ended(problem) {
  if (!problem) return ENDED;
  const { status, code, message, remediation } = problem;
  const isKeys = status === 403 || ["revoked_key", "disabled_key", "expired_key"].includes(code);
  // The sentence for a missing module has no full stop.
  return isKeys ? `${message.replace(/\.$/, "")}. ${remediation}` : ENDED;
}

async function end(why, chosen = false) {
  if (!frame) return;
  const { expires_at: until } = current() ?? shown;
  leave();
  forgetAll();
  if (chosen) {
    await signOut().catch(() => {
      why = `The service could not be told: the session in this browser lasts until ${exactly(until)}.`;
    });
  } else {
    forgetSession();
  }
  showSignIn(app, why, start);
}

async function boot() {
  try {
    if (await readSession()) start();
    else showSignIn(app, null, start);
  } catch (problem) {
    app.replaceChildren(h("main.sign-in", { id: "main" }, problemBox(problem, button("Try again", { drawing: "refresh", onclick: boot }))));
  }
}

addEventListener("hashchange", route);
// A fragment is resolved against the page's base address, which is not always the page's own.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#/"]');
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  location.hash = link.getAttribute("href");
});
onEnded((problem) => end(ended(problem)));
onTaken(taken);
document.addEventListener("visibilitychange", () => {
  // What cannot be asked now is found out by the next change.
  if (!document.hidden && frame) isStill(shown).catch(() => {});
});
document.getElementById("skip").addEventListener("click", (event) => {
  // The fragment is the page's route: the link moves the focus only.
  event.preventDefault();
  document.getElementById("main")?.focus();
});
useShortcuts(() => Boolean(current() && frame));
boot();
