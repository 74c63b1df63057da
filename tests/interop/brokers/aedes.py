"""aedes, a script of ours around it, with its level persistence."""

from __future__ import annotations

from pathlib import Path

from tests.interop import builds, npm
from tests.interop.mqtt_broker import MqttBroker


class Aedes(MqttBroker):
    """aedes 1.2; its sessions and messages are in a level database."""

    name = "aedes-1.2.0"
    program = "aedes"
    protocols = frozenset({"mqtt-3.1.1"})

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = npm.build("aedes", cache)

    def _command(self) -> list[str]:
        return builds.command(["node", f"{self.built}/aedes.js", str(self.port), f"{self.directory}/level"])


BROKERS = (Aedes,)
