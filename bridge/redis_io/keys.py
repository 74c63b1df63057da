"""The bridge's own keys in Dramatiq's Redis: `<namespace>-bridge:...`."""

from __future__ import annotations


def dead_letters_key(namespace: str) -> str:
    """Return the key of the stream that holds the dead letters."""
    return f"{namespace}-bridge:dead-letters"


def positions_key(namespace: str) -> str:
    """Return the key of the hash that holds, for each reader of a log, the id of the last event that was written.

    A log is a source that can be read again from any place; the write's own script keeps the position. The fields are
    those of `WriteOnce.position`.
    """
    return f"{namespace}-bridge:positions"


def restarts_key(namespace: str) -> str:
    """Return the key of the hash that holds, for readers that had to be made again, the last id that the log had then.

    Whether an event up to that id was written is no longer known to the reader: the write remembers each of them.
    """
    return f"{namespace}-bridge:restarts"


def seen_key(namespace: str, prefix: str) -> str:
    """Return the first part of the keys that remember written events; the event's deduplication key follows."""
    return f"{namespace}-bridge:seen:{prefix}"
