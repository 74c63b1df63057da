"""`start` of the two kinds of streams, and the other settings of RabbitMQ's."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.notes import notes
from bridge.config import Config, load, schema
from bridge.config.starts import entry_before
from bridge.errors import ConfigError

_AMQP: dict[str, Any] = {"type": "amqp", "url": "amqp://localhost", "queue": "q"}
_REDIS: dict[str, Any] = {"type": "redis-stream", "url": "redis://localhost", "streams": ["s"], "group": "g"}
_TIME = datetime(2026, 11, 27, 6, tzinfo=UTC)


def _load(tmp_path: Path, source: dict[str, Any], **environ: str) -> Config:
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps({"sources": {"s": source}, "routes": [{"from": "s", "actor": "a"}]}))
    return load(path, environ=environ)


@pytest.mark.parametrize(
    ("start", "offset", "entry"),
    [
        ("beginning", "beginning", "beginning"),
        ("1500", 1500, "1500-0"),
        ("new", "new", "new"),
        (1500, 1500, "1500-0"),
        ("${START}", 1500, "1500-0"),
        ("2026-11-27T06:00:00Z", _TIME, _TIME),
        ("2026-11-27T07:00:00+01:00", _TIME, _TIME),
        ("2026-11-27 06:00:00.000Z", _TIME, _TIME),
    ],
)
def test_both_kinds_of_streams_take_the_same_words(
    start: str | int, offset: object, entry: object, tmp_path: Path
) -> None:
    """Beginning, new, a place, a time."""
    rabbit: Any = _load(tmp_path, {**_AMQP, "stream": True, "start": start}, START="1500").sources["s"]
    redis: Any = _load(tmp_path, {**_REDIS, "start": start}, START="1500").sources["s"]
    assert (rabbit.start, redis.start) == (offset, entry)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        ("2026-11-27T06:00:00", "takes a time with its zone; as in 2026-11-27T06:00:00Z"),
        ("2026-11-27", "takes a time with its zone"),
        ("2026-13-27T06:00:00Z", "takes a time that exists"),
        ("1960-01-01T06:00:00Z", "takes a time after 1970"),
        ("end", "takes beginning, new, "),
        (-1, "takes "),
        (1.5, "takes beginning, new, "),
        (True, "takes beginning, new, "),
        (None, "takes beginning, new, "),
        (["new"], "takes beginning, new, "),
        (2**64, "takes "),
    ],
)
@pytest.mark.parametrize("source", [{**_AMQP, "stream": True}, _REDIS], ids=["amqp", "redis-stream"])
def test_what_is_no_start(source: dict[str, Any], start: object, problem: str, tmp_path: Path) -> None:
    """The message says what it takes; a Redis id may be as large as 2^64 - 1 for each of its two numbers."""
    with pytest.raises(ConfigError, match=r"sources\.s\.start: " + problem):
        _load(tmp_path, {**source, "start": start})


@pytest.mark.parametrize(
    ("start", "behind"),
    [
        ("new", None),
        ("beginning", b"0-0"),
        ("0-0", b"0-0"),
        ("5-0", b"4-18446744073709551615"),
        ("5-3", b"5-2"),
        (_TIME, b"1795759199999-18446744073709551615"),
    ],
)
def test_a_group_begins_to_read_at_its_start(start: str | datetime, behind: bytes | None) -> None:
    """The entry of the id itself is read: Redis reads behind the id that it is given."""
    assert entry_before(start) == behind


_STREAM = {"arguments": {"x-queue-type": "stream"}}
_QUORUM = {"arguments": {"x-queue-type": "quorum"}}
_DECLARED = {"declare": _STREAM}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"start": "new"}, r"start: only a stream has it; add stream: true"),
        ({"filter": ["a"]}, r"filter: only a stream has it"),
        ({"match_unfiltered": True}, r"match_unfiltered: only a stream has it"),
        ({"stream": False, "start": "new"}, r"start: only a stream has it"),
        ({"stream": True, "match_unfiltered": True}, r"match_unfiltered: there is no filter; add filter, or remove it"),
        ({"declare": {**_STREAM, "durable": False}}, r"declare.durable: RabbitMQ has no stream that is not durable"),
        ({"declare": {**_QUORUM, "durable": False}}, r"declare.durable: RabbitMQ has no quorum queue that is not"),
        ({"stream": True, "declare": {}}, r"declare: this declares a queue, and no stream; add arguments"),
        ({"stream": True, "deduplicate": {"key": "$topic"}}, r"deduplicate: an event of a stream is always recognised"),
        ({**_DECLARED, "deduplicate": {"key": "$topic"}}, r"deduplicate: an event of a stream is always recognised"),
    ],
    ids=repr,
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """What only a stream has, and what a stream never has."""
    with pytest.raises(ConfigError, match=problem):
        _load(tmp_path, {**_AMQP, **settings})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("stream: ${NO}\n    start: new", "start: only a stream has it"),
        ("stream: ${YES}\n    declare: {}", "declare: this declares a queue, and no stream"),
        ("stream: ${YES}\n    match_unfiltered: ${YES}", "match_unfiltered: there is no filter"),
        (
            "declare:\n      durable: ${NO}\n      arguments: {x-queue-type: stream}",
            "declare.durable: RabbitMQ has no stream that is not durable",
        ),
    ],
)
def test_settings_out_of_the_environment_contradict_each_other_too(settings: str, problem: str, tmp_path: Path) -> None:
    """A reference stands for what is true or false in it."""
    path = tmp_path / "bridge.yaml"
    source = f"type: amqp\n    url: amqp://localhost\n    queue: q\n    {settings}"
    path.write_text(f"sources:\n  s:\n    {source}\nroutes: [{{from: s, actor: a}}]\n")
    with pytest.raises(ConfigError, match=problem):
        load(path, environ={"YES": "true", "NO": "false"})


@pytest.mark.parametrize(
    ("settings", "is_stream"),
    [
        ({}, False),
        ({"stream": True}, True),
        (_DECLARED, True),
        ({"stream": True, **_DECLARED, "start": 5}, True),
        ({"stream": True, "filter": ["a"], "match_unfiltered": True}, True),
        ({"stream": True, "match_unfiltered": False}, True),
        ({"declare": {"durable": False, "arguments": {"x-queue-type": "classic"}}}, False),
        ({"declare": {"durable": False, "arguments": {"x-queue-type": ["stream"]}}}, False),
    ],
    ids=repr,
)
def test_which_sources_are_streams(settings: dict[str, Any], is_stream: bool, tmp_path: Path) -> None:
    """The file says so, or declares it."""
    source: Any = _load(tmp_path, {**_AMQP, **settings}).sources["s"]
    assert source.is_stream == is_stream
    assert (source.traits.why_not_shareable(source) is not None) == is_stream


@pytest.mark.parametrize(
    ("start", "is_noted"),
    [(timedelta(hours=1), True), (timedelta(hours=-1), False), ("new", False), (5, False)],
    ids=str,
)
def test_a_start_in_the_future_is_noted(start: object, is_noted: bool, tmp_path: Path) -> None:
    """RabbitMQ brings at once what comes before that time."""
    at = (datetime.now(UTC) + start).isoformat() if isinstance(start, timedelta) else start
    noted = list(notes(_load(tmp_path, {**_AMQP, "stream": True, "start": at})))
    assert any(note.message.startswith("sources.s has a start that is in the future") for note in noted) == is_noted


def test_an_editor_takes_an_offset_as_the_program_does() -> None:
    """A number, or the same in quotes; `${NAME}` stands for either."""
    kinds = schema()["$defs"]["Amqp"]["properties"]["start"]["anyOf"]
    (offset,) = (kind for kind in kinds if "integer" in kind.get("type", ""))
    assert offset["type"] == ["string", "integer"]
    assert re.search(offset["pattern"], "1500")
    assert not re.search(offset["pattern"], "-1")
    assert (offset["minimum"], offset["maximum"]) == (0, 2**63 - 1)
