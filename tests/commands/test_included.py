"""The commands on a configuration of several files: what they say has the place in its own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from bridge.testing import Bridge
from tests.commands.conftest import Terminal

MAIN: Final = """\
include: [routes/*.yaml]
defaults:
  mqtt: {url: mqtt://localhost}
sources:
  plant: {type: mqtt}
routes:
  - {from: plant, topic: a/+, actor: first}
"""
ORDERS: Final = """\
# the team of the orders
sources:
  idle: {type: mqtt, client_id: c}
routes:
  - {name: ordered, from: plant, topic: orders/+, actor: reserve, args: [$payload.id]}
  - {name: odd, from: plant, topic: x, actor: reserve, args: ["payload.id"]}
tests:
  - name: an order
    event: {from: plant, topic: orders/7, payload_file: order.json}
    expect: [{route: ordered, args: [7]}]
"""


@pytest.fixture
def files(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a configuration of two files, and return the folder of both; the commands are run there."""
    monkeypatch.chdir(path.parent)
    path.write_text(MAIN)
    routes = path.parent / "routes"
    routes.mkdir()
    (routes / "orders.yaml").write_text(ORDERS)
    (routes / "order.json").write_text('{"id": 7}')
    return path.parent


def test_check_has_the_notes_with_their_files(run: Terminal, files: Path) -> None:
    """Also of a source that has no route."""
    output = run("check", "bridge.yaml")
    assert "routes/orders.yaml:3:3: note: sources.idle has no route" in output
    assert "routes/orders.yaml:6:63: note: route odd: 'payload.id' is text; an expression begins with $" in output


def test_calls_are_checked_by_the_manifest_beside_the_main_file(run: Terminal, files: Path) -> None:
    """A note on one has the path that the file has."""
    actor = {"queue": "default", "parameters": [{"name": "id", "kind": "positional-or-keyword"}], "certain": False}
    manifest = {"manifest": 1, "dramatiq": "2", "modules": [], "actors": dict.fromkeys(("first", "reserve"), actor)}
    (files / "actors.json").write_text(json.dumps(manifest))
    (files / "bridge.yaml").write_text(f"{MAIN}manifest: actors.json\n")
    text = ORDERS.replace("args: [$payload.id]", "args: [1, 2]").replace('args: ["payload.id"]', "args: [1, 2]")
    (files / "routes/orders.yaml").write_text(text.partition("tests:")[0])
    output = run("check", "bridge.yaml")
    assert (
        "routes/orders.yaml:6:62: note: routes[1].args: the actor reserve takes 1 positional argument, not 2" in output
    )


def test_check_has_every_mistake_in_the_tests(run: Terminal, files: Path) -> None:
    """Of the included file, and of the file of tests beside it."""
    (files / "routes/order.json").unlink()
    run("check", "bridge.yaml", code=78)
    where = f"routes/orders.yaml:9:57: tests[0].event.payload_file: the file {files}/routes/order.json cannot be read"
    assert where in run.err
    (files / "routes/order.json").write_text("{}")
    (files / "routes/orders_test.yaml").write_text("- {name: t, event: {from: nope}, expect: []}\n")
    (files / "bridge_test.yaml").write_text("- {name: t, event: {from: nope}, expect: []}\n")
    run("check", "bridge.yaml", code=78)
    assert "routes/orders_test.yaml:1:27: tests[0].event.from: no source is named 'nope'" in run.err
    assert "bridge_test.yaml:1:27: tests[0].event.from: no source is named 'nope'" in run.err


def test_two_tests_of_one_name_are_noted_with_both_places(run: Terminal, files: Path) -> None:
    """In one file, over included ones and in those beside them: in the output nobody could tell them apart."""
    named = "{name: an order, event: {from: plant, topic: nope}, expect: []}"
    (files / "bridge.yaml").write_text(f"{MAIN}tests:\n  - {named}\n  - {named.replace('an order', 'other')}\n")
    (files / "bridge_test.yaml").write_text(f"- {named}\n")
    text = "the test at bridge.yaml:9:12 has the name 'an order' too"
    notes = [f"note: {place}: {text}" for place in ("routes/orders.yaml:8:11", "bridge_test.yaml:1:10")]
    output = run("test", "bridge.yaml")
    assert [line.strip() for line in output.splitlines() if "note: " in line] == notes
    assert "4 passed" in output
    output = run("check", "bridge.yaml")
    assert [line.strip() for line in output.splitlines() if text in line] == [
        f"{place}: note: {text}" for place in ("routes/orders.yaml:8:11", "bridge_test.yaml:1:10")
    ]


def test_test_runs_the_tests_of_all_files(run: Terminal, files: Path) -> None:
    """Those in the files, and those beside them; a failure has the lines of its test and of the routes."""
    (files / "routes/orders_test.yaml").write_text(
        "- {name: beside, event: {from: plant, topic: orders/1, payload_file: order.json}, expect: [{route: ordered}]}\n"
    )
    assert "2 passed" in run("test", "bridge.yaml")
    (files / "routes/order.json").write_text('{"id": 8}')
    output = run("test", "bridge.yaml", code=1)
    assert "    routes/orders.yaml:8\n" in output
    assert "routes/orders.yaml:5: route ordered: makes reserve" in output
    assert "1 passed, 1 failed" in output


def test_route_graph_and_testing_know_all_routes(run: Terminal, files: Path) -> None:
    """As if they stood in one file."""
    fits = json.loads(
        run("route", "bridge.yaml", "--from", "plant", "--topic", "orders/7", "--payload", '{"id": 7}', "--json")
    )
    assert [each["route"] for each in fits["routes"] if each["fits"]] == ["ordered"]
    assert "ordered" in run("graph", "bridge.yaml")
    made = Bridge(files / "bridge.yaml").route({"from": "plant", "topic": "orders/7", "payload": {"id": 7}})
    assert [one.route for one in made] == ["ordered"]


def test_a_running_bridge_is_found_though_an_included_file_is_broken(run: Terminal, files: Path) -> None:
    """A command that asks it needs `admin:` alone, which stands in the main file."""
    (files / "bridge.yaml").write_text(f"{MAIN}admin: {{listen: '127.0.0.1:1'}}\n")
    (files / "routes/orders.yaml").write_text("routes: [")
    run("status", "--config", "bridge.yaml", code=1)
    assert "127.0.0.1:1" in run.err


@pytest.mark.parametrize(
    ("words", "text", "hint"),
    [
        (
            ["check"],
            "routes: [{from: plant, actor: a}]",
            "add sources; a file that another one includes is checked through that one",
        ),
        (
            ["test"],
            "tables: {t: {values: {a: 1}}}\nroutes: []",
            "add sources; a file that another one includes is checked through that one",
        ),
        (["check"], "tests: []", "these are tests of another file: give that one, which brings NAME_test.yaml"),
        (["check"], "log: {level: debug}", "add sources: where events come from"),
    ],
)
def test_a_part_alone_is_told_from_a_configuration(
    run: Terminal, path: Path, words: list[str], text: str, hint: str
) -> None:
    """A file without sources, and with nothing that only a main file has, is likely one that another file includes."""
    path.write_text(f"{text}\n")
    run(*words, "CONFIG", code=78)
    assert f"{path}:1:1: the key 'sources' is missing; {hint}" in run.err
