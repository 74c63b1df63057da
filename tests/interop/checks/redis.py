"""What a server of Redis's protocol has to do beside its streams and channels: hold Dramatiq's queues."""

from __future__ import annotations

from contextlib import ExitStack

from tests.faults.stage import Stage
from tests.interop.outcome import HELD, Outcome, Outcomes
from tests.interop.trial import Trial, each
from tests.support.children import wait_until
from tests.support.processes import Worker, queue_state

_EVENTS = 100


def worker(trial: Trial) -> Outcomes:
    """A real Dramatiq worker reads from this server, or from that behind a proxy, and runs 100 events of each source, each once."""
    sources = trial.sources()
    with ExitStack() as ends:
        stage = ends.enter_context(Stage(trial.brokers, sources, short=True, rate=0))
        dramatiq = ends.enter_context(Worker(f"redis://127.0.0.1:{stage.sink.direct_port}/0", sources))
        for load in stage.loads.values():
            load.burst(_EVENTS)
        calls = dramatiq.wait_for(_EVENTS * len(sources))

        def check(source: str) -> Outcome:
            numbers = sorted(call["args"][0] for call in calls if call["queue"] == source)
            with stage.sink.client() as client:
                wait_until(
                    lambda: queue_state(client, source) == {"list": [], "hash": {}}, what=f"{source}: an empty queue"
                )
            return HELD if numbers == list(range(_EVENTS)) else Outcome("FAILED", f"ran {numbers}")

        return each(sources, check)
