"""The fault matrix in its short form, and that it can fail: mistakes put into the bridge turn rows red."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.experiment import run
from tests.faults.mutations import MUTATIONS, Mutation
from tests.faults.rows import Row, every_row, named
from tests.faults.stage import Brokers


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    """Brokers that all rows of this file share."""
    with Brokers() as brokers:
        yield brokers


@pytest.mark.parametrize("row", every_row("bridge-*,redis-*"), ids=lambda row: row.name)
def test_a_row_holds(row: Row, brokers: Brokers) -> None:
    """Nothing is lost, nothing twice beyond the bound, no orphan; back in time, said once, within the memory's bound."""
    result = run(row, brokers)
    assert not result.failures, result.report()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_turns_a_row_red(mutation: Mutation, brokers: Brokers, tmp_path: Path) -> None:
    """The rows prove something: with this mistake in the bridge, one of them fails."""
    result = run(named(mutation.row), brokers, env=mutation.apply(tmp_path))
    assert result.failures
    print(result.report())
