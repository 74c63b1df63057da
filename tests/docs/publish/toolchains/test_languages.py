"""The publish recipes in Go, JavaScript, PHP and C#, run by `make publish-recipes`; those that cannot be run here are skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.publish import trials
from tests.docs.publish.recipes import LANGUAGES, Recipe
from tests.docs.publish.toolchains import libraries
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.processes import Bridges

languages = pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "Python"])


def _recipe(language: str, protocol: str) -> Recipe:
    try:
        return libraries.prepare(language, protocol)
    except libraries.MissingError as error:
        pytest.skip(f"NOT RUN: {language}, {protocol}: {error}")


@languages
def test_amqp(language: str, rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Bridges) -> None:
    """Nothing is lost in silence, and nothing comes twice."""
    trials.try_amqp(_recipe(language, "amqp"), rabbitmq, redis_server, new_bridge)


@languages
def test_mqtt(language: str, new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, new_bridge: Bridges) -> None:
    """Nothing is lost in silence, and nothing comes twice."""
    trials.try_mqtt(_recipe(language, "mqtt"), new_mosquitto, redis_server, new_bridge)


@languages
def test_mqtt_that_is_forbidden(language: str, new_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    """The recipe reads the PUBACK."""
    recipe = _recipe(language, "mqtt")
    if not recipe.is_told:
        pytest.skip("MQTT 3.1.1 has no refusal of an event")
    trials.try_forbidden_topic(recipe, new_mosquitto, tmp_path)


@languages
def test_redis_stream(language: str, redis_server: Redis, new_bridge: Bridges) -> None:
    """Nothing is lost in silence, the stream has a bound, and nothing comes twice."""
    trials.try_redis_stream(_recipe(language, "redis_stream"), redis_server, new_bridge)
