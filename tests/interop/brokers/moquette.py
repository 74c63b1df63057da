"""Moquette, inside a Java process of ours."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from tests.interop import maven
from tests.interop.broker import Lack
from tests.interop.mqtt_broker import MqttBroker


class Moquette(MqttBroker):
    """Moquette 0.17 with its H2 store; it takes bodies up to 2 MiB here, instead of its own 8 KB."""

    name = "moquette-0.17"
    program = "moquette"
    protocols = frozenset({"mqtt-3.1.1"})
    lacks = MappingProxyType(
        {
            "bridge-kill": Lack(
                "loses messages when a connection is lost under load: a plain client misses 1 of 490, in three losses",
                "2026-11-27",
            ),
            "broker-restart": Lack(
                "has forgotten, after it was stopped, the sessions of clients that were connected: those of four plain clients "
                "of four",
                "2026-11-27",
            ),
        }
    )

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = maven.build("moquette", cache)

    def _command(self) -> list[str]:
        return maven.command(self.built, "Moquette", [str(self.port), str(self.directory)])


BROKERS = (Moquette,)
