"""`status`: a person on call sees in seconds whether the bridge works, and if not, where it is stuck."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bridge.commands.layout import columns_of
from bridge.model.accounting import RouteCounts
from bridge.model.state import ProcessState, QueueState, RouteState, SinkState, SourceState
from bridge.observe.log_fields import escape
from tests.commands.conftest import Terminal
from tests.support.admin_server import AdminServer, Bridge, make_state


@pytest.fixture
def server() -> Iterator[AdminServer]:
    """The admin server of a bridge that is well."""
    with AdminServer(Bridge()) as started:
        yield started


def test_a_bridge_that_is_well(run: Terminal, server: AdminServer) -> None:
    """Ready, since when, the configuration, the sink, each source with its counts and its guarantee, and the queues."""
    text = run("status", "--admin", server.listen)
    lines = text.splitlines()
    assert lines[0] == "dramatiq-bridge 1.2.3: ready, up 1d 1h"
    assert lines[1] == "config     /etc/dramatiq-bridge/bridge.yaml (0123456789ab), loaded 1h ago"
    assert lines[2] == "reloads    2 ok"
    assert lines[3] == "sink       redis://localhost:6379/0, namespace workers: takes writes"
    assert "plant (mqtt)  connected\n" in text
    assert "1,503 received: 1,200 enqueued, 288 filtered, 12 dead-lettered (8 decode, 4" in text
    assert "3 in flight, window 12% full" in text
    assert text.count("  at least once\n") == 2
    assert "dead letters  of 12 events; those left are in workers-bridge:dead-letters" in text
    assert re.search(
        r"^queue +waiting  delayed  in flight  dead\nalarms +7 +0 +2 +0\ndefault +0 +5 +0 +1$", text, re.MULTILINE
    )


def test_routes_that_leave_messages_or_events_out(run: Terminal, server: AdminServer) -> None:
    """One line for each below its source, only where there are any; of many the first ten by their numbers."""
    assert "route " not in run("status", "--admin", server.listen)
    routes = server.bridge.now.sources["plant"].counts.routes
    routes["hot"].deduplicated, routes["hot"].expired, routes["note"].expired = 1_204, 2, 3
    text = run("status", "--admin", server.listen)
    assert "  route hot: 1,204 messages deduplicated, 2 events expired\n  route note: 3 events expired\n" in text
    for number in range(12):
        server.bridge.now.routes[f"more-{number}"] = RouteState("plant", "a", "q")
        routes[f"more-{number}"] = RouteCounts(deduplicated=1)
    text = run("status", "--admin", server.listen)
    assert (text.count("  route "), "  and 4 routes more left messages or events out: see --json\n" in text) == (
        10,
        True,
    )


def _broken_source(bridge: Bridge, **changes: object) -> None:
    for name, value in changes.items():
        setattr(bridge.now.sources["orders"], name, value)


@pytest.mark.parametrize(
    ("code", "break_it", "says"),
    [
        (1, lambda b: _broken_source(b, connected=False, cause="refused"), "orders (amqp)  not connected: refused"),
        (1, lambda b: _broken_source(b, connected=False), "orders (amqp)  not connected: it has not connected yet"),
        (
            1,
            lambda b: _broken_source(b, stuck=True, unacknowledged_s=75.0),
            "orders (amqp)  stuck: it has events, and does not move: nothing was acknowledged for 1m 15s",
        ),
        (
            1,  # the time begins anew with each connection
            lambda b: _broken_source(b, stuck=True),
            "orders (amqp)  stuck: it has events, and does not move, also on a new connection\n",
        ),
        (0, lambda b: _broken_source(b, pressure=True), "orders (amqp)  waits: a queue or Redis is full"),
        (
            0,
            lambda b: _broken_source(b, paused=True),
            "orders (amqp)  paused: by a person; `dramatiq-bridge resume` ends it",
        ),
        (0, lambda b: _broken_source(b, paused=True, connected=False), "orders (amqp)  paused: by a person"),
        (
            0,
            lambda b: _broken_source(b, held=1000, fill=1.0, unacknowledged_s=60.0),
            "orders (amqp)  full window: nothing was acknowledged for 1m",
        ),
        (0, lambda b: _broken_source(b, held=5, unacknowledged_s=60.0), "orders (amqp)  slow: 5 events wait"),
        (
            0,
            lambda b: _broken_source(b, spooled=2000, spooled_bytes=3 << 19),
            "orders (amqp)  spooled: 2,000 events wait on disk (1.5 MiB)",
        ),
    ],
)
def test_the_source_that_does_not_move(
    run: Terminal, server: AdminServer, code: int, break_it: Callable[[Bridge], None], says: str
) -> None:
    """It comes first, with the reason; the other is said to be connected."""
    break_it(server.bridge)
    text = run("status", "--admin", server.listen, code=code)
    first = text.split("\n\n")[1]
    assert " ".join(first.split()).startswith(" ".join(says.split()))
    assert "plant (mqtt)  connected" in text


def test_a_paused_route(run: Terminal, server: AdminServer) -> None:
    """Its source waits behind it, and both are named."""
    server.bridge.now.routes["hot"].paused = True
    _broken_source(server.bridge, paused=True)
    server.bridge.now.sources["plant"].held = 3
    text = run("status", "--admin", server.listen)
    assert "paused     source orders, route hot; `dramatiq-bridge resume NAME` ends it" in text
    assert "plant (mqtt)  waits: its paused routes hold its events: hot" in text


def test_a_bridge_that_is_not_ready(run: Terminal, server: AdminServer) -> None:
    """Exit code 1, the problems, and the sink's cause; sources with events wait for it."""
    server.bridge.now = make_state(sink=SinkState(available=False, cause="connection\x1b[31m refused", retries=12))
    text = run("status", "--admin", server.listen, code=1)
    (problem,) = run.json("status", "--admin", server.listen, code=1)["problems"]
    assert text.startswith(f"dramatiq-bridge 1.2.3: NOT READY, up 1d 1h\n  {escape(problem)}\n")
    assert "takes no writes: connection\\x1b[31m refused; 12 writes tried again" in " ".join(text.split())
    assert "plant (mqtt)  waits: for Redis, which takes no writes" in text
    server.bridge.now = make_state(phase="draining", sink=SinkState(unready="maxmemory-policy is allkeys-lru"))
    text = run("status", "--admin", server.listen, code=1)
    assert text.startswith("dramatiq-bridge 1.2.3: NOT READY (draining), up ")
    assert "takes writes, and must not: maxmemory-policy is allkeys-lru" in " ".join(text.split())


def test_what_else_may_be_wrong(run: Terminal, server: AdminServer) -> None:
    """Processes, the last reload without effect, lost events, queues that are not known, a loop that is late, a fault."""
    state = make_state(
        expected=4,
        processes=3,
        reloads={"ok": 1, "invalid": 2},
        reload_cause="bridge.yaml:3:1: unknown key",
        queues={},
        queues_cause="NOPERM",
        lag_s=3.2,
    )
    state.sources["orders"].counts.received = 7
    state.sources["orders"].counts.lost = 5
    state.sources["orders"].counts.recovered = 1
    state.sources["orders"].counts.invalid_traces = 1200
    state.sources["orders"].counts.repaired = {"compressed": 1300, "bom": 2, "empty": 0}
    server.bridge.now = state
    text = run("status", "--admin", server.listen, code=1)
    for words in (
        "processes  3 of 4 are ready",
        "reloads    1 ok, 2 invalid\n",
        "the last one that changed nothing: bridge.yaml:3:1: unknown key",
        "queues     not known: NOPERM",
        "event loop  late by 3s",
        "7 received and 1 recovered from the spool: 5 LOST",
        "1,200 events with a malformed trace, or a part of it: that was left out",
        "bodies were repaired to be read: 1,300 compressed, 2 bom\n",
        "3 events are not accounted for",
    ):
        assert words in text


@pytest.mark.parametrize("columns", [40, 80, 120, 500])
def test_it_fits_into_the_terminal(
    run: Terminal, server: AdminServer, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """No line is longer, whatever the names and causes are; more than 120 columns are not used."""
    monkeypatch.setenv("COLUMNS", str(columns))
    state = make_state(queues={"q" * 200: QueueState(10**9, 10**9, 10**9, 10**9), "日本" * 50: QueueState()})
    state.sources["s" * 300] = SourceState("mqtt", cause="no route to host " * 20, guarantee="日本語" * 60)
    state.sources["orders"].counts.received = 10**15
    state.sources.update({f"s{n}": SourceState("mqtt", cause="problem " * 20) for n in range(29)})
    server.bridge.now = state
    lines = run("status", "--admin", server.listen, code=1).splitlines()
    assert max(map(columns_of, lines)) <= max(min(columns, 120), 8 + 4 * 11)
    assert "  and 20 problems more: see --json" in lines


def test_colours(run: Terminal, server: AdminServer) -> None:
    """None unless it is a terminal, or `--color=always`."""
    assert "\x1b" not in run("status", "--admin", server.listen)
    assert run("status", "--admin", server.listen, "--color=always").startswith("\x1b[32mdramatiq-bridge 1.2.3: ready")


def test_json_is_the_servers_own(run: Terminal, server: AdminServer) -> None:
    """`--json` prints /status as it is, also keys that this command does not know."""
    shown = run.json("status", "--admin", server.listen)
    assert (shown["ready"], shown["problems"]) == (True, [])
    assert "identity" in shown or "identity" in shown["sources"]["plant"]
    assert shown["sources"]["plant"]["counts"]["received"] == 1503
    server.bridge.now = make_state(phase="starting")
    assert len(run.json("status", "--admin", server.listen, code=1)["problems"]) == 1


def test_the_state_of_several_processes(run: Terminal, server: AdminServer) -> None:
    """Their sum, as the parent makes it, is shown like that of one."""
    state = make_state(sources={}, expected=2, processes=2, started_at=time.time())
    parts = [ProcessState({"plant": SourceState("mqtt", connected=number == 0, cause="gone")}) for number in range(2)]
    state.take(msgspec.json.decode(msgspec.json.encode(parts), type=list[ProcessState]))
    server.bridge.now = state
    text = run("status", "--admin", server.listen, code=1)
    assert "processes  2 of 2 are ready" in text
    assert "plant (mqtt)  not connected: gone" in text
    assert "up 0s" in text


def test_a_bridge_that_has_just_begun(run: Terminal, server: AdminServer) -> None:
    """Where no process has said yet how its sources stand, that is said."""
    server.bridge.now = make_state(sources={}, queues={})
    assert "sources    not known yet" in run("status", "--admin", server.listen)
    assert "not known yet" not in run("status", "--admin", server.listen, "--json")


def test_the_bridge_of_a_file(run: Terminal, server: AdminServer, tmp_path: Path) -> None:
    """`--config` takes the address from the file."""
    file = tmp_path / "found.yaml"
    file.write_text(f"admin: {{listen: '{server.listen}'}}\n")
    assert json.loads(run("status", "--config", str(file), "--json"))["ready"] is True
