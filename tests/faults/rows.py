"""What a row is, and the registry of all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from typing import Any, Final

from tests.faults.sources import EVERY
from tests.faults.stage import Stage

#: Breaks something under load and mends it again; when it returns, the fault has ended.
Act = Callable[[Stage], None]

_MODULES: Final = (
    "bridge",
    "redis",
    "redis_refusals",
    "rabbitmq",
    "mosquitto",
    "events",
    "input",
    "spool",
    "again",
    "neighbours",
    "time",
    "broken",
)


@dataclass(frozen=True)
class Says:
    """A line that the bridge must log: an event of this name that has all `fields`, of `source` where one is given,
    with `cause` in its cause.
    """

    event: str
    source: str | None = None
    fields: tuple[str, ...] = ("cause", "retry_in")
    cause: str = ""


@dataclass(frozen=True)
class Row:
    """One experiment. What every row promises is in `experiment.py`; here is what sets this one apart.

    `again`: how many times everything in flight may come twice (see `Kind.again`), 0 where nothing that the bridge
    was connected to has ended. `must_duplicate`: without a duplicate the fault has not hit. `keeps_all`: sources
    that promise at most once lose nothing either. `own_loss` says why a broker itself loses what it has confirmed; of `losers` only.
    `most_lines` bounds the warnings and errors of one kind, source and cause: `Repeats` allows one in 10 s, a new connection
    begins anew.
    `unready`: of these words one stands in a cause that `/readyz` gives while the fault lasts; which is for ever where
    `stays_unready`.
    `recovery_s` is None where nothing is published after the fault. `only_long` keeps it out of the short matrix.
    """

    name: str
    what: str
    act: Act
    sources: tuple[str, ...] = EVERY
    says: tuple[Says, ...] = ()
    unready: tuple[str, ...] = ()
    stays_unready: bool = False
    again: int = 0
    must_duplicate: bool = False
    recovery_s: float | None = 10.0
    keeps_all: bool = False
    own_loss: str = ""
    losers: tuple[str, ...] = ()
    most_lines: int = 12
    only_long: bool = False
    stage: Mapping[str, Any] | None = None

    @property
    def has_two_paths(self) -> bool:
        """Whether the bridge may read one of its sources in two ways."""
        return any(source.startswith(("amqp", "mqtt")) for source in self.sources)


_rows: dict[str, Row] = {}


def row(name: str, **settings: Any) -> Callable[[Act], Act]:
    """Register a function as the row `name`; its docstring says what is done to whom, `settings` are Row's."""

    def register(act: Act) -> Act:
        assert name not in _rows, f"two rows are called {name}"
        _rows[name] = Row(name, (act.__doc__ or "").strip().splitlines()[0], act, **settings)
        return act

    return register


def every_row(pattern: str = "*") -> list[Row]:
    """Return the rows whose names fit any of the comma-separated patterns (`redis-*`), in the order of the files."""
    for module in _MODULES:
        import_module(f"tests.faults.rows_{module}")
    patterns = [one.strip() for one in pattern.split(",")]
    return [row for row in _rows.values() if any(fnmatch(row.name, one) for one in patterns)]


def named(name: str) -> Row:
    """Return the row of this name."""
    (found,) = every_row(name)
    return found
