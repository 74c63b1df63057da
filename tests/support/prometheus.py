"""A real Prometheus, with rules if need be, and questions to it."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.support.children import Child, free_port, patient

_CONFIG: Final = """\
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: {evaluation_interval}}}
rule_files: [{rules}]
scrape_configs:
  - job_name: bridge
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """One that listens on `port`."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str) -> Any:
        """Return the data of an answer of its API, {} while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=patient(5)) as reply:
                return json.load(reply)["data"]
        except OSError:
            return {}

    def result(self, query: str) -> list[dict[str, Any]]:
        """Return the series that a query gives; it has to be one that Prometheus can evaluate.

        Raises:
            HTTPError: it can't.
        """
        url = f"http://127.0.0.1:{self.port}/api/v1/query?query={quote(query)}"
        with urllib.request.urlopen(url, timeout=patient(5)) as reply:
            result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
            return result

    def value(self, query: str) -> float | None:
        """Return the value of the first series, None while there is none."""
        results = self.ask(f"query?query={quote(query)}").get("result", [])
        return float(results[0]["value"][1]) if results else None


@contextmanager
def prometheus(
    program: str, directory: Path, target: int, *, rules: Path | None = None, evaluation_interval: str = "1m"
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes a port of this machine."""
    port = free_port()
    config = directory / "prometheus.yml"
    config.write_text(
        _CONFIG.format(
            port=target, rules=json.dumps(str(rules)) if rules else "", evaluation_interval=evaluation_interval
        )
    )
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log:
        child = Child(command, env=dict(os.environ), cwd=directory, stdout=log)
    try:
        yield Prometheus(port)
    finally:
        child.end(patient(5))
