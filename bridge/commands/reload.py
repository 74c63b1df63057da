"""`reload [--wait]`: a running bridge loads its file again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Final, get_args

from bridge.commands.admin_client import RELOAD_TIMEOUT_S, AdminClient, NoAnswer
from bridge.commands.condition import plain
from bridge.commands.daemon import find_daemon
from bridge.model.control import Reloaded, ReloadResult
from bridge.observe.log_fields import escape

#: Changes that are named; a file may have 10,000 routes.
_MAX_CHANGES: Final = 20
#: Between two looks at a reload that takes long.
_LOOK_S: Final = 1.0
#: Why nothing has changed, by the result.
_RESULTS: Final = {
    "refused": "a change that can't be made in a running bridge",
    "invalid": "mistakes in the configuration",
    "failed": "the reload has failed",
}


def main(arguments: argparse.Namespace) -> int:
    """Give the order, with `--wait` until it is carried out; print the result in one line.

    Returns:
        0 if the file is loaded, without `--wait` if the order is accepted; 1 if nothing has changed.

    Raises:
        BridgeError: the bridge can't be reached, or refuses it.
    """
    daemon = find_daemon(arguments, changes=True)
    try:
        before = daemon.status().reloads if arguments.wait else {}
        answer = daemon.reload(wait=arguments.wait)
        if answer is None and arguments.wait:
            answer = _wait(daemon, before)
    except NoAnswer as error:
        raise NoAnswer(f"{error}; the reload may go on: `dramatiq-bridge status` shows its result") from None
    if answer is None:
        print("accepted: `dramatiq-bridge status` and the log show the result, and --wait waits for it")
        return 0
    if answer.result != "ok":
        _explain(answer)
        return 1
    print(f"reloaded: {_named(answer.changes)}" if answer.changes else "reloaded: nothing has changed")
    return 0


def _wait(daemon: AdminClient, before: Mapping[str, int]) -> Reloaded:
    """Wait for a reload that takes so long that the server has given its client up."""
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        status = daemon.status()
        for result in get_args(ReloadResult):
            if status.reloads.get(result, 0) > before.get(result, 0):
                return Reloaded(result, ["the log names the changes"] if result == "ok" else [], status.reload_cause)
    raise NoAnswer(f"the reload is not over within {RELOAD_TIMEOUT_S:g} s")


def _explain(answer: Reloaded) -> None:
    """Print the mistakes as `check` does, and why nothing has changed, on standard error."""
    lines = [escape(line) for line in answer.cause.splitlines()]
    why = _RESULTS[answer.result]
    if answer.result == "invalid":
        print(*lines, sep="\n", file=sys.stderr)
    elif lines:
        why = f"{why}: {'; '.join(lines)}"
    changed = f"; changed so far: {_named(answer.changes)}" if answer.changes else "; nothing has changed"
    print(f"dramatiq-bridge: {why}{changed}", file=sys.stderr)


def _named(changes: list[str]) -> str:
    more = f" and {len(changes) - _MAX_CHANGES:,} more" if len(changes) > _MAX_CHANGES else ""
    return "; ".join(map(plain, changes[:_MAX_CHANGES])) + more
