"""An MQTT broker of the table with one listener, which lets everybody in."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import ClassVar

from tests.interop.broker import InteropBroker
from tests.support.brokers import Mosquitto


class MqttBroker(InteropBroker):
    """An MQTT broker; `prepare` sets `built`."""

    scheme = "mqtt"
    grace = 30.0
    #: The folder of its program.
    built: ClassVar[Path]

    def _hello(self, link: socket.socket) -> bool:
        return Mosquitto._hello(self, link)  # type: ignore[arg-type]
