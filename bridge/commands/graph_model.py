"""The drawing of a bridge, before it has a format: sources, their routes, queues and actors, dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bridge.commands.layout import spell_rate
from bridge.commands.rates import Rates
from bridge.config import Config
from bridge.dry_run.masking import Masking
from bridge.model.state import BridgeState
from bridge.observe.log_fields import escape
from bridge.redis_io.keys import dead_letters_key


@dataclass(frozen=True, slots=True)
class DrawnRoute:
    """A route. Its rates are labels of edges, "" without one: of its events, its messages and its dead letters.

    `targets` are the queues and actors of its messages; `steps`, those of the messages that follow one after another.
    """

    name: str
    topic: str
    when: str
    targets: Sequence[tuple[str, str]]
    steps: Sequence[tuple[str, str]] = ()
    otherwise: bool = False
    paused: bool = False
    came: str = ""
    matched: str = ""
    dead: str = ""


@dataclass(frozen=True, slots=True)
class DrawnSource:
    """A source with its routes; `came` and `dead` are the rates of its events and its dead letters, "" without one."""

    name: str
    type: str
    routes: Sequence[DrawnRoute]
    paused: bool = False
    came: str = ""
    dead: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A bridge. No text has a character that is not printable."""

    sources: Sequence[DrawnSource]
    dead_letters: str

    def targets(self) -> dict[str, list[str]]:
        """Return the actors of each queue, in the order of the routes."""
        queues: dict[str, dict[str, None]] = {}
        for source in self.sources:
            for route in source.routes:
                for queue, actor in (*route.targets, *route.steps):
                    queues.setdefault(queue, {})[actor] = None
        return {queue: list(actors) for queue, actors in queues.items()}


def draw_config(loaded: Config, masking: Masking) -> Drawing:
    """Return the drawing of a file. Of its substituted values only names and topics are shown, as `check` does."""
    routes: dict[str, list[DrawnRoute]] = {name: [] for name in loaded.sources}
    for route in loaded.routes:
        when = masking.text(route.when or "")
        steps = [(step.queue, step.actor) for step in route.then]
        drawn = _route(str(route.name), route.topic, when, route.targets, steps, otherwise=route.otherwise)
        # The name of its source may have no value on this machine.
        routes.setdefault(route.source, []).append(drawn)
    types = {name: source.type for name, source in loaded.sources.items()}
    sources = [DrawnSource(escape(name), types.get(name, "?"), its) for name, its in routes.items()]
    return Drawing(sources, escape(dead_letters_key(loaded.dramatiq.namespace)))


def draw_state(state: BridgeState) -> Drawing:
    """Return the drawing of a running bridge."""
    routes: dict[str, list[DrawnRoute]] = {name: [] for name in state.sources}
    for name, route in state.routes.items():
        targets = route.targets or [(route.queue, route.actor)]
        drawn = _route(name, route.topic, route.when, targets, route.steps, otherwise=route.otherwise)
        routes.setdefault(route.source, []).append(drawn)
    types = {name: source.type for name, source in state.sources.items()}
    sources = [DrawnSource(escape(name), escape(types.get(name, "?")), its) for name, its in routes.items()]
    return Drawing(sources, escape(dead_letters_key(state.namespace)))


_Pairs = Sequence[tuple[str, str]]


def _route(
    name: str, topic: str | None, when: str | None, targets: _Pairs, steps: _Pairs, *, otherwise: bool
) -> DrawnRoute:
    shown, following = ([(escape(queue), escape(actor)) for queue, actor in pairs] for pairs in (targets, steps))
    return DrawnRoute(escape(name), escape(topic or ""), escape(when or ""), shown, following, otherwise)


def with_rates(drawing: Drawing, state: BridgeState, rates: Rates) -> Drawing:
    """Return a drawing with the events a second of a running bridge, and with its pauses."""
    sources = {escape(name): each for name, each in rates.sources.items()}
    routes = {escape(name): each for name, each in rates.routes.items()}
    paused_sources = {escape(name) for name, source in state.sources.items() if source.paused}
    paused_routes = {escape(name) for name, route in state.routes.items() if route.paused}
    drawn = []
    for source in drawing.sources:
        its = []
        for route in source.routes:
            drawn_route = replace(route, paused=route.name in paused_routes)
            if rate := routes.get(route.name):
                came, matched, dead = map(_label, (rate.came, rate["matched"], rate["dead_lettered"]))
                drawn_route = replace(drawn_route, came=came, matched=matched, dead=dead)
            its.append(drawn_route)
        drawn_source = replace(source, routes=its, paused=source.name in paused_sources)
        if of_source := sources.get(source.name):
            came, dead = map(_label, (of_source.came, of_source["dead_lettered"]))
            drawn_source = replace(drawn_source, came=came, dead=dead)
        drawn.append(drawn_source)
    return Drawing(drawn, drawing.dead_letters)


def _label(rate: float) -> str:
    return f"{spell_rate(rate)}/s"
