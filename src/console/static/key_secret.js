// The text of a key, shown once.

import { current } from "./api.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { announce, button, notice, statusBadge } from "./ui.js";
import { because } from "./words.js";

/// Puts `text` on the clipboard.
export async function copy(text, beside = document.body) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS there is no clipboard API: the older way, which needs a selection.
    const area = h("textarea", { class: "unseen", readonly: true });
    area.value = text;
    beside.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("The browser did not allow it: select the text and copy it.");
  }
}

/// The line that tries a key. Quoted for a shell.
function curlLine(text) {
  const url = new URL(current()?.example_path ?? "/", document.baseURI).href;
  // What a shell would take for something else stands between single quotes.
  const quoted = (word) => (/["$`\\!]/.test(word) ? `'${word.replaceAll("'", "'\\''")}'` : `"${word}"`);
  return `curl -X GET ${quoted(url)} -H ${quoted(`X-API-Key: ${text}`)}`;
}

/// The button that copies and says so.
function copyButton(label, text, props, copied) {
  const words = button(label, { drawing: "copy", ...props, onclick: async () => {
    try {
      await copy(text, words.parentElement);
      words.replaceChildren(icon("check"), h("span", null, "Copied"));
      announce("Copied to the clipboard");
      setTimeout(() => words.replaceChildren(icon("copy"), h("span", null, label)), 2500);
      copied?.();
    } catch (error) {
      announce(error.message);
      words.replaceChildren(icon("alert"), h("span", null, "Select and copy it by hand"));
    }
  } });
  return words;
}

/// What the key may use at once, and what not yet.
function states(modules) {
  if (!modules.some(({ reason }) => reason)) return null;
  return [h("p.label", null, "Its modules"), h("ul.states", null, modules.map(({ module, status, reason }) =>
    h("li.status-cell", null, h("span.mono", null, module), statusBadge(status), reason && h("span.why", null, because(reason)))))];
}

/// Turns an open dialog into the one that shows `key.key`.
export function showSecret({ dialog, close }, key, title) {
  const text = key.key;
  let copied = false;
  let warned = false;
  const stay = (event) => event.preventDefault();
  const done = () => {
    copied = true;
    delete dialog.dataset.kept;
    removeEventListener("beforeunload", stay);
  };
  // Neither going back nor the end of the session takes it away: nobody could show it again.
  dialog.dataset.kept = "";
  addEventListener("beforeunload", stay);
  dialog.addEventListener("close", () => removeEventListener("beforeunload", stay));
  const warning = h("div", { role: "alert" });
  const leave = () => {
    if (copied || warned) return close();
    warned = true;
    warning.replaceChildren(notice("bad", "alert", h("p", null, h("strong", null, "You have not copied the key."), " Choose Done again to leave without it.")));
  };
  dialog.addEventListener("cancel", (event) => {
    if (copied || warned) return;
    event.preventDefault();
    leave();
  });
  const id = "new-key-title";
  const shown = h("output.secret.mono", { id: "new-key", tabindex: 0, "aria-label": "The new API key" }, text);
  shown.onclick = () => getSelection().selectAllChildren(shown);
  shown.oncopy = done;
  const main = copyButton("Copy to Clipboard", text, { look: "primary", id: "copy-key" }, done);
  const line = curlLine(text);
  dialog.classList.add("secret-dialog");
  dialog.setAttribute("aria-labelledby", id);
  dialog.replaceChildren(h("div.form", null,
    h("div.dialog-head", null, h("h2", { id }, title),
      h("button.icon-button", { type: "button", "aria-label": "Close", onclick: leave }, icon("cross"))),
    h("div.dialog-body", null,
      notice("warn", "alert", h("p", null, h("strong", null, "Copy it now: it is shown this once."), " Only a fingerprint of it is kept. Whoever has it can call the API as ", h("b", null, key.name), ".")),
      h("p.label", null, "API key"), shown,
      states(key.modules),
      h("p.label", null, "Try it"),
      h("div.code", null, h("code", { id: "curl", tabindex: 0, "aria-label": "A curl command with the key" }, line), copyButton("Copy", line, { look: "quiet", id: "copy-curl" }, done)),
      h("p.hint", null, "The key needs the module of that route, and a seat of its license."),
      warning),
    h("div.dialog-foot", null, button("Done", { id: "secret-done", onclick: leave }), main)));
  main.focus();
}
