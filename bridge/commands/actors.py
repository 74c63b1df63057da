"""`actors MODULE...`: writes the manifest of a Dramatiq application."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bridge.config.manifest import manifest_json
from bridge.errors import BridgeError
from bridge.manifest.application import import_application


def main(arguments: argparse.Namespace) -> int:
    """Import the application, and write its manifest to `--output` or standard output.

    Raises:
        ApplicationError: it can't be imported, or has no actors.
        BridgeError: the file can't be written.
    """
    body = manifest_json(import_application(arguments.module))
    if arguments.output is None:
        sys.stdout.write(body.decode())
        return 0
    try:
        Path(arguments.output).write_bytes(body)
    except OSError as error:
        raise BridgeError(f"--output: {arguments.output} cannot be written: {error.strerror}") from None
    return 0
