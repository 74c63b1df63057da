"""The remedy for a value of the wrong type: it leads to a value that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import load
from bridge.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("otherwise: 'yes'", "write true"),
        ("otherwise: 'Off'", "write false"),
        ("otherwise: 'true'", "write it without quotes"),
        ("otherwise: maybe", "a condition goes into when:"),
        ("expires: 1d", "true takes the time of the event itself; a time of yours is options: {max_age: 30s}"),
        ("foreach_limit: many", ""),
        ("foreach_limit: '0o17'", ""),
        ("foreach_limit: '017'", ""),
        ("foreach_limit: '17'", "write it without quotes"),
        ("then: {actor: b}", "as in then: [{actor: send_receipt}]"),
        ("then: [b]", "as in {actor: send_receipt}"),
        ("queue_by: $payload.x", "as in queue_by: {key: $payload.region, queues: {eu: orders-eu}}"),
        ("allow: [x]", "as in allow: {actor: [resize, crop]}"),
        ("options: [x]", "as in {max_retries: 5}"),
        ("eta: 5", "as in $payload.due_at, in milliseconds since 1970, or $timestamp(payload.date)"),
        ("eta: 2026-11-27T06:00:00Z", 'as in $timestamp("2026-11-27T06:00:00Z")'),
        ("eta: 30s", "a time from the event on is delay: 30s"),
        ("eta: payload.due", "it begins with $, as in $payload.due"),
        ("delay: payload.wait", "an expression begins with $, as in $payload.wait"),
        ("delay: 5 min", "a whole number and one of the units ms, s, m, h, d"),
    ],
)
def test_the_remedy_for_a_value(tmp_path: Path, key: str, remedy: str) -> None:
    """Quotes are named only where they stand, and only if the value is right without them; else a right value is shown."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources: {{s: {{type: mqtt, url: mqtt://localhost}}}}\nroutes: [{{from: s, actor: a, {key}}}]\n")
    with pytest.raises(ConfigError) as refused:
        load(path)
    (mistake,) = refused.value.diagnostics
    assert mistake.hint == remedy


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("routes: [{from: s, actor: a, charset: utf-16}]", "it is a key of a source"),
        ("routes: [{from: s, actor: a, client_id: c}]", "it is a key of a source of type mqtt"),
        ("routes: [{from: s, actor: a, max_length: 5}]", "it is a key of dead_letters"),
        ("routes: [{from: s, actor: a, then: [{actor: b, foreach: $payload}]}]", "it is a key of a route"),
        ("routes: [{from: s, actor: a, ignore_result: true}]", "it is a key of a step of then"),
        ("routes: [{from: s, actor: a, then: [{actor: b, decode: text}]}]", "it is a key of a source or a route"),
        ("defaults: {mqtt: {options: {}}}", "it is a key of a route or a step of then"),
        ("defaults: {mqtt: {ulr: mqtt://h}}", "did you mean 'url'?"),
        ("when: payload.x", "it is a key of a route"),
        ("mqtt: {url: mqtt://h}", "it is a key of defaults"),
        ("tests: [{name: t, payload: 1, event: {from: s}, expect: []}]", "it is a key of the event of a test"),
        (
            "defaults: {mqtt: {queue: q}}",
            "it is a key of a source of type amqp, a route, allow or a step of then",
        ),
        (
            "routes: [{from: s, actor: a, then: [{actor: b, eta: $payload.x}]}]",
            "a step has a delay, from the end of the step before: delay: '$max(0, timestamp(payload.date) - received_at)'",
        ),
    ],
)
def test_a_key_at_the_wrong_place_is_told_its_own(tmp_path: Path, text: str, hint: str) -> None:
    """A key of a source in a route, of a route in a step, or one that has another meaning there."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources: {{s: {{type: mqtt, url: mqtt://localhost}}}}\n{text}\n")
    with pytest.raises(ConfigError) as refused:
        load(path)
    (mistake,) = refused.value.diagnostics
    assert mistake.hint == hint
