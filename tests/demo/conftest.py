"""A demo that ends with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.demo.runs import Demo


@pytest.fixture
def new_demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Return a function that starts a demo with its temporary files in the test's directory."""
    demos: list[Demo] = []

    def start(*arguments: str, command: list[str] | None = None, **env: str) -> Demo:
        demos.append(Demo(tmp_path, *arguments, command=command, **env))
        return demos[-1]

    yield start
    for demo in demos:
        demo.child.kill()
        for process in demo.processes():
            with suppress(psutil.Error):
                process.kill()
