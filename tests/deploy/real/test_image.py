"""The image of deploy/docker/Dockerfile: how it is built, what is in it, and that it works as a container."""

from __future__ import annotations

import re
from pathlib import Path
from signal import SIGTERM

import pytest
import yaml

import bridge
from tests.deploy.real.images import IMAGE, STAND_IN, build, buildah, container, files_of, inspect
from tests.support.brokers import Mosquitto
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed, StreamFeed
from tests.support.processes import queue_messages

LABELS = {"VERSION": bridge.__version__, "REVISION": "0123abc", "SOURCE": "https://example.com/fork"}
#: Every file that the image adds to its base, but for those of /opt/dramatiq-bridge.
ADDED = {
    *("etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "etc/subuid-", "etc/subgid-"),
    *("opt/dramatiq-bridge", "var/lib/dramatiq-bridge", "usr/share/dramatiq-bridge"),
    *(f"usr/share/dramatiq-bridge/{name}" for name in ("LICENSE", "bridge.yaml", "bridge.schema.json")),
}
PROGRAM = "opt/dramatiq-bridge/"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the build of the image printed."""
    return build(tmp_path_factory.mktemp("secrets"), **LABELS)


def test_the_build_tries_the_program(built: str) -> None:
    """A build ends only after the program in it has checked and tested the example of its configuration."""
    assert "bridge.yaml: ok" in built
    assert "4 passed in" in built


def test_the_build_refuses_a_version_that_is_not_the_programs(built: str, tmp_path: Path) -> None:
    """An image can't have a label with another version than the program has."""
    with pytest.raises(AssertionError, match="exit status 1"):
        build(tmp_path, "localhost/wrong", **{**LABELS, "VERSION": "9.9.9"})
    assert "localhost/wrong" not in buildah("images", "--format", "{{.Name}}")


def test_the_labels_say_where_the_image_comes_from(built: str) -> None:
    """`docker inspect` shows version, revision, source, licence and base, and the user as a number."""
    shown = inspect(IMAGE)
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in shown["Labels"].items()}
    assert {"version": bridge.__version__, "revision": "0123abc", "source": LABELS["SOURCE"]}.items() <= labels.items()
    assert (labels["licenses"], labels["base.name"]) == ("MIT", STAND_IN)
    assert shown["Config"]["User"] == "10001:10001"
    assert shown["Config"]["Entrypoint"] == ["dramatiq-bridge"]


def test_the_image_holds_the_program_and_no_tool(built: str) -> None:
    """The image is its base and the program: neither pip nor a build tool, no cache, and nothing of who built it is in it."""
    with files_of(STAND_IN) as base, files_of(IMAGE) as image:
        before, after = ({str(path.relative_to(root)) for path in root.rglob("*")} for root in (base, image))
        program = {name for name in after if name.startswith(PROGRAM)}
        size = sum((image / name).lstat().st_size for name in program)
        state = (image / "var/lib/dramatiq-bridge").stat()
    assert after - before - program <= ADDED
    packages = {match[1] for name in program if (match := re.search(r"/([^/]+)-[^/]+\.dist-info$", name))}
    assert {"dramatiq_bridge", "aiohttp", "uvloop"} <= packages
    assert not packages & {"pip", "hatchling", "setuptools", "wheel"}
    assert size < 100 << 20
    # Written to by its own user, and by any other, whose group is 0.
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (10001, 0, 0o770)


@pytest.mark.parametrize("user", ["10001:10001", "1000730000:0"], ids=["its user", "a user that OpenShift gives"])
def test_a_container_does_its_work_with_a_root_that_is_read_only(
    built: str, stream: StreamFeed, mosquitto: Mosquitto, tmp_path: Path, user: str
) -> None:
    """With a read-only root and no capability, events of MQTT and of a stream become messages; SIGTERM ends it with 0."""
    mqtt = MqttFeed(mosquitto)
    mqtt.prepare()
    path = tmp_path / "bridge.yaml"
    config = {
        "dramatiq": {"url": stream.broker.url_of(0)},
        "admin": {"listen": "unix:/run/bridge/admin.sock"},
        "sources": {"plant": mqtt.source, "audit": stream.source},
        "routes": [{"from": name, "actor": name, "args": ["$payload.n"]} for name in ("plant", "audit")],
        "spool": {"directory": "/var/lib/dramatiq-bridge/spool"},
    }
    path.write_text(yaml.safe_dump(config))
    tmp_path.chmod(0o755)
    options = [f"--user={user}", "--tmpfs=/run/bridge:mode=1777", "--volume=/var/lib/dramatiq-bridge"]
    files = {path: "/etc/dramatiq-bridge/bridge.yaml"}
    with container(tmp_path / "log", options=options, files=files) as running:
        running.wait_for("bridge.ready")
        status = Path(f"/proc/{running.pid}/status").read_text()
        assert f"Uid:\t{user.partition(':')[0]}\t" in status
        assert "CapBnd:\t0000000000000000" in status
        assert re.search(r" / / ro,", Path(f"/proc/{running.pid}/mountinfo").read_text())
        assert running.execute("dramatiq-bridge", "status", "--admin", "unix:/run/bridge/admin.sock").returncode == 0

        stream.publish_numbers(*range(100))
        mqtt.publish_numbers(*range(100))
        with stream.broker.client() as client:
            wait_until(lambda: len(queue_messages(client, "default")) == 200)
            written = [(message["actor_name"], message["args"][0]) for message in queue_messages(client, "default")]
        assert sorted(written) == [(actor, n) for actor in ("audit", "plant") for n in range(100)]

        running.child.signal(SIGTERM)
        assert running.child.wait(60) == 0
        assert running.logs[-1]["event"] == "bridge.stopped"
        # The Redis of the tests has no append-only file; nothing else was amiss, the spool's volume least of all.
        assert {line["event"] for line in running.logs if line["level"] != "info"} == {"sink.not_durable"}


def test_a_configuration_that_is_missing_ends_a_container_with_78(built: str, tmp_path: Path) -> None:
    """Without its configuration a container ends at once with exit code 78, and says which file it wants."""
    with container(tmp_path / "log", files={}) as running:
        assert running.child.wait(60) == 78
    assert "/etc/dramatiq-bridge/bridge.yaml" in (tmp_path / "log").read_text()
