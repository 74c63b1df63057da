"""The index of patterns: it finds the patterns that fit, as the plain loop over all of them does, at the cost of the topic's depth."""

from __future__ import annotations

import time
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.config.sources import SOURCES
from bridge.topics.index import PatternIndex
from bridge.topics.pattern import Pattern

_LEVELS: Final = ["a", "b", "", "$SYS", "é", "x\ny", "{n}"]
_WILD: Final = {"mqtt": ["+", "#"], "amqp": ["*", "#", "#"]}
_SEPARATORS: Final = {"mqtt": "/", "amqp": "."}


class Indexed:
    """Patterns in a plain list, and in an index."""

    def __init__(self, protocol: str, texts: list[str]) -> None:
        self._syntax = SOURCES[protocol].traits.topics
        self._patterns: list[Pattern] = [self._syntax.compile(text) for text in texts]
        self._index: PatternIndex[int] = PatternIndex()
        for number, text in enumerate(texts):
            self._index.add(self._syntax.tokens(text), number)

    def candidates(self, topic: str) -> list[int]:
        """Return the patterns that the index finds."""
        return sorted(self._index.find(self._syntax.levels(topic)))

    def fitting(self, topic: str) -> list[int]:
        """Return the patterns that the index finds and that fit."""
        return [number for number in self.candidates(topic) if self._patterns[number].match(topic) is not None]

    def fitting_by_loop(self, topic: str) -> list[int]:
        """Return the patterns that fit, by asking each."""
        return [number for number, pattern in enumerate(self._patterns) if pattern.match(topic) is not None]


def levelled(protocol: str) -> st.SearchStrategy[tuple[list[str], list[str]]]:
    """Patterns and topics of levels."""
    separator, wild = _SEPARATORS[protocol], _WILD[protocol]
    if protocol == "mqtt":
        levels = st.lists(st.sampled_from([*_LEVELS, "+"]), max_size=4)
        patterns = st.tuples(levels, st.sampled_from([["#"], ["+"], ["a"], [""]])).map(lambda both: both[0] + both[1])
    else:
        patterns = st.lists(st.sampled_from([*_LEVELS, *wild]), min_size=1, max_size=5)
    once = patterns.filter(lambda levels: levels.count("{n}") < 2).map(separator.join).filter(bool)
    topics = st.lists(st.sampled_from([*_LEVELS[:-1], "c", "+", "*", "#"]), min_size=1, max_size=5).map(separator.join)
    return st.tuples(st.lists(once, max_size=12), st.lists(topics, min_size=1, max_size=6))


_PIECES: Final = [*"ab:./é\n*?", "*", "[ab]", "[^a]", "[a-c]", "\\*", "\\a"]
_GLOBS: Final = st.tuples(
    st.lists(st.sampled_from(_PIECES), max_size=5), st.sampled_from(["", "{n}", "{n}:"]), st.sampled_from(_PIECES)
).map(lambda parts: "".join(parts[0]) + parts[1] + parts[2])


@given(case=levelled("mqtt"))
@settings(max_examples=600, deadline=None)
def test_the_index_finds_the_mqtt_filters_that_the_loop_finds(case: tuple[list[str], list[str]]) -> None:
    """Also with empty levels, `$SYS`, `#` alone and at the parent level, captures and line breaks."""
    indexed = Indexed("mqtt", case[0])
    for topic in case[1]:
        assert indexed.fitting(topic) == indexed.fitting_by_loop(topic)


@given(case=levelled("amqp"))
@settings(max_examples=600, deadline=None)
def test_the_index_finds_the_amqp_patterns_that_the_loop_finds(case: tuple[list[str], list[str]]) -> None:
    """Also with `#` in any place, several of them, and the empty key."""
    indexed = Indexed("amqp", case[0])
    for topic in (*case[1], ""):
        assert indexed.fitting(topic) == indexed.fitting_by_loop(topic)


@given(globs=st.lists(_GLOBS, max_size=12), topics=st.lists(st.text("abc:./é\n*?\\", max_size=6), min_size=1))
@settings(max_examples=600, deadline=None)
def test_the_index_finds_the_globs_that_the_loop_finds(globs: list[str], topics: list[str]) -> None:
    """Also with classes, escaped characters, captures in any place and line breaks."""
    indexed = Indexed("redis-pubsub", globs)
    for topic in topics:
        assert indexed.fitting(topic) == indexed.fitting_by_loop(topic)


@pytest.mark.parametrize(
    ("protocol", "pattern", "topic"),
    [
        ("mqtt", "plants/p{}/ovens/+/#", "plants/p77/ovens/3/t"),
        ("mqtt", "+/p{}/t", "x/p77/t"),
        ("amqp", "#.p{}.*", "a.b.p77.t"),
        ("amqp", "plants.p{}.#", "plants.p77.b.c"),
        ("redis-pubsub", "plants:p{}:*", "plants:p77:t"),
        ("redis-pubsub", "*:p{}:*", "a:p77:t"),
        ("redis-pubsub", "{{site}}:p{}:*", "a:p77:t"),
    ],
)
def test_few_patterns_of_ten_thousand_are_asked(protocol: str, pattern: str, topic: str) -> None:
    """Of 10,000 patterns that differ in one level the index finds the one that fits, and few others."""
    indexed = Indexed(protocol, [pattern.format(number) for number in range(10_000)])
    assert indexed.fitting(topic) == [77]
    assert len(indexed.candidates(topic)) <= 4


@pytest.mark.parametrize(
    ("protocol", "patterns", "topic"),
    [
        ("amqp", [".".join(["#.a"] * n + ["#", "b"]) for n in range(1, 40)], ".".join("a" * 127)),
        ("amqp", [".".join(["#"] * 100 + ["b"]), ".".join(["*", "#"] * 50 + ["b"])], ".".join("a" * 127)),
        ("mqtt", ["/".join("+a"[n >> i & 1] for i in range(12)) for n in range(4096)], "/".join("a" * 32_000)),
        ("redis-pubsub", ["*a" * n + "b" for n in range(1, 40)], "a" * 4_000),
    ],
    ids=["amqp-many", "amqp-wildcards-only", "mqtt-deep", "redis-stars"],
)
def test_no_topic_makes_the_index_slow(protocol: str, patterns: list[str], topic: str) -> None:
    """Patterns of many wildcards take a topic of many levels in bounded time, where a search by trial would never end."""
    indexed = Indexed(protocol, patterns)
    began = time.process_time()
    indexed.candidates(topic)
    assert time.process_time() - began < 1


@pytest.mark.no_cover  # it takes long enough without the tracer
@pytest.mark.parametrize("length", [4096, 65_536, 1 << 20])
@pytest.mark.parametrize(
    "globs",
    [["*:temp", "*:hum"], ["plant:{site}:{dev}:temp", "plant:{site}:{dev}:x"], [f"*d{n:03}*a*" for n in range(1000)]],
    ids=["stars", "captures", "many"],
)
def test_a_long_channel_is_looked_up_soon_and_nothing_is_missed(globs: list[str], length: int) -> None:
    """A level of it is one character. 20 ms of CPU at most; the tests run on any machine, so they allow tenfold."""
    indexed = Indexed("redis-pubsub", globs)
    beginning = "plant:" + "".join(f"d{number:03}" for number in range(0, 1000, 7))
    for topic in (f"{beginning}{'a:' * length}"[:length], f"plant:{'a' * length}:b:temp"):
        began = time.process_time()
        found = indexed.candidates(topic)
        assert time.process_time() - began < 0.2
        assert indexed.fitting(topic) == indexed.fitting_by_loop(topic)
        assert set(indexed.fitting_by_loop(topic)) <= set(found)
