"""`tap`: what a person sees of the events of a running bridge, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.model.taps import Dropped, Tap
from tests.commands.conftest import Terminal
from tests.support.admin_server import TOKEN, AdminServer, Bridge
from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges


def _event(**fields: Any) -> bytes:
    line = {
        "at": "2026-11-28T01:02:03.456Z", "received_at": "2026-11-28T01:02:03.400Z", "source": "plant",
        "topic": "plants/3", "outcome": "enqueued", "body_size": 8, "messages": [],
        "routes": {"hot": {"verdict": "message"}, "note": {"verdict": "message"}, "rest": {"verdict": "topic"}},
    }  # fmt: skip
    return json.dumps(line | fields).encode() + b"\n"


def _filled(*lines: bytes | Dropped, end: tuple[str, str] | None = None) -> Callable[[Tap], None]:
    def fill(tap: Tap) -> None:
        for line in lines:
            tap.put(line) if isinstance(line, bytes) else tap.drop(line)
        if end is not None:
            tap.finish(*end)

    return fill


@pytest.fixture
def server() -> Iterator[AdminServer]:
    """The admin server of a bridge, with a token."""
    with AdminServer(Bridge()) as started:
        yield started


def _tap(run: Terminal, server: AdminServer, *words: str, code: int = 0, token: str = TOKEN) -> str:
    return run("tap", "--admin", server.listen, *(["--token", token] if token else []), *words, code=code)


def test_a_line_for_each_event(run: Terminal, server: AdminServer) -> None:
    """Its time, source, topic, outcome, routes and body; why it reached no route; the sum at the end."""
    why = {"hot": {"verdict": "when", "why": "when: `payload.c > 250` is false: payload.c is 2"}}
    letter = {"reason": "decode", "detail": "no JSON"}
    server.bridge.fill = _filled(
        _event(body='{"c": 3}'),
        _event(outcome="filtered", routes=why, body="{}"),
        Dropped(40, 2),
        _event(),
        Dropped(0, ended_processes=1),
        _event(outcome="dead-lettered", routes={}, dead_letter=letter, body_base64="/w=="),
    )
    out = _tap(run, server, "--limit", "4", "--color", "never")
    assert out.splitlines() == [
        '01:02:03.456 plant plants/3 enqueued -> hot, note {"c": 3}',
        "01:02:03.456 plant plants/3 filtered hot: when: `payload.c > 250` is false: payload.c is 2 {}",
        "… 42 events dropped: more come than are shown",
        "01:02:03.456 plant plants/3 enqueued -> hot, note",
        "… 1 process of the bridge ended: the last events that it saw may be missing",
        "01:02:03.456 plant plants/3 dead-lettered decode (no JSON) base64 /w==",
    ]
    assert (
        run.err == f"dramatiq-bridge: tapping {server.listen} ...\n"
        "dramatiq-bridge: 4 events shown, 42 dropped; it has shown 4 events\n"
    )
    wait_until(lambda: server.bridge.orders == ["untap"], 10, "the end of the tap at the bridge")


def test_outcomes_have_colours(run: Terminal, server: AdminServer) -> None:
    """Green for messages, red for dead letters; without a terminal only if asked for."""
    server.bridge.fill = _filled(_event(), _event(outcome="dead-lettered"))
    out = _tap(run, server, "--limit", "2", "--color", "always")
    assert "\x1b[32menqueued\x1b[0m" in out
    assert "\x1b[31mdead-lettered\x1b[0m" in out
    assert "\x1b" not in _tap(run, server, "--limit", "2")


def test_hostile_texts_are_escaped(run: Terminal, server: AdminServer) -> None:
    """No topic, body, name or reason steers the terminal, or makes a line of its own."""
    bad = "\x1b[2J\n\u202eevil\x9b"
    routes = {bad: {"verdict": "message"}}
    letter = {"reason": bad, "detail": bad, "route": bad}
    server.bridge.fill = _filled(
        _event(topic=bad, body=bad, source=bad, outcome=bad, at=bad * 9, routes=routes, dead_letter=letter)
    )
    out = _tap(run, server, "--limit", "1", "--color", "never")
    assert out.count("\n") == 1
    assert out.rstrip("\n").isprintable()


def test_json_as_it_comes(run: Terminal, server: AdminServer) -> None:
    """Each line is that of the server, the first and the last one too."""
    server.bridge.fill = _filled(_event(), Dropped(2), _event(topic="\x1b"))
    lines = [json.loads(line) for line in _tap(run, server, "--limit", "2", "--json").splitlines()]
    assert [lines[0]["contents"], lines[1]["topic"], lines[2], lines[3]["topic"], lines[4]["end"]] == [
        "shown", "plants/3", {"dropped": 2}, "\x1b", "limit"
    ]  # fmt: skip


def test_json_steers_no_terminal(run: Terminal, server: AdminServer) -> None:
    """JSON itself may hold control characters of eight bits, marks that turn a line around, and line separators."""
    topic = "a\x9b31m\u202e\u2028\u200b\ufeff\U000e0001é"
    server.bridge.fill = _filled(json.dumps(json.loads(_event(topic=topic)), ensure_ascii=False).encode() + b"\n")
    out = _tap(run, server, "--limit", "1", "--json")
    assert out.replace("\n", "").isprintable()
    assert json.loads(out.splitlines()[1])["topic"] == topic


def test_tests_as_they_come(run: Terminal, server: AdminServer) -> None:
    """The output is a list of tests, a file of its own and to be added to one; an event without a test is a comment."""
    tests = [{"test": f"  - name: t{n}\n    event: {{from: plant}}\n    expect: []\n"} for n in range(2)]
    server.bridge.fill = _filled(_event(**tests[0]), Dropped(1), _event(no_test="no\x1b YAML"), _event(**tests[1]))
    out = _tap(run, server, "--limit", "3", "--as-test")
    assert [each["name"] for each in yaml.safe_load(out)] == ["t0", "t1"]
    assert [each["name"] for each in yaml.safe_load(f"tests:\n{out}")["tests"]] == ["t0", "t1"]
    assert "  # 1 event dropped:" in out
    assert "  # no test for an event of plant: no\\x1b YAML" in out


def test_without_a_token_it_says_that_contents_are_hidden(run: Terminal, server: AdminServer) -> None:
    """On standard error, with the ways to see them; `--as-test` is refused, and a wrong token too."""
    server.bridge.fill = _filled(_event())
    _tap(run, server, "--limit", "1", token="")
    assert run.err.endswith("; it has shown 1 event\n")
    assert run.err.partition("\n")[2].startswith(
        "dramatiq-bridge: contents are hidden: bodies, headers and arguments are shown with the token"
    )
    _tap(run, server, "--as-test", token="", code=1)
    assert "a test has the contents of its event" in run.err
    _tap(run, server, token=f"{TOKEN}x", code=1)
    assert "the token is not the bridge's" in run.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--source", "plantt"], "has no source 'plantt'; did you mean 'plant'?"),
        (["--route", "zzz"], "has no route 'zzz'; it has hot, note, reserve"),
        (["--source", "plant", "--route", "zzz"], ": source plant has no route 'zzz'; it has hot, note, reserve"),
    ],
)
def test_unknown_names_are_errors(run: Terminal, server: AdminServer, words: list[str], says: str) -> None:
    """With the names that there are."""
    _tap(run, server, *words, code=1)
    assert says in run.err


@pytest.mark.parametrize(
    "words",
    [
        *(["--limit", "0"], ["--limit", "x"], ["--for", "1"], ["--for", "x"], ["--json", "--as-test"]),
        *(["--source", "\udcff"], ["--topic", "\udcff"]),
    ],
)
def test_wrong_arguments(run: Terminal, server: AdminServer, words: list[str]) -> None:
    """They are usage errors, and the bridge is not asked."""
    if words[0] in {"--source", "--topic"}:
        _tap(run, server, *words, code=2)
    else:
        with pytest.raises(SystemExit) as ended:
            _tap(run, server, *words)
        assert ended.value.code == 2
    assert server.bridge.orders == []


@pytest.mark.parametrize(("end", "code"), [("stop", 1), ("reload", 1), ("token", 1)])
def test_an_end_that_nobody_asked_for_is_an_error(run: Terminal, server: AdminServer, end: str, code: int) -> None:
    """With the bridge's words, and exit code 1."""
    server.bridge.fill = _filled(_event(), end=(end, "these are its words"))
    _tap(run, server, code=code)
    assert f"the tap of {server.listen} has ended: these are its words" in run.err
    assert "1 event shown, 0 dropped" in run.err


def test_an_end_by_time(run: Terminal, server: AdminServer) -> None:
    """`--for` ends it with code 0."""
    _tap(run, server, "--for", "200ms")
    assert "0 events shown, 0 dropped; its time of 0.2 s is over" in run.err


def test_without_a_bridge(run: Terminal) -> None:
    """An error with a hint."""
    run("tap", "--admin", f"127.0.0.1:{free_port()}", code=1)
    assert "nobody listens at" in run.err


def _started(config: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bridge", "tap", "--config", str(config), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    )


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM to the bridge", "SIGKILL to the bridge"])
def test_a_real_bridge(redis_server: Redis, new_bridge: Bridges, processes: int, how: str) -> None:
    """Ctrl-C ends it with a sum and code 0; a bridge that stops or dies ends it with words and code 1."""
    feed = StreamFeed(redis_server)
    config = feed.config(redis_server) | {
        "admin": {"listen": f"127.0.0.1:{free_port()}", "token": TOKEN}, "processes": processes
    }  # fmt: skip
    bridge = new_bridge(config).ready()
    tap = _started(bridge.path)
    try:
        assert tap.stdout is not None
        seen: list[str] = []

        def first() -> bool:
            feed.publish([{"n": 1}])
            os.set_blocking(tap.stdout.fileno(), False)  # type: ignore[union-attr]
            seen.append(tap.stdout.readline())  # type: ignore[union-attr]
            return bool(seen[-1])

        wait_until(first, 30, "the first line")
        assert " enqueued -> " in seen[-1]
        assert '{"n": 1}' in seen[-1]
        if how == "Ctrl-C":
            tap.send_signal(signal.SIGINT)
        elif how.startswith("SIGTERM"):
            bridge.terminate()
        else:
            bridge.kill()
        code = tap.wait(60)
        assert tap.stderr is not None
        words = tap.stderr.read()
    finally:
        tap.kill()
        tap.wait()
        for stream in (tap.stdout, tap.stderr):
            if stream is not None:
                stream.close()
    assert "shown, 0 dropped" in words
    assert "Traceback" not in words
    assert code == (0 if how == "Ctrl-C" else 1)
    if how.startswith("SIGTERM"):
        assert "has ended: the bridge stops" in words
    elif how.startswith("SIGKILL"):
        assert "the bridge has stopped, or died" in words
