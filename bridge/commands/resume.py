"""`resume NAME`: ends the pause of a source or a route."""

from __future__ import annotations

import argparse

from bridge.commands.pause import steer


def main(arguments: argparse.Namespace) -> int:
    """Resume it, and print the result in one line.

    Raises:
        BridgeError: the bridge can't be reached, or refuses it.
    """
    return steer(arguments, paused=False)
