// The page of one license: who holds it, who waits for it.

import { get } from "./api.js";
import { h } from "./dom.js";
import { limitedNotice } from "./keys.js";
import { changeLicense, removeLicense } from "./license_actions.js";
import { licenseBadge, licenseWhy } from "./licenses.js";
import { lookUp } from "./names.js";
import { reservations } from "./reservations.js";
import { releaseButton, since, unusedChoice } from "./unused.js";
import { button, card, empty, gonePage, holder, notice, pageHead, table, usageBar, when } from "./ui.js";
import { count, endsIn, licenseState, place, validThrough } from "./words.js";

const PAGE = 100;
/// What is told of a license that is gone.
const NOBODY = { reserved: [], waiting: [], more: {} };

/// Makes the page of the license `id`.
export function licensePage({ reload, render }, id) {
  let unused = "";
  let wanted = PAGE;

  async function line(signal) {
    try {
      return await reservations(id, wanted, { since: since(unused), signal });
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      return NOBODY;
    }
  }

  async function load(signal) {
    const [licenses, modules, limited, found] = await Promise.all([
      get("licenses", signal), get("modules", signal), get("limited-edition", signal), line(signal),
    ]);
    await lookUp([...found.reserved, ...found.waiting].map((entry) => entry.key_id));
    const license = licenses.find((entry) => entry.id === id);
    return { license, modules: modules.filter((entry) => entry.license === id), limited: limited.enabled, ...found };
  }

  /// Below a list that has `shown` of `all` entries; how many there are of the unused ones nobody has counted.
  const foot = (name, shown, all) => h("div.list-foot", null,
    h("span", { role: "status" }, all === null ? `${count(shown, "key")} shown` : `${shown} of ${count(all, "key")} shown`),
    button("Load more", { id: `more-${name}`, onclick: () => { wanted += PAGE; reload(); } }));

  function reservedCard({ reserved, license, more }) {
    const rows = reserved.map((entry) => ({
      key: entry.key_id,
      props: { "data-test": "reserved-row" },
      cells: [holder(entry.key_id), when(entry.since), when(entry.last_used_at), releaseButton(id, entry.key_id, reload)],
    }));
    const choice = unusedChoice(unused, (value) => { unused = value; wanted = PAGE; render(); reload(); });
    return card("Reserved", { id: "reserved", flush: true, actions: choice, note: unused ? "Who has held a seat for so long without using it." : "Who holds a seat, the oldest reservation first." },
      rows.length ? [
        table("Reserved", [["Key", "main"], ["Held since"], ["Last used"], ["Actions", "actions"]], rows, { class: "rows" }),
        more.reserved && foot("reserved", rows.length, unused ? null : license.used),
      ]
        : unused ? empty("check", "No seat was unused for that long", "Who holds a seat has used it since, or has not held it so long.")
        : empty("key", "Nobody holds a seat", license.waiting ? "Nobody can get one at present." : "Assign a key a module of this license."));
  }

  function waitingCard({ waiting, license, more }) {
    const rows = waiting.map((entry) => ({
      key: entry.key_id,
      sign: String(entry.position),
      props: { "data-test": "waiting-row" },
      cells: [h("span.place", null, place(entry.position)), holder(entry.key_id), when(entry.since)],
    }));
    return card("Waiting in line", { id: "waiting", flush: true, note: "The first in line gets the next seat that comes free." },
      rows.length ? [
        table("Waiting", [["Place"], ["Key", "main"], ["Assigned"]], rows, { class: "rows slim" }),
        more.waiting && foot("waiting", rows.length, license.waiting),
      ]
        : empty("check", "Nobody waits", "Whoever needs a seat has one."));
  }

  return {
    title: "License",
    name: () => id,
    load,
    view(data) {
      const { license, modules, limited } = data;
      if (!license) return gonePage({ trail: "License & Features", href: "#/licenses", title: id, text: "There is no license of this name any more: it was removed." });
      const state = licenseState(license, limited);
      const why = licenseWhy(license, limited);
      const tile = (title, ...value) => h("div.tile", null, h("p.label", null, title), value);
      return [
        pageHead({
          trail: [h("a", { href: "#/licenses" }, "License & Features"), " /"],
          title: id,
          aside: [licenseBadge(license, limited), why && h("span.why", null, why)],
          actions: [
            button("Change seats or date", { drawing: "edit", id: "change", onclick: () => changeLicense(license, reload) }),
            button("Remove", { look: "danger", drawing: "trash", id: "remove", onclick: () => removeLicense(license, reload) }),
          ],
        }),
        limitedNotice(limited),
        state === "expired" && notice("warn", "clock", h("p", null, h("strong", null, "This license has expired."), " Its modules are refused until it is renewed; modules and places in line stay.")),
        h("section.tiles", { "aria-label": "Overview" },
          tile("Seats", usageBar(license)),
          tile("Waiting", h("b.figure", { "data-test": "waiting" }, String(license.waiting)), h("span.sub", null, license.waiting ? `${count(license.waiting, "key")} without a seat` : "Nobody waits")),
          tile("Valid", h("b", null, validThrough(license.valid_until)), h("span.sub", null, state === "soon" ? endsIn(license.valid_until) : state === "expired" ? "Ended" : null)),
          tile("Modules", modules.length ? h("div.chips", null, modules.map(({ module }) => h("span.chip.mono", null, module))) : h("span.faint", null, "No module needs it"))),
        h("div.halves", null, reservedCard(data), waitingCard(data)),
      ];
    },
  };
}
