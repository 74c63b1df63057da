// The newest dead letters, and one of them whole, with its retry.

import { byId, h, mark, replace, say } from "./dom.js";
import { pretty } from "./json.js";
import { Failure } from "./session.js";
import { ago, bytes, clock, count, visible, visibleLines } from "./words.js";

const LIMIT = 50;
/** The list is asked for again so often while it is shown, and at once where new letters came. */
const AGAIN_MS = 10000;
const SOON_MS = 1500;

const WORDS = {
  decode: "its body cannot be decoded",
  invalid: "its payload does not fit the schema of validate",
  "too-large": "it is too large",
  "missing-field": "a field is missing that the route reads",
  "wrong-type": "a value is of a type that the route cannot use",
  "not-json": "a value has no form in JSON",
  option: "an option of the message would be invalid",
  arguments: "the actor cannot be called so",
  unmatched: "no route takes its topic",
  "not-allowed": "it names an actor or a queue that its route does not allow",
  "refused-by-redis": "Redis will never take its message",
  poison: "the bridge ended again and again while it worked on it",
};

export class Letters {
  constructor(model, session, tryAgain) {
    this.model = model;
    this.session = session;
    this.tryAgain = tryAgain;
    this.panel = byId("letters");
    this.list = h("ul", { class: "letters" });
    this.note = h("p", { class: "note" });
    this.panel.replaceChildren(this.note, this.list);
    this.known = [];
    this.asked = 0;
    this.dead = -1;
    this.opened = null;
  }

  /** Ask for the letters where it is time to, also while another tab is shown: the badge and the routes need their number. */
  render(isConnected) {
    const dead = this.model.letters;
    say(byId("dead-count"), this.model.lettersLeft ? count(this.model.lettersLeft) : "");
    for (const { element, letter } of this.items ?? []) say(element, ago(this.model.head.now - letter.received_at_ms / 1000));
    if (!isConnected || this.isAsking) return;
    const wait = dead === this.dead ? AGAIN_MS : SOON_MS;
    if (performance.now() - this.asked < wait && this.asked) return;
    this.dead = dead;
    this.ask();
  }

  async ask() {
    [this.isAsking, this.asked] = [true, performance.now()];
    try {
      this.take(await this.session.send(`/dead-letters?limit=${LIMIT}`));
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      say(this.note, `The dead letters cannot be read: ${failure.message}`);
      mark(this.note, "data-level", "bad");
      this.model.lettersLeft = null;
    }
    this.isAsking = false;
  }

  take({ letters, cause, total }) {
    this.model.lettersLeft = cause ? null : total;
    mark(this.note, "data-level", cause ? "bad" : null);
    const more = total > letters.length ? ` The newest ${count(letters.length)} of ${count(total)}.` : "";
    say(this.note, cause ? `The dead letters cannot be read: ${visible(cause)}` : letters.length ? more : "");
    this.note.hidden = !this.note.textContent;
    if (cause) return;
    const key = JSON.stringify([letters.map(({ id, error }) => [id, error]), this.opened, this.session.may]);
    if (key === this.key) return;
    this.key = key;
    this.known = letters;
    this.draw();
  }

  draw() {
    this.items = [];
    if (!this.known.length) {
      replace(this.list, h("li", { class: "empty" }, "No dead letters."));
      return;
    }
    replace(this.list, ...this.known.map((letter) => this.item(letter)));
  }

  item(letter) {
    const when = h("time", { title: clock(letter.received_at_ms / 1000) }, ago(this.model.head.now - letter.received_at_ms / 1000));
    this.items.push({ element: when, letter });
    const isOpen = this.opened === letter.id;
    const place = [letter.source, letter.route].filter(Boolean).map(visible).join(" › ");
    const head = h("button", { type: "button", class: "letter", "data-key": letter.id, "aria-expanded": String(isOpen), on: { click: () => this.toggle(letter.id) } },
      h("span", { class: "top" }, h("b", { class: "why" }, visible(letter.reason)), h("span", { class: "place" }, place), when),
      h("span", { class: "text" }, said(letter)));
    const item = h("li", {}, head);
    if (isOpen) item.append(this.whole(letter));
    return item;
  }

  toggle(id) {
    this.opened = this.opened === id ? null : id;
    this.draw();
  }

  /** Return the detail of an open letter; its contents come later. */
  whole(letter) {
    const facts = h("dl", { class: "facts" });
    const add = (name, value, attributes = { class: "code" }) => facts.append(h("div", {}, h("dt", {}, name), h("dd", attributes, value)));
    const contents = h("div", { class: "contents" });
    const failure = h("p", { class: "error", role: "alert" });
    add("id", visible(letter.id));
    add("topic", visible(letter.topic) || "none");
    add("received", clock(letter.received_at_ms / 1000), {});
    add("body", `${bytes(letter.body_size)}${letter.body_cut ? `, ${letter.redacted?.includes("payload") ? "left out by dead_letters.redact" : "cut"}: it cannot be retried` : ""}`, {});
    if (letter.redacted?.length) add("redacted", letter.redacted.map(visible).join(", "));
    for (const [at, { reason, error }] of (letter.earlier ?? []).entries()) add(`earlier reason ${at + 1}`, visible(error ? `${reason}: ${error}` : reason), {});
    const retry = h("button", { type: "button", "data-key": `retry ${letter.id}`, disabled: Boolean(letter.body_cut), on: { click: () => this.retry(letter, retry, failure) } }, "Retry");
    const again = h("button", { type: "button", class: "plain", "data-key": `try ${letter.id}`, hidden: true }, "Try it without writing");
    const box = h("div", { class: "whole" }, facts, contents, failure, h("div", { class: "actions" }, again, retry));
    if (this.session.may) this.fetch(letter, contents, again);
    else contents.append(h("p", { class: "note" }, `Body and headers are hidden. ${this.session.why}`));
    return box;
  }

  async fetch(letter, contents, again) {
    let whole;
    try {
      [whole] = (await this.session.send(`/dead-letters?id=${encodeURIComponent(letter.id)}`)).letters;
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      contents.append(h("p", { class: "error" }, failure.message));
      return;
    }
    if (!whole) {
      contents.append(h("p", { class: "note" }, "It is gone: somebody has retried or deleted it."));
      return;
    }
    const pre = (label, text) => contents.append(h("h3", {}, label), h("pre", { tabindex: "0" }, visibleLines(text)));
    const part = whole.body_shown < whole.body_size ? `, the first ${bytes(whole.body_shown)}` : "";
    if (typeof whole.body === "string") pre(`Body${part}`, pretty(whole.body) || "empty");
    else if (typeof whole.body_base64 === "string") pre(`Body in base64${part}`, whole.body_base64);
    for (const [label, part] of [["Headers", whole.headers], ["Meta", whole.meta]]) {
      if (part && part !== "{}") pre(label, pretty(part));
    }
    again.hidden = typeof whole.body !== "string" || Boolean(part) || Boolean(letter.body_cut);
    again.addEventListener("click", () => this.tryAgain(whole));
  }

  async retry(letter, button, failure) {
    if (!this.session.may) {
      if (this.session.access === "token") this.session.ask();
      else say(failure, this.session.why);
      return;
    }
    button.disabled = true;
    say(failure, "");
    try {
      const { outcome, reason, detail } = await this.session.send(`/dead-letters/retry?id=${encodeURIComponent(letter.id)}`, { method: "POST" });
      if (outcome === "retried") {
        say(byId("said"), "The dead letter was retried: its message is in the queue.");
        [this.opened, this.key] = [null, null];
        this.asked = 0;
        await this.ask();
        return;
      }
      say(failure, { failed: `It failed again: ${visible(reason)}: ${visible(detail)}`, refused: `It cannot be retried: ${visible(detail)}`, gone: "It is gone: somebody has retried or deleted it." }[outcome] ?? outcome);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      say(failure, error.message);
    }
    button.disabled = false;
  }

  /** Draw again, and ask again: the token has come or gone, and with it the errors. */
  refresh() {
    [this.key, this.asked] = [null, 0];
    this.draw();
  }
}

/** Return the error of a letter; without the token, since it may quote contents of the event, its reason in words. */
function said({ error, reason, place }) {
  if (typeof error === "string") return visible(error);
  return visible([place, WORDS[reason] ?? "enter the token for its error"].filter(Boolean).join(": "));
}
