"""The demo as a user runs it: real processes, on free ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.demo.runs import WAITING, Demo, assert_a_dead_letter, assert_a_killed_redis
from tests.support.broker import find_program
from tests.support.children import REPOSITORY


def test_demo_seconds_shows_everything_and_stops_by_itself(new_demo: Callable[..., Demo], tmp_path: Path) -> None:
    """With DEMO_SECONDS=12 each event and its actor are one line; one event dies, Redis is killed, and nothing is lost.

    No line is wider than 80 columns, however long the paths of this machine are.
    """
    directory = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 4)
    directory.mkdir(parents=True)
    demo = new_demo(DEMO_SECONDS="12", FORCE_COLOR="1", TMPDIR=str(directory))
    demo.wait_for("waits for Redis")
    with urllib.request.urlopen(re.findall(r"http://127.0.0.1:\d+/", demo.out)[0]) as page:  # noqa: S310 - loopback
        assert b"<html" in page.read(), "the page that the demo names"
    assert demo.wait() == 0, demo.out + demo.err
    demo.assert_equal_numbers()
    assert demo.widest() <= 80, demo.out
    ends = [line for line in demo.out.splitlines() if re.match(r"[\d:]{8} ", line) and not line.endswith(WAITING)]
    assert len(ends) == demo.table()["total"][0], demo.out
    for line in (
        r"mqtt    plants/\d/ovens/\d {\"celsius\": \d+}   -> record\(\"\d\", \d, \d+\)",
        r"pub/sub signups {\"id\": 17, .* -> welcome\(17, \"\w+\"\)",
        r"stream  audit user=\w+ did=\w+ +-> keep\(\"\w+\", \"\w+\"\)",
    ):
        assert any(re.fullmatch(r"[\d:]{8} " + line, end) for end in ends), f"no {line}\n{demo.out}"
    for line in ends:
        # More than 250 degrees raise the alarm, as the route at the top says.
        if oven := re.search(r'plants/(\d)/ovens/(\d) {"celsius": (\d+)}', line):
            actor = "raise_alarm" if int(oven[3]) > 250 else "record"
            assert line.endswith(f'-> {actor}("{oven[1]}", {oven[2]}, {oven[3]})')
    assert "{plant}/ovens/{oven}, when payload.celsius > 250\n" in demo.out
    assert "\x1b" not in demo.out, "escape codes although this is no terminal"
    assert_a_dead_letter(demo.out)
    assert_a_killed_redis(demo.out)
    assert re.search(
        r"next: .*\n +\S*dramatiq-bridge check bridge.yaml\n +\S*dramatiq-bridge run bridge.yaml\n$", demo.out
    )
    assert "left out" not in demo.out
    assert "-- without RabbitMQ, as PATH does not have rabbitmq-server and epmd\n" in demo.out
    assert demo.err == ""
    assert (demo.left_behind(), list(directory.iterdir())) == ([], [])


@pytest.mark.skipif(find_program("rabbitmq-server") is None, reason="RabbitMQ is not installed")
def test_the_demo_takes_rabbitmq_too_where_it_is_installed(new_demo: Callable[..., Demo]) -> None:
    """With rabbitmq-server on PATH the demo starts one, in its own directory, and events come by its queue as well."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    demo = new_demo("--seconds", "3", PATH=path, RABBITMQ_NODENAME="not-this-one", HOME="/nonexistent")
    assert demo.wait(120) == 0, demo.out + demo.err
    demo.assert_equal_numbers(sources=("ovens", "signups", "audit", "orders"))
    assert re.search(
        r"[\d:]{8} amqp    orders {\"order\": 801, \"eur\": [\d.]+} +-> ship\(801, [\d.]+\)\n", demo.out
    ), demo.out
    assert demo.widest() <= 80
    assert demo.err == ""
    assert demo.left_behind() == []


def test_missing_extras_are_named(new_demo: Callable[..., Demo]) -> None:
    """Without its extras the demo says how to install them, and exits with 1."""
    # `None` in sys.modules makes the import of a package fail.
    program = "import sys; sys.modules['rich'] = None; from bridge.cli import main; sys.exit(main(['demo']))"
    demo = new_demo(command=[sys.executable, "-c", program])
    assert demo.wait() == 1
    assert (
        demo.err
        == "dramatiq-bridge: the demo needs its extras: run `make demo` in a checkout, or\n  pip install '.[demo]' there\n"
    )


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "inf", "soon"])
def test_senseless_seconds_are_refused(new_demo: Callable[..., Demo], seconds: str) -> None:
    """A DEMO_SECONDS that is not a positive, finite number is refused."""
    demo = new_demo(DEMO_SECONDS=seconds)
    assert demo.wait() == 1
    assert demo.err == ("dramatiq-bridge: the demo takes a number of seconds above 0 in --seconds or\n  DEMO_SECONDS\n")


def test_the_configuration_of_the_demo_stands_alone() -> None:
    """`check config/examples/demo.yaml` works without the demo's environment."""
    command = [sys.executable, "-m", "bridge", "check", "config/examples/demo.yaml"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "config/examples/demo.yaml: ok" in done.stdout


def test_a_short_run_on_a_plain_terminal_says_what_it_leaves_out(new_demo: Callable[..., Demo], tmp_path: Path) -> None:
    """A terminal with ASCII only does not stop the demo, nor a RabbitMQ that does not start; a short run names the rest."""
    for name in ("rabbitmq-server", "epmd"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)
    demo = new_demo("--seconds", "1", PYTHONIOENCODING="ascii", PATH=str(tmp_path))
    assert demo.wait() == 0, demo.err
    assert "-- without RabbitMQ, which did not start\n" in demo.out
    assert "-- left out: the dead letter, the killed Redis; 12 s are enough for everything\n" in demo.out
    assert demo.err == ""
    assert demo.left_behind() == []
