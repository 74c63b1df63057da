// JSON in lines that people can read. Numbers stay as they are written: JavaScript would round great ones, and make 1.0 an integer.

/** A part that fits into so many characters stays on one line. */
const LINE = 44;
const TOKEN = /\s*("(?:[^"\\]|\\.)*"|[-+.\w]+|[[\]{},:])/y;

/** Tell whether a text is JSON. */
export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Return a text of JSON in lines; any other text as it is. */
export function pretty(text) {
  return isJson(text) ? lines(read(tokens(text))) : text;
}

function* tokens(text) {
  const token = new RegExp(TOKEN);
  for (let match = token.exec(text); match; match = token.exec(text)) yield match[1];
}

/** Return a value: a text, or `{open, close, items}` with a text or a value each, and its name in a mapping. */
function read(stream) {
  const stack = [];
  let value = null;
  let name = "";
  for (const token of stream) {
    if (token === "[" || token === "{") {
      const made = { open: token, close: token === "[" ? "]" : "}", items: [] };
      stack.at(-1)?.items.push({ name, value: made });
      stack.push(made);
      name = "";
    } else if (token === "]" || token === "}") value = stack.pop();
    else if (token === ":") name = `${stack.at(-1).items.pop().value}: `;
    else if (token !== ",") {
      if (!stack.length) return token;
      stack.at(-1).items.push({ name, value: token });
      name = "";
    }
  }
  return value;
}

function lines(value, indent = "") {
  if (typeof value === "string") return value;
  const flat = onOne(value);
  if (!value.items.length || flat.length + indent.length <= LINE) return flat;
  const inner = `${indent}  `;
  return `${value.open}\n${value.items.map(({ name, value: each }) => inner + name + lines(each, inner)).join(",\n")}\n${indent}${value.close}`;
}

function onOne(value) {
  if (typeof value === "string") return value;
  return `${value.open}${value.items.map(({ name, value: each }) => name + onOne(each)).join(", ")}${value.close}`;
}
