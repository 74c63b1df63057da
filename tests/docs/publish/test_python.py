"""The publish recipes in Python, which need no more than the bridge has: the other languages are in `make publish-recipes`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.docs.publish import trials
from tests.docs.publish.recipes import FOLDER, Recipe, source
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.processes import Bridges


def _recipe(protocol: str) -> Recipe:
    return Recipe(protocol, (sys.executable, str(source("Python", protocol))), FOLDER)


def test_amqp(rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Bridges) -> None:
    """Nothing is lost in silence, and nothing comes twice."""
    trials.try_amqp(_recipe("amqp"), rabbitmq, redis_server, new_bridge)


def test_mqtt(new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, new_bridge: Bridges) -> None:
    """Nothing is lost in silence, and nothing comes twice."""
    trials.try_mqtt(_recipe("mqtt"), new_mosquitto, redis_server, new_bridge)


def test_mqtt_that_is_forbidden(new_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    """The recipe reads the PUBACK."""
    trials.try_forbidden_topic(_recipe("mqtt"), new_mosquitto, tmp_path)


def test_redis_stream(redis_server: Redis, new_bridge: Bridges) -> None:
    """Nothing is lost in silence, the stream has a bound, and nothing comes twice."""
    trials.try_redis_stream(_recipe("redis_stream"), redis_server, new_bridge)
