"""The settings and the traits of a source of type `lines`: a file, each line of it a topic, a space and a body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import re2
from pydantic import Field

from bridge.config.connection import Integer
from bridge.config.promises import Promise
from bridge.config.properties import Properties
from bridge.config.source_model import DeduplicatedSource
from bridge.config.traits import Surroundings, Traits
from bridge.errors import Diagnostic
from bridge.topics.index import MANY, ONE, Token
from bridge.topics.pattern import Pattern, capture_names, compile_regex, split_levels


class LinesTopics:
    """Levels end with `>`; `?` is one level, `**` all that follow."""

    level: Final = "level"
    wildcards: Final = ("?", "**")
    strict: Final = "?"

    @staticmethod
    def compile(text: str) -> Pattern:
        """See `TopicSyntax`."""
        regex = {"?": "[^>]*", "**": ".*"}
        levels = [
            "([^>]*)" if level.startswith("{") else regex.get(level) or re2.escape(level)
            for level in split_levels(text, ">", "**", "?")
        ]
        return compile_regex(text, capture_names(text), ">".join(levels))

    @staticmethod
    def tokens(text: str) -> list[Token]:
        """See `TopicSyntax`."""
        return [MANY if level == "**" else ONE if level == "?" or "{" in level else level for level in text.split(">")]

    @staticmethod
    def check_topic(topic: str) -> None:
        """See `TopicSyntax`."""

    @staticmethod
    def levels(topic: str) -> list[str]:
        """See `TopicSyntax`."""
        return topic.split(">")


def _at_least_once(source: Lines, surroundings: Surroundings) -> Promise:
    guarantee = f"at least once, after {source.skip} lines{'' if surroundings.in_sink else ', from elsewhere'}"
    return Promise(guarantee, "all lines after a restart", "the file stays", "that of the file", ())


def _mistakes(source: Mapping[str, Any]) -> Iterator[Diagnostic]:
    if "skip" in source and "tail" in source:
        yield Diagnostic(("tail",), "it contradicts skip", "write one of them")


def _why_not_brought(source: Lines, _topics: Sequence[str | None], topic: str) -> str:
    return f"it brings only {', '.join(source.only)}" if source.only and topic not in source.only else ""


class Lines(DeduplicatedSource):
    """A file of lines."""

    schemes: ClassVar[tuple[str, ...]] = ("lines", "liness")
    tls_scheme: ClassVar[str] = "liness"
    traits: ClassVar[Traits[Any]] = Traits["Lines"](
        topics=LinesTopics,
        known_topics=lambda source: source.only or None,
        why_not_brought=_why_not_brought,
        promise=_at_least_once,
        dead_letters_unmatched=True,
        properties=lambda _: Properties({}, None, "a line has no headers"),
        presents_json=lambda source: source.tail,
        exclusive=lambda _: None,
        no_deduplicate=None,
        why_not_shareable=lambda source: None if source.tail else "every process reads the whole file",
        for_process=lambda source, number: source.model_copy(update={"skip": number}),
        mistakes=_mistakes,
        notes=lambda source: [("tail", "reads the end of the file only")] if source.tail else [],
    )

    type: Literal["lines"] = Field(description="protocol of the source")
    url: str = Field(description="the file, as in lines://localhost/var/log/lines")
    skip: Annotated[Integer, Field(ge=0)] = Field(default=0, description="lines to leave out at the beginning")
    tail: bool = Field(default=False, description="whether only new lines are read")
    only: list[str] = Field(default=[], description="the topics that stand in the file")
