"""The stage of one experiment: brokers, proxies, bridges and load, all of it real."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import redis

from tests.faults.ledger import Load
from tests.faults.proxy import Proxy
from tests.faults.publishers import plain_client
from tests.faults.scraper import Scraper
from tests.faults.sources import KINDS
from tests.support.broker import Broker
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.feeds import Feed
from tests.support.neighbours import BlackHole, Names
from tests.support.processes import BridgeProcess

B = TypeVar("B", bound=Broker)

#: Small, so that the bound on duplicates says something.
WINDOW_EVENTS: Final = 100
WINDOW_BYTES: Final = 1 << 20


class Brokers:
    """Brokers that are started when they are asked for, and serve many experiments; use it as a context manager.

    `sink` is Dramatiq's Redis, `events` another one, both with every write synced to an append-only file. `others` are made
    in place of these, or beside them, by name.
    """

    _MAKE: Final[dict[str, Callable[[], Broker]]] = {
        "sink": lambda: Redis(appendonly=True),
        "events": lambda: Redis(appendonly=True),
        "mosquitto": Mosquitto,
        "rabbitmq": RabbitMQ,
    }

    KINDS: Final[tuple[type[Broker], ...]] = (Redis, Mosquitto, RabbitMQ)

    def __init__(self, **others: Callable[[], Broker]) -> None:
        self._make = {**self._MAKE, **others}
        self._started: dict[str, Broker] = {}

    def get(self, name: str) -> Broker:
        """Return a broker that runs, Redis emptied of what others left."""
        broker = self._started.get(name)
        if broker is None:
            broker = self._started[name] = self._make[name]()
        if not broker.running:
            broker.start()
        if isinstance(broker, Redis):
            with broker.client() as client:
                client.flushall()
                client.script_flush()
        return broker

    def close(self) -> None:
        """End all of them, with their data; the next `get` starts new ones."""
        while self._started:
            self._started.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Stage:
    """Everything of one experiment; use it as a context manager, which ends all but the brokers.

    `spool` is the size of the bridge's spool, if it has one. `through` names the brokers that the bridge reaches through a
    proxy. `settings` is merged into the configuration, `per_source` into a source's mapping by the source's name.
    `replicas` bridges share the sources; as `twins` they have even the same names. `window` is that of each source, in
    events and bytes; with `body_bytes` each event has so many bytes of text, and so has its message. `seconds` is how
    long a row that measures growth lasts, if not as long as it would by itself. With `hosts`, names with their addresses,
    the brokers have the first of these names, and `BLACK` swallows every packet to their ports; so many `neighbours` are
    sources beside those under load, `neighbour-0.test` and so on.
    """

    def __init__(
        self,
        brokers: Brokers,
        sources: tuple[str, ...],
        *,
        short: bool,
        fast: bool = True,
        through: tuple[str, ...] = (),
        settings: Mapping[str, Any] | None = None,
        per_source: Mapping[str, Mapping[str, Any]] | None = None,
        replicas: int = 1,
        twins: bool = False,
        rate: int | None = None,
        spool: str = "",
        window: tuple[int, int] = (WINDOW_EVENTS, WINDOW_BYTES),
        body_bytes: int | None = None,
        seconds: float | None = None,
        env: Mapping[str, str] | None = None,
        hosts: Mapping[str, Sequence[str]] | None = None,
        neighbours: int = 0,
    ) -> None:
        self.short = short
        self.seconds = seconds
        self.window_events, self.window_bytes = window
        self.sources = sources
        self.bridges: list[BridgeProcess] = []
        self.feeds: dict[str, Feed] = {}
        self.loads: dict[str, Load] = {}
        self.proxies: dict[str, Proxy] = {}
        #: The log events of every bridge that ran, by process, oldest first.
        self.logs: list[list[dict[str, Any]]] = []
        #: Said by a row: what did not hold, beside what every row is checked for.
        self.failures: list[str] = []
        #: Said by a row: what it has measured.
        self.notes: list[str] = []
        #: The most resident memory of a bridge, and that of the first one before the load, in bytes.
        self.peak_bytes = 0
        self.idle_bytes = 0
        self._brokers = brokers
        self._through = through
        self._settings = settings or {}
        self._per_source = per_source or {}
        self._replicas = replicas
        self._twins = twins
        # The libraries read a fraction of what the bridge reads by itself: seven sources of 200 fill a core. The short form
        # runs beside other tests.
        self._rate = (60 if short else 200 if fast else 100) if rate is None else rate
        self._text = None if body_bytes is None else "x" * body_bytes
        self._spool_size = spool
        #: Where a bridge with a spool keeps it.
        self.spool = Path("/nowhere")
        self._fast = fast
        self._env = env
        self._hosts = hosts
        self._neighbours = neighbours
        #: The resolver of the bridges; only with `hosts`.
        self.names: Names | None = None
        self._ends = ExitStack()
        self._measuring = threading.Event()

    @property
    def sink(self) -> Redis:
        """Dramatiq's Redis."""
        return self._broker("sink", Redis)

    @property
    def events(self) -> Redis:
        """The other Redis."""
        return self._broker("events", Redis)

    @property
    def rabbitmq(self) -> RabbitMQ:
        """RabbitMQ."""
        return self._broker("rabbitmq", RabbitMQ)

    @property
    def mosquitto(self) -> Mosquitto:
        """Mosquitto."""
        return self._broker("mosquitto", Mosquitto)

    def brokers(self, kind: type[B]) -> list[B]:
        """Return the brokers of one kind, of the sources and for Dramatiq."""
        return [broker for broker in self._here.values() if isinstance(broker, kind)]

    @property
    def bridge(self) -> BridgeProcess:
        """The only bridge, or the first one."""
        return self.bridges[0]

    def client(self, timeout_s: float = 5.0) -> redis.Redis:
        """Return a client of Dramatiq's Redis that sends nothing twice."""
        return plain_client(self.sink.direct_port, timeout_s)

    def wait(self, least_s: float, most_s: float, long_s: float | None = None) -> None:
        """Let between `least_s` and `most_s` seconds pass; in a long run up to `long_s`."""
        time.sleep(random.uniform(least_s, most_s if self.short or long_s is None else long_s))

    def restart(self, bridge: BridgeProcess) -> None:
        """Start a bridge that has ended, without waiting for it."""
        bridge.start()
        self.logs.append(bridge.logs)

    def configure(self, change: Callable[[dict[str, Any]], None] | None) -> None:
        """Write the only bridge's configuration anew, as `change` leaves it; it must not run."""
        config = self._config(0)
        if change is not None:
            change(config)
        self.bridge.configure(config, fast=self._fast)

    def later(self, end: Callable[[], object]) -> None:
        """Call `end` when the experiment is over, however it ends."""
        self._ends.callback(end)

    def promote(self, replica: Redis) -> None:
        """Take another server for Dramatiq's Redis from now on."""
        for feed in self.feeds.values():
            if feed.broker is self._here["sink"]:
                feed.broker = replica
        self._here["sink"] = replica

    def error_lines(self) -> list[dict[str, Any]]:
        """Return what the bridges have said as warnings or worse."""
        return [log for logs in self.logs for log in list(logs) if log.get("level") in {"warning", "error", "critical"}]

    def log_tail(self) -> str:
        """Return the end of what each bridge wrote, without the counts."""
        tails = [[line for line in bridge.lines if '"source.counts"' not in line][-15:] for bridge in self.bridges]
        return "\n--\n".join("\n".join(lines) for lines in tails)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _build(self) -> None:
        names = {"sink", *(KINDS[source].broker for source in self.sources)}
        self._here = {name: self._brokers.get(name) for name in sorted(names)}
        for name in self._through:
            if name in self._here:
                self.proxies[name] = self._ends.enter_context(Proxy(self._here[name].port))
        if self._hosts:
            self.names = Names(Path(self._ends.enter_context(TemporaryDirectory(prefix="names-"))), self._hosts)
            for broker in self._here.values():
                self._ends.enter_context(BlackHole(broker.port))
        for source in self.sources:
            kind = KINDS[source]
            feed = self.feeds[source] = kind.feed(self._here[kind.broker])
            feed.prepare()
            self.loads[source] = Load(source, kind.publisher(feed), self._rate, self._text)
        self._sockets = Path(self._ends.enter_context(TemporaryDirectory(prefix="admin-")))
        self.scraper = Scraper([self._socket(replica) for replica in range(self._replicas)])
        self._ends.callback(self.scraper.stop)
        for replica in range(self._replicas):
            bridge = BridgeProcess(
                self._config(replica),
                env={**(self._env or {}), **(self.names.env if self.names else {})},
                fast=self._fast,
            )
            self._ends.callback(bridge.close)
            self.bridges.append(bridge)
            self.restart(bridge)
        for bridge in self.bridges:
            bridge.ready()
        self.scraper.start()
        self.idle_bytes = self.bridge.rss_bytes()
        threading.Thread(target=self._measure, name="memory", daemon=True).start()

    def _end(self) -> None:
        self._measuring.set()
        for load in self.loads.values():
            with suppress(RuntimeError):  # not started
                load.stop()
        self._ends.close()

    def _config(self, replica: int) -> dict[str, Any]:
        sources = {name: self._source(name, replica) for name in self.sources}
        routes: list[dict[str, Any]] = [
            {"from": name, "actor": "record", "args": ["$payload.n"], "queue": name} for name in self.sources
        ]
        if self._text is not None:
            routes = [{**route, "kwargs": {"text": "$payload.text"}} for route in routes]
        for number in range(self._neighbours):
            name, url = f"neighbour-{number}", f"redis://neighbour-{number}.test:{self.sink.port}/1"
            sources[name] = {"type": "redis-pubsub", "url": url, "channels": [name]}
            routes.append({"from": name, "actor": "record"})
        settings = {**self._settings}
        dramatiq = {"url": self._url(self.sink.url_of(0), "sink"), **settings.pop("dramatiq", {})}
        if self._spool_size:
            self.spool = Path(self._ends.enter_context(TemporaryDirectory(prefix="spool-")))
            settings["spool"] = {"directory": str(self.spool), "max_size": self._spool_size}
        settings.setdefault("admin", {"listen": f"unix:{self._socket(replica)}"})
        return {"dramatiq": dramatiq, "sources": sources, "routes": routes, **settings}

    def _socket(self, replica: int) -> Path:
        return self._sockets / f"{replica}.sock"

    def _source(self, name: str, replica: int) -> dict[str, Any]:
        feed = self.feeds[name]
        sharing = self._replicas > 1 and not self._twins
        given = {**feed.source, "url": self._url(feed.source["url"], KINDS[name].broker)}
        given["window"] = {"events": self.window_events, "bytes": f"{self.window_bytes >> 10}KiB"}
        if sharing and given["type"] == "redis-stream":
            given |= {"consumer": f"replica-{replica}", "claim_after": "1s"}
        if sharing and given["type"] == "mqtt":
            shared = [f"$share/replicas/{topic}" for topic in given["topics"]]
            given |= {"client_id": f"{given['client_id']}-{replica}", "topics": shared}
        return {**given, **self._per_source.get(name, {})}

    def _url(self, url: str, broker: str) -> str:
        if self._hosts:
            url = url.replace("127.0.0.1", next(iter(self._hosts)))
        if broker not in self.proxies:
            return url
        return url.replace(f":{urlsplit(url).port}", f":{self.proxies[broker].port}")

    def _broker(self, name: str, kind: type[B]) -> B:
        broker = self._here[name]
        assert isinstance(broker, kind)
        return broker

    def _measure(self) -> None:
        while not self._measuring.wait(0.1):
            for bridge in self.bridges:
                # It may have ended in between.
                with suppress(OSError, AssertionError):
                    self.peak_bytes = max(self.peak_bytes, bridge.rss_bytes())
