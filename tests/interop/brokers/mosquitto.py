"""mosquitto, as two releases of Debian have it. It saves its state only at an orderly stop."""

from __future__ import annotations

from typing import Final

from tests.interop.broker import MQTT, InteropBroker
from tests.interop.roots import InRoot
from tests.support.brokers import Mosquitto


class _Mosquitto(InRoot, Mosquitto):
    package = "mosquitto"
    folder = "/usr/sbin"
    protocols = MQTT


class Mosquitto2011(_Mosquitto):
    """Debian 12's."""

    name = "mosquitto-2.0.11"
    suite = "bookworm"


class Mosquitto2021(_Mosquitto):
    """Debian 13's."""

    name = "mosquitto-2.0.21"
    suite = "trixie"


BROKERS: Final[tuple[type[InteropBroker], ...]] = (Mosquitto2011, Mosquitto2021)
