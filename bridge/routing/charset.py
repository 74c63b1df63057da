"""The charset of a body that is not UTF-8: one of a closed list, so that no other codec of Python's is reachable."""

from __future__ import annotations

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


def utf_16(body: bytes) -> str:
    """Return a text in UTF-16: by its byte order mark; without one little-endian, unless it begins with a zero byte.

    Raises:
        UnicodeDecodeError: it is not UTF-16: it has an odd number of bytes, or half a character.
    """
    mark = UTF_16_BOMS.get(body[:2])
    if mark is not None:
        return body[2:].decode(mark)
    return body.decode("utf-16-be" if body[:1] == b"\0" else "utf-16-le")
