"""The unit under a real systemd, on each Debian release that the documentation names."""

from __future__ import annotations

from tests.deploy.real.machine import Machine
from tests.deploy.real.service import Service
from tests.support.brokers import Redis
from tests.support.feeds import StreamFeed
from tests.support.processes import written_numbers


def test_the_unit_starts_and_stops(machine: Machine, redis_server: Redis) -> None:
    """A start returns once the bridge is ready, and stop once it has drained."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    feed.publish_numbers(*range(100))
    service = Service(machine)
    service.configure(feed.config(redis_server))
    service.ctl("start")
    assert service.show("StatusText") == "running"
    feed.publish_numbers(*range(100, 200))
    service.ctl("stop")
    assert service.show("Result") == "success"
    assert set(range(100)) <= set(written_numbers(redis_server))
    assert len(written_numbers(redis_server)) + feed.unacknowledged() == 200
