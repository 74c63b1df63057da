// The panel of one source, route or queue: its counts by class and reason, and the orders to it.

import { byId, h, mark, say } from "./dom.js";
import { CLASSES, atMost, queuesOf } from "./model.js";
import { Failure } from "./session.js";
import { spark } from "./spark.js";
import { ago, bytes, count, perSecond, short, some, visible } from "./words.js";

const WORDS = {
  received: ["received", "from the broker"],
  recovered: ["recovered", "from the spool of an earlier run"],
  enqueued: ["enqueued", "at least one message was written, and no route failed"],
  filtered: ["filtered", "no `when` was true"],
  unmatched: ["unmatched", "no route has the topic"],
  deduplicated: ["deduplicated", "written before"],
  expired: ["expired", "their time was up"],
  dead_lettered: ["dead letters", "its event became no message here"],
  returned: ["returned", "the broker redelivers them"],
  lost: ["lost", "nobody redelivers them"],
};

export class Detail {
  constructor(model, session, open) {
    this.model = model;
    this.session = session;
    this.open = open;
    this.panel = byId("detail");
    this.show(null);
  }

  /** Show the node of this kind and name. */
  show(kind, name) {
    [this.kind, this.name, this.error] = [kind, name, ""];
    this.rows = new Map();
    if (!kind) {
      this.panel.replaceChildren(h("p", { class: "empty" }, "Choose a source, a route or a queue in the flow."));
      return;
    }
    this.why = h("p", { class: "reason" });
    this.table = h("table", { class: "counts" });
    this.facts = h("dl", { class: "facts" });
    this.failure = h("p", { class: "error", role: "alert" });
    this.trace = kind === "route" ? null : spark();
    this.order = kind === "queue" ? null : h("button", { type: "button", "data-key": "pause", on: { click: () => this.pause() } });
    const place = { source: "Source", route: "Route", queue: "Queue" }[kind];
    this.panel.replaceChildren(...[
      h("div", { class: "title" }, h("div", {}, h("small", {}, place), h("h2", {}, visible(name))), this.order),
      this.failure, this.why, this.trace?.element, this.facts, this.table, this.ages(kind),
    ].filter(Boolean));
    this.render();
  }

  ages(kind) {
    if (kind !== "source") return null;
    this.bars = h("div", { class: "bars", role: "img" });
    this.histogram = h("figure", { class: "histogram" }, h("figcaption", {}, "Age when written"), this.bars);
    return this.histogram;
  }

  render() {
    if (!this.kind || !this.model.head) return;
    const part = { source: "sources", route: "routes", queue: "queues" }[this.kind];
    const isKnown = this.model[part].has(this.name);
    if (!isKnown && this.kind !== "queue") {
      this.say("bad", `${this.kind} ${visible(this.name)} is not in the configuration any more`);
      return;
    }
    this[this.kind]();
    if (!this.order) return;
    const { paused } = this.model[part].get(this.name);
    say(this.order, paused ? "Resume" : "Pause");
    mark(this.order, "title", this.session.why || "p");
  }

  say(level, words) {
    say(this.why, words);
    mark(this.why, "data-level", level);
  }

  source() {
    const source = this.model.sources.get(this.name);
    const { word, why, level } = this.model.condition(this.name);
    const rates = this.model.sourceRate(this.name);
    this.say(level, why ? `${word}: ${why}` : word);
    this.trace.draw(this.model.traces.get(`source ${this.name}`) ?? []);
    const age = this.model.age(this.name);
    this.fact("type", visible(`${source.type}, ${source.guarantee || "no promise yet"}`));
    this.fact("last event", source.idle_s === null || source.idle_s === undefined ? "none yet" : ago(source.idle_s));
    this.fact("window", `${count(source.held)} of ${count(source.window)} held, ${Math.round(source.fill * 100)} % full`);
    this.fact("acknowledged", source.unacknowledged_s ? ago(source.unacknowledged_s) : "nothing waits");
    this.fact("reconnects", count(source.reconnects));
    if (source.spooled !== null) this.fact("spool", `${some(source.spooled, "event")}, ${bytes(source.spooled_bytes)}`);
    if (age) this.fact("age", `half ${atMost(age.p50, this.model.head.seconds)}, 99 % ${atMost(age.p99, this.model.head.seconds)}`);
    this.bar(age);
    const { counts } = source;
    for (const key of ["received", "recovered"]) if (key === "received" || counts[key]) this.row(key, ...WORDS[key], counts[key], key === "received" ? rates?.came : null);
    for (const key of CLASSES) {
      this.row(key, ...WORDS[key], counts[key], rates?.[key], counts[key] > 0 && (key === "lost" || (key === "dead_lettered" && this.model.lettersLeft !== 0)) ? "bad" : null);
      if (key === "dead_lettered") for (const [reason, number] of Object.entries(counts.reasons)) this.row(`reason ${reason}`, visible(reason), "", number, null, "sub");
    }
    for (const [repair, number] of Object.entries(counts.repaired ?? {})) this.row(`repair ${repair}`, visible(repair), "bodies repaired to be read", number);
    this.row("in flight", "in flight", "no outcome yet", source.in_flight);
    if (source.spooled) this.row("spooled", "spooled", "wait on disk", source.spooled);
    this.row("error", "difference", "came less all of these", source.accounting_error, null, source.accounting_error ? "bad" : "good");
  }

  route() {
    const route = this.model.routes.get(this.name);
    const { word, why, level } = this.model.routeCondition(this.name);
    const rates = this.model.routeRate(this.name);
    const [matched, filtered, dead, expired, deduplicated] = this.model.counts.get(this.name) ?? [0, 0, 0, 0, 0];
    this.say(level, word ? `${word}: ${why}` : rates?.came ? "events come" : "no event now");
    this.fact("from", visible(route.source));
    this.fact("topic", route.topic === null ? "every one" : visible(route.topic), route.topic !== null);
    this.fact("when", route.when === null ? "always" : visible(route.when), route.when !== null);
    this.fact("actor", visible(route.actor), true);
    this.fact("queue", visible(queuesOf(route).join(", ")), true);
    this.row("matched", "messages", "one of each event", matched, rates?.matched);
    this.row("filtered", "filtered", "its `when` was false", filtered, rates?.filtered);
    if (expired) this.row("expired", ...WORDS.expired, expired, rates?.expired);
    if (deduplicated) this.row("deduplicated", "not written", "messages whose key was written before", deduplicated, rates?.deduplicated);
    this.row("dead", ...WORDS.dead_lettered, dead, rates?.dead, dead && this.model.lettersLeft !== 0 ? "bad" : null);
  }

  queue() {
    const queue = this.model.queues.get(this.name);
    const { word, why, level } = this.model.queueCondition(this.name);
    this.say(level, word ? `${word}: ${why}` : queue ? (queue.waiting + queue.in_flight ? "has work" : "empty") : "it was not asked yet");
    this.trace.draw(this.model.traces.get(`queue ${this.name}`) ?? []);
    const routes = [...this.model.routes].filter(([, route]) => queuesOf(route).includes(this.name));
    this.fact("routes", `${count(routes.length)}: ${routes.slice(0, 8).map(([name]) => visible(name)).join(", ")}${routes.length > 8 ? " …" : ""}`);
    this.fact("actors", [...new Set(routes.map(([, { actor }]) => visible(actor)))].slice(0, 8).join(", "));
    if (!queue) return;
    this.row("waiting", "waiting", "for a worker", queue.waiting);
    this.row("delayed", "delayed", "until their time", queue.delayed);
    this.row("in flight", "in flight", "in the hands of workers", queue.in_flight);
    this.row("dead", "dead", "workers gave up", queue.dead, null, queue.dead ? "bad" : null);
  }

  fact(name, value, isCode = false) {
    let row = this.rows.get(`fact ${name}`);
    if (!row) {
      row = { value: h("dd", isCode ? { class: "code" } : {}) };
      this.facts.append(h("div", {}, h("dt", {}, name), row.value));
      this.rows.set(`fact ${name}`, row);
    }
    say(row.value, value);
  }

  row(key, name, why, number, perSecondNow = null, level = null) {
    let row = this.rows.get(key);
    if (!row) {
      row = { number: h("td"), rate: h("td", { class: "rate" }) };
      row.element = h("tr", {}, h("th", { scope: "row" }, name, why ? h("small", {}, why) : null), row.number, row.rate);
      this.table.append(row.element);
      this.rows.set(key, row);
    }
    say(row.number, count(number));
    say(row.rate, perSecondNow === null || perSecondNow === undefined ? "" : perSecond(perSecondNow));
    mark(row.element, "data-level", level);
  }

  bar(age) {
    this.histogram.hidden = !age;
    if (!age) return;
    const bounds = this.model.head.seconds;
    const highest = Math.max(...age.buckets, 1);
    if (!this.bars.children.length) {
      age.buckets.forEach((_, at) => this.bars.append(h("span", { title: at < bounds.length ? `up to ${short(bounds[at])}` : `over ${short(bounds.at(-1))}` }, h("i"), h("small", {}, at % 3 === 0 && at < bounds.length ? short(bounds[at]) : ""))));
    }
    age.buckets.forEach((number, at) => { this.bars.children[at].firstChild.style.height = `${number ? Math.max(4, (number / highest) * 100) : 0}%`; });
    mark(this.bars, "aria-label", `half of the events ${atMost(age.p50, bounds)}, 99 % ${atMost(age.p99, bounds)}`);
  }

  /** Pause what is shown, or resume it. */
  async pause() {
    if (!this.order) return;
    if (!this.session.may) {
      if (this.session.access === "token") this.session.ask();
      else say(this.failure, this.session.why);
      return;
    }
    const part = this.kind === "source" ? "sources" : "routes";
    const verb = this.model[part].get(this.name)?.paused ? "resume" : "pause";
    const { name } = this;
    this.order.disabled = true;
    say(this.failure, "");
    try {
      await this.session.send(`/${verb}?name=${encodeURIComponent(name)}`, { method: "POST" });
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      if (name === this.name) say(this.failure, failure.message);
    }
    this.order.disabled = false;
  }
}

