"""The tutorial, as a newcomer types it: each command prints what the page shows, and its first route runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bridge import cli
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY, Child, wait_until
from tests.support.documents import blocks, page, section, typed
from tests.support.processes import Bridges

TUTORIAL: Final = page("tutorial")
README: Final = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ACTORS: Final = blocks(TUTORIAL, "python")[0].text
FIRST_ROUTE: Final = blocks(section(TUTORIAL, "A first route"), "yaml")[0].text
CHANGED: Final = re.compile(r"\s+# with (args: \[.*?\]) in the route$")


def _commands() -> list[tuple[str, str]]:
    """The commands of `Know before it runs`, each with the output that follows it."""
    console = "".join(block.text for block in blocks(section(TUTORIAL, "Know before it runs"), "console"))
    commands = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", console, re.MULTILINE)
    assert len(commands) == 5
    return commands


def test_know_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the page's order, in a folder that holds its two files and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tests,) = blocks(section(TUTORIAL, "Know before it runs"), "yaml")
    config = f"{FIRST_ROUTE}\n{tests.text}"
    Path("actors.py").write_text(ACTORS)
    Path("bridge.yaml").write_text(config)
    for command, shown in _commands():
        changed = CHANGED.search(command)
        if changed:
            Path("bridge.yaml").write_text(re.sub(r"args: \[\$payload.*\]", changed[1], config, count=1))
        program, *words = shlex.split(command, comments=True)
        assert program == "dramatiq-bridge"
        cli.main(words)
        out, err = capsys.readouterr()
        printed = re.sub(r" in \d\.\d\d s", " in 0.01 s", out + err)
        assert printed.startswith(shown), command
        assert shown or printed == "", command


def test_the_first_route_runs(redis_server: Redis, new_bridge: Bridges, tmp_path: Path) -> None:
    """The worker of the page's actors prints the words that the page promises, for the event that the page publishes."""

    def here(text: str) -> str:
        assert "localhost:6379" in text
        return text.replace("localhost:6379", f"127.0.0.1:{redis_server.port}")

    first = section(TUTORIAL, "A first route")
    (promised,) = re.findall(r"^and the worker prints `(.*)`\.$", first, re.MULTILINE)
    words = next(words for _, line in typed(first) if (words := shlex.split(line, comments=True))[0] == "redis-cli")
    (tmp_path / "actors.py").write_text(here(ACTORS))
    assert [line for _, line in typed(section(TUTORIAL, "An actor"))] == ["dramatiq actors"]
    command = [sys.executable, "-m", "dramatiq", "actors", "--processes", "1", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    output = tmp_path / "output"
    new_bridge(here(FIRST_ROUTE)).ready()
    with output.open("wb") as file:
        worker = Child(command, env=environment, cwd=tmp_path, stdout=file)
    try:
        # Before it is, lines of its log can come into the middle of the actor's.
        wait_until(lambda: "ready for action" in output.read_text(), what="a worker that is ready")
        with redis_server.client() as client:
            client.execute_command(*words[1:])
        wait_until(lambda: f"{promised}\n" in output.read_text(), what="the promised line")
    finally:
        worker.end(grace=20)


def test_the_test_of_the_application_runs(tmp_path: Path) -> None:
    """The page's files make an application whose test passes, and fails for a route to no actor; each stands there whole."""
    broker, head, conftest, test = (block.text for block in blocks(section(TUTORIAL, "Know before it runs"), "python"))
    _, decorator, actor = ACTORS.partition("@dramatiq.actor\n")
    (tmp_path / "broker.py").write_text(broker)
    (tmp_path / "actors.py").write_text(f"{head}\n\n{decorator}{actor}")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_actors.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_actors.py"]
    environment = {**os.environ, "UNIT_TESTS": "1", "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    for route, result in ((FIRST_ROUTE, "1 passed"), (FIRST_ROUTE.replace("send_welcome_email", "nobody"), "1 failed")):
        (tmp_path / "bridge.yaml").write_text(route)
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert result in done.stdout, done.stdout + done.stderr


def test_the_readme_shows_the_tutorials_first_route() -> None:
    """The same file, and the same event, so that who has read the one finds the way in the other."""
    readme = section(README, "A first route")
    assert blocks(readme, "yaml")[0].text == FIRST_ROUTE
    shown, whole = ([line for _, line in typed(text)] for text in (readme, section(TUTORIAL, "A first route")))
    assert shown[1:] == whole
