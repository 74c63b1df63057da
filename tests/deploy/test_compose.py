"""The compose file and the files it mounts fit each other; tests/deploy/real/ runs them."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

import bridge
from bridge.config import load
from tests.support.children import REPOSITORY

FOLDER: Final = REPOSITORY / "deploy/docker"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Where an image listens without more words.
PORTS: Final = {"redis": 6379, "mqtt": 1883, "amqp": 5672}


def test_nothing_listens_beyond_this_machine() -> None:
    """Every port that is published is one of 127.0.0.1: the page, and no broker."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"bridge": ["127.0.0.1:9464:9464"]}
    assert "0.0.0.0:9464" in SERVICES["bridge"]["command"]


def test_the_configuration_is_right_and_names_the_services() -> None:
    """The mounted configuration has no mistake; its URLs name the services, with the ports and the password that they have."""
    config = load(str(FOLDER / "try/bridge.yaml"), environ={})
    sources = dict(config.sources)
    assert {source.type for source in sources.values()} == {"amqp", "mqtt", "redis-pubsub", "redis-stream"}
    urls = [config.dramatiq.url, *(source.url for source in sources.values())]
    found = {
        (parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]) for parts in map(urlsplit, map(str, urls))
    }
    assert found == {("redis", "redis", 6379), ("mqtt", "mosquitto", 1883), ("amqp", "rabbitmq", 5672)}
    assert "listener 1883" in (FOLDER / "try/mosquitto.conf").read_text()
    text = (FOLDER / "try/bridge.yaml").read_text()
    user, password = (SERVICES["rabbitmq"]["environment"][f"RABBITMQ_DEFAULT_{name}"] for name in ("USER", "PASS"))
    assert f"amqp://{user}:{password}@rabbitmq/" in text
    assert f"amqp://{user}:{password}@rabbitmq/" in (FOLDER / "try/events.py").read_text()


def test_each_file_that_is_mounted_is_there() -> None:
    """Docker makes an empty folder in the place of a file that is missing: none is; each volume is declared."""
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert len(mounts) == 5
    assert [source for source, *_ in mounts if source.startswith(".") and not (FOLDER / source).exists()] == []
    assert {source for source, *_ in mounts if not source.startswith(".")} == set(COMPOSE["volumes"])
    assert (FOLDER / SERVICES["bridge"]["build"]["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / SERVICES["bridge"]["build"]["dockerfile"]).exists()


def test_the_bridge_has_the_time_to_drain() -> None:
    """Docker waits longer for the end of the bridge than the bridge takes."""
    config = load(str(FOLDER / "try/bridge.yaml"), environ={})
    assert int(SERVICES["bridge"]["stop_grace_period"].removesuffix("s")) >= config.drain_timeout / 1000 + 5


def test_the_worker_runs_what_the_tests_run() -> None:
    """The worker's Dramatiq is the one of the lock, and its Python the image's."""
    (version,) = re.findall(r"dramatiq\[redis\]==([\d.]+)", SERVICES["worker"]["command"][-1])
    assert f"\ndramatiq=={version} " in (REPOSITORY / "requirements/dev.txt").read_text()
    (base,) = re.findall(r"^ARG BASE=docker.io/library/(.+)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert SERVICES["worker"]["image"] == base


def test_the_images_version_is_the_programs() -> None:
    """An image that is built without words has the program's version on its label: the build refuses another."""
    (version,) = re.findall(r"^ARG VERSION=(.+)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert version == bridge.__version__


def test_the_pod_of_kubernetes_runs_what_was_tried() -> None:
    """The manifests of Kubernetes run the bridge as the compose file does: the same arguments, address, and rights."""
    (workload,) = (
        each
        for each in yaml.safe_load_all((REPOSITORY / "tests/deploy/chart/rendered/default.yaml").read_text())
        if each["kind"] == "Deployment"
    )
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    assert container["args"] == SERVICES["bridge"]["command"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is SERVICES["bridge"]["read_only"] is True
    assert container["securityContext"]["capabilities"]["drop"] == SERVICES["bridge"]["cap_drop"] == ["ALL"]
