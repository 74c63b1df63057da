"""`GET /tap` on real sockets: its first and last line, bounds of its query, contents, and clients that are slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from bridge.admin import tap as tap_module
from bridge.admin.answers import Streamed
from bridge.errors import InvalidValue
from bridge.model.taps import Dropped, Tap, TooManyTaps, UnknownTapName
from tests.support.admin import TOKEN, FakeBridge, serving, until
from tests.support.children import patient

BEARER = f"Bearer {TOKEN}"


def _lines(body: bytes) -> list[Any]:
    """Return the lines of an answer in HTTP/1.1's chunks."""
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return [json.loads(line) for line in found.splitlines()]


async def _filled(bridge: FakeBridge, *lines: bytes | Dropped) -> Tap:
    """Fill the next tap, once it is open."""
    await until(lambda: bridge.taps)
    tap = bridge.taps[-1]
    for line in lines:
        tap.put(line) if isinstance(line, bytes) else tap.drop(line)
    return tap


@asynccontextmanager
async def _tapping(bridge: FakeBridge, target: str = "/tap", **settings: Any) -> AsyncIterator[asyncio.Task[list[Any]]]:
    """Ask for a tap with the token; the lines come once it has ended."""
    async with serving(bridge, token=TOKEN, **settings) as client:

        async def ask() -> list[Any]:
            return _lines((await client.ask(target, Authorization=BEARER)).body)

        task = asyncio.create_task(ask())
        await until(lambda: bridge.taps)
        yield task


async def test_a_tap_from_begin_to_end() -> None:
    """The first line repeats the filter, then come events and dropped ones in order, and the last line has the sum and the cause."""
    bridge = FakeBridge()
    async with _tapping(bridge, "/tap?source=orders&route=a&topic=order.*") as lines:
        tap = await _filled(bridge, b'{"n":1}\n', Dropped(3, 1), b'{"n":9}\n', Dropped(0, ended_processes=1))
        assert (tap.wanted.source, tap.wanted.route, tap.wanted.topic) == ("orders", "a", "order.*")
        tap.put(b'{"n":2}\n')
        tap.finish("stop", "the bridge stops")
        first, *rest = await lines
        assert first["tap"] == {"source": "orders", "route": "a", "topic": "order.*"}
        assert first["contents"] == "shown"
        assert rest == [
            {"n": 1},
            {"dropped": 3, "unexamined": 1},
            {"n": 9},
            {"dropped": 0, "ended_processes": 1},
            {"n": 2},
            {
                "end": "stop",
                "cause": "the bridge stops",
                "shown": 3,
                "dropped": 3,
                "unexamined": 1,
                "ended_processes": 1,
            },
        ]
        await until(lambda: not bridge.taps)


async def test_a_limit_ends_it() -> None:
    """At that number of events, however many wait; dropped ones do not count."""
    bridge = FakeBridge()
    async with _tapping(bridge, "/tap?limit=2") as lines:
        await _filled(bridge, Dropped(9), *[b'{"n":1}\n'] * 5)
        *_, last = found = await lines
        assert last == {"end": "limit", "cause": "it has shown 2 events", "shown": 2, "dropped": 9}
        assert found.count({"n": 1}) == 2
        await until(lambda: not bridge.taps)


@pytest.mark.parametrize("text", ["1", "1s", "1000ms"])
async def test_a_time_ends_it(text: str) -> None:
    """Also in silence."""
    async with _tapping(FakeBridge(), f"/tap?for={text}") as lines:
        assert (await lines)[-1] == {"end": "for", "cause": "its time of 1 s is over", "shown": 0, "dropped": 0}


async def test_silence_has_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line every 15 s, here after a part of them."""
    assert tap_module.KEEPALIVE_S == 15
    monkeypatch.setattr(tap_module, "KEEPALIVE_S", 0.1)
    async with _tapping(FakeBridge(), "/tap?for=1s") as lines:
        signs = [line for line in await lines if "keepalive" in line]
        assert 2 <= len(signs) <= 10


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=99999999999",
            "for=x",
            "for=0",
            "for=8d",
            "for=",
            "as=yaml",
        ),
        *("x=1", "source=a&source=b", "source=%ff", "limit=%D9%A1"),
    ],
)
async def test_mistakes_in_a_query_are_400(query: str) -> None:
    """With words; no tap is open."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask(f"/tap?{query}", Authorization=BEARER)
        assert reply.status == 400
        assert len(reply.text) > 10
        assert bridge.taps == []


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (UnknownTapName("route", "x", ["a", "b"]), 404, "no route has this name"),
        (TooManyTaps(), 503, "8 taps are open"),
        (InvalidValue("takes a glob of at most 256 characters"), 400, "topic: takes a glob"),
    ],
)
async def test_faults_have_words(fault: Exception, status: int, words: str) -> None:
    """Each has its own status."""
    bridge = FakeBridge()
    bridge.tap_fault = fault
    async with serving(bridge) as client:
        reply = await client.ask("/tap")
        assert reply.status == status
        assert words in reply.text
        if status == 404:
            assert (reply.json["name"], reply.json["known"]) == ("x", ["a", "b"])


@pytest.mark.parametrize(
    ("token", "authorization", "contents"),
    [(TOKEN, BEARER, True), (TOKEN, None, False), (None, BEARER, False), (None, None, False)],
)
async def test_contents_need_the_token(token: str | None, authorization: str | None, *, contents: bool) -> None:
    """Without it they are hidden, and a test of an event is refused; the first line says so."""
    bridge = FakeBridge()
    async with serving(bridge, token=token) as client:
        headers = {"Authorization": authorization} if authorization else {}
        first, *_ = _lines((await client.ask("/tap?for=1ms", **headers)).body)
        assert first["contents"] == ("shown" if contents else "hidden")
        assert contents or "Unix socket" in first["cause"]
        status = (await client.ask("/tap?for=1ms&as=test", **headers)).status
        assert status == (200 if contents else 403)


async def test_wrong_tokens_and_tokens_in_addresses_are_refused() -> None:
    """401 and 400; no tap is open."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        assert (await client.ask("/tap", Authorization=f"{BEARER}x")).status == 401
        assert (await client.ask(f"/tap?token={TOKEN}")).status == 400
        assert (await client.ask(f"/tap?source={TOKEN}")).status == 400
        assert (await client.ask("/tap", "POST", Authorization=BEARER)).status == 405
        assert (await client.ask("/tap", Host="evil.example", Authorization=BEARER)).status == 403
        assert bridge.taps == []


async def test_a_client_that_leaves_ends_its_tap() -> None:
    """At once, also in silence."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        reader, writer = await client.connect()
        writer.write(b"GET /tap HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        assert len(bridge.taps) == 1
        writer.transport.abort()
        await until(lambda: not bridge.taps)


async def test_a_slow_client_only_loses() -> None:
    """The ring takes all that comes, in bounded memory; shown and dropped are all of it once the client reads."""
    bridge = FakeBridge()
    count, line = 30_000, json.dumps({"x": "y" * 1000}).encode() + b"\n"
    async with serving(bridge) as client:
        reader, writer = await client.connect()
        writer.write(b"GET /tap HTTP/1.0\r\nHost: localhost\r\n\r\n")
        tap = await _filled(bridge)
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()
        for n in range(count):
            tap.put(line)
            if n % 500 == 0:
                await asyncio.sleep(0)
        tap.finish("stop", "the bridge stops")
        transport.resume_reading()
        async with asyncio.timeout(patient(30)):
            received = await reader.read(-1)
        writer.close()
    last = json.loads(received.splitlines()[-1])
    assert last["shown"] + last["dropped"] == count
    assert last["dropped"] > 0


async def test_another_token_ends_the_taps_that_show_contents() -> None:
    """Their client has no right to them any more; the others go on."""
    bridge = FakeBridge()
    async with _tapping(bridge, "/tap") as lines:
        server = tap_module.TapEndpoint(bridge)
        hidden = await server.tap("", contents=False)
        shown = await server.tap("", contents=True)
        assert isinstance(hidden, Streamed)
        assert isinstance(shown, Streamed)
        server.revoke()
        ends = [tap.end for tap in bridge.taps]
        assert ends == [None, None, ("token", "a reload has changed the token")]
        bridge.taps[0].finish("stop", "")
        await lines


async def test_a_unix_socket_needs_no_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only the bridge's user and root reach it."""
    path = tmp_path_factory.mktemp("s") / "a.sock"
    async with serving(FakeBridge(), listen=f"unix:{path}") as client:
        first, *_ = _lines((await client.ask("/tap?for=1ms")).body)
        assert first["contents"] == "shown"
