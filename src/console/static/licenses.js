// The page License & Features: every license, what needs it, and limited edition.

import { get } from "./api.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { limitedNotice } from "./keys.js";
import { addLicense, mapModule, switchLimited } from "./license_actions.js";
import { unusedFinder } from "./unused.js";
import { badge, button, card, empty, licenseLink, pageHead, table, usageBar } from "./ui.js";
import { count, endDay, endsIn, licenseState, validThrough } from "./words.js";

/// What state a license is in, as badges.
export function licenseBadge(license, limited) {
  const state = licenseState(license, limited);
  const props = { "data-test": "license-status", "data-state": state };
  if (state === "limited") return badge("Expired", "warn", "clock", props);
  if (state === "expired") return badge("Expired", "warn", "clock", props);
  if (state === "soon") return badge(endsIn(license.valid_until), "warn", "clock", props);
  return badge("Valid", "good", "check", props);
}

/// Why, where the badge does not say it.
export function licenseWhy(license, limited) {
  const state = licenseState(license, limited);
  if (state === "limited") return "limited edition";
  if (state === "expired") return `ended on ${endDay(license.valid_until)}`;
  return null;
}

/// The number that waits, standing out where there is one.
export const waitingCount = (waiting) => (waiting
  ? h("span.waiting", { "data-test": "waiting" }, icon("clock"), `${waiting} waiting`)
  : h("span.faint", { "data-test": "waiting" }, "None"));

/// Makes the page.
export function licensesPage({ reload, render }) {
  const unused = unusedFinder({ reload, render });

  async function load(signal) {
    const [licenses, modules, limited] = await Promise.all([get("licenses", signal), get("modules", signal), get("limited-edition", signal)]);
    return { licenses, modules, limited: limited.enabled, unused: await unused.load(licenses, signal) };
  }

  function licenseTable({ licenses, modules, limited }) {
    const rows = licenses.map((license) => {
      const needed = modules.filter((entry) => entry.license === license.id);
      const why = licenseWhy(license, limited);
      return {
        key: license.id,
        sign: `${license.used} ${license.seats} ${license.waiting} ${licenseState(license, limited)}`,
        props: { "data-test": "license-row", "data-license": license.id },
        cells: [
          h("a.row-link.mono", { href: `#/licenses/${encodeURIComponent(license.id)}` }, license.id),
          usageBar(license),
          waitingCount(license.waiting),
          h("span", null, validThrough(license.valid_until)),
          h("div.status-cell", null, licenseBadge(license, limited), why && h("span.why", null, why)),
          needed.length ? h("div.chips", null, needed.map(({ module }) => h("span.chip.mono", null, module))) : h("span.faint", null, "None"),
        ],
      };
    });
    return card("Licenses", { id: "licenses", flush: true, note: "A seat is reserved for each key that is assigned a module of the license, in the order of assignment." },
      rows.length ? table("Licenses", [["License", "main"], ["Seats", "wide"], ["Waiting"], ["Valid", "date"], ["Status"], ["Modules", "modules"]], rows, { class: "rows big" })
        : empty("card", "No license yet", "A license is a number of seats: that many keys may use its modules at once.",
          button("Add license", { look: "primary", drawing: "plus", onclick: () => addLicense(licenses, reload) })));
  }

  function moduleTable({ licenses, modules }) {
    const known = new Set(licenses.map(({ id }) => id));
    const rows = modules.map(({ module, license }) => ({
      key: module,
      sign: license ?? "",
      props: { "data-test": "mapping-row", "data-module": module },
      cells: [
        h("span.mono", null, module),
        !license ? h("span.faint", null, "No license needed")
          : known.has(license) ? licenseLink(license)
          : h("div.status-cell", null, h("span.mono", null, license), badge("Unknown license", "bad", "alert")),
        button("Change", { look: "quiet", "aria-label": `Change the license of ${module}`, onclick: () => mapModule(licenses, modules, module, reload) }),
      ],
    }));
    return card("Modules", {
      id: "mappings", flush: true, note: "Which license a module needs.",
      actions: button("Map module", { drawing: "link", id: "map-module", onclick: () => mapModule(licenses, modules, null, reload) }),
    }, rows.length ? table("Modules", [["Module", "main"], ["License"], ["Actions", "actions"]], rows, { class: "rows" })
      : empty("link", "No module yet", "Map a module to the license it needs, or to none."));
  }

  /// The switch asks first: it shows what is, until the answer has come.
  function limitedCard({ limited }) {
    const control = h("button.switch", {
      type: "button", role: "switch", id: "limited-edition", "aria-checked": String(limited),
      "aria-labelledby": "limited-label", "aria-describedby": "limited-note",
      onclick: () => switchLimited(!limited, reload),
    });
    return h("section.card.switch-card", null,
      h("div", null, h("h2.switch-label", { id: "limited-label" }, "Limited edition"),
        h("p.note", { id: "limited-note" }, limited ? "On: no license gives seats." : "Off: licenses give seats as they should.")),
      control);
  }

  return {
    title: "License & Features",
    load,
    view: (data) => [
      pageHead({
        trail: "Configuration",
        title: "License & Features",
        note: `${count(data.licenses.length, "license")}, ${count(data.licenses.reduce((all, license) => all + license.used, 0), "seat")} in use.`,
        actions: button("Add license", { look: "primary", drawing: "plus", id: "add-license", onclick: () => addLicense(data.licenses, reload) }),
      }),
      limitedNotice(data.limited, true),
      licenseTable(data),
      h("div.columns", null, moduleTable(data), limitedCard(data)),
      unused.view(data.unused),
    ],
  };
}
