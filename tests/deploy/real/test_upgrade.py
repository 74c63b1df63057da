"""Upgrade and roll back with all sources, RabbitMQ's queues and streams among them, from every state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.code import Code
from tests.deploy.scenario import Scenario
from tests.deploy.test_upgrade import HERE, load, release, released, side_by_side
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.processes import BridgeProcess

__all__ = ["release", "released"]


@pytest.fixture
def everything(
    tmp_path: Path, new_redis: Callable[[], Redis], new_mosquitto: Callable[[], Mosquitto], rabbitmq: RabbitMQ
) -> Scenario:
    """All kinds of sources."""
    return Scenario(tmp_path, new_redis(), new_mosquitto(), rabbitmq)


@pytest.mark.parametrize("moment", ["spooled", "written"])
def test_the_state_of_a_release(release: Path, everything: Scenario, moment: str) -> None:
    """It is read here: the offset of a RabbitMQ stream too."""
    load(release, everything, moment)
    everything.verify(HERE, carried=False)


@pytest.mark.parametrize("written", [False, True], ids=["spooled", "written"])
@pytest.mark.parametrize("back", [False, True], ids=["upgrade", "rollback"])
def test_live_brokers(released: Code, everything: Scenario, back: bool, written: bool) -> None:
    """One version is killed, the other goes on, with the brokers as they are."""
    first, second = (HERE, released) if back else (released, HERE)
    everything.leave(first)
    if written:
        everything.leave_written(first)
    everything.verify(second, carried=True)


def test_a_version_that_is_killed_beside_another(released: Code, redis_server: Redis) -> None:
    """The other one claims the entries that it held, after the minute for which they have to be idle."""
    side_by_side(released, redis_server, BridgeProcess.kill)
