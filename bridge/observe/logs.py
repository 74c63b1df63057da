"""Logs: one event per line, JSON for machines or console for people, always on stderr.

The libraries' own loggers (`logging`) use the same formatter. Lines per event are logged at DEBUG only; bodies and
secrets are never logged. A thread writes the lines (see `log_writer.py`), so that logging never waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, TextIO

import structlog

from bridge.errors import describe_error
from bridge.observe.log_fields import cut, make_harmless
from bridge.observe.log_writer import LogWriter
from bridge.observe.masking import set_secrets, without_secrets

__all__ = ["Format", "RepeatedLog", "configure", "flush", "logger", "reconfigure", "set_secrets"]

Format = Literal["json", "console"]

#: How long a line waits after the one before, by the number of those that were written: the longer a fault stays, the
#: rarer its lines. A kind of which none comes for the last of these times begins anew.
REPEAT_INTERVALS_S: Final = (0.0, 10.0, 60.0, 600.0)
#: A line that contradicts the last one waits no longer than this step.
_CHANGE_STEP: Final = 2
#: Of more kinds of repeated lines than this within the interval, those beyond share one for each event.
_MAX_KINDS: Final = 100
_SEVERAL: Final = "several, the last: "
#: How long the end of a process waits for lines that are not written yet.
_FLUSH_S: Final = 1.0


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


def _mask(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # Of the bridge's own lines these fields have text of others; of a library's line everything is.
    for key in ("cause", "exception", "event") if "logger" in event else ("cause", "exception"):
        if isinstance(event.get(key), str):
            event[key] = without_secrets(event[key])
    return event


def configure(
    format_: Format | None = None, level: str = "info", process: int | None = None, *, secrets: Iterable[str] = ()
) -> None:
    """Set up structlog and `logging` alike; without a format, console on a terminal and JSON lines otherwise.

    `secrets` are masked wherever a line has text of a library or of a server. `process` is the number of a child process,
    and stands in each of its lines. All processes share one standard error: each line reaches it by a single write, so
    that lines do not mix.
    """
    _configure(format_, level, process, secrets, None)


def reconfigure(format_: Format | None, level: str, process: int | None = None, *, secrets: Iterable[str] = ()) -> None:
    """Set up the logs anew while they are used: the thread that writes the lines stays, and so does their order."""
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]
    _configure(format_, level, process, secrets, handlers[0] if handlers else None)


def _configure(
    format_: Format | None, level: str, process: int | None, secrets: Iterable[str], handler: _Handler | None
) -> None:
    set_secrets(secrets)
    stderr = _standard_error()
    chosen = format_ or ("console" if stderr.isatty() else "json")
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if chosen == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    shared = [partial(_add_process, process), *_SHARED, _mask]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    processors = [*shared, make_harmless, renderer]
    if handler is None:
        handler = _Handler(stderr, processors)
    else:
        handler.processors = processors
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, make_harmless, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in ("aio_pika", "aiormq", "paho", "asyncio"):
        # The bridge reports these libraries' errors itself; their own lines are for debugging.
        logging.getLogger(name).setLevel(threshold if threshold <= logging.DEBUG else logging.CRITICAL)
    logging.getLogger("bridge").setLevel(threshold)
    _take_over_python()


def is_debug() -> bool:
    """Whether the least level that is logged is `debug`."""
    return logging.getLogger("bridge").getEffectiveLevel() <= logging.DEBUG


def flush(within_s: float = _FLUSH_S) -> None:
    """Write the suppressed lines, and wait for so many seconds at most until all are written: before `os._exit`.

    Any other end of the process waits for a second too.
    """
    RepeatedLog.flush_all()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.flush(within_s)


def lines_left_out() -> int:
    """Return how many lines of this process nobody has taken: its reader is slow or gone, or the disk is full."""
    return sum(each.left_out for each in logging.getLogger().handlers if isinstance(each, _Handler))


def logger() -> structlog.stdlib.BoundLogger:
    """Return the bridge's logger."""
    return structlog.get_logger("bridge")  # type: ignore[no-any-return]


def _standard_error() -> TextIO:
    """Return `sys.stderr`; the null device where it was closed, or else the next file opened would get its number."""
    if sys.__stderr__ is None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.set_inheritable(null, True)
        sys.stderr = os.fdopen(null, "w")
    return sys.stderr


def _take_over_python() -> None:
    """Let Python's own warnings and errors be lines: it writes straight to standard error, and would wait there."""
    logging.captureWarnings(capture=True)

    def log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        logger().critical("bridge.failed", exc_info=(kind, error, trace))

    def log_ignored(ignored: Any) -> None:
        error = (ignored.exc_type, ignored.exc_value, ignored.exc_traceback)
        logger().error("bridge.error_ignored", exc_info=error)

    sys.excepthook = log_uncaught
    sys.unraisablehook = threading.excepthook = log_ignored


class _Handler(logging.Handler):
    """Gives each line to a `LogWriter`; `processors` make a line of the handler's own."""

    def __init__(self, stderr: TextIO, processors: Sequence[Callable[..., Any]]) -> None:
        super().__init__()
        self.processors = processors
        self._encoding = stderr.encoding
        self._writer = LogWriter(stderr.fileno(), self._describe_left_out)

    @property
    def left_out(self) -> int:
        """How many lines were left out."""
        return self._writer.total_left_out

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of `record`."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a library's line that does not fit its own arguments
            place = f"{record.pathname}:{record.lineno}"
            self._writer.write(self._line("error", event="log.line_failed", cause=describe_error(error), place=place))
        else:
            self._writer.write(self._encoded(line))

    def flush(self, within_s: float = _FLUSH_S) -> None:
        """Wait until the lines are written, for `within_s` at most; `logging` calls it at the end of the process."""
        self._writer.flush(within_s)

    def _describe_left_out(self, count: int, since: float) -> bytes:
        since_text = datetime.fromtimestamp(since, UTC).isoformat().replace("+00:00", "Z")
        return self._line("warning", event="log.lines_left_out", count=count, since=since_text)

    def _line(self, level: str, **fields: object) -> bytes:
        line: Any = fields
        for processor in self.processors:
            line = processor(None, level, line)
        return self._encoded(line)

    def _encoded(self, line: str) -> bytes:
        return f"{line}\n".encode(self._encoding, "backslashreplace")


@dataclass(slots=True, eq=False)
class _Kind:
    """A kind of line: when it was last written, and the newest one since that was not.

    Where an event has a `shared` kind, `texts` are those of that line, and `several` names those that have differed.
    """

    shared: bool = False
    written_at: float = -math.inf
    #: The number of lines that were written since it began, at most that of the last interval.
    step: int = 0
    suppressed: int = 0
    sums: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    several: set[str] = field(default_factory=set)
    write: Callable[..., object] | None = None
    timer: asyncio.TimerHandle | None = None
    timer_at: float = 0.0

    def next_at(self, now: float, *, is_change: bool) -> float:
        """Return when its next line may be written; it begins anew where none was suppressed since the last one for long."""
        longest = _CHANGE_STEP if is_change else len(REPEAT_INTERVALS_S) - 1
        if not self.suppressed and now - self.written_at >= REPEAT_INTERVALS_S[longest]:
            self.step = 0
        return self.written_at + REPEAT_INTERVALS_S[min(self.step, longest)]


class RepeatedLog:
    """Writes each kind of line at once, then after 10 s, after a minute, and every ten minutes, as long as more come.

    No line is forgotten: the newest of those that were suppressed is written once the interval is over, with the number
    of the others as `repeated`. Of more kinds than 100 within ten minutes those beyond share one line for each event: a
    text that is not the same in all of them is `several, the last: ...`. On the event loop's thread; where no loop runs,
    suppressed lines wait for the next one, or for `flush`.
    """

    #: The kinds of every log with a suppressed line, also of a log that nobody uses any more.
    _waiting: ClassVar[set[_Kind]] = set()

    def __init__(self) -> None:
        # By hash: a broker's words are part of some kinds, and may be long. A shared one by its event.
        self._kinds: dict[int | str, _Kind] = {}

    def write(
        self,
        kind: Hashable,
        method: Callable[..., object],
        event: str,
        *,
        count: int = 1,
        sums: Sequence[str] = (),
        is_change: bool = False,
        **fields: Any,
    ) -> None:
        """Write a line of `kind`, which stands for `count` lines, with `method`, perhaps later.

        `sums` names the fields that are added up over the suppressed lines. A line that `is_change` says that something
        is no longer as the log's last line says: it waits a minute at most.
        """
        now = time.monotonic()
        known = self._find(hash(kind), event, now)
        due = known.next_at(now, is_change=is_change)
        known.suppressed += count
        if isinstance(cause := fields.get("cause"), str):
            fields["cause"] = without_secrets(cause)
        # Cut already here, since it may be kept: after the secrets went, or the rest of a cut one would be shown.
        short = {
            name: cut(value) if isinstance(value, str) else value for name, value in fields.items() if name not in sums
        }
        if known.shared:
            short |= self._texts_of_several(known, short)
        known.sums |= {name: known.sums.get(name, 0) + fields[name] for name in sums}
        known.write = partial(method, event, **{**short, **known.sums})
        self._waiting.add(known)
        if now >= due:
            self._write_newest(known)
        elif known.timer is None or due < known.timer_at:
            if known.timer is not None:
                known.timer.cancel()
            with suppress(RuntimeError):  # no loop runs
                known.timer = asyncio.get_running_loop().call_later(due - now, self._write_newest, known)
                known.timer_at = due

    def take(self) -> int:
        """Return the number of suppressed lines, of all kinds, and drop them: the caller's own line tells it."""
        number = 0
        for known in self._kinds.values():
            number += known.suppressed
            self._reset(known)
        return number

    def flush(self) -> None:
        """Write the suppressed lines now."""
        for known in self._kinds.values():
            self._write_newest(known)

    @classmethod
    def flush_all(cls) -> None:
        """Write the suppressed lines of all that write repeated lines: the process ends."""
        for known in list(cls._waiting):
            with suppress(Exception):  # the other lines follow, and the process ends
                cls._write_newest(known)

    def _find(self, key: int, event: str, now: float) -> _Kind:
        if key not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            self._kinds = {key: each for key, each in self._kinds.items() if not self._is_over(each, now)}
            if len(self._kinds) >= _MAX_KINDS:
                return self._kinds.setdefault(event, _Kind(shared=True))
        return self._kinds.setdefault(key, _Kind())

    @staticmethod
    def _texts_of_several(known: _Kind, fields: dict[str, Any]) -> dict[str, str]:
        """Return the texts of a shared line that differ from those of an earlier one that it stands for."""
        texts = {name: value for name, value in fields.items() if isinstance(value, str)}
        known.several |= {name for name, value in texts.items() if known.texts.get(name, value) != value}
        known.texts |= texts
        return {name: cut(_SEVERAL + texts[name]) for name in known.several if name in texts}

    @staticmethod
    def _is_over(known: _Kind, now: float) -> bool:
        return known.write is None and now - known.written_at >= REPEAT_INTERVALS_S[-1]

    @classmethod
    def _write_newest(cls, known: _Kind) -> None:
        if known.write is not None:
            write, repeated = known.write, known.suppressed - 1
            cls._reset(known)
            known.written_at = time.monotonic()
            known.step = min(known.step + 1, len(REPEAT_INTERVALS_S) - 1)
            write(repeated=repeated)

    @classmethod
    def _reset(cls, known: _Kind) -> None:
        if known.timer is not None:
            known.timer.cancel()
        known.suppressed, known.sums, known.write, known.timer = 0, {}, None, None
        known.texts, known.several = {}, set()
        cls._waiting.discard(known)
