"""The fault matrix in its short form: what the spool holds, and what comes again."""

from __future__ import annotations

import pytest

from tests.faults.experiment import run
from tests.faults.rows import named
from tests.faults.stage import Brokers


@pytest.mark.parametrize(
    "name", ["spool-outage", "spool-kill", "spool-flipped-bytes", "spool-disk-full", "spool-removed", "identity-kill"]
)
def test_a_row_holds(name: str, brokers: Brokers) -> None:
    """Nothing is lost that was promised, what is lost is counted exactly, and nothing comes twice."""
    result = run(named(name), brokers)
    assert not result.failures, result.report()
