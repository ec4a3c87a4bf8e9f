// Shows one page at a time, and keeps what it shows true.

import { h, patch } from "./dom.js";
import { onEvent } from "./live.js";
import { forget } from "./names.js";
import { plain } from "./sentences.js";
import { count } from "./words.js";
import { announce, button, pageHead, problemBox, skeleton } from "./ui.js";

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
  let heard = [];
  let lastHeard = -COALESCE;
  let arriving = false;

  function render() {
    if (!page) return;
    // That nothing can be reached is what the frame's banner says.
    const shownProblem = failed && failed.code !== "unreachable" && problemBox(failed, retry());
    if (data !== null) patch(main, shownProblem, page.view(data));
    else if (failed) patch(main, pageHead({ title: page.title }), problemBox(failed, retry()));
    else patch(main, pageHead({ title: page.title }), skeleton(), h("p.unseen", { role: "status" }, "Loading…"));
    renamed(page.name?.(data) ?? page.title);
  }

  const retry = () => button("Try again", { drawing: "refresh", onclick: reload });

  async function reload() {
    // The stream may open before the first page does.
    if (!page) return;
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
      if (error.status === 404) data = null;
      if (!error.status && error.code !== "unreachable") throw error;
    } finally {
      if (shown === page) {
        loading = false;
        if (page) render();
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
    /// Shows `next`. Whoever came from another page finds the focus at its heading.
    open(next) {
      arriving = page !== null;
      close();
      page = next;
      main.replaceChildren();
      render();
      reload();
    },
    moveTo(element) {
      main = element;
    },
    close,
    reload,
    render,
  };
}
