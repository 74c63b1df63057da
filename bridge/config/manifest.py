"""The manifest's data, and its JSON."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

import msgspec

from bridge.config.files import UnreadableFile, read_file
from bridge.errors import BridgeError

FORMAT: Final = 1
_MAX_BYTES: Final = 16 << 20

Kind = Literal["positional-only", "positional-or-keyword", "var-positional", "keyword-only", "var-keyword"]
JsonType = Literal["null", "boolean", "integer", "number", "string", "array", "object"]


class ManifestError(BridgeError):
    """A file that is no manifest."""


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter of an actor's function.

    `types` are the types of JSON that its annotation allows, `values` the only values; None where it says nothing that
    JSON could break. `required` is whether a call needs it.
    """

    name: str
    kind: Kind
    annotation: str = ""
    types: tuple[JsonType, ...] | None = None
    values: tuple[Any, ...] | None = None
    required: bool = False
    default: Any = None


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """One actor: its queue, its parameters in their order, and the options that it was declared with."""

    queue: str
    parameters: tuple[Parameter, ...] = ()
    options: dict[str, Any] = {}
    description: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """The actors of an application by their names. `dramatiq` is the version that declared them."""

    manifest: int
    dramatiq: str
    modules: tuple[str, ...]
    actors: dict[str, Actor]


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Return the manifest in a file.

    Raises:
        ManifestError: it can't be read, or is no manifest of this format; the message can follow the path.
    """
    try:
        manifest = msgspec.json.decode(read_file(path, _MAX_BYTES), type=Manifest)
    except UnreadableFile as error:
        raise ManifestError(str(error)) from None
    except msgspec.DecodeError as error:
        raise ManifestError(f"is no manifest: {error}; `dramatiq-bridge actors` writes one") from None
    if manifest.manifest != FORMAT:
        raise ManifestError(f"has the format {manifest.manifest}, this version reads {FORMAT}; write it anew")
    return manifest


def write_manifest(manifest: Manifest) -> bytes:
    """Return the JSON of a manifest, in an order of its own, so that a repository shows what has changed."""
    body = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2)
    return body + b"\n"
