"""The result of `enqueue.lua`, whose header gives its form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from bridge.model.batch import Batch, Trimmed, Written
from bridge.model.column import GatedMessage, gated_messages


def parse_result(reply: bytes, batch: Batch, size: int) -> Written:
    """Return the result of `enqueue.lua`, which is not 'halved'.

    Raises:
        TypeError, ValueError: it is none of this version.
    """
    reply, *partly_written = reply.split(b"\n")
    reply, _, suppressed_gates = reply.partition(b"/")
    result, _, written_before = reply.partition(b"|")
    result, _, trimmed = result.partition(b";")
    messages, _, *lengths, _ = map(int, result.split())
    # Not strict: a dead letter may have taken the place of a message since the result was stored.
    by_queue = dict(zip(batch.queues, lengths, strict=False))
    # After a crash the result is that of the batches which this one had been merged with.
    duplicates = [index for index in map(int, written_before.split()) if index < len(batch.events)]
    suppressed = _suppressed(batch, map(int, suppressed_gates.split())) if suppressed_gates else ()
    if suppressed:
        duplicates = sorted({*duplicates, *_wholly_suppressed(batch, suppressed)})
    gone = Trimmed(*map(int, trimmed.split()))
    left_out = list({each: None for line in partly_written for each in _left_out(batch, line)})
    return Written(
        messages, len(duplicates), len(batch.refused), by_queue, size, duplicates, gone, suppressed, left_out
    )


def _left_out(batch: Batch, line: bytes) -> list[tuple[int, str]]:
    """Return the events of a line, each with the route of which nothing was written for it."""
    indexes, _, route = line.partition(b":")
    name = route.decode("unicode_escape")
    return [(index, name) for index in map(int, indexes.split()) if index < len(batch.events)]


def _suppressed(batch: Batch, numbers: Iterable[int]) -> Sequence[GatedMessage]:
    """Return the messages that were left out for their own keys."""
    gated = gated_messages(batch.queues.values())
    # After a crash, as for the duplicates, others may follow behind those of the batch.
    return [gated[number] for number in numbers if number < len(gated)]


def _wholly_suppressed(batch: Batch, suppressed: Sequence[GatedMessage]) -> Collection[int]:
    """Return the events of which every message was left out for its own key, and that are no dead letters."""
    left_out = Counter(message.event_index for message in suppressed)
    made = Counter(index for column in batch.queues.values() for index in column.event_indexes if index in left_out)
    dead_lettered = {index for index, _ in batch.dead_letters}
    return [index for index, count in left_out.items() if count == made[index] and index not in dead_lettered]
