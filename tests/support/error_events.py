"""The log events at error level, found in the code of the bridge."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

from tests.support.children import REPOSITORY

_LEVELS: Final = frozenset({"error", "critical", "exception"})
_LOGGERS: Final = frozenset({"log", "logger", "_log"})
#: Lines whose event is no constant where they are written: in which function of which file, and the events that come there.
DYNAMIC: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("delivery/policy.py", "spill"): frozenset({"spool.full", "spool.failed", "spool.directory_lost"}),
    ("delivery/sink_promise.py", "_check_rights"): frozenset({"sink.rights_missing"}),
    ("delivery/source_log.py", "_say_lost"): frozenset({"source.disconnected", "source.unavailable"}),
    ("process/ending.py", "run"): frozenset({"bridge.failed", "process.failed"}),
    ("sink/health.py", "_say_unavailable"): frozenset({"sink.unavailable"}),
    ("sources/amqp/stream.py", "_say"): frozenset({"source.entries_trimmed", "source.stream_shorter"}),
}
_NAME: Final = r"[a-z_]+\.[a-z_]+"


class Found:
    """The `events` with a constant name, and the `places` (file, function) of all others, as in `DYNAMIC`."""

    def __init__(self, root: Path = REPOSITORY / "bridge") -> None:
        self.events: set[str] = set()
        self.places: set[tuple[str, str]] = set()
        #: Every text in the code, those between the values of an f-string each by itself.
        self.texts: set[str] = set()
        for path in sorted(root.rglob("*.py")):
            file = path.relative_to(root).as_posix()
            if not file.startswith("demo/"):
                self._read(file, ast.parse(path.read_text()), "")

    def _read(self, file: str, node: ast.AST, function: str) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = node.name
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.texts.add(node.value)
        if isinstance(node, ast.Call) and (words := _event_of(node)) is not None:
            if isinstance(words, ast.Constant) and re.fullmatch(_NAME, str(words.value)):
                self.events.add(str(words.value))
            else:
                self.places.add((file, function))
        if isinstance(node, ast.IfExp) and _is_error(node.body) | _is_error(node.orelse):
            self.places.add((file, function))
        for child in ast.iter_child_nodes(node):
            self._read(file, child, function)


def _event_of(call: ast.Call) -> ast.expr | None:
    """Return the event of a call that writes a line at error level, whether at once or by a function that is given `log.error`."""
    if _is_error(call.func):
        return call.args[0]
    for method, event in zip(call.args, call.args[1:], strict=False):
        if _is_error(method):
            return event
    if isinstance(call.func, ast.Attribute) and call.func.attr == "_line" and _is_constant(call.args[:1], "error"):
        return next(each.value for each in call.keywords if each.arg == "event")
    return None


def _is_error(node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr not in _LEVELS:
        return False
    logger = node.value.func if isinstance(node.value, ast.Call) else node.value
    return (isinstance(logger, ast.Name) and logger.id in _LOGGERS) or (
        isinstance(logger, ast.Attribute) and logger.attr in _LOGGERS
    )


def _is_constant(arguments: list[ast.expr], value: str) -> bool:
    return any(isinstance(each, ast.Constant) and each.value == value for each in arguments)
