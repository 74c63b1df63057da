"""Each stage of the bridge alone, in microseconds per event: it shows where a regression is (`make bench-micro`).

A stage is a function that prepares one repetition and returns a function to be timed, which works on BATCH events. To
add a stage, add a function with `@stage`; the name of the stage is its row in the table.
"""

from __future__ import annotations

import asyncio
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hiredis
import uvloop
import yaml
from pamqp import commands, frame, header

from bench import load
from bench.dearest import dearest_bombs
from bench.tables import number, table
from bridge import config
from bridge.model.batch import Batch
from bridge.model.event import Event, already_parsed
from bridge.model.message import MessageIds, Template
from bridge.redis_io.connection import encode_command
from bridge.routing import decoding, router
from bridge.routing.compiler import check_routes, compile_routes
from bridge.sink import RedisSink
from bridge.sources.amqp.deliveries import DeliveryReader
from bridge.sources.mqtt.packets import PacketReader
from bridge.spool.encoding import decode_batch, encode_batch
from bridge.spool.log import Log
from tests.support.brokers import Redis

#: Events per repetition: a full batch of a window of 4,000.
BATCH: Final = 1_000
#: Events per record of the spool: a batch is at most a quarter of the window of 1,000.
_RECORD_EVENTS: Final = 250
_WARM_UP: Final = 20
_REPETITIONS: Final = 200
#: The size of a source's receive buffer, which one read of a busy socket fills.
_READ_BYTES: Final = 256 << 10


@dataclass(frozen=True)
class Bench:
    """The objects that the stages work on."""

    bodies: list[bytes]
    compiled: router.Router
    sink: RedisSink
    log: Log
    run: Callable[[Any], Any]

    def events(self) -> list[Event]:
        """Return new events, as a source makes them."""
        now_ms = time.time_ns() // 1_000_000
        return [Event("bench", load.DOTTED_TOPIC, body, now_ms) for body in self.bodies]

    def routed(self) -> Batch:
        """Return a new batch of routed events."""
        batch = Batch(self.events())
        self.compiled.route(batch)
        return batch


Timed = Callable[[], object]
_STAGES: Final[dict[str, Callable[[Bench], Timed]]] = {}


def stage(name: str) -> Callable[[Callable[[Bench], Timed]], Callable[[Bench], Timed]]:
    """Register a stage under `name`."""

    def register(prepare: Callable[[Bench], Timed]) -> Callable[[Bench], Timed]:
        _STAGES[name] = prepare
        return prepare

    return register


@stage("parse AMQP: bytes to events")
def _parse_amqp(bench: Bench) -> Timed:
    reads = _reads(_deliveries(bench.bodies))
    reader = DeliveryReader("bench")
    reader.consume(1, "bench")
    events: list[Event] = []

    def timed() -> None:
        for read in reads:
            reader.feed(read, events)
        assert len(events) == BATCH

    return timed


@stage("parse MQTT: bytes to events")
def _parse_mqtt(bench: Bench) -> Timed:
    reads = _reads(_publishes(bench.bodies))
    reader = PacketReader("bench", v5=True)

    def timed() -> None:
        assert sum(len(reader.feed(read, BATCH)) for read in reads) == BATCH

    return timed


@stage("parse RESP: bytes to a stream's entries (hiredis)")
def _parse_entries(bench: Bench) -> Timed:
    entries = [
        b"*2\r\n%b*2\r\n$7\r\npayload\r\n%b" % (_bulk(b"1700000000000-%d" % n), _bulk(body))
        for n, body in enumerate(bench.bodies)
    ]
    data = b"*1\r\n*2\r\n%b*%d\r\n%b" % (_bulk(load.DOTTED_TOPIC.encode()), len(entries), b"".join(entries))
    return lambda: _replies(data, 1)


@stage("parse RESP: bytes to a channel's messages (hiredis)")
def _parse_messages(bench: Bench) -> Timed:
    channel = load.DOTTED_TOPIC.encode()
    data = b"".join(encode_command("message", channel, body) for body in bench.bodies)
    return lambda: _replies(data, BATCH)


@stage("event: made")
def _event(bench: Bench) -> Timed:
    return bench.events


@stage("decode: JSON to payload")
def _decode(bench: Bench) -> Timed:
    decode = decoding.decoder("json")
    events = bench.events()
    return lambda: [decode(event) for event in events]


@stage("match: topic to routes")
def _match(bench: Bench) -> Timed:
    events, matches = bench.events(), bench.compiled.table.matches
    return lambda: [matches(event.topic) for event in events]


@stage("rule: payload to an encoded message")
def _rule(bench: Bench) -> Timed:
    decode = decoding.decoder("json")
    pairs = [(event, decode(event)) for event in bench.events()]
    [(route, captures)] = bench.compiled.table.matches(load.DOTTED_TOPIC)
    ids = MessageIds(1)
    return lambda: [route.run(event, payload, captures, ids) for event, payload in pairs]


@stage("encode: args and kwargs to a message's JSON")
def _encode(_bench: Bench) -> Timed:
    template, ids = Template(load.ACTOR, load.QUEUE), MessageIds(1)
    values = [load.expected(seq) for seq in range(BATCH)]
    return lambda: [template.fill(args, kwargs, ids) for args, kwargs in values]


@stage("route: all of decode, match, rule and encode")
def _route(bench: Bench) -> Timed:
    batch = Batch(bench.events())
    return lambda: bench.compiled.route(batch)


@stage("write: a batch to Redis, and its reply")
def _write(bench: Bench) -> Timed:
    batch = bench.routed()
    return lambda: bench.run(bench.sink.write(batch))


@stage("spool: events to the disk and synced, in records of 250")
def _spool(bench: Bench) -> Timed:
    log, parts = bench.log, _parts(bench)

    def timed() -> None:
        for part in parts:
            log.append([(encode_batch(part), len(part.events))], sync=True)

    return timed


@stage("spool: from the disk to events, and removed")
def _unspool(bench: Bench) -> Timed:
    log = bench.log
    while log.events:
        log.remove(log.read(1)[0])
    for part in _parts(bench):
        log.append([(encode_batch(part), len(part.events))], sync=False)

    def timed() -> None:
        for entry in log.read(1 << 30):
            assert entry.payload is not None
            decode_batch(entry.payload, "bench", already_parsed)
            log.remove(entry)

    return timed


def _parts(bench: Bench) -> list[Batch]:
    events = bench.events()
    parts = [Batch(events[start : start + _RECORD_EVENTS]) for start in range(0, BATCH, _RECORD_EVENTS)]
    for part in parts:
        part.assign_number()
    return parts


def main() -> int:
    """Measure every stage with the command line's text in its name, and print the table; then that of the bombs."""
    text = " ".join(sys.argv[1:])
    rows = []
    with _bench() as bench:
        for name, prepare in _STAGES.items():
            if text in name:
                times = sorted([_time(prepare, bench) for _ in range(_WARM_UP + _REPETITIONS)][_WARM_UP:])
                tenth = len(times) // 10
                rows.append([name, number(statistics.median(times)), number(times[tenth]), number(times[-tenth])])
    print(table(["stage", "median us/event", "10 % below", "10 % above"], rows, texts=1))
    print(table(["input of 256 KiB: the dearest", "ms of CPU"], dearest_bombs(text), texts=1))
    return 0


def _time(prepare: Callable[[Bench], Timed], bench: Bench) -> float:
    timed = prepare(bench)
    began = time.perf_counter_ns()
    timed()
    return (time.perf_counter_ns() - began) / 1_000 / BATCH


@contextmanager
def _bench() -> Iterator[Bench]:
    with Redis() as redis, tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bridge.yaml"
        source = {"type": "redis-pubsub", "url": redis.url_of(0), "channels": [load.DOTTED_TOPIC]}
        text = {
            "dramatiq": {"url": redis.url_of(0)},
            "sources": {"bench": source},
            "routes": [load.route(load.DOTTED_TOPIC)],
        }
        path.write_text(yaml.safe_dump(text))
        loaded = config.load(path, check=check_routes)
        tables, problems = compile_routes(loaded)
        assert not problems, problems
        sink = RedisSink(loaded.dramatiq, loaded.dead_letters)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            compiled = router.make(loaded.sources["bench"], tables["bench"])
            spool = Log(Path(directory) / "spool", 8 << 20)
            yield Bench(load.bodies(BATCH), compiled, sink, spool, runner.run)
            runner.run(sink.close())


def _reads(data: bytes) -> list[bytes]:
    return [data[start : start + _READ_BYTES] for start in range(0, len(data), _READ_BYTES)]


def _deliveries(bodies: list[bytes]) -> bytes:
    frames = []
    for tag, body in enumerate(bodies, start=1):
        deliver = commands.Basic.Deliver("bench", tag, False, load.AMQP_EXCHANGE, load.DOTTED_TOPIC)
        properties = commands.Basic.Properties(delivery_mode=2, content_type="application/json")
        frames.append(frame.marshal(deliver, 1))
        frames.append(frame.marshal(header.ContentHeader(0, len(body), properties), 1))
        frames.append(b"\x03\x00\x01%b%b\xce" % (struct.pack(">I", len(body)), body))
    return b"".join(frames)


def _publishes(bodies: list[bytes]) -> bytes:
    topic = struct.pack(">H", len(load.MQTT_TOPIC)) + load.MQTT_TOPIC.encode()
    packets = []
    for identifier, body in enumerate(bodies, start=1):
        # QoS 1, no properties; from 128 to 16,383 bytes the remaining length takes two bytes.
        content = b"%b%b\x00%b" % (topic, struct.pack(">H", identifier), body)
        packets.append(b"\x32%c%c%b" % (len(content) & 127 | 128, len(content) >> 7, content))
    return b"".join(packets)


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _replies(data: bytes, count: int) -> list[Any]:
    reader = hiredis.Reader()
    reader.feed(data)
    replies = [reader.gets() for _ in range(count)]
    assert replies[-1] is not False
    return replies


if __name__ == "__main__":
    sys.exit(main())
