"""The manifest's data, and its JSON."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

import msgspec

from bridge.config.files import UnreadableFile, named, read_file
from bridge.errors import BridgeError

FORMAT: Final = 1
_MAX_BYTES: Final = 16 << 20
_REMEDY: Final = "`dramatiq-bridge actors` writes it"

ParameterKind = Literal["positional-only", "positional-or-keyword", "var-positional", "keyword-only", "var-keyword"]
JsonType = Literal["null", "boolean", "integer", "number", "string", "array", "object"]


class ManifestError(BridgeError):
    """A file that is no manifest."""


class Shape(msgspec.Struct, frozen=True, omit_defaults=True):
    """The values that an annotation allows: `types` of JSON, or the only `values`; None for any.

    `items` is the shape of the elements of a list, or of the values of a mapping.
    """

    types: tuple[JsonType, ...] | None = None
    values: tuple[Any, ...] | None = None
    items: Shape | None = None


#: Any value.
ANY: Final = Shape()


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter of an actor's function. `shape` are the values that it takes; `required` is whether a call needs it."""

    name: str
    kind: ParameterKind
    annotation: str = ""
    shape: Shape = ANY
    required: bool = False
    default: Any = None


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """One actor: its queue, its parameters in their order, and the options that it was declared with.

    `certain` is false where a decorator could change a call on its way to these parameters.
    """

    queue: str
    parameters: tuple[Parameter, ...] = ()
    options: dict[str, Any] = {}
    description: str = ""
    certain: bool = True


class Manifest(msgspec.Struct, frozen=True):
    """The actors of an application by their names. `dramatiq` is the version that declared them.

    `options` are those that its brokers and their middleware know.
    """

    manifest: int
    dramatiq: str
    modules: tuple[str, ...]
    actors: dict[str, Actor]
    options: tuple[str, ...] = ()


class _Format(msgspec.Struct):
    manifest: int


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Return the manifest in a file.

    Raises:
        ManifestError: it can't be read, or is no manifest of this format; the message names the whole path.
    """
    try:
        body = read_file(path, _MAX_BYTES)
        version = msgspec.json.decode(body, type=_Format).manifest
        if version != FORMAT:
            raise ManifestError(f"{named(path)} has the format {version}, this version reads {FORMAT}; {_REMEDY}")
        return msgspec.json.decode(body, type=Manifest)
    except UnreadableFile as error:
        raise ManifestError(f"{named(path)} {error}; {_REMEDY}") from None
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        raise ManifestError(f"{named(path)} is no manifest: {error}; {_REMEDY}") from None


def manifest_json(manifest: Manifest) -> bytes:
    """Return the JSON of a manifest with sorted keys, so that a repository shows real changes only."""
    body = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2)
    return body + b"\n"
