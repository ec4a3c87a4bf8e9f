// The page Activity: the log, the newest first, in sentences.

import { get } from "./api.js";
import { Backwards, csv, download } from "./audit.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { isUser, keyOfActor, learn } from "./names.js";
import { actorText, holderText, KINDS, sentence } from "./sentences.js";
import { button, empty, holder, licenseLink, pageHead, toastProblem } from "./ui.js";
import { atClock, count, exactly, onWeekday } from "./words.js";

const PAGE = 50;
const LOOKS = {
  key_created: ["plus", "good"], key_changed: ["edit", "calm"], key_regenerated: ["refresh", "calm"], key_revoked: ["ban", "bad"],
  key_expired: ["clock", "warn"], key_deleted: ["trash", "bad"], key_disabled: ["pause", "warn"], key_enabled: ["check", "good"],
  module_assigned: ["link", "calm"], module_unassigned: ["unplug", "calm"], module_mapped: ["link", "calm"],
  license_added: ["plus", "good"], license_removed: ["trash", "bad"], license_expired: ["clock", "warn"], license_renewed: ["check", "good"],
  validity_changed: ["clock", "calm"], count_changed: ["edit", "calm"], limited_edition_changed: ["alert", "warn"],
  reserved: ["check", "good"], reservation_removed: ["cross", "warn"], reservation_failed: ["alert", "bad"],
};

/// Makes the page. What stands in the address after `?` is the filter to begin with.
export function activityPage({ reload, render }, address) {
  const filter = Object.fromEntries(new URLSearchParams(address ?? ""));
  let wanted = PAGE;
  let log = null;
  let offered = null;
  let exporting = false;

  const wantedFilter = () => ({
    actor: filter.actor || null,
    key: filter.key || null,
    event: filter.event || null,
    from: filter.from ? new Date(`${filter.from}T00:00:00`).getTime() : null,
    to: filter.to ? new Date(`${filter.to}T00:00:00`).setDate(new Date(`${filter.to}T00:00:00`).getDate() + 1) : null,
  });

  async function load(signal) {
    const mine = (log ??= new Backwards(wantedFilter()));
    // Keys to filter by: those of the first page of the list, and those that the log shows.
    offered ??= (await get("keys?limit=500", signal)).items;
    learn(offered);
    await mine.refresh(signal);
    await mine.upTo(wanted, signal);
    return { items: mine.items.slice(0, wanted), more: !mine.over || mine.items.length > wanted };
  }

  const change = (name, value) => {
    filter[name] = value.trim();
    log = null;
    wanted = PAGE;
    const given = new URLSearchParams(Object.entries(filter).filter(([, text]) => text)).toString();
    // The address can be kept and sent on; it is no new page.
    history.replaceState(history.state, "", `${location.pathname}${location.search}#/activity${given && `?${given}`}`);
    reload();
  };

  async function exportAll() {
    exporting = true;
    render();
    try {
      const all = new Backwards(wantedFilter());
      await all.upTo(Infinity);
      download(`activity-${new Date().toISOString().slice(0, 10)}.csv`, csv(all.items));
    } catch (problem) {
      toastProblem(problem);
    } finally {
      exporting = false;
      render();
    }
  }

  const piece = (part) => {
    if (typeof part === "string") return part;
    if (part.key) return h("strong", null, holder(part.key));
    return part.license ? licenseLink(part.license) : h("span.mono", null, part.module);
  };

  function actor(name) {
    const id = keyOfActor(name);
    return id ? holder(id) : h("span", null, actorText(name));
  }

  function entry(event) {
    const [drawing, tone] = LOOKS[event.event] ?? ["info", "calm"];
    return h("li.entry", { "data-key": String(event.seq), "data-test": "entry", "data-event": event.event },
      h("span.entry-mark", { class: tone }, icon(drawing)),
      h("p.entry-text", null, sentence(event).map(piece)),
      h("p.entry-meta", null, h("span", null, "by ", actor(event.actor)), h("time", { datetime: event.at, title: exactly(event.at) }, atClock(event.at))));
  }

  function days(items) {
    const groups = [];
    for (const event of items) {
      const day = onWeekday(event.at);
      if (groups.at(-1)?.day !== day) groups.push({ day, events: [] });
      groups.at(-1).events.push(event);
    }
    return groups.map(({ day, events }) => h("section.day", { "data-key": day }, h("h2", null, day), h("ol", null, events.map(entry))));
  }

  function filters(items) {
    const actors = new Set(["system", ...items.map((event) => event.actor)]);
    const keys = new Set([...offered.map(({ id }) => id), ...items.map((event) => event.holder).filter((id) => id && !isUser(id))]);
    const offer = (name, label, options) => h("label.filter", null, h("span", null, label),
      h("select", { id: `filter-${name}`, onchange: (event) => change(name, event.target.value) },
        [["", "All"], ...options].map(([value, text]) => h("option", { value, "data-key": `of ${value}`, selected: (filter[name] ?? "") === value }, text))));
    const kinds = !filter.event || KINDS.some(([kind]) => kind === filter.event) ? KINDS : [...KINDS, [filter.event, filter.event]];
    const withChosen = (set, chosen) => (chosen ? set.add(chosen) : set);
    const sorted = (ids, text) => [...ids].map((id) => [id, text(id)]).sort(([, a], [, b]) => a.localeCompare(b));
    const date = (name, label) => h("label.filter", null, h("span", null, label),
      h("input", { type: "date", id: `filter-${name}`, value: filter[name], onchange: (event) => change(name, event.target.value) }));
    return h("div.filters", { role: "search", "aria-label": "Filter the activity" },
      offer("actor", "Who", sorted(withChosen(actors, filter.actor), actorText)),
      offer("key", "Key", sorted(withChosen(keys, filter.key), holderText)),
      offer("event", "What", kinds),
      date("from", "From"), date("to", "To"));
  }

  return {
    title: "Activity",
    load,
    view({ items, more }) {
      const filtered = Object.values(filter).some(Boolean);
      return [
        pageHead({
          trail: "History", title: "Activity", note: "Who did what, and which seats changed hands. Nothing is ever taken from this log.",
          actions: button(exporting ? "Exporting…" : "Export as CSV", { drawing: "download", id: "export", disabled: exporting, "aria-busy": exporting ? "true" : null, onclick: exportAll }),
        }),
        h("section.card.flush", { "aria-label": "Activity" },
          filters(items),
          items.length ? h("div.log", null, days(items))
            : empty("pulse", filtered ? "Nothing matches" : "Nothing happened yet", filtered ? "No entry of the log is of this kind." : "What people and the system do is written here.",
              filtered && button("Show all", { onclick: () => { location.hash = "#/activity"; dispatchEvent(new HashChangeEvent("hashchange")); } })),
          h("div.list-foot", null, h("span", { role: "status" }, more ? `${count(items.length, "entry", "entries")} shown` : count(items.length, "entry", "entries")),
            more && button("Load more", { id: "load-more", onclick: () => { wanted += PAGE; reload(); } }))),
      ];
    },
  };
}
