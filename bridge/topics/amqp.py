"""The binding patterns of AMQP's topic exchanges: `*` is one word, `#` any number of words, also none."""

from __future__ import annotations

from typing import Final

import re2

from bridge.errors import InvalidValue
from bridge.topics.index import MANY, ONE, Token
from bridge.topics.pattern import Pattern, capture_names, compile_regex, split_levels

#: A routing key, in bytes of UTF-8.
MAX_KEY: Final = 255
_WORD: Final = r"[^.]*"


class AmqpTopics:
    """See `TopicSyntax`."""

    level: Final = "word"
    wildcards: Final = ("*", "#")
    strict: Final = "an empty routing key has no words, and fits only #"

    @staticmethod
    def compile(text: str) -> Pattern:
        """See `TopicSyntax`."""
        # To RabbitMQ an empty routing key has no words: of the wildcards only # takes it.
        fits_empty = set(text.split(".")) == {"#"}
        return compile_regex(text, capture_names(text), _regex(text), fits_empty=fits_empty)

    @staticmethod
    def tokens(text: str) -> list[Token]:
        """See `TopicSyntax`."""
        return [MANY if word == "#" else ONE if word == "*" or word[:1] == "{" else word for word in text.split(".")]

    @staticmethod
    def check_topic(topic: str) -> None:
        """See `TopicSyntax`."""
        if (size := len(topic.encode())) > MAX_KEY:
            raise InvalidValue(f"a routing key has at most {MAX_KEY} bytes, AMQP's own limit; this one has {size:,}")

    @staticmethod
    def levels(topic: str) -> list[str]:
        """See `TopicSyntax`."""
        return topic.split(".")


def _regex(text: str) -> str:
    words = split_levels(text, ".", "#", "*")
    if words == ["#"]:
        return r"(?s).*"
    # Each word carries the dot before it, so that `#`, which may be no word at all, takes its dot along;
    # only the first word has none.
    regex = ""
    pending = False  # a leading `#` has been written: the next word may begin the topic
    for index, word in enumerate(words):
        if word == "#":
            regex += rf"(?:{_WORD}(?:\.{_WORD})*)?" if index == 0 else rf"(?:\.{_WORD})*"
            pending = pending or index == 0
            continue
        part = _WORD if word == "*" else f"({_WORD})" if word.startswith("{") else re2.escape(word)
        if index == 0:
            regex += part
        elif pending:
            regex = rf"(?:{_WORD}\.)*" + part
            pending = False
        else:
            regex += r"\." + part
    return "(?s)" + regex
