"""For an application's own tests: events run through the routes of a file, and their messages reach its actors.

    from bridge.testing import Bridge

    def test_a_hot_oven_raises_the_alarm(stub_broker, stub_worker):
        bridge = Bridge("bridge.yaml")
        bridge.deliver(stub_broker, {"from": "plant", "topic": "plants/3/ovens/7", "payload": {"celsius": 300}})
        stub_broker.join("alarms", fail_fast=True)

`deliver` finds an actor that the broker does not have, and a queue that is not the actor's. Whether the actor takes the arguments
shows when it runs: with `fail_fast`, `join` raises its error. A source's `deduplicate` works only in
`dramatiq-bridge run`; that of a route also within `with bridge.remembering():`, from one event to the next.

With pytest, the fixture `dramatiq_bridge` is such a Bridge: of the file that `dramatiq_bridge_config` in pytest's own
configuration names.
"""

from bridge.testing.bridge import Bridge, Delivery, NotDelivered

__all__ = ["Bridge", "Delivery", "NotDelivered"]
