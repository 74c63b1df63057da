"""Apache ActiveMQ Artemis, inside a Java process of ours, with an MQTT acceptor."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from tests.interop import maven
from tests.interop.broker import Lack
from tests.interop.mqtt_broker import MqttBroker


class Artemis(MqttBroker):
    """Artemis 2.40.0, spoken to by MQTT 3.1.1; its journal is on disk."""

    name = "artemis-2.40.0-mqtt-3.1.1"
    program = "artemis"
    protocols = frozenset({"mqtt-3.1.1"})

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = maven.build("artemis", cache)

    def _command(self) -> list[str]:
        return maven.command(self.built, "Artemis", [str(self.port), str(self.directory)])


class Artemis5(Artemis):
    """The same, spoken to by MQTT 5, where it keeps to the client's Receive Maximum."""

    name = "artemis-2.40.0-mqtt-5"
    protocols = frozenset({"mqtt-5"})
    lacks = MappingProxyType(
        {
            "bridge-kill": Lack(
                "counts messages that were unacknowledged when a connection was lost against Receive Maximum for ever: after "
                "four losses a plain client, which allows 100, gets nothing more",
                "2026-11-27",
            )
        }
    )


BROKERS = (Artemis, Artemis5)
