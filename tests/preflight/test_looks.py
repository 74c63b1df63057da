"""`check --connect` as a whole: all looks at once, each with an end; output, exit codes, places and secrets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config
from bridge.preflight.looks import SINK, look_everywhere
from tests.commands.conftest import Terminal
from tests.support.brokers import Mosquitto, Redis
from tests.support.certificates import make_certificates
from tests.support.children import REPOSITORY, free_port
from tests.support.odd_servers import odd_server

SOURCES: dict[str, dict[str, Any]] = {
    "mqtt": {"type": "mqtt", "client_id": "c", "topics": ["t"]},
    "amqp": {"type": "amqp", "queue": "q"},
    "redis": {"type": "redis-stream", "streams": ["s"], "group": "g"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a configuration."""
    return tmp_path / "bridge.yaml"


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A terminal."""
    return Terminal(path, capsys)


@contextmanager
def silent() -> Iterator[int]:
    """A port at which connections are accepted, and nothing is said."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield listening.getsockname()[1]


def everywhere(at: str, **settings: Any) -> dict[str, Any]:
    """Return a file whose brokers are all at one address."""
    sources: dict[str, dict[str, Any]] = {
        scheme: {**source, "url": f"{scheme}://{at}", **settings} for scheme, source in SOURCES.items()
    }
    sources["pubsub"] = {"type": "redis-pubsub", "channels": ["c"], "url": f"redis://{at}", **settings}
    return {"dramatiq": {"url": f"redis://{at}", **settings}, "sources": sources, "routes": []}


def test_a_host_that_says_nothing(path: Path, run: Terminal) -> None:
    """Each look ends by the words of its connecting, as `run` says them."""
    with silent() as port:
        path.write_text(json.dumps(everywhere(f"127.0.0.1:{port}", connect_timeout="1s"), indent=1))
        (report,) = json.loads(run("check", "--connect", "--json", "CONFIG", code=1))
    said = {one["source"]: one["text"] for one in report["connect"]}
    assert said == {
        None: "timed out",
        "mqtt": "timed out: perhaps the broker speaks no MQTT 5 (version: 3.1.1)",
        "amqp": "timed out",
        "redis": "timed out",
        "pubsub": "timed out",
    }
    assert all(one["kind"] == "problem" for one in report["connect"])


def test_a_host_that_says_nothing_to_tls(path: Path, run: Terminal) -> None:
    """The handshake ends with the connecting."""
    with silent() as port:
        config = everywhere(f"127.0.0.1:{port}", connect_timeout="1s")
        for one in (config["dramatiq"], *config["sources"].values()):
            one["url"] = one["url"].replace("://", "s://")
        path.write_text(json.dumps(config, indent=1))
        (report,) = json.loads(run("check", "--connect", "--json", "CONFIG", code=1))
    said = {one["source"]: one["text"] for one in report["connect"] if one["kind"] == "problem"}
    assert set(said) == {None, "mqtt", "amqp", "redis", "pubsub"}
    assert said[None] == "timed out: perhaps this port speaks no TLS"
    assert all(text.startswith("timed out") for text in said.values())


def test_an_unknown_authority_names_the_setting(new_redis: Any, path: Path, run: Terminal) -> None:
    """In the look at Redis as in that of a source."""
    certificates = make_certificates(path.parent)
    server = new_redis(tls=certificates)
    path.write_text(json.dumps(everywhere(f"localhost:{server.port}", connect_timeout="5s")).replace("://", "s://"))
    (report,) = json.loads(run("check", "--connect", "--json", "CONFIG", code=1))
    assert len(report["connect"]) == 5
    for one in report["connect"]:
        assert "certificate verify failed" in one["text"], one
        assert one["remedy"] == "name the file of its authority: tls: {ca: FILE}", one


def test_a_look_that_does_not_end_is_cut_short() -> None:
    """By the end of all looks, in whatever its connection waits for."""
    with silent() as port:
        config = Config.model_validate(everywhere(f"127.0.0.1:{port}"))
        found = look_everywhere(config, limit_s=0.3)
    for name in (SINK, *config.sources):
        (only,) = found[name].found
        assert (only.kind, only.text) == ("problem", "no answer within 300ms")


def test_an_interrupted_look_ends_without_a_traceback(path: Path) -> None:
    """Each connection is closed as at the end of a look."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        path.write_text(json.dumps(everywhere(f"127.0.0.1:{listening.getsockname()[1]}")))
        command = [sys.executable, "-m", "bridge", "check", "--connect", str(path)]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as looking:
            links = [listening.accept()[0] for _ in range(5)]
            looking.send_signal(signal.SIGINT)
            _, err = looking.communicate(timeout=30)
        for link in links:
            link.close()
    assert (looking.returncode, err) == (130, b"")


def test_a_text_of_a_server_is_cut(path: Path, run: Terminal) -> None:
    """A finding says how long it was."""
    with odd_server(b"-ERR " + b"x" * 1_000_000 + b"\r\n") as server:
        path.write_text(json.dumps(everywhere(f"127.0.0.1:{server.port}", connect_timeout="2s")))
        (report,) = json.loads(run("check", "--connect", "--json", "CONFIG", code=1))
    texts = [one["text"] for one in report["connect"]]
    assert max(map(len, texts)) == 4000
    assert any(text.endswith("(1000000 characters)") for text in texts)


def test_a_resolver_that_never_answers_keeps_no_process(path: Path) -> None:
    """The cause names the name; the process ends, though the look-ups last."""
    path.write_text(json.dumps(everywhere("dead-1", connect_timeout="300ms")))
    names = path.with_name("names.json")
    names.write_text('{"dead-*": null}')
    places = os.pathsep.join([str(REPOSITORY / "tests/faults/resolving"), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", "--connect", str(path)],
        env={**os.environ, "PYTHONPATH": places, "NAMES": str(names)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "dramatiq-bridge: 5 problems at Redis and the brokers\n"
    assert done.stdout.count("problem: the name 'dead-1' was not resolved within 300ms") == 5


def test_the_findings_stand_under_their_sources(
    path: Path, run: Terminal, redis_server: Redis, mosquitto: Mosquitto
) -> None:
    """As the other lines of `check`: with the place of the setting, and the remedy; the exit code says that there is a problem."""
    path.write_text(
        f"dramatiq: {{url: '{redis_server.url}', allow_eviction: true}}\n"
        "sources:\n"
        f"  plant: {{type: mqtt, url: '{mqtt_url(mosquitto)}', client_id: plant, topics: [a/#]}}\n"
        f"  audit: {{type: redis-stream, url: '{redis_server.url}', streams: [key], group: g}}\n"
        "routes: [{from: plant, actor: act}, {from: audit, actor: act}]\n"
    )
    with redis_server.client() as client:
        client.set("key", 1)
    said = run("check", "--connect", "CONFIG", code=1)
    assert said.splitlines()[0] == f"{path}: no mistake, 1 problem"
    assert run.err == "dramatiq-bridge: 1 problem at Redis and the brokers\n"
    lines = [line for line in said.splitlines() if line.startswith("    ") and "guarantee" not in line]
    assert "    connected: Redis " in said
    assert "    connected: MQTT 5, as another client than the source" in lines
    assert "    granted: 1 subscription, given up at once" in lines
    remedy = "delete it, or write the key of the stream"
    assert (
        f"    {path}:4:77: problem: key 'key' holds no stream; {remedy}".replace(":77:", f":{column(path)}:") in lines
    )
    assert f"    {path}:1:17: note: the dramatiq Redis writes no append-only file" in said
    with redis_server.client() as client:
        client.delete("key")
    assert run("check", "--connect", "CONFIG").startswith(f"{path}: ok\n")


def mqtt_url(mosquitto: Mosquitto) -> str:
    """Return the URL with a password that no line may show."""
    return mosquitto.url.replace("mqtt://", "mqtt://user:s3cret@")


def column(path: Path) -> int:
    """Return the column of `key` in the fourth line."""
    return path.read_text().splitlines()[3].index("[key]") + 2


def test_mistakes_of_a_file_come_first(path: Path, run: Terminal) -> None:
    """Nothing is connected to for a file with mistakes; another file of the same command is looked at."""
    wrong = path.with_name("wrong.yaml")
    wrong.write_text("sources: {s: {type: nothing}}\n")
    path.write_text(json.dumps(everywhere(f"127.0.0.1:{free_port()}")))
    said = json.loads(run("check", "--connect", "--json", "CONFIG", str(wrong), code=78))
    assert {one["text"].partition(": ")[2] for one in said[0]["connect"]} == {"Connection refused"}
    assert "connect" not in said[1]
    assert said[1]["mistakes"]


def test_without_connect_nothing_is_looked_at(path: Path, run: Terminal) -> None:
    """Neither in JSON nor on a terminal, whatever the brokers are; unset values have no place in a look."""
    path.write_text(json.dumps(everywhere(f"127.0.0.1:{free_port()}")))
    assert "problem" not in run("check", "CONFIG")
    (report,) = json.loads(run("check", "--json", "CONFIG"))
    assert "connect" not in report
    with pytest.raises(SystemExit) as caught:
        run("check", "--connect", "--allow-unset", "CONFIG")
    assert caught.value.code == 2
