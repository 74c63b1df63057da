"""The runbook: it has every alert, every log line at error level, every line of /readyz, and commands that exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from bridge import cli
from bridge.admin import readiness
from bridge.commands.arguments import command_line
from bridge.errors import DeadLetterReason
from bridge.model.state import BridgeState, RouteState, SourceState
from tests.support.alerts import rules
from tests.support.children import REPOSITORY
from tests.support.documents import blocks
from tests.support.error_events import DYNAMIC, Found
from tests.support.runbook import CELLS, HEADINGS, PATH, TEXT, anchor, commands, has_row

#: Words of Redis, RabbitMQ and the kernel in the tables of causes.
FOREIGN = {
    *("Connection refused", "connection reset", "certificate verify failed", "Not authorized"),
    *("ACCESS_REFUSED - Login was refused", "ACCESS_REFUSED - access to queue", "in vhost", "refused for user"),
    *("NOT_ALLOWED - access to vhost", "NOT_ALLOWED - vhost"),
    *("CONNECTION_FORCED", "PRECONDITION_FAILED - delivery acknowledgement"),
    *("OOM command not allowed when used memory >", "READONLY You can't write against a read only replica"),
    "invalid username-password pair or user is disabled",
}
#: What stands between the words of a cause, or for more of them.
_VALUE = re.compile(r"\w*'.*?'|\.\.\.|\d+|: |\b(?:default|reserve|bridge|rpush)\b")


def test_each_alert_has_a_heading_and_each_such_heading_an_alert() -> None:
    """The annotation `runbook` of an alert leads to it."""
    assert Counter(each for each in HEADINGS if re.match(r"DramatiqBridge\w+$", each)) == Counter(
        rule["alert"] for rule in rules()
    )
    assert {rule["annotations"]["runbook"] for rule in rules()} <= {
        f"deploy/runbook.md#{anchor(each)}" for each in HEADINGS
    }


def test_each_log_line_at_error_level_has_a_row_and_each_row_a_line() -> None:
    """Found in the code; where a line's event is no constant, `DYNAMIC` names those that come there."""
    found = Found()
    assert found.places == set(DYNAMIC)
    named = set().union(*DYNAMIC.values())
    assert named <= found.texts
    section = TEXT.partition("## Log lines at error level")[2]
    assert Counter(re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE)) == Counter(found.events | named)


def test_a_line_at_error_level_is_found_however_it_is_written(tmp_path: Path) -> None:
    """Otherwise the test above shows nothing."""
    code = """
def one():
    log.error("a.direct", x=1)
    log.exception("a.trace")
    logger().critical("a.end")
    self._log.error("a.own")
    repeated.write("kind", log.error, "a.repeated", count=1)
    log.warning("a.warning")
    log.error(event)
def two():
    method = log.error if bad else log.warning
"""
    (tmp_path / "module.py").write_text(code)
    found = Found(tmp_path)
    assert found.events == {"a.direct", "a.trace", "a.end", "a.own", "a.repeated"}
    assert found.places == {("module.py", "one"), ("module.py", "two")}


def _states() -> Iterator[BridgeState]:
    """Yield bridges of which each has other lines in /readyz."""
    for phase, expected, available, unready in (
        ("starting", 1, False, ""),
        ("running", 2, True, "x"),
        ("draining", 2, True, ""),
    ):
        state = BridgeState("1", phase, "f", "h", 0, 0, "redis://h", "n", expected, processes=0)  # type: ignore[arg-type]
        state.sink.available, state.sink.unready, state.sink.cause = available, unready, "x"
        if phase == "running":
            state.processes = 1
        state.sources = {
            "away": SourceState("amqp", cause="x"),
            "stuck": SourceState("amqp", connected=True, stuck=True, unacknowledged_s=9),
            "again": SourceState("amqp", connected=True, stuck=True),
            "paused": SourceState("amqp", paused=True),
            "full": SourceState("amqp", connected=True, pressure=True),
        }
        state.routes = {"r": RouteState("away", "a", "q", paused=True)}
        state.reload_cause = "x"
        yield state


def test_each_line_of_readyz_has_a_row() -> None:
    """Each text that its code has stands in the runbook, and each line that comes of it fits a row's first cell."""
    tree = ast.parse((REPOSITORY / "bridge/admin/readiness.py").read_text())
    functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
    texts = {
        node.value.strip(" :;")
        for name in ("problems", "notes", "_source_problems")
        for statement in functions[name].body[1:]
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()
    }
    assert len(texts) > 10
    lines = {line for state in _states() for line in [*readiness.problems(state), *readiness.notes(state)]}
    missing = {text for text in texts if not any(text in line for line in lines)}
    assert missing == set(), "no state of this test makes them"
    assert {line for line in lines if not has_row(line)} == set()
    assert not has_row("source NAME: on fire")


def test_the_causes_have_the_bridges_own_words() -> None:
    """Those in the tables of causes; the others are a server's, or Python's."""
    tables = re.findall(r"^\| (?:CAUSE|cause|the source in `status`) \|.*?\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert len(tables) == 4
    spans = [
        each
        for table in tables
        for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for each in re.findall(r"`(.+?)`", cell)
    ]
    parts = {part.strip(" :(),") for each in spans for part in _VALUE.split(each)} - {""}
    texts = Found().texts
    assert {part for part in parts if not any(part in text for text in texts)} == FOREIGN


def test_each_reason_of_a_dead_letter_has_a_row() -> None:
    """As `dead list` shows it."""
    cells = {each for cell in CELLS for each in re.findall(r"`([a-z-]+)`", cell)}
    assert set(get_args(DeadLetterReason)) <= cells


@pytest.mark.parametrize(("payload", "argument"), [("{}", 0), ('{"sku": "a-1"}', "a-1")])
def test_the_route_that_it_corrects_gives_what_is_meant(
    payload: str, argument: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default where the field is missing, otherwise the field; an expression that is no expression would be a text."""
    (block,) = blocks(TEXT, "yaml")
    sources = {"orders": {"type": "amqp", "url": "amqp://localhost", "queue": "orders"}}
    path = tmp_path / "bridge.yaml"
    path.write_text(yaml.safe_dump({"sources": sources, **yaml.safe_load(block.text)}))
    assert cli.main(["route", str(path), "--from", "orders", "--payload", payload, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [route["messages"][0]["args"] for route in shown["routes"]] == [[argument]]


def test_each_expression_begins_with_a_dollar() -> None:
    """In sentences and tables too: YAML takes one without as a text, and says nothing."""
    calls = re.findall(r"(.)\bdefault\(", TEXT)
    assert set(calls) == {"$"}


def test_there_are_commands() -> None:
    """Otherwise the test below shows nothing."""
    assert len(commands()) > 15
    assert {each.split()[0] for each in commands()} >= {"status", "check", "dead", "pause", "resume", "reload", "tap"}


@pytest.mark.parametrize("command", commands())
def test_a_command_exists(command: str) -> None:
    """With its options: the parser of the program takes it."""
    command_line().parse_args(shlex.split(command))


def test_its_links_lead_somewhere() -> None:
    """To a heading, of its own or of a file of the repository; and no two headings have one anchor."""
    anchors = Counter(map(anchor, HEADINGS))
    assert max(anchors.values()) == 1
    for target in re.findall(r"\]\(([^)]+)\)", TEXT.replace("\n", " ")):
        file, _, part = target.partition("#")
        found = PATH.parent / file
        assert found.exists(), target
        known = anchors if not file else set(map(anchor, re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)))
        assert not part or part in known, target
