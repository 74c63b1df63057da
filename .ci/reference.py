"""Write docs/reference.md, every key of the configuration, from its schema: `.ci/reference.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
SCHEMA: Final = ROOT / "config/bridge.schema.json"
REFERENCE: Final = ROOT / "docs/reference.md"

_HEAD: Final = """\
# Every key

This page says of every key of the configuration which values it takes, its default, and its purpose.
`make reference` makes it from [bridge.schema.json](../config/bridge.schema.json); [Configuration](configuration.md) explains the choices,
and [bridge.yaml](../config/bridge.yaml) shows all keys in one file.

| a value that is a | is written as |
|---|---|
| duration | a whole number and its unit: `250ms`, `30s`, `5m`, `2h`, `7d` |
| size | a whole number and its unit: `512B`, `256KiB`, `16MiB`, `1GiB` |
| share | a percentage: `80%` |
| expression | a `$` and [an expression](expressions.md): `$payload.id` |
| anything | `${NAME}`, `${NAME:-fallback}`, `${file:/path}` or `${credential:name}`, where the value [comes from outside](configuration.md#values-from-outside) |

A default of `-` means that the key is not set.
"""

Schema = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A heading, the mapping whose keys it lists, and a sentence before them."""

    title: str
    name: str
    text: str = ""

    @property
    def anchor(self) -> str:
        """What forges and the site make of the title."""
        return self.title.replace(": ", "-").replace(" ", "-")


#: In the page's order: definitions of the schema by name. The sources and the two without one are written by hand below.
_SECTIONS: Final = (
    Section("dramatiq", "Dramatiq", "The Redis in which Dramatiq's workers look."),
    Section("tls", "Tls", "Of `dramatiq` and of every source, where the URL's scheme turns TLS on."),
    Section("window", "Window", "Of every source. Redis sources have room for 4,000 events by default."),
    Section("deduplicate", "Deduplicate", "Of `amqp` and `mqtt`."),
    Section("declare", "Declare", "Of `amqp`."),
    Section("routes", "Route", "A list of routes; every one that fits an event makes a message, or several."),
    Section("queue_by", "QueueBy", "Of a route."),
    Section("allow", "Allow", "Of a route whose `actor` or `queue` is an expression."),
    Section("routes: deduplicate", "RouteDeduplicate", "Of a route; for each of its messages."),
    Section("then", "Step", "Of a route: a list of steps."),
    Section("dead_letters", "DeadLetters"),
    Section("spool", "SpoolSettings"),
    Section("admin", "AdminSettings"),
    Section("log", "Log"),
    Section("tracing", "TracingSettings"),
    Section("tables", "Table", "A mapping: a name of your own, and the table, which `lookup` finds by that name."),
    Section("tests", "Case", "A list of tests, in the file or in `NAME_test.yaml` beside it."),
    Section("tests: event", "EventCase"),
    Section("tests: expect", "ExpectedMessage", "Of each message the keys that are written are compared."),
    Section("tests: expect: then", "ExpectedStep", "Of each step the keys that are written are compared."),
    Section("tests: expect_dead_letter", "ExpectedDeadLetter"),
)
_SOURCES: Final = {"amqp": "Amqp", "mqtt": "Mqtt", "redis-pubsub": "RedisPubsub", "redis-stream": "RedisStream"}
_LINKS: Final = {section.name: section.anchor for section in _SECTIONS} | {"WideWindow": "window"}
_UNITS: Final = {"(ms|s|m|h|d)": "duration", "(B|KiB|MiB|GiB)": "size", "%": "share"}


def reference(schema: Schema) -> str:
    """Return the page."""
    definitions = schema["$defs"]
    parts = [_HEAD, "## The whole file\n", _table("", schema)]
    for section in _SECTIONS:
        if section.name == "Route":
            parts += _sources(definitions, _required(schema))
        parts += [f"## {section.title}\n", *([f"{section.text}\n"] if section.text else [])]
        parts.append(_table(section.title.replace(": ", "."), definitions[section.name]))
        if section.name == "Route":
            options = definitions["Route"]["properties"]["options"]
            parts += ["## routes: options\n", "Dramatiq's own, and those of your middleware.\n"]
            parts.append(_table("routes.options", options))
    return "\n".join(parts)


def _required(schema: Schema) -> dict[str, list[str]]:
    """Return the keys that a source of each type needs, itself or in `defaults`."""
    each = schema["then"]["properties"]["sources"]["additionalProperties"]["allOf"]
    return {one["if"]["properties"]["type"]["const"]: ["type", *one["then"]["required"]] for one in each}


def _sources(definitions: Schema, required: dict[str, list[str]]) -> Iterator[str]:
    """Yield the chapters of the sources: the keys that all have alike, and then those of each."""
    of_each = {kind: definitions[name]["properties"] for kind, name in _SOURCES.items()}
    first, *others = of_each.values()
    common = {key: value for key, value in first.items() if all(_alike(value, each.get(key)) for each in others)}
    yield "## sources\n"
    yield "A mapping: a name of your own, and the source. Its `type` says which keys it has; these belong to each of them.\n"
    yield _table("sources", {"properties": common})
    for kind in _SOURCES:
        own = {key: value for key, value in of_each[kind].items() if key not in common}
        yield f"## sources: {kind}\n"
        yield f"Beside [the keys of every source](#sources) a source of `type: {kind}` has these; one that is **required** may stand in `defaults` too.\n"
        yield _table(f"sources.{kind}", {"properties": own, "required": required[kind]})


def _alike(one: Schema, other: Schema | None) -> bool:
    return other is not None and _row("", "", one, required=False) == _row("", "", other, required=False)


def _table(anchor: str, schema: Schema) -> str:
    required = schema.get("required", [])
    rows = [_row(anchor, key, each, required=key in required) for key, each in schema["properties"].items()]
    return "\n".join(("| key | takes | default | is | as in |", "|---|---|---|---|---|", *rows, ""))


def _row(anchor: str, key: str, schema: Schema, *, required: bool) -> str:
    own = f"{anchor}.{key}" if anchor else key
    # A key of the whole file that has a chapter is found there.
    place = "" if own in _LINKS.values() or own == "sources" else f'<a id="{own}"></a>'
    default = "**required**" if required else _default(schema)
    example = _code(schema["examples"][0]) if "examples" in schema else ""
    cells = (f"{place}[`{key}`](#{own})", _takes(schema), default, schema["description"], example)
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def _default(schema: Schema) -> str:
    if "$ref" in schema or "default" not in schema:
        return ""
    # As people write it: of 5 and "5" the number.
    choices = [each for form in (schema, *schema.get("anyOf", ())) for each in form.get("enum", ())]
    value = next((each for each in choices if f"{each}" == schema["default"]), schema["default"])
    return "-" if value is None else "empty" if value in ([], {}, "") else _code(value)


def _code(value: object) -> str:
    """Return YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _takes(schema: Schema) -> str:
    """Return the values in words, but for the forms that every value has; null only where it differs from no key at all."""
    forms = list(_forms(schema))
    if "null" in forms and schema.get("default", "") is None:
        forms.remove("null")
    return " or ".join("`null`" if each == "null" else each for each in dict.fromkeys(forms)) or "anything"


def _forms(schema: Schema) -> Iterator[str]:
    choices: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or []
    for each in choices:
        yield from _forms(each)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not choices and (form := _named(schema) or _of_text(schema) or _of_kinds(schema, kinds)):
        yield form
    if "null" in kinds:
        yield "null"


def _named(schema: Schema) -> str:
    """Return a link to the chapter of another mapping, or the words that a key takes."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return f"[{_LINKS[name].replace('-', ': ', 1)}](#{_LINKS[name]})" if name in _LINKS else ""
    return ", ".join(
        dict.fromkeys(f"`{each}`" for each in schema.get("enum", [schema["const"]] if "const" in schema else []))
    )


def _of_text(schema: Schema) -> str:
    """Return the form of a text that has one."""
    pattern = schema.get("pattern", "")
    if unit := next((name for form, name in _UNITS.items() if form in pattern), ""):
        return f"{unit} or expression" if r"\$.*" in pattern else unit
    if pattern == r"^\$":
        return "expression"
    return {"date-time": "time", "password": "text, kept secret"}.get(schema.get("format", ""), "")


def _of_kinds(schema: Schema, kinds: list[str]) -> str:
    if schema.get("pattern") == r"^\$\{":
        return ""
    if "array" in kinds:
        return f"list of {_plural(_takes(schema['items']))}" if schema.get("items") else "list"
    if "integer" in kinds:
        return "id" if "(-" in schema.get("pattern", "") else f"whole number{_bounds(schema)}"
    return " or ".join(_NAMES[kind] for kind in kinds if kind in _NAMES)


_NAMES: Final = {"string": "text", "boolean": "`true`, `false`", "object": "mapping"}


def _plural(name: str) -> str:
    return {"text": "texts", "text or mapping": "texts or mappings", "mapping": "mappings"}.get(name, name)


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is None or high >= 2**53:
        return f" (at least {low})" if low else ""
    return f" ({low} to {high:,})"


if __name__ == "__main__":
    REFERENCE.write_text(reference(json.loads(SCHEMA.read_text(encoding="utf-8"))), encoding="utf-8")
