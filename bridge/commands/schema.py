"""`schema`: prints the configuration's JSON Schema, for editors."""

from __future__ import annotations

import argparse
import json

from bridge.config import schema


def main(_arguments: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(schema(), indent=2))
    return 0
