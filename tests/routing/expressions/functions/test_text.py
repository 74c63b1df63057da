"""Text, coding, hashes, kinds, and errors that are caught."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.parse
import uuid
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.routing.expressions.coding import base64_decode, hex_of, url_decode, url_encode
from bridge.routing.expressions.hashes import bucket, hmac_of, md5_of, sha1_of, uuid5
from bridge.routing.expressions.text import replace, text_of
from tests.support.evaluation import evaluate, failure, refusal

texts = st.text(st.characters(codec="utf-8"))
MIB = 2**20


@pytest.mark.parametrize(
    ("text", "payload", "expected"),
    [
        ('replace(payload, "aa", "b")', "aaaaa", "bba"),
        ('replace(payload, ".", "")', "a.b.", "ab"),
        ('replace(payload, "x", payload)', "y" * MIB, "y" * MIB),
        ('replace(payload, "a", "bb")', "a" * (MIB // 2), "b" * MIB),
        ('strip(payload, "#")', " #7# ", " #7# "),
        ('strip(payload, " #")', " #7# ", "7"),
        ('strip(payload, "")', " 7 ", " 7 "),
        ('capture(payload, "b+")', "abba", "bb"),
        ('capture(payload, "(b)(x)?(a)")', "abba", ["b", None, "a"]),
        ('capture(payload, "(x)?b")', "abba", None),
        ('capture(payload, "x")', "abba", None),
        ('capture(payload, "(?P<n>é+)")', "aéé", "éé"),
        ('capture(payload, "")', "a", ""),
        ('capture(payload, "(a(b))")', "ab", ["ab", "b"]),
        ("int(payload, 16)", "ff", 255),
        ("int(payload, 16)", " -0xFF ", -255),
        ("int(payload, 2)", "0b101", 5),
        ("int(payload, 8)", "0o17", 15),
        ("int(payload, 10)", "017", 17),
        ("int(payload, 16)", "0b1", 0xB1),
        ("str(payload)", 1e16, "1e16"),
        ("str(payload)", -0.0, "-0.0"),
        ("str(payload)", {"a": None, "b": [True, "é"]}, '{"a":null,"b":[true,"é"]}'),
        ('f"{payload}|{payload!s:>8}|"', None, "null|    null|"),
        ('f"{payload:>6}|"', True, "  true|"),
        ('f"{payload:>6}|"', 1.5, "   1.5|"),
        *((f'bool("{word}")', None, True) for word in ("true", "YES", " on ", "t", "Y", "1")),
        *((f'bool("{word}")', None, False) for word in ("false", "No", "off\\n", "f", "n", "0")),
        *(("bool(payload)", value, True) for value in (True, 1, -2, 0.5, 2**300)),
        *(("bool(payload)", value, False) for value in (False, 0, 0.0, -0.0)),
        *(("type(payload)", value, kind) for value, kind in (
            ("", "string"), (1, "number"), (1.5, "number"), (True, "boolean"), (None, "null"), ([], "array"), ({}, "object"))),
        ("catch(payload.a.b, 1)", {}, 1),
        ("catch(payload.a.b, 1)", {"a": None}, 1),
        ("catch(payload.a, 1)", {"a": None}, None),
        ("catch(payload.a + 1, 1)", {"a": "x"}, 1),
        ("catch(1 / payload.a, 1)", {"a": 0}, 1),
        ("catch(cents(payload.a), catch(int(payload.a), -1))", {"a": "x"}, -1),
        ("catch(payload.a, payload.b)", {"a": 1}, 1),
        ("base64_decode(payload)", "4oKs", "€"),
        ("base64_decode(payload)", "w7_Dvw", "ÿÿ"),
        ("base64_decode(payload)", "", ""),
        ("hex(payload)", b"\x00\xff", "00ff"),
        ("url_decode(payload)", "%e2%82%AC+%2B%3D=%25%41%0D", "€ +==%A\r"),
        ("url_decode(payload)", "%2541", "%41"),
        ("bucket(payload, 1)", "x", 0),
        ("[bucket(payload, 1024), bucket(int(payload), 1024), bucket(-0.0, 1024) - bucket(0, 1024)]", 7.0, [642, 642, 0]),
        ("bucket(payload, 8) == bucket(str(payload), 8)", {"a": 1}, True),
    ],
)  # fmt: skip
def test_a_result(text: str, payload: object, expected: object) -> None:
    """With its type."""
    assert repr(evaluate(text, payload)) == repr(expected)


@pytest.mark.parametrize(
    ("text", "payload", "cause"),
    [
        ('replace(payload, "", "x")', "a", "replace(): the text to replace is empty"),
        ('replace(payload, "a", "bbb")', "a" * (MIB // 2), "replace(): the text would be longer than"),
        ('replace(payload, 1, "b")', "a", "replace() takes three texts, not a number"),
        ('strip("a", payload)', "x" * 101, "strip() takes off at most 100 characters"),
        ('strip("a", payload)', None, "strip() takes text as second argument, not null"),
        ('capture(payload, "a")', 1, "capture() takes text, not a number"),
        ('capture(payload, "([ab]*)b")', "a" * 100_000, "bytes that this regex is tried on"),
        ("int(payload, 16)", "fg", "'fg' is not a whole number of base 16"),
        ("int(payload, 2)", "0xf", "'0xf' is not a whole number of base 2"),
        ("int(payload, 16)", "f_f", "'f_f' is not a whole number of base 16"),
        ("int(payload, 16)", "f" * 3571, "is not a whole number of base 16"),
        ("int(payload, 16)", 15, "int() with a base takes text, not a number"),
        ('int("1", payload)', 36, "the base of int() is 2, 8, 10 or 16, not 36"),
        ('int("1", payload)', [], "the base of int() is 2, 8, 10 or 16, not a list"),
        ("str(payload)", float("nan"), "str(): a number is not finite"),
        ("str(payload)", b"x", "str() takes no bytes"),
        *(("bool(payload)", value, "is neither true nor false") for value in ("", "maybe", "2", "truee", "\N{KELVIN SIGN}")),
        ("bool(payload)", None, "bool() takes true or false, a number or text, not null"),
        ("bool(payload)", [], "bool() takes true or false, a number or text, not a list"),
        ("type(payload)", b"", "type() takes a value of JSON, not bytes"),
        ("catch(payload.a, payload.b)", {}, "no field 'b'"),
        ("base64_decode(payload)", "a", "'a' is not base64"),
        ("base64_decode(payload)", "aGk==", "'aGk==' is not base64"),
        ("base64_decode(payload)", "aGk=aGk=", "is not base64"),
        ("base64_decode(payload)", "aG k", "is not base64"),
        ("base64_decode(payload)", "€", "is not base64"),
        ("base64_decode(payload)", "_w", "base64_decode(): the result is no text in UTF-8"),
        ("url_decode(payload)", "a%2", "url_decode(): '%2' is no escape such as '%20'"),
        ("url_decode(payload)", "%\n41", "is no escape"),
        ("url_decode(payload)", "%ff", "url_decode(): the result is no text in UTF-8"),
        ("url_encode(payload)", 1, "url_encode() takes text, not a number"),
        ("url_encode(payload)", "a" * (MIB // 3 + 1), "url_encode(): the text would be longer"),
        ("hex(payload)", "a" * (MIB // 2 + 1), "hex(): the text would be longer"),
        ("md5(payload)", 1, "md5() takes text or bytes, not a number"),
        ('hmac(payload, "x")', None, "hmac() takes text or bytes, not null"),
        ('hmac("k", "x", payload)', "md5", "'md5' is no hash of hmac(): they are sha256, sha1, sha512"),
        ('uuid5("a", payload)', "x", "'x' is no namespace: it is \"url\", \"dns\", \"oid\" or a UUID"),
        ("uuid5(payload)", 1, "uuid5() takes text, not a number"),
        ("bucket(payload, 8)", None, "bucket() takes a key, not null"),
        ('bucket("a", payload)', 0, "there are 1 to 1024 buckets, not 0"),
        ('bucket("a", payload)', 1025, "there are 1 to 1024 buckets, not 1025"),
        ('bucket("a", payload)', 8.0, "bucket() takes a whole number of buckets, not a number"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_an_error(text: str, payload: object, cause: str) -> None:
    """In words that say the reason."""
    assert cause in failure(text, payload).cause


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("capture(topic, '(')", "not a usable regex", 15),
        ("capture(topic, oven)", "the regex of capture() is a constant text", 15),
        ("capture(topic, 1)", "the regex of capture() is a constant text", 15),
        ("int(topic, 36)", "the base of int() is 2, 8, 10 or 16, not 36", 11),
        ("hmac('k', topic, 'md5')", "'md5' is no hash", 17),
        ("hmac('k', topic, 'sha1', 'b64')", "'b64' is no coding of hmac(): they are hex, base64", 25),
        ("uuid5(topic, 'x')", "'x' is no namespace", 13),
        ("bucket(topic, 0)", "there are 1 to 1024 buckets, not 0", 14),
        ("catch(topic)", "catch() takes 2 arguments, not 1", 0),
    ],
)
def test_a_mistake_is_found_when_the_file_is_read(text: str, message: str, at: int) -> None:
    """Where the argument is written out."""
    found = refusal(text)
    assert message in found.message
    assert found.offset == at


def test_catch_catches_no_bug() -> None:
    """Nor an event that costs too much: an error that is none of a value's goes on."""

    class Broken(dict[str, object]):
        def __getitem__(self, key: str) -> object:
            raise AssertionError(key)

    with pytest.raises(AssertionError):
        evaluate("catch(payload.a, 1)", Broken())


@given(texts)
def test_a_url_is_that_of_urllib(text: str) -> None:
    """Both ways."""
    assert url_encode(text) == urllib.parse.quote(text, safe="")
    assert url_decode(url_encode(text)) == text
    assert url_decode(urllib.parse.quote_plus(text)) == text


@given(texts, st.binary())
def test_coding_and_hashes_are_those_of_the_library(text: str, data: bytes) -> None:
    """Of text and of bytes."""
    raw = text.encode()
    assert base64_decode(base64.b64encode(raw).decode()) == text
    assert base64_decode(base64.urlsafe_b64encode(raw).decode().rstrip("=")) == text
    assert (hex_of(text), hex_of(data)) == (raw.hex(), data.hex())
    assert md5_of(data) == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert sha1_of(text) == hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    for name in ("sha256", "sha1", "sha512"):
        signature = hmac.new(raw, data, name)
        assert hmac_of(text, data, name) == hmac_of(text, data, name, "hex") == signature.hexdigest()
        assert hmac_of(text, data, name, "base64") == base64.b64encode(signature.digest()).decode()
    assert uuid5(text) == str(uuid.uuid5(uuid.NAMESPACE_URL, text))
    assert uuid5(text, "dns") == str(uuid.uuid5(uuid.NAMESPACE_DNS, text))
    assert uuid5(text, str(uuid.NAMESPACE_OID)) == uuid5(text, "oid") == str(uuid.uuid5(uuid.NAMESPACE_OID, text))
    assert bucket(text, 1024) == zlib.crc32(raw) % 1024


@given(texts, st.text("ab", max_size=3), st.text("abc", max_size=3), st.text("ab"))
def test_replace_is_pythons(text: str, old: str, new: str, letters: str) -> None:
    """Where there is anything to replace."""
    if old:
        assert replace(letters + text, old, new) == (letters + text).replace(old, new)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=5,
)


@given(values)
def test_the_text_of_a_value_is_its_json(value: object) -> None:
    """And a text is itself."""
    assert text_of(value) == value if isinstance(value, str) else json.loads(text_of(value)) == value
    assert evaluate('f"{payload}"', value) == evaluate('f"{payload}{1 + 1}"', value)[:-1] == text_of(value)


@pytest.mark.parametrize(
    "text",
    [
        "md5(payload)",
        "sha1(payload)",
        'hmac("k", payload)',
        'hmac(payload, "k")',
        "uuid5(payload)",
        'timestamp(payload, "%Y", "UTC")',
    ],
)
def test_a_text_of_more_than_1_mib_is_refused_before_it_is_read(text: str) -> None:
    """However large `max_body` is."""
    name = text.partition("(")[0]
    assert failure(text, "1" * (MIB + 1)).cause == f"{name}(): the text would be longer than {MIB} characters"
