"""The settings and the traits of Redis Streams."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bridge.config import promises
from bridge.config.connection import Name, Timeout
from bridge.config.promises import Promise
from bridge.config.properties import Properties, Property, entry_id
from bridge.config.source_model import SourceModel, WideWindow, WideWindowSetting
from bridge.config.starts import EntryStart
from bridge.config.traits import Surroundings, Traits
from bridge.config.wording import first_names
from bridge.topics.redis import RedisTopics


def _promise_stream(_source: RedisStream, surroundings: Surroundings) -> Promise:
    return promises.STREAM_IN_SINK if surroundings.in_sink else promises.STREAM_ELSEWHERE


def _why_not_brought_stream(source: RedisStream, _topics: Sequence[str | None], topic: str) -> str:
    if topic in source.streams:
        return ""
    return f"the bridge does not read this stream: it reads {first_names(source.streams)}"


def _for_process_stream(source: RedisStream, number: int) -> RedisStream:
    return source.model_copy(update={"consumer": f"{source.consumer or socket.gethostname()}-{number}"})


def _properties_stream(source: RedisStream) -> Properties:
    meta = {"entry_id": Property(entry_id, "1767225600000-0")}
    binary = frozenset(source.binary)
    if source.field is None:
        return Properties(meta, None, "without `field`, all fields of an entry are its payload", binary=binary)
    return Properties(meta, "text", binary=binary)


def _notes_stream(source: RedisStream) -> Iterable[tuple[str, str]]:
    if source.field in source.binary:
        yield "binary", f"lists {source.field}, the body, which decode reads; decode: bytes gives a body in base64"


class RedisStream(SourceModel):
    """Streams of Redis, read by a consumer group."""

    traits: ClassVar[Traits[Any]] = Traits["RedisStream"](
        topics=RedisTopics,
        known_topics=lambda source: source.streams,
        why_not_brought=_why_not_brought_stream,
        promise=_promise_stream,
        dead_letters_unmatched=True,
        properties=_properties_stream,
        # Without a chosen field, an entry is the JSON object of all its fields.
        presents_json=lambda source: source.field is None,
        exclusive=lambda _: None,
        no_deduplicate="an entry of a stream is always recognised, by its id",
        why_not_shareable=lambda _: None,
        for_process=_for_process_stream,
        mistakes=lambda _: (),
        notes=_notes_stream,
    )

    window: WideWindowSetting = WideWindow()
    type: Literal["redis-stream"] = Field(description="protocol of the source")
    streams: Annotated[list[Name], Field(min_length=1)] = Field(
        description="keys of the streams to read", examples=[["audit"]]
    )
    group: Name = Field(description="consumer group; it is made where it is missing", examples=["bridge"])
    consumer: Name | None = Field(
        default=None, description="name in the group; without it, one that is this host's own", examples=["bridge-1"]
    )
    start: EntryStart = Field(
        default="beginning",
        description="where a new group starts: beginning, new, the id of an entry, or a time",
        examples=["new", "1764223200000-0", "2026-11-27T06:00:00Z"],
    )
    binary: list[Name] = Field(
        default=[],
        description="fields of an entry that are bytes: each is text in base64; any other field is UTF-8",
        examples=[["photo"]],
    )
    field: Name | None = Field(
        default=None,
        description="field of an entry that is the body; without it the payload is the object of all fields",
        examples=["data"],
    )
    claim_after: Timeout = Field(default=60_000, description="when an entry that another consumer holds is taken over")
