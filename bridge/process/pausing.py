"""The sources and routes that a person has paused: by name, and the lines that say what it means for their events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bridge.config import Config
from bridge.model.control import Paused, UnknownName
from bridge.observe.logs import logger
from bridge.sources.promise import promise

log = logger()
_KEPT: Final = "its broker keeps the events that come meanwhile, within its own limits"
_LOST: Final = "its broker keeps nothing for it: events that come meanwhile are lost"
_HELD: Final = "its source waits at the first event for it, and then so do all routes of the source; nothing is lost"
_HELD_AT_MOST_ONCE: Final = (
    "its source waits at the first event for it, and then so do all routes of the source;"
    " what comes beyond the window, and the spool if there is one, is lost"
)


@dataclass(frozen=True, slots=True)
class Pauses:
    """The names of the paused sources and routes."""

    sources: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()

    def within(self, config: Config) -> Pauses:
        """Return those whose names `config` still has."""
        return Pauses(self.sources & config.sources.keys(), self.routes & {str(route.name) for route in config.routes})

    def changed(self, config: Config, name: str, *, paused: bool) -> tuple[Pauses, Paused]:
        """Return the pauses once `name` is paused or resumed, and the answer; log the change.

        A source goes before a route of the same name; `route:NAME` is always the route.

        Raises:
            UnknownName: `config` has neither a source nor a route with the name.
        """
        routes = [str(route.name) for route in config.routes]
        update: Callable[[frozenset[str]], frozenset[str]] = lambda names: names | {name} if paused else names - {name}  # noqa: E731
        if name in config.sources:
            after, kind = replace(self, sources=update(self.sources)), "source"
        else:
            name = name.removeprefix("route:")
            if name not in routes:
                raise UnknownName(name, list(dict.fromkeys((*config.sources, *routes))))
            after, kind = replace(self, routes=update(self.routes)), "route"
        if after != self:
            _say(config, name, is_source=kind == "source", paused=paused)
        return after, Paused(name, "source" if kind == "source" else "route", paused)


def _say(config: Config, name: str, *, is_source: bool, paused: bool) -> None:
    fields = {"source" if is_source else "route": name}
    if not paused:
        log.info("source.resumed" if is_source else "route.resumed", **fields)
        return
    source = name if is_source else next(route.source for route in config.routes if str(route.name) == name)
    is_lost = promise(config, config.sources[source]).guarantee.startswith("at most once")
    event, kept, lost = ("source.paused", _KEPT, _LOST) if is_source else ("route.paused", _HELD, _HELD_AT_MOST_ONCE)
    log.warning(event, **fields, cause="a person has paused it", consequence=lost if is_lost else kept)
