"""The bridge's own keys in Dramatiq's Redis: `<namespace>-bridge:...`.

Every release reads these keys of the releases before and after it. So the form of their values is fixed: a version may add fields
to letters and hashes, which others pass over; for any other form it takes a key of another name, or sets `format` in the
dead letters' books. A value that cannot be read is refused in words, or taken for missing where nothing is lost by that.

`attempts:<source>` and `subscriptions:<source>:<client_id>` stand in `bridge.sink.attempts` and
`bridge.sources.mqtt.subscription_store`, `probe` in `bridge.sink.redis_sink`.
"""

from __future__ import annotations


def dead_letters_key(namespace: str) -> str:
    """Return the key of the stream that holds the dead letters."""
    return f"{namespace}-bridge:dead-letters"


def dead_letter_books_key(namespace: str) -> str:
    """Return the key of the hash that counts the dead letters' bytes, in the slot of the stream."""
    return f"{namespace}-bridge:dead-letters:books"


def sequence_key(namespace: str, name: str) -> str:
    """Return the key of the last batch of a sequence, and of its result."""
    return f"{namespace}-bridge:batch:{name}"


def position_key(namespace: str, log: str) -> str:
    """Return the key of a log's position, which the write's own script keeps.

    It is the highest id among the events that are written; of a log that is read by offsets, the offset behind them.
    A log is a source that can be read again from any place; `log` names its reader, as `WriteOnce.log` does.
    """
    return f"{namespace}-bridge:position:{log}"


def restart_key(namespace: str, log: str) -> str:
    """Return the key of the highest id that a log can have had when its reader had to be made again.

    Whether an event up to that id was written is no longer known to the reader: the write remembers each of them.
    """
    return f"{namespace}-bridge:restart:{log}"


def once_key(namespace: str, route: str) -> str:
    """Return the first part of the keys that remember a route's written messages; the message's own key follows.

    A colon in the name is escaped: the keys of `a:b` are never those of `a`.
    """
    name = route.replace("%", "%25").replace(":", "%3A")
    return f"{namespace}-bridge:once:{name}:"


def seen_key(namespace: str, prefix: str) -> str:
    """Return the first part of the keys that remember written events; the event's deduplication key follows."""
    return f"{namespace}-bridge:seen:{prefix}"
