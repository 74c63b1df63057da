// The token, and the requests that may need it. It lives in this page's memory alone, and travels in one header only.

import { byId, h, say } from "./dom.js";

export class Failure extends Error {}

export class Session {
  constructor(changed) {
    this.secret = null;
    this.access = "none";
    this.changed = changed;
    byId("token").addEventListener("click", () => this.ask());
  }

  /** Take the kind of access that the server has: "socket", "token" or "none". */
  take(access) {
    this.access = access;
    this.show();
  }

  /** Whether this page may change something, as far as it knows. */
  get may() {
    return this.access === "socket" || (this.access === "token" && this.secret !== null);
  }

  /** Why it may not, in words. */
  get why() {
    if (this.may) return "";
    return this.access === "none" ? "This bridge only shows: its configuration has no admin token." : "This needs the token.";
  }

  show() {
    const button = byId("token");
    button.hidden = this.access !== "token";
    say(button, this.secret === null ? "Enter token" : "Token entered");
    button.dataset.on = this.secret !== null;
  }

  /** Send a request; return the JSON of its answer. Raises Failure with words. */
  async send(path, options = {}) {
    const headers = this.secret === null ? {} : { Authorization: `Bearer ${this.secret}` };
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
    } catch {
      throw new Failure("the bridge does not answer");
    }
    if (response.status === 401 && this.secret !== null) {
      this.forget();
      throw new Failure("wrong token");
    }
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    let body;
    try {
      body = isJson ? await response.json() : await response.text();
    } catch {
      throw new Failure("the connection ended before the answer was whole");
    }
    if (!response.ok) throw new Failure(isJson ? body.cause ?? `answer ${response.status}` : body.trim());
    return body;
  }

  forget() {
    this.secret = null;
    this.show();
    this.changed();
  }

  /** Ask for the token in a dialog, and try it. */
  ask() {
    const dialog = byId("token-dialog");
    const field = h("input", { type: "password", id: "token-field", autocomplete: "off", spellcheck: "false", required: true, maxlength: "1024", "aria-describedby": "token-error" });
    const error = h("p", { id: "token-error", class: "error", role: "alert" });
    const forget = h("button", { type: "button", class: "plain", hidden: this.secret === null, on: { click: () => { this.forget(); dialog.close(); } } }, "Forget it");
    const form = h("form", { method: "dialog" },
      h("h2", { id: "token-title" }, "Token of this bridge"),
      h("p", {}, "It stands in the configuration, under admin: token. With it you pause, resume and retry, and see the contents of events. It stays in this page until you close it."),
      h("label", { for: "token-field" }, "Token"), field, error,
      h("div", { class: "actions" }, forget, h("button", { type: "button", class: "plain", on: { click: () => dialog.close() } }, "Cancel"), h("button", { type: "submit" }, "Use it")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      say(error, "");
      const before = this.secret;
      this.secret = field.value.trim();
      try {
        if (!/^[!-~]+$/.test(this.secret)) throw new Failure("A token has no blanks, and no characters beyond ASCII.");
        await this.send("/dead-letters?limit=1");
        dialog.close();
        this.show();
        this.changed();
      } catch (failure) {
        if (!(failure instanceof Failure)) throw failure;
        this.secret = before;
        say(error, failure.message);
        field.select();
      }
    });
    dialog.replaceChildren(form);
    dialog.showModal();
    field.focus();
  }
}
