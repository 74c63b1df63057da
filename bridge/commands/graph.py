"""`graph`: the way of the events through a bridge, drawn from its file or from the running bridge."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bridge.commands.daemon import find_daemon
from bridge.commands.graph_formats import as_dot, as_mermaid, as_text
from bridge.commands.graph_model import Drawing, draw_config, draw_state, with_rates
from bridge.commands.rates import INTERVAL_S, look, rates
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.dry_run.masking import Masking
from bridge.errors import UsageError
from bridge.routing.compiler import check_routes

_FORMATS: Final[Mapping[str, Callable[[Drawing], Iterable[str]]]] = {
    "text": as_text,
    "mermaid": as_mermaid,
    "dot": as_dot,
}


def main(arguments: argparse.Namespace) -> int:
    """Print the drawing; with `--live` or `--admin` with the events a second of a running bridge.

    Raises:
        BridgeError: the bridge can't be reached.
        ConfigError: the file has mistakes.
        UsageError: there is nothing to draw.
    """
    drawn = None if arguments.config is None else _drawn_file(arguments.config)
    if arguments.live or arguments.admin is not None:
        drawing = _live(arguments, drawn)
    elif drawn is not None:
        drawing = drawn.drawing
    else:
        raise UsageError("graph takes CONFIG, or --admin ADDRESS of a running bridge, or --live")
    for line in _FORMATS[arguments.format](drawing):
        print(line)
    return 0


@dataclass(frozen=True, slots=True)
class _File:
    """The drawing of a file, and the SHA-256 of its text."""

    drawing: Drawing
    fingerprint: str


def _drawn_file(path: str) -> _File:
    # The secrets may not be there: a drawing shows none.
    file = load_with_places(path, Substitution(os.environ, allow_unset=True), check_routes)
    return _File(draw_config(file.model, Masking([file.document])), file.model.origin.fingerprint)


def _live(arguments: argparse.Namespace, file: _File | None) -> Drawing:
    """Return the drawing of a file, or of the running bridge, with the bridge's rates."""
    if arguments.admin is not None:
        arguments.config = None  # it is drawn, and its own `admin:` is not asked
    daemon = find_daemon(arguments)
    before = look(daemon)
    time.sleep(INTERVAL_S)
    after = look(daemon)
    if file is not None and file.fingerprint != after.status.fingerprint:
        note = (
            f"the bridge at {daemon.address} has loaded another text than this file: `dramatiq-bridge reload` loads it"
        )
        print(f"dramatiq-bridge: note: {note}", file=sys.stderr)
    drawing = draw_state(after.status) if file is None else file.drawing
    return with_rates(drawing, after.status, rates(before, after))
