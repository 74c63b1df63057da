// The places of the nodes and the arrows between them. Knows numbers only, and no element.

/** Heights in CSS pixels; the style sheet has the same. */
export const HEIGHTS = { source: 96, route: 44, slim: 26, more: 26, queue: 60, dead: 44 };
const GAP = 8;
const BLOCK_GAP = 22;
const MAX_GAP = 54;
/** The room below all nodes for the arrows that go around the routes. */
const AROUND = 14;
/** Below this width sources and their routes stand below each other. */
export const NARROW = 620;
const INDENT = 26;

/**
 * Return `{nodes: Map key -> {x, y, w, h}, arrows: [{key, from, to, path, label}], height}`.
 *
 * `room` is the height that is there. `groups` is `[{source, routes: [{key, queues: [key], kind}]}]`, `queues` are the keys of the queues in their order, and `dead`
 * says whether the node of dead letters is shown.
 */
export function place(groups, queues, dead, width, room) {
  return width < NARROW ? narrow(groups, queues, dead, width) : wide(groups, queues, dead, width, room);
}

function wide(groups, queues, dead, width, room) {
  const columns = split(width);
  const gap = between(groups, dead ? room - AROUND : room);
  const nodes = new Map();
  const wanted = new Map();
  let y = 0;
  for (const { source, routes } of groups) {
    const height = heightOf(routes);
    const block = Math.max(height, HEIGHTS.source);
    const top = block > 860 ? y : y + (block - HEIGHTS.source) / 2;
    nodes.set(source, { x: columns.source.x, y: top, w: columns.source.w, h: HEIGHTS.source });
    let at = y + (block - Math.max(height, 0)) / 2;
    for (const { key, queues: its, kind } of routes) {
      nodes.set(key, { x: columns.route.x, y: at, w: columns.route.w, h: HEIGHTS[kind] });
      for (const queue of its) wanted.set(queue, [...(wanted.get(queue) ?? []), at + HEIGHTS[kind] / 2]);
      at += HEIGHTS[kind] + GAP;
    }
    y += block + gap;
  }
  const height = Math.max(y - gap, 0);
  const end = placeQueues(nodes, queues, wanted, columns.queue, height);
  let bottom = Math.max(height, end);
  if (dead) {
    const top = Math.max(end + BLOCK_GAP, height - HEIGHTS.dead);
    nodes.set("dead", { x: columns.queue.x, y: top, w: columns.queue.w, h: HEIGHTS.dead });
    bottom = Math.max(bottom, top + HEIGHTS.dead);
  }
  return { nodes, arrows: arrows(groups, nodes, dead, bottom), height: bottom + (dead ? AROUND : 0), columns };
}

/** Return the height of a source's routes. */
const heightOf = (routes) => routes.reduce((total, { kind }) => total + HEIGHTS[kind] + GAP, -GAP);

/** Return the gap between sources: a small bridge fills the room that there is. */
function between(groups, room) {
  const needed = groups.reduce((total, { routes }) => total + Math.max(heightOf(routes), HEIGHTS.source), 0);
  return Math.max(BLOCK_GAP, Math.min(MAX_GAP, Math.floor((room - needed) / Math.max(1, groups.length - 1))));
}

function split(width) {
  const gap = Math.max(56, Math.min(132, Math.round(width * 0.11)));
  const rest = width - 2 * gap;
  const [source, route] = [Math.round(rest * 0.33), Math.round(rest * 0.38)];
  return {
    source: { x: 0, w: source },
    route: { x: source + gap, w: route },
    queue: { x: source + route + 2 * gap, w: rest - source - route },
  };
}

/** Place the queues where their routes are in the mean, in this order and without an overlap; return the lower end. */
function placeQueues(nodes, queues, wanted, column, height) {
  const mean = (key) => {
    const all = wanted.get(key) ?? [height];
    return all.reduce((total, each) => total + each, 0) / all.length;
  };
  const sorted = queues.map((key) => ({ key, y: mean(key) - HEIGHTS.queue / 2 })).sort((a, b) => a.y - b.y);
  let free = 0;
  for (const each of sorted) {
    each.y = Math.max(each.y, free);
    free = each.y + HEIGHTS.queue + GAP + 4;
  }
  let limit = Math.max(height, free - GAP - 4);
  for (const each of sorted.reverse()) {
    each.y = Math.max(0, Math.min(each.y, limit - HEIGHTS.queue));
    limit = each.y - GAP - 4;
    nodes.set(each.key, { x: column.x, y: each.y, w: column.w, h: HEIGHTS.queue });
  }
  return sorted.length ? Math.max(...sorted.map(({ y }) => y + HEIGHTS.queue)) : 0;
}

/** Return the way of events that die before any route has them: below all routes. */
function around(from, to, bottom) {
  const [x, y, end] = [from.x + from.w, from.y + from.h - 14, to.x + to.w / 2];
  const low = bottom + AROUND - 2;
  return `M${x} ${y}h4q8 0 8 8V${low - 8}q0 8 8 8H${end - 8}q8 0 8 -8V${to.y + to.h + 1}`;
}

function arrows(groups, nodes, dead, bottom) {
  const made = [];
  const bend = (from, to, fromY, toY) => {
    const [x1, x2] = [from.x + from.w, to.x];
    const middle = (x1 + x2) / 2;
    return `M${x1} ${fromY}C${middle} ${fromY} ${middle} ${toY} ${x2 - 1} ${toY}`;
  };
  const center = ({ y, h }) => y + h / 2;
  for (const { source, routes } of groups) {
    const from = nodes.get(source);
    if (dead) made.push({ key: `${source}>dead`, from: source, to: "dead", path: around(from, nodes.get("dead"), bottom), dead: true });
    for (const { key, queues } of routes) {
      const to = nodes.get(key);
      const path = bend(from, to, center(from), center(to));
      made.push({ key: `${source}>${key}`, from: source, to: key, path, label: { x: to.x - 9, y: center(to) - 6, anchor: "end" } });
      for (const queue of queues) {
        const end = nodes.get(queue);
        if (!end) continue;
        const label = { x: to.x + to.w + 9, y: center(to) - 6, anchor: "start" };
        made.push({ key: `${key}>${queue}`, from: key, to: queue, path: bend(to, end, center(to), center(end)), label });
      }
      if (dead) made.push({ key: `${key}>dead`, from: key, to: "dead", path: bend(to, nodes.get("dead"), center(to) + 8, center(nodes.get("dead"))), dead: true });
    }
  }
  return made;
}

function narrow(groups, queues, dead, width) {
  const nodes = new Map();
  const made = [];
  let y = 0;
  for (const { source, routes } of groups) {
    nodes.set(source, { x: 0, y, w: width, h: HEIGHTS.source });
    const bottom = y + HEIGHTS.source;
    y = bottom + GAP;
    for (const { key, kind } of routes) {
      nodes.set(key, { x: INDENT, y, w: width - INDENT, h: HEIGHTS[kind] });
      const center = y + HEIGHTS[kind] / 2;
      made.push({ key: `${source}>${key}`, from: source, to: key, path: `M10 ${bottom}V${center - 8}Q10 ${center} 18 ${center}H${INDENT - 1}` });
      y += HEIGHTS[kind] + GAP;
    }
    y += BLOCK_GAP - GAP;
  }
  for (const key of [...queues, ...(dead ? ["dead"] : [])]) {
    const h = key === "dead" ? HEIGHTS.dead : HEIGHTS.queue;
    nodes.set(key, { x: 0, y, w: width, h });
    y += h + GAP;
  }
  return { nodes, arrows: made, height: Math.max(0, y - GAP) };
}
