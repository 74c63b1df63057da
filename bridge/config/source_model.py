"""The settings that the sources of all protocols have, and the check that each declares its traits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from bridge.config.connection import Boolean, Bytes, Connection, Integer, Model
from bridge.config.deduplicate import OF_SOURCE, DeduplicateOrNull
from bridge.config.promises import Promise
from bridge.config.schemas import Validation
from bridge.config.traits import Surroundings, Traits
from bridge.config.units import spell_size
from bridge.errors import InvalidValue

Decode = Literal["json", "text", "msgpack", "cbor", "bytes", "auto", "json-or-text", "form", "ndjson"]
ContentEncoding = Literal["auto", "none", "gzip", "deflate", "zstd"]
Charset = Literal["auto", "utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf-16"]
EmptyBody = Literal["dead-letter", "as-null", "drop"]
Unmatched = Literal["dead-letter", "drop"]
#: Of one bridge.
MAX_PROCESSES: Final = 64
#: The earlier names of `deduplicate`.
_OLD_KEYS: Final = ("identity", "identity_window")


def _at_least_1b(size: int) -> int:
    if size < 1:
        raise InvalidValue(f"takes a size of at least {spell_size(1)}")
    return size


Size = Annotated[Bytes, AfterValidator(_at_least_1b)]


class Window(Model):
    """The bounds of the events that are received and not yet acknowledged."""

    events: Annotated[Integer, Field(ge=1, le=65_535)] = Field(
        default=1_000, description="events at most", examples=[100]
    )
    bytes: Size = Field(default=16 << 20, description="bytes of their bodies, topics and headers at most")


class WideWindow(Window):
    """The window of sources whose events are never duplicated after a crash, so it can be larger."""

    events: Annotated[Integer, Field(ge=1, le=65_535)] = Field(
        default=4_000, description="events at most", examples=[8_000]
    )


_WINDOW: Final[Any] = Field(
    description="how much may be received and not yet acknowledged", examples=[{"events": 2_000, "bytes": "32MiB"}]
)
#: The `window` of such a source.
WideWindowSetting = Annotated[WideWindow, _WINDOW]


class SourceModel(Connection):
    """The settings that every source has."""

    traits: ClassVar[Traits[Any]]
    #: Keys that this source does not have, each with the reason or the remedy.
    without: ClassVar[Mapping[str, str]] = {}

    decode: Decode = Field(default="json", description="how a body becomes the payload", examples=["msgpack"])
    content_encoding: ContentEncoding = Field(
        default="auto",
        description="compression that bodies may have; auto: as the event declares it",
        examples=["gzip"],
    )
    charset: Charset = Field(
        default="auto",
        description="charset of the bodies that are not UTF-8; auto: as the event's content type declares it",
        examples=["iso-8859-1"],
    )
    lenient: Boolean = Field(
        default=False, description="whether NaN, Infinity and numbers beyond floats are null in JSON", examples=[True]
    )
    empty: EmptyBody | None = Field(
        default=None,
        description='fate of an event with an empty body; dead-letter, but "" for text, json-or-text and bytes',
        examples=["drop"],
    )
    validation: Validation = Field(
        default=None,
        validation_alias="validate",
        serialization_alias="validate",
        description="JSON Schema that each payload has to fit, or its file; an event with another one is a dead letter",
        examples=["reading.schema.json", {"type": "object", "required": ["celsius"]}],
    )
    unmatched: Unmatched | None = Field(
        default=None,
        description="fate of an event that fits no route's topic; dead-letter for queues and streams, otherwise drop",
        examples=["drop"],
    )
    window: Annotated[Window, _WINDOW] = Window()
    max_body: Size = Field(
        default=256 << 10, description="size of the largest body; an event with a larger one is a dead letter"
    )

    @property
    def dead_letter_unmatched(self) -> bool:
        """Whether an event that fits no route's topic is kept as a dead letter."""
        return self.traits.dead_letters_unmatched if self.unmatched is None else self.unmatched == "dead-letter"

    @classmethod
    def __pydantic_init_subclass__(cls, **settings: Any) -> None:
        """Check that a source, which is a model with a `type`, declares its traits.

        Raises:
            TypeError: it does not, or they contradict its settings.
        """
        super().__pydantic_init_subclass__(**settings)
        if "type" not in cls.model_fields:
            return
        traits = vars(cls).get("traits")
        if not isinstance(traits, Traits):
            raise TypeError(f"the source {cls.__name__} declares no traits of its own")
        if issubclass(cls, DeduplicatedSource) != (traits.no_deduplicate is None):
            raise TypeError(f"the source {cls.__name__} needs either `deduplicate` or a reason why not: no_deduplicate")
        if cls.tls_scheme not in cls.schemes:
            raise TypeError(f"the source {cls.__name__} has no scheme {cls.tls_scheme}, its tls_scheme")
        if traits.no_deduplicate is not None:
            cls.without = dict.fromkeys(("deduplicate", *_OLD_KEYS), traits.no_deduplicate)
        else:
            cls.without = dict.fromkeys(_OLD_KEYS, f"write {OF_SOURCE}")


class DeduplicatedSource(SourceModel):
    """The settings of a source whose broker may deliver an event again, without an id that is always the event's own."""

    deduplicate: DeduplicateOrNull = Field(
        default=None,
        description="how an event that comes again is recognised; without it, it is written again",
        examples=[{"key": "$meta.message_id", "within": "1d"}],
    )


def at_most_once(promise: Promise, source: SourceModel, surroundings: Surroundings) -> Promise:
    """Return the promise for events that nobody keeps, with the cost of having no spool."""
    if surroundings.spool_bytes is None:
        window = f"{source.window.events} events or {spell_size(source.window.bytes)}"
        guarantee = f"at most once; no spool, so in an outage of Redis what comes beyond {window} is lost"
    else:
        size = spell_size(surroundings.spool_bytes)
        guarantee = f"at most once until received; then an outage of Redis loses nothing up to {size}"
    return replace(promise, guarantee=guarantee)
