"""RabbitMQ, as three releases of Debian have it: for AMQP, and with its plugin for MQTT."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from tests.interop.broker import AMQP, MQTT, MQTT_3_1_1, STREAM, InteropBroker
from tests.interop.roots import InRoot
from tests.support.brokers import RabbitMQ
from tests.support.other_brokers import MqttRabbitMQ


class _Amqp(InRoot, RabbitMQ):
    package = "rabbitmq-server"
    folder = "/usr/lib/rabbitmq/bin"
    protocols = AMQP | {STREAM}
    limits = MappingProxyType({"channel_max": 1, "frame_max": 8192})


class _Mqtt(InRoot, MqttRabbitMQ):
    package = "rabbitmq-server"
    folder = "/usr/lib/rabbitmq/bin"


class Amqp310(_Amqp):
    """Debian 12's."""

    name = "rabbitmq-3.10"
    suite = "bookworm"


class Amqp40(_Amqp):
    """Debian 13's."""

    name = "rabbitmq-4.0"
    suite = "trixie"


class Amqp43(_Amqp):
    """That of Debian's unstable."""

    name = "rabbitmq-4.3"
    suite = "sid"


class Mqtt310(_Mqtt):
    """Debian 12's; it knows MQTT 3.1.1 alone."""

    name = "rabbitmq-mqtt-3.10"
    suite = "bookworm"
    protocols = MQTT_3_1_1


class Mqtt40(_Mqtt):
    """Debian 13's."""

    name = "rabbitmq-mqtt-4.0"
    suite = "trixie"
    protocols = MQTT


class Mqtt43(_Mqtt):
    """That of Debian's unstable."""

    name = "rabbitmq-mqtt-4.3"
    suite = "sid"
    protocols = MQTT


BROKERS: Final[tuple[type[InteropBroker], ...]] = (Amqp310, Amqp40, Amqp43, Mqtt310, Mqtt40, Mqtt43)
