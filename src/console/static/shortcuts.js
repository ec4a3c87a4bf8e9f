// Keys that do something without a mouse. They can be switched off: a single character may be
// somebody's dictation.

import { h } from "./dom.js";
import { formDialog, isAsking, tick } from "./dialog.js";

const STORED = "console-shortcuts";
const LIST = [
  ["/", "Search"],
  ["n", "Add New API Key"],
  ["g k", "REST API Keys"],
  ["g l", "License & Features"],
  ["g a", "Activity"],
  ["?", "This list"],
];
const PLACES = { k: "#/keys", l: "#/licenses", a: "#/activity" };

let on = true;
try {
  on = localStorage.getItem(STORED) !== "off";
} catch {
  // Without storage they are on.
}

function choose(event) {
  on = event.target.checked;
  try {
    localStorage.setItem(STORED, on ? "on" : "off");
  } catch {
    // The choice lasts as long as the page.
  }
}

/// Shows what keys there are.
export function showHelp() {
  formDialog({
    id: "shortcuts-dialog", title: "Keyboard shortcuts", action: "Done", cancel: "Close", run: async () => {},
    body: [
      h("dl.shortcuts", null, LIST.map(([keys, text]) => h("div", null, h("dt", null, text),
        h("dd", null, keys.split(" ").map((key) => h("kbd", null, key)))))),
      tick("Use single-key shortcuts", { checked: on, onchange: choose }),
    ],
  });
}

/// Listens for them while `ready` says so.
export function useShortcuts(ready) {
  let afterG = 0;
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog, [contenteditable]");
    if (!on || typing || isAsking() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !ready()) return;
    const second = event.timeStamp - afterG < 1200;
    afterG = 0;
    if (second && PLACES[event.key]) location.hash = PLACES[event.key];
    else if (event.key === "g") afterG = event.timeStamp;
    else if (event.key === "/") document.querySelector("#search")?.focus();
    else if (event.key === "n") document.querySelector("#add-key")?.click();
    else if (event.key === "?") showHelp();
    else return;
    event.preventDefault();
  });
}
