// What can be done with one key, each asked first with what follows from it.

import { call, part } from "./api.js";
import { ask, field, formDialog, openWith, select } from "./dialog.js";
import { h } from "./dom.js";
import { once, readModules } from "./key_create.js";
import { chosenExpiry, expiryField, modulePicker, moreFields, nameField, pickedModules, readMore, readName } from "./key_fields.js";
import { showSecret } from "./key_secret.js";
import { learn } from "./names.js";
import { dryRun } from "./reservations.js";
import { planOfKey } from "./sentences.js";
import { notice, toast } from "./ui.js";
import { STATUS, because, count, keyState, list } from "./words.js";

const GRACES = [["0", "At once"], ["3600", "After 1 hour"], ["86400", "After 1 day"], ["604800", "After 7 days"]];
const path = (key, rest = "") => `keys/${part(key.id)}${rest}`;

/// What `operation` does to seats, in sentences.
const consequences = (key, operation, modules) => async () =>
  planOfKey(key.id, await dryRun(path(key, "/plan"), modules ? { operation, modules } : { operation }));

/// Runs a change that was made of what the page shows: where that is no longer so, says it and reads
/// it again.
export async function guarded(reload, change, what = "key") {
  try {
    return await change();
  } catch (problem) {
    if (problem.status === 412) {
      problem.message = `The ${what} was changed in the meantime.`;
      problem.remediation = "The page now shows it as it is. Close this, look at it and try again.";
      reload();
    }
    throw problem;
  }
}

/// Changes the fields of a key.
export function editKey({ key, etag }, reload) {
  const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
  formDialog({
    id: "edit-dialog", title: "Edit API key", action: "Save changes", wide: true,
    body: [nameField(key.name), expiryField(key.expires_at), moreFields(key)],
    run: async (form) => {
      const given = { name: readName(form), expires_at: chosenExpiry(form), ...readMore(form) };
      const sorted = (value) => (Array.isArray(value) ? [...value].sort() : value);
      const body = Object.fromEntries(Object.entries(given).filter(([name, value]) => !same(sorted(value), sorted(key[name] ?? (Array.isArray(value) ? [] : null)))));
      if (!Object.keys(body).length) return;
      const { data } = await guarded(reload, () => call("PATCH", path(key), { body, ifMatch: etag }));
      learn([data]);
      toast([h("bdi", null, data.name), " was changed."]);
      reload();
    },
  });
}

/// Gives a key a new text.
export function regenerateKey({ key, etag }, reload) {
  const grace = select(GRACES, "0", { name: "grace_seconds" });
  const regenerate = once("POST", path(key, "/regenerate"));
  const opened = ask({
    id: "regenerate-dialog", title: "Regenerate API Key", action: "Regenerate API Key", look: "primary",
    text: ["Makes a new key for ", h("b", null, key.name), ". Modules, scopes, seats and place in line stay."],
    children: field("The old key stops working", "grace_seconds", grace, { hint: "Time to bring the new key to where the old one is used. Never past the key's expiry." }),
    run: async () => {
      const seconds = Number(grace.value);
      const { data } = await guarded(reload, () => regenerate(seconds ? { grace_seconds: seconds } : {}, { ifMatch: etag }));
      reload();
      showSecret(opened, data, "The new key");
      return "stay";
    },
  });
}

/// What a key gets that works again, and what it goes on waiting for.
async function enabling(key) {
  if (keyState(key) === "expired") return ["It has expired: it is refused until it has a later expiry."];
  const plan = await dryRun(path(key, "/plan"), { operation: "enable" });
  const gained = new Set(plan.gains.filter((seat) => seat.key_id === key.id).map(({ license }) => license));
  const missed = [...new Set(key.modules.map(({ license }) => license))].filter((license) => license && !gained.has(license));
  const seats = plan.loses.length + plan.gains.length > 0 || !missed.length ? planOfKey(key.id, plan) : [];
  return [...seats, missed.length > 0 && `It gets no seat of ${list(missed)} now: there it waits in line, and is refused.`].filter(Boolean);
}

/// Disables or enables a key.
export function switchKey({ key, etag }, reload) {
  const [operation, title, text] = key.enabled
    ? ["disable", "Disable API key", " is refused at once. It keeps its modules and its places in line, and can be enabled again."]
    : ["enable", "Enable API key", " works again. It joins the line for seats at its old places, and takes nobody's seat."];
  ask({
    id: "switch-dialog", title, action: key.enabled ? "Disable" : "Enable", look: key.enabled ? "danger" : "primary",
    text: [h("b", null, key.name), text],
    consequences: key.enabled ? consequences(key, operation) : () => enabling(key),
    run: async () => {
      await guarded(reload, () => call("PATCH", path(key), { body: { enabled: !key.enabled }, ifMatch: etag }));
      toast([h("bdi", null, key.name), ` is ${key.enabled ? "disabled" : "enabled"}.`]);
      reload();
    },
  });
}

/// Revokes a key for good.
export function revokeKey({ key, etag }, reload) {
  ask({
    id: "revoke-dialog", title: "Revoke API key", action: "Revoke for good",
    text: [h("b", null, key.name), " is refused at once and for good. Its modules and seats are taken; its record stays in the list."],
    consequences: consequences(key, "revoke"),
    run: async () => {
      await guarded(reload, () => call("POST", path(key, "/revoke"), { ifMatch: etag }));
      toast([h("bdi", null, key.name), " is revoked."]);
      reload();
    },
  });
}

/// Deletes a key.
export function deleteKey({ key, etag }, reload) {
  ask({
    id: "delete-dialog", title: "Delete API key", action: "Delete",
    text: [h("b", null, key.name), " and its usage are deleted. What it did stays in the activity log."],
    consequences: consequences(key, "delete"),
    run: async () => {
      await guarded(reload, () => call("DELETE", path(key), { ifMatch: etag }));
      location.hash = "#/keys";
      toast([h("bdi", null, key.name), " is deleted."]);
    },
  });
}

/// Takes modules from a key. `title` and `action` say it in the words of where it is asked.
export function takeModules(key, modules, reload, { title = "Unassign module", action = "Unassign" } = {}) {
  ask({
    id: "unassign-dialog", title, action,
    text: [h("b", null, key.name), " can no longer call what needs ", h("b", null, list(modules)), ". Assigned again, it stands at the end of the line."],
    consequences: consequences(key, "unassign", modules),
    run: async () => {
      for (const module of modules) await call("DELETE", path(key, `/modules/${part(module)}`));
      toast([`${list(modules)} ${modules.length === 1 ? "is" : "are"} no longer assigned to `, h("bdi", null, key.name), "."]);
      reload();
    },
  });
}

/// Assigns modules to a key.
export const assignModules = (key, reload) => openWith(readModules, (offered) => {
  const ends = new Map(offered.licenses.map((license) => [license.id, license.valid_until]));
  formDialog({
    id: "assign-dialog", title: "Assign modules", action: "Assign",
    note: ["What ", h("b", null, key.name), " may call besides. Where no seat is free it waits in line: the module stays assigned."],
    body: modulePicker(offered, { except: key.modules.map(({ module }) => module) }),
    run: async (form) => {
      const picked = pickedModules(form);
      if (!picked.length) throw Object.assign(new Error("Choose a module."), { field: "modules" });
      const answers = [];
      try {
        for (const module of picked) answers.push((await call("PUT", path(key, `/modules/${part(module)}`))).data);
      } finally {
        reload();
      }
      const failed = answers.filter(({ reason }) => reason);
      toast(answers.length === 1 ? `${answers[0].module}: ${STATUS[answers[0].status]}` : `${count(answers.length, "module")} assigned${failed.length ? `, ${failed.length} without a seat` : ""}.`, {
        tone: failed.length ? "bad" : "good",
        more: failed.length > 0 && failed.map(({ module, reason, license }) => h("span.line", null, answers.length === 1 ? `Assigned, but ${because(reason, ends.get(license))}.` : `${module}: ${because(reason, ends.get(license))}`)),
      });
    },
  });
});

/// The remark that this key is not this person's to change.
export const untouchable = () => notice("calm", "shield", h("p", null, "This is an administrator's key: only administrators can change it."));
