"""`test`: expectations are exact, and a failure says everything that is needed to mend it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Final

import pytest

from tests.commands.conftest import Terminal

ROUTES: Final = """\
sources:
  plant: {type: mqtt, url: "${MQTT_URL}", topics: ["#"]}
  orders: {type: amqp, url: amqp://localhost, queue: q, decode: auto}
  log: {type: redis-stream, url: redis://localhost, streams: [audit], group: g}
routes:
  - name: hot
    from: plant
    topic: ovens/{oven}
    when: payload.celsius > 250
    actor: alarm
    queue: alarms
    args: [$int(oven), $payload.celsius]
    kwargs: {at: $received_at, now: $now()}
    options: {max_retries: 5, time_limit: 30s}
    delay: 10s
  - {name: log, from: plant, topic: ovens/+, actor: log}
  - {from: orders, actor: reserve, args: [$payload, $headers, $meta.message_id]}
  - {from: log, actor: archive, args: [$payload]}
"""
HOT: Final[dict[str, Any]] = {"from": "plant", "topic": "ovens/7", "payload": {"celsius": 300}}
ALARM: Final[dict[str, Any]] = {"route": "hot"}
LOG: Final[dict[str, Any]] = {"route": "log"}


@pytest.fixture
def path(path: Path) -> Path:
    """Return the path of the routes above."""
    path.write_text(ROUTES)
    return path


def _write(path: Path, *tests: dict[str, Any]) -> None:
    named = [{"name": f"test {number}", **test} for number, test in enumerate(tests)]
    path.write_text(f"{ROUTES}tests:\n" + "".join(f"  - {json.dumps(test)}\n" for test in named))


def _passes(run: Terminal, path: Path, event: dict[str, Any], **expected: Any) -> None:
    _write(path, {"event": event, **expected})
    assert "1 passed" in run("test", "CONFIG")


def _fails(run: Terminal, path: Path, event: dict[str, Any], **expected: Any) -> list[str]:
    """Return the lines of the failure."""
    _write(path, {"event": event, **expected})
    output = run("test", "CONFIG", "-q", code=1)
    assert output.splitlines()[-1].startswith("0 passed, 1 failed")
    return [line.strip() for line in output.splitlines()]


def test_an_unset_variable_ends_nothing(run: Terminal, path: Path) -> None:
    """CI has no secrets: a placeholder stands for the URL, and is named."""
    _write(path, {"event": HOT, "expect": [ALARM, LOG]})
    assert "note: ${MQTT_URL} has no value here; a placeholder stands for it" in run("test", "CONFIG")


def test_expect_is_the_whole_list(run: Terminal, path: Path) -> None:
    """A message too many fails as one too few does, and `[]` means none."""
    _passes(run, path, HOT, expect=[ALARM, LOG])
    assert 'not expected: route: "log", actor: "log", queue: "default"' in _fails(run, path, HOT, expect=[ALARM])
    assert 'missing: actor: "third"' in _fails(run, path, HOT, expect=[ALARM, LOG, {"actor": "third"}])
    assert len([line for line in _fails(run, path, HOT, expect=[]) if line.startswith("not expected")]) == 2
    _passes(run, path, {**HOT, "topic": "elsewhere"}, expect=[])


def test_the_order_of_routes_means_nothing(run: Terminal, path: Path) -> None:
    """Routes stand alone: either order is right."""
    _passes(run, path, HOT, expect=[LOG, ALARM])


def test_a_message_twice_is_expected_twice(run: Terminal, path: Path) -> None:
    """One message satisfies one expectation."""
    assert 'missing: route: "log"' in _fails(run, path, HOT, expect=[ALARM, LOG, LOG])


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ({"args": [7, 300]}, ""),
        ({"args": [7, 300.0]}, "args[1]: expected 300.0 (a fraction), the message has 300 (a whole number)"),
        ({"args": ["7", 300]}, 'args[0]: expected "7" (text), the message has 7 (a whole number)'),
        ({"args": [7, True]}, "args[1]: expected true (a boolean), the message has 300 (a whole number)"),
        ({"args": [7]}, "args[1]: not expected, the message has 300 (a whole number)"),
        ({"args": [7, 300, None]}, "args[2]: expected null, the message does not have it"),
        ({"kwargs": {"at": 5}}, "kwargs.now: not expected, the message has 1767225600000 (a whole number)"),
        ({"options": {"max_retries": 5, "time_limit": "30s"}}, ""),
        ({"options": {"max_retries": 5, "time_limit": 30_000}}, ""),
        ({"options": {"max_retries": 5}}, "options.time_limit: not expected, the message has 30000 (a whole number)"),
        ({"queue": "alarms", "actor": "alarm", "delay": "10s"}, ""),
        ({"queue": "alarms.DQ"}, 'queue: expected "alarms.DQ" (text), the message has "alarms" (text)'),
        ({"delay": "11s"}, "delay: expected 11s, the message has 10s"),
        ({"actor": "alrm"}, 'actor: expected "alrm" (text), the message has "alarm" (text)'),
    ],
)
def test_the_fields_that_are_given_are_compared_strictly(
    run: Terminal, path: Path, expected: dict[str, Any], difference: str
) -> None:
    """`args`, `kwargs` and `options` as a whole; each difference is shown with both types."""
    if difference:
        assert f"route hot: {difference}" in _fails(run, path, HOT, expect=[{**ALARM, **expected}, LOG])
    else:
        _passes(run, path, HOT, expect=[{**ALARM, **expected}, LOG])


def test_time_stands_still(run: Terminal, path: Path) -> None:
    """`now` is that of `now()` and of the message; `received_at` may be another one."""
    event = {**HOT, "received_at": 1_795_759_190_000}
    kwargs = {"at": 1_795_759_190_000, "now": 1_795_759_200_000}
    _passes(run, path, event, now="2026-11-27T06:00:00Z", expect=[{**ALARM, "kwargs": kwargs}, LOG])


@pytest.mark.parametrize(
    ("meta", "body", "payload"),
    [
        ({}, {"payload": {"a": [1, 1.5, None, "é"]}}, {"a": [1, 1.5, None, "é"]}),
        ({}, {"body": '{"a": 1e2}'}, {"a": 100.0}),
        ({"content_type": "text/plain"}, {"payload": "plain"}, "plain"),
        ({"content_type": "application/cbor"}, {"payload": {"a": 1}}, {"a": 1}),
        ({"content_type": "application/msgpack"}, {"payload": {"a": 1}}, {"a": 1}),
        (
            {"content_type": "application/msgpack"},
            {"payload_base64": base64.b64encode(b"\x81\xa1a\x01").decode()},
            {"a": 1},
        ),
        ({"content_type": "application/octet-stream"}, {"payload_base64": "/w=="}, "/w=="),
        ({}, {"payload_base64": "eyJhIjog\nMX0=\n"}, {"a": 1}),
        ({}, {"payload_file": "body.json"}, {"from": "file"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_event_has_one_body_in_one_of_four_ways(
    run: Terminal, path: Path, meta: dict[str, Any], body: dict[str, Any], payload: Any
) -> None:
    """`payload` is written in the format of the source, so that the decoder of a running bridge reads it."""
    path.with_name("body.json").write_text('{"from": "file"}')
    event = {"from": "orders", "topic": "a", "headers": {"h": 1}, "meta": {"message_id": "m-1", **meta}, **body}
    _passes(run, path, event, expect=[{"args": [payload, {"h": 1}, "m-1"]}])


def test_a_dead_letter_is_expected_or_fails(run: Terminal, path: Path) -> None:
    """By its reason and its route; what the other routes make is expected beside it."""
    event = {**HOT, "payload": {"celsius": "hot"}}
    letter = {"reason": "wrong-type", "route": "hot"}
    _passes(run, path, event, expect=[LOG], expect_dead_letter=letter)
    lines = _fails(run, path, event, expect=[LOG])
    assert (
        "not expected: a dead letter of the route hot: wrong-type: when: '>' can't compare text with a number"
        " in `payload.celsius > 250`"
    ) in lines
    lines = _fails(run, path, HOT, expect=[ALARM, LOG], expect_dead_letter=letter)
    assert "missing: a dead letter of the route hot with the reason wrong-type" in lines
    lines = _fails(run, path, event, expect=[LOG], expect_dead_letter={**letter, "reason": "decode"})
    assert "missing: a dead letter of the route hot with the reason decode" in lines
    broken = {"from": "plant", "topic": "ovens/7", "body": "{"}
    _passes(run, path, broken, expect_dead_letter={"reason": "decode"})
    assert "missing: a dead letter of the route hot with the reason decode" in _fails(
        run, path, broken, expect_dead_letter={"reason": "decode", "route": "hot"}
    )
    unmatched = {"from": "orders", "topic": "a", "body": "x" * 300_000}
    _passes(run, path, unmatched, expect_dead_letter={"reason": "too-large"})


def test_a_failure_shows_all_that_is_needed(run: Terminal, path: Path) -> None:
    """The test's line, the route's line, the input, the difference, and why the other routes do not fit."""
    event = {**HOT, "payload": {"celsius": 200}}
    lines = _fails(run, path, event, expect=[{"route": "hot", "args": [7, 200]}, LOG])
    line = path.read_text().splitlines().index("tests:") + 2
    assert lines[0].split() == ["failed", "test", "0"]
    assert lines[1:-1] == [
        f"{path}:{line}",
        'missing: route: "hot", args: [7, 200]',
        'event: from plant ovens/7: {"celsius":200}',
        f"{path}:6: route hot: when: `payload.celsius > 250` is false: payload.celsius is 200",
        f"{path}:16: route log: makes log, args [], kwargs {{}}",
    ]


def test_an_event_that_the_bridge_never_gets(run: Terminal, path: Path) -> None:
    """Then no route makes a message of it, and the failure says why."""
    event = {"from": "log", "topic": "audits", "payload": {"a": "1"}}
    assert "the bridge does not read this stream: it reads audit" in _fails(
        run, path, event, expect=[{"actor": "archive"}]
    )
    _write(path, {"event": event, "expect": []})
    assert "passed  test 0  (the bridge does not read this stream: it reads audit)\n" in run("test", "CONFIG")


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ({"event": HOT}, "tests[0]: this test expects nothing; add expect: [], if no message is right"),
        (
            {"event": {**HOT, "body": "x"}, "expect": []},
            "tests[0].event.body: an event has one body, here are payload and body",
        ),
        (
            {"event": {"from": "plnt"}, "expect": []},
            "tests[0].event.from: no source is named 'plnt'; did you mean 'plant'?",
        ),
        (
            {"event": HOT, "expect": [{"route": "hott"}]},
            "tests[0].expect[0].route: no route is named 'hott'; did you mean 'hot'?",
        ),
        ({"event": HOT, "expect_dead_letter": {"reason": "decoed"}}, "reason: takes decode,"),
        ({"event": HOT, "expect": [{"arg": []}]}, "tests[0].expect[0].arg: unknown key 'arg'; did you mean 'args'?"),
        (
            {"event": {**HOT, "meta": {"id": 1}}, "expect": []},
            "tests[0].event.meta.id: meta of this source has no 'id'; it has qos, retain, redelivered",
        ),
        (
            {"event": {**HOT, "headers": {"n": 5}}, "expect": []},
            'tests[0].event.headers.n: takes text, not a number; quote it: "5"',
        ),
        ({"event": {**HOT, "topic": "b/#"}, "expect": []}, "event.topic: no event has a topic with the wildcard #"),
        (
            {"event": {"from": "log", "topic": "audit", "body": '{"n": 5}'}, "expect": []},
            'tests[0].event.body.n: a field of an entry is text, not a number; quote it: "5"',
        ),
        ({"event": HOT, "now": -5, "expect": []}, "tests[0].now: takes a time after 1970 and before the year 10000"),
        (
            {"event": HOT, "now": 1795885000, "expect": []},
            "tests[0].now: takes whole milliseconds since 1970, and 1795885000 of them end before 1973: multiply seconds by 1000",
        ),
        (
            {"event": HOT, "now": 10**25, "expect": []},
            "tests[0].now: takes a time after 1970 and before the year 10000",
        ),
        ({"event": {"from": "orders", "payload_base64": "ü"}, "expect": []}, "payload_base64: takes bytes in base64"),
        (
            {"event": {"from": "orders", "payload_file": "no"}, "expect": []},
            "/no cannot be read: No such file or directory",
        ),
        (
            {"event": {"from": "log", "payload": {"n": 1}}, "expect": []},
            'payload.n: a field of an entry is text, not a number; quote it: "1"',
        ),
        (
            {"event": HOT, "now": "2026-11-27T06:00:00", "expect": []},
            "tests[0].now: takes a time after 1970 with its zone",
        ),
        (
            {"event": HOT, "expect": [{"options": {"time_limit": "30"}}]},
            "expect[0].options.time_limit: takes a duration",
        ),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_a_mistake_in_a_test_has_its_place(run: Terminal, path: Path, test: dict[str, Any], says: str) -> None:
    """As every other mistake of the file has; `check` finds it too."""
    _write(path, test)
    run("test", "CONFIG", code=78)
    assert says in run.err
    run("check", "CONFIG", "--allow-unset", code=78)
    assert says in run.err


@pytest.mark.parametrize(
    ("letters", "place"),
    [
        ("    expect_dead_letter:\n      route: hot\n      reason: mising-field\n", "24:15: tests[0].expect_dead_letter.reason: takes"),
        (
            "    expect_dead_letter:\n      - {reason: decode}\n      - {reason: decode, route: hott}\n",
            "24:33: tests[0].expect_dead_letter[1].route: no route is named 'hott'; did you mean 'hot'?",
        ),
        (
            "    expect_dead_letter:\n      - {reason: decode}\n      - {reason: decode, rute: hot}\n",
            "24:26: tests[0].expect_dead_letter[1].rute: unknown key 'rute'; did you mean 'route'?",
        ),
        (
            "    expect_dead_letter: {reason: decode, route: hott}\n",
            "22:49: tests[0].expect_dead_letter.route: no route is named 'hott'; did you mean 'hot'?",
        ),
        ("    expect_dead_letter: nope\n", "22:25: tests[0].expect_dead_letter: takes a mapping, or a list of them, not text"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_dead_letter_has_its_place(run: Terminal, path: Path, letters: str, place: str) -> None:
    """With the index that is in the file, and none where one dead letter stands alone."""
    path.write_text(f"{ROUTES}tests:\n  - name: dead\n    event: {json.dumps(HOT)}\n{letters}")
    run("test", "CONFIG", code=78)
    assert f"{path}:{place}" in run.err


def test_no_test_is_no_success(run: Terminal) -> None:
    """A CI that runs nothing must not be green."""
    assert "no test was found: write tests: in the file" in run("test", "CONFIG", code=1)


def test_tests_beside_the_file(run: Terminal, path: Path) -> None:
    """NAME_test.yaml beside NAME.yaml; `*.yaml` names both, and each test runs once."""
    _write(path, {"event": HOT, "expect": [ALARM, LOG]})
    beside = path.with_name("bridge_test.yaml")
    beside.write_text(f"tests:\n  - {json.dumps({'name': 'beside', 'event': HOT, 'expect': []})}\n")
    output = run("test", "CONFIG", str(beside), code=1)
    assert f"failed  beside\n    {beside}:2\n" in output
    assert output.splitlines()[-1].startswith("1 passed, 1 failed")
    beside.write_text("tests: [{name: beside, event: {from: nobody}, expect: []}]\n")
    run("test", "CONFIG", code=78)
    assert f"{beside}:1:38: tests[0].event.from: no source is named 'nobody'" in run.err


def test_a_list_alone_is_a_file_of_tests(run: Terminal, path: Path) -> None:
    """Indented or not; its mistakes stand where they are in the file, also those that the reader finds."""
    _write(path, {"event": HOT, "expect": [ALARM, LOG]})
    beside = path.with_name("bridge_test.yaml")
    for indent in ("", "  "):
        beside.write_text(f"{indent}- {json.dumps({'name': 'beside', 'event': HOT, 'expect': [ALARM, LOG]})}\n" * 2)
        assert run("test", "CONFIG").splitlines()[-1].startswith("3 passed")
    beside.write_text("- {name: beside, event: {from: nobody}, expect: [], expect: []}\n")
    run("test", "CONFIG", code=78)
    assert f"{beside}:1:53: tests[0].expect: duplicate key 'expect'" in run.err
    beside.write_text("- {name: beside, event: {from: nobody}, expect: []}\n")
    run("test", "CONFIG", code=78)
    assert f"{beside}:1:32: tests[0].event.from: no source is named 'nobody'" in run.err
    beside.write_text("[]\n")
    run("test", "CONFIG", code=78)
    assert f"{beside}:1:1: tests: " in run.err


@pytest.mark.parametrize(("name", "tests"), [("k.yml", "k_test.yaml"), ("k.yaml", "k_test.yml"), ("k", "k_test")])
def test_tests_beside_a_file_with_another_suffix(run: Terminal, path: Path, name: str, tests: str) -> None:
    """Both suffixes of YAML are usual."""
    config, beside = path.with_name(name), path.with_name(tests)
    config.write_text(ROUTES)
    beside.write_text(f"tests:\n  - {json.dumps({'name': 'beside', 'event': HOT, 'expect': [ALARM, LOG]})}\n")
    assert "passed  beside" in run("test", str(config))
    for command in ("test", "check"):
        run(command, str(beside), code=2)
        assert f"{beside} holds the tests of {config}; give {config}, and both are read" in run.err


def test_some_tests_only(run: Terminal, path: Path) -> None:
    """`--run` takes a regular expression of their names; one that is none is an error."""
    _write(path, *({"event": HOT, "expect": [ALARM, LOG]} for _ in range(11)))
    assert "2 passed" in run("test", "CONFIG", "--run=test (3|10)$")
    assert "no test was found: --run nothing fits none of 11 names" in run("test", "CONFIG", "--run=nothing", code=1)
    run("test", "CONFIG", "--run=(", code=2)


def test_junit(run: Terminal, path: Path, tmp_path: Path) -> None:
    """Every CI reads this file: the counts, and each failure with its text."""
    _write(path, {"event": HOT, "expect": [ALARM, LOG]}, {"event": HOT, "expect": []})
    run("test", "CONFIG", f"--junit={tmp_path}/junit.xml", code=1)
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]  # noqa: S314 - our own
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (str(path), "2", "1")
    failures = suite.findall("testcase/failure")
    assert len(failures) == 1
    assert "not expected: route:" in (failures[0].text or "")


def test_a_substituted_value_is_masked(
    run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may be a secret: neither the terminal nor the file of JUnit shows it."""
    monkeypatch.setenv("TOKEN", "s3cret-token")
    _write(path, {"event": {**HOT, "payload": {"celsius": 300, "a": "${TOKEN}"}}, "expect": [ALARM, LOG, LOG]})
    path.write_text(path.read_text().replace("kwargs: {", 'kwargs: {token: "${TOKEN}", '))
    output = run("test", "CONFIG", f"--junit={tmp_path}/junit.xml", code=1)
    assert 'kwargs {"token": "***", "at": 1767225600000' in output
    assert 'event: from plant ovens/7: {"celsius":300,"a":"***"}' in output
    assert "s3cret" not in (tmp_path / "junit.xml").read_text()


def test_junit_has_a_configuration_with_mistakes(run: Terminal, path: Path, tmp_path: Path) -> None:
    """A reader of JUnit sees no success where no test has run."""
    path.write_text("sources: {m: {type: mqtt}}\n")
    run("test", "CONFIG", f"--junit={tmp_path}/junit.xml", code=78)
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]  # noqa: S314 - our own
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (str(path), "1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert f"{path}:1:11: sources.m: the key 'url' is missing" in (failure.text or "")


def test_a_name_is_one_line(run: Terminal, path: Path) -> None:
    """A terminal gets no control characters."""
    _write(path, {"name": "a\n\x1b[31mb", "event": HOT, "expect": [ALARM, LOG]})
    assert "passed  a\\n\\x1b[31mb\n" in run("test", "CONFIG")


@pytest.mark.parametrize(("file", "why"), [("missing/x.xml", "No such file or directory"), ("", "Is a directory")])
def test_a_junit_file_that_cannot_be_written(run: Terminal, path: Path, file: str, why: str) -> None:
    """The results are printed all the same; the exit code is 2."""
    _write(path, {"event": HOT, "expect": [ALARM, LOG]})
    assert "passed  test 0" in run("test", "CONFIG", f"--junit={path.parent}/{file}", code=2)
    assert run.err == f"dramatiq-bridge: --junit: the file {path.parent}/{file} cannot be written: {why}\n"


@pytest.mark.parametrize("name", [".", "/", "", "..", "missing.yaml"])
def test_a_file_that_cannot_be_read(run: Terminal, name: str) -> None:
    """As for every command."""
    for command in ("test", "check"):
        run(command, name, code=78)
        assert f"{name}:1:1: the file cannot be read" in run.err or f"{name}:1:1: cannot be read" in run.err


def test_a_terminal_for_ascii(path: Path) -> None:
    """It shows other characters as escapes, and the results are complete."""
    _write(path, {"name": "grün", "event": HOT, "expect": [ALARM, LOG]})
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "bridge", "test", str(path)]
    done = subprocess.run(command, env=environ, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    assert b"passed  gr\\xfcn" in done.stdout
    assert done.returncode == 0


def test_coverage(run: Terminal, path: Path) -> None:
    """Routes, each `when` both ways; dead letters are counted apart. `--at-least` fails below."""
    _write(path, {"event": HOT, "expect": [ALARM, LOG]})
    output = run("test", "CONFIG", "--coverage")
    assert "coverage 3 of 6, 50%; dead letters of 0 of 4 routes" in output
    for gap in ("hot: no test makes its `when` false", "reserve: no test makes a message of it", "archive: no test"):
        assert f"  {gap}" in output
    run("test", "CONFIG", "--at-least=50")
    assert "coverage is 50%, below 51%" in run("test", "CONFIG", "--at-least=51", code=1)


@pytest.mark.parametrize("bound", ["nan", "-1", "100.5", "inf", "half"])
def test_a_bound_of_coverage_is_a_percentage(run: Terminal, path: Path, bound: str) -> None:
    """A bound that nothing can fail, or that nothing can reach, is an error."""
    with pytest.raises(SystemExit, match="2"):
        run("test", "CONFIG", f"--at-least={bound}")


def test_colours_are_for_terminals(run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a pipe, not with NO_COLOR; `--color` decides."""
    _write(path, {"event": HOT, "expect": [ALARM, LOG]})
    assert "\x1b" not in run("test", "CONFIG")
    assert "\x1b[32mpassed\x1b[0m" in run("test", "CONFIG", "--color=always")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "\x1b" in run("test", "CONFIG")
    assert "\x1b" not in run("test", "CONFIG", "--color=never")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("test", "CONFIG")


def test_a_thousand_tests(run: Terminal, path: Path) -> None:
    """They take a second; the bound is ten times that."""
    test = {"event": HOT, "expect": [{"route": "hot", "args": [7, 300]}, LOG]}
    _write(path, *[test] * 1000)
    before = time.process_time()
    assert "1000 passed" in run("test", "CONFIG", "-q")
    assert time.process_time() - before < 10 * 2


def test_placeholders_are_named_with_the_result(run: Terminal, path: Path) -> None:
    """With -q too: they may have decided it."""
    _write(path, {"event": HOT, "expect": [{"route": "hot"}, LOG]})
    path.write_text(path.read_text().replace("payload.celsius > 250", "payload.celsius > ${LIMIT}"))
    assert "s; placeholders stood for ${MQTT_URL}, ${LIMIT}\n" in run("test", "CONFIG", "-q")


def test_a_condition_that_cannot_be_read_is_no_route_less(run: Terminal, path: Path) -> None:
    """Whatever has no value in it: a route that is left out would make `expect: []` pass."""
    _write(path, {"event": HOT, "expect": []})
    for when in ("payload.celsius ==== ${LIMIT}", 'payload.a ==== 1 and payload.b == "${X}"'):
        path.write_text(ROUTES.replace("payload.celsius > 250", f"'{when}'") + "tests: []\n")
        for command in (["check", "--allow-unset"], ["test"]):
            run(*command, "CONFIG", code=78)
            assert "routes[0].when: " in run.err
            assert "can't be used in an expression" in run.err


def test_an_event_that_fits_no_topic_is_noted(run: Terminal, path: Path) -> None:
    """A mistyped topic makes nothing, as `expect: []` wants it."""
    _write(path, {"event": {"from": "plant", "topic": "oven/7"}, "expect": []})
    assert "passed  test 0  (no route's topic fits)" in run("test", "CONFIG")


def test_no_secret_is_shown(run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a value nor in a test's name; words of the file itself stay, and so do ours."""
    monkeypatch.setenv("API_TOKEN", "s3cret-sauce")
    monkeypatch.setenv("FLAG", "false")
    kwargs = "{token: '${API_TOKEN}', a: '${A:-missing}', b: '${B:-message}', c: '${FLAG}'}"
    path.write_text(ROUTES.replace("{at: $received_at, now: $now()}", kwargs))
    test = {"name": "with ${API_TOKEN}", "event": HOT, "expect": [{"route": "hot", "kwargs": {}}, LOG]}
    path.write_text(path.read_text() + f"tests:\n  - {json.dumps(test)}\n")
    output = run("test", "CONFIG", code=1)
    assert "failed  with ***" in output
    assert 'kwargs.token: not expected, the message has "***" (text)' in output
    assert 'kwargs.b: not expected, the message has "message" (text)' in output
    shown = run.json("route", "CONFIG", "--from=plant", "--topic=ovens/7", '--payload={"celsius": 300}')
    message = shown["routes"][0]["messages"][0]
    assert message["kwargs"] == {"token": "***", "a": "missing", "b": "message", "c": "false"}
    assert (shown["routes"][0]["verdict"], message["queue_name"]) == ("message", "alarms.DQ")
