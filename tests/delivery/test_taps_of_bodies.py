"""Taps of events whose bodies had to be repaired: they show what the route has read, and count nothing again."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from bridge.config import Config
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.taps import Tap, TapFilter
from tests.delivery.test_taps import SHOWN, Process
from tests.support.admin import until

SOURCE: dict[str, Any] = {
    "type": "mqtt",
    "url": "mqtt://localhost",
    "client_id": "c",
    "lenient": True,
    "charset": "iso-8859-1",
}
BODY = b'{"name": "Z\xfcrich", "t": NaN, "card": "4711"}'
BODIES: dict[str, tuple[bytes, dict[str, int]]] = {
    "in another charset, with a number that JSON does not have": (BODY, {"charset": 1, "lenient": 1}),
    "with a byte order mark": (b"\xef\xbb\xbf" + BODY.decode("iso-8859-1").encode(), {"bom": 1, "lenient": 1}),
    "compressed": (gzip.compress(BODY, mtime=0), {"compressed": 1, "charset": 1, "lenient": 1}),
}


def _process(case: str, **more: Any) -> Process:
    encoding = "gzip" if case == "compressed" else "auto"
    return Process(
        Config.model_validate({
            "sources": {"s": {**SOURCE, "content_encoding": encoding}, "t": {**SOURCE, "client_id": "d"}},
            "routes": [
                {"from": "s", "name": "log", "actor": "note", "args": ["$payload.name", "$payload.t"]},
                {"from": "s", "name": "need", "actor": "greet", "args": ["$payload.none"]},
            ],
            **more,
        })
    )  # fmt: skip


def _lines(tap: Tap) -> list[dict[str, Any]]:
    return [json.loads(each) for each in tap.take(1 << 30) if isinstance(each, bytes)]


def _show(process: Process, body: bytes) -> tuple[Batch, dict[str, int]]:
    batch = process.show(Event("s", "a", body, 1_700_000_000_123, size=len(body)))
    return batch, {str(repair): count for repair, count in process.router.repairs.counts.items()}


@pytest.mark.parametrize("case", BODIES)
async def test_a_tap_of_a_repaired_body(case: str) -> None:
    """The line has the message, the reason of the route that failed, and the body as it came; the repair counts once."""
    body, repairs = BODIES[case]
    process = _process(case)
    tap = await process.taps.open(SHOWN)
    _, counts = _show(process, body)
    assert counts == repairs
    (line,) = _lines(tap)
    assert line["outcome"] == "dead-lettered"
    assert [message["args"] for message in line["messages"]] == [["Zürich", None]]
    assert {name: each["verdict"] for name, each in line["routes"].items()} == {"log": "message", "need": "dead-letter"}
    assert line["dead_letter"]["detail"] == "args.0: no field 'none' in `payload.none`"
    shown = base64.b64decode(line["body_base64"]) if "body_base64" in line else line["body"].encode()
    assert shown == body
    assert line["body_size"] == len(body)


@pytest.mark.parametrize("case", BODIES)
async def test_a_tap_of_a_repaired_body_without_its_redacted_fields(case: str) -> None:
    """What is left of it is shown in the format of `decode`."""
    process = _process(case, dead_letters={"redact": ["payload.card"]})
    tap = await process.taps.open(SHOWN)
    _show(process, BODIES[case][0])
    (line,) = _lines(tap)
    assert line["redacted"] == ["payload.card"]
    assert "4711" not in json.dumps(line)
    assert json.loads(line["body"]) == {"name": "Zürich", "t": None}


async def test_a_repaired_body_as_a_test() -> None:
    """It is written as it came, since its repair is a part of the test."""
    process = _process("compressed")
    tap = await process.taps.open(TapFilter(contents=True, as_test=True))
    _show(process, BODIES["compressed"][0])
    await until(lambda: tap.waits)
    (line,) = _lines(tap)
    assert f"payload_base64: {base64.b64encode(BODIES['compressed'][0]).decode()}" in line["test"]
