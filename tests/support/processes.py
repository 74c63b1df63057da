"""The bridge and Dramatiq's worker as processes of their own, and what they left in Redis."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM, SIGUSR1, Signals
from typing import IO, TYPE_CHECKING, Any, Final, Self

import redis
import yaml

from tests.support.brokers import Redis
from tests.support.children import Child, patient, wait_until
from tests.support.fork_server import ForkedChild, may_fork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

#: Every bridge that the running test has started; the report of a failed test shows their logs.
started: list[BridgeProcess] = []
#: Whether bridges may be forked from a process that has imported everything, see `fork_server`; where CPU time is short.
forks = False
_UNMEASURED: Final = {"COVERAGE_PROCESS_CONFIG": ""}


_measured_imports: list[bool] = []


def _imports_are_measured() -> bool:
    """Say whether a measured bridge was started anew before: a forked one imports nothing, so its imports count nowhere."""
    if not _measured_imports:
        _measured_imports.append(True)
        return False
    return True


class BridgeProcess:
    """`dramatiq-bridge run` with a configuration; use it as a context manager, which starts and always ends it.

    `config` is YAML text or a mapping that becomes YAML. `fast` sets `fast_path` on every AMQP and MQTT source of
    a mapping that does not set it itself. `env` is added to the environment. `measured` says whether the process measures its
    coverage, where the tests do: that takes memory, and half as long again.
    """

    def __init__(
        self,
        config: str | Mapping[str, Any],
        *,
        env: Mapping[str, str] | None = None,
        fast: bool | None = None,
        arguments: Sequence[str] = (),
        measured: bool = False,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bridge-"))
        self.path = self.directory / "bridge.yaml"
        self.configure(config, fast=fast)
        self.env = {**os.environ, **({} if measured else _UNMEASURED), **(env or {})}
        self.arguments = list(arguments)
        self._measured = measured
        self._may_fork = may_fork(env or {})
        #: The log events of the process that was started last, oldest first.
        self.logs: list[dict[str, Any]] = []
        #: Everything it wrote to standard error, log events included.
        self.lines: list[str] = []
        self._child: Child | None = None
        self._reader: threading.Thread | None = None
        self._reading = threading.Event()

    def configure(self, config: str | Mapping[str, Any], *, fast: bool | None = None) -> None:
        """Write the configuration file; a running bridge reads it when it starts again or is told to reload."""
        if not isinstance(config, str):
            if fast is not None:
                fast_path = {"fast_path": fast}
                sources = {
                    name: {**fast_path, **source} if source["type"] in {"amqp", "mqtt"} else source
                    for name, source in config["sources"].items()
                }
                config = {**config, "sources": sources}
            config = yaml.safe_dump(dict(config), sort_keys=False)
        self.path.write_text(config)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Say whether the process lives."""
        return self._child is not None and self._child.running

    def start(self) -> Self:
        """Start the process without waiting for anything; `logs` begins anew."""
        assert not self.running, "the bridge runs already"
        if self not in started:
            started.append(self)
        self.logs, self.lines = [], []
        self._reading.set()
        command = ["run", str(self.path), "--log-format", "json", *self.arguments]
        read, write = os.pipe()
        with os.fdopen(write, "wb") as stderr:
            if forks and self._may_fork and (not self._measured or _imports_are_measured()):
                self._child = ForkedChild(command, env=self.env, stderr=stderr.fileno())
            else:
                self._child = Child([sys.executable, "-m", "bridge", *command], env=self.env, stderr=stderr)
        self._reader = threading.Thread(
            target=self._read, args=(os.fdopen(read, "rb"), self.lines, self.logs, self._reading), daemon=True
        )
        self._reader.start()
        return self

    def ready(self, timeout: float = 30.0) -> Self:
        """Wait until the bridge says that it is ready."""
        self.wait_for("bridge.ready", timeout=timeout)
        return self

    def wait_for(self, event: str, timeout: float = 30.0, times: int = 1, **fields: object) -> dict[str, Any]:
        """Return the log event of this name with these fields, the `times`th of them, waiting for it if need be."""
        deadline = time.monotonic() + patient(timeout)
        while True:
            # Asked before the lines are looked at: what an ended process wrote is all there then.
            ended = not self.running
            if ended and self._reader is not None:
                self._reader.join(30)
            found = [log for log in list(self.logs) if log.get("event") == event and fields.items() <= log.items()]
            if len(found) >= times:
                return found[times - 1]
            wanted = f"{event} {fields or ''}".strip()
            assert not ended, f"the bridge ended without {wanted}\n{self.log_tail()}"
            assert time.monotonic() < deadline, f"no {wanted} within {patient(timeout):g} s\n{self.log_tail()}"
            time.sleep(0.02)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return all log events of this name so far."""
        return [log for log in list(self.logs) if log.get("event") == event]

    def state(self, source: str = "feed") -> dict[str, Any]:
        """Ask the bridge how it stands (SIGUSR1), and return what it says of one source: what it has, and the counts."""
        said = sum(state["source"] == source for state in self.events("source.state"))
        self.signal(SIGUSR1)
        return self.wait_for("source.state", times=said + 1, source=source)

    def read_log(self, *, wanted: bool) -> None:
        """Read its log again, or no more until it has ended: then its standard error is a pipe that fills."""
        (self._reading.set if wanted else self._reading.clear)()

    def terminate(self) -> None:
        """SIGTERM: asks the bridge to drain and end; `wait` for it."""
        self._started().signal(SIGTERM)

    def signal(self, number: Signals) -> None:
        """Send any signal (SIGSTOP and SIGCONT among them)."""
        self._started().signal(number)

    def signal_group(self, number: Signals) -> None:
        """Send any signal to the process and its children, as a terminal does."""
        self._started().signal_group(number)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self._started().kill()
        self._join_reader()

    def wait(self, timeout: float = 60.0) -> int:
        """Return the exit code of a bridge that ends by itself or was told to."""
        code = self._started().wait(timeout)
        self._join_reader()
        return code

    def restart(self, timeout: float = 30.0) -> Self:
        """SIGTERM, wait for the end, start again, and wait until it is ready."""
        self.terminate()
        self.wait(timeout)
        return self.start().ready(timeout)

    def rss_bytes(self) -> int:
        """Return the resident memory of the process (Linux)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the bridge has ended")

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of what the bridge wrote, without the answers to `state`."""
        return "\n".join([line for line in self.lines if '.state", "level"' not in line][-lines:])

    def close(self) -> None:
        """End the process, whatever state it is in, and remove its directory."""
        if self._child is not None:
            self._child.kill()
            self._join_reader()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _started(self) -> Child:
        assert self._child is not None, "the bridge is not started"
        return self._child

    def _join_reader(self) -> None:
        self.read_log(wanted=True)
        if self._reader is not None:
            self._reader.join(30)

    @staticmethod
    def _read(stream: IO[bytes], lines: list[str], logs: list[dict[str, Any]], reading: threading.Event) -> None:
        with stream:
            for raw in stream:
                reading.wait()
                line = raw.decode(errors="replace").rstrip("\n")
                lines.append(line)
                try:
                    log = json.loads(line)
                except ValueError:
                    continue  # a traceback, say
                if isinstance(log, dict):
                    logs.append(log)


#: What the fixture `new_bridge` gives: the arguments of BridgeProcess, a started bridge.
Bridges = Callable[..., BridgeProcess]


class Worker:
    """A real Dramatiq worker with the actors of a module in tests/support, consuming `queues`; use it as a context manager."""

    def __init__(
        self,
        redis_url: str,
        queues: Sequence[str] = ("default",),
        namespace: str = "dramatiq",
        threads: int = 4,
        *,
        actors: str = "actors",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.url = redis_url
        self.queues = list(queues)
        self.namespace = namespace
        self.threads = threads
        self.actors = f"tests.support.{actors}"
        self.env = dict(env or {})
        self.directory = Path(tempfile.mkdtemp(prefix="worker-"))
        self.client = redis.Redis.from_url(redis_url)
        self._child: Child | None = None

    def start(self, timeout: float = 30.0) -> Self:
        """Start the worker and wait until it is ready."""
        log = self.directory / "log"
        env = {
            **os.environ,
            "TESTS_REDIS_URL": self.url,
            "TESTS_QUEUES": ",".join(self.queues),
            "TESTS_NAMESPACE": self.namespace,
            **self.env,
        }
        command = [
            sys.executable,
            "-m",
            "dramatiq",
            self.actors,
            "--processes",
            "1",
            "--threads",
            str(self.threads),
        ]
        with log.open("wb") as output:
            child = self._child = Child(command, env=env, stdout=output)

        def ready() -> bool:
            text = log.read_text(errors="replace")
            assert child.running, f"the worker ended\n{text}"
            return "Worker process is ready for action" in text

        wait_until(ready, timeout, "the worker ready for action")
        return self

    def executions(self) -> list[dict[str, Any]]:
        """Return what the actors were called with, in the order of their calls: actor, args, kwargs, message_id."""
        return [json.loads(entry) for entry in _answer(self.client.lrange("executions", 0, -1))]

    def wait_for(self, count: int, timeout: float = 30.0) -> list[dict[str, Any]]:
        """Wait until the actors were called `count` times, and return the calls."""
        wait_until(lambda: len(self.executions()) >= count, timeout, f"{count} calls of actors")
        return self.executions()

    def stop(self) -> None:
        """SIGTERM: the worker finishes what it has begun and gives the rest back."""
        if self._child is not None:
            self._child.end(grace=20)
            self._child = None

    def kill(self) -> None:
        """SIGKILL for the worker and its children."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def close(self) -> None:
        """End the worker at once (by itself it takes seconds) and remove its directory."""
        self.kill()
        self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _answer(value: object) -> Any:
    # redis-py types every answer as "now or awaitable"; a synchronous client's is there now.
    return value


def queue_state(client: redis.Redis, queue: str, namespace: str = "dramatiq") -> dict[str, Any]:
    """Return `{"list": [ids in order], "hash": {id: message}}` of a queue (`default.DQ` for the delayed ones)."""
    key = f"{namespace}:{queue}"
    # In one transaction: a bridge may write between two commands.
    with client.pipeline(transaction=True) as both:
        both.lrange(key, 0, -1)
        both.hgetall(f"{key}.msgs")
        ids, messages = both.execute()
    return {
        "list": [redis_id.decode() for redis_id in ids],
        "hash": {redis_id.decode(): json.loads(body) for redis_id, body in messages.items()},
    }


def queue_messages(client: redis.Redis, queue: str, namespace: str = "dramatiq") -> list[dict[str, Any]]:
    """Return a queue's messages in order; AssertionError where list and hash disagree."""
    state = queue_state(client, queue, namespace)
    _assert_agreement(f"{namespace}:{queue}", state["list"], state["hash"])
    return [state["hash"][redis_id] for redis_id in state["list"]]


def written_numbers(sink: Redis) -> list[int]:
    """Return the number of each event that stands in the queue `default`, in order: each message's first argument."""
    with sink.client() as client:
        return [message["args"][0] for message in queue_messages(client, "default")]


def assert_no_orphans(client: redis.Redis, namespace: str = "dramatiq") -> None:
    """Check that every queue's list and hash hold the same ids, each once. Meaningful while no worker consumes."""
    keys = {key.decode() for key in client.scan_iter(f"{namespace}:*", count=1000)}
    names = {key.removeprefix(f"{namespace}:").removesuffix(".msgs") for key in keys}
    for queue in sorted(names):
        # Dramatiq's own keys, and the dead messages, whose ids are in a sorted set.
        if not queue.startswith("__") and not queue.endswith(".XQ"):
            state = queue_state(client, queue, namespace)
            _assert_agreement(f"{namespace}:{queue}", state["list"], state["hash"])


def assert_queue_empty(client: redis.Redis, queue: str, namespace: str = "dramatiq") -> None:
    """Check that nothing waits, is delayed, or is in a worker's hands."""
    for name in (queue, f"{queue}.DQ"):
        state = queue_state(client, name, namespace)
        assert state == {"list": [], "hash": {}}, f"{namespace}:{name} is not empty: {state}"


def _assert_agreement(key: str, ids: list[str], messages: Mapping[str, Any]) -> None:
    twice = [redis_id for redis_id, count in Counter(ids).items() if count > 1]
    assert not twice, f"{key}: in the list more than once: {twice}"
    assert set(ids) == set(messages), (
        f"{key}: only in the list: {sorted(set(ids) - set(messages))}; only in the hash: {sorted(set(messages) - set(ids))}"
    )
    for redis_id, message in messages.items():
        assert message["options"]["redis_message_id"] == redis_id, f"{key}: {redis_id} holds {message}"
