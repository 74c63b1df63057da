"""The traits of a source: every question about its protocol that is asked outside `bridge/sources`.

The settings of each protocol, in `sources.py`, answer all of them. This file knows no protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bridge.config.promises import Promise
from bridge.config.properties import Properties
from bridge.errors import Diagnostic
from bridge.topics.pattern import TopicSyntax

_Settings = TypeVar("_Settings")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The settings outside a source that its promise depends on.

    `in_sink`: its broker is the Redis database that messages are written to. `spool_bytes`: the size of the bridge's
    spool, None without one.
    """

    in_sink: bool
    spool_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Traits(Generic[_Settings]):
    """The answers of one protocol; most depend on the settings of the source.

    No field has a default: a source that leaves a question open is an error at import, and never gets an answer that
    is not true of it.
    """

    #: The wildcards of a route's `topic`.
    topics: TopicSyntax
    #: The topics that its events can have; None where only the broker knows.
    known_topics: Callable[[_Settings], Sequence[str] | None]
    #: Why it does not bring a topic, "" where it does or where only the broker knows; given the settings, and the topics
    #: of its routes (None of a route that takes every one).
    why_not_brought: Callable[[_Settings, Sequence[str | None], str], str]
    #: The promise; its guarantee begins with "at most once" where the broker never delivers an event again.
    promise: Callable[[_Settings, Surroundings], Promise]
    #: Whether an event that fits no route's topic is a dead letter, where `unmatched` is not set.
    dead_letters_unmatched: bool
    #: The headers and the `meta` of its events.
    properties: Callable[[_Settings], Properties]
    #: Whether the source makes a JSON object of each event, so that `decode` has no say.
    presents_json: Callable[[_Settings], bool]
    #: Given the source's mapping in the file: the key of an id that two sources must not share (MQTT's client_id), and the
    #: value that must differ. None where the protocol has no such id.
    exclusive: Callable[[Mapping[str, Any]], tuple[str, object] | None]
    #: Why there is no `deduplicate` among its settings; None where there is.
    no_deduplicate: str | None
    #: Why only one process can run it; None where its broker gives each event to one of several.
    why_not_shareable: Callable[[_Settings], str | None]
    #: The settings of process 1, 2 ...: a name by which the broker knows the process gets its number. It is the same at
    #: every start, so that a successor gets the events that a dead process had not acknowledged.
    for_process: Callable[[_Settings, int], _Settings]
    #: The mistakes between several keys of a source, given its mapping as it stands in the file, also beside other
    #: mistakes. The paths begin at the source.
    mistakes: Callable[[Mapping[str, Any]], Iterable[Diagnostic]]
    #: Notes of `check` on settings that are allowed, yet seldom meant: the key, "" for the source itself, and words that go
    #: on after the source's name.
    notes: Callable[[_Settings], Iterable[tuple[str, str]]]
