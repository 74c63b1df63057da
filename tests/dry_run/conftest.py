"""A fixture that runs tests, given as data, against a configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.dry_run.suite import CaseResult, Suite

_EVENT: Final = {"from": "plant", "topic": "t"}
#: Takes the routes and the tests; the only source is `plant`, of MQTT.
Tests = Callable[..., tuple[Suite, list[CaseResult]]]


@pytest.fixture
def tests(tmp_path: Path) -> Tests:
    """Return a function that writes a configuration, and returns its suite and the results of its tests."""

    def run(routes: list[dict[str, Any]], *cases: dict[str, Any], **source: Any) -> tuple[Suite, list[CaseResult]]:
        config = {
            "sources": {"plant": {"type": "mqtt", "url": "mqtt://localhost", **source}},
            "routes": [{"from": "plant", "actor": "act", **route} for route in routes],
            "tests": [
                {"name": f"test {number}", **case, "event": {**_EVENT, **case.get("event", {"payload": 1})}}
                for number, case in enumerate(cases)
            ],
        }
        path = tmp_path / "bridge.yaml"
        path.write_text(json.dumps(config))
        suite = Suite(str(path))
        return suite, list(suite.run(range(len(cases))))

    return run
