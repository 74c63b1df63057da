"""The run over all brokers: one that cannot be had does not end it, and no secret gets into a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.__main__ import as_root, report_on
from tests.interop.broker import MQTT, InteropBroker, misnamed
from tests.interop.mqtt_broker import MqttBroker
from tests.interop.roots import CACHE


class _Unwritable(MqttBroker):
    name = "unwritable-1.0"
    program = "none"
    protocols = MQTT

    @classmethod
    def prepare(cls, cache: Path) -> None:
        raise PermissionError(13, "Permission denied", str(cache))

    def _command(self) -> list[str]:
        return []


def test_a_folder_that_cannot_be_written_is_said_of_its_broker() -> None:
    """The others are still to be tried."""
    broker: type[InteropBroker] = _Unwritable
    report = report_on(broker, set())
    assert report.failed
    assert report.unavailable == f"PermissionError: [Errno 13] Permission denied: '{CACHE}'"


def test_root_gets_few_variables_and_no_value_on_its_command_line() -> None:
    """Every user of a machine may read command lines; a proxy's address may hold a password."""
    environ = {
        "INTEROP_DIR": "/cache",
        "PYTHONPATH": "/here",
        "PATH": "/bin",
        "HTTPS_PROXY": "http://user:secret@proxy",
        "PIP_INDEX_URL": "https://secret@index",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    argv = as_root(["python", "-m", "tests.interop"], environ)
    assert "secret" not in " ".join(argv)
    assert argv == [
        *("sudo", "-n", "--preserve-env=HTTPS_PROXY,INTEROP_DIR,PIP_INDEX_URL,PYTHONPATH"),
        *("env", "PATH=/bin", "python", "-m", "tests.interop"),
    ]


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("rabbitmq-4.3", "4.3.6-1", ""),
        ("redis-6.0", "5:6.0.16-1+deb11u2", ""),
        ("mosquitto-2.0.21", "2.0.21-1", ""),
        ("nats-2.12.4", "", ""),
        ("rabbitmq-4.3", "4.30.1-1", "its name says 4.3, its version is 4.30.1-1"),
        ("redis-8.0", "5:8.2.1-1", "its name says 8.0, its version is 5:8.2.1-1"),
    ],
)
def test_a_version_that_is_not_the_names_is_said(name: str, version: str, said: str) -> None:
    """Debian's unstable goes on; the table's names don't."""
    assert misnamed(name, version) == said
