"""A broker of the table: fetched once, started as a child process like those of the tests, and tried by the checks.

A module of `tests/interop/brokers/` names its classes in `BROKERS`. One class is one broker with one family of protocols:
RabbitMQ has one for AMQP and one for MQTT. `program`, `scheme`, `_command` and `_hello` are those of `Broker`, and
`port` and `url` lead to the one listener that the checks use.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Final

from tests.interop import brokers
from tests.support.broker import Broker

#: Values of `protocols`.
AMQP: Final = frozenset({"amqp"})
#: A kind of queue of RabbitMQ, beside its others.
STREAM: Final = "amqp-stream"
MQTT: Final = frozenset({"mqtt-5", "mqtt-3.1.1"})
MQTT_3_1_1: Final = frozenset({"mqtt-3.1.1"})
REDIS: Final = frozenset({"redis"})


@dataclass(frozen=True, slots=True)
class Lack:
    """A thing that a broker cannot do, as a plain client has shown on a day; the check is not made."""

    text: str
    observed: str

    def __str__(self) -> str:
        """As in a cell of the table."""
        return f"{self.text} (observed on {self.observed})"


class Unavailable(Exception):
    """A broker could not be fetched or built here; the text says why."""


class InteropBroker(Broker):
    """A broker of the table; a subclass says how to get it and how to start it."""

    #: As in the table and in `BROKERS=...`: "hivemq-ce-2025.5".
    name: ClassVar[str]
    #: Of "amqp", "amqp-stream", "mqtt-5", "mqtt-3.1.1" and "redis"; both of MQTT, or one.
    protocols: ClassVar[frozenset[str]]
    #: By the name of a check: why this broker cannot give it.
    lacks: ClassVar[Mapping[str, Lack]] = MappingProxyType({})
    #: By a source's name, a part of the words with which the bridge has to refuse it: another refusal is a failure.
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: Lines of its configuration that make it as narrow as the protocol allows.
    limits: ClassVar[Mapping[str, object]] = MappingProxyType({})

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """Fetch and build in `cache` what is not there yet; Unavailable where that cannot be done."""

    @classmethod
    def version(cls) -> str:
        """Return the exact version, once `prepare` has returned; "" where the name says it."""
        return ""


def misnamed(name: str, version: str) -> str:
    """Return how a broker's version contradicts its name, in words; "" where it does not, or where there is none."""
    named = re.search(r"\d+(?:\.\d+)+$", name)
    upstream = version.rpartition(":")[2]
    if not version or named is None or re.match(rf"{re.escape(named[0])}(?!\d)", upstream):
        return ""
    return f"its name says {named[0]}, its version is {version}"


def every_broker(patterns: str = "*") -> list[type[InteropBroker]]:
    """Return the brokers whose names fit any of the comma-separated patterns (`rabbitmq-*`), by their modules' names."""
    modules = sorted(found.name for found in pkgutil.iter_modules(brokers.__path__))
    every = [broker for name in modules for broker in import_module(f"{brokers.__name__}.{name}").BROKERS]
    wanted = [one.strip() for one in patterns.split(",")]
    return [broker for broker in every if any(fnmatch(broker.name, one) for one in wanted)]
