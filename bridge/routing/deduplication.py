"""The deduplication key of a source's events: a message of a route that was written before for this key is a duplicate.

`deduplicate.key` is an expression, evaluated once per event, however many routes fit it. The write itself remembers the
key in Redis, for `deduplicate.within` (see `sink/enqueue.lua`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Any, Final

from bridge.config.wording import describe
from bridge.errors import BadEvent, InvalidValue
from bridge.model.event import Event, OncePerRoute
from bridge.observe.logs import RepeatedLog, logger
from bridge.routing import expressions
from bridge.routing.expressions import EXPRESSION_ERRORS, RUNTIME, Expression
from bridge.routing.expressions.text import concat, key_text, text_of
from bridge.routing.payloads import reading

log = logger()
#: A longer key, in bytes of UTF-8, is hashed: Redis keeps one for each event.
_MAX_KEY_BYTES: Final = 200


def _text_of(value: object) -> str:
    if value is None:
        raise TypeError("a part of it is null")
    return text_of(value)


def _concat(*parts: object) -> str:
    if any(part is None for part in parts):
        raise TypeError("a part of it is null")
    return concat(*parts)


#: The functions that a key's expression can reach. Here null becomes no text: all events without an id would have the
#: key "null", and all but the first of them would be lost as its duplicates.
FUNCTIONS: Final[dict[str, object]] = {**RUNTIME, "_str": _text_of, "_concat": _concat}


class Deduplication:
    """The compiled `deduplicate` of one source.

    `evaluate` is a function that `compile_value` has made of the key, and `filename` its `co_filename`; `text` is the
    expression, for the log. Unless it `is_shown`, the log has no key, and no cause that may quote a part of one.
    """

    def __init__(
        self,
        source: str,
        text: str,
        evaluate: Callable[..., Any],
        filename: str,
        within_ms: int,
        *,
        is_shown: bool = True,
    ) -> None:
        self._source = source
        self._text = text
        self._evaluate = evaluate
        self._filename = filename
        self._write_once = OncePerRoute(f"{source}:", within_ms, is_shown)
        self._repeated = RepeatedLog()

    def read_payloads(self) -> None:
        """Take the source's own payload out of Payloads, which the router has instead of one."""
        self._evaluate = reading("", self._evaluate)

    def mark(self, event: Event, payload: object) -> None:
        """Give `event` its condition and its deduplication key.

        Without a usable key it gets neither, and is written each time it comes: a possible duplicate is better than a
        lost event. A warning says so now and then.
        """
        problem = self.try_mark(event, payload)
        if not problem:
            return
        self._repeated.write(
            "without_deduplication_key",
            log.warning,
            "event.without_deduplication_key",
            source=self._source,
            cause=f"{problem if self._write_once.is_shown else 'a value is missing or wrong'} in `{self._text}`",
            topic=event.topic,
        )

    def try_mark(self, event: Event, payload: object) -> str:
        """Give `event` its condition and its deduplication key; return why it has none, "" where it has them."""
        try:
            event.deduplication_key = deduplication_key(self._evaluate(event, payload, (), None))
        except BadEvent as error:
            return error.detail
        except EXPRESSION_ERRORS as error:
            return expressions.explain_failure(error, self._filename).cause
        event.write_once = self._write_once
        return ""


def check_names(expression: Expression, telling: Collection[str], sharers: str, hint: str) -> None:
    """Check that a deduplication key reads one of the `telling` names, whose values tell the `sharers` apart.

    Raises:
        InvalidValue: it does not, or it changes when an event comes again.
    """
    if "received_at" in expression.names:
        message = "an event that comes again has another received_at"
        offset = expression.text.index("received_at")
        raise InvalidValue(message, "take it from payload, headers or meta", offset)
    if expression.names.isdisjoint(telling):
        raise InvalidValue(f"a deduplication key that {sharers} share would lose all but the first of them", hint)


def deduplication_key(value: object) -> bytes:
    """Return the bytes of a deduplication key: of a text, or of a number's text.

    Raises:
        TypeError: the value is neither.
        ValueError: it is empty.
    """
    value_type = type(value)
    if value_type not in (str, int) and (value_type is not float or not math.isfinite(value)):  # type: ignore[arg-type]
        raise TypeError(f"a deduplication key is text or a number, not {describe(value)}")
    raw = key_text(value).encode()
    if not raw:
        raise ValueError("a deduplication key is not empty")
    return raw if len(raw) <= _MAX_KEY_BYTES else b"sha256:" + sha256(raw).hexdigest().encode()
