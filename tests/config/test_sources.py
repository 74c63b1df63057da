"""Settings of one source that contradict each other, or would lose or repeat events in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.config import MAX_PROCESSES, Amqp, Mqtt, load
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes
from bridge.sources.sharding import config_for_process

HEADERS = (
    "a headers exchange sends everything to a binding without arguments; as in bindings: [{arguments: {x-match: any"
)


def amqp(declare: str) -> str:
    """Return a configuration with a queue that is declared so."""
    return f"sources:\n  s: {{type: amqp, url: amqp://localhost, queue: q, declare: {declare}}}\n"


@pytest.mark.parametrize(
    ("declare", "where", "words"),
    [
        ("{exchange: e, type: headers}", "type", HEADERS),
        ("{exchange: e, type: headers, bindings: [x]}", "bindings[0]", HEADERS),
        ("{exchange: e, type: headers, bindings: [{arguments: {a: 1}}, {key: x}]}", "bindings[1]", HEADERS),
        ("{bindings: [x]}", "bindings", "the queue is bound to no exchange; add exchange"),
        ("{exchange: e, bindings: [5]}", "bindings[0]", "takes a routing key, or a mapping, not a number; quote a key"),
        ("{exchange: e, bindings: [{ky: x}]}", "bindings[0].ky", "unknown key 'ky'; did you mean 'key'?"),
    ],
)
def test_bindings_that_bind_nothing_or_everything(
    declare: str, where: str, words: str, mistakes: Callable[[str], str]
) -> None:
    """The mistake is placed at the binding, and says how it is meant."""
    assert f"sources.s.declare.{where}: {words}" in mistakes(amqp(declare))


def test_bindings_are_keys_or_mappings(tmp_path: Path) -> None:
    """A key alone is the usual case."""
    path = tmp_path / "bridge.yaml"
    path.write_text(amqp("{exchange: e, bindings: [a.#, {key: b, arguments: {x: 1}}]}"))
    source = load(path, environ={}).sources["s"]
    assert isinstance(source, Amqp)
    assert source.declare is not None
    assert [(each.key, each.arguments) for each in source.declare.bindings] == [("a.#", {}), ("b", {"x": 1})]


#: 128 characters.
TOO_LONG = "ü" * 128
BREAKS = "takes a name with more in it than line breaks, which RabbitMQ leaves out"
LIMIT = "takes text of at most 255 bytes, AMQP's own limit; this one has 256"
FIELD = "takes names of at most 128 bytes, AMQP's own limit; 'ü"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"queue": TOO_LONG}, f"queue: {LIMIT}"),
        ({"declare": {"exchange": TOO_LONG}}, f"declare.exchange: {LIMIT}"),
        ({"declare": {"exchange": "e", "bindings": [TOO_LONG]}}, f"declare.bindings[0].key: {LIMIT}"),
        ({"queue": "\n"}, f"queue: {BREAKS}"),
        ({"declare": {"exchange": "\r\n\r"}}, f"declare.exchange: {BREAKS}"),
        ({"declare": {"arguments": {TOO_LONG: 1}}}, f"declare.arguments: {FIELD}"),
        ({"declare": {"arguments": {"t": {TOO_LONG: 1}}}}, f"declare.arguments: {FIELD}"),
        ({"declare": {"arguments": {"t": [1, {"u": {TOO_LONG: 1}}]}}}, f"declare.arguments: {FIELD}"),
        (
            {"declare": {"exchange": "e", "type": "headers", "bindings": [{"arguments": {TOO_LONG: 1}}]}},
            f"declare.bindings[0].arguments: {FIELD}",
        ),
        ({"url": "amqp://h/" + "%C3%BC" * 128}, "url: a virtual host has at most 255 bytes, AMQP's own limit"),
    ],
)
def test_amqp_names_are_bounded_in_bytes(settings: dict[str, Any], words: str, mistakes: Callable[[str], str]) -> None:
    """`check` refuses names that no frame of AMQP holds, which were tried for ever, and names of arguments that were cut.

    A name of line breaks alone is none to RabbitMQ: it made a queue of its own, and the events of the meant one were lost.
    """
    source = {"type": "amqp", "url": "amqp://localhost", "queue": "q", **settings}
    assert f"sources.s.{words}" in mistakes(json.dumps({"sources": {"s": source}}))


def test_amqp_names_of_255_bytes_are_fine(tmp_path: Path) -> None:
    """Everything else is left to the broker."""
    name = "ü" * 127 + "|"
    declare = {"exchange": f"\n{name[1:]}", "bindings": [name, "\n"], "arguments": {"ü" * 64: [{"ü" * 64: 1}]}}
    url = "amqp://localhost/" + "%C3%BC" * 127 + "%7C"
    source = {"type": "amqp", "url": url, "queue": name, "declare": declare}
    path = tmp_path / "bridge.yaml"
    rest = {"dramatiq": {"url": "redis://localhost"}, "routes": [{"from": "s", "actor": "a"}]}
    path.write_text(json.dumps({**rest, "sources": {"s": source}}, ensure_ascii=False))
    config = load(str(path), environ={}).sources["s"]
    assert isinstance(config, Amqp)
    assert config.queue == name


WILDCARD = "a wildcard, + or #, is a level of its own; as in a/+/c, or a/#"
SHARED = "a shared subscription has a name without + and #, and a filter; as in $share/bridge/a/+"
LOGIN = "user name and password of MQTT have at most 65,535 bytes each, and no character NUL"
NUL = "takes text without the character NUL, which MQTT forbids"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"topics": ["a+/b"]}, f"topics[0]: {WILDCARD}"),
        ({"topics": ["a", "ü#"]}, f"topics[1]: {WILDCARD}"),
        ({"topics": ["a/#/b"]}, "topics[0]: # must be the last level; use + for one level in the middle"),
        ({"topics": ["$share/a+/b"]}, f"topics[0]: {SHARED}"),
        ({"topics": ["$share/a"]}, f"topics[0]: {SHARED}"),
        ({"topics": ["$share//a"]}, f"topics[0]: {SHARED}"),
        ({"topics": ["$share/a/b#"]}, f"topics[0]: {WILDCARD}"),
        ({"topics": ["a\0b"]}, f"topics[0]: {NUL}"),
        ({"topics": [TOO_LONG * 512]}, "topics[0]: takes text of at most 65,535 bytes, MQTT's own limit"),
        ({"client_id": "c\0"}, f"client_id: {NUL}"),
        (
            {"client_id": "c" * 65_526},
            "client_id: takes text of at most 65,525 bytes, since those of `processes` have a suffix; this one has 65,526",
        ),
        ({"client_id": "c" * 65_536}, "client_id: takes text of at most 65,535 bytes, MQTT's own limit"),
        ({"username": "u\0", "password": "p"}, f"username: {LOGIN}"),
        ({"username": "u", "password": "p" * 65_536}, f"password: {LOGIN}"),
        ({"url": "mqtt://user%00:password@localhost"}, f"url: {LOGIN}"),
    ],
)
def test_what_no_packet_of_mqtt_holds_is_refused(
    settings: dict[str, Any], words: str, mistakes: Callable[[str], str]
) -> None:
    """`check` refuses filters that no broker may take, and text that ended the bridge, or made a broker hang up without a word."""
    source = {"type": "mqtt", "url": "mqtt://localhost", **settings}
    assert f"sources.s.{words}" in mistakes(json.dumps({"sources": {"s": source}}))


def test_mqtt_names_are_the_brokers_matter(tmp_path: Path) -> None:
    """Everything else is left to the broker, control characters too."""
    topics = ["ü/+/\N{ROCKET}/#", "#", "+", "/", "$share/ü \x01|/+/#", "$share", "$app/x", "x" * 65_535, "\x01"]
    source = {"type": "mqtt", "url": "mqtt://localhost", "topics": topics, "client_id": "ü \x01\N{ROCKET}/#+"}
    path = tmp_path / "bridge.yaml"
    rest = {"dramatiq": {"url": "redis://localhost"}, "routes": [{"from": "s", "actor": "a"}]}
    path.write_text(json.dumps({**rest, "sources": {"s": source}}, ensure_ascii=False))
    config = load(str(path), environ={}).sources["s"]
    assert isinstance(config, Mqtt)
    assert config.topics == topics


def test_the_longest_client_id_leaves_room_for_the_suffix_of_a_process(tmp_path: Path) -> None:
    """With one byte more a process beside the first would end with a traceback, again and again."""
    path = tmp_path / "bridge.yaml"
    source = {"type": "mqtt", "url": "mqtt://localhost", "client_id": "c" * 65_525, "topics": ["$share/g/a"]}
    routes = [{"from": "s", "actor": "a"}]
    rest = {"dramatiq": {"url": "redis://localhost"}, "routes": routes, "processes": MAX_PROCESSES}
    path.write_text(json.dumps({**rest, "sources": {"s": source}}))
    last = config_for_process(load(str(path), environ={}), MAX_PROCESSES - 1).sources["s"]
    assert isinstance(last, Mqtt)
    assert len(last.client_id or "") == 65_535


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("a\0b", NUL),
        ("{a}/\0", NUL),
        ("x" * 65_536, "takes text of at most 65,535 bytes, MQTT's own limit; this one has 65,536"),
        ("{a}/" + "ü" * 32_767, "takes text of at most 65,535 bytes, MQTT's own limit; this one has 65,536"),
        ("$share//a", SHARED),
        ("$share/{name}/a", SHARED),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_topic_of_a_route_is_a_filter_of_mqtt(topic: str, words: str, tmp_path: Path) -> None:
    """A broker would refuse it for ever; it is refused where it stands in the file."""
    path = tmp_path / "bridge.yaml"
    sources = "sources: {s: {type: mqtt, url: mqtt://localhost}}"
    path.write_text(f"{sources}\nroutes: [{{from: s, actor: a, topic: {json.dumps(topic)}}}]\n")
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, check=check_routes)
    found = [each for each in caught.value.diagnostics if each.where == "routes[0].topic"]
    assert [(each.line, each.column) for each in found] == [(2, 38)]
    assert words in str(found[0])


def test_the_longest_topic_of_a_route(tmp_path: Path) -> None:
    """What counts is the filter that is subscribed to: in it, a capture is one character."""
    path = tmp_path / "bridge.yaml"
    topic = "{a_long_name}/" + "x" * 65_533
    rest = {"sources": {"s": {"type": "mqtt", "url": "mqtt://localhost"}}, "dramatiq": {"url": "redis://localhost"}}
    path.write_text(json.dumps({**rest, "routes": [{"from": "s", "actor": "a", "topic": topic}]}))
    assert load(path, environ={}, check=check_routes).routes[0].topic == topic


@pytest.mark.parametrize("settings", ["", "username: ''", "url: mqtt://h"])
def test_mqtt_3_1_1_takes_no_password_alone(settings: str, mistakes: Callable[[str], str]) -> None:
    """The library would send neither, without a word."""
    more = "" if settings.startswith("url") else f"url: mqtt://localhost, {settings or 'qos: 1'}"
    said = mistakes(f"sources:\n  s: {{type: mqtt, version: 3.1.1, password: secret, {more or settings}}}\n")
    assert "sources.s.password: MQTT 3.1.1 takes no password without a username; add username" in said
    assert "secret\n" not in said


@pytest.mark.parametrize("settings", ["username: u, version: 3.1.1", "version: 5", "qos: 1"])
def test_a_password_with_a_name_or_mqtt_5_is_fine(settings: str, tmp_path: Path) -> None:
    """MQTT 5 knows a password alone: a token, for example."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources: {{s: {{type: mqtt, url: mqtt://localhost, password: p, {settings}}}}}\n")
    assert load(path, environ={}).sources["s"].password is not None
