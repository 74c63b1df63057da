"""Logs: one event per line, JSON for machines or console for people, always on stderr.

The libraries' own loggers (`logging`) go through the same formatter. Nothing per event is logged
above DEBUG, and no body and no secret ever is.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import structlog

Format = Literal["json", "console"]

#: A repeated line is written at most this often; the next one says how many were left out.
REPEAT_AFTER_S: Final = 10.0


def _without_nothing(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out what says nothing: `repeated` where nothing was left out, and a route that there was none of."""
    if event.get("repeated") == 0:
        del event["repeated"]
    return {key: value for key, value in event.items() if value is not None}


def _name_worker(
    worker: int | None, _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # What the parent says of a worker names that one.
    event.setdefault("worker", worker)
    return event


_SHARED: Final[list[Any]] = [
    _without_nothing,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure(format_: Format | None = None, level: str = "info", worker: int | None = None) -> None:
    """Set up structlog and `logging` alike; without a format, console on a terminal and JSON lines otherwise.

    Every line names the `worker` that writes it, where there are several. They share one standard error: a
    line reaches it by a single write, so that lines do not mix.
    """
    chosen = format_ or ("console" if sys.stderr.isatty() else "json")
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if chosen == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    shared = [partial(_name_worker, worker), *_SHARED]
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
        # What the libraries report is reported by the bridge, in its own words; theirs is for debugging.
        logging.getLogger(name).setLevel(threshold if threshold <= logging.DEBUG else logging.CRITICAL)
    logging.getLogger("bridge").setLevel(threshold)


def logger() -> structlog.stdlib.BoundLogger:
    """Return the bridge's logger."""
    return structlog.get_logger("bridge")  # type: ignore[no-any-return]


@dataclass(slots=True)
class LogThrottle:
    """Limits lines that would repeat: one per key and `REPEAT_AFTER_S`, with a count of what was left out."""

    _last: dict[Hashable, tuple[float, int]] = field(default_factory=dict)

    def allow(self, *key: Hashable, count: int = 1) -> int | None:
        """Return how often `key` was left out since its last line, or None if it is to be left out now."""
        now = time.monotonic()
        last, suppressed = self._last.get(key, (0.0, 0))
        if last and now - last < REPEAT_AFTER_S:
            self._last[key] = last, suppressed + count
            return None
        if len(self._last) > 1000:
            self._last.clear()
        self._last[key] = now, 0
        return suppressed

    def forget(self, *key: Hashable) -> None:
        """Let the next line of `key` through: what it said has ended."""
        self._last.pop(key, None)
