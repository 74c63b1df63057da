"""The page's files, its stream, and the endpoints of its tools, on real sockets."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.admin import assets, connections, feed
from bridge.model.state import RouteState
from bridge.model.workshop import ShownLetter, Trial, WorkshopError
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
        assert state["counts"] == {"a": [80, 10, 0], "b": [0, 0, 7], "c": [0, 0, 0]}
        assert state["routes"]["a"] == {
            "source": "orders",
            "actor": "reserve",
            "queue": "default",
            "topic": "order.#",
            "when": None,
            "paused": False,
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
        assert change["counts"] == {"a": [85, 10, 0], "d": [0, 0, 0]}
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


async def test_contents_of_dead_letters_are_for_the_token() -> None:
    """Without it the tools are asked for letters without contents; a wrong one is 401."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/dead-letters?limit=7")
        assert reply.status == 200
        assert reply.json["letters"][0]["id"] == "1795759200000-0"
        assert reply.json["total"] == 1
        await client.ask("/dead-letters?id=1795759200000-0", Authorization=BEARER)
        assert (await client.ask("/dead-letters", Authorization="Bearer wrong-token-of-somebody")).status == 401
        assert bridge.workshop.orders == [("newest", 7, False), ("letter", "1795759200000-0", True)]


async def test_lists_of_dead_letters_are_paced() -> None:
    """Who asks without a pause gets the list that was read a moment ago."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        for _ in range(10):
            assert (await client.ask("/dead-letters")).status == 200
        assert len(bridge.workshop.orders) <= 3


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "all=1", "limit=²"])
async def test_a_query_for_dead_letters_is_checked(query: str) -> None:
    """400 with words."""
    async with serving(FakeBridge()) as client:
        assert (await client.ask(f"/dead-letters?{query}")).status == 400


async def test_a_retry_needs_the_token() -> None:
    """Without it nothing is retried; with it the outcome comes as JSON."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        path = "/dead-letters/retry?id=1795759200000-0"
        assert (await client.ask(path, "POST")).status == 401
        assert (await client.ask(path, "GET", Authorization=BEARER)).status == 405
        assert (await client.ask("/dead-letters/retry", "POST", Authorization=BEARER)).status == 400
        reply = await client.ask(path, "POST", Authorization=BEARER)
        assert reply.json["outcome"] == "retried"
        assert bridge.workshop.orders == [("retry", "1795759200000-0")]


async def test_a_tool_that_cannot_work_says_why() -> None:
    """503 with the cause."""
    bridge = FakeBridge()
    bridge.workshop.fault = WorkshopError("Redis takes no writes")
    async with serving(bridge, token=TOKEN) as client:
        replies = [
            await client.ask("/dead-letters"),
            await client.ask("/dead-letters/retry?id=1-0", "POST", Authorization=BEARER),
        ]
        assert [(reply.status, reply.json) for reply in replies] == [(503, {"cause": "Redis takes no writes"})] * 2
        reply = await post(client, b'{"source": "orders"}')
        assert (reply.status, reply.text) == (503, "Redis takes no writes\n")


async def post(client: Client, body: bytes, path: str = "/try", **headers: str) -> Any:
    """Send a body in one piece, and return the answer."""
    from tests.support.admin import parsed  # noqa: PLC0415 - beside its only use

    lines = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return parsed(await client.send(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body))


async def test_an_event_is_tried_with_its_body() -> None:
    """A body of nearly 256 KiB arrives whole, in one piece or in many."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        body = msgspec.json.encode({"source": "orders", "topic": "order.new", "payload": {"text": "x" * 261_000}})
        assert (await post(client, body)).json == {"result": "none", "routes": []}
        head = f"POST /try HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        pieces = [head[:3], head[3:8], head[8:], *(body[at : at + 60_000] for at in range(0, len(body), 60_000))]
        await client.send(*pieces)
        trial = Trial(source="orders", topic="order.new", payload={"text": "x" * 261_000})
        assert bridge.workshop.orders == [trial, trial]


async def test_bodies_are_bounded() -> None:
    """A larger event is 413, an order takes a few KiB at most as before, and more bytes than that end the connection."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        assert (await post(client, b"x" * (257 << 10))).status == 413
        with suppress(IndexError):  # the connection may end before the answer is read
            assert (await post(client, b"x" * 70_000, "/reload", Authorization=BEARER)).status == 413
        assert (await client.ask("/try", "POST", Transfer_Encoding="chunked")).status == 413
        assert bridge.workshop.orders == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"source": 1}',
        b'{"source": "orders", "payload_file": "/etc/passwd"}',
        b"[" * 100_000,
    ],
)
async def test_an_event_that_is_none_is_said(body: bytes) -> None:
    """400 with words, and no file of this machine is ever named as a body."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        reply = await post(client, body)
        assert reply.status == 400
        assert reply.text.startswith("the body is no event in JSON: ")
        assert bridge.workshop.orders == []


async def test_strangers_pages_can_neither_read_nor_try() -> None:
    """A request with the Origin of another page, or by another name, is 403."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        for path in ("/", "/events", "/dead-letters", "/page/main.js"):
            assert (await client.ask(path, Origin="http://evil.example")).status == 403
            assert (await client.ask(path, Host="evil.example")).status == 403
        assert (await post(client, b'{"source": "orders"}', Origin="http://evil.example")).status == 403
        assert bridge.workshop.orders == []


async def test_many_trials_at_once_wait_or_are_refused() -> None:
    """One runs, some wait, the others are told to come again: 429."""
    bridge = FakeBridge()
    gate = asyncio.Event()
    run = bridge.workshop.try_event

    async def slow(trial: Trial) -> Any:
        await gate.wait()
        return await run(trial)

    bridge.workshop.try_event = slow  # type: ignore[method-assign] # the workshop is the test's own
    async with serving(bridge) as client:
        tasks = [asyncio.create_task(post(client, b'{"source": "orders"}')) for _ in range(10)]
        done, _ = await asyncio.wait(tasks, timeout=patient(10), return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status for task in done} == {429}
        gate.set()
        statuses = sorted([(await task).status for task in tasks])
        assert set(statuses) == {200, 429}
        assert statuses.count(200) == 4


async def test_letters_with_odd_texts_are_json() -> None:
    """Scripts in topics and reasons are texts of JSON, whose type no browser takes for a page."""
    bridge = FakeBridge()
    bridge.workshop.kept = [
        ShownLetter(id="1-0", reason="<script>alert(1)</script>", topic="<img onerror=alert(1) src=x>")
    ]
    async with serving(bridge) as client:
        reply = await client.ask("/dead-letters")
        assert reply.headers["content-type"] == "application/json"
        assert reply.json["letters"][0]["topic"] == "<img onerror=alert(1) src=x>"


async def following(parts: AsyncIterator[bytes]) -> bytes:
    """Return the next part, within a time."""
    async with asyncio.timeout(patient(10)):
        return await parts.__anext__()
