"""Logs: one event per line, JSON for machines or console for people, always on stderr.

The libraries' own loggers (`logging`) use the same formatter. Lines per event are logged at DEBUG only; bodies and
secrets are never logged.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import structlog

Format = Literal["json", "console"]

#: A repeated line is written at most once in this time; the next one says how many were suppressed.
REPEAT_INTERVAL_S: Final = 60.0
#: A throttle forgets all its keys when it has more, so that causes that are all different do not fill the memory.
_MAX_KEYS: Final = 1000
#: In characters: see `masked`.
_MIN_SECRET: Final = 4


def _drop_empty_fields(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Drop fields without information: those that are None, and `repeated` if no line was suppressed."""
    if event.get("repeated") == 0:
        del event["repeated"]
    return {key: value for key, value in event.items() if value is not None}


def _add_process(
    process: int | None, _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # A line of the parent about a child process already has the child's number.
    event.setdefault("process", process)
    return event


_SHARED: Final[list[Any]] = [
    _drop_empty_fields,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without the secrets: a server may quote a user name that is a token, and a library a URL."""
    for secret in sorted(secrets, key=len, reverse=True):
        # A shorter one is a part of too many words.
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "***")
    return text


def _mask(
    secrets: frozenset[str], _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # Of the bridge's own lines these fields have text of others; of a library's line everything is.
    for key in ("cause", "exception", "event") if "logger" in event else ("cause", "exception"):
        if isinstance(event.get(key), str):
            event[key] = masked(event[key], secrets)
    return event


def configure(
    format_: Format | None = None, level: str = "info", process: int | None = None, *, secrets: Iterable[str] = ()
) -> None:
    """Set up structlog and `logging` alike; without a format, console on a terminal and JSON lines otherwise.

    `secrets` are masked wherever a line has text of a library or of a server. `process` is the number of a child process, and stands in each of its lines. All processes share one standard error:
    each line reaches it by a single write, so that lines do not mix.
    """
    chosen = format_ or ("console" if sys.stderr.isatty() else "json")
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if chosen == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    shared = [partial(_add_process, process), *_SHARED, partial(_mask, frozenset(secrets))]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in ("aio_pika", "aiormq", "paho", "asyncio"):
        # The bridge reports these libraries' errors itself; their own lines are for debugging.
        logging.getLogger(name).setLevel(threshold if threshold <= logging.DEBUG else logging.CRITICAL)
    logging.getLogger("bridge").setLevel(threshold)


def logger() -> structlog.stdlib.BoundLogger:
    """Return the bridge's logger."""
    return structlog.get_logger("bridge")  # type: ignore[no-any-return]


@dataclass(slots=True)
class LogThrottle:
    """Limits repeated lines to one per key and interval, which says how many were suppressed before it."""

    _last: dict[Hashable, tuple[float, int]] = field(default_factory=dict)

    def allow(self, *key: Hashable, count: int = 1) -> int | None:
        """Return how many lines of `key` were suppressed since its last one; None if this one is suppressed too.

        A suppressed line counts as `count` lines.
        """
        now = time.monotonic()
        last, suppressed = self._last.get(key, (0.0, 0))
        if last and now - last < REPEAT_INTERVAL_S:
            self._last[key] = last, suppressed + count
            return None
        if len(self._last) > _MAX_KEYS:
            self._last.clear()
        self._last[key] = now, 0
        return suppressed


@dataclass(slots=True)
class _Kind:
    """A kind of line: when it was last written, and the newest one since that was not."""

    written_at: float
    suppressed: int = 0
    write: Callable[[int], object] | None = None
    timer: asyncio.TimerHandle | None = None


class RepeatedLog:
    """Writes each kind of line at once, then at most once a minute, as long as more come.

    No line is forgotten: the newest of those that were suppressed is written once the minute is over, with the number of
    the others. On the event loop's thread.
    """

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}

    def write(
        self, kind: Hashable, method: Callable[..., object], event: str, *, count: int = 1, **fields: Any
    ) -> None:
        """Write a line of `kind`, which stands for `count` lines, with `method`, perhaps later."""

        def write(repeated: int) -> object:
            return method(event, **fields, repeated=repeated)

        now = time.monotonic()
        known = self._kinds.get(kind)
        if known is None or (now - known.written_at >= REPEAT_INTERVAL_S and known.write is None):
            if len(self._kinds) > _MAX_KEYS:
                self.flush()
                self._kinds.clear()
            self._kinds[kind] = _Kind(now)
            write(count - 1)
            return
        known.suppressed += count
        known.write = write
        if known.timer is None:
            wait_s = max(0.0, known.written_at + REPEAT_INTERVAL_S - now)
            known.timer = asyncio.get_running_loop().call_later(wait_s, self._write_newest, known)

    def flush(self) -> None:
        """Write the suppressed lines now."""
        for known in self._kinds.values():
            self._write_newest(known)

    @staticmethod
    def _write_newest(known: _Kind) -> None:
        if known.timer is not None:
            known.timer.cancel()
            known.timer = None
        if known.write is not None:
            write, repeated = known.write, known.suppressed - 1
            known.written_at, known.suppressed, known.write = time.monotonic(), 0, None
            write(repeated)
