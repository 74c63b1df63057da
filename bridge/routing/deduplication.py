"""The identity of a source's events: what makes the write of an event that comes again a duplicate.

`identity:` is an expression that a source evaluates once per event, whatever its routes are. What it gives is
remembered in Redis for `identity_window`, by the write itself (see `sink/enqueue.lua`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from bridge.config.wording import describe
from bridge.errors import BadEvent
from bridge.model.event import Event, OnceByKey
from bridge.observe.logs import LogThrottle, logger
from bridge.routing import expressions
from bridge.routing.expressions import RUNTIME
from bridge.routing.expressions.text import concat, text_of
from bridge.routing.routes import EXPRESSION_ERRORS

log = logger()
#: A longer identity is hashed: its key stays small.
_LONGEST_BYTES: Final = 200


def _text_of(value: object) -> str:
    if value is None:
        raise TypeError("a part of it is null")
    return text_of(value)


def _concat(*parts: object) -> str:
    if any(part is None for part in parts):
        raise TypeError("a part of it is null")
    return concat(*parts)


#: What an identity's expression can reach. Here null becomes no text: of all the events without an id, the first would
#: pass as "None", and the others would be lost as its duplicates.
FUNCTIONS: Final[dict[str, object]] = {**RUNTIME, "_str": _text_of, "_concat": _concat}


class Identity:
    """The compiled `identity:` of one source.

    `evaluate` is of the shape that `route_compiler.compile_function` gives, its `co_filename` is `filename`; `text`
    stands in what is said of a failure.
    """

    def __init__(self, source: str, text: str, evaluate: Callable[..., Any], filename: str, window_ms: int) -> None:
        self._source = source
        self._text = text
        self._evaluate = evaluate
        self._filename = filename
        self._write_once = OnceByKey(f"{source}:", window_ms)
        self._throttle = LogThrottle()

    def mark(self, event: Event, payload: object, *, quiet: bool = False) -> None:
        """Give `event` its gate and identity, or neither where it has no usable one: then it is written each time.

        That is said now and then, unless `quiet`. An event is never lost for it: a possible duplicate is the lesser evil.
        """
        try:
            event.identity = _key(self._evaluate(event, payload, (), None))
        except BadEvent as error:
            problem = error.detail
        except EXPRESSION_ERRORS as error:
            problem = expressions.explain_failure(error, self._filename).cause
        else:
            event.write_once = self._write_once
            return
        if not quiet and (suppressed := self._throttle.allow("without_identity")) is not None:
            said = f"{problem} in `{self._text}`"
            log.warning(
                "event.without_identity", source=self._source, error=said, topic=event.topic, repeated=suppressed
            )


def _key(value: object) -> bytes:
    """Return an identity as it stands in a key: a text, or a number as one.

    Raises TypeError or ValueError for what is none.
    """
    what = type(value)
    if what is not str and what is not int and (what is not float or not math.isfinite(value)):  # type: ignore[arg-type]
        raise TypeError(f"an identity is text or a number, not {describe(value)}")
    raw = text_of(value).encode()
    if not raw:
        raise ValueError("an identity is not empty")
    return raw if len(raw) <= _LONGEST_BYTES else b"sha256:" + sha256(raw).hexdigest().encode()
