"""The demo's RabbitMQ, where one is installed: a node of its own, in the demo's directory and on free loopback ports."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from bridge.demo.children import Children, free_port
from bridge.errors import BridgeError

_READY_TIMEOUT_S: Final = 60.0
#: The port mapper and the server.
_PROCESSES: Final = 2
_LOOPBACK: Final = "-kernel inet_dist_use_interface {127,0,0,1}"


def find_rabbitmq() -> Path | None:
    """Return the program that starts RabbitMQ, or None if `PATH` does not have it."""
    found = shutil.which("rabbitmq-server")
    if found is None or shutil.which("epmd") is None:
        return None
    program = Path(found).resolve()
    # Debian's wrapper changes to the user `rabbitmq` and its directories, and refuses all users but root.
    return program.with_name("rabbitmq-server") if program.name == "rabbitmq-script-wrapper" else Path(found)


class RabbitMQ:
    """Begins to start `program`; `url` is its address. It takes 5 to 10 s until `wait` returns."""

    def __init__(self, children: Children, program: Path) -> None:
        self._children = children
        directory = children.directory / "rabbitmq"
        directory.mkdir()
        port, epmd_port = free_port(), free_port()
        self._port = port
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/?heartbeat=0"
        lines = ("default_user = guest", "default_pass = guest", f"listeners.tcp.1 = 127.0.0.1:{port}")
        (directory / "rabbitmq.conf").write_text("\n".join((*lines, "disk_free_limit.absolute = 1MB", "")))
        (directory / "plugins").write_text("[].")
        env = _environment(directory, port, epmd_port)
        # RabbitMQ would start a port mapper that stays behind; it uses this one.
        epmd = ["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"]
        self._started = [children.start("RabbitMQ's port mapper", epmd, env)]
        if self._wait_until(lambda: _accepts(epmd_port)):
            # Where it leaves its dumps when it is killed, or the disk is full.
            self._started.append(children.start("RabbitMQ", [str(program)], env, directory=directory))

    def wait(self) -> bool:
        """Wait until it answers; return False, and end it, if it does not."""
        is_ready = len(self._started) == _PROCESSES and self._wait_until(lambda: _answers(self._port))
        if not is_ready:
            self.stop()
        return is_ready

    def stop(self) -> None:
        """Kill RabbitMQ and its port mapper: nobody needs its data any more."""
        while self._started:
            self._children.kill(self._started.pop())

    def _wait_until(self, condition: Callable[[], bool]) -> bool:
        try:
            self._children.wait_until(condition, self._started[-1], _READY_TIMEOUT_S)
        except BridgeError:
            return False
        return True


def _environment(directory: Path, port: int, epmd_port: int) -> dict[str, str]:
    return {
        "HOME": str(directory),  # of the Erlang cookie
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"demo-{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_LOOPBACK} +S 1:1",
        "RABBITMQ_CONF_ENV_FILE": str(directory / "no-environment.conf"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "no-advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_LOGS": "-",
        # Makes the script become the Erlang machine instead of starting it: the child's pid is RabbitMQ's.
        "detached": "true",
    }


def _accepts(port: int, talk: Callable[[socket.socket], bool] = lambda _: True) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
        return talk(connection)
    return False


def _answers(port: int) -> bool:
    def greet(connection: socket.socket) -> bool:
        # The protocol header; the answer is the method frame Connection.Start.
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return connection.recv(1) == b"\x01"

    return _accepts(port, greet)
