"""Orders to a running bridge: reload the configuration, pause and resume a source or a route; and their answers.

`Bridge` and `Supervisor` implement `Controlled`; the admin server and a signal give the orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from bridge.model.state import BridgeState
from bridge.model.taps import Tap, TapFilter
from bridge.model.workshop import Workshop

#: `ok`: every change is live, and there may be none. `refused`: a change cannot be made live. `invalid`: the file has
#: mistakes. `failed`: the file cannot be read, a stop came first, or a change could not be carried through. Nothing has
#: changed unless it is `ok`; a `failed` with changes says in `cause` how far it came.
ReloadResult = Literal["ok", "refused", "invalid", "failed"]
#: The kinds of names that can be paused. A source comes first where a route has the same name.
PausedKind = Literal["source", "route"]


class Reloaded(msgspec.Struct, omit_defaults=True):
    """The answer to a reload. `changes` are in words; `cause` says why nothing has changed, without secrets."""

    result: ReloadResult
    changes: list[str] = []
    cause: str = ""


class Paused(msgspec.Struct):
    """The answer to a pause or a resume: the kind of `name`, and whether it is paused now."""

    name: str
    kind: PausedKind
    paused: bool


class UnknownName(Exception):
    """Neither a source nor a route has this name; `known` are the names that can be paused, sources first."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no source or route has the name {name!r}; there are {', '.join(known)}")
        self.name = name
        self.known = list(known)


class Controlled(Protocol):
    """A running bridge, of one process or of several. Called on its event loop."""

    @property
    def workshop(self) -> Workshop:
        """The tools of the page."""
        ...

    def state(self) -> BridgeState:
        """Return how the whole bridge stands."""
        ...

    async def reload(self) -> Reloaded:
        """Load the file again, and return once its changes are live, or once it is clear that none is.

        A call during a reload waits for it, and then loads the file once more; all that wait share that answer.
        """
        ...

    async def pause(self, name: str, *, paused: bool) -> Paused:
        """Pause the source or route `name`, or resume it; return once it has taken effect.

        Raises:
            UnknownName: no source or route has this name.
        """
        ...

    async def tap(self, wanted: TapFilter) -> Tap:
        """Begin to tap the events of a filter; return once the next one is seen. `untap` ends it.

        Raises:
            UnknownTapName: the filter names a source or a route that is not there.
            TooManyTaps: there is no place for another one.
            InvalidValue: its glob is too long.
        """
        ...

    def untap(self, tap: Tap) -> None:
        """End a tap, at once; a second call does nothing."""
        ...
