"""No library ever asks on a terminal: a passphrase that is missing is a mistake in words, and SIGTERM is obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import Certificates, encrypt_key
from tests.support.children import free_port
from tests.support.terminal import Terminal

PASSWORD = "a pass:phrase"


@pytest.fixture
def encrypted(certificates: Certificates, tmp_path: Path) -> Path:
    """A client's key that needs PASSWORD."""
    return encrypt_key(certificates.client_key, tmp_path / "encrypted.key", PASSWORD)


def _config(path: Path, cert: Path, key: Path, password: str = "") -> Path:
    tls = f"tls: {{cert: {cert}, key: {key}{f', key_password: {password!r}' if password else ''}}}"
    at = f"127.0.0.1:{free_port()}"
    file = path / "bridge.yaml"
    file.write_text(
        f"""\
dramatiq:
  url: rediss://{at}
  {tls}
sources:
  amqp:
    type: amqp
    url: amqps://{at}/
    queue: q
    {tls}
  mqtt:
    type: mqtt
    url: mqtts://{at}
    {tls}
  pubsub:
    type: redis-pubsub
    url: rediss://{at}
    channels: [c]
    {tls}
  stream:
    type: redis-stream
    url: rediss://{at}
    streams: [s]
    group: g
    {tls}
"""
    )
    return file


CONNECTIONS = ("dramatiq", "sources.amqp", "sources.mqtt", "sources.pubsub", "sources.stream")


@pytest.mark.parametrize("command", ["check", "run"])
def test_an_encrypted_key_without_its_password_is_refused_and_nothing_asks(
    command: str, encrypted: Path, certificates: Certificates, tmp_path: Path
) -> None:
    """For each connection one mistake, and exit code 78, also where there is a terminal to ask at."""
    config = _config(tmp_path, certificates.client_cert, encrypted)
    with Terminal([command, str(config)]) as terminal:
        assert terminal.wait() == 78
    for connection in CONNECTIONS:
        assert f"{connection}.tls.key: {encrypted} is encrypted: set key_password" in terminal.plain
    assert "pass phrase" not in terminal.text


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_key_password_is_refused(
    command: str, encrypted: Path, certificates: Certificates, tmp_path: Path
) -> None:
    """The mistake names the setting, and never shows it."""
    config = _config(tmp_path, certificates.client_cert, encrypted, "wr0ng")
    with Terminal([command, str(config)]) as terminal:
        assert terminal.wait() == 78
    for connection in CONNECTIONS:
        assert f"{connection}.tls.key_password: it does not decrypt {encrypted}" in terminal.plain
    assert "wr0ng" not in terminal.text


def test_a_key_that_is_encrypted_later_is_a_cause_and_sigterm_is_obeyed(
    encrypted: Path, certificates: Certificates, tmp_path: Path
) -> None:
    """Files may come and change while the bridge runs: an encrypted key is the cause of a failed attempt, and no question."""
    key = tmp_path / "later.key"
    config = _config(tmp_path, certificates.client_cert, key)
    with Terminal(["run", str(config)]) as terminal:
        terminal.read_until(f"tls.key: {key} cannot be read")
        encrypted.rename(key)
        terminal.read_until(f"tls.key: {key} is encrypted: set key_password")
        assert terminal.end() == 0
    assert "pass phrase" not in terminal.text


def test_a_certificate_may_be_a_pipe_or_a_device_and_sigterm_is_obeyed(
    certificates: Certificates, tmp_path: Path
) -> None:
    """A file of TLS that never ends, or never begins, is a cause as a missing one is."""
    config = _config(tmp_path, tmp_path / "cert", certificates.client_key)
    (tmp_path / "cert").symlink_to("/dev/zero")
    with Terminal(["run", str(config)]) as terminal:
        terminal.read_until(f"tls.cert: {tmp_path}/cert cannot be read: it is not a file")
        assert terminal.end() == 0
