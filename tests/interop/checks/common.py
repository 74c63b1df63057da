"""What every broker goes through, with all its sources in one bridge."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from tests.faults import checker
from tests.faults.rows_bridge import ROUNDS, kill
from tests.faults.sources import KINDS
from tests.faults.stage import Stage
from tests.interop.control import Control
from tests.interop.outcome import HELD, Outcome, Outcomes
from tests.interop.trial import Trial, each
from tests.support.children import wait_until

_EVENTS: Final = 300
#: Of a steady load, in events a second and source.
_RATE: Final = 50
#: A small one: a body beyond it by more than 1 MiB is still quick to send.
_MAX_BODY: Final = 64 << 10
_ROOM: Final = 1 << 20
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

    sources = trial.sources(at_most_once=True)
    return trial.experiment(act, sources=sources, stage={"rate": 0}, keeps_all=True, recovery_s=None)


def bridge_kill(trial: Trial) -> Outcomes:
    """The bridge is killed (kill -9) three times under load: nothing is lost, and no more than the windows come twice."""
    return trial.experiment(lambda stage, _: kill(stage), stage={"rate": _RATE}, again=ROUNDS)


def broker_restart(trial: Trial) -> Outcomes:
    """The broker is stopped under load and started again, with its data."""

    def act(stage: Stage, _: Control | None) -> None:
        for broker in stage.brokers(trial.kind):
            broker.stop()
        stage.wait(0.2, 1)
        for broker in stage.brokers(trial.kind):
            broker.start()

    return trial.experiment(act, stage={"rate": _RATE}, again=1)


def broker_kill(trial: Trial) -> Outcomes:
    """The broker is killed (kill -9) under load and started again, with its data; then nothing is published until all are back."""

    def act(stage: Stage, control: Control | None) -> None:
        for broker in stage.brokers(trial.kind):
            broker.kill()
        for load in stage.loads.values():
            load.rate = 0
        if control is not None:
            control.broker_died({name: max(load.ledger.confirmed) for name, load in stage.loads.items()})
        for broker in stage.brokers(trial.kind):
            broker.start()
        wait_until(lambda: control is None or control.connected, 30, "the plain client")
        for source in stage.sources:
            _await_connection(stage, source)
        for load in stage.loads.values():
            load.rate = _RATE

    return trial.experiment(act, stage={"rate": _RATE}, again=1)


def large_bodies(trial: Trial) -> Outcomes:
    """A body of `max_body` arrives, one byte more is a dead letter, and behind one of 1 MiB more the next event arrives."""
    settings = {"max_body": f"{_MAX_BODY >> 10}KiB"}
    sources = trial.sources()
    with Stage(trial.brokers, sources, short=True, rate=0, per_source=dict.fromkeys(sources, settings)) as stage:
        return each(sources, lambda source: _large(stage, source))


def _large(stage: Stage, source: str) -> Outcome:
    for number, size in ((1, _MAX_BODY), (2, _MAX_BODY + 1), (3, _MAX_BODY + _ROOM + 1), (4, 100)):
        publisher = KINDS[source].publisher(stage.feeds[source])
        try:
            publisher.connect()
            publisher.send([_body(number, size)], lambda _: None)
        except Exception as error:
            if size < _MAX_BODY:
                raise
            return Outcome("broker", f"takes no body of {size:,} bytes ({type(error).__name__})")
        finally:
            publisher.close()
    with stage.client() as client:
        _await_numbers(client, source, {1, 4}, {2})
    return HELD


def _body(number: int, size: int) -> bytes:
    return b'{"n": %d, "text": "%s"}' % (number, b"x" * (size - _BESIDE_TEXT))


def _await_numbers(client: Any, source: str, queued: set[int], dead: set[int]) -> None:
    def arrived() -> bool:
        its = checker.look(client, [source])[source]
        return queued <= its.queued.keys() and dead <= its.dead.keys()

    wait_until(arrived, 10, f"{source}: {queued} in the queue and {dead} as dead letters")


def _await_connection(stage: Stage, source: str) -> None:
    deadline = time.monotonic() + 90
    while not stage.bridge.state(source)["connected"]:
        assert time.monotonic() < deadline, f"{source}: not connected again within 90 s"
        time.sleep(0.2)
