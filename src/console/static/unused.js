// Seats that nobody uses, and how to find them.

import { get, now, part, query } from "./api.js";
import { h } from "./dom.js";
import { releaseSeat } from "./license_actions.js";
import { isUser, learn } from "./names.js";
import { button, card, empty, holder, licenseLink, table, when } from "./ui.js";

const DAY = 86_400_000;
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
  return {
    async load(licenses, signal) {
      if (!days) return null;
      const found = await Promise.all(licenses.filter((license) => license.used && license.seats !== null).map(async ({ id }) => {
        const { reserved } = await get(`licenses/${part(id)}/reservations${query({ unused_since: since(days) })}`, signal);
        learn(reserved);
        return reserved.map((entry) => ({ ...entry, license: id }));
      }));
      return found.flat();
    },
    view(found) {
      const choice = unusedChoice(days, (value) => { days = value; render(); reload(); }, [["", "Choose…"], ...SPANS.slice(1)]);
      return card("Unused reservations", { id: "unused-card", actions: choice, flush: true, note: "Seats of limited licenses, held by keys that nobody uses: release them for those who wait." },
        found === null ? h("p.card-text.faint", null, "Choose how long a seat was not used.")
          : !found.length ? empty("check", "Every seat is in use", "No key holds a seat of a limited license without having used it.")
          : table("Unused reservations", [["Key", "main"], ["License"], ["Held since"], ["Last used"], ["Actions", "actions"]], found.map((entry) => ({
            key: `${entry.license} ${entry.key_id}`,
            props: { "data-test": "unused-row" },
            cells: [holder(entry.key_id), licenseLink(entry.license), when(entry.since), when(entry.last_used_at), releaseButton(entry.license, entry.key_id, reload)],
          })), { class: "rows" }));
    },
  };
}
