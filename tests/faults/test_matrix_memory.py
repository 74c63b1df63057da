"""The fault matrix in its short form: memory under refusals. And that the measurement can fail."""

from __future__ import annotations

import pytest

from tests.faults.experiment import run
from tests.faults.rows import named
from tests.faults.slope import Slope
from tests.faults.stage import Brokers


def test_memory_is_flat_while_redis_refuses(brokers: Brokers) -> None:
    """However Redis refuses, with a full window of large bodies memory grows by less than 1 MiB a minute; nothing is lost."""
    result = run(named("redis-refusals-memory"), brokers)
    assert not result.failures, result.report()


@pytest.mark.parametrize("grown_mib", [0.0, 1.0])
def test_a_slope_is_seen_through_peaks_and_levels(grown_mib: float) -> None:
    """Of states with levels of their own, growth by 1 MiB a minute is seen, and without growth there is none."""
    slope = Slope(lambda: 0)
    for number in range(4):
        for place, state in enumerate(("a", "b", "c")):
            at = 30.0 * number + 10.0 * place
            level = 80.0 + 5.0 * place + (10.0 if (number, state) == (2, "b") else 0.0)
            slope.seen.setdefault(state, []).append((number, at, level + grown_mib * at / 60))
    assert slope.mib_per_minute(since=0) == pytest.approx(grown_mib)
