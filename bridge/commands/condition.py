"""The condition of a source in words: whether it moves, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.commands.layout import spell_bytes, spell_number, spell_span
from bridge.model.state import BridgeState
from bridge.observe.log_fields import cut, escape

#: A source that holds events, and has had none acknowledged for so long, is said to wait.
_SLOW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Condition:
    """`word` fits into a table, `why` says more, `color` is one of `Paint`'s. The graver, the higher `gravity`: 0 moves."""

    word: str
    why: str = ""
    color: str = "green"
    gravity: int = 0


def condition(state: BridgeState, name: str) -> Condition:
    """Return the condition of the source `name`: of several ones the gravest, or the one that explains the others."""
    source = state.sources[name]
    if source.paused:
        return Condition("paused", "by a person; `dramatiq-bridge resume` ends it", "yellow", 1)
    if not source.connected:
        since = f"for {spell_span(source.disconnected_s)}: " if source.disconnected_s >= 1 else ""
        return Condition("not connected", f"{since}{plain(source.cause) or 'it has not connected yet'}", "red", 3)
    if source.pressure:
        cause = plain(source.pressure_cause) or "a queue or Redis is full (max_queue_depth, max_memory)"
        return Condition("waits", f"{cause}: workers are behind", "yellow", 1)
    if source.held and (routes := [route for route in paused_routes(state) if state.routes[route].source == name]):
        return Condition("waits", f"its paused routes hold its events: {', '.join(map(plain, routes))}", "yellow", 1)
    # Behind a pause nothing is acknowledged, as it should be.
    since = f"nothing was acknowledged for {spell_span(source.unacknowledged_s)}"
    if source.stuck:
        # Each new connection begins the time anew.
        why = f": {since}" if source.unacknowledged_s >= 1 else ", also on a new connection"
        return Condition("stuck", f"it has events, and does not move{why}", "red", 3)
    if not state.sink.available and (source.in_flight or source.spooled):
        return Condition("waits", "for Redis, which takes no writes", "red", 2)
    if source.unacknowledged_s >= _SLOW_S:
        if source.fill >= 1:
            return Condition("full window", since, "red", 2)
        return Condition("slow", f"{spell_number(source.held)} events wait: {since}", "yellow", 1)
    if source.spooled:
        size = spell_bytes(source.spooled_bytes)
        return Condition("spooled", f"{spell_number(source.spooled)} events wait on disk ({size})", "yellow", 1)
    return Condition("connected")


def paused_routes(state: BridgeState) -> list[str]:
    """Return the names of the routes that a person has paused."""
    return [name for name, route in state.routes.items() if route.paused]


def plain(text: str) -> str:
    """Return a text of the daemon's, which may be a broker's: short, and on one line."""
    return escape(cut(text))
