// Numbers, spans of time and sizes, as people read them.

const LETTERS = ["", "k", "M", "G", "T", "P"];
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
export const THIN = "\u202f";

/** Return `1,234,567`, and of a larger number `12.3M`. */
export function count(number) {
  if (number < 1e7) return Math.round(number).toLocaleString("en-US");
  let value = number;
  let at = 0;
  while (value >= 999.5 && at < LETTERS.length - 1) [value, at] = [value / 1000, at + 1];
  return `${Number(value.toPrecision(3))}${LETTERS[at]}`;
}

/** Return events a second: `0`, `0.3`, `12.4`, `1,204`; and an en dash of a rate that is not known. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value < 0.1) return "<0.1";
  if (value < 99.95) return value.toFixed(1);
  return count(value);
}

/** Return a rate with its unit. */
export const perSecond = (value) => `${rate(value)}${THIN}/s`;

/** Return the two largest units of a span: `3 d 4 h`, `12 min 5 s`. */
export function span(seconds) {
  let left = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [size, unit] of UNITS) {
    const number = Math.floor(left / size);
    left -= number * size;
    if (number || parts.length) parts.push(number ? `${number}${THIN}${unit}` : "");
    if (parts.length === 2) break;
  }
  return parts.filter(Boolean).join(" ") || `0${THIN}s`;
}

/** Return a span in its largest unit: `3 d`, `12 min`; of less than a second `now`. */
export function ago(seconds) {
  if (!(seconds >= 1)) return "now";
  const [size, unit] = UNITS.find(([each]) => seconds >= each);
  return `${Math.floor(seconds / size)}${THIN}${unit} ago`;
}

/** Return a short span: `0.3 ms`, `30 ms`, `1.5 s`, `3 min`. */
export function short(seconds) {
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))}${THIN}ms`;
  if (seconds < 60) return `${Number(seconds.toPrecision(2))}${THIN}s`;
  return span(seconds);
}

/** Return a size: `812 B`, `1.5 MiB`. */
export function bytes(size) {
  let value = size;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${Number(value.toPrecision(3))}${THIN}${unit}`;
    value /= 1024;
  }
  return `${Number(value.toPrecision(3))}${THIN}TiB`;
}

/** Return the time of day of epoch seconds, and the date of another day. */
export function clock(seconds, now = Date.now() / 1000) {
  const then = new Date(seconds * 1000);
  const time = then.toLocaleTimeString("en-GB");
  const isToday = then.toDateString() === new Date(now * 1000).toDateString();
  return isToday ? time : `${then.toLocaleDateString("en-CA")} ${time}`;
}

/** Return `1 event`, `2 events`. */
export const some = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Return a text whose characters all show: line ends, controls and changes of direction as escapes. */
export function visible(text) {
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (char) => ({ "\n": "\\n", "\r": "\\r", "\t": "\\t" })[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Return the lines of a text; all other characters that do not show are escapes. */
export const visibleLines = (text) => String(text).split("\n").map(visible).join("\n");
