"""Logs: one event per line on standard error, for machines or for people."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from bridge.observe import logs
from bridge.observe.logs import RepeatedLog
from bridge.observe.masking import masked
from tests.support.children import REPOSITORY


def logged(program: str, format_: str = '"json"', level: str = "info", status: int = 0) -> str:
    """Run `program` in a process whose logs are configured, and return its standard error."""
    setup = (
        f"from bridge.observe import logs\nimport logging\nlogs.configure({format_}, {level!r})\nlog = logs.logger()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", setup + program], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.returncode) == ("", status)
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


@pytest.mark.parametrize("format_", ['"json"', '"console"'])
def test_no_character_steers_a_terminal(format_: str) -> None:
    """ESC, C1, DEL, line separators, marks of direction, half characters: escaped in the event, in fields, keys and tracebacks."""
    hostile = "".join(map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029, 0x202E, 0x2066, 0xD800, 0xFEFF]))
    program = (
        f"t = {hostile!a}\nlog.error(t, topic=t, items=[t], mapping={{t: t}}, **{{t: 1}})\n"
        "logging.getLogger('other').error(t)\n"
        "try:\n    raise ValueError(t)\nexcept ValueError:\n    log.error('failed', exc_info=True)"
    )
    text = logged(program, format_)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b" in text
    assert "\\x9b" in text


@pytest.mark.parametrize("format_", ['"json"', '"console"'])
def test_a_long_value_is_cut(format_: str) -> None:
    """A channel of 20 MiB is 200 characters of its line, which say how long it was; and it does not take long."""
    program = (
        "import time\nchannel = 'x' * 20_971_520\nsince = time.process_time()\n"
        "log.warning('event.dead_lettered', topic=channel)\n"
        "assert time.process_time() - since < 0.1"
    )
    text = logged(program, format_)
    assert "x… (20971520 characters)" in text.replace("\\u2026", "…")
    assert len(text) < 500


def test_a_line_is_bounded_whatever_is_in_it() -> None:
    """Long keys, lists, mappings, integers, bytes, objects and tracebacks of the widest characters: less than 256 KiB."""
    program = (
        "t = '\\N{GRINNING FACE}' * 1_000_000\nclass Long:\n    __repr__ = lambda self: t\n"
        "class Bad:\n    __repr__ = lambda self: 1 / 0\n"
        "try:\n    raise ValueError(t)\nexcept ValueError:\n"
        "    log.error(t, exc_info=True, a=[t] * 1000, b=10**9000, c=t.encode(), d=Long(), e=Bad(), f=[[t]], **{t: t})\n"
        "log.error('x', a={(n, t): t for n in range(1000)})"
    )
    for line in logged(program).splitlines():
        assert len(line) < 256 * 1024
    first, second = map(json.loads, logged(program).splitlines())
    assert first["exception"].startswith("Traceback")
    assert first["exception"].endswith("\N{GRINNING FACE}")
    assert re.search(r"\n… \(1000\d\d\d characters\)\n", first["exception"])
    assert len(first["a"]) == len(second["a"]) == 21
    assert (first["a"][20], second["a"]["…"]) == ("… (1000 items)",) * 2
    assert first["b"] == "an integer of 29898 bits"


def test_a_short_value_is_left_as_it_is() -> None:
    """Numbers, flags, null, lists, mappings and every printable character come through."""
    program = "log.info('x', n=1, f=1.5, b=True, none=[None], text='grüße ' * 33, items=['a', 1], m={'a': 1, 2: 'b'})"
    fields = json.loads(logged(program))
    assert (fields["n"], fields["f"], fields["b"], fields["none"]) == (1, 1.5, True, [None])
    assert (fields["text"], fields["items"], fields["m"]) == ("grüße " * 33, ["a", 1], {"a": 1, "2": "b"})


def test_a_library_that_logs_wrongly_costs_a_line() -> None:
    """A message that does not fit its arguments, and a warning of Python, are lines as well, with their place."""
    program = "logging.getLogger('other').error('%d', 'x')\nimport warnings\nwarnings.warn('careful')"
    failed, warning = map(json.loads, logged(program).splitlines())
    assert failed["event"] == "log.line_failed"
    assert failed["place"].startswith("<string>:")
    assert "%d format" in failed["cause"]
    assert (warning["logger"], warning["level"]) == ("py.warnings", "warning")
    assert "careful" in warning["event"]


#: A token as the user name of a source, longer than a line shows.
TOKEN = "eyJhbGciOiJIUzI1NiJ9." + "A1b2C3d4" * 40


def test_a_secret_longer_than_a_line_is_masked_before_it_is_cut() -> None:
    """A cause that quotes a token of 341 characters shows no part of it, in a line that repeats as in any other."""
    program = (
        "from bridge.config import Amqp\nfrom bridge.delivery.source_log import SourceLog\n"
        f"token = {TOKEN!r}\nconfig = Amqp(type='amqp', url='amqp://h/', username=token, queue='q')\n"
        "logs.configure('json', secrets=config.secrets())\n"
        "cause = f\"ACCESS_REFUSED - refused for user '{token}'\"\n"
        "SourceLog('s', 's', config, None).disconnected(cause, 1.0, was_connected=False)\n"
        "log.warning('x', cause=cause)\nlogging.getLogger('other').warning(cause)"
    )
    text = logged(program)
    assert text.count("ACCESS_REFUSED - refused for user '***'\"") == 3
    assert TOKEN[:8] not in text


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("", ""),
        ("\n", "\n"),
        ("...", "..."),
        ("…", "…"),
        ("… (500 characters)", "… (500 characters)"),
        ('..." (code 403)', '..." (code 403)'),
        ("' 'b'", "' 'b'"),
    ],
)
def test_a_secret_that_a_server_has_cut_is_masked(end: str, shown: str) -> None:
    """RabbitMQ cuts its words at 255 bytes with `...`, Redis quotes 128 characters, and others end somewhere."""
    for length in (8, 9, 100, len(TOKEN) - 1):
        assert masked(f"refused for '{TOKEN[:length]}{end}", {TOKEN}) == f"refused for '***{shown}"
    assert masked(f"{TOKEN[:50]}... and {TOKEN}, {TOKEN[:9]}", {TOKEN}) == "***... and ***, ***"


def test_a_word_that_a_secret_begins_with_is_shown() -> None:
    """Less than 8 characters of a secret are any word, and so is its beginning where nothing was cut."""
    for text in ("the amqp-br", "an amqp-bridge runs", "amqp-bridges..."):
        assert masked(text, {"amqp-bridge-7f3a"}) == text


#: A minute of these tests, in seconds, and a time after which it is over.
MINUTE, OVER = 0.2, 0.5
Lines = list[tuple[str, int]]


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> tuple[RepeatedLog, Lines]:
    """Return a log of repeated lines, and the lines that it has written: a field of theirs, and `repeated`."""
    monkeypatch.setattr(logs, "REPEAT_INTERVALS_S", (0.0, MINUTE, MINUTE, MINUTE))
    return RepeatedLog(), []


async def test_repeated_lines_are_suppressed_and_none_is_forgotten(repeated: tuple[RepeatedLog, Lines]) -> None:
    """The first line of a kind comes at once; the newest after the minute with the number of the others, though no more come."""
    log, lines = repeated

    def write(event: str, *, cause: str, repeated: int) -> None:
        lines.append((f"{event} {cause}", repeated))

    for cause in ("first", "second", "third"):
        log.write("lost", write, "lost", cause=cause)
    log.write("refused", write, "refused", cause="other", count=5)
    assert lines == [("lost first", 0), ("refused other", 4)]
    await asyncio.sleep(OVER)
    assert lines[2:] == [("lost third", 1)]
    log.write("lost", write, "lost", cause="fourth")
    await asyncio.sleep(OVER)
    log.write("lost", write, "lost", cause="fifth")
    assert lines[3:] == [("lost fourth", 0), ("lost fifth", 0)]


def test_kinds_that_are_all_different_fill_neither_log_nor_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the causes that somebody makes up, a hundred in ten minutes are lines of their own; the others are counted in one."""
    log, lines = RepeatedLog(), Lines()

    def write(event: str, *, cause: str, repeated: int) -> None:
        assert len(cause) == 200
        lines.append((event, repeated))

    for number in range(5000):
        log.write(("lost", number), write, "lost", cause=f"{number}" + "x" * 10_000)
    assert len(lines) == 101
    assert len(log._kinds) == 101
    RepeatedLog.flush_all()
    assert sum(1 + repeated for _, repeated in lines) == 5000
    monkeypatch.setattr(logs, "REPEAT_INTERVALS_S", (0.0, 0.0, 0.0, 0.0))
    log.write(("lost", "new"), write, "lost", cause="y" * 300)
    assert len(log._kinds) <= 2


def test_fields_of_suppressed_lines_are_added_up(repeated: tuple[RepeatedLog, Lines]) -> None:
    """How many events were lost is known whichever lines are suppressed; without an event loop as well."""
    log, lines = repeated

    def write(event: str, *, lost: int, total: int, repeated: int) -> None:
        lines.append((f"{event} {lost} of {total}", repeated))

    for total in (1, 3, 6, 10):
        log.write("trimmed", write, "trimmed", sums=["lost"], lost=total, total=total)
    log.flush()
    assert lines == [("trimmed 1 of 1", 0), ("trimmed 19 of 10", 2)]
    log.write("trimmed", write, "trimmed", sums=["lost"], lost=2, total=12)
    assert log.take() == 1
    log.flush()
    assert len(lines) == 2


def written(lines: list[dict[str, Any]]) -> Callable[..., None]:
    """Return a method that adds a line with its fields to `lines`."""
    return lambda event, **fields: lines.append({"event": event, **fields})


def test_a_line_of_several_kinds_is_of_one_event_and_loses_no_sum() -> None:
    """Beyond a hundred kinds: each event has a line of its own, its sums are whole, and a text that differs is not taken for one."""
    log, lines = RepeatedLog(), list[dict[str, Any]]()
    write = written(lines)
    for number in range(100):
        log.write(number, write, "trimmed", stream=str(number))
    lines.clear()
    for number in (1, 5, 7, 11):
        log.write(("trimmed", number), write, "trimmed", sums=["lost"], source="s", stream=f"s{number}", lost=number)
        log.write(("deleted", number), write, "deleted", sums=["consumers"], stream=f"s{number}", consumers=1)
    assert lines == [
        {"event": "trimmed", "source": "s", "stream": "s1", "lost": 1, "repeated": 0},
        {"event": "deleted", "stream": "s1", "consumers": 1, "repeated": 0},
    ]
    lines.clear()
    log.write(("trimmed", 12), write, "trimmed", sums=["entries"], source="s", stream="s12", entries=3)
    log.flush()
    several = "several, the last: "
    assert lines == [
        {"event": "trimmed", "source": "s", "stream": f"{several}s12", "lost": 23, "entries": 3, "repeated": 3},
        {"event": "deleted", "stream": f"{several}s11", "consumers": 3, "repeated": 2},
    ]


async def test_the_lines_of_a_log_that_nobody_uses_any_more_are_not_forgotten() -> None:
    """A session's log goes with it; its suppressed lines are written at the end of the process all the same."""
    lines: list[dict[str, Any]] = []
    log = RepeatedLog()
    for cause in ("first", "second"):
        log.write("lost", written(lines), "lost", cause=cause)
    del log
    gc.collect()
    RepeatedLog.flush_all()
    assert [line["cause"] for line in lines] == ["first", "second"]


def test_suppressed_lines_are_written_before_a_process_ends_at_once() -> None:
    """Where a task has failed, and the others do not end: whatever goes wrong in one of the lines."""
    program = (
        "from bridge.observe.logs import RepeatedLog\nfrom bridge.delivery import tasks\n"
        "repeated = RepeatedLog()\n"
        "for n in range(5): repeated.write('good', log.warning, 'x', sums=['lost'], lost=n)\n"
        "def fail(*_, **fields): 1 / (fields['repeated'] == 0)\n"
        "for n in range(3): repeated.write('bad', fail, 'y')\n"
        "tasks.end_process(1)"
    )
    lines = [json.loads(line) for line in logged(program, status=1).splitlines()]
    assert [(line["lost"], line.get("repeated")) for line in lines] == [(0, None), (10, 3)]
