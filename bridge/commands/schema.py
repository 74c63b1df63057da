"""`schema`: prints the configuration's JSON Schema, for editors."""

from __future__ import annotations

import argparse
import json

from bridge.commands.manifests import given_manifest
from bridge.config import schema


def main(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    manifest = given_manifest(arguments.manifest)
    print(json.dumps(schema(None if manifest is None else manifest.actors), indent=2))
    return 0
