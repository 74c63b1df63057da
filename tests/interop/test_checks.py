"""How the checks judge: nothing is the broker's fault without proof."""

from __future__ import annotations

import aio_pika
import pytest
import redis

from tests.faults.publishers import AmqpPublisher, MqttPublisher, Publisher, StreamPublisher
from tests.interop.checks.common import is_refusal
from tests.interop.checks.mqtt import judge_retained
from tests.support.brokers import Mosquitto
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed


@pytest.mark.parametrize(("source", "wanted"), [("mqtt-5-fast", (1, 1)), ("mqtt-311-library", (1, 2))])
def test_a_retained_message_that_comes_as_it_should_is_held(source: str, wanted: tuple[int, int]) -> None:
    """With MQTT 5 once, with 3.1.1 at each start."""
    assert str(judge_retained(source, wanted, wanted)) == "held"


@pytest.mark.parametrize(
    ("source", "came"), [("mqtt-5-fast", (1, 2)), ("mqtt-311-library", (1, 1)), ("mqtt-5-fast", (0, 0))]
)
def test_a_retained_message_that_comes_otherwise_is_the_brokers_only_with_proof(
    source: str, came: tuple[int, int]
) -> None:
    """A plain client has to get it in the same way."""
    assert judge_retained(source, came, came).verdict == "broker"
    assert judge_retained(source, came, (1, 3)).verdict == "FAILED"


def test_only_an_answer_of_the_broker_is_a_refusal() -> None:
    """A time-out or a connection that fails is none: it may be anybody's fault."""
    amqp, stream = (_without_connection(kind) for kind in (AmqpPublisher, StreamPublisher))
    assert is_refusal(amqp, aio_pika.exceptions.ChannelPreconditionFailed("too large"))
    assert not is_refusal(amqp, TimeoutError())
    assert not is_refusal(amqp, ConnectionRefusedError())
    assert is_refusal(stream, redis.ResponseError("too large"))
    assert not is_refusal(stream, redis.TimeoutError())
    with Mosquitto() as mosquitto:
        mqtt = MqttPublisher(MqttFeed(mosquitto))
        mqtt.connect()
        assert not is_refusal(mqtt, TimeoutError("no PUBACK"))
        mosquitto.kill()
        wait_until(lambda: is_refusal(mqtt, TimeoutError("no PUBACK")), what="the end of the connection")
        assert not is_refusal(mqtt, ConnectionRefusedError())
        mqtt.close()


def _without_connection(kind: type[Publisher]) -> Publisher:
    return kind.__new__(kind)
