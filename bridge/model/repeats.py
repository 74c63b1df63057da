"""The messages and dead letters of a batch that its write has left out, since they were written before for their events' keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bridge.model.batch import Batch, DeadLetter


def repeated_messages(batch: Batch) -> Iterator[tuple[int, int, str]]:
    """Yield the number of the column, the place and the route of each message that is left out by the source's `deduplicate`.

    Those that are left out for their own keys are not among them: they are `suppressed`.
    """
    written = batch.written
    if written is None or not (written.duplicates or written.left_out):
        return
    whole, partly = set(written.duplicate_indexes), set(written.left_out)
    own = {(one.column, one.place) for one in written.suppressed}
    for number, column in enumerate(batch.queues.values(), 1):
        # Without the `deduplicate` of a source there are no routes.
        for place, (index, route) in enumerate(zip(column.event_indexes, column.routes, strict=False)):
            if (index in whole or (index, route) in partly) and (number, place) not in own:
                yield number, place, route


def written_letters(batch: Batch) -> Sequence[tuple[int, DeadLetter]]:
    """Return the dead letters of a batch, with the positions of their events, that its write has not left out."""
    written = batch.written
    if written is None or not (written.duplicates or written.left_out):
        return batch.dead_letters
    whole, partly = set(written.duplicate_indexes), set(written.left_out)
    return [
        (index, letter)
        for index, letter in batch.dead_letters
        if index not in whole and (index, letter.route) not in partly
    ]
