"""The promises: the one table of the guarantees, for each kind of source. `check`, the log and docs/guarantees.md take their words here.

A test compares that page with this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Promise:
    """The guarantee of a source for its events.

    `guarantee`: how often an event is written. `duplicates`: when it is written again. `condition`: the state that it needs.
    `order`: in which order the calls of an actor are enqueued. `rows`: the fault rows that show it
    (`tests/faults/results.md`).
    """

    guarantee: str
    duplicates: str
    condition: str
    order: str
    rows: tuple[str, ...]


_ORDER: Final = "as received; what is delivered again comes late; with `processes` only within each of them"
_WINDOW: Final = (
    "at most the window (1,000 by default) of each process after a crash or a lost connection; with `deduplicate` none"
)
#: `check` states the sizes of the configuration instead.
_OUTAGE: Final = "at most once; with a spool an outage of Redis loses no received event up to its `max_size`, without one those beyond the window"
_SPOOL_ORDER: Final = "as received, also out of the spool"

AMQP: Final = Promise(
    "at least once",
    _WINDOW,
    "durable queue, persistent messages; a quorum queue on RabbitMQ 4 has `x-delivery-limit: -1` or a dead-letter exchange"
    " (AMQP shows nobody which it has)",
    _ORDER,
    (
        "bridge-kill",
        "bridge-kill-unsettled",
        "rabbitmq-kill",
        "rabbitmq-consumer-timeout-quorum",
        "rabbitmq-delivery-limit-sink-paused",
        "identity-kill",
    ),
)
AMQP_STREAM: Final = Promise(
    "exactly once enqueued",
    "none",
    "`declare:` makes it, or `stream: true`; retention deletes no events before they are read (they are counted)",
    "that of the stream",
    (
        "bridge-kill",
        "bridge-kill-unsettled",
        "rabbitmq-kill",
        "rabbitmq-connections-closed",
        "bridge-replicas",
        "redis-cut-replies",
    ),
)
MQTT_QOS_1: Final = Promise(
    "at least once",
    f"{_WINDOW}; after a backlog mosquitto 2.0.11 exceeds the window, up to twice (observed); where topics overlap, as many as"
    " the broker sends, unless it has subscription identifiers (MQTT 5)",
    "`client_id` set, one client per id; the broker's limits hold the backlog, or there is a spool",
    _ORDER,
    ("bridge-kill", "mosquitto-flapping", "mosquitto-twins", "spool-outage"),
)
MQTT_QOS_0: Final = Promise(
    _OUTAGE,
    "none",
    "a spool",
    _SPOOL_ORDER,
    ("spool-outage", "spool-kill"),
)
PUBSUB: Final = Promise(
    f"{_OUTAGE}; a gap after a lost connection is logged and counted",
    "none with one bridge",
    "a spool",
    _SPOOL_ORDER,
    ("spool-outage", "spool-kill", "events-kill"),
)
STREAM_IN_SINK: Final = Promise(
    "exactly once enqueued",
    "none",
    "entries are not trimmed before they are read (trimmed ones are counted), nor deleted (Redis does not count those)",
    "that of the stream; what another consumer takes over comes late; with `processes` only within each of them",
    ("bridge-kill", "redis-kill", "redis-cut-replies", "stream-group-lost"),
)
STREAM_ELSEWHERE: Final = Promise(
    "at least once",
    "none within a day (the entry's id is remembered)",
    STREAM_IN_SINK.condition,
    STREAM_IN_SINK.order,
    ("bridge-kill", "redis-kill", "stream-group-lost"),
)

#: By the name in docs/guarantees.md.
PROMISES: Final[Mapping[str, Promise]] = {
    "AMQP": AMQP,
    "RabbitMQ streams": AMQP_STREAM,
    "MQTT, QoS 1": MQTT_QOS_1,
    "MQTT, QoS 0": MQTT_QOS_0,
    "Redis pub/sub": PUBSUB,
    "Redis Streams in Dramatiq's Redis": STREAM_IN_SINK,
    "Redis Streams elsewhere": STREAM_ELSEWHERE,
}
