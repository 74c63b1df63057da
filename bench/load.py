"""The common load of all contestants: the event, the rule, and the names of topics, queues and keys.

Each contestant that builds messages applies this rule:

- the topic has one capture, the plant (`plants/{plant}/temp`, with dots where the protocol has dots);
- `when: payload.temp > 0`;
- three args: the plant, `payload.seq`, `payload.temp`;
- two kwargs: `unit: payload.unit`, and `text`, an f-string of four values;
- actor `record`, queue `readings`.
"""

from __future__ import annotations

from typing import Any, Final

#: The size of a body in all parts but `linear`.
EVENT_BYTES: Final = 210

PLANT: Final = "berlin"
ACTOR: Final = "record"
QUEUE: Final = "readings"
#: The list of the rule's messages, and the hash of their bodies.
QUEUE_KEY: Final = f"dramatiq:{QUEUE}"
MESSAGES_KEY: Final = f"{QUEUE_KEY}.msgs"
#: The stream to which a contestant that builds no messages copies events.
NATIVE_STREAM: Final = "native"

MQTT_TOPIC: Final = f"plants/{PLANT}/temp"
MQTT_FILTER: Final = "plants/+/temp"
#: The client id of the persistent session that holds the backlog; every contestant resumes this session.
MQTT_CLIENT_ID: Final = "bench"
#: The routing key of AMQP, the stream's key and the channel.
DOTTED_TOPIC: Final = f"plants.{PLANT}.temp"
AMQP_EXCHANGE: Final = "bench"
AMQP_QUEUE: Final = "bench"
STREAM_GROUP: Final = "bench"
#: The field that holds the body of a stream's entry; mq-bridge reads only a field of this name.
STREAM_FIELD: Final = "payload"

_HEAD: Final = b'{"temp":%.1f,"unit":"C","seq":%d,"device":"oven-7","note":"'
_TAIL: Final = b'"}'


def bodies(count: int, size: int = EVENT_BYTES, first: int = 0) -> list[bytes]:
    """Return `count` events of `size` bytes each, numbered from `first` in `seq`."""
    padding = b"The quick brown fox jumps over the lazy dog. " * (size // 45 + 1)
    events = []
    for seq in range(first, first + count):
        head = _HEAD % (20 + seq % 100 / 10, seq)
        events.append(head + padding[: size - len(head) - len(_TAIL)] + _TAIL)
    return events


def route(topic: str) -> dict[str, Any]:
    """Return the rule as a route of the bridge; the plant in `topic`, a real topic, becomes the capture."""
    return {
        "name": "temperature",
        "from": "bench",
        "topic": topic.replace(PLANT, "{plant}"),
        "when": "payload.temp > 0",
        "actor": ACTOR,
        "queue": QUEUE,
        "args": ["$plant", "$payload.seq", "$payload.temp"],
        "kwargs": {
            "unit": "$payload.unit",
            "text": '$f"{payload.device} of {plant} is at {payload.temp} {payload.unit}"',
        },
    }


def routes(topic: str, count: int) -> list[dict[str, Any]]:
    """Return `count` routes: the rule, among similar routes that fit other topics."""
    others = []
    for number in range(1, count):
        other = route(topic)
        other |= {"name": f"other-{number}", "topic": other["topic"].replace("temp", f"other{number}")}
        others.append(other)
    return [*others[: len(others) // 2], route(topic), *others[len(others) // 2 :]]


def expected(seq: int) -> tuple[list[Any], dict[str, Any]]:
    """Return the args and kwargs that the rule builds from event `seq`."""
    temp = 20 + seq % 100 / 10
    return [PLANT, seq, temp], {"unit": "C", "text": f"oven-7 of {PLANT} is at {temp} C"}
