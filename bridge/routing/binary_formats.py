"""The forms of values in msgpack and CBOR, by a value's first byte, and the checks that are made of them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from typing import Final

from bridge.routing.body_check import END, LIST, MAP, SCALAR, TAG, TEXT, WITHOUT_END, BodyCheck, Form
from bridge.routing.cbor_tags import SUPPORTED_TAGS

#: A text or binary value of more bytes costs a step in Python.
_SHORT: Final = 31
#: By a float's bytes, an expression that infinity and NaN do not fit, and the format for `struct`.
_FINITE: Final = {2: rb"(?![\x7c-\x7f\xfc-\xff])", 4: rb"(?![\x7f\xff][\x80-\xff])", 8: rb"(?![\x7f\xff][\xf0-\xff])"}
_FLOAT: Final = {2: ">e", 4: ">f", 8: ">d"}

#: The heads of msgpack's only extension that is supported, the timestamp, type -1.
_MSGPACK_TIMES: Final = frozenset((0xC7, 0xD6, 0xD7))

_Forms = dict[int, Form]
#: Expressions, by head, that the bytes after it fit.
_Conditions = dict[int, bytes]


def _check(
    forms: _Forms, conditions: _Conditions, keys: Iterable[int], explain: Callable[[bytes, int], str]
) -> BodyCheck:
    # Values of the same form share a class of heads.
    heads_of: dict[tuple[bool, int, bytes, bool], list[int]] = {}
    for head, form in forms.items():
        counted = form.kind in (LIST, MAP, TAG, END)
        heads_of.setdefault((counted, form.width, conditions.get(head, b""), form.kind == TEXT), []).append(head)
    lengths = b"|".join(b"\\x%02x.{%d}" % (size, size) for size in range(_SHORT + 1))
    one_byte: list[int] = []
    with_content = [head for head, form in forms.items() if form.kind in (SCALAR, TEXT) and form.width]
    with_number, value = [], []
    # The shortest first: of these a body can have the most, and each alternative before them costs time.
    for (counted, width, condition, is_text), heads in sorted(heads_of.items(), key=lambda item: item[0][1]):
        if is_text:
            value.append(_one_of(heads) + rb"\x00" * (width - 1) + b"(?:%b)" % lengths)
        elif width:
            value.append(b"%b%b.{%d}" % (_one_of(heads), condition, width))
            with_number += [value[-1]] * counted
        else:
            one_byte += heads
    value.insert(0, _one_of(one_byte) + b"+")
    head_of = [_one_of(with_content), value[0], *with_number]
    scalars = {head for head, form in forms.items() if form.kind in (SCALAR, TEXT)}
    return BodyCheck(
        run=re.compile(b"(?s)(?:%b)*+" % b"|".join(value)),
        heads=re.compile(b"(?s)(?=(%b))(?:%b)" % (b"|".join(head_of), b"|".join(value))),
        forms={head: tuple(form) for head, form in forms.items()},  # type: ignore[misc]
        keys=frozenset(keys),
        scalars=re.compile(_one_of(scalars) + b"*"),
        pairs=re.compile(b"(?:%b%b)*" % (_one_of(scalars.intersection(keys)), _one_of(scalars))),
        explain=explain,
    )


def _one_of(heads: Iterable[int]) -> bytes:
    return b"[%b]" % b"".join(b"\\x%02x" % head for head in heads)


def _float(body: bytes, at: int, width: int) -> str:
    return f"{struct.unpack_from(_FLOAT[width], body, at + 1)[0]} is not a number that JSON has"


def _msgpack() -> BodyCheck:
    forms: _Forms = {head: Form(SCALAR) for head in (*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xE0, 0x100))}
    forms |= {0x80 + n: Form(MAP, 0, n) for n in range(16)} | {0x90 + n: Form(LIST, 0, n) for n in range(16)}
    forms |= {0xA0 + n: Form(SCALAR, n) for n in range(32)}
    # Binary and text; unsigned and signed integers; floats; lists and maps.
    forms |= {first + n: Form(TEXT, 1 << n) for first in (0xC4, 0xD9) for n in range(3)}
    forms |= {first + n: Form(SCALAR, 1 << n) for first in (0xCC, 0xD0) for n in range(4)}
    forms |= {0xCA: Form(SCALAR, 4), 0xCB: Form(SCALAR, 8)}
    forms |= {0xDC: Form(LIST, 2), 0xDD: Form(LIST, 4), 0xDE: Form(MAP, 2), 0xDF: Form(MAP, 4)}
    forms |= {0xD6: Form(SCALAR, 5), 0xD7: Form(SCALAR, 9), 0xC7: Form(SCALAR, 14)}
    conditions = {0xCA: _FINITE[4], 0xCB: _FINITE[8], 0xD6: rb"(?=\xff)", 0xD7: rb"(?=\xff)", 0xC7: rb"(?=\x0c\xff)"}
    keys = (*range(0x80), *range(0xA0, 0xC0), *range(0xCC, 0xD4), 0xD9, 0xDA, 0xDB, *range(0xE0, 0x100))
    return _check(forms, conditions, keys, _explain_msgpack)


def has_times(heads: bytes) -> bool:
    """Tell whether there is a timestamp among the heads of a msgpack body; where in doubt, true."""
    return not _MSGPACK_TIMES.isdisjoint(heads)


def _explain_msgpack(body: bytes, at: int) -> str:
    head = body[at]
    if head in (0xCA, 0xCB):
        return _float(body, at, 4 if head == 0xCA else 8)
    if 0xC7 <= head <= 0xC9 or 0xD4 <= head <= 0xD8:
        return "an extension that is no timestamp"
    return f"no value begins with the byte 0x{head:02x}"


def _cbor() -> BodyCheck:
    forms: _Forms = {}
    for kind, major in ((SCALAR, 0x00), (SCALAR, 0x20), (TEXT, 0x40), (TEXT, 0x60), (LIST, 0x80), (MAP, 0xA0)):
        for info in range(24):
            forms[major + info] = (
                Form(SCALAR, info if kind == TEXT else 0) if kind in (SCALAR, TEXT) else Form(kind, 0, info)
            )
        forms |= {major + 24 + n: Form(kind, 1 << n) for n in range(4)}
    # Text in chunks is like a list of them.
    forms |= {head: Form(LIST, 0, WITHOUT_END) for head in (0x5F, 0x7F, 0x9F)} | {0xBF: Form(MAP, 0, WITHOUT_END)}
    forms[0xFF] = Form(END)
    forms |= {head: Form(SCALAR) for head in (0xF4, 0xF5, 0xF6)}
    forms |= {0xF8 + n: Form(SCALAR, 1 << n) for n in (1, 2, 3)}
    conditions = {0xF8 + n: _FINITE[1 << n] for n in (1, 2, 3)}
    forms |= {0xC0 + tag: Form(TAG) for tag in SUPPORTED_TAGS if tag < 24}
    for n in range(4):
        numbers = b"|".join(re.escape(tag.to_bytes(1 << n)) for tag in SUPPORTED_TAGS if tag < 256 ** (1 << n))
        forms[0xD8 + n] = Form(TAG, 1 << n)
        conditions[0xD8 + n] = b"(?=%b)" % numbers
    keys = (*range(0x1C), *range(0x20, 0x3C), *range(0x60, 0x7C), 0x7F, 0xFF)
    return _check(forms, conditions, keys, _explain_cbor)


def _explain_cbor(body: bytes, at: int) -> str:
    head = body[at]
    if 0xF9 <= head <= 0xFB:
        return _float(body, at, 1 << head - 0xF8)
    if 0xC0 <= head < 0xDC:
        number = head - 0xC0 if head < 0xD8 else int.from_bytes(body[at + 1 : at + 1 + (1 << head - 0xD8)])
        return f"the tag {number} is not supported"
    return (
        "undefined, or a simple value that JSON does not have"
        if 0xE0 <= head <= 0xF8
        else f"no value begins with the byte 0x{head:02x}"
    )


check_msgpack: Final = _msgpack()
check_cbor: Final = _cbor()
