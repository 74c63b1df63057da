"""`schema`: prints the configuration's JSON Schema, for editors."""

from __future__ import annotations

import argparse
import json

from bridge.commands.manifests import manifest_actors
from bridge.config import schema


def main(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(schema(manifest_actors(arguments.manifest)), indent=2))
    return 0
