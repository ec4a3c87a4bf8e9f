// Add New API Key.

import { attemptName, call, get } from "./api.js";
import { formDialog, openWith } from "./dialog.js";
import { h } from "./dom.js";
import { chosenExpiry, expiryField, modulePicker, moreFields, nameField, pickedModules, readMore, readName } from "./key_fields.js";
import { showSecret } from "./key_secret.js";
import { learn } from "./names.js";
import { button } from "./ui.js";

/// What there is to assign, and what is left of it.
export async function readModules() {
  const [modules, licenses, limited] = await Promise.all([get("modules"), get("licenses"), get("limited-edition")]);
  return { modules, licenses, limited: limited.enabled };
}

/// Sends a call that must not be done twice: again with the same body it carries the same name, so
/// that a retry after a lost answer makes no second key.
export function once(method, path) {
  let sent = null;
  let name = null;
  return (body, options) => {
    const text = JSON.stringify(body);
    if (text !== sent) name = attemptName();
    sent = text;
    return call(method, path, { body, idempotencyKey: name, ...options });
  };
}

/// Asks for a new key and shows its text; `made` is told of it.
export const createKey = (made) => openWith(readModules, (offered) => {
  const create = once("POST", "keys");
  // An expiry in so many days is one instant for all attempts, so that a retry sends the same.
  let expiry = null;
  const opened = formDialog({
    id: "key-dialog",
    title: "Add New API Key",
    action: "Generate API Key",
    wide: true,
    body: [
      nameField(""),
      modulePicker(offered, { hint: "A seat of the module's license is reserved at once. Where none is free, the key waits in line." }),
      expiryField(null),
      h("details.more", null, h("summary", null, "More settings", h("span.faint", null, "scopes, rate tier, owner, addresses")), moreFields(null)),
    ],
    run: async (form) => {
      const chosen = form.elements.expiry.value;
      if (chosen === "at" || expiry?.chosen !== chosen) expiry = { chosen, at: chosenExpiry(form) };
      const given = {
        name: readName(form),
        environment: form.elements.environment.value,
        modules: pickedModules(form),
        expires_at: expiry.at,
        ...readMore(form),
      };
      // What is not given is left out: the service knows its defaults.
      const body = Object.fromEntries(Object.entries(given).filter(([, value]) =>
        value !== null && value !== false && !(Array.isArray(value) && !value.length)));
      const { data } = await create(body);
      learn([data]);
      made(data);
      showSecret(opened, data, "Your new API key");
      return "stay";
    },
  });
  opened.submit.before(button("Copy to Clipboard", { drawing: "copy", disabled: true, title: "After the key is generated" }));
});
