"""HiveMQ Community Edition, inside a Java process of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.interop import maven
from tests.interop.mqtt_broker import MqttBroker

_CONFIG: Final = """<?xml version="1.0"?>
<hivemq>
  <listeners>
    <tcp-listener>
      <port>{port}</port>
      <bind-address>127.0.0.1</bind-address>
    </tcp-listener>
  </listeners>
  <mqtt>
    <queued-messages>
      <!-- It keeps 1,000 of a session by itself. -->
      <max-queue-size>100000</max-queue-size>
    </queued-messages>
  </mqtt>
  <anonymous-usage-statistics>
    <enabled>false</enabled>
  </anonymous-usage-statistics>
</hivemq>
"""
#: Its own start script opens these packages to its storage.
_OPENED: Final = (
    "java.base/java.lang",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)


class HiveMq(MqttBroker):
    """HiveMQ CE 2025.5; its persistence is on disk."""

    name = "hivemq-ce-2025.5"
    program = "hivemq"
    protocols = frozenset({"mqtt-5", "mqtt-3.1.1"})

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = maven.build("hivemq", cache)

    def _command(self) -> list[str]:
        for folder in ("conf", "data", "extensions"):
            (self.directory / folder).mkdir(exist_ok=True)
        (self.directory / "conf" / "config.xml").write_text(_CONFIG.format(port=self.port))
        opened = [option for package in _OPENED for option in ("--add-opens", f"{package}=ALL-UNNAMED")]
        exported = ["--add-exports", "java.base/jdk.internal.misc=ALL-UNNAMED"]
        return maven.command(self.built, "HiveMq", [str(self.directory)], [*opened, *exported])


BROKERS = (HiveMq,)
