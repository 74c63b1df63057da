"""`tap`: the events of a running bridge as they get their outcome, as lines for people, as JSON, or as tests."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from typing import Any, Final
from urllib.parse import urlencode

from bridge.commands.admin_client import NoAnswer
from bridge.commands.condition import plain
from bridge.commands.daemon import find_daemon
from bridge.commands.paint import Paint
from bridge.errors import BridgeError, UsageError
from bridge.observe.log_fields import escape

#: The ends that somebody has asked for.
_WANTED: Final = frozenset({"limit", "for"})
_COLORS: Final = {
    "enqueued": "green",
    "filtered": "dim",
    "unmatched": "dim",
    "deduplicated": "dim",
    "expired": "dim",
    "dead-lettered": "red",
    "lost": "red",
    "returned": "yellow",
    "spooled": "yellow",
}
#: Between two lines that say how many events were dropped.
_DROPPED_S: Final = 1.0
#: In characters, of a line that is written to a file, and the least of a body on a terminal.
_WIDTH: Final = 400
_MIN_BODY: Final = 24
_MAX_TOPIC: Final = 80


def main(arguments: argparse.Namespace) -> int:
    """Show events until the end that the arguments name, Ctrl-C, or the bridge's end.

    Raises:
        BridgeError: the bridge can't be reached, refuses it, or has ended.
        UsageError: an argument is wrong.
    """
    daemon = find_daemon(arguments)
    wanted = {
        "source": arguments.source,
        "route": arguments.route,
        "topic": arguments.topic,
        "limit": arguments.limit,
        "for": None if arguments.seconds is None else f"{round(arguments.seconds * 1000)}ms",
        "as": "test" if arguments.as_test else None,
    }
    try:
        "".join(filter(None, (arguments.source, arguments.route, arguments.topic))).encode()
    except UnicodeEncodeError:
        raise UsageError("a name or a topic is not UTF-8 text") from None
    view = _View(Paint(arguments.color), arguments, str(daemon.address))
    asked = {name: value for name, value in wanted.items() if value is not None}
    try:
        for line in daemon.lines(f"/tap?{urlencode(asked)}", arguments.route or arguments.source or ""):
            view.take(line)
    except KeyboardInterrupt:
        view.close()
        return 0
    except NoAnswer:
        if view.has_begun:
            view.close()
        raise
    view.close()
    if view.end not in _WANTED:
        raise BridgeError(f"the tap of {daemon.address} has ended: {view.cause or 'nobody said why'}")
    return 0


class _View:
    """Prints the lines of one tap."""

    def __init__(self, paint: Paint, arguments: argparse.Namespace, address: str) -> None:
        self._address = address
        self.end = self.cause = ""
        self.has_begun = False
        self._paint = paint
        self._json, self._as_test = arguments.json, arguments.as_test
        self._shown = self._dropped = self._unsaid = 0
        self._said_at = 0.0
        self._width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH

    def take(self, line: bytes) -> None:
        """Print one line of the server."""
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            raise BridgeError("the bridge sends lines that this command does not know: use one version") from None
        if not isinstance(found, dict):
            raise BridgeError("the bridge sends lines that this command does not know: use one version")
        if self._json:
            self._print(_harmless(line.decode("utf-8", "backslashreplace")))
        if "end" in found:
            self.end, self.cause = plain(str(found["end"])), plain(str(found.get("cause", "")))
        elif "dropped" in found:
            self._drop(found)
        elif "outcome" in found:
            self._shown += 1
            if not self._json:
                self._print(self._test(found) if self._as_test else self._event(found))
        elif "tap" in found:
            self._begin(found)
        else:
            self._say_dropped()  # a sign that the bridge is there

    def close(self) -> None:
        """Print how many events were shown and dropped."""
        self._say_dropped(at_once=True)
        events = f"{self._shown} event{'s' if self._shown != 1 else ''} shown"
        cause = f"; {self.cause}" if self.end in _WANTED else ""
        print(f"dramatiq-bridge: {events}, {self._dropped} dropped{cause}", file=sys.stderr)

    def _begin(self, first: dict[str, Any]) -> None:
        self.has_begun = True
        if not self._json:
            print(f"dramatiq-bridge: tapping {self._address} ...", file=sys.stderr, flush=True)
        if first.get("contents") == "hidden" and not self._json:
            cause = plain(str(first.get("cause", "")))
            print(f"dramatiq-bridge: contents are hidden: {cause}", file=sys.stderr)

    def _drop(self, line: dict[str, Any]) -> None:
        count = sum(line[name] for name in ("dropped", "unexamined") if isinstance(line.get(name), int))
        self._dropped += count
        self._unsaid += count
        self._say_dropped()
        if isinstance(ended := line.get("ended_processes"), int):
            self._say(
                f"{ended} process{'es' if ended > 1 else ''} of the bridge ended: the last events that it saw may be missing"
            )

    def _say_dropped(self, *, at_once: bool = False) -> None:
        if self._unsaid and not self._json and (at_once or time.monotonic() - self._said_at >= _DROPPED_S):
            self._said_at = time.monotonic()
            self._say(f"{self._unsaid} event{'s' if self._unsaid != 1 else ''} dropped: more come than are shown")
            self._unsaid = 0

    def _say(self, words: str) -> None:
        if not self._json:
            self._print(f"  # {words}" if self._as_test else self._paint(f"… {words}", "yellow"))

    def _event(self, event: dict[str, Any]) -> str:
        outcome = plain(str(event["outcome"]))
        topic = _cut(escape(str(event.get("topic", ""))), _MAX_TOPIC)
        parts = [plain(str(event.get("at", "")))[11:23], plain(str(event.get("source", ""))), topic, outcome]
        routes = _routes(event)
        left = self._width - sum(map(len, parts)) - len(parts) - len(routes) - 1
        body = _cut(_body(event), max(_MIN_BODY, left))
        time_, source, _, _ = parts
        painted = (
            self._paint(time_, "dim"),
            self._paint(source, "bold"),
            topic,
            self._paint(outcome, _COLORS.get(outcome, "bold")),
        )
        return " ".join([*painted, *filter(None, (routes, self._paint(body, "dim") if body else ""))])

    def _test(self, event: dict[str, Any]) -> str:
        if isinstance(test := event.get("test"), str):
            # YAML escapes the characters that are not printable.
            return "\n".join(escape(line) for line in test.rstrip("\n").split("\n"))
        return f"  # no test for an event of {plain(str(event.get('source')))}: {plain(str(event.get('no_test', '')))}"

    def _print(self, text: str) -> None:
        print(text, flush=True)


def _routes(event: dict[str, Any]) -> str:
    """Return the routes that took the event, and those of which messages were left out; the dead letter, or the reason of the first route, where none did."""
    routes = event.get("routes")
    routes = {name: each for name, each in routes.items() if isinstance(each, dict)} if isinstance(routes, dict) else {}
    took = [plain(name) for name, each in routes.items() if each.get("verdict") == "message"]
    words = [f"-> {', '.join(took)}"] if took else []
    left_out = [f"{plain(name)} ({count})" for name, each in routes.items() if (count := each.get("deduplicated"))]
    if left_out:
        words.append(f"deduplicated: {', '.join(left_out)}")
    letter = event.get("dead_letter")
    if isinstance(letter, dict):
        route = f"{letter['route']}: " if letter.get("route") else ""
        detail = f" ({letter['detail']})" if letter.get("detail") else ""
        words.append(plain(f"{route}{letter.get('reason')}{detail}"))
    if not words:
        why = next((f"{name}: {each['why']}" for name, each in routes.items() if each.get("why")), event.get("cause"))
        words = [plain(str(why))] if why else []
    return "; ".join(words)


def _body(event: dict[str, Any]) -> str:
    if "body" in event:
        return escape(str(event["body"])[: 4 * _WIDTH])
    return f"base64 {escape(str(event['body_base64'])[:_WIDTH])}" if "body_base64" in event else ""


def _harmless(line: str) -> str:
    """Return a line of JSON that steers no terminal; it means the same, since such characters stand in its texts alone."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
