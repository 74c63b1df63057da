"""Taps of real bridges, of one process and of two: every event with its outcome, also across deaths and reloads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP
from typing import Any

import psutil
import pytest

from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, queue_messages
from tests.support.tapping import TapReader

TOKEN = "s3cret-token-of-the-bridge"
PROCESSES = pytest.mark.parametrize("processes", [1, 2])
ROUTES: list[dict[str, Any]] = [
    {"name": "hot", "from": "feed", "actor": "alarm", "when": "payload.c > 250", "args": ["$payload.c"]},
    {
        "name": "all",
        "from": "feed",
        "actor": "record",
        "queue": "history",
        "when": "payload.c >= 0",
        "args": ["$payload.c"],
    },
    {"name": "named", "from": "feed", "actor": "greet", "when": "payload.c == 7", "args": ["$payload.name"]},
]


class Tapped:
    """A bridge of one stream with an admin server."""

    def __init__(self, redis: Redis, new_bridge: Callable[..., BridgeProcess], **more: Any) -> None:
        self.feed = StreamFeed(redis)
        self.port = free_port()
        self.config = self.feed.config(redis) | {"routes": ROUTES, **more}
        self.config["admin"] = {"listen": f"127.0.0.1:{self.port}", "token": TOKEN}
        self.bridge = new_bridge(self.config).ready()

    def tap(self, **parameters: Any) -> TapReader:
        """Return a tap that may see contents."""
        return TapReader(self.port, TOKEN, **parameters)


@pytest.fixture
def tapped(redis_server: Redis, new_bridge: Callable[..., BridgeProcess]) -> Callable[..., Tapped]:
    """Start such a bridge."""
    return lambda **more: Tapped(redis_server, new_bridge, **more)


@PROCESSES
def test_each_event_comes_with_its_outcome(tapped: Callable[..., Tapped], redis_server: Redis, processes: int) -> None:
    """Its ids, its class, its messages as they are in Redis, every route with its reason, and its contents."""
    one = tapped(processes=processes)
    with one.tap() as tap:
        assert tap.lines[0]["contents"] == "shown"
        one.feed.publish([{"c": 300}, {"c": -1}, {"c": 7}])
        with redis_server.client() as client:
            client.xadd(one.feed.name, {"data": b"\xffno JSON"})
        events = {str(each.get("body")): each for each in tap.wait(4)}
        hot, cold, seven = (events[json.dumps({"c": c})] for c in (300, -1, 7))
        assert [hot["outcome"], cold["outcome"], seven["outcome"]] == ["enqueued", "filtered", "dead-lettered"]
        with redis_server.client() as client:
            (message,) = queue_messages(client, "default")
            ids = {entry.decode() for entry, _ in client.xrange(one.feed.name)}
        alarm = {"id": message["message_id"], "actor": "alarm", "queue": "default", "args": [300], "kwargs": {}}
        assert alarm in hot["messages"]
        assert {each["actor"] for each in hot["messages"]} == {"alarm", "record"}
        assert cold["messages"] == []
        assert {each["entry_id"] for each in events.values()} == ids
        assert hot["routes"]["hot"] == {"verdict": "message"}
        assert cold["routes"]["hot"] == {
            "verdict": "when", "why": "when: `payload.c > 250` is false: payload.c is -1"
        }  # fmt: skip
        assert seven["dead_letter"]["reason"] == "missing-field"
        assert seven["dead_letter"]["route"] == "named"
        broken = events["None"]
        assert (broken["outcome"], broken["body_base64"]) == ("dead-lettered", "/25vIEpTT04=")
        assert broken["dead_letter"]["reason"] == "decode"
        assert (hot["source"], hot["topic"], hot["body_size"]) == ("feed", one.feed.name, 10)


@PROCESSES
def test_without_the_token_contents_are_hidden(tapped: Callable[..., Tapped], processes: int) -> None:
    """The first line says so; the lines hold ids, routes and verdicts, and no value of an event. A wrong token is an error."""
    one = tapped(processes=processes)
    with TapReader(one.port) as tap:
        assert tap.lines[0]["contents"] == "hidden"
        one.feed.publish([{"c": 7, "name": {"secret": "s3cret-value"}}, {"c": 7777}])
        events = tap.wait(2)
        assert "s3cret-value" not in str(tap.lines)
        assert "7777" not in str(
            [{**each, "at": "", "entry_id": "", "messages": "", "received_at": ""} for each in events]
        )
        assert {key for each in events for key in each} == {
            *("at", "received_at", "source", "topic", "outcome", "entry_id", "body_size", "routes", "messages")
        }
        assert {key for each in events for message in each["messages"] for key in message} == {"id", "actor", "queue"}
        assert all(set(route) == {"verdict"} for each in events for route in each["routes"].values())
    with TapReader(one.port, TOKEN + "x") as refused:
        assert (refused.status, "wrong token" in refused.error) == (401, True)


@PROCESSES
def test_filters_work_at_the_server(tapped: Callable[..., Tapped], processes: int) -> None:
    """By source, by route and by topic; names that are not there are errors with those that are."""
    one = tapped(processes=processes)
    with (
        one.tap(topic=f"{one.feed.name[:3]}*") as some,
        one.tap(topic="*x?elsewhere") as none,
        one.tap(source="feed", route="hot") as routed,
        one.tap(limit=2) as limited,
    ):
        one.feed.publish([{"c": 1}, {"c": 2}, {"c": 3}])
        assert len(some.wait(3)) == 3
        assert len(routed.wait(3)) == 3  # its topic fits, whatever its `when` says
        end = limited.end()
        assert (end["end"], end["shown"], len(limited.events())) == ("limit", 2, 2)
        assert none.events() == []
    for parameters, known in (({"source": "nope"}, ["feed"]), ({"route": "nope"}, ["hot", "all", "named"])):
        with one.tap(**parameters) as unknown:
            assert unknown.status == 404
            assert json.loads(unknown.error)["known"] == known


@PROCESSES
def test_a_stop_ends_a_tap_with_words(tapped: Callable[..., Tapped], processes: int) -> None:
    """The last line says that the bridge stops; the bridge ends in time, with code 0."""
    one = tapped(processes=processes)
    with one.tap() as tap:
        one.feed.publish([{"c": 1}])
        tap.wait(1)
        one.bridge.terminate()
        assert (tap.end()["end"], tap.end()["shown"], tap.is_whole) == ("stop", 1, True)
        assert one.bridge.wait() == 0


@PROCESSES
def test_a_reload_keeps_a_tap(tapped: Callable[..., Tapped], processes: int) -> None:
    """It explains by the new routes; a tap ends with words whose route has gone."""
    one = tapped(processes=processes)
    with one.tap() as tap, one.tap(route="named") as gone:
        one.feed.publish([{"c": 1}])
        assert tap.wait(1)[0]["routes"]["hot"]["verdict"] == "when"
        routes = [{**ROUTES[0], "when": "payload.c > 0"}, ROUTES[1]]
        one.bridge.configure(one.config | {"routes": routes})
        one.bridge.signal(SIGHUP)
        one.bridge.wait_for("bridge.reloaded")
        end = gone.end()
        assert (end["end"], end["cause"]) == ("reload", "a reload has removed the route 'named'")

        def new() -> bool:
            one.feed.publish([{"c": 2}])
            return bool(tap.events()[-1]["routes"]["hot"]["verdict"] == "message")

        wait_until(new, 30, "an event that the new routes explain")
        assert "named" not in tap.events()[-1]["routes"]


def test_a_process_that_dies_goes_on_tapping(tapped: Callable[..., Tapped]) -> None:
    """Its successor begins with the taps that are open; the other process taps meanwhile."""
    one = tapped(processes=2)
    with one.tap() as tap:
        one.feed.publish([{"c": n} for n in range(20)])
        tap.wait(20)
        for child in psutil.Process(one.bridge.pid).children():
            if "bridge.process.child" in " ".join(child.cmdline()):
                child.kill()
        one.bridge.wait_for("process.recovered", times=2)
        one.feed.publish([{"c": n} for n in range(20)])
        assert len({each["entry_id"] for each in tap.wait(40)}) >= 40
        assert not tap.dropped()
        # Lines may have gone with them, and nobody knows how many: that is said.
        assert sum(line.get("ended_processes", 0) for line in tap.lines) == 2


@PROCESSES
def test_a_flood_is_counted(tapped: Callable[..., Tapped], processes: int) -> None:
    """Shown and dropped events are all that came, of a tap that is read and of one that is read late."""
    one = tapped(processes=processes)
    count = 20_000
    with one.tap() as eager, TapReader(one.port, reads=False) as late:
        one.feed.publish([{"c": n} for n in range(count)])
        wait_until(lambda: one.feed.unacknowledged() == 0, 60, "all events")
        late.read()
        for tap in (eager, late):
            wait_until(lambda tap=tap: len(tap.events()) + tap.dropped() == count, 30, "all lines")  # type: ignore[misc]
            assert tap.dropped() > 0
            assert len(tap.events()) > 0
            assert not any("unexamined" in line for line in tap.lines)


@PROCESSES
def test_taps_are_bounded_in_number(tapped: Callable[..., Tapped], processes: int) -> None:
    """Eight are open at once; the next one is refused with words, until one ends."""
    one = tapped(processes=processes)
    taps = [one.tap() for _ in range(8)]
    try:
        with one.tap() as more:
            assert (more.status, "8 taps are open" in more.error) == (503, True)
        one.feed.publish([{"c": 1}])
        for tap in taps:
            tap.wait(1)
        taps.pop().leave()

        def place() -> bool:
            with one.tap() as another:
                return bool(another.status == 200)

        wait_until(place, 10, "a place for another tap")
    finally:
        for tap in taps:
            tap.leave()


@PROCESSES
def test_events_come_as_tests(tapped: Callable[..., Tapped], processes: int, tmp_path: Path) -> None:
    """`as=test` gives items of `tests:` that hold; it needs the token."""
    one = tapped(processes=processes)
    with one.tap(as_="test", limit=1) as tap:
        one.feed.publish([{"c": 300}])
        (line,) = tap.wait(1)
    assert line["test"].lstrip().startswith("- name:")
    with TapReader(one.port, as_="test") as refused:
        assert (refused.status, "token" in refused.error) == (403, True)


@PROCESSES
def test_redacted_fields_are_not_shown(tapped: Callable[..., Tapped], processes: int) -> None:
    """Neither in the body, nor in arguments and reasons that come of them; the others are shown."""
    routes = [
        {"name": "card", "from": "feed", "actor": "pay", "args": ["$payload.card"]},
        {"name": "whole", "from": "feed", "actor": "keep", "args": ["$payload"]},
        {"name": "plain", "from": "feed", "actor": "count", "args": ["$payload.n"]},
        {"name": "when", "from": "feed", "actor": "x", "when": "payload.card == 'other'"},
        {"name": "unlike", "from": "feed", "actor": "x", "when": "payload.n > 5"},
    ]
    one = tapped(processes=processes, routes=routes, dead_letters={"redact": ["payload.card"]})
    with one.tap() as tap:
        one.feed.publish([{"card": "4111-1111", "n": 2}])
        (event,) = tap.wait(1)
        assert "4111" not in str(tap.lines)
    assert event["redacted"] == ["payload.card"]
    assert json.loads(event["body"]) == {"n": 2}
    calls = {each["actor"]: each for each in event["messages"]}
    assert calls["pay"]["arguments"] == calls["keep"]["arguments"] == "redacted"
    assert calls["count"]["args"] == [2]
    assert event["routes"]["when"] == {"verdict": "when"}
    assert event["routes"]["unlike"]["why"] == "when: `payload.n > 5` is false: payload.n is 2"
