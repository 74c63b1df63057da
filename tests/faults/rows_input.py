"""Rows whose fault is what comes in."""

from __future__ import annotations

import resource
import threading
from collections import Counter
from signal import Signals
from typing import Any, Final

from tests.faults import checker
from tests.faults.checker import DEAD_LETTERS
from tests.faults.rows import Says, row
from tests.faults.sources import EVERY
from tests.faults.stage import Stage
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed

#: Each must become a dead letter, from every source.
HOSTILE: Final[dict[str, bytes]] = {
    "too large": b'{"n": "' + b"x" * 300_000 + b'"}',
    "nested 65 deep": b'{"n":' + b"[" * 65 + b"]" * 65 + b"}",
    "nested without end": b"[" * 100_000,
    "invalid UTF-8": b'{"n": "\xff\xfe"}',
    "NaN": b'{"n": NaN}',
    "Infinity": b'{"n": -Infinity}',
    "too large a float": b'{"n": 1e999}',
    "an integer of 5,000 digits": b'{"n": ' + b"7" * 5000 + b"}",
    "a lone surrogate": b'{"n": "\\ud800"}',
    "UTF-16": '{"n": 1}'.encode("utf-16"),
    "not JSON": b"<n>1</n>",
    "torn JSON": b'{"n": 1',
    "empty": b"",
    "zero bytes": b"\0\0\0\0",
    "without the field": b"{}",
    "no mapping": b"[1]",
}

#: What publishers may put into a topic.
ODD: Final = (
    *(
        "a b",
        "a//b",
        "/",
        "a..b",
        ".",
        "é/ü/ß",
        "日本語",
        "\N{GRINNING FACE}",
        "%s/%n",
        "{topic}/${HOME}",
        "\"'`\\",
        "$SYS",
    ),
    *("/".join("d" * 60), ".".join("d" * 60), "a" * 200),
)


@row(
    "input-hostile",
    keeps_all=True,
    recovery_s=1.0,
    says=tuple(Says("event.dead_lettered", source, ("reason", "cause")) for source in EVERY),
)
def hostile(stage: Stage) -> None:
    """Each source brings what would damage a worker or a decoder: each is a dead letter, and the next event flows within 1 s."""
    for load in stage.loads.values():
        load.send(list(HOSTILE.values()))
    wanted = {source: len(HOSTILE) for source in stage.sources}
    with stage.client() as client:

        def letters() -> dict[str, int]:
            entries: Any = client.xrange(DEAD_LETTERS)
            return dict(Counter(fields[b"source"].decode() for _, fields in entries))

        try:
            wait_until(lambda: letters() == wanted, 5, "every dead letter")
        except AssertionError:
            stage.failures.append(f"dead letters {letters()}, wanted {wanted}")


@row("input-topics", sources=("mqtt-topics", "amqp-topics", "pubsub-topics"), keeps_all=True)
def topics(stage: Stage) -> None:
    """Odd topics (empty levels, blanks, emoji, quotes, 60 levels), and 10,000 distinct ones of each source."""
    for source, load in stage.loads.items():
        name = stage.feeds[source].name
        load.spread([f"{name}/{topic}" for topic in ODD])
        load.spread([f"{name}/sensors/{number}" for number in range(10_000)])


#: Of every other event a message of 60 KB is made; of the rest, one that its event does not explain.
_GROWING: Final[list[dict[str, Any]]] = [
    {
        "from": "stream",
        "actor": "record",
        "queue": "stream",
        "when": f"payload.n % 2 == {odd}",
        "args": ["$payload.n", text],
    }
    for odd, text in enumerate(("y" * 60_000, f"$join('{'y' * 1000}', split(payload.text, 'x'))"))
]


@row(
    "input-growing",
    sources=("stream",),
    recovery_s=None,
    stage={"rate": 0, "settings": {"routes": _GROWING}, "per_source": {"stream": {"window": {"events": 4000}}}},
    says=(Says("event.dead_lettered", "stream", ("reason", "cause")),),
)
def growing(stage: Stage) -> None:
    """2,000 events at once of which a route makes 60 KB or more each: batches are cut, memory is bounded, no bomb is written."""
    stage.bridge.signal(Signals.SIGSTOP)
    stage.loads["stream"].burst(2000)
    stage.bridge.signal(Signals.SIGCONT)
    with stage.client() as client:
        wait_until(lambda: checker.lengths(client, stage.sources)["stream"] == 1000, 60, "1,000 messages")


@row(
    "input-garbage",
    sources=("mqtt", "amqp"),
    says=(
        Says("dead_letters.bounded", fields=("max_size", "effective", "cause")),
        Says("dead_letters.trimmed", "mqtt", ("bound", "cause")),
    ),
    keeps_all=True,
)
def garbage(stage: Stage) -> None:
    """A publisher sends 217 MB of garbage of 255 KiB each, Redis has a maxmemory of 200 MB: the other source never pauses."""
    count = 850
    with stage.client() as client:
        client.config_set("maxmemory", "200mb")
        stage.later(lambda: _unbound(stage))
        stage.bridge.wait_for("dead_letters.bounded")
        for _ in range(0, count, 50):
            stage.loads["mqtt"].send([b"x" * (255 << 10)] * 50)
        try:
            wait_until(lambda: stage.bridge.state("mqtt")["dead_lettered"] == count, 60, "every dead letter")
        except AssertionError as error:
            stage.failures.append(str(error))
        kept: Any = client.xlen(DEAD_LETTERS)
        used: Any = client.info("memory")["used_memory"]
    state = stage.bridge.state("mqtt")
    if state["trimmed"] != count - kept:
        stage.failures.append(f"{kept} dead letters are kept, {state['trimmed']} counted as trimmed, of {count}")
    if used > 60 << 20:
        stage.failures.append(f"Redis uses {used >> 20} MiB")
    stage.failures += [f"{line['source']} paused" for line in stage.bridge.events("sink.pressure")]


def _unbound(stage: Stage) -> None:
    with stage.client() as client:
        client.config_set("maxmemory", "0")


def _huge(stage: Stage) -> None:
    """Bring 200 MiB (RabbitMQ: 100 MiB) to a bridge that may have 600 MiB of address space."""
    resource.prlimit(stage.bridge.pid, resource.RLIMIT_AS, (600 << 20, resource.RLIM_INFINITY))
    for source, feed in stage.feeds.items():
        feed.publish([{"n": -1, "text": "x" * ((100 if source == "amqp" else 200) << 20)}])


@row("input-huge", sources=("mqtt", "amqp"), says=(Says("event.dead_lettered", "amqp", ("reason", "cause")),))
def huge(stage: Stage) -> None:
    """A message of 200 MiB by MQTT 5 at QoS 1, one of 100 MiB by AMQP; the bridge has 600 MiB of address space."""
    _huge(stage)


@row(
    "input-huge-3.1.1",
    sources=("mqtt",),
    says=(Says("event.dead_lettered", "mqtt", ("reason", "cause"), "the body has 209715"),),
    stage={"per_source": {"mqtt": {"version": "3.1.1"}}},
)
def huge_3_1_1(stage: Stage) -> None:
    """A message of 200 MiB by MQTT 3.1.1 at QoS 1; the bridge has 600 MiB of address space."""
    _huge(stage)


# paho checks properties character by character: 50 ms for 1 MiB (observed), and then the sink takes them as headers.
@row("input-properties", sources=("mqtt",), recovery_s=60.0)
def properties(stage: Stage) -> None:
    """While Redis hangs: 200 MQTT 5 messages with empty bodies, half of them with 1 MiB of properties, half with 2 MiB."""
    feed = stage.feeds["mqtt"]
    assert isinstance(feed, MqttFeed)
    publishing = threading.Thread(target=feed.publish_properties, args=([15, 31] * 100,), daemon=True)
    stage.sink.pause()
    try:
        publishing.start()
        stage.wait(2, 3, 10)
    finally:
        stage.sink.resume()
    publishing.join(60)
