// What can be done with licenses and modules, each asked first with what follows from it.

import { call, get, now, part } from "./api.js";
import { ask, field, foretelling, formDialog, input, openWith, select } from "./dialog.js";
import { h, settled } from "./dom.js";
import { fault } from "./key_fields.js";
import { guarded, takeModules } from "./key_actions.js";
import { dryRun } from "./reservations.js";
import { holderText, planOfLicense } from "./sentences.js";
import { toast } from "./ui.js";
import { count, list, validThrough } from "./words.js";

const DAY = 86_400_000;
const TAKEN = "There is a license of this name already.";
const NAME = /^[!-~]{1,200}$/;

/// The inputs of seats and end.
function licenseFields(license) {
  const seats = input({ type: "number", min: 0, max: 4294967295, step: 1, inputmode: "numeric", value: license.seats ?? "", disabled: license.seats === null });
  const unlimited = h("input", { type: "checkbox", name: "unlimited", checked: license.seats === null, onchange: () => { seats.disabled = unlimited.checked; } });
  const day = license.valid_until ? new Date(Date.parse(license.valid_until) - 1).toISOString().slice(0, 10) : "";
  const until = input({ type: "date", value: day, max: "9998-12-31" });
  const exact = license.valid_until && Date.parse(license.valid_until) % DAY !== 0;
  return [
    h("div.pair.bottom", null, field("Seats", "seats", seats, { hint: "How many keys may hold it at once." }), h("label.tick.beside", null, unlimited, h("span.tick-text", null, "Unlimited"))),
    field("Valid through", "valid_until", until, {
      hint: exact ? `Now: ${validThrough(license.valid_until)}. Another date means through the end of that day, UTC.` : "Through the end of that day, UTC. Empty: no end.",
    }),
  ];
}

/// What stands in those inputs.
function readLicense(form, license) {
  const { seats, unlimited, valid_until: until } = form.elements;
  const number = Number(seats.value);
  if (!unlimited.checked && (seats.value.trim() === "" || !Number.isInteger(number) || number < 0 || number > 4294967295)) {
    throw fault("seats", "Give a whole number, or unlimited.");
  }
  if (until.validity.badInput) throw fault("valid_until", "Give a whole date, or none.");
  // A date that was not touched keeps its hour.
  const kept = until.value === until.defaultValue;
  const end = kept ? license?.valid_until ?? null : until.value ? new Date(Date.parse(until.value) + DAY).toISOString() : null;
  return { seats: unlimited.checked ? null : number, valid_until: end };
}

/// Adds a license.
export function addLicense(licenses, reload) {
  formDialog({
    id: "license-dialog", title: "Add license", action: "Add license",
    body: [field("License", "id", input({ class: "mono", maxlength: 200, placeholder: "launcher-2026" }), { hint: "A short name without spaces. Map modules to it afterwards." }),
      licenseFields({ seats: 1, valid_until: null })],
    run: async (form) => {
      const id = form.elements.id.value.trim();
      if (!NAME.test(id)) throw fault("id", "Give 1 to 200 visible characters without spaces or accents.");
      if (licenses.some((license) => license.id === id)) throw fault("id", TAKEN);
      const body = readLicense(form, null);
      try {
        await call("PUT", `licenses/${part(id)}`, { body, ifNoneMatch: "*" });
      } catch (problem) {
        // Somebody else was first.
        if (problem.status === 412) throw fault("id", TAKEN);
        throw problem;
      }
      toast(`License ${id} was added.`);
      reload();
    },
  });
}

/// Changes seats and end of a license, with a dry run while it is typed.
export function changeLicense(license, reload) {
  const path = `licenses/${part(license.id)}`;
  const told = foretelling(async () => {
    const wanted = readLicense(opened.form, license);
    const data = await dryRun(`${path}/plan`, wanted);
    const isNothing = wanted.seats === license.seats && wanted.valid_until === license.valid_until;
    const ended = wanted.valid_until && Date.parse(wanted.valid_until) <= now();
    const lines = [ended && "The license would be expired.", ...(isNothing ? ["Nothing is changed yet."] : planOfLicense(data))];
    return { lines: lines.filter(Boolean), isLoss: data.loses.length > 0, isNothing };
  });
  const opened = formDialog({
    id: "change-dialog", title: `Change ${license.id}`, action: "Apply",
    body: [licenseFields(license), h("p.label", null, "What would change"), told.box],
    closed: told.end,
    run: told.attempt(async (form) => {
      const body = readLicense(form, license);
      await guarded(reload, () => call("PUT", path, { body, ifMatch: license.etag }), "license");
      toast(`License ${license.id} was changed.`);
      reload();
    }),
  });
  const later = settled(250, told.tell);
  opened.form.oninput = () => {
    told.hold();
    later();
  };
  told.begin(opened);
}

/// What a dry run says: of whose loss it warns.
async function foreseen(path, body) {
  const data = await dryRun(path, body);
  return { lines: planOfLicense(data), isLoss: data.loses.length > 0 };
}

/// Removes a license.
export function removeLicense(license, reload) {
  const path = `licenses/${part(license.id)}`;
  ask({
    id: "remove-dialog", title: `Remove ${license.id}`, action: "Remove license",
    text: "The modules that need it stay assigned, and are refused until there is a license of this name again or they are mapped to another.",
    consequences: () => foreseen(`${path}/plan`, { remove: true }),
    run: async () => {
      await guarded(reload, () => call("DELETE", path, { ifMatch: license.etag }), "license");
      location.hash = "#/licenses";
      toast(`License ${license.id} is removed.`);
      reload();
    },
  });
}

/// Maps a module to a license, or to none. `module` is the one to change, if any.
export function mapModule(licenses, modules, module, reload) {
  const known = new Map(modules.map((entry) => [entry.module, entry.license]));
  const name = input({ class: "mono", maxlength: 200, value: module, readonly: Boolean(module), placeholder: "launcher" });
  const needed = module ? known.get(module) ?? "" : licenses[0]?.id ?? "";
  const choices = [["", "No license needed"], ...licenses.map(({ id }) => [id, id])];
  // A license that is gone is still the one that the module needs: to save it as it is opens nothing.
  if (!choices.some(([id]) => id === needed)) choices.push([needed, `${needed} (unknown license)`]);
  const license = select(choices, needed);
  formDialog({
    id: "map-dialog", title: module ? `License of ${module}` : "Map module", action: module ? "Save" : "Map module",
    note: "A key that is assigned the module needs a seat of this license. Places in line stay.",
    body: [field("Module", "module", name, { hint: module ? null : "The module's resource key." }), field("License", "license", license, {})],
    run: async () => {
      const text = name.value.trim();
      if (!NAME.test(text)) throw fault("module", "Give 1 to 200 visible characters without spaces or accents.");
      if (!module && known.has(text)) throw fault("module", "This module is mapped already: change it in the list.");
      await call("PUT", `modules/${part(text)}`, { body: { license: license.value || null } });
      toast(license.value ? `${text} now needs a seat of ${license.value}.` : `${text} now needs no license.`);
      reload();
    },
  });
}

/// Switches limited edition.
export function switchLimited(enabled, reload) {
  ask({
    id: "limited-dialog", title: enabled ? "Switch limited edition on" : "Switch limited edition off",
    action: enabled ? "Switch on" : "Switch off", look: enabled ? "danger" : "primary",
    text: enabled ? "Every module that needs a license is refused with “Required license has expired.” until it is switched off." : "Licenses give seats again, in the order of the line.",
    consequences: async () => {
      const { loses, gains } = await dryRun("limited-edition/plan", { enabled });
      const first = loses.length ? `Takes all ${count(loses.length, "seat")} in use; modules and places in line stay.`
        : gains.length && `Gives ${count(gains.length, "seat")}, in the order of the line.`;
      return { lines: [first, ...planOfLicense({ loses, gains })].filter(Boolean), isLoss: loses.length > 0 };
    },
    run: async () => {
      await call("PUT", "limited-edition", { body: { enabled } });
      toast(`Limited edition is ${enabled ? "on" : "off"}.`);
      reload();
    },
  });
}

/// Releases the seat that a key holds of a license: takes the modules that need it.
export const releaseSeat = (license, keyId, reload) => openWith(() => get(`keys/${part(keyId)}`), (key) => {
  const modules = key.modules.filter((entry) => entry.license === license).map(({ module }) => module);
  if (!modules.length) return toast([h("bdi", null, holderText(keyId)), ` holds no seat of ${license} any more.`]);
  takeModules(key, modules, reload, { title: `Release the seat of ${license}`, action: `Unassign ${list(modules)}` });
});
