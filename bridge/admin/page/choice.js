// The nodes that are shown: all of a small bridge; of a large one the failing, the paused and the busiest.

import { queuesOf } from "./model.js";

/** So many routes are shown at once, and of each source these at least. */
const ROUTES = 22;
/** Of more routes each is one line, so that the busiest fit into one screen. */
const WHOLE = 12;
const LEAST = 2;
const SOURCES = 24;
const STEP = 40;
/** The order of the busiest is made anew so often: nodes that move each second cannot be read. */
const STEADY_S = 10;
const SOON_S = 3;

export class Choice {
  constructor() {
    this.text = "";
    this.more = new Map();
    this.made = null;
  }

  search(text) {
    this.text = text.trim().toLowerCase();
    this.made = null;
  }

  /** Show more routes of a source. */
  widen(source) {
    this.more.set(source, (this.more.get(source) ?? 0) + STEP);
    this.made = null;
  }

  /** Return `{groups, queues, hidden}`; the same one for a while, unless names have come or gone. */
  of(model) {
    const names = `${[...model.sources.keys()].join("\n")}\n\n${model.routes.size} ${model.queues.size}`;
    const failing = [...model.sources.keys()].filter((name) => model.condition(name).level !== "ok").join("\n");
    const isOld = !this.made || model.head.at - this.madeAt >= (this.hadRates ? STEADY_S : SOON_S) || this.names !== names || this.failing !== failing;
    if (isOld || this.routes !== model.routes) {
      [this.madeAt, this.names, this.failing, this.routes] = [model.head.at, names, failing, model.routes];
      this.hadRates = model.seconds >= SOON_S;
      this.made = this.choose(model);
    }
    return this.made;
  }

  choose(model) {
    const bySource = new Map([...model.sources.keys()].map((name) => [name, []]));
    let found = 0;
    for (const [name, route] of model.routes) {
      if (!this.fits(name, route)) continue;
      found += 1;
      const rate = model.routeRate(name);
      const dead = rate?.dead || (model.counts.get(name)?.[2] ? 0.001 : 0);
      // Before two looks have told the rates, the events since the start tell the busiest.
      const came = rate?.came ?? (model.counts.get(name) ?? []).reduce((total, each) => total + each, 0);
      const weight = (dead ? 1e12 + dead : 0) + (route.paused ? 1e11 : 0) + came;
      bySource.get(route.source)?.push({ name, route, weight });
    }
    const sources = this.chooseSources(model, bySource);
    const chosen = this.chooseRoutes(sources, bySource);
    return this.build(model, sources, bySource, chosen, found);
  }

  fits(name, route) {
    if (!this.text) return true;
    const texts = [name, route.source, route.queue, route.actor, route.topic ?? "", route.when ?? ""];
    return texts.some((text) => text.toLowerCase().includes(this.text));
  }

  chooseSources(model, bySource) {
    let names = [...bySource.keys()];
    if (this.text) names = names.filter((name) => bySource.get(name).length || name.toLowerCase().includes(this.text));
    if (names.length <= SOURCES) return names;
    const gravity = { bad: 2e9, warn: 1e9, ok: 0 };
    const weight = (name) => gravity[model.condition(name).level] + (model.sourceRate(name)?.came ?? 0);
    const kept = new Set(names.sort((a, b) => weight(b) - weight(a)).slice(0, SOURCES));
    return [...bySource.keys()].filter((name) => kept.has(name));
  }

  chooseRoutes(sources, bySource) {
    const all = sources.flatMap((source) => bySource.get(source));
    if (all.length <= ROUTES) return new Set(all.map(({ name }) => name));
    const chosen = new Set();
    for (const source of sources) {
      bySource.get(source).sort((a, b) => b.weight - a.weight);
      const least = LEAST + (this.more.get(source) ?? 0);
      for (const { name } of bySource.get(source).slice(0, least)) chosen.add(name);
    }
    for (const { name } of all.sort((a, b) => b.weight - a.weight)) {
      if (chosen.size >= ROUTES) break;
      chosen.add(name);
    }
    return chosen;
  }

  build(model, sources, bySource, chosen, found) {
    const queues = new Set();
    const kind = chosen.size > WHOLE ? "slim" : "route";
    const groups = sources.map((source) => {
      const routes = [];
      const hidden = [];
      for (const { name, route } of bySource.get(source)) {
        if (!chosen.has(name)) hidden.push({ name, route });
        else {
          for (const queue of queuesOf(route)) queues.add(`queue ${queue}`);
          routes.push({ key: `route ${name}`, name, queues: queuesOf(route).map((queue) => `queue ${queue}`), kind });
        }
      }
      if (hidden.length) {
        const its = [...new Set(hidden.flatMap(({ route }) => queuesOf(route).map((queue) => `queue ${queue}`)))];
        routes.push({ key: `more ${source}`, name: source, hidden: hidden.map(({ name }) => name), queues: its, kind: "more" });
      }
      return { source: `source ${source}`, name: source, routes };
    });
    for (const { routes } of groups) for (const each of routes) each.queues = each.queues.filter((key) => queues.has(key) || this.room(queues, key));
    const shown = groups.reduce((total, { routes }) => total + routes.filter((each) => each.kind === kind).length, 0);
    return { groups, queues: [...queues], shown, found, all: model.routes.size, sources: sources.length };
  }

  room(queues, key) {
    if (queues.size >= SOURCES) return false;
    queues.add(key);
    return true;
  }
}
