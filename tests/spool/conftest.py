"""Logs of the spool for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from bridge.spool.log import Log

SEGMENT = 1024


class Logs:
    """Opens logs, and closes in the end all that are still open: those of processes that were killed."""

    def __init__(self) -> None:
        self._open: list[Log] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._open:
            log.close()

    def open(self, directory: Path, segment_bytes: int = SEGMENT) -> Log:
        self._open.append(log := Log(directory, segment_bytes))
        return log

    def close(self, log: Log) -> None:
        self._open.remove(log)
        log.close()


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Logs of the spool, closed after the test."""
    with Logs() as logs:
        yield logs
