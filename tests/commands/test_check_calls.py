"""`check` with a manifest: of the file, or given on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bridge.config.manifest import manifest_json
from bridge.manifest.application import import_application
from tests.commands.conftest import Terminal

SOURCES: Final = {"s": {"type": "redis-pubsub", "url": "redis://localhost", "channels": ["c"]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the configuration will be; the manifest of tests/app/shapes.py is beside it."""
    (tmp_path / "actors.json").write_bytes(manifest_json(import_application(["tests.app.shapes:broker"])))
    return tmp_path / "bridge.yaml"


def _write(path: Path, *routes: dict[str, Any], **whole: Any) -> None:
    routes_with_source = [{"from": "s", **route} for route in routes]
    path.write_text(yaml.safe_dump({**whole, "sources": SOURCES, "routes": routes_with_source}, sort_keys=False))


def test_run_takes_a_queue_from_the_file_only(run: Terminal, path: Path) -> None:
    """A manifest that `check` alone is given changes no queue: the worker would wait at another one."""
    _write(path, {"actor": "ClassBased", "args": [1]})
    manifest = str(path.with_name("actors.json"))
    run("check", "CONFIG", "--manifest", manifest, code=78)
    assert "routes[0].actor: the actor ClassBased is on the queue classes, and this is written to default" in run.err
    assert "write queue: classes, or have the manifest of the application in the file" in run.err
    _write(path, {"actor": "ClassBased", "args": [1]}, manifest="actors.json")
    assert "(queue classes)" in run("check", "CONFIG", "--manifest", manifest)
    other = path.with_name("other.json")
    other.write_text(path.with_name("actors.json").read_text().replace('"classes"', '"moved"'))
    run("check", "CONFIG", "--manifest", str(other), code=78)
    assert "the actor ClassBased is on the queue moved, and this is written to classes" in run.err


def test_a_manifest_without_a_value_may_name_any_queue(run: Terminal, path: Path) -> None:
    """On the server, `${MANIFEST}` names the manifest that gives the queue."""
    _write(path, {"actor": "ClassBased", "args": [1]}, manifest="${MANIFEST}")
    run("check", "CONFIG", "--allow-unset", "--manifest", str(path.with_name("actors.json")))


def test_a_pipeline_takes_the_actors_queues(run: Terminal, path: Path) -> None:
    """Each message of it, as the route does."""
    target = {
        "actor_name": "ClassBased",
        "options": {"pipe_target": {"actor_name": "ClassBased", "queue_name": "classes"}},
    }
    _write(path, {"actor": "plain", "args": [1], "options": {"pipe_target": target}}, manifest="actors.json")
    (message,) = run.json("route", "CONFIG", "--from=s", "--topic=c")["routes"]
    target = message["messages"][0]["options"]["pipe_target"]
    assert target["queue_name"] == target["options"]["pipe_target"]["queue_name"] == "classes"


def test_mistakes_by_the_manifest_stand_beside_others(run: Terminal, path: Path) -> None:
    """A file is mended in one go."""
    _write(path, {"actor": "plian"}, {"actor": "plain", "args": [1], "bogus": 1}, manifest="actors.json")
    run("check", "CONFIG", code=78)
    assert "routes[0].actor: the application has no actor 'plian'" in run.err
    assert "routes[1].bogus: unknown key" in run.err


def test_a_decorator_may_change_a_call(run: Terminal, path: Path) -> None:
    """What nobody can know is a note; it stops nothing, neither now nor when an event comes."""
    routes: list[dict[str, Any]] = [{"actor": "injected", "args": [7]}, {"actor": "decorated", "args": "$payload"}]
    _write(path, *routes, manifest="actors.json", enforce_manifest=True)
    output = run("check", "CONFIG")
    assert "routes[0].args: the actor injected also needs the argument 'user'" in output
    assert "unless a decorator of the actor changes the call" in output
    made = run.json("route", "CONFIG", "--from=s", "--topic=c", "--payload=[1,2,3]")["routes"]
    assert [one["messages"][0]["args"] for one in made] == [[7], [1, 2, 3]]


def test_an_option_of_the_applications_middleware_is_known(run: Terminal, path: Path) -> None:
    """The manifest has the options of the broker."""
    manifest = json.loads(path.with_name("actors.json").read_text())
    path.with_name("actors.json").write_text(json.dumps({**manifest, "options": [*manifest["options"], "tenant"]}))
    route = {"actor": "plain", "args": [1], "options": {"tenant": "a", "tennant": "b"}}
    _write(path, route, manifest="actors.json")
    output = run("check", "CONFIG")
    assert "does not know the option tennant" in output
    assert "does not know the option tenant;" not in output


def test_a_queue_of_the_application_that_damages_a_worker(run: Terminal, path: Path) -> None:
    """The same rule as for one that is written out."""
    manifest = path.with_name("actors.json")
    manifest.write_text(manifest.read_text().replace('"classes"', '"x.DQ"'))
    _write(path, {"actor": "ClassBased", "args": [1]}, manifest="actors.json")
    run("check", "CONFIG", code=78)
    assert "the actor ClassBased is on the queue 'x.DQ': a queue's name is letters, digits" in run.err


def test_an_application_prints_into_no_json(path: Path, tmp_path: Path) -> None:
    """Its output goes to standard error."""
    (tmp_path / "app.py").write_text("print('loading')\nfrom tests.app.shapes import broker\n")
    _write(path, {"actor": "plain", "args": [1]})
    command = [sys.executable, "-m", "bridge", "check", "--json", "--actors", "app:broker", str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "loading\n")
    assert json.loads(done.stdout)[0]["ok"]
