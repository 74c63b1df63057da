"""Actors of every shape that a function has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypedDict

import dramatiq
import pydantic
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
def nested(
    many: list[int],
    levels: dict[str, list[Literal["low", "high"]]] | None = None,
    either: list[int] | list[str] = (),  # type: ignore[assignment] # a default of another type
    names: Iterable[str] = (),
) -> None:
    """Annotations inside annotations."""


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


def _with_session(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        function("session", *args, **kwargs)

    return call


@dramatiq.actor(broker=broker)
@_with_session
def injected(session: str, user: int) -> None:
    """Its decorator gives it the first argument."""


def _positional(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def call(*args: Any) -> None:
        function(*args)

    return call


@dramatiq.actor(broker=broker)
@_positional
def without_keywords(a: int) -> None:
    """Its decorator takes no keywords."""


@dramatiq.actor(broker=broker)
@pydantic.validate_call
def converting(a: int) -> None:
    """Takes "5" for a number."""


@dramatiq.actor(broker=broker)
def implicit(a: int = None, flag: int = 0) -> None:  # type: ignore[assignment]  # noqa: RUF013 - old code is written so
    """Its default is not of its type."""


class OwnCall(dramatiq.GenericActor):
    """A class that is called in another way."""

    class Meta:
        """Its options."""

        broker = broker

    def __call__(self, job: str) -> None:
        """Look the job up, and do it."""
        self.perform({}, job)

    def perform(self, session: dict[str, Any], job: str) -> None:
        """Do it."""


class _TenantActor(dramatiq.Actor[Any, Any]):
    def __call__(self, tenant: str, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


@dramatiq.actor(broker=broker, actor_class=_TenantActor)
def with_actor_class(a: int) -> None:
    """Its class takes an argument away."""


@dramatiq.actor(broker=broker, pipe_ignore=True)
def ignoring() -> None:
    """Its result is not given to the next message of a pipeline."""


@dramatiq.actor(broker=broker)
def no_arguments() -> None:
    """Takes nothing."""


def _same_signature(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("session", 1)
        function(*args, **kwargs)

    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined] # as some libraries do
    return call


@dramatiq.actor(broker=broker)
@_same_signature
def pretending(a: int, *, session: int) -> None:
    """Its decorator shows the signature that it does not have."""
