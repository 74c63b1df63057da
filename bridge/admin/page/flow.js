// The live drawing: sources, routes and queues as buttons, and the arrows between them as SVG with their rates.

import { byId, h, mark, say, svg } from "./dom.js";
import { Choice } from "./choice.js";
import { NARROW, place } from "./layout.js";
import { atMost } from "./model.js";
import { ago, count, perSecond, rate, some, visible } from "./words.js";

/** So many arrows move at once: those with the greatest rates. */
const MOVING = 24;

export class Flow {
  constructor(model, select) {
    this.model = model;
    this.select = select;
    this.choice = new Choice();
    this.canvas = byId("canvas");
    this.arrows = svg("svg", { "aria-hidden": "true", focusable: "false" });
    this.canvas.append(this.arrows);
    this.nodes = new Map();
    this.lines = new Map();
    this.selected = null;
    this.canvas.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.render()).observe(this.canvas);
  }

  search(text) {
    this.choice.search(text);
    this.render();
  }

  /** Draw the state of the model. */
  render() {
    if (!this.model.head) return;
    const width = this.canvas.clientWidth;
    const choice = this.choice.of(this.model);
    const dead = this.model.letters > 0 && choice.groups.length > 0;
    const panel = this.canvas.parentElement;
    const room = panel.clientHeight - this.canvas.offsetTop - 20;
    const shape = JSON.stringify([width, room, dead, choice.groups, choice.queues]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.place(choice, dead, width, room);
    }
    this.label(choice);
    for (const node of this.nodes.values()) node.update();
    this.flow();
  }

  place(choice, dead, width, room) {
    const { nodes, arrows, height, columns } = place(choice.groups, choice.queues, dead, width, room);
    if (columns) Object.values(columns).forEach(({ x }, at) => { byId("columns").children[at].style.left = `${x}px`; });
    mark(this.canvas.parentElement, "data-narrow", width < NARROW);
    this.canvas.style.height = `${height}px`;
    for (const [name, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`]]) mark(this.arrows, name, value);
    const kept = new Map();
    for (const [key, box] of nodes) {
      const node = this.nodes.get(key) ?? this.node(key);
      Object.assign(node.element.style, { left: `${box.x}px`, top: `${box.y}px`, width: `${box.w}px`, height: `${box.h}px` });
      node.element.classList.toggle("slim", box.h < 40);
      node.box = box;
      kept.set(key, node);
    }
    for (const [key, node] of this.nodes) if (!kept.has(key)) node.element.remove();
    this.nodes = kept;
    // The order of the document is the order of the keyboard.
    this.canvas.append(...[...kept.values()].map(({ element }) => element).filter((element, at) => this.canvas.children[at + 1] !== element));
    this.draw(arrows);
    this.rove();
  }

  draw(arrows) {
    const kept = new Map();
    for (const arrow of arrows) {
      const line = this.lines.get(arrow.key) ?? this.line(arrow);
      line.arrow = arrow;
      for (const path of [line.path, line.pulse]) mark(path, "d", arrow.path);
      const { x = 0, y = 0, anchor = "start" } = arrow.label ?? {};
      for (const [name, value] of [["x", x], ["y", y], ["text-anchor", anchor]]) mark(line.text, name, value);
      kept.set(arrow.key, line);
    }
    for (const [key, line] of this.lines) if (!kept.has(key)) line.group.remove();
    this.lines = kept;
  }

  line(arrow) {
    const path = svg("path", { class: "line" });
    const pulse = svg("path", { class: "pulse" });
    const text = svg("text");
    const group = svg("g", arrow.dead ? { class: "to-dead" } : {}, path, pulse, text);
    this.arrows.append(group);
    return { path, pulse, text, group };
  }

  node(key) {
    const [kind, name] = [key.split(" ", 1)[0], key.slice(key.indexOf(" ") + 1)];
    const make = { source: () => this.source(name), route: () => this.route(name), queue: () => this.queue(name), more: () => this.more(name), dead: () => this.dead() };
    const node = make[kind]();
    node.element.dataset.key = key;
    if (kind !== "more") node.element.addEventListener("click", () => this.select(kind, name));
    return node;
  }

  source(name) {
    const [type, rates, flight, age, why, bar] = ["type", "rate", "flight", "age", "why", "bar"].map((each) => h("span", { class: each }));
    const fill = h("span", { class: "fill" });
    bar.append(fill);
    const title = h("span", { class: "name" }, visible(name));
    const element = button("source", h("span", { class: "top" }, h("i", { class: "dot" }), title, type), rates, flight, age, bar, why);
    const update = () => {
      const source = this.model.sources.get(name);
      if (!source) return;
      const { word, why: cause, level } = this.model.condition(name);
      const quantiles = this.model.age(name);
      say(type, visible(source.type));
      say(rates, perSecond(this.model.sourceRate(name)?.came));
      say(flight, `${count(source.in_flight)} in flight`);
      const last = source.idle_s === null || source.idle_s === undefined ? "no event yet" : `last event ${ago(source.idle_s)}`;
      const again = source.reconnects ? ` · ${some(source.reconnects, "reconnect")}` : "";
      say(age, (quantiles?.isRecent ? `age p50 ${atMost(quantiles.p50, this.model.head.seconds)}, p99 ${atMost(quantiles.p99, this.model.head.seconds)}` : last) + again);
      say(why, level === "ok" ? "" : `${word}: ${cause}`);
      fill.style.width = `${Math.min(100, Math.round(source.fill * 100))}%`;
      mark(element, "data-level", level);
      mark(element, "title", level === "ok" ? null : `${word}: ${cause}`);
      mark(element, "aria-label", `Source ${visible(name)}, ${source.type}, ${word} ${cause}, ${perSecond(this.model.sourceRate(name)?.came)}, ${count(source.in_flight)} in flight`);
    };
    return { element, update };
  }

  route(name) {
    const [rule, state] = [h("span", { class: "rule" }), h("span", { class: "state" })];
    const element = button("route", h("span", { class: "name" }, visible(name)), state, rule);
    const update = () => {
      const route = this.model.routes.get(name);
      if (!route) return;
      const { word, why, level } = this.model.routeCondition(name);
      const dead = this.model.counts.get(name)?.[2] ?? 0;
      say(rule, visible([route.topic, route.when].filter(Boolean).join("  when ") || "every event"));
      const narrow = this.canvas.parentElement.hasAttribute("data-narrow");
      const words = level === "bad" ? `${perSecond(this.model.routeRate(name)?.dead)} dead` : word || (dead ? `${count(dead)} dead` : narrow ? perSecond(this.model.routeRate(name)?.came) : "");
      say(state, words);
      mark(state, "data-dead", dead > 0 && level === "ok" && this.model.lettersLeft !== 0);
      mark(element, "data-level", level);
      mark(element, "title", `${visible(name)} → ${visible(route.actor)} in queue ${visible(route.queue)}${word ? ` · ${word}: ${why}` : ""}`);
      mark(element, "aria-label", `Route ${visible(name)} from ${visible(route.source)} to ${visible(route.queue)}, ${word} ${why} ${perSecond(this.model.routeRate(name)?.came)}, ${some(dead, "dead letter")}`);
    };
    return { element, update };
  }

  more(source) {
    const text = h("span", { class: "name" });
    const element = button("more", text);
    element.addEventListener("click", () => {
      this.choice.widen(source);
      this.render();
    });
    const update = () => {
      const routes = this.hidden(source);
      const came = routes.reduce((total, each) => total + (this.model.routeRate(each)?.came ?? 0), 0);
      say(text, `+ ${some(routes.length, "more route")}, ${perSecond(came)}`);
    };
    return { element, update };
  }

  hidden(source) {
    const group = this.choice.of(this.model).groups.find(({ name }) => name === source);
    return group?.routes.find(({ kind }) => kind === "more")?.hidden ?? [];
  }

  queue(name) {
    const [depth, rest, why] = ["depth", "rest", "why"].map((each) => h("span", { class: each }));
    const element = button("queue", h("span", { class: "top" }, h("span", { class: "name" }, visible(name)), depth), rest, why);
    const update = () => {
      const queue = this.model.queues.get(name);
      const { word, why: cause, level } = this.model.queueCondition(name);
      say(depth, this.model.depth(name));
      mark(depth, "data-unit", queue ? "waiting" : null);
      const parts = queue ? [`${count(queue.in_flight)} in flight`, queue.delayed ? `${count(queue.delayed)} delayed` : "", queue.dead ? `${count(queue.dead)} dead` : ""] : ["not asked yet"];
      say(rest, parts.filter(Boolean).join(" · "));
      say(why, level === "ok" ? "" : `${word}: ${cause}`);
      mark(element, "data-level", level);
      mark(element, "title", level === "ok" ? null : `${word}: ${cause}`);
      mark(element, "aria-label", `Queue ${visible(name)}, ${this.model.depth(name)} waiting, ${parts.filter(Boolean).join(", ")}, ${word} ${cause}`);
    };
    return { element, update };
  }

  dead() {
    const number = h("span", { class: "depth" });
    const element = button("dead", h("span", { class: "top" }, h("span", { class: "name" }, "Dead letters"), number));
    const update = () => {
      const { letters: all, lettersLeft: left, lettersNow: now } = this.model;
      say(number, now ? perSecond(now) : count(left ?? all));
      mark(element, "data-level", now ? "bad" : "ok");
      mark(element, "aria-label", `Dead letters, ${left === null ? "" : `${count(left)} now, `}${count(all)} since the start`);
    };
    return { element, update };
  }

  label({ shown, found, all, sources }) {
    const parts = [`${some(this.model.sources.size, "source")}`, `${some(all, "route")}`];
    if (this.choice.text) parts.push(`${count(found)} found`);
    if (shown < found || (!this.choice.text && sources < this.model.sources.size)) parts.push(`the busiest ${shown} shown`);
    say(byId("shown"), parts.join(" · "));
  }

  /** Give the arrows their widths, rates and motion. */
  flow() {
    const rates = new Map();
    for (const [key, { arrow }] of this.lines) rates.set(key, this.rateOf(arrow));
    const moving = new Set([...rates].filter(([, each]) => each > 0).sort((a, b) => b[1] - a[1]).slice(0, MOVING).map(([key]) => key));
    const isLarge = this.lines.size > 40;
    for (const [key, line] of this.lines) {
      const value = rates.get(key);
      const width = value > 0 ? Math.min(isLarge ? 2.5 : 7, 1.2 + Math.log10(1 + value) * 1.5) : 1;
      mark(line.path, "stroke-width", width.toFixed(1));
      mark(line.pulse, "stroke-width", Math.max(1.6, width * 0.55).toFixed(1));
      mark(line.group, "data-idle", !(value > 0));
      mark(line.group, "data-pace", moving.has(key) ? (value < 1 ? "slow" : value < 100 ? "calm" : "fast") : null);
      mark(line.group, "data-level", this.levelOf(line.arrow));
      mark(line.group, "data-near", this.selected !== null && (line.arrow.from === this.selected || line.arrow.to === this.selected));
      say(line.text, value > 0 && line.arrow.label ? rate(value) : "");
    }
  }

  rateOf({ from, to }) {
    if (from.startsWith("source") && to === "dead") return this.model.unroutedRate(from.slice(7));
    const [kind, name] = [(from.startsWith("source") ? to : from).split(" ", 1)[0], (from.startsWith("source") ? to : from)];
    const key = name.slice(name.indexOf(" ") + 1);
    const field = from.startsWith("source") ? "came" : to === "dead" ? "dead" : "matched";
    if (kind === "route") return this.model.routeRate(key)?.[field] ?? 0;
    const hidden = this.hidden(key).filter((each) => from.startsWith("source") || to === "dead" || to === `queue ${this.model.routes.get(each)?.queue}`);
    return hidden.reduce((total, each) => total + (this.model.routeRate(each)?.[field] ?? 0), 0);
  }

  levelOf({ from, to }) {
    if (to === "dead") return "bad";
    if (from.startsWith("source ")) {
      const name = from.slice(7);
      if (to.startsWith("route ") && this.model.routes.get(to.slice(6))?.paused) return "warn";
      return this.model.sources.has(name) ? this.model.condition(name).level : "ok";
    }
    return this.model.queueCondition(to.slice(6)).level;
  }

  choose(key) {
    this.selected = key;
    for (const [each, node] of this.nodes) mark(node.element, "aria-current", each === key ? "true" : null);
    this.rove();
    this.flow();
  }

  /** One node takes part in the order of Tab; the arrow keys move between them. */
  rove() {
    const current = this.nodes.get(this.focused)?.element ?? this.nodes.get(this.selected)?.element ?? this.nodes.values().next().value?.element;
    for (const { element } of this.nodes.values()) element.tabIndex = element === current ? 0 : -1;
  }

  move(event) {
    const from = this.nodes.get(event.target.closest("[data-key]")?.dataset.key);
    const direction = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0], Home: "first", End: "last" }[event.key];
    if (!from || !direction || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const all = [...this.nodes.entries()];
    const to = direction === "first" ? all[0][0] : direction === "last" ? all.at(-1)[0] : nearest(from.box, all, direction);
    if (!to) return;
    this.focused = to;
    this.rove();
    this.nodes.get(to).element.focus();
  }
}

function button(kind, ...children) {
  return h("button", { type: "button", class: `node ${kind}`, tabindex: "-1" }, ...children);
}

/** Return the key of the nearest node in a direction; one in the same column comes first where the direction is up or down. */
function nearest(from, nodes, [dx, dy]) {
  let best = null;
  for (const [key, { box }] of nodes) {
    const [x, y] = [box.x - from.x, box.y + box.h / 2 - (from.y + from.h / 2)];
    const ahead = dx ? x * dx : y * dy;
    if (ahead <= 1) continue;
    const aside = dx ? Math.abs(y) : Math.abs(x) * 40;
    const distance = ahead + aside * 2;
    if (!best || distance < best.distance) best = { key, distance };
  }
  return best?.key;
}
