// "Try an event": a dry run of an event by the routes of the running bridge. Nothing is sent anywhere.

import { byId, h, mark, replace, say } from "./dom.js";
import { isJson, pretty } from "./json.js";
import { Failure } from "./session.js";
import { some, visible, visibleLines } from "./words.js";

/** So many routes that do not fit are explained. */
const OTHERS = 30;

export class Trial {
  constructor(model, session) {
    this.model = model;
    this.session = session;
    this.source = h("select", { id: "trial-source", required: true });
    this.topic = h("input", { id: "trial-topic", type: "text", autocomplete: "off", spellcheck: "false", maxlength: "65535" });
    this.body = h("textarea", { id: "trial-body", rows: "6", spellcheck: "false", "aria-describedby": "trial-error" }, '{\n  "n": 1\n}');
    this.kind = h("select", { id: "trial-kind", "aria-label": "How the body is written" }, h("option", { value: "payload" }, "payload as JSON"), h("option", { value: "body" }, "body as text"));
    this.headers = h("textarea", { id: "trial-headers", rows: "2", spellcheck: "false", placeholder: '{"x-tenant": "north"}' });
    this.meta = h("textarea", { id: "trial-meta", rows: "2", spellcheck: "false", placeholder: '{"message_id": "m-1"}' });
    this.error = h("p", { id: "trial-error", class: "error", role: "alert" });
    this.result = h("div", { class: "result", "aria-live": "polite" });
    this.run = h("button", { type: "submit" }, "Try");
    const field = (label, control, ...rest) => h("div", { class: "field" }, h("label", { for: control.id }, label), control, ...rest);
    const more = h("details", {}, h("summary", {}, "Headers and meta"), field("Headers, as JSON", this.headers), field("Meta, as JSON", this.meta));
    this.more = more;
    this.form = h("form", { class: "trial" },
      h("p", { class: "note" }, "Which routes would fit, and why. A dry run by the configuration that runs now: nothing is sent."),
      h("div", { class: "pair" }, field("Source", this.source), field("Topic", this.topic)),
      h("div", { class: "field" }, h("div", { class: "labels" }, h("label", { for: "trial-body" }, "Body"), this.kind), this.body), more,
      this.error, h("div", { class: "actions" }, h("kbd", { class: "hint" }, "Ctrl Enter"), this.run));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.send();
    });
    this.source.addEventListener("change", () => this.suggest());
    byId("trial").replaceChildren(this.form, this.result);
  }

  render() {
    const names = JSON.stringify([...this.model.sources.keys()]);
    if (names === this.names) return;
    this.names = names;
    const before = this.source.value;
    this.source.replaceChildren(...[...this.model.sources.keys()].map((name) => h("option", { value: name }, visible(name))));
    if (this.model.sources.has(before)) this.source.value = before;
    else this.suggest();
  }

  /** Suggest a topic that a route of the source takes. */
  suggest() {
    const route = [...this.model.routes.values()].find(({ source, topic }) => source === this.source.value && topic);
    this.topic.placeholder = route ? `as in ${visible(route.topic)}` : "";
  }

  /** Fill the form with the event of a dead letter. */
  fill({ source, topic, body, headers, meta }) {
    this.source.value = source;
    this.topic.value = topic;
    this.body.value = pretty(body);
    this.kind.value = isJson(body) ? "payload" : "body";
    if (this.kind.value === "body") this.body.value = body;
    for (const [area, value] of [[this.headers, headers], [this.meta, meta]]) area.value = value && value !== "{}" ? pretty(value) : "";
    this.more.open = Boolean(this.headers.value || this.meta.value);
    replace(this.result);
    say(this.error, "");
    this.run.focus();
  }

  /** Return the event as JSON. Raises Failure where a field is none. */
  event() {
    const parts = [`"source":${JSON.stringify(this.source.value)}`, `"topic":${JSON.stringify(this.topic.value)}`];
    for (const [name, area] of [["headers", this.headers], ["meta", this.meta]]) if (area.value.trim()) parts.push(`"${name}":${json(name, area.value)}`);
    // As it is written: JavaScript would round great numbers, and make 1.0 an integer.
    if (this.kind.value === "payload") parts.push(`"payload":${json("the payload", this.body.value)}`);
    else parts.push(`"body":${JSON.stringify(this.body.value)}`);
    return `{${parts.join(",")}}`;
  }

  async send() {
    say(this.error, "");
    this.run.disabled = true;
    try {
      this.show(await this.session.send("/try", { method: "POST", body: this.event() }));
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      replace(this.result);
      say(this.error, visible(failure.message));
    }
    this.run.disabled = false;
  }

  show(answer) {
    const fit = answer.routes.filter(({ fits }) => fits);
    const others = answer.routes.filter(({ fits }) => !fits);
    const verdicts = { fits: ["ok", `${some(fit.length, "route")} ${fit.length === 1 ? "fits" : "fit"}`], none: ["warn", fit.length ? "nothing would be written" : "no route fits: the event would be dropped"], "dead-letter": ["bad", "it would become a dead letter"] };
    const [level, words] = verdicts[answer.result];
    const why = answer.why ? h("p", {}, visible(answer.dead_letter ? `${answer.dead_letter}: ${answer.why}` : answer.why)) : null;
    const copy = answer.test ? h("button", { type: "button", class: "plain", "data-key": "copy", on: { click: () => this.copy(answer.test, copy) } }, "Copy as test") : null;
    const without = answer.no_test ? h("p", { class: "note" }, visible(`No test can be copied: ${answer.no_test}`)) : null;
    replace(this.result, h("div", { class: "verdict", "data-level": level }, h("b", {}, words), copy), why, without,
      ...fit.map((each) => this.route(each)),
      others.length ? h("details", { open: fit.length === 0 }, h("summary", {}, `${some(others.length, "other route")} of this source`), ...others.slice(0, OTHERS).map((each) => this.route(each)), others.length + (answer.left_out ?? 0) > OTHERS ? h("p", { class: "note" }, `and ${others.length + (answer.left_out ?? 0) - OTHERS} more`) : null) : null);
  }

  route({ route, verdict, why, queues = [], messages = [], dead_letter: reason }) {
    const level = { message: "ok", "dead-letter": "bad" }[verdict] ?? "none";
    const head = h("p", { class: "tried", "data-level": level }, h("b", {}, visible(route)), level === "ok" ? ` → ${visible(queues.join(", "))}` : level === "bad" ? `: dead letter, ${visible(reason)}` : "", why ? h("span", {}, visible(why)) : null);
    const shown = messages.map((message) => h("pre", { tabindex: "0" }, visibleLines(pretty(message))));
    return h("div", {}, head, ...shown);
  }

  async copy(text, button) {
    const done = await written(text);
    say(button, done ? "Copied" : "Select and copy:");
    mark(button, "data-done", done);
    if (!done) this.result.append(h("pre", { tabindex: "0", class: "test" }, visibleLines(text)));
    setTimeout(() => say(button, "Copy as test"), 2500);
  }
}

function json(name, text) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Failure(`${name} is no JSON: ${error.message}`);
  }
  return text;
}

/** Write a text to the clipboard, and say whether that worked: browsers allow it on this machine's own addresses and by HTTPS. */
async function written(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { readonly: true, class: "hidden" }, text);
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
