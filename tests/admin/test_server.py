"""The admin server on real sockets: its endpoints and its orders."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
import structlog

from bridge.admin import answers as answers_module
from bridge.model.control import Reloaded
from tests.support.admin import TOKEN, FakeBridge, serving, state_of, until

BEARER = f"Bearer {TOKEN}"


BAD_QUERIES: Final = (
    *("/pause", "/pause?name=", "/pause?name=a&name=b", "/pause?name=a&x=1", "/pause?name=%ff"),
    *("/reload?wait=2", "/reload?wait", "/pause?" + "&".join(f"a{i}=1" for i in range(100))),
)


async def test_a_bridge_that_works_is_alive_and_ready() -> None:
    """/livez and /readyz are 200; each answer says that nobody may keep it, and names no version of a program."""
    async with serving(FakeBridge()) as client:
        for path, text in (("/livez", "ok\n"), ("/readyz", "ready\n")):
            reply = await client.ask(path)
            assert (reply.status, reply.text) == (200, text)
            assert reply.headers["cache-control"] == "no-store"
            assert reply.headers["server"] == "dramatiq-bridge"
            assert reply.headers["content-type"] == "text/plain; charset=utf-8"
            assert reply.headers["connection"] == "close"


async def test_an_unready_bridge_is_alive() -> None:
    """/readyz is 503 with a line for each cause, and /livez is 200 still."""
    state = state_of(phase="starting")
    state.sources["plant"].connected, state.sources["plant"].cause = False, "connection refused"
    async with serving(FakeBridge(state)) as client:
        reply = await client.ask("/readyz")
        assert reply.status == 503
        assert reply.text.splitlines() == [
            "not ready",
            "the bridge starts: not everything was connected yet",
            "source plant: not connected: connection refused",
        ]
        assert (await client.ask("/livez")).status == 200


async def test_a_pause_is_named_in_the_ready_answer() -> None:
    """The answer is 200, and says that a person has paused something."""
    state = state_of()
    state.routes["a"].paused = True
    async with serving(FakeBridge(state)) as client:
        reply = await client.ask("/readyz")
        assert reply.status == 200
        assert reply.text == "ready\nroute a: paused by a person; source orders waits behind it\n"


async def test_metrics_come_in_the_format_that_the_client_likes() -> None:
    """Text for curl and an old Prometheus, OpenMetrics for one that asks for it; each from one snapshot."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        text = await client.ask("/metrics")
        assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b'dramatiq_bridge_events_received_total{source="orders"} 100.0\n' in text.body
        assert bridge.snapshots == 1
        accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        openmetrics = await client.ask("/metrics", Accept=accept)
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert openmetrics.body.endswith(b"# EOF\n")
        assert bridge.snapshots == 2


async def test_status_is_json() -> None:
    """/status has the whole state."""
    async with serving(FakeBridge()) as client:
        reply = await client.ask("/status")
        assert reply.headers["content-type"] == "application/json"
        assert reply.json["sources"]["orders"]["identity"]["received"] == 100


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/status"])
async def test_head_is_get_without_the_body(path: str) -> None:
    """A probe that asks with HEAD gets the same head."""
    async with serving(FakeBridge()) as client:
        get, head = await client.ask(path), await client.ask(path, "HEAD")
        assert head.status == get.status
        assert head.body == b""
        assert head.headers["content-length"] == str(len(get.body))


async def test_a_reload_answers_once_it_is_over() -> None:
    """The answer has the changes in words."""
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        asked = asyncio.create_task(client.ask("/reload", "POST", Authorization=BEARER))
        await until(lambda: bridge.orders)
        assert not asked.done()
        bridge.gate.set()
        reply = await asked
        assert (reply.status, reply.json) == (200, {"result": "ok", "changes": ["route a changed"]})


@pytest.mark.parametrize(("result", "status"), [("refused", 409), ("invalid", 422), ("failed", 500)])
async def test_a_reload_that_changes_nothing_says_why(result: str, status: int) -> None:
    """Each kind has its own status, and the cause in words."""
    bridge = FakeBridge()
    bridge.reloaded = Reloaded(result, cause="line 3 is wrong")  # type: ignore[arg-type]
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/reload", "POST", Authorization=BEARER)
        assert (reply.status, reply.json["result"], reply.json["cause"]) == (status, result, "line 3 is wrong")


async def test_a_reload_without_waiting_answers_at_once() -> None:
    """With wait=0 the answer is 202, and the reload goes on; of many only one waits behind the one that runs."""
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        for _ in range(5):
            reply = await client.ask("/reload?wait=0", "POST", Authorization=BEARER)
            assert (reply.status, reply.json) == (202, {"result": "running"})
        assert bridge.orders == ["reload"] * 2
        bridge.gate.set()
        reply = await client.ask("/reload", "POST", Authorization=BEARER)
        assert (reply.status, len(bridge.orders)) == (200, 3)


async def test_a_long_reload_goes_on_without_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection does not live for ever: the answer is 202 then, and the reload is not cut short."""
    monkeypatch.setattr(answers_module, "WAIT_S", 0.05)
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/reload", "POST", Authorization=BEARER)
        assert reply.status == 202
        assert "goes on" in reply.json["cause"]


async def test_a_client_that_leaves_does_not_cut_its_order_short() -> None:
    """The reload that it has asked for is carried through."""
    bridge = FakeBridge()
    bridge.gate.clear()
    finished = []

    async def reload() -> Reloaded:
        bridge.orders.append("reload")
        await bridge.gate.wait()
        finished.append(True)
        return bridge.reloaded

    bridge.reload = reload  # type: ignore[method-assign]
    async with serving(bridge, token=TOKEN) as client:
        _, writer = await client.connect()
        writer.write(f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n\r\n".encode())
        await until(lambda: bridge.orders)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        bridge.gate.set()
        await until(lambda: finished)


async def test_a_source_and_a_route_are_paused_and_resumed() -> None:
    """The answer names the kind, and the state after it."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/pause?name=orders", "POST", Authorization=BEARER)
        assert (reply.status, reply.json) == (200, {"name": "orders", "kind": "source", "paused": True})
        reply = await client.ask("/resume?name=a", "POST", Authorization=BEARER)
        assert (reply.status, reply.json) == (200, {"name": "a", "kind": "route", "paused": False})
        assert bridge.orders == [("orders", True), ("a", False)]


async def test_a_name_may_have_any_characters() -> None:
    """It comes percent-encoded, as everywhere in an address."""
    bridge = FakeBridge()
    bridge.now.sources["größe & 1"] = bridge.now.sources["orders"]
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/pause?name=gr%C3%B6%C3%9Fe+%26%201", "POST", Authorization=BEARER)
        assert reply.json["name"] == "größe & 1"


async def test_an_unknown_name_gets_the_known_ones() -> None:
    """404, and whoever has mistyped it sees the right one."""
    async with serving(FakeBridge(), token=TOKEN) as client:
        reply = await client.ask("/pause?name=order", "POST", Authorization=BEARER)
        assert reply.status == 404
        assert reply.json["known"] == ["orders", "plant", "a", "b", "c"]


@pytest.mark.parametrize("target", BAD_QUERIES)
async def test_a_query_with_a_mistake_is_400(target: str) -> None:
    """Nothing is paused or reloaded then."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask(target, "POST", Authorization=BEARER)
        assert reply.status == 400
        assert bridge.orders == []


async def test_an_unknown_path_gets_the_known_ones() -> None:
    """404 with the list, and without the files of the page."""
    async with serving(FakeBridge()) as client:
        reply = await client.ask("/page")
        assert reply.status == 404
        known = ("/livez", "/readyz", "/metrics", "/status", "/reload", "/pause", "/events", "/dead-letters", "/try")
        assert all(path in reply.text for path in known)
        assert "/page/" not in reply.text


async def test_a_fault_of_the_bridge_is_500_and_logged() -> None:
    """The answer has no traceback and no words of the error; the log has the cause; and the next request is answered."""
    bridge = FakeBridge()
    bridge.fault = ValueError("inner words")
    async with serving(bridge) as client:
        with structlog.testing.capture_logs() as logs:
            reply = await client.ask("/status")
        assert (reply.status, reply.text) == (500, "the bridge could not answer; its log says why\n")
        assert [(line["event"], line["cause"]) for line in logs] == [("admin.failed", "ValueError: inner words")]
        bridge.fault = None
        assert (await client.ask("/status")).status == 200


async def test_a_flood_of_scrapes_takes_a_fifth_of_the_time_at_most() -> None:
    """Scrapes without a pause of a bridge with thousands of routes share an exposition that is a moment old."""
    state = state_of()
    state.routes |= {f"r{n}": state.routes["a"] for n in range(2_000)}
    bridge = FakeBridge(state)
    async with serving(bridge) as client:
        replies = await asyncio.gather(*(client.ask("/metrics") for _ in range(20)))
        assert {reply.status for reply in replies} == {200}
        assert bridge.snapshots < 10
