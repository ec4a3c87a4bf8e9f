// The page REST API Keys: all keys, the newest thing about each, and the way to a new one.

import { get, query } from "./api.js";
import { h, settled } from "./dom.js";
import { icon } from "./icons.js";
import { createKey } from "./key_create.js";
import { learn } from "./names.js";
import { button, empty, keyBadge, moduleChip, notice, pageHead, table, when } from "./ui.js";
import { count, keyState } from "./words.js";

const PAGE = 100;
const MOST_AT_ONCE = 500;
const COLUMNS = [["Name", "main"], ["Status"], ["Modules", "modules"], ["Tier"], ["Created"], ["Last used"]];

/// What somebody searched for is still there when they come back from a key.
let searched = "";
/// And so is as much of the list as they had loaded.
let wanted = PAGE;

/// The remark that limited edition is on.
export const limitedNotice = (enabled, isHere = false) => enabled && notice("warn", "alert",
  h("p", { "data-test": "limited-edition-on" }, h("strong", null, "Limited edition is on. "),
    "Every module that needs a license is refused until it is switched off", isHere ? " below." : [" in ", h("a", { href: "#/licenses" }, "License & Features"), "."]));

/// Makes the page.
export function keysPage({ reload }) {
  const search = settled(250, (text) => {
    searched = text.trim();
    wanted = PAGE;
    reload();
  });

  /// A new key is seen in the list, whatever was searched for.
  function found({ name, hint }) {
    if (![name, hint].some((text) => text.toLowerCase().includes(searched.toLowerCase()))) clear();
  }

  function clear() {
    const box = document.getElementById("search");
    if (box) box.value = "";
    searched = "";
    wanted = PAGE;
    reload();
  }

  async function pages(signal) {
    const items = [];
    let cursor = null;
    do {
      const limit = Math.min(MOST_AT_ONCE, wanted - items.length);
      const page = await get(`keys${query({ limit, cursor, q: searched })}`, signal);
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor && items.length < wanted);
    learn(items);
    return { items, cursor };
  }

  async function load(signal) {
    const [{ items, cursor }, licenses, limited] = await Promise.all([
      pages(signal), get("licenses", signal), get("limited-edition", signal),
    ]);
    return { items, cursor, licenses: new Map(licenses.map((license) => [license.id, license])), limited: limited.enabled };
  }

  function row(key, licenses) {
    const state = keyState(key);
    return {
      key: key.id,
      sign: `${state} ${key.modules.map(({ module, status }) => `${module}:${status}`).join(" ")}`,
      props: { "data-test": "key-row" },
      cells: [
        [h("div.name-cell", null,
          h("a.row-link", { href: `#/keys/${encodeURIComponent(key.id)}` }, key.name),
          h("span.sub", null, h("span.mono", null, key.hint),
            key.administrator && h("span.tag", null, icon("shield"), "Administrator"),
            key.environment !== "live" && h("span.tag", null, key.environment)))],
        keyBadge(state),
        key.modules.length
          ? h("div.chips", null, key.modules.map((module) => moduleChip(module, licenses)))
          : h("span.faint", null, "None"),
        key.tier ?? h("span.faint", null, "standard"),
        when(key.created_at),
        when(key.last_used_at),
      ],
    };
  }

  function listing({ items, cursor, licenses }) {
    if (!items.length && searched) {
      return empty("search", "No key matches", `No key has “${searched}” in its name or in its last characters.`, button("Clear the search", {
        onclick: () => {
          document.getElementById("search").focus();
          clear();
        },
      }));
    }
    if (!items.length) {
      return empty("key", "No API key yet", "A key lets a program call the REST API: give it a name and the modules it needs.",
        button("Add New API Key", { look: "primary", drawing: "plus", onclick: () => createKey(found) }));
    }
    return [
      table("REST API keys", COLUMNS, items.map((key) => row(key, licenses)), { id: "keys-table", class: "rows big" }),
      h("div.list-foot", null,
        h("span", { role: "status" }, cursor ? `${count(items.length, "key")} shown` : count(items.length, "key")),
        cursor && button("Load more", { id: "load-more", onclick: () => { wanted += PAGE; reload(); } })),
    ];
  }

  return {
    title: "REST API Keys",
    load,
    view: (data) => [
      pageHead({
        trail: "User Management",
        title: "REST API Keys",
        note: "Programs use these keys to call the REST API. A key's modules decide what it may call.",
        actions: button("Add New API Key", { look: "primary", drawing: "plus", id: "add-key", onclick: () => createKey(found) }),
      }),
      limitedNotice(data.limited),
      h("section.card.flush", { "aria-label": "Keys" },
        h("div.toolbar", null, h("label.search", null, icon("search"), h("span.unseen", null, "Search keys"),
          h("input", { type: "search", id: "search", placeholder: "Name or last characters", value: searched, autocomplete: "off",
            spellcheck: "false", maxlength: 200, oninput: (event) => search(event.target.value) }), h("kbd", { "aria-hidden": "true" }, "/"))),
        listing(data)),
    ],
  };
}
