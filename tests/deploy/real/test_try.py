"""The try of deploy/docker/compose.yaml, with this machine's brokers and network in the place of its own."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.deploy.real.images import build, container
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import REPOSITORY, Child, wait_until

TRY = REPOSITORY / "deploy/docker/try"


@pytest.fixture(scope="module", autouse=True)
def _built(tmp_path_factory: pytest.TempPathFactory) -> None:
    build(tmp_path_factory.mktemp("secrets"))


def test_an_event_of_each_source_is_printed_by_the_worker(
    redis_server: Redis, mosquitto: Mosquitto, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    """The bridge, the events and the worker of the try: four events are published, and the worker's actors print four calls."""
    urls = {"REDIS_URL": redis_server.url, "MQTT_URL": mosquitto.url, "AMQP_URL": rabbitmq.url}
    given = [f"--env={name}={url}" for name, url in urls.items()]
    state = "--tmpfs=/var/lib/dramatiq-bridge:mode=1777"
    files = {TRY / "bridge.yaml": "/etc/dramatiq-bridge/bridge.yaml"}
    printed = tmp_path / "worker"
    with printed.open("wb") as output:
        command = [sys.executable, "-m", "dramatiq", "app", "--processes", "1", "--threads", "1"]
        worker = Child(command, env={**os.environ, **urls}, cwd=TRY, stdout=output)
    try:
        with container(tmp_path / "bridge", options=[*given, state], files=files) as bridge:
            bridge.wait_for("bridge.ready")
            events = ["--entrypoint=python", *given]
            with container(
                tmp_path / "events", options=events, command=["/try/events.py"], files={TRY: "/try"}
            ) as publisher:
                assert publisher.child.wait(60) == 0, (tmp_path / "events").read_text()
            (number,) = re.findall(r"the number (\d+)", (tmp_path / "events").read_text())
            calls = {
                f"reserve_stock({number})",
                f"raise_alarm('north', {int(number) % 10}, 250.5)",
                f"send_welcome_email({number})",
                f"archive(entry={{'user': '{number}', 'action': 'login'}})",
            }
            wait_until(lambda: calls <= set(printed.read_text().splitlines()), what="four calls")
    finally:
        worker.end(10)
