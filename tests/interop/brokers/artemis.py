"""Apache ActiveMQ Artemis, inside a Java process of ours, with an MQTT acceptor."""

from __future__ import annotations

from pathlib import Path

from tests.interop import maven
from tests.interop.mqtt_broker import MqttBroker


class Artemis(MqttBroker):
    """Artemis 2.40.0; its journal is on disk."""

    name = "artemis-2.40.0"
    program = "artemis"
    protocols = frozenset({"mqtt-5", "mqtt-3.1.1"})

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = maven.build("artemis", cache)

    def _command(self) -> list[str]:
        return maven.command(self.built, "Artemis", [str(self.port), str(self.directory)])


BROKERS = (Artemis,)
