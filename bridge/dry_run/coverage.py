"""Coverage of routes by tests: each route has made a message, and each `when` was true and false."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bridge.config import Config
from bridge.dry_run.results import Result


@dataclass(slots=True)
class _Seen:
    """What the tests have seen of one route; `has_condition` says whether it has a `when`."""

    has_condition: bool
    made: bool = False
    true: bool = False
    false: bool = False
    #: A field was missing: `when` was neither true nor false.
    incomplete: bool = False
    failed: bool = False

    def parts(self) -> Iterator[tuple[bool, str]]:
        yield self.made, "no test makes a message of it"
        if self.has_condition:
            yield self.true, "no test makes its `when` true"
            why = ": a field is missing, so nothing is compared" if self.incomplete else ""
            yield self.false, f"no test makes its `when` false{why}"


@dataclass(slots=True)
class Coverage:
    """Filled with the results of tests by `add`."""

    _routes: dict[str, _Seen] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> Coverage:
        """Return the coverage before the first test."""
        return cls({str(route.name): _Seen(route.when is not None) for route in config.routes})

    def add(self, result: Result) -> None:
        """Count one event."""
        for one in result.routes:
            seen = self._routes[one.route]
            seen.made |= bool(one.messages)
            seen.true |= one.condition is True
            seen.false |= one.condition is False
            seen.incomplete |= one.verdict == "when" and one.condition is None
            seen.failed |= one.dead_letter is not None

    @property
    def counts(self) -> tuple[int, int]:
        """How many parts are covered, and how many there are."""
        parts = [covered for seen in self._routes.values() for covered, _ in seen.parts()]
        return sum(parts), len(parts)

    @property
    def gaps(self) -> Mapping[str, list[str]]:
        """By route, each part that no test covers, in words."""
        gaps = {name: [why for covered, why in seen.parts() if not covered] for name, seen in self._routes.items()}
        return {name: parts for name, parts in gaps.items() if parts}

    @property
    def failed(self) -> tuple[int, int]:
        """Of how many routes a test has seen a dead letter, and how many routes there are."""
        return sum(seen.failed for seen in self._routes.values()), len(self._routes)


def spell_percent(part: int, whole: int) -> str:
    """Return the share with one decimal at most, rounded down: 100% is all."""
    return f"{math.floor(1000 * part / whole) / 10 if whole else 100:g}%"
