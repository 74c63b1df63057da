"""The command line: each command's output and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bridge
from bridge import cli
from bridge.config import schema
from bridge.config.manifest import manifest_json
from bridge.manifest.application import import_application
from tests.commands.conftest import CONFIG, Terminal
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY
from tests.support.processes import queue_messages

NOT_JSON = "can't be written as JSON"
UNREACHED = "Redis did not take the message"


@pytest.mark.parametrize("command", ["check", "run", "route", "send"])
def test_exit_code_78_if_the_configuration_is_wrong(run: Terminal, path: Path, command: str) -> None:
    """Every command refuses a configuration that is wrong or missing."""
    more = {"route": ["--from=plant"], "send": []}.get(command, [])
    words = ["send", "a", "--config", "CONFIG"] if command == "send" else [command, "CONFIG", *more]
    path.write_text(CONFIG.replace("queue: alarms", "queue: __alarms"))
    run(*words, code=78)
    assert "cannot begin with __" in run.err
    assert run.err.endswith("dramatiq-bridge: 1 mistake in the configuration\n")
    path.unlink()
    run(*words, code=78)
    assert "cannot be read" in run.err


@pytest.mark.parametrize("command", ["run", "check", "test"])
def test_a_file_of_tests_is_no_configuration(run: Terminal, path: Path, command: str) -> None:
    """It is named with the file that it belongs to."""
    tests = path.with_name("bridge_test.yaml")
    tests.write_text("tests: []\n")
    run(command, str(tests), code=2)
    assert f"{tests} holds the tests of {path}; give {path}, and both are read" in run.err


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("${payload.unit}", "an expression has no braces, as in $payload.name; write $${ for a literal ${"),
        ("${oven}", "set it, or write ${oven:-fallback}; an expression has no braces: $oven"),
    ],
)
def test_an_expression_in_braces(run: Terminal, path: Path, value: str, says: str) -> None:
    """It is a reference to a variable, and seldom meant as one."""
    path.write_text(CONFIG.replace("unit: $payload.unit", f"unit: '{value}'"))
    run("check", "CONFIG", code=78)
    assert says in run.err


def test_send_takes_json_or_text(run: Terminal, redis_server: Redis, path: Path) -> None:
    """An ARG is JSON where it parses, otherwise text; `--config` takes the URL of the workers' Redis from a file."""
    path.write_text(
        f"dramatiq: {{url: '{redis_server.url}', namespace: n}}\nsources: {{s: {{type: mqtt, url: mqtt://h}}}}\n"
    )
    words = ["1", "01", "-5", "1e999", "true", "True", "null", "NaN", "", "[1, {}]", "[1", '"1"', "grüße", "a=b"]
    output = run(
        "send",
        "actor",
        *words,
        "--kwarg=a=1",
        "--kwarg=b=x=y",
        "--kwarg=c=",
        "--config=CONFIG".replace("CONFIG", str(path)),
    )
    with redis_server.client() as client:
        (message,) = queue_messages(client, "default", "n")
    assert message["message_id"] == output.strip()
    assert message["args"] == [
        1, "01", -5, "1e999", True, "True", None, "NaN", "", [1, {}], "[1", "1", "grüße", "a=b",
    ]  # fmt: skip
    assert message["kwargs"] == {"a": 1, "b": "x=y", "c": ""}


def test_send_keeps_the_dead_letters_of_the_bridge(run: Terminal, redis_server: Redis) -> None:
    """A message that Redis refuses is an error, and one dead letter more; the others stay."""
    with redis_server.client() as client:
        for number in range(300):  # Redis trims whole nodes, of 100 entries each
            client.xadd("dramatiq-bridge:dead-letters", {"n": number})
        client.set("dramatiq:broken", "not a list")
        run("send", "a", "--queue=broken", f"--redis={redis_server.url}", code=1)
        assert client.xlen("dramatiq-bridge:dead-letters") == 301
    assert "WRONGTYPE" in run.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a", "--queue=__acks__"], "cannot begin with __"),
        (["a", "--queue=x.DQ"], "a queue's name"),
        ([" a"], "takes the name of an actor"),
        (["$a"], "takes the name of an actor, no expression"),
        (["a", "--delay=10"], "a bare number has no unit"),
        (["a", "--kwarg=x"], "--kwarg takes NAME=VALUE"),
        (["a", "[" * 65 + "]" * 65], "ARG: nested more than 64 deep"),
        (["a", "--kwarg", "b=" + "[" * 65 + "]" * 65], "--kwarg b: nested more than 64 deep"),
        (["a", "\udcff"], NOT_JSON),
        (["a", "--redis=http://u:s3cret@h"], "--redis takes a URL that begins with redis://"),
        (["a", "--redis=redis://u:s3cret@h:port"], "--redis the host or the port"),
        (["a", "--namespace="], "--namespace takes text without spaces"),
        (["a", "--redis=redis://u:s3cret@127.0.0.1:1"], UNREACHED),
    ],
    ids=lambda value: str(value)[:50].encode("ascii", "replace").decode(),
)
def test_send_refuses_wrong_arguments(run: Terminal, words: list[str], says: str) -> None:
    """A message that would damage a worker, or cannot be sent, is an error of one line; a wrong argument has exit code 2."""
    run("send", *words, code=1 if says in {NOT_JSON, UNREACHED} else 2)
    assert says in run.err
    assert run.err.count("\n") == 1


def test_exit_code_1_if_redis_refuses_the_message(run: Terminal, redis_server: Redis) -> None:
    """`send` fails if the queue's key is of a wrong type, and prints the reason."""
    with redis_server.client() as client:
        client.set("dramatiq:default", "x")
    run("send", "a", f"--redis={redis_server.url}", code=1)
    assert "WRONGTYPE dramatiq:default holds a string" in run.err


def test_schema_prints_the_json_schema(run: Terminal) -> None:
    """`schema` prints the configuration's JSON Schema."""
    assert json.loads(run("schema")) == schema()


@pytest.mark.parametrize(
    "words",
    [
        *(
            [],
            ["nonsense"],
            ["check"],
            ["check", "a", "--manifest=m", "--actors=n"],
            ["route", "x"],
            ["send"],
            ["run", "x", "--log-level=loud"],
        ),
        ["send", "a", "--redis=redis://h", "--config=x"],
    ],
)
def test_exit_code_2_for_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments print the usage on standard error."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: dramatiq-bridge")


@pytest.mark.parametrize(
    ("words", "usage", "says"),
    [
        (["tap", "--topc", "x"], "tap", "unrecognized arguments: --topc x; did you mean '--topic'?"),
        (["dead", "list", "--sorce=x"], "dead list", "unrecognized arguments: --sorce=x; did you mean '--source'?"),
        (["status", "--zzz"], "status", "unrecognized arguments: --zzz"),
    ],
)
def test_an_unknown_option_is_refused_by_its_command(
    words: list[str], usage: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the usage of the command, and the option that is near."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"usage: dramatiq-bridge {usage} ")
    assert err.endswith(f"dramatiq-bridge {usage}: error: {says}\n")


def process(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bridge` with these arguments."""
    command = [sys.executable, "-m", "bridge", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def test_python_m_bridge_is_the_same_program(path: Path) -> None:
    """`python -m bridge` has the output and the exit codes of `dramatiq-bridge`: 0, 2 and 78."""
    assert process("--version").stdout == f"dramatiq-bridge {bridge.__version__}\n"
    assert process("check", str(path)).returncode == 0
    assert process("send", "a", "--delay=1").returncode == 2
    assert process("nonsense").returncode == 2
    assert process("check", str(path.with_name("missing.yaml"))).returncode == 78
    assert "usage: dramatiq-bridge" in process("--help").stdout


@pytest.mark.parametrize("words", [["schema"], ["check"]])
def test_a_closed_pipe_makes_no_traceback(path: Path, words: list[str]) -> None:
    """`dramatiq-bridge schema | head` ends quietly with exit code 1, and so does a command with a short output."""
    words = [*words, str(path)] if words == ["check"] else words
    closed = "import os, sys; r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)"
    program = f"{closed}; from bridge.cli import main; sys.exit(main({words!r}))"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, env=buffered, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 1)


@pytest.mark.parametrize("words", [["schema"], ["check"]])
def test_a_full_disk_makes_no_traceback(path: Path, words: list[str]) -> None:
    """A file that holds a part of the output is no success: one line says so, and the exit code is 1."""
    words = [*words, str(path)] if words == ["check"] else words
    command = [sys.executable, "-m", "bridge", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.stderr, done.returncode) == ("dramatiq-bridge: the output is not whole: its disk is full\n", 1)


def test_send_needs_the_secrets_of_dramatiq_alone(run: Terminal, redis_server: Redis, path: Path) -> None:
    """A cron job has no secrets of the brokers; without those of `dramatiq:` it says which are missing."""
    text = CONFIG.replace("mqtt://localhost:1", "'mqtt://${PLANT_HOST}'").replace(
        "password: s3cret-two", "password: '${P}'"
    )
    path.write_text(text.replace("redis://bridge:s3cret-one@localhost:1/0", redis_server.url))
    run("send", "note", "--config", str(path))
    with redis_server.client() as client:
        assert len(queue_messages(client, "default", "workers")) == 1
    path.write_text(text.replace("s3cret-one", "${REDIS_PASSWORD}"))
    run("send", "note", "--config", str(path), code=78)
    assert "bridge.yaml:1:" in run.err
    assert "REDIS_PASSWORD" in run.err
    assert "PLANT_HOST" not in run.err


@pytest.mark.parametrize("in_the_file", [True, False])
def test_send_checks_the_call_by_a_manifest(
    run: Terminal, redis_server: Redis, path: Path, tmp_path: Path, in_the_file: bool
) -> None:
    """The queue is the actor's, and a call that does not bind is not sent."""
    manifest = tmp_path / "actors.json"
    manifest.write_bytes(manifest_json(import_application(["tests.app.shapes:broker"])))
    source = "sources: {s: {type: mqtt, url: mqtt://h}}\n"
    path.write_text(
        f"dramatiq: {{url: '{redis_server.url}'}}\n{source}{'manifest: actors.json' if in_the_file else ''}\n"
    )
    words = ["--config", str(path), *([] if in_the_file else ["--manifest", str(manifest)])]
    run("send", "ClassBased", "1", *words)
    with redis_server.client() as client:
        assert [message["args"] for message in queue_messages(client, "classes")] == [[1]]
        for call, says in {
            ("ClasBased", "1"): "ACTOR: the application has no actor 'ClasBased'; did you mean 'ClassBased'?",
            ("ClassBased",): "the actor ClassBased also needs the argument",
            ("ClassBased", "1", "2"): "the actor ClassBased takes 1 positional argument, not 2",
            (
                "ClassBased",
                "1",
                "--queue=default",
            ): "--queue: the actor ClassBased is on the queue classes, not default",
            (
                "choices",
                "low",
                "--kwarg=note=5",
            ): """--kwarg note: note is Annotated[str, 'a note'], not 5; JSON text is""",
        }.items():
            run("send", *call, *words, code=2)
            assert says in run.err
        assert len(queue_messages(client, "classes")) == 1
