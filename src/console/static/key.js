// The page of one key.

import { call, get, isAdministrator, now, part } from "./api.js";
import { buckets, chart } from "./chart.js";
import { h } from "./dom.js";
import { assignModules, deleteKey, editKey, regenerateKey, revokeKey, switchKey, takeModules, untouchable } from "./key_actions.js";
import { limitedNotice } from "./keys.js";
import { learn } from "./names.js";
import { placeOf } from "./reservations.js";
import { badge, button, card, empty, gonePage, keyBadge, licenseLink, linkButton, notice, pageHead, problemBox, statusBadge, table, when } from "./ui.js";
import { atMinute, because, keyState, place, refusal, relative } from "./words.js";

const SPANS = [[24, 1, "24 hours"], [168, 6, "7 days"], [720, 24, "30 days"]];

/// Makes the page of the key `id`.
export function keyPage({ reload, render }, id) {
  let span = SPANS[0];
  let name = null;

  async function load(signal) {
    const [hours] = span;
    const [{ data: key, etag }, licenses, limited, usage] = await Promise.all([
      call("GET", `keys/${part(id)}`, { signal }), get("licenses", signal), get("limited-edition", signal),
      // A page without its chart is still a page.
      get(`keys/${part(id)}/usage?hours=${hours}`, signal).catch((problem) => {
        if (!problem.status || problem.status === 401) throw problem;
        return { problem };
      }),
    ]);
    learn([key]);
    name = key.name;
    return {
      key, etag, limited: limited.enabled, usage, shown: span,
      licenses: new Map(licenses.map((license) => [license.id, license])),
      places: await places(key, signal),
    };
  }

  /// In which place the key waits for which license.
  async function places(key, signal) {
    const full = new Set(key.modules.filter(({ reason }) => reason === "limit_reached").map(({ license }) => license));
    return new Map(await Promise.all([...full].map(async (license) => [license, await placeOf(license, key.id, signal)])));
  }

  function modules(data, mayChange) {
    const { key, licenses } = data;
    const revoked = Boolean(key.revoked_at);
    const assign = mayChange && !revoked && button("Assign modules", { drawing: "plus", id: "assign", onclick: () => assignModules(key, reload) });
    const rows = key.modules.map(({ module, license, status, reason }) => {
      const waits = reason === "limit_reached" && data.places.get(license);
      // The ledger has one word for all that keeps a key from working.
      const cause = reason === "key_disabled" && keyState(key) === "expired" ? "key expired" : because(reason, licenses.get(license)?.valid_until);
      const why = reason && `${cause}${waits ? `, ${place(waits)} in line` : ""}`;
      return {
        key: module,
        sign: `${status}${reason ?? ""}`,
        props: { "data-test": "module-row", "data-module": module },
        cells: [
          h("span.mono", null, module),
          license ? licenseLink(license) : h("span.faint", null, "None needed"),
          h("div.status-cell", null, statusBadge(status), why && h("span.why", { "data-test": "why" }, why)),
          mayChange && button("Unassign", { look: "quiet", "aria-label": `Unassign ${module}`, onclick: () => takeModules(key, [module], reload) }),
        ],
      };
    });
    return card("Acquired Modules", { id: "modules", actions: assign, flush: true, note: "What the key may call, each with the state of its license." },
      rows.length ? table("Acquired modules", [["Module", "main"], ["License"], ["Status"], ["Actions", "actions"]], rows, { class: "rows" })
        : empty("link", "No module assigned", revoked ? "A revoked key has no modules." : "Without a module the key is refused where one is needed."));
  }

  function usage({ usage: { items, problem }, shown }) {
    if (problem) return card("Usage", { id: "usage" }, problemBox(problem));
    const [hours, size] = shown;
    const made = buckets(items, hours, size, now());
    const total = made.reduce((all, bucket) => all + bucket.granted + bucket.refused + bucket.limited, 0);
    const choice = h("div.segments", { role: "group", "aria-label": "Time span" }, SPANS.map((option) =>
      h("button", { type: "button", "aria-pressed": String(option === span), "data-hours": option[0], onclick: () => { span = option; render(); reload(); } }, option[2])));
    const causes = new Map();
    for (const item of items) {
      for (const [code, number] of Object.entries(item.refused)) causes.set(code, (causes.get(code) ?? 0) + number);
      if (item.limited) causes.set("rate_limited", (causes.get("rate_limited") ?? 0) + item.limited);
    }
    const most = [...causes].sort(([, a], [, b]) => b - a);
    return card("Usage", { id: "usage", actions: choice, note: "Requests of this key, by the hour." },
      total === 0 ? empty("pulse", "No requests", `Nobody used this key in the last ${shown[2]}.`) : [
        chart(made, size),
        most.length > 0 && h("div.causes", null, h("h3", null, "Refusals by cause"),
          h("ul", null, most.map(([code, number]) => h("li", { "data-key": code }, h("span", null, refusal(code)), h("code", null, code), h("b", null, number.toLocaleString("en")))))),
      ]);
  }

  function details({ key }) {
    const line = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, value));
    return card("Details", { id: "details" }, h("dl.details", null,
      line("Key", h("span.mono", null, key.hint)),
      line("Created", h("span", null, atMinute(key.created_at))),
      line("Last used", when(key.last_used_at)),
      line("Expires", key.expires_at ? [atMinute(key.expires_at), h("span.sub", null, relative(key.expires_at, Infinity))] : "Never"),
      key.revoked_at && line("Revoked", atMinute(key.revoked_at)),
      line("Rate tier", key.tier ?? "standard"),
      line("Environment", key.environment),
      line("Owner", key.owner ?? h("span.faint", null, "None")),
      line("Scopes", key.scopes.length ? h("div.chips", null, key.scopes.map((scope) => h("span.chip.mono", null, scope))) : h("span.faint", null, "None")),
      line("Allowed addresses", key.allowed_addresses?.length ? h("div.chips", null, key.allowed_addresses.map((address) => h("span.chip.mono", null, address))) : h("span.faint", null, "Everywhere")),
      line("Id", h("span.mono.break", null, key.id))));
  }

  function ending(data) {
    const { key } = data;
    const line = (title, text, ...does) => h("div.ending", null, h("div", null, h("h3", null, title), h("p.note", null, text)), does);
    return card("Taking it out of use", { id: "ending" },
      !key.revoked_at && line(key.enabled ? "Disable" : "Enable",
        key.enabled ? "Refused at once; can be enabled again." : "Lets the key work again.",
        button(key.enabled ? "Disable" : "Enable", { id: "switch", onclick: () => switchKey(data, reload) })),
      !key.revoked_at && line("Revoke", "Refused for good; its record stays.", button("Revoke", { look: "danger", id: "revoke", onclick: () => revokeKey(data, reload) })),
      line("Delete", "The key and its usage are gone.", button("Delete", { look: "danger", id: "delete", onclick: () => deleteKey(data, reload) })));
  }

  return {
    title: "API key",
    gone: () => gonePage({
      trail: "REST API Keys", href: "#/keys", title: name ?? "API key",
      text: name ? "This key was deleted. What it did stays in the activity log." : "There is no such key. It may have been deleted.",
    }),
    name: (data) => data?.key.name ?? "API key",
    load,
    view(data) {
      const { key } = data;
      const state = keyState(key);
      const mayChange = isAdministrator() || !key.administrator;
      return [
        pageHead({
          trail: [h("a", { href: "#/keys" }, "REST API Keys"), " /"],
          title: key.name,
          aside: [keyBadge(state), key.administrator && badge("Administrator", "calm", "shield")],
          actions: [
            linkButton("Activity", `#/activity?key=${encodeURIComponent(key.id)}`, "pulse"),
            mayChange && button("Edit", { drawing: "edit", id: "edit", onclick: () => editKey(data, reload) }),
            mayChange && !key.revoked_at && button("Regenerate API Key", { drawing: "refresh", id: "regenerate", onclick: () => regenerateKey(data, reload) }),
          ],
        }),
        limitedNotice(data.limited),
        !mayChange && untouchable(),
        state === "revoked" && notice("bad", "ban", h("p", null, "This key was revoked for good: it never works again.")),
        state === "disabled" && notice("calm", "pause", h("p", null, "This key is disabled: it is refused, and keeps its modules and places in line.")),
        state === "expired" && notice("warn", "clock", h("p", null, "This key has expired. Give it a later expiry to use it again.")),
        h("div.columns", null,
          h("div.wide-column", null, modules(data, mayChange), usage(data)),
          h("div.narrow-column", null, details(data), mayChange && ending(data))),
      ];
    },
  };
}
