"""Text and bytes in other forms: JSON that is read, base64, hexadecimal digits, and the percent signs of a URL."""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from typing import Any, Final

import msgspec

from bridge.config.wording import quoted
from bridge.model.json_limits import check_exponents
from bridge.routing.expressions.values import MAX_TEXT, bounded, bytes_of, refuse, too_long

#: Numbers with an exponent of three digits, in JSON: 10 us each are 10 ms in all.
_MAX_LONG_EXPONENTS: Final = 1_000
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPES: Final = [chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256)]
_URL_ALPHABET: Final = str.maketrans("-_", "+/")
_BASE64: Final = "[A-Za-z0-9+/_-]*+={0,2}"
_NO_ESCAPE: Final = "%(?![0-9A-Fa-f]{2})"


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: the result is no text in UTF-8") from None


def json_value(value: object) -> object:
    """`json(text)`: the value that a text in JSON spells."""
    if type(value) is not str and type(value) is not bytes:
        refuse("json()", "text", value)
    data: bytes = value.encode() if type(value) is str else value  # type: ignore[assignment]
    try:
        check_exponents(data, _MAX_LONG_EXPONENTS)
        return msgspec.json.decode(data)
    except ValueError as error:
        raise ValueError(f"json(): {error}") from None


def base64_of(value: object) -> str:
    """`base64(x)` of bytes, or of text in UTF-8."""
    data = bytes_of("base64()", value)
    if len(data) > MAX_TEXT // 4 * 3:
        too_long("base64()")
    return b64encode(data).decode()


def base64_decode(value: Any) -> str:
    """`base64_decode(text)`: of the standard alphabet or that of URLs, with or without padding."""
    if type(value) is not str:
        refuse("base64_decode()", "text", value)
    text = bounded("base64_decode()", value)
    padding = -len(text) % 4
    if not re.fullmatch(_BASE64, text) or (padding and text[-1:] == "=") or padding == 3:
        raise ValueError(f"{quoted(value)} is not base64")
    return _decoded("base64_decode()", binascii.a2b_base64(text.translate(_URL_ALPHABET) + "=" * padding))


def hex_of(value: object) -> str:
    """`hex(x)` of bytes, or of text in UTF-8."""
    data = bytes_of("hex()", value)
    if len(data) > MAX_TEXT // 2:
        too_long("hex()")
    return data.hex()


def url_encode(value: Any) -> str:
    """`url_encode(text)`: every byte of its UTF-8 but letters, digits and `-._~` as `%20`."""
    if type(value) is not str:
        refuse("url_encode()", "text", value)
    data = value.encode()
    # Each byte may become three.
    if len(data) > MAX_TEXT // 3:
        too_long("url_encode()")
    return "".join([_ESCAPES[byte] for byte in data])


def url_decode(value: Any) -> str:
    """`url_decode(text)`: `%20` and `+` are a space."""
    if type(value) is not str:
        refuse("url_decode()", "text", value)
    wrong = re.search(_NO_ESCAPE, bounded("url_decode()", value))
    if wrong:
        raise ValueError(f"url_decode(): {quoted(value[wrong.start() : wrong.start() + 3])} is no escape such as '%20'")
    if "%" not in value:
        return value.replace("+", " ")
    # Quoted-printable is the same with `=`, and is decoded in C: of a third of a million escapes in 2 ms, not 70.
    data = value.replace("+", " ").replace("=", "%3D").replace("%", "=").encode()
    return _decoded("url_decode()", binascii.a2b_qp(data))
