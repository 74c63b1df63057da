"""Fixtures of the commands' tests: a configuration, and a terminal that runs commands on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge import cli
from tests.support.letters import desk

__all__ = ["CONFIG", "Terminal", "desk"]

CONFIG = """\
dramatiq: {url: 'redis://bridge:s3cret-one@localhost:1/0', namespace: workers}
sources:
  plant: {type: mqtt, url: mqtt://localhost:1, username: u, password: s3cret-two}
  orders: {type: amqp, url: 'amqp://bridge:s3cret-three@localhost:1/', queue: orders, max_body: 1KiB}
  idle: {type: redis-pubsub, url: 'redis://localhost:1?password=s3cret-four', channels: [c]}
routes:
  - name: hot
    from: plant
    topic: plants/{plant}/ovens/{oven}
    when: payload.celsius > 250 and not meta.retain
    actor: raise_alarm
    queue: alarms
    args: [$plant, $int(oven), $payload.celsius]
    kwargs: {unit: $payload.unit, sent_by: '$default(headers["sent-by"], null)'}
    delay: 10s
  - {from: plant, topic: plants/#, actor: note}
  - {from: orders, topic: order.#, actor: reserve, args: [$payload]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a configuration with secrets; its brokers do not exist."""
    file = tmp_path / "bridge.yaml"
    file.write_text(CONFIG)
    return file


class Terminal:
    """Runs a command in this process; the argument CONFIG stands for the configuration's path."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path = path
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """Return the output; the exit code must be `code`, and no secret is shown."""
        exit_code = cli.main([str(self._path) if word == "CONFIG" else word for word in words])
        out, self.err = self._capsys.readouterr()
        assert exit_code == code, out + self.err
        assert "s3cret" not in out + self.err
        assert "Traceback" not in self.err
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        """Return what the command prints with `--json`."""
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return a function that runs a command."""
    return Terminal(path, capsys)
