"""Failures of expressions on events: the meaning of an error, and the part of the expression that raised it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Final

from bridge.config.wording import describe, quoted
from bridge.routing.expressions.lookup import NotInTable
from bridge.routing.expressions.purse import PURSE, Purse, TooLarge

#: The errors that an expression can raise; any other is a bug of ours and ends the process loudly.
EXPRESSION_ERRORS: Final = (LookupError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError, TooLarge)


@dataclass(frozen=True, slots=True)
class ExpressionFailure:
    """Why a rewritten expression failed on an event. It is no mistake of the configuration: see Diagnostic for those.

    `line` is the line given to `parse`; `text_start` and `text_end` are byte offsets of the failing part in that
    expression's text (0, 0 if unknown). `missing` means a missing field or element, or a null on the way to one.
    `cause` is for people and quotes at most 80 characters of the event. `too_large` means that the loops took too many
    steps, or made too much. `elements` are the loops within which it failed, the innermost first: of each the line, the
    byte offsets of its list, and the number of the element, from 0.
    """

    line: int
    text_start: int
    text_end: int
    missing: bool
    cause: str
    too_large: bool = False
    elements: Sequence[tuple[int, int, int, int]] = ()

    def spell_elements(self, texts: Mapping[int, str]) -> str:
        """Return `, element 3 of `payload.lines`` for each loop; `texts` are the expressions by their lines."""
        return "".join(
            f", element {number} of `{part_of(texts[line], start, end)}`"
            for line, start, end, number in self.elements
            if line in texts
        )


def part_of(text: str, start: int, end: int) -> str:
    """Return the part of an expression's `text` between two byte offsets."""
    return text.encode()[start:end].decode()


def _message(function: Callable[..., object], *args: object) -> str:
    """Return the text of the TypeError that this Python raises for the call, or "" if it raises none."""
    try:
        function(*args)
    except TypeError as error:
        return str(error)
    except LookupError:
        pass
    return ""


#: The text of this Python's TypeError for a field of null.
_NULL: Final = _message(operator.getitem, None, "")


def _learn() -> dict[str, str]:
    """Provoke each TypeError that native operators raise for JSON's types; return plain words by Python's text.

    The texts differ between Python's versions, so they are learned from the running one.
    """
    samples: tuple[object, ...] = (True, 0, 0.0, None, "", [], {})
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
    learned: dict[str, str] = {}
    for left in samples:
        for right in samples:
            a, b = describe(left), describe(right)
            for sign, function in compare.items():
                learned[_message(function, left, right)] = f"'{sign}' can't compare {a} with {b}"
            inside = f"'in' can't look for {b} in text" if type(left) is str else f"'in' can't look into {a}"
            learned[_message(operator.contains, left, right)] = inside
            by_index = type(left) is dict or (type(left) in (str, list) and type(right) is not str)
            index = f"{b} can't be an index of {a}" if by_index else f"{a} has no fields"
            learned[_message(operator.getitem, left, right)] = index
    learned[_NULL] = "null has no fields"
    learned.pop("", None)
    return learned


_TYPE_ERRORS: Final = _learn()
_CAUSES: Final[dict[type[Exception], str]] = {
    IndexError: "no element at this index",
    ZeroDivisionError: "division by zero",
    OverflowError: "a number is too large",
    RecursionError: "nested too deeply",
}


def is_missing(error: BaseException) -> bool:
    """Tell whether `error` means a missing field or element, or a null on the way to one."""
    return isinstance(error, LookupError) or (type(error) is TypeError and error.args == (_NULL,))


def explain_failure(error: Exception, filename: str) -> ExpressionFailure:
    """Return the cause and the place of an `error` that generated code of the `co_filename` `filename` raised."""
    frames = _frames(error.__traceback__, filename)
    line, start, end = _origin(frames[-1]) if frames else (0, 0, 0)
    purse = frames[0].tb_frame.f_locals.get(PURSE) if frames else None
    elements = purse.elements(line, start, end) if isinstance(purse, Purse) else ()
    too_large = isinstance(error, TooLarge)
    return ExpressionFailure(line, start, end, is_missing(error), _cause(error), too_large, elements)


def _frames(trace: TracebackType | None, filename: str) -> list[TracebackType]:
    """Return the part of a traceback that is of the generated code, the outermost first."""
    frames = []
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            frames.append(trace)
        trace = trace.tb_next
    return frames


def _origin(trace: TracebackType) -> tuple[int, int, int]:
    position = next(islice(trace.tb_frame.f_code.co_positions(), trace.tb_lasti // 2, None), None)
    line, _, start, end = position or (None, None, None, None)
    if start is None or end is None:  # Python runs without columns (-X no_debug_ranges).
        start = end = 0
    return line or trace.tb_lineno or 0, start, end


def _cause(error: Exception) -> str:
    if isinstance(error, NotInTable):
        return str(error)
    if isinstance(error, KeyError):
        return f"no field {quoted(error.args[0] if error.args else '')}"
    for kind, cause in _CAUSES.items():
        if isinstance(error, kind):
            return cause
    text = str(error)
    if isinstance(error, TooLarge):
        return text
    if isinstance(error, TypeError):
        return _TYPE_ERRORS.get(text, text)
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
