"""aedes, a script of ours around it, with its level persistence."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from tests.interop import builds, npm
from tests.interop.broker import Lack
from tests.interop.mqtt_broker import MqttBroker


class Aedes(MqttBroker):
    """aedes 1.2; its sessions and messages are in a level database."""

    name = "aedes-1.2.0"
    program = "aedes"
    protocols = frozenset({"mqtt-3.1.1"})
    lacks = MappingProxyType(
        {
            "broker-kill": Lack(
                "loses events that it has confirmed when it is killed: each of six plain clients misses 14 of 267, in the sixth "
                "of six kills",
                "2026-11-27",
            )
        }
    )

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = npm.build("aedes", cache)

    def _command(self) -> list[str]:
        return builds.command(["node", f"{self.built}/aedes.js", str(self.port), f"{self.directory}/level"])


BROKERS = (Aedes,)
