// A small line of the last two minutes.

import { mark, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [120, 28];
/** So many samples fill the width at least; later ones make room for more, up to two minutes. */
const LEAST = 30;

/** Return `{element, draw(values)}`. */
export function spark() {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "trace" });
  const element = svg("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" }, area, line);
  const draw = (values) => {
    const highest = Math.max(...values, 1e-9);
    const step = WIDTH / (Math.max(values.length, LEAST) - 1);
    const first = WIDTH - (values.length - 1) * step;
    const points = values.map((value, at) => `${(first + at * step).toFixed(1)} ${(HEIGHT - 1 - (value / highest) * (HEIGHT - 4)).toFixed(1)}`);
    mark(line, "d", points.length > 1 ? `M${points.join("L")}` : null);
    mark(area, "d", points.length > 1 ? `M${first.toFixed(1)} ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z` : null);
  };
  return { element, draw };
}
