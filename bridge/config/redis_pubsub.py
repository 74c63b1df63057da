"""The settings and the traits of Redis pub/sub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from bridge.config import promises
from bridge.config.connection import Name
from bridge.config.properties import Properties
from bridge.config.source_model import SourceModel, WideWindow, WideWindowSetting, at_most_once
from bridge.config.traits import Traits
from bridge.config.wording import first_names
from bridge.errors import Diagnostic
from bridge.topics.pattern import Pattern
from bridge.topics.redis import RedisTopics, can_overlap

#: So many patterns of a source are compared with each other.
_MAX_COMPARED: Final = 100


def _notes_pubsub(source: RedisPubsub) -> Iterator[tuple[str, str]]:
    for channel in source.channels:
        if set(channel) & set("*?["):
            yield "channels", f"has the channel {channel!r}, whose wildcard is a character: wildcards stand in patterns"
    patterns = [_redis_pattern(pattern) for pattern in source.patterns]
    for channel in source.channels:
        if any(pattern.match(channel) is not None for pattern in patterns):
            yield "patterns", f"gets each event of {channel!r} twice: as a channel, and by a pattern that fits it"
    # A class may keep two patterns apart; among hundreds of patterns each pair would take too long.
    plain = [pattern for pattern in source.patterns if "[" not in pattern][:_MAX_COMPARED]
    for first, second in combinations(plain, 2):
        if can_overlap(*map(_without_captures, (first, second))):
            yield "patterns", f"gets each event twice whose channel fits both {first!r} and {second!r}"


def _redis_pattern(text: str) -> Pattern:
    return RedisTopics.compile(_without_captures(text))


def _without_captures(text: str) -> str:
    """Return a pattern of Redis as one of ours: Redis takes braces as characters."""
    return re.sub(r"[{}]", r"\\\g<0>", text)


def _mistakes_pubsub(source: Mapping[str, Any]) -> Iterator[Diagnostic]:
    if source.get("channels", []) == [] and source.get("patterns", []) == []:
        yield Diagnostic((), "this source subscribes to nothing", "add channels or patterns", at_key=True)


def _why_not_brought_pubsub(source: RedisPubsub, _topics: Sequence[str | None], topic: str) -> str:
    fits = any(_redis_pattern(pattern).match(topic) is not None for pattern in source.patterns)
    if topic in source.channels or fits:
        return ""
    names = first_names([*source.channels, *source.patterns])
    return f"the bridge does not subscribe to this channel: it subscribes to {names}"


class RedisPubsub(SourceModel):
    """Channels of Redis pub/sub."""

    traits: ClassVar[Traits[Any]] = Traits["RedisPubsub"](
        topics=RedisTopics,
        known_topics=lambda source: None if source.patterns else source.channels,
        why_not_brought=_why_not_brought_pubsub,
        promise=lambda source, surroundings: at_most_once(promises.PUBSUB, source, surroundings),
        dead_letters_unmatched=False,
        properties=lambda _: Properties({}, None, "Redis pub/sub has no headers"),
        presents_json=lambda _: False,
        exclusive=lambda _: None,
        no_deduplicate="Redis pub/sub never delivers a message again, so there is nothing to recognise",
        why_not_shareable=lambda _: "every subscriber of a channel gets every event",
        for_process=lambda source, _: source,
        mistakes=_mistakes_pubsub,
        notes=_notes_pubsub,
    )

    window: WideWindowSetting = WideWindow()
    type: Literal["redis-pubsub"] = Field(description="protocol of the source")
    channels: list[Name] = Field(default=[], description="channels to subscribe to", examples=[["signups"]])
    patterns: list[Name] = Field(
        default=[], description="patterns of channels to subscribe to", examples=[["legacy.*"]]
    )
