"""NATS with JetStream and its MQTT listener."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.interop import builds, golang
from tests.interop.mqtt_broker import MqttBroker
from tests.support.children import free_port

_CONFIG: Final = """
server_name: interop
max_payload: 4194304
listen: "127.0.0.1:{own_port}"
jetstream {{ store_dir: "{directory}/jetstream" }}
# It sends again only after `ack_wait`, also to a client that comes back: 30 s by itself.
mqtt {{ listen: "127.0.0.1:{port}", ack_wait: "5s" }}
"""


class Nats(MqttBroker):
    """NATS 2.12.4, which speaks MQTT 3.1.1; JetStream keeps sessions and messages on disk."""

    name = "nats-2.12.4"
    program = "nats-server"
    protocols = frozenset({"mqtt-3.1.1"})

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = golang.build(cache)

    def _command(self) -> list[str]:
        config = self.directory / "nats.conf"
        if not config.exists():
            config.write_text(_CONFIG.format(own_port=free_port(), directory=self.directory, port=self.port))
        return builds.command([f"{self.built}/nats-server", "-c", str(config)])


BROKERS = (Nats,)
