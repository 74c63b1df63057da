"""The habits of other programs and the slips of every hand: `check` names each, at its place, with the way it is done here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.commands.conftest import Terminal

_SOURCES: Final = """\
sources:
  m: {type: mqtt, url: mqtt://h, client_id: c}
  a: {type: amqp, url: amqp://h, queue: q}
  p: {type: redis-pubsub, url: redis://h, channels: [c]}
routes:
"""
#: An expression in `when`; the characters before its mistake; the words.
_EXPRESSIONS: Final = [
    ("payload.a-b > 1", 0, """'-' subtracts here; write payload["a-b"] for a field with a hyphen"""),
    ("payload.x.event-type == 1", 0, """'-' subtracts here; write payload.x["event-type"] for a field with a hyphen"""),
    (
        "payload.a.b-c.d-e.f > 1",
        0,
        """'-' subtracts here; write payload.a["b-c"]["d-e"].f for a field with a hyphen""",
    ),
    (
        "headers.x-retry-count > 3",
        0,
        """'-' subtracts here; write headers["x-retry-count"] for a field with a hyphen""",
    ),
    (
        "1 + $.x",
        4,
        "'$' can't be used in an expression; '$' stands only before the whole value; a field is written payload.a",
    ),
    ("$.x > 1", 1, "'.x' is a field of nothing; write payload.x"),
    ("topic.oven == 1", 0, "topic is text and has no fields; {name} in the route's topic captures a level of it"),
    (
        "payload.mode == auto",
        16,
        """there is no name 'auto'; a field of the payload is written payload.auto, a text "auto\"""",
    ),
    ("payload.items[*].x > 1", 13, "'[*]' can't be used in an expression; write [0] for one element"),
    ("payload.items.0.sku == 1", 13, "'.0' is no field; write [0] for an element of a list"),
    ("payload.a == 1 AND payload.b == 2", 15, "'AND' can't be used in an expression; write 'and'"),
    ("payload.a == 1 Or payload.b == 2", 15, "'Or' can't be used in an expression; write 'or'"),
    ("NOT payload.a", 0, "'NOT' can't be used in an expression; write 'not'"),
    ("payload.a && payload.b", 10, "'&&' can't be used in an expression; write 'and'"),
    ("payload.a || payload.b", 10, "'||' can't be used in an expression; write 'or'"),
    ("!payload.a", 0, "'!' can't be used in an expression; write 'not'"),
    ("payload.a = 1", 10, "'=' can't be used in an expression; write '==' to compare"),
    ("payload.a === 1", 10, "'===' can't be used in an expression; write '==' to compare"),
    ("payload.a <> 1", 10, "'<>' can't be used in an expression; write '!=' to compare"),
    ("payload.a =~ 'x'", 10, """'=~' can't be used in an expression; write matches(payload.a, "regex")"""),
    ("payload.a like 'x%'", 10, """'like' can't be used in an expression; write matches(payload.a, "regex")"""),
    ("payload.a matches 'x'", 10, """'matches' can't be used in an expression; write matches(payload.a, "regex")"""),
    ("payload.a contains 'x'", 10, """'contains' can't be used in an expression; write "a" in payload.text"""),
    ("payload.a between 1 and 2", 10, "'between' can't be used in an expression; write 1 <= payload.a <= 2"),
    ("payload.a ?? 1", 10, "'??' can't be used in an expression; write default(payload.a, fallback)"),
    ("payload?.a", 7, "'?.' can't be used in an expression; write default(payload.a.b, fallback)"),
    ("payload.a ? 1 : 2", 10, "'?' can't be used in an expression; write 'a if condition else b'"),
    ("payload.a | upper == 'X'", 0, "a filter behind '|' can't be used in an expression; write upper(payload.a)"),
    (
        "payload.a | default('x')",
        0,
        "a filter behind '|' can't be used in an expression; write default(payload.a, 'x')",
    ),
    ("payload.a | payload.b", 0, "the operator '|' can't be used in an expression; write 'or'"),
    ("payload.a & payload.b", 0, "the operator '&' can't be used in an expression; write 'and'"),
    ("payload.a == 'a' or 'b'", 20, "this side of 'or' is always true; write payload.a in ['a', 'b']"),
    ("payload.a == 1 or 2 or 3", 18, "this side of 'or' is always true; write payload.a in [1, 2, 3]"),
    ("payload.a != 'a' and 'b'", 21, "this side of 'and' is always true; write payload.a not in ['a', 'b']"),
    ("payload.a > 3 or true", 17, "this side of 'or' is always true; compare it with something, or leave it out"),
    (
        "payload.a + 'x' == 'bx'",
        12,
        """arithmetic takes numbers, not text; texts are put together as in f"{payload.a}-{payload.b}\"""",
    ),
    (
        "'%s' % payload.a == 'x'",
        0,
        """arithmetic takes numbers, not text; texts are put together as in f"{payload.a}-{payload.b}\"""",
    ),
    (
        "env('HOME') == 'x'",
        0,
        "there is no function 'env'; write ${NAME} in a value; an expression reads the event only",
    ),
    ("exists(payload.a)", 0, "there is no function 'exists'; it is called has here: has(payload.a)"),
    ("contains(payload.a, 'x')", 0, """there is no function 'contains'; write "a" in payload.text"""),
    ("length(payload.a) > 1", 0, "there is no function 'length'; it is called len here: len(payload.a)"),
    ("parse_json(payload.a) == 1", 0, "there is no function 'parse_json'; it is called json here: json(payload.a)"),
    ("tolower(payload.a) == 'x'", 0, "there is no function 'tolower'; it is called lower here: lower(payload.a)"),
    (
        "regex_match(payload.a, 'x')",
        0,
        """there is no function 'regex_match'; it is called matches here: matches(payload.a, "regex")""",
    ),
    (
        "coalesce(payload.a, 1) == 1",
        0,
        "there is no function 'coalesce'; it is called default here: default(payload.a, fallback)",
    ),
    (
        "concat(payload.a, 'x') == 'x'",
        0,
        """there is no function 'concat'; write f"{payload.a}-{payload.b}", or flatten([payload.a, payload.b]) for lists""",
    ),
    ("try(payload.a, 1) == 1", 0, "'try' can't be used in an expression; it is called catch here"),
    ("trim(payload.a) == 'x'", 0, "there is no function 'trim'; it is called strip here"),
    ("payload.a.trim() == 'x'", 0, "a method can't be called in an expression; it is called strip here"),
    ("floor(payload.a) == 1", 0, "there is no function 'floor'; write int(payload.a // 1)"),
    ("pluck(payload.a, 'b') == []", 0, "there is no function 'pluck'; write [x.a for x in payload.list]"),
    ("lenght(payload.a) > 1", 0, "there is no function 'lenght'; did you mean 'len'?"),
    ("payload.a.startswith('x')", 0, "a method can't be called in an expression; write starts_with(...)"),
    ("payload.get('a') == 1", 0, "a method can't be called in an expression; write default(payload.field, fallback)"),
    ("msg.celsius > 1", 0, "there is no name 'msg'; the decoded body is called payload"),
    ("celsius > 1", 0, "there is no name 'celsius'; a field of the payload is written payload.celsius"),
    ("payload.a == none_", 13, "there is no name 'none_'"),
    ("payload.a is 'x'", 0, "'is' only asks whether a field is null; write '==' to compare"),
    ("meta.retained", 0, "meta has no field 'retained'; did you mean 'retain'?"),
    (
        "item.qty > 0",
        0,
        "there is no name 'item'; only values of a route with foreach have it; choose elements there: foreach: $[x for x in payload.lines if",
    ),
    (
        "cents(payload.a, ',.')",
        17,
        "the number of places takes a whole number, not text; the marks are the argument behind it",
    ),
    ("payload.class == 1", 8, """'class' is a word of the language; write ["class"] for the field"""),
    (
        "[x for x in payload.a for y in x] == []",
        26,
        "a comprehension has one 'for'; write one comprehension within the other",
    ),
    ("(payload.a > 1", 0, "'(' is never closed"),
]


@pytest.mark.parametrize(("text", "before", "words"), _EXPRESSIONS, ids=lambda value: str(value)[:40])
def test_an_expression(run: Terminal, path: Path, text: str, before: int, words: str) -> None:
    """With the caret under its first character."""
    line = f"  - {{from: m, actor: x, when: {_quoted(text)}}}"
    path.write_text(f"{_SOURCES}{line}\n")
    run("check", "CONFIG", code=78)
    column = line.index("when: ") + len("when: ") + 2 + before + text[:before].count("'")
    assert run.err.splitlines()[0].startswith(f"{path}:6:{column}: routes[0].when: {words}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ("|\n      payload.a > 1\n      and payload.b\n        === 3", 9, 9),
        (">-\n      payload.a > 1\n      and payload.b === 3", 8, 21),
        ("payload.a > 1\n      and payload.b\n          === 3", 8, 11),
        ("$payload.a > 1\n      and payload.b === 3", 7, 21),
        ("|\n\n      payload.a > 1\n      and payload.b === 3", 6, 11),
        ("'payload.a > 1\n      and payload.b === 3'", 6, 11),
    ],
)
def test_an_expression_of_several_lines(run: Terminal, path: Path, written: str, line: int, column: int) -> None:
    """The line inside is named, where the lines of the file are those of the expression; otherwise the beginning."""
    path.write_text(f"{_SOURCES}  - when: {written}\n    from: m\n    actor: x\n")
    run("check", "CONFIG", code=78)
    assert f"{path}:{line}:{column}: routes[0].when: '===' can't be used in an expression" in run.err


#: A line of the file; its part at which the caret stands; the words behind the place.
_KEYS: Final = [
    ("  n: {type: mqtt, url: mqtt://h, client_id: c}", "c}", "sources.n.client_id: sources.m has this client_id too"),
    (
        "  n: {type: mqtt, url: mqtt://h:1883, client_id: c}",
        "c}",
        "sources.n.client_id: sources.m has this client_id too",
    ),
    (
        "  n: {type: mqtt, url: tcp://h}",
        "tcp",
        "sources.n.url: takes a URL that begins with mqtt:// or mqtts://; tcp:// is called mqtt:// here",
    ),
    (
        "  n: {type: mqtt, url: ssl://h}",
        "ssl",
        "sources.n.url: takes a URL that begins with mqtt:// or mqtts://; ssl:// is called mqtts:// here",
    ),
    (
        "  n: {type: mqtt, url: MQTT://h}",
        "MQTT",
        "sources.n.url: takes a URL that begins with mqtt:// or mqtts://; write mqtt:// in small letters",
    ),
    ("  n: {type: mqtt, host: h}", "host", "sources.n.host: unknown key 'host'; it is part of url here"),
    (
        "  n: {type: mqtt, url: mqtt://h, topic: x}",
        "topic",
        "sources.n.topic: unknown key 'topic'; did you mean 'topics'?",
    ),
    ("  n: {type: mqtt, url: mqtt://h, ssl: true}", "ssl", "sources.n.ssl: unknown key 'ssl'; it is called tls here"),
    (
        "  n: {type: mqtt, url: mqtt://h, clean_session: true}",
        "clean",
        "sources.n.clean_session: unknown key 'clean_session'; it is called session_expiry here, as in session_expiry: 0s",
    ),
    (
        "  n: {type: amqp, url: amqp://h, queue: q, exchange: e}",
        "exch",
        "sources.n.exchange: unknown key 'exchange'; it is part of declare here, as in declare: {exchange: orders",
    ),
    (
        "  n: {type: amqp, url: amqp://h, queue: q, prefetch: 5}",
        "pref",
        "sources.n.prefetch: unknown key 'prefetch'; it is called window here, as in window: {events: 100}",
    ),
    (
        "  n: {type: amqp, url: amqp://h, queue: q, vhost: v}",
        "vhost",
        "sources.n.vhost: unknown key 'vhost'; it is part of url here, as in",
    ),
    (
        "  n: {type: amqp, url: amqp://h, queue: q, codec: x}",
        "codec",
        "sources.n.codec: unknown key 'codec'; it is called decode here",
    ),
    (
        "  n: {type: redis-stream, url: redis://h, streams: [s], consumer_group: g}",
        "consumer_g",
        "sources.n.consumer_group: unknown key 'consumer_group'",
    ),
    (
        "  n: {type: kafka, url: kafka://h}",
        "kafka,",
        "sources.n.type: unknown type 'kafka'; it is one of amqp, mqtt, redis-pubsub or redis-stream",
    ),
]
_ROUTE_KEYS: Final = [
    (
        "  - {from: m, actor: x, max_retries: 3}",
        "max_r",
        "routes[0].max_retries: unknown key 'max_retries'; it is part of options here, as in options: {max_retries: 5}",
    ),
    ("  - {source: m, actor: x}", "source", "routes[0].source: unknown key 'source'; it is called from here"),
    ("  - {from: m, task: x}", "task", "routes[0].task: unknown key 'task'; it is called actor here"),
    ("  - {from: m, actor: x, if: payload.a}", "if:", "routes[0].if: unknown key 'if'; it is called when here"),
    (
        "  - {from: m, actor: x, countdown: 3}",
        "countdown",
        "routes[0].countdown: unknown key 'countdown'; it is called delay here",
    ),
    (
        "  - {from: m, actor: x, delay: 3}",
        "3}",
        "routes[0].delay: takes a duration such as 30s, 5m; a bare number has no unit",
    ),
    (
        "  - {from: m, actor: x, args: [$.a.b]}",
        ".a",
        "routes[0].args[0]: '.a' is a field of nothing; write payload.a",
    ),
    (
        """  - {from: m, actor: x, args: ['$payload.a.b-c.d']}""",
        "payload",
        """routes[0].args[0]: '-' subtracts here; write payload.a["b-c"].d for a field with a hyphen""",
    ),
    ("  - {from: m, actor: x, topic: a/#/b}", "#/b", "routes[0].topic: # must be the last level"),
    ("  - {from: n, actor: x}", "n,", "routes[0].from: no source is named 'n'; sources: m, a, p"),
]
#: A note stands at a value of a line, and the configuration is a valid one.
_NOTES: Final = [
    (
        "  - {from: m, actor: x, topic: 'a.*.b'}",
        "'a.*",
        "route x: * is a character in a topic of mqtt; its wildcards are + and #",
    ),
    (
        "  - {from: a, actor: x, topic: a/+/b}",
        "a/+",
        "route x: + is a character in a topic of amqp; its wildcards are * and #",
    ),
    (
        "  - {from: p, actor: x, topic: 'c:#'}",
        "'c:#",
        "route x: # is a character in a topic of redis-pubsub; its wildcards are * and ? and [abc]",
    ),
    (
        "  - {from: m, actor: x, topic: 'a/{oven}', args: [oven]}",
        "oven]",
        "route x: 'oven' is text; the capture is written $oven",
    ),
    (
        "  - {from: m, actor: x, args: [payload.a]}",
        "payload",
        "route x: 'payload.a' is text; an expression begins with $, as in $payload.a",
    ),
    (
        """  - {from: m, actor: x, kwargs: {a: "{{ payload.a }}"}}""",
        '"{{',
        "route x: '{{ payload.a }}' is text; $f\"{payload.a}\" puts values into one",
    ),
    (
        """  - {from: m, actor: x, args: ["oven {payload.a}"]}""",
        '"oven',
        "route x: '{payload.a}' is text; $f\"oven {payload.a}\" puts values into one",
    ),
    (
        "  - {from: m, actor: x, options: {priority: 1}}",
        "priority",
        "route x: Dramatiq's Redis broker ignores the priority of a message; use another queue",
    ),
    (
        "  - {from: m, actor: x, options: {tenant: t}}",
        "tenant",
        "route x: Dramatiq does not know the option tenant; it is written all the same, for a middleware",
    ),
    (
        """  - {from: m, actor: x, args: ["{{x|upper}}"]}""",
        '"{{',
        "route x: '{{x|upper}}' is text; $f\"{x}\" puts values into one",
    ),
    (
        "  - {from: m, actor: x, options: {foo: payload.n}}",
        "payload",
        "route x: 'payload.n' is text; an expression begins with $, as in $payload.n",
    ),
    (
        "  - {from: m, actor: x, options: {pipe_target: {actor_name: y, args: [payload.n]}}}",
        "payload",
        "route x: 'payload.n' is text; an expression begins with $, as in $payload.n",
    ),
    (
        "  - {from: m, actor: x, options: {pipe_target: {actor_name: y, options: {priority: 1}}}}",
        "priority",
        "route x: Dramatiq's Redis broker ignores the priority of a message; use another queue",
    ),
    ("  - {from: p, actor: x, topic: d}", "d}", "route x: no topic that sources.p brings fits d"),
]
_SOURCE_NOTES: Final = [
    (
        "  n: {type: mqtt, url: mqtt://i, client_id: c, unmatched: dead-letter}",
        "unmatched",
        "sources.n makes no dead letter of an unmatched event: it subscribes to what its routes need",
    ),
    (
        "  n: {type: redis-stream, url: redis://h, streams: [a], group: g, field: data, binary: [photo, data]}",
        "binary",
        "sources.n lists data, the body, which decode reads; decode: bytes gives a body in base64",
    ),
    (
        "  n: {type: redis-pubsub, url: redis://h, channels: ['a*']}",
        "channels",
        "sources.n has the channel 'a*', whose wildcard is a character: wildcards stand in patterns",
    ),
    (
        "  n: {type: redis-pubsub, url: redis://h, channels: [ab], patterns: ['a*']}",
        "patterns",
        "sources.n gets each event of 'ab' twice: as a channel, and by a pattern that fits it",
    ),
    (
        "  n: {type: redis-pubsub, url: redis://h, patterns: ['l.*', m, '*.a?']}",
        "patterns",
        "sources.n gets each event twice whose channel fits both 'l.*' and '*.a?'",
    ),
]


@pytest.mark.parametrize(("line", "at", "words"), _KEYS)
def test_a_source(run: Terminal, path: Path, line: str, at: str, words: str) -> None:
    """Its keys and its address, as other programs call them."""
    path.write_text(f"{_SOURCES.replace('routes:', f'{line}{chr(10)}routes:')}  - {{from: m, actor: x}}\n")
    run("check", "CONFIG", code=78)
    assert f"{path}:5:{line.index(at) + 1}: {words}" in run.err


@pytest.mark.parametrize(("line", "at", "words"), _ROUTE_KEYS)
def test_a_route(run: Terminal, path: Path, line: str, at: str, words: str) -> None:
    """Its keys and values."""
    path.write_text(f"{_SOURCES}{line}\n")
    run("check", "CONFIG", code=78)
    assert f"{path}:6:{line.index(at) + 1}: {words}" in run.err


@pytest.mark.parametrize(("line", "at", "words"), _NOTES)
def test_a_note_on_a_route(run: Terminal, path: Path, line: str, at: str, words: str) -> None:
    """Allowed, and seldom meant."""
    path.write_text(f"{_SOURCES}{line}\n")
    assert f"{path}:6:{line.index(at) + 1}: note: {words}" in run("check", "CONFIG")


@pytest.mark.parametrize(("line", "at", "words"), _SOURCE_NOTES)
def test_a_note_on_a_source(run: Terminal, path: Path, line: str, at: str, words: str) -> None:
    """Allowed, and seldom meant."""
    path.write_text(f"{_SOURCES.replace('routes:', f'{line}{chr(10)}routes:')}  - {{from: m, actor: x}}\n")
    assert f"{path}:5:{line.index(at) + 1}: note: {words}" in run("check", "CONFIG")
