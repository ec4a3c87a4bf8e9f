// The stream of events: what happened anywhere, within a moment, and whether it can be heard.

import { openEvents } from "./api.js";

/// Without a heartbeat for this long a connection counts as lost (the service sends one each 15 s).
const SILENCE = 40_000;
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
/// Over HTTP/1.1 a browser opens six connections to a host, and a stream takes one: so long after it is
/// hidden a page gives its own back, and those in view have them.
const HIDDEN_AFTER = 5_000;
/// Why a stream was given back, and not lost.
const RESTING = "nobody looks";

const listeners = new Set();
let running = null;

/// Calls `task` with each event; answers with what ends that.
export function onEvent(task) {
  listeners.add(task);
  return () => listeners.delete(task);
}

/// Follows the events until `stop`. `told` learns of the connection: `{up, retryAt}`, with `anew` where
/// what was known before may never have been, and with `limited`, the problem, where the service was asked
/// too often; `{resting}` while nobody looks; or `{ended}`, the problem why nothing is told any more.
export function follow(told) {
  stop();
  const run = { over: false, resting: false, lastSeen: null, wake: null, told };
  running = run;
  seen();
  keepOpen(run);
}

/// Ends the stream.
export function stop() {
  if (!running) return;
  running.over = true;
  running.abort?.abort();
  running.wake?.();
  running = null;
}

/// Tries again at once.
export function retryNow() {
  running?.wake?.();
}

let hiding = null;

/// Rests while nobody can see the page; goes on where it stopped.
function seen() {
  clearTimeout(hiding);
  if (!running) return;
  if (document.hidden) {
    hiding = setTimeout((run) => {
      run.resting = true;
      run.abort?.abort(RESTING);
    }, HIDDEN_AFTER, running);
  } else {
    running.resting = false;
    retryNow();
  }
}

addEventListener("online", retryNow);
document.addEventListener("visibilitychange", seen);

async function keepOpen(run) {
  let failures = 0;
  let anew = false;
  while (!run.over) {
    if (run.resting) {
      run.told({ resting: true });
      await new Promise((wake) => { run.wake = wake; });
      continue;
    }
    let problem = null;
    let opened = 0;
    run.closing = null;
    try {
      await readStream(run, () => {
        failures = 0;
        opened = Date.now();
        run.told({ up: true, anew });
        anew = false;
      });
    } catch (error) {
      problem = error;
    }
    if (run.over) return;
    if (run.abort.signal.reason === RESTING) continue;
    if (problem?.status === 401 || problem?.status === 403) return run.told({ up: false, ended: problem });
    // The log is shorter than what was seen of it, so it is another one: that of a backup, most likely.
    if (problem?.status === 400 && run.lastSeen !== null) {
      run.lastSeen = null;
      anew = true;
      continue;
    }
    // The service ends a stream to judge anew who reads it: that is no loss.
    if (run.closing && run.closing !== "shutting_down" && Date.now() - opened > FIRST_WAIT) continue;
    failures += 1;
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1));
    // A service that comes back is not asked by all its pages in the same instant.
    const limited = problem?.retryAt ? problem : null;
    const wait = limited ? limited.retryAt - Date.now() : longest * (0.5 + Math.random() / 2);
    run.told({ up: false, retryAt: Date.now() + wait, limited });
    await new Promise((wake) => {
      run.wake = wake;
      setTimeout(wake, wait);
    });
    run.wake = null;
  }
}

async function readStream(run, opened) {
  const abort = new AbortController();
  run.abort = abort;
  let watch = setTimeout(() => abort.abort(), SILENCE);
  try {
    const response = await openEvents(run.lastSeen, abort.signal);
    opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), SILENCE);
      const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
      text = blocks.pop();
      for (const block of blocks) take(run, block);
    }
  } finally {
    clearTimeout(watch);
    abort.abort();
  }
}

function take(run, block) {
  const field = (name) => block.split("\n")
    .filter((line) => line.startsWith(`${name}:`))
    .map((line) => line.slice(name.length + 1).replace(/^ /, ""));
  run.lastSeen = field("id")[0] ?? run.lastSeen;
  const data = field("data").join("\n");
  if (!data) return;
  const event = JSON.parse(data);
  if (field("event")[0] === "closing") run.closing = event.reason;
  else for (const listener of listeners) listener(event);
}
