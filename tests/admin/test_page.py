"""The page's files, its stream, and the endpoints of its tools, on real sockets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.admin import assets, connections, feed
from bridge.model.state import RouteState
from tests.support.admin import TOKEN, Client, FakeBridge, serving, state_of
from tests.support.children import patient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEARER = f"Bearer {TOKEN}"
FILES = sorted(Path(assets.__file__).with_name("page").iterdir())


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "INTERVAL_S", 0.02)


class Events:
    """A reader of /events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._buffer = b""

    async def next(self) -> tuple[str, Any]:
        """Return the name and the value of the next event."""
        async with asyncio.timeout(patient(10)):
            while b"\n\n" not in self._buffer:
                size = int(await self._reader.readline(), 16)
                self._buffer += await self._reader.readexactly(size)
                await self._reader.readexactly(2)
        event, _, self._buffer = self._buffer.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in event.decode().split("\n"))
        return fields["event"], json.loads(fields["data"])

    def close(self) -> None:
        """Go."""
        self._writer.transport.abort()


async def follow(client: Client) -> Events:
    """Open the stream, and check its head."""
    reader, writer = await client.connect()
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "Content-Type: text/event-stream\r\n" in head
    return Events(reader, writer)


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/page.css", "/page/icon.svg"])
async def test_a_file_comes_with_headers_that_allow_nothing_from_elsewhere(path: str) -> None:
    """The Content-Security-Policy is exactly this one, and a browser asks whether its copy is the newest."""
    async with serving(FakeBridge()) as client:
        reply = await client.ask(path)
        assert reply.status == 200
        assert reply.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cross-origin-opener-policy"] == "same-origin"
        assert reply.headers["cache-control"] == "no-cache"
        again = await client.ask(path, If_None_Match=reply.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == reply.headers["etag"]


def test_every_file_of_the_page_is_served_and_is_short_enough_to_read() -> None:
    """No module has more than 335 lines; scripts and styles stand in files of their own, and no text becomes HTML."""
    assert set(assets.assets()) == {"/", *(f"/page/{file.name}" for file in FILES if file.name != "index.html")}
    for file in FILES:
        text = file.read_text()
        assert text.count("\n") <= 335, file.name
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            "onclick=",
        ):
            assert forbidden not in text, (file.name, forbidden)
        if file.suffix == ".html":
            assert "<script>" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text


@pytest.mark.parametrize(
    "path", ["/page/", "/page/../server.py", "/page/%2e%2e/server.py", "/page/main.js/", "//", "/index.html"]
)
async def test_no_other_file_is_served(path: str) -> None:
    """A path is known or is 404: it never leads into a folder."""
    async with serving(FakeBridge()) as client:
        assert (await client.ask(path)).status == 404


async def test_the_stream_begins_with_everything_and_goes_on_with_changes() -> None:
    """A change has only the routes whose counts moved; a state has no secret, and a route that has gone is named."""
    bridge = FakeBridge(state_of(sink_url="redis://:s3cret@localhost:6379/0"))
    async with serving(bridge, token=TOKEN) as client:
        events = await follow(client)
        assert await events.next() == ("hello", {"access": "token"})
        name, state = await events.next()
        assert name == "state"
        assert "s3cret" not in json.dumps(state)
        assert state["counts"] == {"a": [80, 10, 0, 0, 0], "b": [0, 0, 7, 0, 0], "c": [0, 0, 0, 0, 0]}
        assert state["routes"]["a"] == {
            "source": "orders",
            "actor": "reserve",
            "queue": "default",
            "topic": "order.#",
            "when": None,
            "paused": False,
            "targets": [],
            "steps": [],
            "otherwise": False,
        }
        assert state["sources"]["orders"]["counts"]["reasons"] == {"decode": 7}
        bridge.now.sources["orders"].counts.route("a").matched += 5
        bridge.now.routes["d"] = bridge.now.routes.pop("c")
        while True:
            name, change = await events.next()
            assert (name, change["number"]) == ("change", state["number"] + 1)
            state = change
            if "counts" in change:
                break
        assert change["counts"] == {"a": [85, 10, 0, 0, 0], "d": [0, 0, 0, 0, 0]}
        assert change["removed"] == {"routes": ["c"], "counts": ["c"]}
        assert "sources" not in change
        assert change["ready"] is True
        events.close()


async def test_all_readers_of_the_stream_share_one_state() -> None:
    """Sixteen readers cost as much as one: each sees the same numbers, each state is taken once."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        readers = [await follow(client) for _ in range(connections.MAX_STREAMS)]
        before = bridge.snapshots
        numbers = []
        for reader in readers:
            assert await reader.next() == ("hello", {"access": "none"})
            numbers.append((await reader.next())[1]["number"])
        last = max([(await reader.next())[1]["number"] for reader in readers])
        assert bridge.snapshots - before <= last - min(numbers) + 3
        for reader in readers:
            reader.close()


def test_a_change_of_a_thousand_routes_is_small() -> None:
    """Of 1,000 routes that all move a change has below 64 KiB; of 1,000 that rest, below 4 KiB."""
    state = state_of()
    counts = state.sources["orders"].counts
    for number in range(1000):
        state.routes[f"route-{number}"] = RouteState("orders", "act", "default", topic="order.#")
        counts.route(f"route-{number}").matched = number
    _, parts = feed.split(state)
    for number in range(1000):
        counts.route(f"route-{number}").matched += 10
    moved = feed.Moment(1, *feed.split(state), parts)
    assert len(moved.change) < 64 << 10
    rests = feed.Moment(2, *feed.split(state), moved.parts)
    assert len(rests.change) < 4 << 10


async def test_a_reader_who_misses_states_gets_everything_again() -> None:
    """A change is never sent to one who has not the state before it."""
    state = state_of()
    followed = feed.Feed(lambda: state).follow({})
    other = feed.Feed(lambda: state)
    events = other.follow({})
    await following(followed)
    await following(events)
    assert (await following(events)).startswith(b"event: state")
    second = other.follow({})
    await following(second)
    for _ in range(3):
        await following(second)
    assert (await following(events)).startswith(b"event: state")
    for each in (followed, events, second):
        await each.aclose()


async def following(parts: AsyncIterator[bytes]) -> bytes:
    """Return the next part, within a time."""
    async with asyncio.timeout(patient(10)):
        return await parts.__anext__()
