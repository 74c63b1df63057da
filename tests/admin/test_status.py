"""/status: everything of the state, and the answers that follow from it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bridge.admin.status import status
from bridge.model.state import BridgeState, SinkState, SourceState
from bridge.observe.masking import set_secrets
from tests.support.admin import state_of


def _status(state: BridgeState) -> Any:
    return json.loads(status(state))


def test_it_decodes_to_the_state_again() -> None:
    """`dramatiq-bridge status` and `top` read it as `BridgeState`: each field has its own name and place."""
    state = state_of(reloads={"ok": 2}, reload_cause="line 3", queues_cause="no answer", lag_s=0.5, expected=2)
    state.sink = SinkState(available=False, cause="down", unready="full", retries=7)
    decoded = msgspec.json.decode(status(state), type=BridgeState)
    assert decoded == state
    # They are not compared.
    assert decoded.sources["orders"].counts.reasons == {"decode": 7}
    assert decoded.sources["orders"].counts.routes == state.sources["orders"].counts.routes


def test_every_field_is_there_also_where_it_is_zero() -> None:
    """A program that reads it finds each number, and a person sees that it is 0."""
    made = _status(
        BridgeState("1", "running", "f", "h", 0.0, 0.0, "redis://h", "n", sources={"s": SourceState("amqp")})
    )
    assert {*BridgeState.__struct_fields__} <= made.keys()
    assert {*SourceState.__struct_fields__} <= made["sources"]["s"].keys()
    assert made["sources"]["s"]["counts"]["lost"] == 0


def test_it_says_whether_the_bridge_is_ready_and_why_not() -> None:
    """The lines are those of /readyz."""
    assert _status(state_of())["ready"] is True
    state = state_of(phase="starting")
    state.routes["a"].paused = True
    made = _status(state)
    assert made["ready"] is False
    assert made["problems"] == ["the bridge starts: not everything was connected yet"]
    assert made["notes"] == ["route a: paused by a person; source orders waits behind it"]


def test_each_source_has_its_identity() -> None:
    """Received and recovered are the classes, in flight, spooled and the error; the guarantee is in words."""
    made = _status(state_of())["sources"]["orders"]
    assert made["guarantee"] == "at least once"
    identity = made["identity"]
    assert {name: number for name, number in identity.items() if number} == {
        "received": 100,
        "enqueued": 80,
        "filtered": 10,
        "dead_lettered": 7,
        "in_flight": 3,
    }
    came = identity.pop("received") + identity.pop("recovered")
    assert came == sum(identity.values())
    state = state_of()
    state.sources["orders"].in_flight = 2
    made = _status(state)["sources"]["orders"]
    assert (made["identity"]["error"], made["accounting_error"]) == (1, 1)


def test_each_route_has_its_numbers() -> None:
    """Also one to which no event has come."""
    routes = _status(state_of())["routes"]
    assert routes["a"]["topic"] == "order.#"
    assert [(routes[name]["matched"], routes[name]["filtered"], routes[name]["dead_lettered"]) for name in "abc"] == [
        (80, 10, 0),
        (0, 0, 7),
        (0, 0, 0),
    ]


def test_times_are_for_people_too() -> None:
    """In UTC beside the epoch seconds."""
    made = _status(state_of())
    assert (made["loaded_at"], made["loaded"]) == (1_700_000_000.0, "2023-11-14T22:13:20Z")
    assert (made["started_at"], made["started"]) == (1_600_000_000.0, "2020-09-13T12:26:40Z")


def test_it_has_no_secret() -> None:
    """Neither in the URL of the sink, whoever has put it there, nor in a cause."""
    set_secrets(["hunter2-hunter2"])
    try:
        state = state_of(sink_url="redis://user:another-secret@localhost", reload_cause="bad hunter2-hunter2")
        state.sink.cause = state.sink.unready = state.queues_cause = "no hunter2-hunter2"
        state.sources["plant"].cause = "refused hunter2-hunter2"
        text = status(state).decode()
    finally:
        set_secrets([])
    assert "hunter2-hunter2" not in text
    assert "another-secret" not in text
    assert "redis://user:***@localhost" in text
