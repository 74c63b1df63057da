"""What every broker goes through, with all its sources in one bridge."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import aio_pika
import redis

from tests.faults import checker
from tests.faults.ledger import Load
from tests.faults.publishers import MqttPublisher, Publisher
from tests.faults.rows_bridge import ROUNDS, kill
from tests.faults.sources import KINDS
from tests.faults.stage import WINDOW_BYTES, Stage
from tests.interop.control import Control
from tests.interop.outcome import HELD, Outcome, Outcomes
from tests.interop.trial import Trial, each
from tests.support.children import wait_until

_EVENTS: Final = 300
#: Of a steady load, in events a second and source.
_RATE: Final = 50
#: Of events, where the bridge is killed: all windows together are fewer events than a source has.
_SMALL_WINDOW: Final = 20
#: A small one: a body beyond it by more than 1 MiB is still quick to send.
_MAX_BODY: Final = 64 << 10
_ROOM: Final = 1 << 20
#: By their numbers.
_LARGE_BODIES: Final = {1: _MAX_BODY, 2: _MAX_BODY + 1, 3: _MAX_BODY + _ROOM + 1, 4: 100}
_BESIDE_TEXT: Final = len(b'{"n": 0, "text": ""}')


def events(trial: Trial) -> Outcomes:
    """300 events of each source arrive, each once."""

    def act(stage: Stage, _: Control | None) -> None:
        threads = [threading.Thread(target=load.burst, args=(_EVENTS,)) for load in stage.loads.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for source, load in stage.loads.items():
            if len(load.ledger.confirmed) < _EVENTS:
                stage.failures.append(f"{source}: the broker took {len(load.ledger.confirmed)} of {_EVENTS} events")

    sources = trial.sources(at_most_once=True, streams=True)
    return trial.experiment(act, sources=sources, stage={"rate": 0}, keeps_all=True, recovery_s=None)


def bridge_kill(trial: Trial) -> Outcomes:
    """The bridge is killed (kill -9) three times under load: nothing is lost, and no more than the windows come twice."""

    def act(stage: Stage, _: Control | None) -> None:
        kill(stage)
        # A bound that no source could exceed would show nothing.
        for source, load in stage.loads.items():
            _await_confirmed(load, 2 * ROUNDS * KINDS[source].again * stage.window_events)

    sources, stage = trial.sources(streams=True), {"rate": _RATE, "window": (_SMALL_WINDOW, WINDOW_BYTES)}
    return trial.experiment(act, sources=sources, stage=stage, again=ROUNDS)


def broker_restart(trial: Trial) -> Outcomes:
    """The broker is stopped under load and started again, with its data."""

    def act(stage: Stage, _: Control | None) -> None:
        for broker in stage.brokers(trial.kind):
            broker.stop()
        stage.wait(0.2, 1)
        for broker in stage.brokers(trial.kind):
            broker.start()

    return trial.experiment(act, sources=trial.sources(streams=True), stage={"rate": _RATE}, again=1)


def broker_kill(trial: Trial) -> Outcomes:
    """The broker is killed (kill -9) under load and started again, with its data; then nothing is published until all are back."""

    def act(stage: Stage, control: Control | None) -> None:
        for broker in stage.brokers(trial.kind):
            broker.kill()
        for load in stage.loads.values():
            load.rate = 0
        for broker in stage.brokers(trial.kind):
            broker.start()
        wait_until(lambda: control is None or control.connected, what="the plain client")
        for source in stage.sources:
            _await_connection(stage, source)
        for load in stage.loads.values():
            load.rate = _RATE

    sources = trial.sources(streams=True)
    return trial.experiment(act, sources=sources, stage={"rate": _RATE}, again=1, tapped=True)


def large_bodies(trial: Trial) -> Outcomes:
    """A body of `max_body` arrives, one byte more is a dead letter, and behind one of 1 MiB more the next event arrives."""
    settings = {"max_body": f"{_MAX_BODY >> 10}KiB"}
    sources = trial.sources()
    with Stage(trial.brokers, sources, short=True, rate=0, per_source=dict.fromkeys(sources, settings)) as stage:
        return each(sources, lambda source: _large(stage, source))


def _large(stage: Stage, source: str) -> Outcome:
    refused: list[str] = []
    for number, size in _LARGE_BODIES.items():
        publisher = KINDS[source].publisher(stage.feeds[source])
        try:
            publisher.connect()
            try:
                publisher.send([_body(number, size)], lambda _: None)
            except Exception as error:
                if size <= _MAX_BODY or not is_refusal(publisher, error):
                    raise
                refused.append(f"{size:,} bytes ({type(error).__name__})")
        finally:
            publisher.close()
    dead = {2, 3}
    if source.startswith("mqtt-5"):
        dead = {2}  # the bridge states a Maximum Packet Size: the broker discards the other, or sends it all the same
    if refused:
        dead = set()
    with stage.client() as client:
        _await_numbers(client, source, {1, 4}, dead)
    return Outcome("broker", f"takes no body of {' and '.join(refused)}") if refused else HELD


def is_refusal(publisher: Publisher, error: Exception) -> bool:
    """Whether a connected broker has refused an event: by an answer, or (in MQTT 3.1.1 it cannot answer) by its connection's end."""
    if isinstance(publisher, MqttPublisher):
        return isinstance(error, TimeoutError) and not (publisher._client and publisher._client.is_connected())
    return isinstance(error, aio_pika.exceptions.AMQPError | redis.ResponseError)


def _body(number: int, size: int) -> bytes:
    return b'{"n": %d, "text": "%s"}' % (number, b"x" * (size - _BESIDE_TEXT))


def _await_numbers(client: Any, source: str, queued: set[int], dead: set[int]) -> None:
    def arrived() -> bool:
        its = checker.look(client, [source])[source]
        return queued <= its.queued.keys() and dead <= its.dead.keys()

    wait_until(arrived, what=f"{source}: {queued} in the queue and {dead} as dead letters")


def _await_confirmed(load: Load, count: int) -> None:
    wait_until(lambda: len(load.ledger.confirmed) >= count, what=f"{count} events")


def _await_connection(stage: Stage, source: str) -> None:
    deadline = time.monotonic() + 90
    while not stage.bridge.state(source)["connected"]:
        assert time.monotonic() < deadline, f"{source}: not connected again within 90 s"
        time.sleep(0.2)
