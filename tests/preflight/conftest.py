"""`check --connect`, as a user runs it, on a configuration of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import cli

Looked = Callable[..., list[str]]


@pytest.fixture
def look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Looked:
    """Return the findings about one source, or about Redis, as `kind: text; remedy`; with `code` 1 there must be a problem, with 0 none; -1 is either.

    `dramatiq` and `source` are parts of the file; without a source, a file with none is looked at.
    """

    def run(
        dramatiq: dict[str, Any] | None = None,
        source: dict[str, Any] | None = None,
        *,
        code: int = 0,
        queue: str = "default",
        **more: Any,
    ) -> list[str]:
        config: dict[str, Any] = {"dramatiq": dramatiq or {"url": "redis://127.0.0.1:1"}, **more}
        config["sources"] = {"s": source or {"type": "redis-pubsub", "url": "redis://127.0.0.1:1", "channels": ["c"]}}
        config["routes"] = [{"from": "s", "actor": "act", "queue": queue, "args": ["$payload"]}]
        path = tmp_path / "bridge.yaml"
        path.write_text(json.dumps(config, indent=1))
        exit_code = cli.main(["check", "--connect", "--json", str(path)])
        out, err = capsys.readouterr()
        (report,) = json.loads(out)
        wanted = None if source is None else "s"
        found = [one for one in report["connect"] if one["source"] == wanted]
        has_problem = any(one["kind"] == "problem" for one in report["connect"])
        assert exit_code == (1 if has_problem else 0), out + err
        assert report["ok"] is not has_problem
        assert any(one["kind"] == "problem" for one in found) == bool(code) or code < 0, found
        return [f"{one['kind']}: {one['text']}{'; ' if one['remedy'] else ''}{one['remedy']}" for one in found]

    return run
