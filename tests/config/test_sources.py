"""Settings of one source that contradict each other, or would lose or repeat events in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import Amqp, load

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
