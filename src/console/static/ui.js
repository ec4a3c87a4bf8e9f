// The parts that pages are made of.

import { h, svg, calm } from "./dom.js";
import { icon } from "./icons.js";
import { isUser, nameOf } from "./names.js";
import { holderText } from "./sentences.js";
import { because, count, exactly, relative, STATUS } from "./words.js";

/// A button. `look` is `primary`, `plain`, `quiet` or `danger`.
export function button(text, { look = "plain", drawing, ...props } = {}) {
  return h("button.button", { type: "button", class: look, ...props }, drawing && icon(drawing), h("span", null, text));
}

/// A link that looks like a button.
export const linkButton = (text, href, drawing) => h("a.button.plain", { href }, drawing && icon(drawing), h("span", null, text));

/// A state as drawing and words: never as colour alone. `tone` is good, warn, bad or calm.
export function badge(text, tone, drawing, props) {
  return h("span.badge", { class: tone, ...props }, icon(drawing), h("span", null, text));
}

const KEY_STATES = {
  active: ["Active", "good", "check"],
  disabled: ["Disabled", "calm", "pause"],
  revoked: ["Revoked", "bad", "ban"],
  expired: ["Expired", "warn", "clock"],
};

/// Whether a key works.
export const keyBadge = (state) => badge(...KEY_STATES[state], { "data-test": "key-status", "data-state": state });

const LICENSE_LOOKS = {
  reserved: ["good", "check"],
  expired: ["warn", "clock"],
  reservation_failed: ["bad", "alert"],
  not_required: ["calm", "check"],
};

/// What a license says of a module: exactly `Reserved`, `Expired`, `Reservation failed`.
export const statusBadge = (status) => badge(STATUS[status] ?? status, ...(LICENSE_LOOKS[status] ?? ["calm", "info"]), {
  "data-test": "module-status", "data-status": status,
});

/// A module in a list of keys: small, with words only where something is wrong.
export function moduleChip({ module, status, reason, license }, licenses) {
  const [tone, drawing] = LICENSE_LOOKS[status] ?? ["calm", "info"];
  const fine = status === "reserved" || status === "not_required";
  const why = reason ? `: ${because(reason, licenses?.get(license)?.valid_until)}` : "";
  return h("span.chip", { class: fine ? "calm" : tone, title: `${STATUS[status]}${why}` },
    icon(drawing, tone), h("span.mono", null, module),
    h(fine ? "span.unseen" : "span.chip-why", null, STATUS[status]));
}

/// An instant as people say it, and exactly on hovering.
export function when(at, none = "Never") {
  if (!at) return h("span.faint", null, none);
  return h("time", { datetime: at, title: exactly(at) }, relative(at));
}

/// A holder: a key is a link to its page, a user is a name.
export function holder(id) {
  if (isUser(id)) return h("span", { title: id }, icon("user"), " ", holderText(id));
  return h("a", { href: `#/keys/${encodeURIComponent(id)}`, class: nameOf(id) ? null : "mono" }, holderText(id));
}

export const licenseLink = (id) => h("a.mono", { href: `#/licenses/${encodeURIComponent(id)}` }, id);

/// How much of a license is used, as a bar beside its words.
export function usageBar({ used, seats }) {
  const share = seats === null ? (used ? 0.12 : 0) : Math.min(1, used / Math.max(1, seats));
  const full = seats > 0 && used >= seats;
  const text = seats === null ? `${count(used, "seat")} used, unlimited` : `${used} of ${seats} used`;
  return h("div.usage", { "data-test": "seats" },
    h("span.usage-words", null, h("b", null, String(used)), seats === null ? " used, unlimited" : ` of ${seats} used`),
    svg("svg.bar", { class: full ? "full" : seats === null ? "open" : null, viewBox: "0 0 100 1", preserveAspectRatio: "none", role: "img", "aria-label": text },
      svg("rect.bar-back", { width: 100, height: 1 }),
      svg("rect.bar-used", { width: share * 100, height: 1 })));
}

/// A part of a page with a heading.
export function card(title, { id, actions, note, flush } = {}, ...children) {
  return h("section.card", { id, class: flush ? "flush" : null, "aria-labelledby": id && `${id}-title` },
    h("div.card-head", null,
      h("div", null, h("h2", { id: id && `${id}-title` }, title), note && h("p.note", null, note)),
      actions && h("div.actions", null, actions)),
    children);
}

/// A table that becomes cards where there is no room: its roles are written out, for a browser takes
/// them from what is no longer laid out as a table. `columns` are `[label, class]`; a row is
/// `{key, sign, cells}`.
export function table(caption, columns, rows, props) {
  const head = ([label, look]) => h("th", { scope: "col", role: "columnheader", class: look },
    look?.includes("actions") ? h("span.unseen", null, label) : label);
  const cell = (content, at) => h(at === 0 ? "th" : "td", {
    scope: at === 0 ? "row" : null, role: at === 0 ? "rowheader" : "cell", class: columns[at][1], "data-label": columns[at][0],
  }, content);
  return h("table", { role: "table", ...props },
    h("caption.unseen", null, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(head))),
    h("tbody", { role: "rowgroup" }, rows.map((row) =>
      h("tr", { role: "row", "data-key": row.key, "data-sign": row.sign, ...row.props }, row.cells.map(cell)))));
}

/// What stands where nothing is.
export function empty(drawing, title, text, ...actions) {
  return h("div.empty", { "data-test": "empty" }, h("div.empty-mark", null, icon(drawing)), h("h3", null, title), h("p", null, text),
    actions.length > 0 && h("div.actions", null, actions));
}

/// The shape of what is being loaded.
export function skeleton(lines = 6) {
  const widths = ["wide", "mid", "wide", "short", "mid", "wide"];
  return h("div.card.flush.skeleton", { "aria-hidden": "true" }, Array.from({ length: lines }, (_, at) =>
    h("div.bone-row", null, h("span.bone", { class: widths[at % widths.length] }), h("span.bone.short"), h("span.bone.tiny"))));
}

/// A problem in place of what could not be shown.
export function problemBox(problem, ...actions) {
  return h("div.notice.bad", { role: "alert", "data-test": "problem" }, icon("alert"),
    h("div", null, h("p", null, h("strong", null, problem.message)), problem.remediation && h("p", null, problem.remediation)),
    actions.length > 0 && h("div.actions", null, actions));
}

/// A remark: `tone` is warn, bad, good or calm.
export function notice(tone, drawing, ...children) {
  return h("div.notice", { class: tone }, icon(drawing), h("div", null, children));
}

/// A heading of more characters is cut off after some lines.
const LONG = 80;

/// A heading for a page, with the way to it and what can be done.
export function pageHead({ trail, title, aside, note, actions }) {
  return h("header.page-head", null,
    h("div.page-title", null,
      trail && h("p.trail", null, trail),
      h("div.title-line", null, h("h1", { tabindex: -1, id: "title", title: title.length > LONG ? title : null }, title), aside),
      note && h("p.note", null, note)),
    actions && h("div.actions", null, actions));
}

/// In place of what is gone: what it was, and the way to the others.
export function gonePage({ trail, title, text, href }) {
  return [
    pageHead({ trail: [h("a", { href }, trail), " /"], title }),
    notice("bad", "alert", h("p", { "data-test": "problem" }, text)),
    h("p", null, linkButton(`All ${trail}`, href)),
  ];
}

/// Says shortly what was done; a problem stays longer.
export function toast(text, { tone = "good", more } = {}) {
  const close = h("button.icon-button", { type: "button", "aria-label": "Dismiss", onclick: () => box.remove() }, icon("cross"));
  const box = h("div.toast", { class: tone, role: tone === "bad" ? "alert" : "status", "data-test": "toast" },
    icon(tone === "bad" ? "alert" : "check"), h("div", null, h("p", null, text), more && h("p.note", null, more)), close);
  const region = document.getElementById("toasts");
  // A modal dialog covers all but what stands in the top layer beside it.
  if (region.popover !== "manual" && region.showPopover) region.popover = "manual";
  region.append(box);
  if (region.showPopover) {
    if (region.matches(":popover-open")) region.hidePopover();
    region.showPopover();
  }
  while (region.children.length > 2) region.firstChild.remove();
  setTimeout(() => leave(box, region), tone === "bad" ? 10_000 : 4_000);
}

function leave(box, region) {
  const gone = () => {
    box.remove();
    if (!region.children.length && region.popover) region.hidePopover?.();
  };
  if (calm() || !box.animate) return gone();
  box.animate([{ opacity: 1 }, { opacity: 0 }], 200).onfinish = gone;
}

/// A problem as a toast.
export const toastProblem = (problem) => toast(problem.message, { tone: "bad", more: problem.remediation });

/// Tells a screen reader what changed by itself.
export function announce(text) {
  document.getElementById("live").textContent = text;
}
