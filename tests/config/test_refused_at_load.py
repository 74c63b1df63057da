"""Literal values of the configuration that would damage a Dramatiq worker are refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge import config
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes
from tests.support.batches import load

STEP = {"actor_name": "record"}


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"options": {"eta": 1}}, "eta"),
        ({"options": {"eta": "$payload.x"}}, "eta"),
        ({"options": {"throws": ["ValueError"]}}, "throws"),
        ({"options": {"retries": 3}}, "retries"),
        ({"options": {"traceback": "x"}}, "traceback"),
        ({"options": {"requeue_timestamp": 1}}, "requeue_timestamp"),
        ({"options": {"retry_when": "x"}}, "retry_when"),
        ({"options": {"redis_message_id": "x"}}, "redis_message_id"),
        ({"options": {"max_retries": "3"}}, "takes a whole number"),
        ({"options": {"max_retries": 1.5}}, "takes a whole number"),
        ({"options": {"time_limit": 30}}, "a bare number has no unit"),
        ({"options": {"time_limit": None}}, "takes a duration"),
        ({"options": {"notify_shutdown": "yes"}}, "takes true or false"),
        ({"options": None}, "options"),
        ({"options": []}, "takes a mapping of options"),
        ({"options": "$payload.options"}, "takes a mapping of options"),
        ({"options": {"pipe_target": [STEP]}}, "takes one message, not a list"),
        ({"options": {"pipe_target": "$payload.next"}}, "would let anyone call any actor"),
        ({"options": {"pipe_target": {"queue_name": "q"}}}, "actor_name"),
        ({"options": {"pipe_target": {**STEP, "queue_name": "__acks__"}}}, "cannot begin with __"),
        ({"options": {"pipe_target": {**STEP, "actor_name": "$payload.a"}}}, "would let anyone call any actor"),
        ({"options": {"pipe_target": {**STEP, "message_id": "x"}}}, "unknown key"),
        ({"options": {"pipe_target": {**STEP, "options": {"throws": []}}}}, "throws"),
        ({"options": {"pipe_target": {**STEP, "options": {"pipe_target": [STEP]}}}}, "takes one message, not a list"),
        ({"options": {"group_completion_callbacks": STEP}}, "takes a list of messages"),
        ({"options": {"on_success": "$payload.a"}}, "would let anyone call any actor"),
        ({"queue": "__heartbeats__"}, "cannot begin with __"),
        ({"queue": "__acks__.x.default"}, "cannot begin with __"),
        ({"queue": "x.msgs"}, "damage Dramatiq's own keys"),
        ({"queue": "x.XQ"}, "damage Dramatiq's own keys"),
        ({"queue": "x.DQ"}, "damage Dramatiq's own keys"),
        ({"queue": "default\n"}, "a queue's name is"),
        ({"queue": ""}, "a queue's name is"),
        ({"queue": "$payload.queue"}, "would let anyone write to any queue"),
        ({"actor": "$payload.actor"}, "would let anyone call any actor"),
        ({"args": {"a": 1}}, "takes a list, not a mapping"),
        ({"args": None}, "takes a list"),
        ({"kwargs": ["a"]}, "takes a mapping, not a list"),
        ({"args": [float("nan")]}, ""),
        ({"kwargs": {"k": [float("inf")]}}, ""),
        ({"kwargs": {1: 2}}, ""),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_setting_that_would_damage_a_worker_is_refused_when_loaded(
    tmp_path: Path, route: dict[str, Any], words: str
) -> None:
    """A wrong value in the configuration, such as a reserved queue's name, is a mistake at its line: the bridge does not start."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "redis://localhost", route)
    (mistake,) = caught.value.diagnostics
    assert mistake.where.startswith("routes[0]")
    assert words in str(mistake)


def test_a_number_that_no_worker_reads(tmp_path: Path) -> None:
    """An integer of 4,301 digits is refused where it is written out, too."""
    path = tmp_path / "bridge.yaml"
    start = "sources: {s: {type: mqtt, url: mqtt://localhost}}\nroutes: [{from: s, actor: a, args: ["
    path.write_text(f"{start}{'9' * 4301}]}}]\n")
    with pytest.raises(ConfigError, match="this number is too long"):
        config.load(path, environ={}, check=check_routes)
