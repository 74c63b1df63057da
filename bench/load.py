"""What everybody in the benchmark is given: one event, one rule, and the names they meet under.

The rule, which each contestant that builds messages carries out:

- the topic has one capture, the plant (`plants/{plant}/temp`, with dots where the protocol has dots);
- `when: payload.temp > 0`;
- three args: the plant, `payload.seq`, `payload.temp`;
- two kwargs: `unit: payload.unit`, and `text`, an f-string of four values;
- actor `record`, queue `readings`.
"""

from __future__ import annotations

from typing import Any, Final

#: A body of the benchmark, unless sizes are what is measured.
EVENT_BYTES: Final = 210

PLANT: Final = "berlin"
ACTOR: Final = "record"
QUEUE: Final = "readings"
#: Where the messages of the rule arrive, and their bodies.
QUEUE_KEY: Final = f"dramatiq:{QUEUE}"
MESSAGES_KEY: Final = f"{QUEUE_KEY}.msgs"
#: Where a contestant that builds no messages puts its events.
NATIVE_STREAM: Final = "native"

MQTT_TOPIC: Final = f"plants/{PLANT}/temp"
MQTT_FILTER: Final = "plants/+/temp"
#: The id of the persistent session that holds the backlog: every contestant has to resume it.
MQTT_CLIENT_ID: Final = "bench"
#: AMQP's routing key, the stream's key and the channel.
DOTTED_TOPIC: Final = f"plants.{PLANT}.temp"
AMQP_EXCHANGE: Final = "bench"
AMQP_QUEUE: Final = "bench"
STREAM_GROUP: Final = "bench"
#: The field of a stream's entry that is the body; mq-bridge reads this one and no other.
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
    """Return the rule as the bridge's route; `topic` is a real topic, whose plant becomes the capture."""
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
    """Return the rule among `count - 1` routes of the same shape that fit other topics."""
    others = []
    for number in range(1, count):
        other = route(topic)
        other |= {"name": f"other-{number}", "topic": other["topic"].replace("temp", f"other{number}")}
        others.append(other)
    return [*others[: len(others) // 2], route(topic), *others[len(others) // 2 :]]


def expected(seq: int) -> tuple[list[Any], dict[str, Any]]:
    """Return the args and kwargs that the rule makes of event `seq`."""
    temp = 20 + seq % 100 / 10
    return [PLANT, seq, temp], {"unit": "C", "text": f"oven-7 of {PLANT} is at {temp} C"}
