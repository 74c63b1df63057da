"""Events a second, from two looks at a running bridge."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Generic, TypeVar

from bridge.commands.admin_client import AdminClient, Status
from bridge.model.accounting import Counts, RouteCounts

#: Between the two looks of a command that takes no interval.
INTERVAL_S: Final = 1.0

_Count = TypeVar("_Count", Counts, RouteCounts)


@dataclass(frozen=True, slots=True)
class Look:
    """A status, and when it came, by the monotonic clock."""

    status: Status
    at: float


@dataclass(frozen=True, slots=True)
class Rate(Generic[_Count]):
    """The events a second of a source or a route, by the names of its counts."""

    before: _Count
    after: _Count
    seconds: float

    def __getitem__(self, name: str) -> float:
        """Return the events a second of one count."""
        difference: int = getattr(self.after, name) - getattr(self.before, name)
        return difference / self.seconds

    @property
    def came(self) -> float:
        """The events a second that came to it."""
        return (self.after.came - self.before.came) / self.seconds


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates by name. One that is not known has no entry: its counts have begun anew, or it was not there before."""

    sources: Mapping[str, Rate[Counts]]
    routes: Mapping[str, Rate[RouteCounts]]


def look(client: AdminClient) -> Look:
    """Ask for the status; errors as `AdminClient.status` has."""
    status = client.status()
    return Look(status, time.monotonic())


def rates(before: Look, after: Look) -> Rates:
    """Return the events a second between two looks; none if the bridge has started anew between them."""
    seconds = after.at - before.at
    if before.status.started_at != after.status.started_at or seconds <= 0:
        return Rates({}, {})
    old, new = _counts(before.status), _counts(after.status)
    sources = {
        name: Rate(old[name], counts, seconds) for name, counts in new.items() if _goes_on(old.get(name), counts)
    }
    old_routes, new_routes = _routes(before.status), _routes(after.status)
    none = RouteCounts()
    routes = {
        name: Rate(old_routes.get(name, none), counts, seconds)
        for name, counts in new_routes.items()
        if name in before.status.routes and _goes_on(old_routes.get(name, none), counts)
    }
    return Rates(sources, routes)


def _counts(status: Status) -> dict[str, Counts]:
    return {name: source.counts for name, source in status.sources.items()}


def _routes(status: Status) -> dict[str, RouteCounts]:
    return {name: status.counts_of_route(name) for name in status.routes}


def _goes_on(before: _Count | None, after: _Count) -> bool:
    """Whether no count is smaller than before, as where one of several processes has started anew."""
    if before is None:
        return False
    names = [each.name for each in fields(after) if each.name not in {"reasons", "repaired", "routes"}]
    return all(getattr(after, name) >= getattr(before, name) for name in names)
