"""The admin server of a bridge that is none, in a thread: for commands, which wait for its answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
from structlog.testing import capture_logs

from bridge.admin import server
from bridge.commands.admin_client import Address, AdminClient, Unreachable
from bridge.config import AdminSettings
from bridge.model.accounting import Counts, RouteCounts
from bridge.model.control import Paused, Reloaded, UnknownName
from bridge.model.state import BridgeState, QueueState, RouteState, SourceState
from bridge.model.taps import Tap, TapFilter, UnknownTapName
from tests.support.children import free_port, patient, wait_until
from tests.support.tools import FakeWorkshop

if TYPE_CHECKING:
    from types import TracebackType

TOKEN = "s3cret-token-of-the-bridge"


def make_state(**changes: Any) -> BridgeState:
    """Return the state of a bridge with two sources and three routes, all well."""
    now = time.time()
    plant = SourceState("mqtt", guarantee="at least once", connected=True, window=1000, in_flight=3, fill=0.12)
    plant.counts = Counts(received=1503, enqueued=1200, filtered=288, dead_lettered=12)
    plant.counts.reasons = {"decode": 8, "missing-field": 4}
    plant.counts.routes = {"hot": RouteCounts(200, 1000, 4), "note": RouteCounts(1000, 0, 0)}
    orders = SourceState("amqp", guarantee="at least once", connected=True, window=1000)
    state = BridgeState(
        version="1.2.3",
        phase="running",
        config="/etc/dramatiq-bridge/bridge.yaml",
        fingerprint="0123456789abcdef" * 4,
        loaded_at=now - 3600,
        started_at=now - 90_000,
        sink_url="redis://localhost:6379/0",
        namespace="workers",
        reloads={"ok": 2},
        sources={"plant": plant, "orders": orders},
        routes={
            "hot": RouteState("plant", "raise_alarm", "alarms", "plants/+/ovens/+", "payload.celsius > 250"),
            "note": RouteState("plant", "note", "default", "plants/#"),
            "reserve": RouteState("orders", "reserve", "default", "order.#"),
        },
        queues={"alarms": QueueState(waiting=7, in_flight=2), "default": QueueState(delayed=5, dead=1)},
    )
    return msgspec.structs.replace(state, **changes)


@dataclass
class Bridge:
    """A bridge as the admin server sees it: a state, and answers to orders. A reload takes `reload_s`."""

    now: BridgeState = field(default_factory=make_state)
    answer: Reloaded = field(default_factory=lambda: Reloaded("ok", ["route x added"]))
    reload_s: float = 0.0
    orders: list[str] = field(default_factory=list)
    workshop: FakeWorkshop = field(default_factory=FakeWorkshop)
    #: Puts lines into a tap that begins.
    fill: Callable[[Tap], None] = lambda _: None

    def state(self) -> BridgeState:
        return self.now

    async def reload(self) -> Reloaded:
        self.orders.append("reload")
        await asyncio.sleep(self.reload_s)
        self.now.reloads = {**self.now.reloads, self.answer.result: self.now.reloads.get(self.answer.result, 0) + 1}
        self.now.reload_cause = self.answer.cause
        return self.answer

    async def tap(self, wanted: TapFilter) -> Tap:
        names = ((wanted.source, "source", self.now.sources), (wanted.route, "route", self.now.routes))
        for name, kind, known in names:
            if name and name not in known:
                of = f" of source {wanted.source}" if kind == "route" and wanted.source else ""
                raise UnknownTapName(f"{kind}{of}", name, list(known))
        tap = Tap(wanted)
        self.fill(tap)
        return tap

    def untap(self, tap: Tap) -> None:
        self.orders.append("untap")

    async def pause(self, name: str, *, paused: bool) -> Paused:
        self.orders.append(f"{'pause' if paused else 'resume'} {name}")
        if name in self.now.sources:
            self.now.sources[name].paused = paused
            return Paused(name, "source", paused)
        if name in self.now.routes:
            self.now.routes[name].paused = paused
            return Paused(name, "route", paused)
        raise UnknownName(name, [*self.now.sources, *self.now.routes])


class AdminServer:
    """The admin server of `bridge` in a thread; use it as a context manager.

    It listens on a free port, or on a Unix socket in `directory`.
    """

    def __init__(self, bridge: Bridge, *, directory: Path | None = None, token: str | None = TOKEN) -> None:
        self.bridge = bridge
        self.listen = f"unix:{directory}/admin.sock" if directory is not None else f"127.0.0.1:{free_port()}"
        self.settings = AdminSettings.model_validate({"listen": self.listen, "token": token})
        self._ended: asyncio.Event | None = None
        self._said: list[Any] = []

    def start(self) -> None:
        """Start it, also again at the same address."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="tests:admin")
        self._thread.start()
        wait_until(self._listens, 10, "the admin server")

    def stop(self) -> None:
        """Stop it; nobody listens at its address any more."""
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(patient(10))
        assert not self._thread.is_alive()

    def _listens(self) -> bool:
        assert self._thread.is_alive(), "the admin server has ended"
        # Tests that another run has begun may have taken the port meanwhile, for the same server of another state.
        if not any(line["event"] == "admin.listening" for line in self._said):
            return False
        with suppress(Unreachable):
            return bool(AdminClient(Address.parse(self.listen)).status_json())
        return False

    async def _run(self) -> None:
        with capture_logs() as self._said:  # standard output is the command's
            await self._serve()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.create_task(server.AdminServer(self.settings, self.bridge).serve())
        end = asyncio.create_task(self._ended.wait())
        await asyncio.wait([task, end], return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._thread.is_alive():
            self.stop()
