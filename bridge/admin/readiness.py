"""Readiness in words: the causes for which a bridge is not ready, and the pauses, which are no such cause."""

from __future__ import annotations

from bridge.model.state import BridgeState, SourceState
from bridge.observe.log_fields import cut, escape
from bridge.observe.masking import without_secrets


def problems(state: BridgeState) -> list[str]:
    """Return one line for each cause for which the bridge is not ready, with the name of the source or the sink; [] if it is."""
    if state.phase == "draining":
        return ["the bridge stops: it takes no new events, and finishes those that it has received"]
    found = ["the bridge starts: not everything was connected yet"] if state.phase == "starting" else []
    if state.processes < state.expected:
        verb = "is" if state.processes == 1 else "are"
        found.append(f"processes: {state.processes} of {state.expected} {verb} ready")
    sink = state.sink
    if not sink.available:
        found.append(_line("sink", "it takes no writes", sink.cause))
    if sink.unready:
        found.append(_line("sink", "it must not be used", sink.unready))
    holding = {route.source for route in state.routes.values() if route.paused}
    for name, source in state.sources.items():
        found.extend(_source_problems(name, source, held=name in holding))
    return found


def notes(state: BridgeState) -> list[str]:
    """Return one line for each pause, by a person or by backpressure, and for a reload that changed nothing."""
    found = []
    for name, source in state.sources.items():
        if source.paused:
            found.append(f"source {escape(name)}: paused by a person")
        if source.pressure:
            cause = escape(source.pressure_cause) or "a queue or Redis is full"
            found.append(f"source {escape(name)}: paused by backpressure: {cause}")
    for name, route in state.routes.items():
        if route.paused:
            found.append(f"route {escape(name)}: paused by a person; source {escape(route.source)} waits behind it")
    if state.reload_cause:
        found.append(_line("the last reload changed nothing", "the file is not what runs", state.reload_cause))
    return found


def _source_problems(name: str, source: SourceState, *, held: bool) -> list[str]:
    if source.paused:
        return []
    if not source.connected:
        return [_line(f"source {escape(name)}", "not connected", source.cause)]
    # Behind a pause nothing is acknowledged, as it should be.
    if source.stuck and not source.pressure and not held:
        waited = f"none was acknowledged for {source.unacknowledged_s:.0f} s" if source.unacknowledged_s else ""
        return [_line(f"source {escape(name)}", "stuck: it holds events, and a new connection did not help", waited)]
    return []


def _line(subject: str, problem: str, cause: str) -> str:
    """Return one line; a cause may have texts of brokers in it."""
    words = escape(cut(without_secrets(cause)))
    return f"{subject}: {problem}: {words}" if words else f"{subject}: {problem}"
