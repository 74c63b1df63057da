"""Bombs: no input of 256 KiB holds up the other sources for long, whatever a stranger made of it."""

from __future__ import annotations

import random
import time
from typing import Any

import cbor2
import msgspec
import pytest

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.routing.decoding import decoder
from tests.support.bomb_bodies import SIZE
from tests.support.bombs import Bomb, bombs

# Coverage's tracer takes a multiple of the CPU time that is measured here.
pytestmark = pytest.mark.no_cover

#: The dearest takes 50 to 150 ms of CPU, by machine; the tests run on any machine, so they allow more than tenfold.
MAX_CPU_S = 2.0


def cost(bomb: Bomb) -> float:
    """Return the CPU time in seconds: of the first try, or if that is a little too dear, of the cheapest of three."""
    times: list[float] = []
    while len(times) < 3 and (not times or MAX_CPU_S <= min(times) < 4 * MAX_CPU_S):
        began = time.thread_time()
        bomb.explode()
        times.append(time.thread_time() - began)
    return min(times)


@pytest.mark.parametrize("group", ["json", "msgpack", "cbor", "text", "bytes", "auto", "AMQP", "MQTT", "Redis", "topic",
                                   "deduplication", "expression"])  # fmt: skip
def test_no_input_of_256_kib_costs_much_cpu(group: str) -> None:
    """Some 50 ms for the dearest, from the body, the headers or the topic to the encoded message, or to the dead letter."""
    dear = {bomb.name: spent for bomb in bombs(group) if (spent := cost(bomb)) >= MAX_CPU_S}
    assert not dear


@pytest.mark.parametrize("kind", ["msgpack", "cbor"])
def test_random_mutations_of_bombs_cost_no_more(kind: str) -> None:
    """Bytes exchanged, parts repeated and bodies joined: still below the bound, and a payload or a dead letter."""
    chance = random.Random(12)
    bodies = [bomb.body for bomb in bombs(kind)]
    for _ in range(60):
        body = bytearray(chance.choice(bodies))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(body))
            size = 1 << chance.randrange(17)
            if chance.random() < 0.5:
                body[at] = chance.randrange(256)
            else:
                part = chance.choice(bodies)
                start = chance.randrange(max(1, len(part) - size))
                body[at : at + size] = part[start : start + size]
        assert cost(Bomb("mutation", lambda body=bytes(body[:SIZE]): _decoded(kind, body))) < MAX_CPU_S  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["msgpack", "cbor"])
def test_the_check_admits_everything_that_is_meant(kind: str) -> None:
    """Random values of the types that are meant pass the check, encoded by the format's own library."""
    chance = random.Random(12)
    encode = cbor2.dumps if kind == "cbor" else msgspec.msgpack.encode
    for _ in range(60):
        value = _value(chance, 4)
        assert decoder(kind)(Event("s", "t", encode(value), 0)) == msgspec.to_builtins(value, str_keys=True)


def _decoded(kind: str, body: bytes) -> object:
    try:
        return decoder(kind)(Event("s", "t", body, 0))
    except BadEvent as error:
        return error


def _value(chance: random.Random, depth: int) -> Any:
    scalars = (
        None, True, chance.randrange(-300, 300), chance.getrandbits(63), -chance.getrandbits(60), chance.random() * 1e9,
        "é" * chance.choice([0, 3, 15, 16, 20, 150, 40_000]), chance.randbytes(chance.choice([0, 20, 40, 300])),
    )  # fmt: skip
    size = chance.choice([0, 1, 3, 15, 16, 30])
    match chance.randrange(4) if depth else 0:
        case 1:
            return [_value(chance, depth - 1) for _ in range(size)]
        case 2:
            keys = [chance.choice([str(chance.random()), chance.getrandbits(40)]) for _ in range(size)]
            return {key: _value(chance, depth - 1) for key in keys}
    return chance.choice(scalars)
