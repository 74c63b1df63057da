"""Topic patterns: each protocol's own wildcards, captures, and MQTT filters that make others redundant."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.config.sources import SOURCES
from bridge.errors import InvalidValue
from bridge.topics.mqtt import covers, subscription, without_covered
from bridge.topics.pattern import Pattern
from bridge.topics.redis import can_overlap
from tests.support.brokers import Redis


def compiled(text: str, protocol: str) -> Pattern:
    """Compile a pattern in the syntax of a source of type `protocol`."""
    return SOURCES[protocol].traits.topics.compile(text)


def fits(text: str, protocol: str, topic: str) -> bool:
    """Say whether the compiled pattern takes the topic."""
    return compiled(text, protocol).match(topic) is not None


def mqtt_fits(text: str, topic: str) -> bool:
    """MQTT's rules, level by level, written from the specification and not from the bridge."""
    levels, wanted = topic.split("/"), text.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    while wanted:
        if wanted[0] == "#":
            return True
        if not levels or (wanted[0] not in {"+", levels[0]}):
            return False
        wanted, levels = wanted[1:], levels[1:]
    return not levels


def amqp_fits(text: str, key: str) -> bool:
    """RabbitMQ's topic exchange, word by word: an empty key has no words."""

    def go(wanted: list[str], words: list[str]) -> bool:
        if not wanted:
            return not words
        if wanted[0] == "#":
            return any(go(wanted[1:], words[i:]) for i in range(len(words) + 1))
        return bool(words) and wanted[0] in {"*", words[0]} and go(wanted[1:], words[1:])

    return go(text.split("."), key.split(".") if key else [])


WORDS = st.sampled_from(["a", "b", "", "$S", "é"])
MQTT_TOPICS = st.lists(WORDS, min_size=1, max_size=4).map("/".join)
AMQP_KEYS = st.lists(WORDS, min_size=1, max_size=5).map(".".join)
AMQP_PATTERNS = (
    st.lists(st.sampled_from(["a", "b", "", "$S", "é", "*", "#"]), min_size=1, max_size=5).map(".".join).filter(bool)
)


@st.composite
def mqtt_filters(draw: st.DrawFn) -> str:
    """A valid filter."""
    levels = draw(st.lists(st.sampled_from(["a", "b", "", "$S", "é", "+"]), max_size=3))
    levels += draw(st.sampled_from([["#"], ["+"], ["a"]]))
    return "/".join(levels)


@pytest.mark.parametrize(
    ("text", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/", False),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d/c", False),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("+", "a", True),
        ("+", "/a", False),
        ("+/+", "/a", True),
        ("a/#", "a", True),
        ("a/#", "a/", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("+/#", "a", True),
        ("#", "a/b", True),
        ("#", "$SYS/broker/uptime", False),
        ("+/broker/uptime", "$SYS/broker/uptime", False),
        ("+/#", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/+/uptime", "$SYS/broker/uptime", True),
        ("a/+", "a/$x", True),
        ("a.b", "axb", False),
        ("a/#", "a/line\nbreak", True),
    ],
)
def test_mqtt_wildcards(text: str, topic: str, expected: bool) -> None:
    """`+` is one level, `#` the rest and the parent; neither takes a `$` topic in the first level."""
    assert fits(text, "mqtt", topic) is expected


@pytest.mark.parametrize(
    ("text", "topic", "expected"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*", "", False),
        ("*.*", ".", True),
        ("#", "", True),
        ("#.#", "", True),
        ("#", "a.b", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#.a", "a", True),
        ("#.a", "x.y.a", True),
        ("#.a", "xa", False),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "ab", False),
        ("#.a.#", "x.a.y", True),
        ("*.#.*", "a", False),
        ("*.#.*", "a.b", True),
        ("#.*", "", False),
        ("a.b", "a/b", False),
        ("a", "A", False),
    ],
)
def test_amqp_wildcards(text: str, topic: str, expected: bool) -> None:
    """`*` is one word, `#` any number of words, none included, with their dots."""
    assert fits(text, "amqp", topic) is expected
    assert amqp_fits(text, topic) is expected


@given(text=mqtt_filters(), topic=MQTT_TOPICS)
def test_mqtt_patterns_fit_the_topics_that_the_specification_lists(text: str, topic: str) -> None:
    """A route fires for exactly the topics that a broker would send for the same filter."""
    assert fits(text, "mqtt", topic) is mqtt_fits(text, topic)


@given(text=AMQP_PATTERNS, key=AMQP_KEYS)
@settings(max_examples=400)
def test_amqp_patterns_fit_the_keys_that_a_topic_exchange_routes(text: str, key: str) -> None:
    """A route fires for exactly the routing keys that a binding with the same pattern takes."""
    assert fits(text, "amqp", key) is amqp_fits(text, key)


GLOB_PIECES = st.sampled_from(
    [*"*?ab.:-^$(|é!]", "[ab]", "[^a]", "[a-c]", "[c-a]", "[^a-b]", "[.$(]", "[a\\]]", "[\\d]", "[a^]", "[[]", "[{]"]
    + [f"\\{char}" for char in "*[a\\{}"]
)


@given(
    glob=st.lists(GLOB_PIECES, min_size=1, max_size=5).map("".join),
    channels=st.lists(st.text("abcd.:-^$(|*[]\\{}!", min_size=1, max_size=5), min_size=1, max_size=5),
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_redis_patterns_fit_the_channels_that_psubscribe_receives(
    redis_server: Redis, glob: str, channels: list[str]
) -> None:
    """A route fires for exactly the channels from which PSUBSCRIBE with the same glob would receive."""
    # This one is likely to fit.
    channels = [*channels, glob.replace("*", "ab").replace("?", "c").replace("\\", "") or "x"]
    with redis_server.client() as client, client.pubsub() as listener:
        listener.psubscribe(glob)
        assert listener.get_message(timeout=60) is not None  # the confirmation
        received = [client.publish(channel, b"x") == 1 for channel in channels]
    assert [fits(glob, "redis-pubsub", channel) for channel in channels] == received


@pytest.mark.parametrize(
    ("text", "protocol", "topic", "captures"),
    [
        ("plants/{plant}/ovens/{oven}", "mqtt", "plants/3/ovens/7", ("3", "7")),
        ("plants/{plant}/#", "mqtt", "plants/3/x/y", ("3",)),
        ("{a}/+/{b}", "mqtt", "x//", ("x", "")),
        ("{a}/b", "mqtt", "$SYS/b", None),
        ("order.{what}.#", "amqp", "order.created.eu", ("created",)),
        ("#.{last}", "amqp", "a.b.c", ("c",)),
        ("{first}.*", "amqp", "a.b", ("a",)),
        ("user:{id}:*", "redis-pubsub", "user:42:seen", ("42",)),
        ("{a}:{b}", "redis-pubsub", "x.y:z", None),
        ("{a}:{b}", "redis-stream", "ü:z", ("ü", "z")),
        ("\\{x\\}{y}", "redis-pubsub", "{x}1", ("1",)),
        ("[{x}]{y}", "redis-pubsub", "x1", ("1",)),
    ],
)
def test_captures(text: str, protocol: str, topic: str, captures: tuple[str, ...] | None) -> None:
    """`{name}` takes one level as text; in Redis a run without `:`, `.` or `/`."""
    assert compiled(text, protocol).match(topic) == captures


@pytest.mark.parametrize(
    ("text", "protocol", "offset", "words"),
    [
        ("", "mqtt", 0, "an empty topic fits nothing"),
        ("a/b#", "mqtt", 3, "# must stand alone"),
        ("a/#/b", "mqtt", 2, "# must be the last level"),
        ("a/b+/c", "mqtt", 3, "+ must stand alone"),
        ("a/x{b}", "mqtt", 3, "a capture takes a whole level"),
        ("a.b*.c", "amqp", 3, "* must stand alone"),
        ("a.{b}c", "amqp", 2, "a capture takes a whole level"),
        ("a/{b c}", "mqtt", 2, "{b c} is not a name"),
        ("a/{}", "mqtt", 2, "{} is not a name"),
        ("a/{_x}", "mqtt", 2, "{_x} is not a name"),
        ("{a}/{a}", "mqtt", 4, "{a} stands twice"),
        ("a/{None}", "mqtt", 2, "{None} is a word of the language"),
        ("a/{class}", "amqp", 2, "{class} is a word of the language"),
        ("a/{b", "mqtt", 2, "a single {"),
        ("a/b}", "amqp", 3, "a single }"),
        ("ab[c", "redis-pubsub", 2, "this [ is never closed"),
        ("ab[]", "redis-stream", 2, "[] holds nothing"),
        ("x{a", "redis-pubsub", 1, "a single {"),
        ("?" * 1_000_000, "redis-pubsub", 0, "this topic is too long"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_pattern_is_an_error_at_its_character(text: str, protocol: str, offset: int, words: str) -> None:
    """A text that cannot be a topic is refused at load, at its first wrong character."""
    with pytest.raises(InvalidValue) as caught:
        compiled(text, protocol)
    (diagnostic,) = caught.value.diagnostics
    assert words in diagnostic.message
    assert (diagnostic.offset or 0) == offset


def test_no_topic_makes_a_pattern_slow() -> None:
    """A pattern with many stars takes a long topic in linear time; a backtracking matcher would never end."""
    assert not fits("*a" * 12 + "b", "redis-pubsub", "a" * 50_000)


@given(wide=mqtt_filters(), narrow=mqtt_filters(), topic=MQTT_TOPICS)
@settings(max_examples=500)
def test_a_covered_filter_is_redundant(wide: str, narrow: str, topic: str) -> None:
    """A filter that another one covers brings no topic that the other does not bring."""
    if covers(wide, narrow) and mqtt_fits(narrow, topic):
        assert mqtt_fits(wide, topic)


@given(filters=st.lists(mqtt_filters(), max_size=6), topic=MQTT_TOPICS)
@settings(max_examples=500)
def test_dropping_covered_filters_loses_no_topic(filters: list[str], topic: str) -> None:
    """The remaining filters bring every event that the routes need, and none of them stands twice."""
    kept = without_covered(filters)
    assert kept == [text for text in dict.fromkeys(filters) if text in kept]
    assert any(mqtt_fits(text, topic) for text in kept) == any(mqtt_fits(text, topic) for text in filters)
    assert not any(covers(wide, narrow) for wide in kept for narrow in kept if wide != narrow)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (["a/b", "a/#", "a/+"], ["a/#"]),
        (["a", "a/#"], ["a/#"]),
        (["#", "$SYS/#", "+/x"], ["#", "$SYS/#"]),
        (["+/b", "$SYS/b"], ["+/b", "$SYS/b"]),
        (["a/+", "a/#"], ["a/#"]),
        (["a/+", "+/b"], ["a/+", "+/b"]),
        (["a/b", "a/b"], ["a/b"]),
        ([], []),
    ],
)
def test_covered_filters_are_dropped(filters: list[str], kept: list[str]) -> None:
    """Overlapping routes subscribe once: a broker may send an event once per filter that fits."""
    assert without_covered(filters) == kept


@given(text=mqtt_filters(), topic=MQTT_TOPICS)
def test_the_subscription_brings_the_topics_that_the_pattern_fits(text: str, topic: str) -> None:
    """A `{name}` is subscribed to as `+`."""
    pattern = text
    for number in range(text.count("+")):
        pattern = pattern.replace("+", f"{{n{number}}}", 1)
    assert subscription(pattern) == text
    assert fits(pattern, "mqtt", topic) is mqtt_fits(text, topic)


@pytest.mark.parametrize(
    ("first", "second", "can"),
    [
        ("l.*", "l.a*", True),
        ("a", "a", True),
        ("a", "b", False),
        ("a*", "*b", True),
        ("a?", "a", False),
        ("a*c", "b*", False),
        ("a?c", "abc", True),
        ("*a*", "b", False),
        (r"\*", "*", True),
        (r"\*", "a", False),
    ],
)
def test_globs_that_share_a_channel(first: str, second: str, *, can: bool) -> None:
    """Redis delivers an event of such a channel once for each of them."""
    assert can_overlap(first, second) is can
    assert can_overlap(second, first) is can
