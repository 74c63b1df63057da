"""A running bridge shows the targets of its routes, and its page every message of a list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.model.workshop import Trial
from bridge.process.overview import Overview
from bridge.process.sink_side import _queues
from tests.process.test_workshop import SECRET, configured, workshop_of

EACH: Final[dict[str, Any]] = {
    "name": "each", "from": "feed", "actor": "pick", "foreach": "$payload.l", "args": ["$item"],
    "queue_by": {"key": "$item", "queues": {"b": "slow"}}, "then": [{"actor": "after", "queue": "later"}],
}  # fmt: skip
REST: Final[dict[str, Any]] = {"name": "rest", "from": "feed", "actor": "keep", "otherwise": True}
if TYPE_CHECKING:
    from bridge.model.workshop import TriedRoute


async def _tried(path: Path, route: dict[str, Any], payload: Any) -> dict[str, TriedRoute]:
    workshop = workshop_of(configured(path, "redis://127.0.0.1:1/0", [route, REST]))
    return {
        each.route: each
        for each in (await workshop.try_event(Trial(source="feed", topic="events", payload=payload))).routes
    }


async def test_the_page_shows_every_message_of_a_list(tmp_path: Path) -> None:
    """In their order, with their queues; of a long list the first, and the number of the others."""
    routes = await _tried(tmp_path, EACH, {"l": ["a", "b"]})
    assert [msgspec.json.decode(text)["args"] for text in routes["each"].messages] == [["a"], ["b"]]
    assert routes["each"].queues == ["default", "slow"]
    assert (routes["rest"].verdict, routes["rest"].why) == ("otherwise", "otherwise: the route each fits")
    long = (await _tried(tmp_path, EACH, {"l": ["a"] * 60}))["each"]
    assert (len(long.messages), long.unshown) == (50, 10)
    assert long.why == "10 of its 60 messages are not shown"


async def test_no_substituted_value_of_a_step_is_shown(tmp_path: Path) -> None:
    """A step is a part of the options."""
    step = {"actor": "after", "kwargs": {"key": "${SECRET}"}}
    (message,) = (await _tried(tmp_path, {**EACH, "then": [step]}, {"l": ["a"]}))["each"].messages
    assert SECRET not in message
    assert msgspec.json.decode(message)["options"] == "***"


def test_the_state_has_every_target(tmp_path: Path) -> None:
    """The queues and actors among which an event chooses, the steps, and the rest; the depth of each such queue is asked."""
    chosen = {"name": "free", "from": "feed", "actor": "$payload.a", "allow": {"actor": ["x", "y"]}, "queue": "free"}
    config = configured(tmp_path, "redis://127.0.0.1:1/0", [EACH, REST, chosen])
    routes = Overview().state(config, "running", [], 1).routes
    assert routes["each"].targets == [("default", "pick"), ("slow", "pick")]
    assert routes["each"].steps == [("later", "after")]
    assert (routes["rest"].targets, routes["rest"].otherwise) == ([], True)
    assert routes["free"].targets == [("free", "x"), ("free", "y")]
    assert _queues(config) == ["default", "free", "slow"]
