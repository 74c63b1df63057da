"""Actors of every shape that a function has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypedDict

import dramatiq
from dramatiq.brokers.stub import StubBroker

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

broker = StubBroker()
UserId = NewType("UserId", int)


class Reading(TypedDict):
    """A mapping with known keys."""

    celsius: float


@dramatiq.actor(broker=broker)
def plain(a, b=1):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """No annotations."""


@dramatiq.actor(broker=broker)
def typed(  # noqa: PLR0917 - one of each
    text: str,
    number: int,
    fraction: float,
    flag: bool,
    many: list[int],
    mapping: Mapping[str, int],
    user: UserId,
    reading: Reading,
) -> None:
    """One parameter of each type."""


@dramatiq.actor(broker=broker)
def choices(  # noqa: PLR0917 - one of each
    severity: Literal["low", "high"],
    level: Literal[1, 2] | None = None,
    size: int | str | None = 3,
    note: Annotated[str, "a note"] = "",
    items: Sequence[str] = (),
    anything: Any = None,
) -> None:
    """Parameters with a choice."""


@dramatiq.actor(broker=broker)
def positional_only(a: int, /, b: int) -> None:
    """The first one has no keyword."""


@dramatiq.actor(broker=broker)
def keyword_only(*, a: int, b: int = 1) -> None:
    """Both need their keyword."""


@dramatiq.actor(broker=broker)
def open_ended(a: int, *args: int, **kwargs: str) -> None:
    """Takes what comes."""


@dramatiq.actor(broker=broker)
def unresolvable(a: Unknown, b: int) -> None:
    """An annotation that only a type checker can read."""


@dramatiq.actor(broker=broker)
async def asynchronous(a: int) -> None:
    """A coroutine."""


def _wrapped(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)

    return call


@dramatiq.actor(broker=broker)
@_wrapped
def decorated(a: int) -> None:
    """Its decorator takes anything, and keeps the signature."""


class ClassBased(dramatiq.GenericActor):
    """An actor that is a class."""

    class Meta:
        """Its options."""

        broker = broker
        queue_name = "classes"
        max_retries = 2

    def perform(self, a: int) -> None:
        """Do it."""


@dramatiq.actor(broker=broker, queue_name="failures")
def on_failure(message: dict[str, Any], error: dict[str, str]) -> None:
    """Called by Dramatiq when another actor has failed for good."""


@dramatiq.actor(broker=broker)
def no_callback(only: int) -> None:
    """Too few parameters for a callback."""
