"""MQTT's topic filters: `+` is one level, `#` the parent level and all below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import re2

from bridge.errors import InvalidValue
from bridge.topics.index import MANY, ONE, PatternIndex, Token
from bridge.topics.pattern import CAPTURE, Pattern, capture_names, compile_regex, split_levels

#: A string of MQTT, in bytes of UTF-8 (MQTT 5, 1.5.4).
MAX_STRING: Final = 65_535


class MqttTopics:
    """See `TopicSyntax`."""

    level: Final = "level"
    wildcards: Final = ("+", "#")
    strict: Final = "wildcards in the first level take no topic that begins with $"

    @staticmethod
    def compile(text: str) -> Pattern:
        """See `TopicSyntax`."""
        pattern = compile_regex(text, capture_names(text), _regex(text))
        check_filter(subscription(text))
        return pattern

    @staticmethod
    def tokens(text: str) -> list[Token]:
        """See `TopicSyntax`."""
        return [
            MANY if level == "#" else ONE if level == "+" or level[:1] == "{" else level for level in text.split("/")
        ]

    @staticmethod
    def check_topic(topic: str) -> None:
        """See `TopicSyntax`."""
        check_string(topic)
        if not topic:
            raise InvalidValue("an event of MQTT has a topic", "add the topic that it is published to")
        if topic.startswith("$share/"):
            raise InvalidValue("no event has a topic that begins with $share/", "write the topic it is published to")
        for wildcard in "+#":
            if wildcard in topic:
                hint = "write the topic of one event"
                raise InvalidValue(f"no event has a topic with the wildcard {wildcard}", hint, topic.index(wildcard))

    @staticmethod
    def levels(topic: str) -> list[str]:
        """See `TopicSyntax`."""
        return topic.split("/")


def _regex(text: str) -> str:
    levels = split_levels(text, "/", "#", "+")
    if "#" in levels[:-1]:
        raise InvalidValue("# must be the last level", "use + for one level in the middle", text.index("#"))
    # A wildcard in the first level does not take the broker's own $SYS topics [MQTT-4.7.2-1].
    if levels == ["#"]:
        return r"(?s)[^$].*|"
    parts = []
    for index, level in enumerate(levels):
        any_level = r"(?:[^$/][^/]*|)" if index == 0 else r"[^/]*"
        if level == "#":
            continue
        if level == "+":
            parts.append(any_level)
        elif level.startswith("{"):
            parts.append(f"({any_level})")
        else:
            parts.append(re2.escape(level))
    tail = r"(?:/.*)?" if levels[-1] == "#" else ""
    return "(?s)" + "/".join(parts) + tail


def check_string(text: str) -> None:
    """Raise InvalidValue for text that no packet holds."""
    if (size := len(text.encode())) > MAX_STRING:
        raise InvalidValue(f"takes text of at most {MAX_STRING:,} bytes, MQTT's own limit; this one has {size:,}")
    if "\0" in text:
        raise InvalidValue("takes text without the character NUL, which MQTT forbids")


def check_filter(text: str) -> None:
    """Raise InvalidValue for a filter that no broker may take, also within a shared subscription, `$share/NAME/FILTER`."""
    check_string(text)
    shared, _, rest = text.removeprefix("$share/").partition("/") if text.startswith("$share/") else ("-", "", text)
    if not shared or not rest or set(shared) & set("+#"):
        raise InvalidValue("a shared subscription has a name without + and #, and a filter", "as in $share/bridge/a/+")
    *parents, _ = levels = rest.split("/")
    for level in levels:
        if len(level) > 1 and set(level) & set("+#"):
            raise InvalidValue("a wildcard, + or #, is a level of its own", "as in a/+/c, or a/#")
    if "#" in parents:
        raise InvalidValue("# must be the last level", "use + for one level in the middle")


def subscription(text: str) -> str:
    """Return the filter that brings every topic that the pattern `text` fits: `{name}` becomes `+`."""
    return CAPTURE.sub("+", text)


def without_share(text: str) -> str:
    """Return the filter inside a shared subscription, and any other as it is."""
    return text.split("/", 2)[2] if text.startswith("$share/") else text


def needed_filters(configured: Sequence[str], topics: Sequence[str | None]) -> list[str]:
    """Return the filters to subscribe to: those that are configured, or those that the routes' topics need."""
    needed = [subscription(topic) if topic is not None else "#" for topic in topics]
    return without_covered(list(configured) or needed)


def covers(wide: str, narrow: str) -> bool:
    """Tell whether the filter `wide` brings every topic that `narrow` brings."""
    wide_levels, narrow_levels = wide.split("/"), narrow.split("/")
    for index, level in enumerate(wide_levels):
        if level == "#":
            return not (index == 0 and narrow_levels[0].startswith("$"))
        if index >= len(narrow_levels) or narrow_levels[index] == "#":
            return False
        if level == "+":
            if index == 0 and narrow_levels[0].startswith("$"):
                return False
        elif level != narrow_levels[index]:
            return False
    return len(wide_levels) == len(narrow_levels)


def without_covered(filters: list[str]) -> list[str]:
    """Drop every filter that another one covers: a broker may send an event once per filter that fits."""
    unique = list(dict.fromkeys(filters))
    index: PatternIndex[str] = PatternIndex()
    for each in unique:
        index.add(MqttTopics.tokens(each), each)
    # A filter as a topic: where it has a wildcard, only a wildcard covers it.
    return [
        narrow
        for narrow in unique
        if not any(wide != narrow and covers(wide, narrow) for wide in index.find(MqttTopics.levels(narrow)))
    ]
