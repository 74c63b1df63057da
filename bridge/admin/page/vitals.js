// The strip of numbers on the whole bridge, its head, and the notices on everything that is wrong.

import { byId, h, mark, replace, say } from "./dom.js";
import { atMost } from "./model.js";
import { spark } from "./spark.js";
import { ago, clock, count, perSecond, short, some, span, visible } from "./words.js";

const CELLS = [
  ["received", "Events in"],
  ["messages", "Messages out"],
  ["in flight", "In flight"],
  ["waiting", "Waiting in queues"],
  ["age", "Age when written"],
  ["dead", "Dead letters"],
];

export class Vitals {
  constructor(model) {
    this.model = model;
    this.cells = new Map();
    for (const [key, label] of CELLS) {
      const cell = { value: h("strong"), more: h("small"), trace: key === "age" ? null : spark() };
      cell.element = h("div", { class: "vital" }, h("span", { class: "label" }, label), cell.value, cell.more, ...(cell.trace ? [cell.trace.element] : []));
      byId("vitals").append(cell.element);
      this.cells.set(key, cell);
    }
  }

  render(lost) {
    const { model } = this;
    this.head();
    this.notices(lost);
    const sources = [...model.sources.values()];
    const all = (of) => sources.reduce((total, source) => total + of(source), 0);
    const queues = [...model.queues.values()];
    const inQueues = (field) => queues.reduce((total, queue) => total + queue[field], 0);
    const spooled = all((source) => source.spooled ?? 0);
    const age = model.age(...model.sources.keys());
    this.set("received", perSecond(model.total(({ received, recovered }) => received + recovered)), `${count(all(({ counts }) => counts.received + counts.recovered))} since the start`);
    this.set("messages", perSecond(model.total(({ messages }) => messages)), `${count(all(({ counts }) => counts.messages))} since the start`);
    this.set("in flight", count(all(({ in_flight }) => in_flight)), spooled ? `and ${count(spooled)} spooled on disk` : `window ${count(all(({ window }) => window))}`);
    this.set("waiting", queues.length ? count(inQueues("waiting")) : "–", queues.length ? `${count(inQueues("in_flight"))} in flight · ${count(inQueues("delayed"))} delayed` : visible(model.head.queues_cause) || "no queue yet");
    this.set("age", age ? atMost(age.p99, model.head.seconds) : "–", age ? `p99 · half ${atMost(age.p50, model.head.seconds)}` : "nothing was written yet");
    const { letters: dead, lettersLeft: left, lettersNow: now } = model;
    const since = dead ? `${count(dead)} since the start` : "none since the start";
    this.set("dead", left === null ? count(dead) : count(left), left === null ? (dead ? "since the start" : since) : `now · ${since}`);
    mark(this.cells.get("dead").element, "data-level", now ? "bad" : null);
    for (const [key, { trace }] of this.cells) trace?.draw(model.traces.get(key) ?? []);
  }

  set(key, value, more) {
    say(this.cells.get(key).value, value);
    say(this.cells.get(key).more, more);
  }

  head() {
    const { head } = this.model;
    const words = head.ready ? (head.notes.length ? "ready, with a note" : "ready") : { draining: "stopping", starting: "starting" }[head.phase] ?? "not ready";
    say(byId("ready"), words);
    mark(byId("ready"), "data-level", head.ready ? (head.notes.length ? "warn" : "ok") : head.phase === "starting" ? "warn" : "bad");
    say(byId("version"), visible(head.version));
    const title = `${head.ready ? "" : "● "}${words} – dramatiq-bridge`;
    if (document.title !== title) document.title = title;
    const file = head.config.split("/").at(-1);
    const about = [
      ["config", visible(file), visible(head.config)],
      ["loaded", ago(head.now - head.loaded_at), `at ${clock(head.loaded_at)}, SHA-256 ${head.fingerprint.slice(0, 12)}`],
      ["up", span(head.now - head.started_at), `since ${clock(head.started_at)}`],
      ["processes", head.processes === head.expected ? String(head.expected) : `${head.processes} of ${head.expected}`, "ready, of those that are wanted"],
      ["Redis", head.sink.available ? visible(head.sink_url.replace(/^rediss?:\/\//, "")) : "takes no writes", visible(head.sink_url)],
    ];
    if (head.lag_s >= 0.1) about.push(["lag", short(head.lag_s), "the longest delay of the event loop in the last seconds"]);
    if (this.about !== JSON.stringify(about)) {
      this.about = JSON.stringify(about);
      byId("about").replaceChildren(...about.map(([name, value, title]) => h("div", { title }, h("dt", {}, name), h("dd", {}, value))));
    }
  }

  notices(lost) {
    const { head } = this.model;
    const lines = [...together("bad", head.problems), ...together("warn", head.notes)];
    if (lost) lines.unshift(["bad", `connection lost since ${clock(lost / 1000)}: the numbers below are ${span((Date.now() - lost) / 1000)} old; trying again`]);
    const off = [...this.model.sources].filter(([, source]) => source.accounting_error);
    for (const [name, source] of off) lines.push(["bad", `source ${visible(name)}: ${some(Math.abs(source.accounting_error), "event")} not accounted for: please report this fault of the bridge`]);
    const key = JSON.stringify(lines);
    mark(document.body, "data-lost", Boolean(lost));
    if (key === this.noticed) return;
    this.noticed = key;
    const shown = lines.slice(0, 4);
    if (lines.length > shown.length) shown.push(["warn", `and ${lines.length - shown.length} more: see the sources and routes below`]);
    replace(byId("notices"), ...shown.map(([level, text]) => {
      const [subject, ...rest] = text.split(": ");
      return h("p", { class: `notice ${level}` }, h("b", {}, subject), rest.length ? `: ${rest.join(": ")}` : "");
    }));
  }
}

/** Return lines of a level; those of several sources or routes with the same words are one. */
function together(level, texts) {
  const subjects = new Map();
  for (const text of texts.map(visible)) {
    const at = text.indexOf(": ");
    const [subject, words] = at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at)];
    subjects.set(words, [...(subjects.get(words) ?? []), subject]);
  }
  return [...subjects].flatMap(([words, all]) => (words ? [[level, joined(all) + words]] : all.map((each) => [level, each])));
}

function joined(subjects) {
  const kinds = new Set(subjects.map((each) => each.split(" ", 1)[0]));
  if (subjects.length === 1 || kinds.size > 1) return subjects.join(", ");
  const [kind] = kinds;
  const names = subjects.map((each) => each.slice(kind.length + 1));
  return `${kind}s ${names.slice(0, 5).join(", ")}${names.length > 5 ? ` and ${names.length - 5} more` : ""}`;
}
