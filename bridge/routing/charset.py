"""The charset of a body that is not UTF-8: one of a closed list, so that no other codec of Python's is reachable."""

from __future__ import annotations

import re
from typing import Any, Final

from bridge.errors import BadEvent

#: Names and their usual other names, in lower case; the values are Python's codecs.
CHARSETS: Final = {
    "utf-8": "utf-8",
    "us-ascii": "ascii",
    "iso-8859-1": "iso-8859-1",
    "iso-8859-15": "iso-8859-15",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
    "utf8": "utf-8",
    "ascii": "ascii",
    "latin1": "iso-8859-1",
    "latin-1": "iso-8859-1",
    "cp1252": "cp1252",
}
BOM: Final = b"\xef\xbb\xbf"
#: The byte order marks of UTF-16, with Python's codecs for the rest.
UTF_16_BOMS: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
#: Control characters that no text has, but of some protocol: STX and ETX of telegrams, VT and FS of HL7, SOH of FIX.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
#: Those that none has. A binary body of 100 bytes has one with hardly an exception.
_BINARY: Final = re.compile(rb"[\x00\x10-\x19\x7f]")


def declared_charset(content_type: Any) -> str:
    """Return the charset that a content type names, as it is written there, in lower case; "" without one."""
    if not isinstance(content_type, str):
        return ""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


def codec(charset: str) -> str:
    """Return Python's codec for a charset, "" for "".

    Raises:
        BadEvent: the list has no such charset.
    """
    if charset and charset not in CHARSETS:
        raise BadEvent("decode", f"no decoder for the charset {charset[:80]!r}")
    return CHARSETS.get(charset, "")


def has_control(body: bytes) -> bool:
    """Tell whether a body has a control character that is hardly part of a text."""
    return _CONTROL.search(body) is not None


def single_byte_text(body: bytes, charset: str, *, checked: bool = True) -> str:
    """Return a text in a charset that gives nearly each byte a character; `checked`, whether the body may be a text.

    Raises:
        BadEvent: it is none.
    """
    binary = _BINARY.search(body.rstrip(b"\0 \t\r\n")) if checked else None
    if binary is not None:
        wrong = f"byte 0x{binary[0][0]:02x} in position {binary.start()} is of no text"
        hint = "decode: bytes takes a binary body, content_encoding a compressed one"
        raise BadEvent("decode", f"not text in {charset}: {wrong}; {hint}")
    try:
        return body.decode(CHARSETS[charset])
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{body[error.start]:02x} in position {error.start}"
        raise BadEvent("decode", f"not text in {charset}: {wrong}") from None


def utf_16(body: bytes) -> str:
    """Return a text in UTF-16: by its byte order mark; without one little-endian, unless it begins with a zero byte.

    Raises:
        UnicodeDecodeError: it is not UTF-16: it has an odd number of bytes, or half a character.
    """
    mark = UTF_16_BOMS.get(body[:2])
    if mark is not None:
        return body[2:].decode(mark)
    return body.decode("utf-16-be" if body[:1] == b"\0" else "utf-16-le")
