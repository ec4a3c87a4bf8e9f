// Shows one page at a time, and keeps what it shows true.

import { h, patch } from "./dom.js";
import { onEvent } from "./live.js";
import { forget } from "./names.js";
import { plain } from "./sentences.js";
import { atClock, count } from "./words.js";
import { announce, button, notice, pageHead, problemBox, skeleton } from "./ui.js";

/// Events that come in a row are one reading of the page: those of one operation come together, and
/// there is at most one reading in the longer time.
const TOGETHER = 30;
const COALESCE = 250;
/// What no event tells of (a key's last use, `5 min ago`) is read again this often.
const REFRESH = 30_000;

/// Makes the runner. A page is `{title, load(signal), view(data)}` and shown in the element that
/// `moveTo` names.
export function makeRunner(renamed) {
  let main = null;
  let page = null;
  let data = null;
  let failed = null;
  let abort = null;
  let loading = false;
  let again = false;
  let timer = null;
  /// That the service was asked too often: nothing is asked again before it says so.
  let limit = null;
  let waiting = null;
  let heard = [];
  let lastHeard = -COALESCE;
  let arriving = false;
  let place = 0;

  function render() {
    if (!page) return;
    // That nothing can be reached is what the frame's banner says.
    const shownProblem = failed && failed.code !== "unreachable" && box(failed);
    if (data !== null) patch(main, shownProblem, page.view(data));
    else if (failed?.status === 404 && page.gone) patch(main, page.gone());
    else if (failed) patch(main, pageHead({ title: page.title }), box(failed));
    else patch(main, pageHead({ title: page.title }), skeleton(), h("p.unseen", { role: "status" }, "Loading…"));
    renamed(page.name?.(data) ?? page.title);
  }

  /// What went wrong, and how it goes on: where the service was asked too often, by waiting.
  const box = (problem) => (problem.retryAt
    ? notice("warn", "clock", h("p", { role: "status", "data-test": "over-the-limit" }, h("strong", null, "Over the limit. "), `${problem.message} This page goes on by itself at ${atClock(problem.retryAt)}.`))
    : problemBox(problem, button("Try again", { drawing: "refresh", onclick: reload })));

  async function reload() {
    // The stream may open before the first page does.
    if (!page) return;
    if (limit && Date.now() < limit.retryAt) {
      failed = limit;
      return render();
    }
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    const shown = page;
    const { signal } = (abort = new AbortController());
    try {
      const fresh = await shown.load(signal);
      if (shown !== page) return;
      data = fresh;
      failed = null;
    } catch (error) {
      if (shown !== page || error.name === "AbortError" || error.status === 401) return;
      failed = error;
      if (error.retryAt) {
        limit = error;
        clearTimeout(waiting);
        waiting = setTimeout(reload, error.retryAt - Date.now() + 1);
      }
      if (error.status === 404) data = null;
      if (!error.status && error.code !== "unreachable") throw error;
    } finally {
      if (shown === page) {
        loading = false;
        if (page) render();
        if (place) scrollTo(0, place);
        place = 0;
        if (arriving && !document.activeElement?.matches("input, select, dialog *")) main.querySelector("h1")?.focus({ preventScroll: true });
        arriving = false;
        if (again) {
          again = false;
          reload();
        }
      }
    }
  }

  function close() {
    abort?.abort();
    page = data = failed = null;
    loading = again = false;
    clearTimeout(timer);
    timer = null;
    heard = [];
  }

  onEvent((event) => {
    forget(event);
    heard.push(event);
    timer ??= setTimeout(async () => {
      const news = heard;
      timer = null;
      heard = [];
      if (!page) return;
      lastHeard = performance.now();
      await reload();
      announce(news.length === 1 ? plain(news[0]) : `${plain(news.at(-1))}, and ${count(news.length - 1, "more change")}`);
    }, Math.max(TOGETHER, lastHeard + COALESCE - performance.now()));
  });

  setInterval(() => document.hidden || reload(), REFRESH);
  document.addEventListener("visibilitychange", () => document.hidden || reload());

  return {
    /// Shows `next`, `down` from its top. Whoever came from another page finds the focus at its heading.
    open(next, down) {
      arriving = page !== null;
      place = down;
      scrollTo(0, 0);
      close();
      page = next;
      main.replaceChildren();
      render();
      reload();
    },
    /// Shows them there from now on, to whoever has signed in.
    moveTo(element) {
      main = element;
      limit = null;
    },
    close,
    reload,
    render,
  };
}
