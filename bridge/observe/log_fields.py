"""The values of a log line, made harmless and short: no text forges a line, steers a terminal, or fills a disk.

Texts are cut at 200 characters, lists and mappings at 20 items, tracebacks at 8,192 characters. So a line has less than
256 KiB, whatever was logged, and almost every line less than 1 KiB.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the command line escapes as well, and loads no library for that
    import structlog

#: A longer text is cut, in characters; the cut text says how long it was.
MAX_TEXT: Final = 200
#: A longer list or mapping is cut.
_MAX_ITEMS: Final = 20
#: Of a longer traceback, in characters, the middle is left out: the error is at its end.
_MAX_TRACEBACK: Final = 8192
#: A longer integer is not written in digits.
_MAX_BITS: Final = 64

#: One with a digit in it is a number, an address, an identifier.
_WORD: Final = re.compile(r"[\w.:-]+")

_REPR: Final = reprlib.Repr()
_REPR.maxother = _REPR.maxstring = MAX_TEXT
_REPR.maxlevel = 2


def make_harmless(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut every long value, and escape the characters that are not printable: the last processor before the renderer."""
    return {
        escape(cut(name)): _traceback(value) if name == "exception" and isinstance(value, str) else _harmless(value)
        for name, value in event.items()
    }


def cut(text: str, length: int = MAX_TEXT) -> str:
    """Return `text`, cut to so many characters where it is longer."""
    if len(text) <= length:
        return text
    note = f"… ({len(text)} characters)"
    return text[: length - len(note)] + note


def escape(text: str) -> str:
    r"""Return `text` with a line break as `\n`, ESC as `\x1b`, U+2028 as `\u2028`.

    So are all characters that `str.isprintable` does not have: control characters (C0, DEL, C1), separators other than
    the blank, bidirectional and other invisible marks, lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def without_numbers(cause: str) -> str:
    """Return `cause` with `#` for each word that has a digit: causes that only differ in these are of one kind.

    Only the part that a line shows counts.
    """
    return _WORD.sub(lambda word: "#" if any(map(str.isdigit, word[0])) else word[0], cause[:MAX_TEXT])


def _harmless(value: object) -> object:
    if isinstance(value, Mapping):
        items = {escape(cut(str(name))): _scalar(each) for name, each in islice(value.items(), _MAX_ITEMS)}
        return items | ({"…": _note(value)} if len(value) > _MAX_ITEMS else {})
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_scalar(each) for each in islice(value, _MAX_ITEMS)] + [_note(value)] * (len(value) > _MAX_ITEMS)
    return _scalar(value)


def _note(items: Collection[object]) -> str:
    return f"… ({len(items)} items)"


def _scalar(value: object) -> object:
    if isinstance(value, str):
        return escape(cut(value))
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else f"an integer of {value.bit_length()} bits"
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value[:MAX_TEXT])
    return escape(cut(_REPR.repr(value)))


def _traceback(text: str) -> str:
    if len(text) > _MAX_TRACEBACK:
        half = _MAX_TRACEBACK // 2
        text = f"{text[:half]}\n… ({len(text)} characters)\n{text[-half:]}"
    return "\n".join(map(escape, text.split("\n")))
