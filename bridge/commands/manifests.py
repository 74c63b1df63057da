"""The argument `--manifest FILE`."""

from __future__ import annotations

from bridge.config.manifest import Manifest, ManifestError, read_manifest
from bridge.errors import UsageError


def given_manifest(path: str | None) -> Manifest | None:
    """Return the manifest at `path`; None without one.

    Raises:
        UsageError: it can't be read.
    """
    if path is None:
        return None
    try:
        return read_manifest(path)
    except ManifestError as error:
        raise UsageError(f"--manifest: {error}") from None
