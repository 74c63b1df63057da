"""The whole bridge in one structure."""

from __future__ import annotations

from bridge.config import Config
from bridge.model.control import Reloaded
from bridge.model.state import ProcessState, SourceState
from bridge.process.overview import Overview

CONFIG = Config.model_validate({
    "sources": {"s": {"type": "redis-stream", "url": "redis://localhost", "streams": ["s"], "group": "g"}}
})  # fmt: skip


def test_a_source_that_a_reload_has_removed_is_no_part_of_it() -> None:
    """A process that has died may have known it: it would never be connected again."""
    process = ProcessState(sources={"s": SourceState("redis-stream"), "gone": SourceState("mqtt")})
    assert set(Overview().state(CONFIG, "running", [process], 1).sources) == {"s"}


def test_reloads_are_counted_by_their_result() -> None:
    """And the newest cause is shown until a reload succeeds."""
    overview = Overview()
    for answer in (Reloaded("ok"), Reloaded("invalid", cause="a mistake"), Reloaded("invalid", cause="another")):
        overview.reloaded(answer)
    state = overview.state(CONFIG, "running", [], 1)
    assert (state.reloads, state.reload_cause) == ({"ok": 1, "invalid": 2}, "another")
    overview.reloaded(Reloaded("ok"))
    assert overview.state(CONFIG, "running", [], 1).reload_cause == ""


def test_the_cause_of_a_reload_is_one_line() -> None:
    """The mistakes of a file come each on a line; a problem in the status is one."""
    overview = Overview()
    overview.reloaded(Reloaded("invalid", cause="b.yaml:1:1: a\nb.yaml:2:1: b"))
    assert overview.state(CONFIG, "running", [], 0).reload_cause == "b.yaml:1:1: a | b.yaml:2:1: b"
