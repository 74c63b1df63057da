"""The memory of topics: bounded in number and bytes, and it forgets the oldest."""

from __future__ import annotations

from bridge.topics.memory import MAX_KNOWN_BYTES, MAX_KNOWN_TOPICS, TopicMemory


def test_the_oldest_topic_is_forgotten_first() -> None:
    """One topic more than fit costs one topic, and not all of them."""
    memory: TopicMemory[str, int] = TopicMemory()
    for number in range(MAX_KNOWN_TOPICS + 10):
        memory.remember(str(number), number)
    assert list(memory) == [str(number) for number in range(10, MAX_KNOWN_TOPICS + 10)]


def test_values_are_bounded_in_bytes() -> None:
    """Large values, as of 100 routes with captures, leave room for fewer topics; one that is too large is not kept."""
    memory: TopicMemory[str, int] = TopicMemory()
    for number in range(100):
        memory.remember(str(number), number, MAX_KNOWN_BYTES // 10)
        assert len(memory) <= 10
    assert list(memory) == [str(number) for number in range(90, 100)]
    memory.remember("huge", 1, MAX_KNOWN_BYTES + 1)
    assert "huge" not in memory
    assert "99" in memory


def test_long_topics_are_not_remembered() -> None:
    """A topic is no way to fill the memory."""
    memory: TopicMemory[bytes, int] = TopicMemory()
    memory.remember(b"x" * 257, 1)
    memory.remember(b"x" * 256, 2)
    assert list(memory.values()) == [2]
