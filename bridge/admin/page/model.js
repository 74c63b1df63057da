// The state of the bridge as the page knows it, its rates, and its conditions in words.

import { bytes, count, short, some, span, visible } from "./words.js";

const PARTS = ["sources", "routes", "queues", "counts"];
/** Rates are means over so many seconds: calm enough to read. */
const WINDOW_S = 5;
/** The age's quantiles are those of so many seconds. */
const AGE_S = 30;
const SAMPLES = 120;
/** A source that holds events, and has had none acknowledged for so long, is said to wait. */
const SLOW_S = 10;

/** The counts of an event's fate, in the order of the accounts. */
export const CLASSES = ["enqueued", "filtered", "unmatched", "deduplicated", "expired", "dead_lettered", "returned", "lost"];

/** Of these reasons an event dies before any route has it. */
const BEFORE_ROUTES = ["decode", "invalid", "too-large", "unmatched", "poison"];

const came = (counts) => counts.received + counts.recovered;
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** The queues that a route writes to; of very many only the first. */
export const queuesOf = ({ queue, targets }) => (targets?.length ? [...new Set(targets.map(([name]) => name))].slice(0, 8) : [queue]);

export class Model {
  constructor() {
    this.head = null;
    this.hello = { access: "none" };
    /** The letters that are in the stream, as the newest list said; null if that is not known. */
    this.lettersLeft = null;
    this.forget();
  }

  forget() {
    this.sources = new Map();
    this.routes = new Map();
    this.queues = new Map();
    this.counts = new Map();
    this.looks = [];
    this.traces = new Map();
  }

  /** Take an event of the stream. */
  take(name, value) {
    if (name === "hello") {
      this.hello = value;
      return;
    }
    if (name === "state") {
      const isNew = this.head === null || this.head.started_at !== value.started_at;
      if (isNew) this.forget();
      for (const part of PARTS) this[part] = new Map(Object.entries(value[part]));
    } else {
      for (const part of PARTS) {
        if (part in value || part in value.removed) this[part] = new Map(this[part]);
        for (const gone of value.removed[part] ?? []) this[part].delete(gone);
        for (const [key, each] of Object.entries(value[part] ?? {})) this[part].set(key, each);
      }
    }
    this.head = value;
    this.remember();
  }

  remember() {
    this.looks.push({ at: this.head.at, sources: this.sources, counts: this.counts });
    while (this.looks.length > 2 && this.head.at - this.looks[1].at >= AGE_S) this.looks.shift();
    this.before = this.looks.findLast((look) => this.head.at - look.at >= WINDOW_S) ?? this.looks[0];
    this.seconds = this.head.at - this.before.at;
    this.trace("received", this.total((counts) => came(counts)));
    this.trace("messages", this.total((counts) => counts.messages));
    this.trace("dead", this.lettersNow);
    this.trace("in flight", sum([...this.sources.values()].map((each) => each.in_flight + (each.spooled ?? 0))));
    this.trace("waiting", sum([...this.queues.values()].map((each) => each.waiting + each.delayed)));
    for (const name of this.sources.keys()) this.trace(`source ${name}`, this.sourceRate(name)?.came);
    for (const [name, queue] of this.queues) this.trace(`queue ${name}`, queue.waiting);
  }

  trace(key, value) {
    const trace = this.traces.get(key) ?? [];
    trace.push(value ?? 0);
    if (trace.length > SAMPLES) trace.shift();
    this.traces.set(key, trace);
  }

  total(of) {
    if (this.seconds <= 0) return null;
    let total = 0;
    for (const [name, source] of this.sources) {
      const before = this.before.sources.get(name);
      if (before) total += Math.max(0, of(source.counts) - of(before.counts));
    }
    return total / this.seconds;
  }

  /** The dead letters since the start: an event may have several, beside messages. */
  get letters() {
    return lettersOf(this);
  }

  /** The dead letters a second; null if that is not known. */
  get lettersNow() {
    return this.seconds > 0 ? Math.max(0, lettersOf(this) - lettersOf(this.before)) / this.seconds : null;
  }

  /** Return the events a second of a source that die before any route has them. */
  unroutedRate(name) {
    const before = this.before.sources.get(name);
    if (!before || this.seconds <= 0) return 0;
    return Math.max(0, unrouted(this.sources.get(name)) - unrouted(before)) / this.seconds;
  }

  /** Return the rates of a source by the names of its counts, with `came`; null if they are not known. */
  sourceRate(name) {
    const now = this.sources.get(name)?.counts;
    const before = this.before?.sources.get(name)?.counts;
    if (!now || !before || this.seconds <= 0 || came(now) < came(before)) return null;
    const rates = { came: (came(now) - came(before)) / this.seconds };
    for (const key of [...CLASSES, "messages"]) rates[key] = Math.max(0, now[key] - before[key]) / this.seconds;
    return rates;
  }

  /** Return the rates of a route: `came`, `matched`, `filtered`, `dead`, `expired`, `deduplicated`; null if they are not known. */
  routeRate(name) {
    if (this.seconds <= 0 || !this.routes.has(name)) return null;
    const now = this.counts.get(name) ?? [0, 0, 0, 0, 0];
    const before = this.before.counts.get(name);
    if (!before) return null;
    const rates = now.map((number, at) => Math.max(0, number - before[at]) / this.seconds);
    const [matched, filtered, dead, expired, deduplicated] = rates;
    return { came: matched + filtered + dead + expired, matched, filtered, dead, expired, deduplicated };
  }

  /** Return the upper bounds of the age's quantiles in seconds, of the last half minute or else since the start. */
  age(...names) {
    const bounds = this.head.seconds;
    const add = (look) => {
      const total = new Array(bounds.length + 1).fill(0);
      for (const name of names) look.sources.get(name)?.age.buckets.forEach((number, at) => { total[at] += number; });
      return total;
    };
    const now = add({ sources: this.sources });
    const before = add(this.looks[0]);
    const recent = now.map((number, at) => Math.max(0, number - before[at]));
    const buckets = sum(recent) ? recent : now;
    if (!sum(buckets)) return null;
    return { p50: quantile(buckets, bounds, 0.5), p99: quantile(buckets, bounds, 0.99), buckets, isRecent: sum(recent) > 0 };
  }

  /** Return the condition of a source: a word, why, and a level: "ok", "warn" or "bad"; the gravest, or the one that explains the others. */
  condition(name) {
    const source = this.sources.get(name);
    const held = () => [...this.routes].filter(([, route]) => route.paused && route.source === name).map(([each]) => each);
    if (source.paused) return { word: "paused", why: "by a person", level: "warn" };
    if (!source.connected) {
      const since = source.disconnected_s >= 1 ? `for ${span(source.disconnected_s)}: ` : "";
      return { word: "not connected", why: since + (visible(source.cause) || "it has not connected yet"), level: "bad" };
    }
    if (source.pressure) return { word: "waits", why: visible(source.pressure_cause) || "a queue or Redis is full", level: "warn" };
    const routes = source.held ? held() : [];
    if (routes.length) return { word: "waits", why: `behind its paused ${routes.length === 1 ? "route" : "routes"} ${routes.slice(0, 3).map(visible).join(", ")}`, level: "warn" };
    const since = `nothing was acknowledged for ${span(source.unacknowledged_s)}`;
    if (source.stuck) return { word: "stuck", why: source.unacknowledged_s >= 1 ? since : "a new connection did not help", level: "bad" };
    if (!this.head.sink.available && (source.in_flight || source.spooled)) return { word: "waits", why: "for Redis, which takes no writes", level: "bad" };
    if (source.unacknowledged_s >= SLOW_S) {
      if (source.fill >= 1) return { word: "full window", why: since, level: "bad" };
      return { word: "slow", why: `${some(source.held, "event")} wait: ${since}`, level: "warn" };
    }
    if (source.spooled) return { word: "spooled", why: `${some(source.spooled, "event")} wait on disk (${bytes(source.spooled_bytes)})`, level: "warn" };
    return { word: "connected", why: "", level: "ok" };
  }

  /** Return the condition of a route. */
  routeCondition(name) {
    if (this.routes.get(name).paused) return { word: "paused", why: "by a person; its source waits behind it", level: "warn" };
    const dead = this.routeRate(name)?.dead ?? 0;
    if (dead > 0) return { word: "fails", why: "its events become dead letters", level: "bad" };
    return { word: "", why: "", level: "ok" };
  }

  /** Return the condition of a queue: a source that waits for it names it. */
  queueCondition(name) {
    for (const [source, each] of this.sources) {
      if (each.pressure && names(each.pressure_cause, name)) {
        return { word: "full", why: `source ${visible(source)} waits: ${visible(each.pressure_cause)}`, level: "warn" };
      }
    }
    if (this.head.queues_cause) return { word: "unknown", why: visible(this.head.queues_cause), level: "warn" };
    return { word: "", why: "", level: "ok" };
  }

  /** Return the depth of the queue in words. */
  depth(name) {
    const queue = this.queues.get(name);
    return queue ? count(queue.waiting) : "–";
  }
}

function lettersOf({ sources, counts }) {
  let total = 0;
  for (const [, , dead] of counts.values()) total += dead;
  for (const source of sources.values()) total += unrouted(source);
  return total;
}

function unrouted({ counts: { reasons } }) {
  return sum(BEFORE_ROUTES.map((reason) => reasons[reason] ?? 0));
}

function names(text, name) {
  const at = text.indexOf(name);
  const edge = /[A-Za-z0-9_.-]/;
  return at >= 0 && !edge.test(text[at - 1] ?? " ") && !edge.test((text[at + name.length] ?? " ").replace(".", " "));
}

function quantile(buckets, bounds, share) {
  const wanted = sum(buckets) * share;
  let seen = 0;
  for (let at = 0; at < buckets.length; at += 1) {
    seen += buckets[at];
    if (seen >= wanted) return bounds[at] ?? Infinity;
  }
  return Infinity;
}

/** Return a quantile in words: it is the upper bound of a bucket. */
export const atMost = (seconds, bounds) => (seconds === Infinity ? `>${short(bounds.at(-1))}` : `≤${short(seconds)}`);
