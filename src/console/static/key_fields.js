// The inputs that describe a key, for a new one and for changing one.

import { isAdministrator, now } from "./api.js";
import { field, group, input, select, tick } from "./dialog.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { count, licenseState, atMinute } from "./words.js";

const DAY = 86_400_000;
const MANAGEMENT = "rest_api_management";
const EXPIRIES = [["", "Never"], ["7", "In 7 days"], ["30", "In 30 days"], ["90", "In 90 days"], ["365", "In a year"], ["at", "At a date and time…"]];

/// What a license has left, as words and a tone.
function room(license, limitedEdition) {
  if (!license) return ["license unknown", "bad"];
  const state = licenseState(license, limitedEdition);
  if (state === "limited") return ["limited edition", "warn"];
  if (state === "expired") return ["license expired", "warn"];
  if (license.seats === null) return ["unlimited", "calm"];
  const free = Math.max(0, license.seats - license.used);
  if (free) return [`${free} of ${count(license.seats, "seat")} free`, "good"];
  return [license.waiting ? `no seat free, ${license.waiting} waiting` : "no seat free", "bad"];
}

/// The modules as boxes to tick, each with its license and what is left of it.
export function modulePicker({ modules, licenses, limited }, { except = [], hint } = {}) {
  const known = new Map(licenses.map((license) => [license.id, license]));
  const offered = modules.filter(({ module }) => !except.includes(module));
  const boxes = offered.map(({ module, license }) => {
    const reserved = module === MANAGEMENT && !isAdministrator();
    const [text, tone] = license ? room(known.get(license), limited) : ["no license needed", "calm"];
    return tick(h("span.mono", null, module), {
      name: "module", value: module, disabled: reserved, "data-test": `module-${module}`,
      hint: reserved ? "Handed out by administrators only" : license ? `License ${license}` : null,
      trail: h("span.room", { class: tone }, text),
    });
  });
  return group("Modules", "modules", { hint }, h("div.ticks", null,
    boxes.length ? boxes : h("p.faint", null, "There is no other module to assign.")));
}

/// The modules ticked in a form.
export const pickedModules = (form) => [...form.querySelectorAll("input[name=module]:checked")].map((box) => box.value);

/// A moment as `datetime-local` wants it, in the local time.
const localMoment = (at) => {
  const moment = new Date(at);
  return new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
};

/// When a key expires.
export function expiryField(at) {
  const date = input({ "data-at": at, "data-detail": true, type: "datetime-local", name: "expiry_at", step: 1, "aria-label": "Expires at", hidden: !at, value: at ? localMoment(at) : null });
  // Of the same moment a browser may write less.
  date.dataset.untouched = date.value;
  const choice = select(EXPIRIES, at ? "at" : "", {
    name: "expiry", onchange: () => tell(),
  });
  const box = field("Expires", "expires_at", choice);
  const tell = () => {
    date.hidden = choice.value !== "at";
    box.querySelector(".hint").textContent = [at && `Now: ${atMinute(at)}.`, choice.value && "From then on the key is refused and its seats are freed."].filter(Boolean).join(" ");
  };
  tell();
  choice.after(date);
  return box;
}

/// The expiry chosen in a form: an instant or null.
export function chosenExpiry(form) {
  const { value } = form.elements.expiry;
  if (value === "") return null;
  if (value !== "at") return new Date(Math.floor(now() / 1000) * 1000 + Number(value) * DAY).toISOString();
  const { value: written, dataset } = form.elements.expiry_at;
  // It has no fractions of a second, and says two moments alike where the clocks are put back.
  if (dataset.at && written === dataset.untouched) return dataset.at;
  const moment = new Date(written);
  if (Number.isNaN(moment.getTime())) throw fault("expires_at", "Give a date and a time.");
  return moment.toISOString();
}

/// A fault that the page finds itself, in the form of a problem.
export const fault = (name, message) => Object.assign(new Error(message), { field: name, remediation: "" });

/// The words of a field in which several are given.
const words = (text) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

/// Several words in one input, each shown as a token that can be taken away.
function tokens(label, name, given, options) {
  const chosen = new Set(given);
  const shown = h("div.tokens");
  const typed = input({ ...options.props });
  const kept = h("input", { type: "hidden", name: `${name}_tokens` });
  const draw = () => {
    kept.value = [...chosen].join(" ");
    shown.replaceChildren(...[...chosen].map((word) => h("span.token", null, h("span.mono", null, word),
      h("button.icon-button", { type: "button", "aria-label": `Remove ${word}`, onclick: () => { chosen.delete(word); draw(); typed.focus(); } }, icon("cross")))));
  };
  const take = () => {
    // Drawing anew takes away the button that a click is about to end on.
    if (!typed.value.trim()) return;
    words(typed.value).forEach((word) => chosen.add(word));
    typed.value = "";
    draw();
  };
  typed.onkeydown = (event) => {
    if ((event.key === "Enter" || event.key === ",") && typed.value.trim()) {
      event.preventDefault();
      take();
    } else if (event.key === "Backspace" && !typed.value && chosen.size) {
      chosen.delete([...chosen].at(-1));
      draw();
    }
  };
  typed.onblur = take;
  draw();
  const box = field(label, name, typed, { hint: options.hint, optional: true });
  typed.before(shown);
  typed.after(kept);
  return box;
}

/// The inputs beside name, modules and expiry. `key` is the one to change, if any.
export function moreFields(key) {
  const tiers = h("datalist", { id: "tiers" }, ["standard", "premium"].map((value) => h("option", { value })));
  return [
    tokens("Scopes", "scopes", key?.scopes ?? [], {
      props: { placeholder: "read:realms", class: "mono" }, hint: "Press Enter after each.",
    }),
    h("div.pair", null,
      field("Rate tier", "tier", input({ list: "tiers", value: key?.tier, placeholder: "standard" }), { hint: "Decides how many requests an hour.", optional: true }),
      field("Owner", "owner", input({ value: key?.owner }), { hint: "A person or team.", optional: true })),
    tiers,
    tokens("Allowed addresses", "allowed_addresses", key?.allowed_addresses ?? [], {
      props: { placeholder: "192.0.2.0/24", class: "mono" }, hint: "Addresses or networks (CIDR). Empty: from everywhere.",
    }),
    !key && field("Environment", "environment", select([["live", "live"], ["test", "test"]], "live"), { hint: "Stands in the key's text." }),
    isAdministrator() && h("div.field", { "data-field": "administrator" },
      tick("Administrator", { name: "administrator", checked: key?.administrator, hint: "May manage all keys and licenses, and uses up no quota." }),
      h("p.field-error")),
  ];
}

/// What stands in the inputs of `moreFields`.
export function readMore(form) {
  const several = (name) => words(`${form.elements[`${name}_tokens`].value} ${form.elements[name].value}`);
  return {
    scopes: several("scopes"),
    tier: form.elements.tier.value.trim() || null,
    owner: form.elements.owner.value.trim() || null,
    allowed_addresses: several("allowed_addresses"),
    ...(form.elements.administrator ? { administrator: form.elements.administrator.checked } : {}),
  };
}

/// The key's name in a form.
export function readName(form) {
  const name = form.elements.name.value.trim();
  if (!name) throw fault("name", "Give the key a name.");
  return name;
}

/// The input of the name.
export const nameField = (value) => field("Name", "name", input({ value, maxlength: 200, placeholder: "API Key-All Access", autofocus: true, "data-test": "name" }),
  { hint: "What it is for: people see it in lists and in the log." });
