"""The fault matrix in its short form: the bridge and Dramatiq's Redis. And that it can fail: mistakes turn rows red."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.checker import compare
from tests.faults.experiment import run
from tests.faults.ledger import Ledger
from tests.faults.mutations import MUTATIONS, Mutation
from tests.faults.rows import named
from tests.faults.stage import Brokers

FAST = (
    *("bridge-kill", "bridge-kill-unwritten", "bridge-kill-unsettled", "bridge-sigterm", "bridge-sigterm-redis-away"),
    "bridge-log-unread",
    *("redis-kill", "redis-pause", "redis-cut-replies", "redis-wrong-type", "redis-failover", "redis-order"),
    *("redis-oom", "redis-readonly", "redis-busy", "input-growing"),
)
LIBRARY = ("bridge-kill-unsettled", "bridge-sigterm", "redis-cut-replies")


@pytest.mark.parametrize(("name", "fast"), [*((name, True) for name in FAST), *((name, False) for name in LIBRARY)])
def test_a_row_holds(name: str, fast: bool, brokers: Brokers) -> None:
    """Nothing is lost, nothing twice beyond the bound, no orphan; it recovers, says it once, and stays within the memory's bound."""
    result = run(named(name), brokers, fast=fast)
    assert not result.failures, result.report()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_turns_a_row_red(mutation: Mutation, brokers: Brokers, tmp_path: Path) -> None:
    """The rows prove something: with this mistake in the bridge, one that holds without it fails, and says why."""
    assert mutation.row in FAST
    result = run(named(mutation.row), brokers, env=mutation.apply(tmp_path))
    assert any(mutation.finds in failure for failure in result.failures), result.report()


def test_the_checker_sees_what_is_wrong() -> None:
    """It finds a number that is missing, one that came twice, and ids and messages that have lost each other."""

    def message(number: int, redis_id: str) -> bytes:
        return json.dumps({"args": [number], "options": {"redis_message_id": redis_id}}).encode()

    messages = {b"a": message(0, "a"), b"b": message(2, "b"), b"c": message(2, "x"), b"d": message(3, "d")}
    found = compare("q", [b"a", b"b", b"c", b"gone"], messages)
    assert found.missing(Ledger(sent=5, confirmed=[0, 1, 2, 3])) == [1, 3]
    assert found.duplicates == 1
    assert found.orphans == [
        "q: gone only in the list",
        "q: d only in the hash",
        "q: c holds the message of another id",
    ]
