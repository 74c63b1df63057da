"""The contestants: the bridge, its variants and the peers; each starts as a process for a backlog."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import yaml

from bench.backlogs import Backlog
from bench.load import NATIVE_STREAM, QUEUE_KEY, routes
from bench.trees import Tree
from tests.support.children import Child
from tests.support.processes import BridgeProcess
from tests.support.unix_http import UnixConnection

#: Holds a module `uvloop` that raises ImportError, as if uvloop were not installed.
_WITHOUT_UVLOOP: Final = Path(__file__).parent / "without_uvloop"
#: What is done with the admin server of a bridge; "": it has none.
Watched = Literal["", "scraped", "tapped"]


class Running(ABC):
    """A started contestant; leaving the context kills it."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id; the process's descendants belong to the contestant."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the process is running."""

    @abstractmethod
    def output(self) -> str:
        """Return the last lines of its output."""

    @abstractmethod
    def close(self) -> None:
        """Kill it and its descendants; the broker takes back the unacknowledged events."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Contestant(ABC):
    """One row of the table; a run has `events` events."""

    name: str
    events: int
    #: Whether it builds messages; otherwise it copies the events to a stream.
    messages: bool = True

    @property
    @abstractmethod
    def settings(self) -> str:
        """Its settings, for the report."""

    @abstractmethod
    def start(self, backlog: Backlog) -> Running:
        """Start it for this backlog's source and sink."""

    @property
    def sink_key(self) -> str:
        """The key of the list or stream that grows by one per event."""
        return QUEUE_KEY if self.messages else NATIVE_STREAM


@dataclass(frozen=True)
class Bridge(Contestant):
    """The bridge with default settings, except `of_source` (of the source), `top` (top-level keys) and `routes`."""

    name: str
    events: int
    routes: int = 1
    of_source: Mapping[str, Any] = field(default_factory=dict)
    top: Mapping[str, Any] = field(default_factory=dict)
    uvloop: bool = True
    #: Whose code it runs; None: this checkout's.
    tree: Tree | None = None
    #: Whether it has an admin server, whose metrics are `scraped` each second, or whose events are `tapped`.
    watched: Watched = ""

    @property
    def settings(self) -> str:
        """See Contestant."""
        given = {**self.top, **self.of_source}
        said = [yaml.safe_dump(given, default_flow_style=True).strip()[1:-1]] if given else []
        said += [f"{self.routes} routes"] if self.routes > 1 else []
        said += [] if self.uvloop else ["without uvloop"]
        return ", ".join(said) or "defaults, uvloop"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its process beside the benchmark's own."""
        if self.tree:
            return self.tree.environment
        return {} if self.uvloop else {"PYTHONPATH": str(_WITHOUT_UVLOOP)}

    def config(self, backlog: Backlog) -> dict[str, Any]:
        """Return the whole configuration."""
        return {
            "dramatiq": {"url": backlog.sink.url_of(0)},
            "sources": {"bench": {**backlog.source, **self.of_source}},
            "routes": routes(backlog.topic, self.routes),
            **self.top,
        }

    def start(self, backlog: Backlog) -> Running:
        """See Contestant."""
        config = self.config(backlog)
        if not self.watched:
            return _RunningBridge(BridgeProcess(config, env=self.environment))
        directory = tempfile.mkdtemp(prefix="bench-admin-")
        config["admin"] = {"listen": f"unix:{directory}/admin.sock"}
        return _RunningBridge(BridgeProcess(config, env=self.environment), Path(directory), self.watched)


class _RunningBridge(Running):
    """A bridge, and where its admin server is in `directory` a Prometheus that scrapes it, or somebody who taps its events."""

    def __init__(self, process: BridgeProcess, directory: Path | None = None, watched: Watched = "") -> None:
        self._directory = directory
        self._ended = threading.Event()
        self._process = process.start()
        if directory is not None:
            watch = self._tap if watched == "tapped" else self._scrape
            threading.Thread(target=watch, args=(directory / "admin.sock",), daemon=True).start()

    def _scrape(self, socket: Path) -> None:
        while not self._ended.wait(_SCRAPE_INTERVAL_S):
            with suppress(OSError, HTTPException):  # it is starting, or has ended
                connection = UnixConnection(socket, 5)
                connection.request("GET", "/metrics")
                connection.getresponse().read()
                connection.close()

    def _tap(self, socket: Path) -> None:
        """Read all lines, with the contents of the events: the socket gives the right to them."""
        while not self._ended.wait(0.05):
            with suppress(OSError, HTTPException):  # it is starting, or has ended
                connection = UnixConnection(socket, 5)
                connection.request("GET", "/tap")
                answer = connection.getresponse()
                while answer.read1(1 << 16):
                    pass
                connection.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def output(self) -> str:
        if not self.running:
            # Until everything that it wrote has been read.
            self._process.wait()
        return self._process.log_tail()

    def close(self) -> None:
        self._ended.set()
        self._process.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


@dataclass(frozen=True)
class Peer(Contestant):
    """A program of `bench.peers`; one that serves several sources gets `kind` as its first argument."""

    name: str
    events: int
    module: str
    kind: str = ""
    messages: bool = True

    @property
    def settings(self) -> str:
        """See Contestant."""
        return str(import_module(f"bench.peers.{self.module}").SETTINGS)

    def start(self, backlog: Backlog) -> Running:
        """See Contestant."""
        kind = [self.kind] if self.kind else []
        url = backlog.broker.url
        return _RunningPeer([f"bench.peers.{self.module}", *kind, url, backlog.sink.url_of(0)])


class _RunningPeer(Running):
    def __init__(self, arguments: list[str]) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log")  # noqa: SIM115 - closed by close()
        self._child = Child([sys.executable, "-m", *arguments], env=os.environ, stdout=self._log.file)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    def output(self) -> str:
        return "\n".join(Path(self._log.name).read_text(errors="replace").splitlines()[-30:])

    def close(self) -> None:
        self._child.kill()
        self._log.close()


#: Many times as often as a Prometheus does by default.
_SCRAPE_INTERVAL_S: Final = 1.0
BRIDGE: Final = "bridge"
NATIVE: Final = "mq-bridge native"
POLL: Final = "mq-bridge poll"
SCRIPT: Final = "script"
FASTSTREAM: Final = "FastStream"

#: The contestants of each source; the number of events makes a run last for one or a few seconds.
PEERS: Final[dict[str, tuple[Contestant, ...]]] = {
    "amqp": (
        Bridge(BRIDGE, 50_000),
        Peer(NATIVE, 40_000, "mq_bridge_native", "amqp", messages=False),
        Peer(POLL, 40_000, "mq_bridge_poll", "amqp"),
        Peer(FASTSTREAM, 5_000, "faststream_amqp"),
        Peer(SCRIPT, 5_000, "script_amqp"),
    ),
    "amqp-stream": (
        Bridge(BRIDGE, 80_000),
        Peer(SCRIPT, 5_000, "script_amqp_stream"),
    ),
    "mqtt": (
        Bridge(BRIDGE, 120_000),
        Peer(NATIVE, 80_000, "mq_bridge_native", "mqtt", messages=False),
        Peer(POLL, 80_000, "mq_bridge_poll", "mqtt"),
        Peer(SCRIPT, 5_000, "script_mqtt"),
    ),
    "redis-stream": (
        Bridge(BRIDGE, 200_000),
        Peer(NATIVE, 200_000, "mq_bridge_native", "redis-stream", messages=False),
        Peer(POLL, 80_000, "mq_bridge_poll", "redis-stream"),
        Peer(FASTSTREAM, 30_000, "faststream_stream"),
        Peer(SCRIPT, 5_000, "script_stream"),
    ),
    "redis-pubsub": (
        Bridge(BRIDGE, 200_000),
        Peer(FASTSTREAM, 5_000, "faststream_pubsub"),
        Peer(SCRIPT, 5_000, "script_pubsub"),
    ),
}


def variants(kind: str) -> tuple[Contestant, ...]:
    """Return the bridge's variants on a source of this kind."""
    events = PEERS[kind][0].events
    bridges = [
        Bridge("bridge, 100 routes", events, routes=100),
        Bridge("bridge, asyncio", events, uvloop=False),
    ]
    if kind in {"amqp", "amqp-stream", "mqtt"}:
        bridges.append(Bridge("bridge, fast_path: false", events // 5, of_source={"fast_path": False}))
    if kind == "mqtt":
        bridges.append(Bridge("bridge, wide window", events, of_source={"window": {"events": 4_000}}))
    if kind in {"amqp", "redis-stream"}:
        bridges.append(Bridge("bridge, processes: 2", events, top={"processes": 2}))
    return tuple(bridges)
