"""The endpoints of the page's tools, on real sockets: dead letters, their retry, and dry runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import structlog

from bridge.model.workshop import ShownLetter, Trial, WorkshopError
from tests.support.admin import TOKEN, Client, FakeBridge, parsed, serving
from tests.support.children import patient

BEARER = f"Bearer {TOKEN}"


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


async def test_a_client_that_leaves_within_its_event_is_no_fault() -> None:
    """Anybody may do so: the log has no error."""
    async with serving(FakeBridge()) as client:
        with structlog.testing.capture_logs() as logs:
            _, writer = await client.connect()
            writer.write(b"POST /try HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.close()
            for _ in range(20):
                assert (await client.ask("/livez")).status == 200
                await asyncio.sleep(0.01)
    assert logs == []


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
