"""Fixtures: brokers, bridges and workers for the tests, ended whatever happens.

`redis_server`, `mosquitto` and `rabbitmq` are shared by all tests: Redis is emptied before each test, at the other two use
`unique` names. A test that stops, kills or configures a broker makes its own with `new_redis`, `new_mosquitto`,
`new_rabbitmq`; they take the arguments of the classes in tests/brokers.py and return a started broker.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from bridge.config import load
from bridge.errors import ConfigError
from bridge.observe.logs import RepeatedLog
from bridge.routing import router
from tests.faults.stage import Brokers
from tests.long import is_long
from tests.support import processes
from tests.support.broker import Broker, find_program
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.certificates import Certificates, make_certificates
from tests.support.feeds import BROKERS, FEEDS, Feed, StreamFeed
from tests.support.processes import BridgeProcess, Bridges, Worker

# Without a deadline: 200 ms for an example, Hypothesis's default, is a matter of what else the machine does.
# What must pass before a change lands looks at the same examples each time; elsewhere at new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")
processes.forks = True
# A machine that is slow cuts no batch in the tests' own process: they say where one ends.
vars(router)["_MAX_ROUTING_S"] = 60.0

#: What takes a minute or more begins first: a file is one process's work, and the last one to end should be a short one. Files
#: that mostly wait and files that mostly compute take turns.
LONGEST = (
    *("sources/test_contract", "faults/test_matrix_sources", "delivery/test_delivery", "config/test_load_time"),
    *("process/test_stop", "faults/test_matrix", "sources/amqp/test_amqp_faults", "admin/test_metrics"),
    *("process/test_reload", "process/test_supervisor", "process/test_pause", "manifest/test_manifest"),
    *("test_oldest", "process/test_clock", "sources/amqp/test_stream", "config/test_config"),
    *("spool/test_spool", "sources/amqp/test_transport", "faults/test_matrix_memory", "routing/test_bombs"),
    *(
        "process/test_watchdog",
        "connecting/test_program",
        "sources/mqtt/test_oversized",
        "sources/mqtt/test_mqtt_faults",
    ),
    *("faults/test_matrix_time", "spool/test_removed_at_stop", "delivery/test_poison", "process/test_ready"),
    *("process/test_children_ending", "faults/test_matrix_spool", "spool/test_log", "delivery/test_identity"),
    *(
        "sources/amqp/test_stream_looks",
        "demo/test_demo",
        "demo/test_ends",
        "sources/test_idle_connections",
        "admin/test_floods",
    ),
    *("admin/page/test_states", "admin/page/test_in_browser"),
    *("process/test_reload_load", "delivery/test_backpressure", "support/test_brokers", "sources/test_tls"),
    *(
        "process/test_memory_bounds",
        "sources/mqtt/test_takeover",
        "observe/test_log_writer",
        "sources/mqtt/test_backlog",
    ),
)


#: Whose tests have the bridge in processes of its own: in the test's own process the tracer would find no code of the
#: bridge, and take a multiple of the time.
ELSEWHERE = frozenset({"new_bridge", "brokers"})
#: Whose bridges measure their coverage themselves: they run code that no test runs in its own process.
MEASURED = tuple(
    f"tests/{name}"
    for name in (
        *("process/test_bridge", "process/test_supervisor", "process/test_children"),
        *("sources/test_contract", "delivery/test_pipeline", "spool/test_spool"),
    )
)


#: Where tests lie that need more than `make test` installs: each folder has a target of its own.
_TOOLS_OF_ITS_OWN = ("tests/deploy/real/", "tests/deploy/chart/helm/", "tests/docs/publish/toolchains/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long to the beginning; mark what takes longest; trace no test whose bridge runs elsewhere."""
    places = {f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
    for item in items:
        if is_long(item.nodeid):
            item.add_marker(pytest.mark.long)
        if item.nodeid.startswith(_TOOLS_OF_ITS_OWN):
            item.add_marker(pytest.mark.deploy)
        if isinstance(item, pytest.Function) and not ELSEWHERE.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.no_cover)


#: How many descriptors a process of the tests may have open after a test. paho's loop waits with select, which takes none
#: beyond 1,023: the clients of later tests would never connect.
MAX_DESCRIPTORS = 200


_descriptors_before = pytest.StashKey[int]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget the bridges of the test before, its set-up of logs, and its suppressed lines; count what is open."""
    processes.started.clear()
    structlog.reset_defaults()
    RepeatedLog.flush_all()
    item.stash[_descriptors_before] = _open_descriptors()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fail a test that leaves so many files or connections open that later tests suffer."""
    yield
    if item.stash[_descriptors_before] <= MAX_DESCRIPTORS < (left := _open_descriptors()):
        pytest.fail(f"the test leaves {left} descriptors open; the process may keep {MAX_DESCRIPTORS}", pytrace=False)


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each bridge's log with a test that failed."""
    report = yield
    if report.failed:
        for bridge in processes.started:
            report.sections.append((f"log of the bridge {bridge.path}", bridge.log_tail()))
    return report


def need(broker: type[Broker]) -> None:
    """Skip the test where the broker is not installed; in CI that is a failure."""
    if find_program(broker.program) is None:
        reason = f"{broker.program} is not installed (`make brokers` installs it where apt may be used)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[Redis]:
    need(Redis)
    with Redis() as broker:
        yield broker


@pytest.fixture(scope="session")
def _shared_mosquitto() -> Iterator[Mosquitto]:
    need(Mosquitto)
    with Mosquitto() as broker:
        yield broker


@pytest.fixture(scope="session")
def _shared_rabbitmq() -> Iterator[RabbitMQ]:
    need(RabbitMQ)
    with RabbitMQ() as broker:
        yield broker


@pytest.fixture
def redis_server(_shared_redis: Redis) -> Redis:
    """The shared Redis, emptied."""
    with _shared_redis.client() as client:
        client.flushall()
        client.script_flush()
    return _shared_redis


@pytest.fixture
def mosquitto(_shared_mosquitto: Mosquitto) -> Mosquitto:
    """The shared mosquitto; what other tests left in it is still there."""
    return _shared_mosquitto


@pytest.fixture
def rabbitmq(_shared_rabbitmq: RabbitMQ) -> RabbitMQ:
    """The shared RabbitMQ; what other tests left in it is still there."""
    return _running(_shared_rabbitmq)


def _running(rabbitmq: RabbitMQ) -> RabbitMQ:
    """Start it where a test that failed has left it stopped: tests of `feed` stop and restart it."""
    if not rabbitmq.running:
        rabbitmq.start()
    return rabbitmq


@pytest.fixture
def new_redis() -> Iterator[Callable[..., Redis]]:
    """Start a Redis of the test's own."""
    with ExitStack() as ends:

        def start(*args: Any, **options: Any) -> Redis:
            need(Redis)
            return ends.enter_context(Redis(*args, **options))

        yield start


@pytest.fixture
def new_mosquitto() -> Iterator[Callable[..., Mosquitto]]:
    """Start a mosquitto of the test's own."""
    with ExitStack() as ends:

        def start(*args: Any, **options: Any) -> Mosquitto:
            need(Mosquitto)
            return ends.enter_context(Mosquitto(*args, **options))

        yield start


@pytest.fixture
def new_rabbitmq() -> Iterator[Callable[..., RabbitMQ]]:
    """Start a RabbitMQ of the test's own (6 to 10 s)."""
    with ExitStack() as ends:

        def start(*args: Any, **options: Any) -> RabbitMQ:
            need(RabbitMQ)
            return ends.enter_context(RabbitMQ(*args, **options))

        yield start


@pytest.fixture
def new_bridge(request: pytest.FixtureRequest) -> Iterator[Bridges]:
    """Start a bridge with the arguments of BridgeProcess; `.ready()` waits for it."""
    measured = request.node.nodeid.startswith(MEASURED)
    with ExitStack() as ends:

        def start(*args: Any, **options: Any) -> BridgeProcess:
            return ends.enter_context(BridgeProcess(*args, measured=measured, **options))

        yield start


@pytest.fixture(params=[True, False], ids=["fast", "library"])
def fast_path(request: pytest.FixtureRequest) -> bool:
    """Whether the bridge itself reads AMQP and MQTT: what such a test promises holds either way."""
    return bool(request.param)


@pytest.fixture
def either_bridge(new_bridge: Bridges, fast_path: bool) -> Bridges:
    """Start a bridge, as `new_bridge` does, that reads in each of the two ways."""
    return partial(new_bridge, fast=fast_path)


@pytest.fixture
def new_worker() -> Iterator[Callable[..., Worker]]:
    """Start a Dramatiq worker with the arguments of Worker; it is ready when this returns."""
    with ExitStack() as ends:

        def start(*args: Any, **options: Any) -> Worker:
            return ends.enter_context(Worker(*args, **options))

        yield start


@pytest.fixture(scope="session")
def prometheus_program() -> Callable[[str], str]:
    """Return the path of a program of Prometheus's; without it the test is skipped, and with CI=true it fails."""

    def path_of(name: str) -> str:
        program = find_program(name)
        if program is None:
            reason = f"{name} is not installed (`make brokers` installs it where apt may be used)"
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        return program

    return path_of


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority and what it has signed for 127.0.0.1 and localhost."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Return a name that no other test uses: `unique("orders")` gives `orders-1f0c...`."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module", params=FEEDS, ids=lambda feed: feed.kind)
def broker(request: pytest.FixtureRequest) -> Iterator[tuple[type[Feed], Broker]]:
    """The broker of one kind of source, which tests restart: the module's own, but for RabbitMQ, which takes long to start."""
    kind: type[Feed] = request.param
    need(BROKERS[kind])
    if BROKERS[kind] is RabbitMQ:
        yield kind, _running(request.getfixturevalue("_shared_rabbitmq"))
        return
    made = Redis(appendonly=True) if BROKERS[kind] is Redis else BROKERS[kind]()
    with made:
        yield kind, made


@pytest.fixture
def feed(broker: tuple[type[Feed], Broker]) -> Feed:
    """A fresh queue, topic, channel or stream."""
    kind, made = broker
    feed = kind(made)
    feed.prepare()
    return feed


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    """The brokers that all rows of the fault matrix in one file share."""
    for kind in Brokers.KINDS:
        need(kind)
    with Brokers() as brokers:
        yield brokers


@pytest.fixture
def stream(redis_server: Redis) -> StreamFeed:
    """A stream beside Dramatiq's own keys."""
    stream = StreamFeed(redis_server)
    stream.prepare()
    return stream


@pytest.fixture
def mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Say what `load` has to say about a broken `bridge.yaml`."""

    def say(text: str) -> str:
        monkeypatch.chdir(tmp_path)
        Path("bridge.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load("bridge.yaml", environ={})
        return f"{caught.value}\n"

    return say
