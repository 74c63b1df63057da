"""Real brokers as child processes: Redis, mosquitto and RabbitMQ, on free loopback ports, each in its own directory.

`start()` returns once the broker answers its own protocol. `restart()` keeps port, data and identity. Everything stops
by process id or group, and nothing survives the tests, not even when they are killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import redis

from tests.support.broker import Broker
from tests.support.children import Child, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.certificates import Certificates


def answers_mqtt(link: socket.socket) -> bool:
    """Connect to an MQTT broker by version 3.1.1, and tell whether it answered; a refusal is an answer too."""
    # A clean session, and the client id "hello": not every broker takes an empty one.
    link.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05hello")
    answered = link.recv(4)[:1] == b"\x20"
    link.sendall(b"\xe0\x00")
    return answered


class Redis(Broker):
    """redis-server; nothing is written to disk unless `appendonly` (each write synced, so it survives a kill)."""

    program = "redis-server"
    scheme = "redis"

    def __init__(
        self,
        config: Mapping[str, object] | None = None,
        *,
        appendonly: bool = False,
        user: str | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        super().__init__(config, user=user, password=password, tls=tls)
        self.appendonly = appendonly

    def _command(self) -> list[str]:
        lines = {"bind": "127.0.0.1", "dir": self.directory, "save": '""', "port": self.port}
        if self.appendonly:
            lines |= {"appendonly": "yes", "appendfsync": "always"}
        if self.tls:
            lines |= {"port": 0, "tls-port": self.port, "tls-auth-clients": "no"}
            lines |= {"tls-ca-cert-file": self.tls.ca, "tls-cert-file": self.tls.cert, "tls-key-file": self.tls.key}
        if self.user and self.password:
            lines |= {"user default": "off", f"user {self.user}": f"on >{self.password} ~* &* +@all"}
        elif self.password:
            lines |= {"requirepass": self.password}
        return [self._find(self.program), self._write("redis.conf", {**lines, **self.config})]

    def _hello(self, link: socket.socket) -> bool:
        link.sendall(b"PING\r\n")
        # Not yet: -LOADING, while it reads its file. -NOAUTH is an answer.
        return link.recv(64).startswith((b"+PONG", b"-NOAUTH"))

    def url_of(self, db: int) -> str:
        """Return the URL of one database."""
        return f"{self.url}/{db}"

    @property
    def direct_port(self) -> int:
        """The port of the server itself, where `port` is that of a proxy before it."""
        return self.port

    def client(self, db: int = 0) -> redis.Redis:
        """Return a synchronous client whose answers are bytes."""
        authority = str(self.tls.ca) if self.tls else None
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            db=db,
            username=self.user,
            password=self.password,
            ssl=self.tls is not None,
            ssl_ca_certs=authority,
        )


class Mosquitto(Broker):
    """mosquitto with one listener; with a user and password nobody else may connect."""

    program = "mosquitto"
    scheme = "mqtt"

    def __init__(
        self,
        config: Mapping[str, object] | None = None,
        *,
        persistence: bool = True,
        max_inflight_messages: int | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        super().__init__(config, user=user, password=password, tls=tls)
        self.persistence = persistence
        self.max_inflight_messages = max_inflight_messages

    def _command(self) -> list[str]:
        lines: dict[str, object] = {"listener": f"{self.port} 127.0.0.1", "max_queued_messages": 0}
        if os.geteuid() == 0:
            # It would change to the user `mosquitto`, who may not write to our directory.
            lines["user"] = "root"
        if self.persistence:
            lines |= {"persistence": "true", "persistence_location": f"{self.directory}/"}
        if self.max_inflight_messages is not None:
            lines["max_inflight_messages"] = self.max_inflight_messages
        if self.tls:
            lines |= {"cafile": self.tls.ca, "certfile": self.tls.cert, "keyfile": self.tls.key}
        if self.user and self.password:
            passwords = self.directory / "passwords"
            tool = self._find("mosquitto_passwd")
            subprocess.run([tool, "-b", "-c", passwords, self.user, self.password], check=True, capture_output=True)
            lines |= {"allow_anonymous": "false", "password_file": passwords}
        else:
            lines["allow_anonymous"] = "true"
        return [self._find(self.program), "-c", self._write("mosquitto.conf", {**lines, **self.config})]

    def _hello(self, link: socket.socket) -> bool:
        return answers_mqtt(link)


class RabbitMQ(Broker):
    """rabbitmq-server with `plugins`, by default none, and an Erlang port mapper (epmd) of its own; takes 6 to 10 s to start."""

    program = "rabbitmq-server"
    scheme = "amqp"
    grace = 30.0
    plugins: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        config: Mapping[str, object] | None = None,
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        super().__init__(config, user=user or "guest", password=password or "guest", tls=tls)
        self._epmd_port, self._node_port, self._ctl_port = free_port(), free_port(), free_port()
        self._epmd: Child | None = None

    def start(self, timeout: float = 60.0) -> Self:
        """Start epmd and the broker, and wait until it answers."""
        if self._epmd is None:
            # The broker would start one that stays behind as a daemon; it finds this one and leaves it at that.
            epmd = [self._find("epmd"), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = Child(self._entered(epmd), env=self._env())
            wait_until(self._epmd_answers, what="epmd listening")
        return super().start(timeout)

    def stop(self) -> None:
        """Stop the broker, then epmd."""
        super().stop()
        self._end_epmd()

    def kill(self) -> None:
        """SIGKILL for the broker's Erlang machine and epmd."""
        super().kill()
        self._end_epmd()

    def ctl(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run rabbitmqctl against this broker and return what it prints; AssertionError if it fails."""
        program = Path(self._find(self.program)).with_name("rabbitmqctl")
        for _ in range(3):
            done = subprocess.run(
                self._entered([str(program), *arguments]),
                env=self._env(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            # It calls itself rabbitmqcli and a random number: now and then one that epmd has not forgotten yet (observed).
            if "Distribution failed" not in done.stdout + done.stderr:
                break
        assert done.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def _end_epmd(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd = None

    def _epmd_answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._epmd_port), timeout=2):
            return True
        return False

    def _env(self) -> dict[str, str]:
        here = self.directory
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        # What this machine may have set for a RabbitMQ of its own must not reach ours.
        env = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        return env | {
            "HOME": str(here),  # of the Erlang cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self._ctl_port),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self._ctl_port),
            "RABBITMQ_CTL_ERL_ARGS": loopback,
            # One scheduler starts as fast as two and leaves the other core to the test.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{loopback} +S 1:1",
            "RABBITMQ_CONF_ENV_FILE": str(here / "no-environment.conf"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "no-advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here),
            "RABBITMQ_LOGS": "-",
            # Makes the script become the Erlang machine instead of starting it: our pid is the broker's.
            "detached": "true",
        }

    def _command(self) -> list[str]:
        (self.directory / "plugins").write_text(f"[{','.join(self.plugins)}].")
        lines: dict[str, object] = {
            "default_user": self.user,
            "default_pass": self.password,
            "disk_free_limit.absolute": "1MB",
            "max_message_size": 128 << 20,  # the default before RabbitMQ 4.0
            "log.console.level": "info",
        }
        self._write("rabbitmq.conf", {**lines, **self._listeners(), **self.config}, " = ")
        return [self._find(self.program)]

    def _listeners(self) -> dict[str, object]:
        listener = f"127.0.0.1:{self.port}"
        if self.tls is None:
            return {"listeners.tcp.1": listener}
        lines = {"listeners.tcp": "none", "listeners.ssl.1": listener, "ssl_options.cacertfile": self.tls.ca}
        return lines | {"ssl_options.certfile": self.tls.cert, "ssl_options.keyfile": self.tls.key}

    def _hello(self, link: socket.socket) -> bool:
        # The protocol header; the answer is the method frame Connection.Start. It listens only when it is ready.
        link.sendall(b"AMQP\x00\x00\x09\x01")
        return link.recv(1) == b"\x01"
