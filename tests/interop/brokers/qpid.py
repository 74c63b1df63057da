"""Apache Qpid Broker-J with its Derby store."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import ClassVar

from bridge.sources.amqp.library import lift_limits
from tests.interop import maven
from tests.interop.broker import InteropBroker


class Qpid(InteropBroker):
    """Qpid Broker-J 9.2.1, which speaks AMQP 0-9-1 here; its queues and messages are in a Derby database."""

    name = "qpid-broker-j-9.2.1"
    program = "qpid"
    scheme = "amqp"
    grace = 30.0
    protocols = frozenset({"amqp"})
    #: The folder of its jars and its configuration.
    built: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__(user="guest", password="guest")
        self._starts = 0

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = maven.build("qpid", cache)
        # aiormq opens no channel where capabilities are missing: neither could the plain client beside the bridge.
        lift_limits()

    def _command(self) -> list[str]:
        self._starts += 1
        # Derby writes without waiting for the disk: what it has written survives a kill, and a confirm takes no fsync.
        options = [f"-DQPID_WORK={self.directory}", "-Dderby.system.durability=test"]
        config = ["-icp", f"{self.built}/config.json", "-prop", f"qpid.amqp_port={self.port}"]
        return maven.command(self.built, "org.apache.qpid.server.Main", config, options)

    def _hello(self, link: socket.socket) -> bool:
        link.sendall(b"AMQP\x00\x00\x09\x01")
        # connection.start, a method's frame of channel 0; a protocol's header would be a refusal.
        if link.recv(3) != b"\x01\x00\x00":
            return False
        # It listens before its virtual host is there, and refuses to open it.
        return self.log.read_text(errors="replace").count("Qpid Broker Ready") == self._starts


BROKERS = (Qpid,)
