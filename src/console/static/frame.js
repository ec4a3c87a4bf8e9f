// What stands around every page: the way about, the session, the look and the connection.

import { current, now } from "./api.js";
import { h, patch } from "./dom.js";
import { icon } from "./icons.js";
import { retryNow } from "./live.js";
import { announce, button } from "./ui.js";
import { exactly, left } from "./words.js";

const WARN_BEFORE = 120_000;
const SECTIONS = [
  ["User Management", [["keys", "REST API Keys", "key"]]],
  ["Configuration", [["licenses", "License & Features", "card"]]],
  ["History", [["activity", "Activity", "pulse"]]],
];
const THEMES = [["light", "Light", "sun"], ["system", "System", "screen"], ["dark", "Dark", "moon"]];

const chosenTheme = () => document.documentElement.dataset.theme ?? "system";

function chooseTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem("console-theme");
    else localStorage.setItem("console-theme", theme);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/// The choice of light and dark.
export function themeSwitch() {
  return h("fieldset.themes", null, h("legend.unseen", null, "Appearance"), THEMES.map(([value, text, drawing]) =>
    h("label", { title: `${text} appearance` },
      h("input.unseen", { type: "radio", name: "theme", value, checked: value === chosenTheme(), onchange: () => chooseTheme(value) }),
      icon(drawing), h("span.unseen", null, text))));
}

/// Builds the frame into `app`. Answers with `{main, section, connection, stop}`.
export function buildFrame(app, { signOut, ended, help }) {
  const nav = h("nav.nav", { "aria-label": "Main" });
  const ends = h("span.session-left", { id: "session-left", role: "timer", "aria-live": "off" });
  const main = h("main", { id: "main", tabindex: -1 });
  const banner = h("div.banner-place", { id: "connection", role: "status", "aria-live": "polite" });
  const session = current();
  const side = h("div.side", null,
    h("a.brand", { href: "#/keys", "aria-label": "API Console" }, h("span.brand-mark", null, icon("key")), h("span", null, "API Console")),
    nav,
    h("section.me", { "aria-label": "Session" },
      h("div.me-who", null, h("span.me-mark", null, icon(session.role === "administrator" ? "shield" : "user")),
        h("div.me-words", null,
          h("strong", { id: "session-name", title: session.name }, session.name),
          h("span.me-role", null, session.role === "administrator" ? "Administrator" : "Manager", " · ", ends))),
      h("div.me-tools", null, themeSwitch(),
        h("button.icon-button", { type: "button", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)", onclick: help, id: "help" }, "?"),
        button("Sign out", { look: "quiet", drawing: "leave", id: "sign-out", onclick: signOut }))));
  app.replaceChildren(h("div.frame", null, h("header.side-place", null, side), h("div.content", null, banner, main)));
  app.classList.add("signed-in");

  let warned = false;
  let over = null;
  const tell = () => {
    // Another window may have begun a later one.
    const { expires_at: until } = current() ?? session;
    const span = Date.parse(until) - now();
    if (span <= 0) {
      if (over !== until) ended();
      over = until;
      return;
    }
    const text = `${left(span)} left`;
    if (ends.textContent !== text) ends.textContent = text;
    ends.title = `Session ends ${exactly(until)}`;
    ends.classList.toggle("soon", span <= WARN_BEFORE);
    if (span <= WARN_BEFORE && !warned) announce(`The session ends in ${left(span)}`);
    warned ||= span <= WARN_BEFORE;
  };
  const ticking = setInterval(tell, 1000);
  let counting = null;

  function connection({ up, retryAt, limited, resting }) {
    clearInterval(counting);
    if (resting) {
      document.documentElement.dataset.connection = "resting";
      return;
    }
    document.documentElement.dataset.connection = up ? "up" : "down";
    if (up) return patch(banner);
    const wait = h("span", { "aria-hidden": "true" });
    const show = () => {
      const seconds = Math.ceil((retryAt - Date.now()) / 1000);
      wait.textContent = seconds <= 0 ? " Trying…" : limited ? ` It goes on in ${left(seconds * 1000)}.` : ` Next try in ${seconds} s.`;
    };
    show();
    counting = setInterval(show, 1000);
    banner.replaceChildren(limited
      ? h("div.banner", { "data-test": "over-the-limit" }, icon("clock"),
        h("p", null, h("strong", null, "Over the limit."), ` ${limited.message} Changes made elsewhere are not shown until it goes on.`, wait))
      : h("div.banner", { "data-test": "connection-lost" }, icon("unplug"),
        h("p", null, h("strong", null, "Connection lost."), " What you see may be out of date; reconnecting by itself.", wait),
        button("Reconnect now", { look: "quiet", onclick: retryNow })));
  }

  function section(name) {
    patch(nav, SECTIONS.map(([title, links]) => h("div.nav-group", null, h("p", null, title),
      links.map(([path, text, drawing]) => h("a", { href: `#/${path}`, "aria-current": path === name ? "page" : null, id: `nav-${path}` },
        icon(drawing), h("span", null, text))))));
  }

  tell();
  return {
    main,
    section,
    connection,
    stop() {
      clearInterval(ticking);
      clearInterval(counting);
      app.classList.remove("signed-in");
    },
  };
}
