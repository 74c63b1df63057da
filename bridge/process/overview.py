"""The whole bridge in one structure, for whoever looks in from outside."""

from __future__ import annotations

import time
from collections.abc import Sequence

import bridge
from bridge.config import Config, Route
from bridge.model.control import Reloaded
from bridge.model.state import BridgeState, Phase, ProcessState, RouteState, SourceState


class Overview:
    """Knows when the bridge was started, and how its reloads went."""

    def __init__(self) -> None:
        self._started_at = time.time()
        self._reloads: dict[str, int] = {}
        self._reload_cause = ""

    def reloaded(self, answer: Reloaded) -> None:
        """Note how a reload went."""
        self._reloads[answer.result] = self._reloads.get(answer.result, 0) + 1
        self._reload_cause = answer.cause.replace("\n", " | ")  # on one line, as each problem

    def state(self, config: Config, phase: Phase, processes: Sequence[ProcessState], ready: int) -> BridgeState:
        """Return the state of the bridge; `ready` is the number of the processes that are ready."""
        masked = config.origin.masked_conditions
        state = BridgeState(
            version=bridge.__version__,
            phase=phase,
            config=config.origin.path,
            fingerprint=config.origin.fingerprint,
            loaded_at=config.origin.loaded_at,
            started_at=self._started_at,
            sink_url=config.dramatiq.redacted_url,
            namespace=config.dramatiq.namespace,
            expected=len(processes),
            processes=ready,
            reloads=dict(self._reloads),
            reload_cause=self._reload_cause,
            routes={
                name: _route(route, masked.get(name, route.when))
                for route in config.routes
                for name in [str(route.name)]
            },
        )
        state.take(processes)
        # A process that has died may have known sources that a reload has removed since.
        state.sources = {
            name: state.sources.get(name) or SourceState(source.type, cause="no process has reported it yet")
            for name, source in config.sources.items()
        }
        return state


def _route(route: Route, when: str | None) -> RouteState:
    targets = route.targets
    return RouteState(
        route.source,
        route.actor,
        route.queue,
        route.topic,
        when,
        targets=targets if targets != [(route.queue, route.actor)] else [],
        steps=[(step.queue, step.actor) for step in route.then],
        otherwise=route.otherwise,
    )
