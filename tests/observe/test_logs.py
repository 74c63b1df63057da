"""Logs: one event per line on standard error, for machines or for people."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from bridge.observe import logs
from bridge.observe.logs import LogThrottle
from tests.support.children import REPOSITORY


def logged(program: str, format_: str = '"json"', level: str = "info") -> str:
    """Run `program` in a process whose logs are configured, and return its standard error."""
    setup = (
        f"from bridge.observe import logs\nimport logging\nlogs.configure({format_}, {level!r})\nlog = logs.logger()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", setup + program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return done.stderr


def test_json_is_one_object_per_line() -> None:
    """Each event is one line of JSON with its level and its time in UTC."""
    (line,) = logged('log.warning("source.disconnected", source="plant", retry_in=1.4)').splitlines()
    fields = json.loads(line)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {"event": "source.disconnected", "level": "warning", "source": "plant", "retry_in": 1.4}


@pytest.mark.parametrize("format_", ['"json"', '"console"'])
def test_a_stranger_cannot_forge_a_line(format_: str) -> None:
    """Line breaks and control characters of a topic or an error are escaped: one event stays one line."""
    text = logged(
        r'log.warning("event.dead_lettered", topic="a\n{\"event\": \"forged\"}\r\x1b[31m\x00\u2028")', format_
    )
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert "\x00" not in text


def test_json_holds_any_text() -> None:
    """No value makes a line fail, not half a character, bytes or an object; the line stays ASCII."""
    text = logged(r'log.info("x", a="\ud800 grüße", b=b"\xff", c={1: object()})')
    assert text.isascii()
    assert json.loads(text)["event"] == "x"


def test_console_is_for_people() -> None:
    """The console's lines are plain text with the event and its values; without a terminal there are no colours."""
    text = logged('log.info("bridge.ready", sources=2)', '"console"')
    assert "bridge.ready" in text
    assert "sources=2" in text
    assert "\x1b" not in text


def test_without_a_terminal_json_is_chosen() -> None:
    """Under systemd or in a container the lines are JSON without any option."""
    assert json.loads(logged('log.info("x")', "None"))["event"] == "x"


def test_the_level_is_the_least_that_is_logged() -> None:
    """Lines below the level are not written."""
    program = 'log.debug("d"); log.info("i"); log.warning("w"); log.error("e")'
    for level, expected in (("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")):
        assert "".join(json.loads(line)["event"] for line in logged(program, level=level).splitlines()) == expected


def test_libraries_log_in_the_same_form() -> None:
    """Other libraries' lines are JSON too; lines of the libraries whose errors the bridge reports itself appear at DEBUG only."""
    program = 'logging.getLogger("other").warning("hello %s", "you"); logging.getLogger("aiormq.x").error("no")'
    (line,) = logged(program).splitlines()
    fields = json.loads(line)
    assert (fields["event"], fields["logger"], fields["level"]) == ("hello you", "other", "warning")
    assert "aiormq.x" in logged(program, level="debug")


def test_a_traceback_is_inside_its_line() -> None:
    """An unexpected error is one line of JSON, traceback included."""
    program = 'try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.critical("bridge.failed", exc_info=True)'
    (line,) = logged(program).splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_repeated_lines_are_suppressed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of each key is written at once; the next one after the interval says how many were suppressed."""
    clock = SimpleNamespace(monotonic=lambda: 1.0)
    monkeypatch.setattr(logs, "time", clock)
    throttle = LogThrottle()
    assert throttle.allow("lost", "reset") == 0
    assert throttle.allow("lost", "reset") is None
    assert throttle.allow("lost", "reset", count=3) is None
    assert throttle.allow("lost", "refused") == 0
    clock.monotonic = lambda: 62.0
    assert throttle.allow("lost", "reset") == 4
    assert throttle.allow("lost", "reset") is None


def test_a_throttles_memory_is_bounded() -> None:
    """Causes that are all different do not fill the memory."""
    throttle = LogThrottle()
    for number in range(5000):
        assert throttle.allow(number) == 0
    assert len(throttle._last) <= 1001
