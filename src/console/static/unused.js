// Seats that nobody uses, and how to find them.

import { now } from "./api.js";
import { h } from "./dom.js";
import { releaseSeat } from "./license_actions.js";
import { isUser } from "./names.js";
import { reservations } from "./reservations.js";
import { button, card, empty, holder, licenseLink, table, when } from "./ui.js";
import { count } from "./words.js";

const DAY = 86_400_000;
/// So many of each license at first, and so many more each time.
const PAGE = 100;
const SPANS = [["", "Any time"], ["1", "For a day"], ["7", "For 7 days"], ["30", "For 30 days"], ["90", "For 90 days"]];

/// The choice of how long a seat was not used.
export const unusedChoice = (chosen, change, options = SPANS) => h("label.inline-choice", null, h("span", null, "Not used"),
  h("select", { id: "unused", onchange: (event) => change(event.target.value) }, options.map(([value, text]) =>
    h("option", { value, "data-key": `of ${value}`, selected: value === chosen }, text))));

/// Since when, of a choice. In whole minutes, so that an unchanged page asks the same again.
export const since = (days) => (days ? new Date(Math.floor(now() / 60_000) * 60_000 - Number(days) * DAY).toISOString() : null);

/// The button that takes a seat back.
export const releaseButton = (license, id, reload) => !isUser(id) && button("Release", {
  look: "quiet", "data-test": "release", onclick: () => releaseSeat(license, id, reload),
});

/// A finder over all licenses, as a part of a page.
export function unusedFinder({ reload, render }) {
  let days = "";
  let wanted = PAGE;
  return {
    async load(licenses, signal) {
      if (!days) return null;
      const found = await Promise.all(licenses.filter((license) => license.used && license.seats !== null).map(async ({ id }) => {
        const { reserved, more } = await reservations(id, wanted, { since: since(days), signal });
        return { more: more.reserved, entries: reserved.map((entry) => ({ ...entry, license: id })) };
      }));
      return { entries: found.flatMap(({ entries }) => entries), more: found.some(({ more }) => more) };
    },
    view(found) {
      const choice = unusedChoice(days, (value) => { days = value; wanted = PAGE; render(); reload(); }, [["", "Choose…"], ...SPANS.slice(1)]);
      return card("Unused reservations", { id: "unused-card", actions: choice, flush: true, note: "Seats of limited licenses, held by keys that nobody uses: release them for those who wait." },
        found === null ? h("p.card-text.faint", null, "Choose how long a seat was not used.")
          : !found.entries.length ? empty("check", "No seat was unused for that long", "Who holds a seat of a limited license has used it since, or has not held it so long.")
          : [
            table("Unused reservations", [["Key", "main"], ["License"], ["Held since"], ["Last used"], ["Actions", "actions"]], found.entries.map((entry) => ({
              key: `${entry.license} ${entry.key_id}`,
              props: { "data-test": "unused-row" },
              cells: [holder(entry.key_id), licenseLink(entry.license), when(entry.since), when(entry.last_used_at), releaseButton(entry.license, entry.key_id, reload)],
            })), { class: "rows" }),
            found.more && h("div.list-foot", null, h("span", { role: "status" }, `${count(found.entries.length, "seat")} shown`),
              button("Load more", { id: "more-unused", onclick: () => { wanted += PAGE; reload(); } })),
          ]);
    },
  };
}
