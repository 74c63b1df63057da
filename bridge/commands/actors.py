"""`actors MODULE...`: writes the manifest of a Dramatiq application."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bridge.config.manifest import write_manifest
from bridge.manifest.application import import_application


def main(arguments: argparse.Namespace) -> int:
    """Import the application, and write its manifest to `--output` or standard output.

    Raises:
        ApplicationError: it can't be imported, or has no actors.
    """
    body = write_manifest(import_application(arguments.module))
    if arguments.output is None:
        sys.stdout.write(body.decode())
    else:
        Path(arguments.output).write_bytes(body)
    return 0
