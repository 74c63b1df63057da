"""The fault matrix in its short form: time, and stops that have an end."""

from __future__ import annotations

import pytest

from tests.faults.experiment import run
from tests.faults.rows import named
from tests.faults.stage import Brokers

FAST = ("clock-steps", "bridge-stalled", "bridge-sigterm-connecting", "bridge-sigterm-silent")
LIBRARY = ("bridge-stalled", "bridge-sigterm-connecting")


@pytest.mark.parametrize(("name", "fast"), [*((name, True) for name in FAST), *((name, False) for name in LIBRARY)])
def test_a_row_holds(name: str, fast: bool, brokers: Brokers) -> None:
    """Nothing is lost, nothing twice beyond the bound; it ends in time, ends no connection, and says it once."""
    result = run(named(name), brokers, fast=fast)
    assert not result.failures, result.report()
