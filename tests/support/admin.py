"""A bridge that is none, its admin server on a real socket, and a client that sends any bytes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bridge.admin.server import AdminServer
from bridge.config import AdminSettings
from bridge.model.control import Paused, Reloaded, UnknownName
from bridge.model.state import EVENTS_BUCKETS, SECONDS_BUCKETS, BridgeState, QueueState, RouteState, SourceState
from bridge.model.taps import Tap, TapFilter
from tests.support.children import free_port, patient
from tests.support.tools import FakeWorkshop

TOKEN: Final = "correct-horse-battery"


def state_of(**changes: Any) -> BridgeState:
    """Return the state of a healthy bridge with sources `orders` and `plant`, with numbers of all kinds."""
    orders = SourceState(
        "amqp", guarantee="at least once", connected=True, in_flight=3, held=5, window=1000, fill=0.005
    )
    counts = orders.counts
    counts.received, counts.enqueued, counts.filtered, counts.messages = 100, 80, 10, 90
    counts.invalid_traces = 6
    counts.repaired = {"compressed": 12}
    counts.count_dead_lettered("decode", 7)
    counts.route("a").matched, counts.route("a").filtered, counts.route("b").dead_lettered = 80, 10, 7
    orders.batches.observe(30, EVENTS_BUCKETS)
    orders.age.observe(0.02, SECONDS_BUCKETS)
    plant = SourceState("mqtt", guarantee="at most once", connected=True, spooled=4, spooled_bytes=400)
    plant.counts.recovered = 4
    state = BridgeState(
        version="1.2.3",
        phase="running",
        config="/etc/bridge.yaml",
        fingerprint="ab" * 32,
        loaded_at=1_700_000_000.0,
        started_at=1_600_000_000.0,
        sink_url="redis://localhost:6379/0",
        namespace="dramatiq",
        sources={"orders": orders, "plant": plant},
        routes={
            "a": RouteState("orders", "reserve", "default", topic="order.#"),
            "b": RouteState("orders", "report", "reports", when="payload.x > 1"),
            "c": RouteState("plant", "alarm", "default"),
        },
        queues={"default": QueueState(waiting=9, delayed=1, in_flight=2, dead=3), "reports": QueueState()},
    )
    state.sink.writes.observe(0.004, SECONDS_BUCKETS)
    for name, value in changes.items():
        setattr(state, name, value)
    return state


class FakeBridge:
    """A bridge that notes its orders. `gate` holds a reload up until it is set."""

    def __init__(self, state: BridgeState | None = None) -> None:
        self.now = state or state_of()
        self.reloaded = Reloaded("ok", ["route a changed"])
        self.orders: list[object] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.snapshots = 0
        self.workshop = FakeWorkshop()
        #: Raised instead of an answer.
        self.fault: Exception | None = None
        self.tap_fault: Exception | None = None
        self.taps: list[Tap] = []

    def state(self) -> BridgeState:
        """Return the state."""
        if self.fault is not None:
            raise self.fault
        self.snapshots += 1
        return self.now

    async def reload(self) -> Reloaded:
        """Note it, and wait for the gate."""
        self.orders.append("reload")
        await self.gate.wait()
        return self.reloaded

    async def pause(self, name: str, *, paused: bool) -> Paused:
        """Note it."""
        if name not in {*self.now.sources, *self.now.routes}:
            raise UnknownName(name, [*self.now.sources, *self.now.routes])
        self.orders.append((name, paused))
        return Paused(name, "source" if name in self.now.sources else "route", paused)

    async def tap(self, wanted: TapFilter) -> Tap:
        """Note it; a test fills the tap."""
        if self.tap_fault is not None:
            raise self.tap_fault
        tap = Tap(wanted)
        self.taps.append(tap)
        return tap

    def untap(self, tap: Tap) -> None:
        """Note the end."""
        if tap in self.taps:
            self.taps.remove(tap)


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """Talks to one admin server; each request has a connection of its own."""

    def __init__(self, settings: AdminSettings) -> None:
        self.settings = settings

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return an open connection."""
        if self.settings.unix_path is not None:
            return await asyncio.open_unix_connection(self.settings.unix_path, limit=2**24)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)  # noqa: S104
        return await asyncio.open_connection(host, self.settings.port, limit=2**24)

    async def send(self, *parts: bytes) -> bytes:
        """Send bytes as they are, and return everything that comes until the connection ends."""
        reader, writer = await self.connect()
        try:
            with suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
            received = b""
            with suppress(ConnectionError):
                async with asyncio.timeout(patient(30)):
                    while data := await reader.read(2**20):
                        received += data
            return received
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)

    async def ask(self, target: str, method: str = "GET", **headers: str) -> Reply:
        """Send a request; `Host` is localhost unless given, and `_` in a name stands for `-`."""
        lines = {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return parsed(await self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode()))


def parsed(received: bytes) -> Reply:
    """Return the one answer that has come."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    return Reply(int(first.split()[1]), {name.lower(): value for name, value in pairs}, body)


@asynccontextmanager
async def serving(bridge: FakeBridge, **settings: Any) -> AsyncIterator[Client]:
    """Run the admin server of a bridge, by default at a free port."""
    settings.setdefault("listen", f"127.0.0.1:{free_port()}")
    client = Client(AdminSettings(**settings))
    task = asyncio.create_task(AdminServer(client.settings, bridge).serve())
    try:
        await answers(client)
        yield client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def answers(client: Client) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + patient(10)
    while True:
        try:
            assert (await client.ask("/livez")).status == 200
        except (OSError, IndexError):
            assert time.monotonic() < deadline, "the server does not answer"
            await asyncio.sleep(0.02)
        else:
            return


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + patient(10)
    while True:
        if condition():
            return
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.02)
