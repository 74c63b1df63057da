"""The argument `--manifest FILE`."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.config.manifest import Actor, ManifestError, read_manifest
from bridge.errors import UsageError


def manifest_actors(path: str | None) -> Mapping[str, Actor] | None:
    """Return the actors of the manifest at `path`; None without one.

    Raises:
        UsageError: it can't be read.
    """
    if path is None:
        return None
    try:
        return read_manifest(path).actors
    except ManifestError as error:
        raise UsageError(f"--manifest: the file {path} {error}") from None
