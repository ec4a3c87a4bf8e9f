// Signing in with a management key.

import { signIn } from "./api.js";
import { h, patch } from "./dom.js";
import { icon } from "./icons.js";
import { themeSwitch } from "./frame.js";
import { button, notice } from "./ui.js";

/// Shows the sign-in in `app`; `why` says why, `done` goes on.
export function showSignIn(app, why, done) {
  const error = h("div", { "aria-live": "assertive" });
  const key = h("input.mono", {
    type: "password", id: "key", name: "key", autocomplete: "current-password", required: true, spellcheck: "false",
    "aria-describedby": "key-hint", placeholder: "rk_live_…",
  });
  const submit = button("Sign in", { look: "primary", type: "submit", id: "sign-in" });
  const reveal = h("button.button.quiet.reveal", { type: "button", "aria-pressed": "false", onclick: () => {
    const shown = key.type === "text";
    key.type = shown ? "password" : "text";
    reveal.setAttribute("aria-pressed", String(!shown));
    reveal.textContent = shown ? "Show" : "Hide";
  } }, "Show");
  const fail = (title, text) => {
    key.setAttribute("aria-invalid", "true");
    patch(error, notice("bad", "alert", h("p", { "data-test": "problem" }, h("strong", null, title)), text && h("p", null, text)));
    key.focus();
  };
  const attempt = async (event) => {
    event.preventDefault();
    const text = key.value.trim();
    if (!text) return fail("Enter an API key.", "Any key that may manage API keys will do.");
    submit.setAttribute("aria-busy", "true");
    submit.disabled = true;
    try {
      await signIn(text);
      key.value = "";
      done();
    } catch (problem) {
      fail(problem.message, problem.status ? problem.remediation : "Check the connection and try again.");
    } finally {
      submit.removeAttribute("aria-busy");
      submit.disabled = false;
    }
  };
  document.title = "Sign in · API Console";
  app.replaceChildren(h("main.sign-in", { id: "main", tabindex: -1 },
    h("form.sign-in-card", { onsubmit: attempt, novalidate: true },
      h("div.brand", null, h("span.brand-mark", null, icon("key")), h("span", null, "API Console")),
      h("h1", null, "Sign in"),
      h("p.note", null, "Manage REST API keys, their modules and license seats."),
      why && notice("calm", "info", h("p", { "data-test": "why" }, why)),
      h("div.field", null, h("label", { for: "key" }, "Management key"), h("div.with-button", null, key, reveal),
        h("p.hint", { id: "key-hint" }, "An administrator's key, or one with the module rest_api_management. It is exchanged for a session and not kept.")),
      error, submit),
    themeSwitch()));
  key.focus();
}
