"""A stop is a stop: the process ends within 25 s of SIGTERM, whatever a library, a disk or a resolver waits for."""

from __future__ import annotations

import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import psutil
import pytest
import yaml

from bridge.delivery import tasks
from bridge.process import ending, supervisor
from tests.conftest import need
from tests.faults.experiment import STOP_S
from tests.faults.proxy import Proxy
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.certificates import Certificates
from tests.support.child_processes import children, wait_gone
from tests.support.children import REPOSITORY, wait_until, with_fault
from tests.support.feeds import PubsubFeed, StreamFeed
from tests.support.neighbours import Names
from tests.support.processes import BridgeProcess, Bridges
from tests.support.terminal import Terminal

#: In time, and a service manager's SIGKILL not needed.
LOOPS: Final = pytest.mark.parametrize("env", [{}, with_fault("plain_loop")], ids=["uvloop", "asyncio"])
PATHS: Final = pytest.mark.parametrize("fast", [True, False], ids=["fast", "library"])
SOURCES: Final = ("amqp", "mqtt", "pubsub", "stream")


def _ends(bridge: BridgeProcess, code: int = 0, *, within_s: float = STOP_S) -> None:
    """Tell the bridge to stop, and wait no longer than promised: `drain_timeout` + 5 s."""
    bridge.terminate()
    assert bridge.wait(within_s) == code, bridge.log_tail()
    bridge.wait_for("bridge.stopped")


def _config(
    s: str, ports: dict[str, int], sink: Redis, certificates: Certificates | None = None, **more: Any
) -> dict[str, Any]:
    """Return a source of each kind, at these ports by protocol; their schemes end in `s`."""
    at = {protocol: f"{protocol}{s}://127.0.0.1:{port}" for protocol, port in ports.items()}
    sources: dict[str, dict[str, Any]] = {
        "amqp": {"type": "amqp", "url": f"{at['amqp']}", "queue": "stop", "declare": {}},
        "mqtt": {"type": "mqtt", "url": at["mqtt"], "topics": ["stop"], "client_id": "stop"},
        "pubsub": {"type": "redis-pubsub", "url": at["redis"], "channels": ["stop"]},
        "stream": {"type": "redis-stream", "url": at["redis"], "streams": ["stop"], "group": "g", "field": "data"},
    }
    return {
        "dramatiq": {"url": sink.url},
        # Each a copy: YAML would write the same mapping again as an alias, which a configuration can't hold.
        "sources": {
            name: {**source, **({"tls": {"ca": str(certificates.ca)}} if certificates else {})}
            for name, source in sources.items()
        },
        "routes": [{"from": name, "actor": "record", "args": [name]} for name in sources],
        **more,
    }


@pytest.fixture(scope="module")
def secure(certificates: Certificates) -> Iterator[dict[str, int]]:
    """The ports of brokers that speak TLS."""
    for kind in (RabbitMQ, Mosquitto, Redis):
        need(kind)
    with ExitStack() as ends:
        made = [ends.enter_context(kind(tls=certificates)) for kind in (RabbitMQ, Mosquitto, Redis)]
        yield dict(zip(("amqp", "mqtt", "redis"), (broker.port for broker in made), strict=True))


@pytest.fixture
def links(secure: dict[str, int]) -> Iterator[dict[str, Proxy]]:
    """Proxies before the brokers that speak TLS."""
    with ExitStack() as ends:
        yield {protocol: ends.enter_context(Proxy(port)) for protocol, port in secure.items()}


@pytest.mark.parametrize("processes", [1, 2])
@LOOPS
@PATHS
def test_silent_tls_links_hold_up_no_stop(  # noqa: PLR0917 - fixtures
    links: dict[str, Proxy],
    certificates: Certificates,
    redis_server: Redis,
    new_bridge: Bridges,
    env: dict[str, str],
    fast: bool,
    processes: int,
) -> None:
    """Four sources over TLS whose links forward nothing any more: nothing was cut short, and the exit code is 0."""
    ports = {protocol: link.port for protocol, link in links.items()}
    config = _config("s", ports, redis_server, certificates, processes=processes, drain_timeout="5s")
    bridge = new_bridge(config, env=env, fast=fast).ready()
    for link in links.values():
        link.stalled = True
    _ends(bridge, within_s=10)


@pytest.mark.parametrize("protocol", ["amqp", "mqtt", "redis"])
def test_one_silent_tls_link_holds_up_no_stop(
    protocol: str, links: dict[str, Proxy], certificates: Certificates, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Also where only one is silent, and the others close well."""
    ports = {protocol: link.port for protocol, link in links.items()}
    bridge = new_bridge(_config("s", ports, redis_server, certificates)).ready()
    links[protocol].stalled = True
    _ends(bridge)


@LOOPS
def test_a_sink_that_is_silent_holds_up_no_stop(
    certificates: Certificates, new_redis: Callable[..., Redis], new_bridge: Bridges, env: dict[str, str]
) -> None:
    """Dramatiq's Redis over TLS is silent, with events held: they stay with their broker, and the exit code is 0."""
    broker, sink = new_redis(), new_redis(tls=certificates)
    stream = StreamFeed(broker)
    stream.prepare()
    with Proxy(sink.port) as link:
        config = stream.config(sink)
        config["dramatiq"] = {"url": f"rediss://127.0.0.1:{link.port}", "tls": {"ca": str(certificates.ca)}}
        bridge = new_bridge(config, env=env).ready()
        link.stalled = True
        stream.publish([{"n": n} for n in range(30)])
        wait_until(lambda: bridge.state()["held"] == 30, what="all received")
        _ends(bridge)
    assert stream.unacknowledged() == 30


class Silent:
    """A server that takes connections, shakes hands where `certificates` are given, and never says a word more."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._context = None
        if certificates is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificates.cert, certificates.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._taken: list[socket.socket] = []
        #: How many connections were taken.
        self.met = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listening.accept()
                if self._context is not None:
                    with suppress(OSError):
                        taken = self._context.wrap_socket(taken, server_side=True)
                self._taken.append(taken)
                self.met += 1

    def close(self) -> None:
        """End everything."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for taken in self._taken:
            taken.close()


@pytest.mark.parametrize(
    ("s", "shakes_hands"), [("", False), ("s", False), ("s", True)], ids=["plain", "tls", "in-tls"]
)
@LOOPS
@PATHS
def test_a_connect_in_progress_holds_up_no_stop(  # noqa: PLR0917 - fixtures
    certificates: Certificates,
    redis_server: Redis,
    new_bridge: Bridges,
    env: dict[str, str],
    fast: bool,
    s: str,
    shakes_hands: bool,
) -> None:
    """Servers that take the connection and say nothing, before TLS or within it."""
    silent = Silent(certificates if shakes_hands else None)
    try:
        ports = dict.fromkeys(("amqp", "mqtt", "redis"), silent.port)
        config = _config(s, ports, redis_server, certificates if s else None)
        for source in config["sources"].values():
            source["connect_timeout"] = "60s"
        bridge = new_bridge(config, env=env, fast=fast)
        bridge.wait_for("sink.connected")
        wait_until(lambda: silent.met >= len(SOURCES), what="every source connecting")
        _ends(bridge)
    finally:
        silent.close()


@PATHS
def test_brokers_that_are_stopped_hold_up_no_stop(  # noqa: PLR0917 - fixtures
    new_rabbitmq: Callable[..., RabbitMQ],
    new_mosquitto: Callable[..., Mosquitto],
    new_redis: Callable[..., Redis],
    redis_server: Redis,
    new_bridge: Bridges,
    fast: bool,
) -> None:
    """SIGSTOP for every broker: their kernels still take bytes, and nobody answers."""
    brokers = (new_rabbitmq(), new_mosquitto(), new_redis())
    ports = dict(zip(("amqp", "mqtt", "redis"), (broker.port for broker in brokers), strict=True))
    bridge = new_bridge(_config("", ports, redis_server), fast=fast).ready()
    for broker in brokers:
        broker.pause()
    _ends(bridge)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_resolver_that_never_answers_holds_up_no_stop(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path, processes: int
) -> None:
    """Names of sources that a resolver is asked for, for ever: threads wait for it, and the process does not."""
    ports = dict.fromkeys(("amqp", "mqtt", "redis"), 1)
    config = _config("", ports, redis_server, processes=processes)
    for source in config["sources"].values():
        source["url"] = source["url"].replace("127.0.0.1", "blackhole.invalid")
        source["connect_timeout"] = "60s"
    names = Names(tmp_path, {"blackhole.invalid": None})
    bridge = new_bridge(config, env={**names.env, **with_fault("resolving", "plain_loop")})
    bridge.wait_for("sink.connected", times=processes)
    _ends(bridge)


def test_a_disk_that_hangs_holds_up_no_stop(
    new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Any
) -> None:
    """The spool's disk answers no more: events that come once are counted as lost, each of them, and the process ends."""
    broker, sink = new_redis(), new_redis()
    channel = PubsubFeed(broker)
    config = {**channel.config(sink), "spool": {"directory": str(tmp_path / "spool")}, "drain_timeout": "5s"}
    bridge = new_bridge(config, env=with_fault("hung_disk")).ready()
    sink.stop()
    channel.publish([{"n": n} for n in range(100)])
    bridge.wait_for("sink.unavailable")
    wait_until(lambda: (state := bridge.state())["held"] + state["received"] >= 100, what="all received")
    _ends(bridge)
    stopped = bridge.wait_for("bridge.stopped")
    assert (stopped["received"], stopped["lost"]) == (100, 100)


def test_a_log_that_nobody_reads_holds_up_no_stop(
    links: dict[str, Proxy], certificates: Certificates, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Standard error is a full pipe, and the links are silent too."""
    ports = {protocol: link.port for protocol, link in links.items()}
    bridge = new_bridge(_config("s", ports, redis_server, certificates)).ready()
    bridge.read_log(wanted=False)
    for _ in range(3000):
        bridge.signal(signal.SIGUSR1)
    for link in links.values():
        link.stalled = True
    bridge.terminate()
    assert bridge.wait(STOP_S) == 0


@contextmanager
def _started_with(number: signal.Signals, handler: signal.Handlers) -> Iterator[None]:
    """Processes that are started meanwhile have this handler; that of the tests themselves may be another one, as under nohup."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


# SIGHUP reloads the configuration: see test_reload.py.
@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR2, signal.SIGALRM, signal.SIGXCPU])
@pytest.mark.parametrize("processes", [1, 2])
def test_no_signal_but_a_kill_ends_it_without_a_drain(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, number: signal.Signals, processes: int
) -> None:
    """All that would end a process, sent to the whole group: it drains as for SIGTERM."""
    with _started_with(number, signal.SIG_DFL):
        bridge = new_bridge({**stream.config(redis_server), "processes": processes}).ready()
    running = children(bridge)
    stream.publish([{"n": n} for n in range(500)])
    bridge.signal_group(number)
    assert bridge.wait(STOP_S) == 0
    wait_gone(running)
    assert bridge.wait_for("bridge.stopping")["signal"] == number.name
    assert not bridge.events("process.ended")
    stopped = bridge.wait_for("bridge.stopped")
    assert stopped["received"] == stopped["messages"]


def test_a_limit_of_cpu_time_drains_however_often_the_kernel_says_so(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """The kernel sends SIGXCPU again each second of CPU: it is no second signal, which would stop at once."""
    sink = new_redis()
    bridge = new_bridge({**stream.config(sink), "drain_timeout": "60s"}).ready()
    sink.pause()
    stream.publish([{"n": n} for n in range(30)])
    wait_until(lambda: bridge.state()["held"] == 30, what="all received")
    for _ in range(3):
        bridge.signal(signal.SIGXCPU)
        bridge.wait_for("bridge.stopping")
        time.sleep(0.3)
    sink.resume()
    assert bridge.wait(90) == 0, bridge.log_tail()
    assert bridge.wait_for("bridge.stopped")["messages"] == 30


def test_a_limit_of_cpu_time_of_one_process_drains_them_all(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges
) -> None:
    """The limit is one of each process; the kernel tells only the one that has reached it."""
    bridge = new_bridge({**stream.config(redis_server), "processes": 2}).ready()
    running, deadline = children(bridge), time.monotonic() + 60
    resource.prlimit(running[1].pid, resource.RLIMIT_CPU, (1, resource.RLIM_INFINITY))
    try:
        # It is told while it works.
        while not bridge.events("bridge.stopping") and bridge.running:
            stream.publish([{"n": n} for n in range(100)])
            assert time.monotonic() < deadline, "nobody was told"
        assert bridge.wait(STOP_S) == 0, bridge.log_tail()
    finally:
        for child in running.values():
            with suppress(psutil.NoSuchProcess):
                child.kill()
    assert bridge.wait_for("bridge.stopping")["signal"] == "SIGXCPU"
    assert not bridge.events("process.ended")


def test_processes_that_cannot_be_killed_hold_up_no_stop() -> None:
    """A second signal ends the process, also where ending its child processes fails."""
    program = """
import asyncio, types
from bridge.process.lifecycle import Lifecycle, block_signals
class Run:
    settled, stop, counts = False, lambda self: None, dict
    def kill(self):
        raise RuntimeError("the event loop is changing them")
async def main():
    Lifecycle(types.SimpleNamespace(sources=[], routes=[], drain_timeout=60_000)).begin(Run())
    print("begun", flush=True)
    await asyncio.sleep(120)
block_signals()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        while b"begun" not in process.stdout.readline():
            assert process.poll() is None
        for number in (signal.SIGTERM, signal.SIGINT):  # two different ones: the kernel makes one of two equal ones
            process.send_signal(number)
        try:
            assert process.wait(STOP_S) == 1
        finally:
            process.kill()


def test_a_process_ends_by_itself_before_its_parent_kills_it() -> None:
    """Also one whose log nobody reads: it takes half a second more, and its last report has the counts."""
    assert supervisor._LEAVE_S > ending.LEAVE_S + tasks.FLUSH_S
    assert supervisor._LEAVE_S < ending.LEAVE_WITH_CHILDREN_S


def test_a_bridge_that_ignores_sighup_outlives_its_terminal(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges
) -> None:
    """As nohup promises it."""
    with _started_with(signal.SIGHUP, signal.SIG_IGN):
        bridge = new_bridge(stream.config(redis_server)).ready()
    bridge.signal_group(signal.SIGHUP)
    stream.publish([{"n": 1}])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 20, "its message")
    assert not bridge.events("bridge.reload_requested"), "an ignored signal stays ignored"
    _ends(bridge)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_terminal_that_closes_stops_the_bridge(
    stream: StreamFeed, redis_server: Redis, tmp_path: Path, processes: int
) -> None:
    """Where standard error is a terminal, SIGHUP says that it is gone: nobody would ever see the bridge again."""
    path = tmp_path / "bridge.yaml"
    path.write_text(yaml.safe_dump({**stream.config(redis_server), "processes": processes}))
    with _started_with(signal.SIGHUP, signal.SIG_DFL), Terminal(["run", str(path)]) as terminal:
        terminal.read_until("bridge.ready")
        terminal.hang_up()
        assert terminal.wait() == 0
        assert "bridge.stopping" in terminal.plain
        assert "bridge.reload" not in terminal.plain


@pytest.mark.parametrize("processes", [1, 2])
def test_a_sighup_during_a_stop_is_no_second_signal(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges, processes: int
) -> None:
    """It asks for a reload, which comes too late: the drain goes on."""
    sink = new_redis()
    bridge = new_bridge({**stream.config(sink), "drain_timeout": "60s", "processes": processes}).ready()
    sink.pause()
    stream.publish([{"n": n} for n in range(30)])
    bridge.wait_for("source.connected")
    time.sleep(0.5)  # some are received
    bridge.terminate()
    bridge.wait_for("bridge.stopping")
    bridge.signal(signal.SIGHUP)
    time.sleep(0.3)
    sink.resume()
    assert bridge.wait(90) == 0, bridge.log_tail()
    assert not bridge.events("bridge.stopped_at_once")
    stopped = bridge.wait_for("bridge.stopped")
    assert stopped["received"] == stopped["messages"]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("signals", [1, 2])
def test_an_event_loop_that_hangs_holds_up_no_stop(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, processes: int, signals: int
) -> None:
    """A call that never returns: the process ends, at once for a second signal; nobody knows of its events, so the code is 1."""
    config = {**stream.config(redis_server), "processes": processes, "drain_timeout": "1s"}
    bridge = new_bridge(config, env=with_fault("blocked_loop")).ready()
    running = children(bridge)
    for child in running.values():
        child.send_signal(signal.SIGUSR1)
    if not running:
        bridge.signal(signal.SIGUSR1)
    bridge.terminate()
    bridge.wait_for("bridge.stopping")
    if signals == 2:
        bridge.terminate()
    assert bridge.wait(STOP_S) == 1
    wait_gone(running)
    said = "bridge.stopped_at_once" if signals == 2 else "bridge.stopped"
    bridge.wait_for(said)
