"""Properties of MQTT 5, and fields of a stream, that can't be read: only who asks for them hears of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from bridge.errors import BadEvent
from bridge.model.event import UnreadableDetails
from bridge.sources.mqtt import properties as mqtt
from bridge.sources.redis_stream.entries import details as entry_details


def _user(name: bytes, value: bytes) -> bytes:
    return b"&%b%b%b%b" % (len(name).to_bytes(2), name, len(value).to_bytes(2), value)


def _mqtt(properties: bytes) -> tuple[Mapping[str, object], Mapping[str, object]]:
    with pytest.raises(UnreadableDetails) as caught:
        mqtt.details(bytes([0x32, len(properties)]) + properties)
    return caught.value.details


def _is_refused(read: Callable[[], object]) -> bool:
    try:
        read()
    except BadEvent as error:
        return error.reason == "decode"
    return False


CONTENT = b"\x03\x00\x04text"


def test_a_user_property_that_is_no_text() -> None:
    """The others are there, and meta is whole; a name that nobody sent is missing."""
    headers, meta = _mqtt(_user(b"a", b"1") + _user(b"bad", b"\xff") + CONTENT + _user(b"b", b"2"))
    assert (headers["a"], headers["b"], meta["content_type"], meta["qos"], meta["reply_to"]) == (
        "1",
        "2",
        "text",
        1,
        None,
    )
    assert _is_refused(lambda: headers["bad"])
    assert _is_refused(lambda: dict(headers))
    with pytest.raises(KeyError):
        headers["none"]


def test_a_content_type_that_is_no_text() -> None:
    """The headers are whole, and so is the rest of meta."""
    headers, meta = _mqtt(_user(b"a", b"1") + b"\x03\x00\x01\xff" + b"\x02\x00\x00\x00\x07")
    assert dict(headers) == {"a": "1"}
    assert (meta["expires_in"], meta.get("correlation_id", 0)) == (7, None)
    assert _is_refused(lambda: meta.get("content_type"))


def test_properties_that_break_off() -> None:
    """What came before is there; anything else may have been behind it."""
    headers, meta = _mqtt(_user(b"a", b"1") + CONTENT + b"\x7f" + _user(b"b", b"2"))
    assert (headers["a"], meta["content_type"], meta["retain"]) == ("1", "text", False)
    assert _is_refused(lambda: headers["b"])
    assert _is_refused(lambda: meta.get("reply_to"))


def test_any_damage_to_properties_is_survived() -> None:
    """Of 3,000 with bytes changed, each is read, or in parts."""
    chance = random.Random(7)
    whole = _user(b"a", b"1") + CONTENT + b"\x08\x00\x01r" + b"\x09\x00\x01c" + b"\x02\x00\x00\x00\x07"
    partly = 0
    for _ in range(3_000):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            mqtt.details(bytes([0x32, len(damaged)]) + bytes(damaged))
        except UnreadableDetails as error:
            partly += error.details[1]["qos"] == 1
    assert partly > 500


def test_a_field_of_an_entry() -> None:
    """One in `binary` is base64; another that is no text damages only who reads it."""
    fields = [b"data", b"{}", b"a", b"1", b"photo", b"\xff", b"bad", b"\xfe"]
    with pytest.raises(UnreadableDetails) as caught:
        entry_details(b"data", {b"photo"}, (b"1-0", fields))
    headers, meta = caught.value.details
    assert (headers["a"], headers["photo"], meta["entry_id"]) == ("1", "/w==", "1-0")
    assert _is_refused(lambda: headers["bad"])
    assert entry_details(b"data", {b"photo", b"bad"}, (b"1-0", fields))[0]["bad"] == "/g=="
