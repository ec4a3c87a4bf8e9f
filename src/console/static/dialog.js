// Dialogs: forms that show what is wrong where it is wrong, and questions that say what follows.

import { h, patch } from "./dom.js";
import { icon } from "./icons.js";
import { onEvent } from "./live.js";
import { button, toastProblem } from "./ui.js";

/// Events of one operation come together.
const TOGETHER = 30;

let number = 0;

/// One input with its label. `control` gets the id, the name and what describes it.
export function field(label, name, control, { hint, optional } = {}) {
  const id = `field-${++number}`;
  control.id = id;
  if (!control.name) control.name = name;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  return h("div.field", { "data-field": name },
    h("label", { for: id }, label, optional && h("span.faint", null, " optional")),
    control,
    h("p.hint", { id: `${id}-hint` }, hint),
    h("p.field-error", { id: `${id}-error` }));
}

/// A group of inputs with its label.
export function group(label, name, { hint }, ...children) {
  const id = `field-${++number}`;
  return h("fieldset.field", { "data-field": name, "aria-describedby": `${id}-hint ${id}-error` },
    h("legend", null, label), hint && h("p.hint", { id: `${id}-hint` }, hint), children, h("p.field-error", { id: `${id}-error` }));
}

export const input = (props) => h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...props });

export const select = (options, chosen, props) => h("select", props, options.map(([value, text]) =>
  h("option", { value, selected: value === chosen }, text)));

/// A box to tick. `mark` is a radio's name where one of several is to be chosen.
export function tick(label, { hint, trail, ...props }) {
  return h("label.tick", null, h("input", { type: "checkbox", ...props }),
    h("span.tick-text", null, h("span", null, label), hint && h("span.hint", null, hint)), trail);
}

/// Takes away the marks of an earlier attempt.
function clearMarks(form) {
  for (const marked of form.querySelectorAll("[aria-invalid]")) marked.removeAttribute("aria-invalid");
  for (const text of form.querySelectorAll(".field-error")) text.textContent = "";
}

/// Marks a field as wrong; answers whether there is such a field.
function mark(form, name, text) {
  const box = form.querySelector(`[data-field="${CSS.escape(name)}"]`);
  if (!box) return false;
  box.querySelector(".field-error").textContent = text;
  const folded = box.closest("details");
  if (folded) folded.open = true;
  const control = box.querySelector("[data-detail]:not([hidden])") ?? box.querySelector("input, select, textarea");
  control?.setAttribute("aria-invalid", "true");
  control?.focus();
  return true;
}

/// Shows a problem in a form: at its field where it has one.
export function showProblem(form, problem) {
  clearMarks(form);
  // Beside its input the field need not be named again.
  const text = problem.message.replace(/^[a-z_]+(\[\d+\])?: (.)/, (_, __, first) => first.toUpperCase())
    .replace(/^[a-z]+_?[a-z]*(\[\d+\])? (is|has|must|may|cannot)\b/, "It $2");
  const marked = problem.field && mark(form, problem.field, text);
  const place = form.querySelector(".form-problem");
  patch(place, !marked && h("div.notice.bad", { role: "alert", "data-test": "problem" }, icon("alert"),
    h("div", null, h("p", null, h("strong", null, problem.message)), problem.remediation && h("p", null, problem.remediation))));
  if (!marked) place.scrollIntoView({ block: "nearest" });
}

/// A dialog with a form. `run(form)` does it: what it throws is shown and the dialog stays, as it
/// does where `run` answers `stay`. Answers with `{dialog, form, submit, close}`.
export function formDialog({ id, title, note, body, action, look = "primary", wide, run, cancel = "Cancel", closed }) {
  const titleId = `dialog-${++number}`;
  const submit = button(action, { look, type: "submit", "data-test": "submit" });
  const form = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); attempt(); } },
    h("div.dialog-head", null, h("h2", { id: titleId }, title),
      h("button.icon-button", { type: "button", "aria-label": "Close", onclick: () => close() }, icon("cross"))),
    h("div.dialog-body", null, note && h("p.dialog-note", null, note), body, h("div.form-problem")),
    h("div.dialog-foot", null, button(cancel, { onclick: () => close(), "data-test": "cancel" }), submit));
  const dialog = h("dialog", { id, class: wide ? "wide" : null, "aria-labelledby": titleId }, form);
  let busy = false;
  const close = () => dialog.close();
  async function attempt() {
    if (busy || submit.disabled) return;
    busy = true;
    dialog.classList.add("busy");
    submit.setAttribute("aria-busy", "true");
    try {
      if ((await run(form)) !== "stay") close();
    } catch (problem) {
      if (dialog.open) showProblem(form, problem);
    } finally {
      busy = false;
      dialog.classList.remove("busy");
      submit.removeAttribute("aria-busy");
    }
  }
  show(dialog, closed);
  // Of a question about something that cannot be undone the careful answer is at hand.
  const first = form.querySelector(".dialog-body :is(input, select, textarea):not([type=hidden]):not(:disabled)")
    ?? (look === "danger" ? form.querySelector("[data-test=cancel]") : submit);
  first.focus();
  // One types on where the text ends.
  if (first.type === "text") first.setSelectionRange(first.value.length, first.value.length);
  return { dialog, form, submit, close };
}

/// Shows a dialog over the page until it is closed.
export function show(dialog, closed) {
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed?.();
    // The page may have changed under it.
    const target = before?.isConnected && before !== document.body ? before : document.querySelector("#key") ?? document.querySelector("h1");
    target?.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
}

/// Whether a dialog is open.
export const isAsking = () => Boolean(document.querySelector("dialog[open]"));

/// Closes whatever dialog is open, but one that is marked as to be kept: what it shows cannot be had again.
export function closeAll() {
  for (const dialog of document.querySelectorAll("dialog[open]:not([data-kept])")) dialog.close();
}

let isReading = false;

/// Reads what a dialog needs and then opens it: one, however often it is asked for, and none where the
/// person has gone on meanwhile.
export async function openWith(read, open) {
  if (isReading || isAsking()) return;
  isReading = true;
  const place = location.hash;
  try {
    const found = await read();
    if (!isAsking() && location.hash === place) open(found);
  } catch (problem) {
    if (problem.status !== 401) toastProblem(problem);
  } finally {
    isReading = false;
  }
}

/// What follows from what a dialog does: its button is off until that is known and shown. `question`
/// answers with `{lines, isLoss, isNothing}`, and is asked again by `tell` and where something happens.
export function foretelling(question) {
  const box = h("div.consequences", { "aria-live": "polite", "data-test": "consequences" },
    h("span.bone.mid", { "aria-hidden": "true" }), h("span.unseen", null, "Asking what follows…"));
  let opened = null;
  let asked = 0;
  let soon = null;
  let refocus = false;
  let stopListening = () => {};

  function hold() {
    const { submit } = opened;
    // A button that is off loses the focus.
    refocus ||= document.activeElement === submit;
    submit.disabled = true;
    // An answer that is on its way is about what no longer is.
    asked += 1;
  }

  function release() {
    opened.submit.disabled = false;
    if (refocus && [document.body, opened.dialog].includes(document.activeElement)) opened.submit.focus();
    refocus = false;
  }

  async function tell() {
    hold();
    const mine = asked;
    let found;
    try {
      found = await question();
    } catch (problem) {
      if (mine !== asked) return;
      box.classList.remove("warn");
      // What the page finds wrong itself is mended by typing on.
      patch(box, problem.status === undefined ? [icon("info"), h("p", null, problem.message)]
        : [icon("alert"), h("div", null, h("p", null, `What follows is not known: ${problem.message}`), button("Try again", { look: "quiet", onclick: tell }))]);
      return;
    }
    if (mine !== asked) return;
    const { lines, isLoss = false, isNothing = false } = found;
    patch(box, icon(isLoss ? "alert" : "right"), h("ul", null, lines.map((line) => h("li", null, line))));
    box.classList.toggle("warn", isLoss);
    if (!isNothing) release();
  }

  function hear() {
    // What is being done is no news.
    if (opened.dialog.classList.contains("busy")) return;
    hold();
    soon ??= setTimeout(() => {
      soon = null;
      tell();
    }, TOGETHER);
  }

  return {
    box,
    hold,
    tell,
    /// Begins, for an open dialog.
    begin(dialog) {
      opened = dialog;
      stopListening = onEvent(hear);
      tell();
    },
    /// Does it; where that fails, what follows is asked again.
    attempt: (run) => async (form) => {
      try {
        return await run(form);
      } catch (problem) {
        tell();
        throw problem;
      }
    },
    end() {
      stopListening();
      clearTimeout(soon);
    },
  };
}

/// A question before something is done. `consequences` answers with the sentences that say what
/// follows, or with all that `foretelling` takes.
export function ask({ title, text, consequences, children, action, look = "danger", id, run, closed }) {
  const told = consequences && foretelling(async () => {
    const found = await consequences();
    return Array.isArray(found) ? { lines: found } : found;
  });
  const asked = formDialog({
    id, title, action, look,
    run: told ? told.attempt(run) : run,
    body: [text && h("p", null, text), children, told?.box],
    closed: () => { told?.end(); closed?.(); },
  });
  told?.begin(asked);
  return asked;
}
