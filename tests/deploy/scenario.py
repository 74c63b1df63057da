"""A bridge that was killed with a state of every kind, and the next one, perhaps of another release, that goes on with it.

The ledger is simple: every source has the events 0, 1, 2 ... and each must be in the queue once, whoever has written it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.deploy.code import Code
from tests.deploy.redis_keys import Keys, read_keys
from tests.support.batches import DEAD
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import wait_until, with_fault
from tests.support.feeds import AmqpFeed, AmqpStreamFeed, Feed, MqttFeed, PubsubFeed, StreamFeed
from tests.support.processes import BridgeProcess, queue_messages

#: Events that are written before anything happens; then those that come while Redis takes no writes.
HEALTHY, DENIED = 5, 30
#: And those that come to the next bridge.
NEXT = 35
#: The window of each source: so many events may be received and not acknowledged.
_WINDOW: Final = 10
#: As often a process was ended by one event, which then is a dead letter.
_DEADLY: Final = 10
#: How long dead letters are kept: those of a recorded release grow old.
_LONG: Final = "36500d"
_ATTEMPTS: Final = "dramatiq-bridge:attempts:suspect"


class Scenario:
    """The sources of a bridge, of the brokers that are given, and its directory."""

    def __init__(
        self, directory: Path, redis: Redis, mosquitto: Mosquitto | None = None, rabbitmq: RabbitMQ | None = None
    ) -> None:
        self.redis = redis
        self.spool = directory / "spool"
        self.feeds: dict[str, Feed] = {"signups": PubsubFeed(redis), "audit": StreamFeed(redis)}
        if mosquitto is not None:
            self.feeds["plant"] = MqttFeed(mosquitto)
        if rabbitmq is not None:
            self.feeds |= {"orders": AmqpFeed(rabbitmq), "ledger": AmqpStreamFeed(rabbitmq)}
        for name, feed in self.feeds.items():
            feed.name = f"upgrade-{name}"

    def config(self, *, mended: bool = False) -> dict[str, Any]:
        """Return the configuration; with `mended` routes the dead letters can be retried."""
        sources = {name: {**feed.source, "window": {"events": _WINDOW}} for name, feed in self.feeds.items()}
        for name in sources.keys() & {"plant", "orders"}:
            sources[name]["deduplicate"] = {"key": "$payload.id", "within": "60d"}
        if "plant" in sources and not mended:
            sources["plant"]["topics"] = [*sources["plant"]["topics"], "upgrade-stale/#"]
        number = '$default(payload.n, "mended")' if mended else "$payload.n"
        return {
            "dramatiq": {"url": self.redis.url_of(0)},
            "spool": {"directory": str(self.spool)},
            "dead_letters": {"redact": ["payload.card"], "max_age": _LONG},
            "sources": sources,
            "routes": [{"name": name, "from": name, "actor": "record", "args": [name, number]} for name in self.feeds],
        }

    def prepare(self) -> None:
        """Make queues and sessions anew, as no bridge has ever seen them."""
        for name, feed in self.feeds.items():
            if isinstance(feed, AmqpFeed):
                feed.broker.ctl("eval", _delete(feed.name))
            if name != "audit" or not self.redis.client().exists(feed.name):
                feed.prepare()

    def publish(self, numbers: Sequence[int], *names: str) -> None:
        """Publish the events of these numbers to every source, or to those that are named."""
        for name in names or self.feeds:
            self.feeds[name].publish([{"n": n, "id": f"{name}-{n}"} for n in numbers])

    def leave(self, code: Code) -> None:
        """Run bridges of `code` until they have left a state of every kind, and kill the last one."""
        self.prepare()
        with code.bridge(self.config()) as bridge:
            bridge.ready()
            self.publish(range(HEALTHY))
            self.feeds["signups"].publish([{"note": "no number", "card": "4111"}, {"note": "no number either"}])
            self.wait_for(HEALTHY)
            with self.redis.client() as client:
                wait_until(lambda: client.xlen(DEAD) == 2, what="two dead letters")
                ids = [entry_id.decode() for entry_id, _ in client.xrange(DEAD)]
                # It fails again: the new letter tells of the one before.
                done = code.run("dead", "retry", ids[1], "--config", bridge.path)
                assert "1" in done.stdout + done.stderr, done
                assert client.xlen(DEAD) == 2
                client.xgroup_destroy(self.feeds["audit"].name, "bridge")
                bridge.wait_for("source.group_made_again")
                client.execute_command("ACL", "SETUSER", "default", "-rpush")
            self.publish(range(HEALTHY, DENIED))
            self._wait_for_spool(bridge)
            bridge.kill()
        with self.redis.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+rpush")

    def leave_written(self, code: Code) -> None:
        """Go on from `leave`: the bridge has written everything, and was killed before the disk had lost any of it."""
        copy = self.spool.with_name("spool-before")
        shutil.copytree(self.spool, copy)
        with code.bridge(self.config()) as bridge:
            bridge.ready()
            self.wait_for(DENIED)
            bridge.kill()
        shutil.rmtree(self.spool)
        copy.rename(self.spool)

    def leave_suspect(self, code: Code) -> None:
        """Let one event end as many processes as one may."""
        crashing = with_fault("crashing")["PYTHONPATH"]
        env = {"PYTHONPATH": f"{crashing.split(':')[0]}:{code.env['PYTHONPATH']}"}
        with self.redis.client() as client:
            feed = self._suspect()
            feed.prepare()
            feed.publish([{"n": 0, "text": "poison"}])
            with code.bridge(self.suspect_config(), env) as bridge:
                while max([0, *map(int, client.hvals(_ATTEMPTS))]) < _DEADLY:
                    if not bridge.running:
                        bridge.start()
                    bridge.wait()

    def suspect_config(self) -> dict[str, Any]:
        """Return the configuration of a bridge that reads the stream with this event alone."""
        config = self._suspect().config(self.redis)
        config["sources"] = {"suspect": config["sources"]["feed"]}
        config["routes"][0]["from"] = "suspect"
        config["dead_letters"] = {"max_age": _LONG}
        return config

    def _suspect(self) -> StreamFeed:
        feed = StreamFeed(self.redis)
        feed.name = "upgrade-suspect"
        return feed

    def verify(self, code: Code, *, carried: bool) -> None:
        """Let a bridge of `code` go on, and check that nothing is lost, nothing comes twice, and nothing is forgotten.

        `carried` says whether the brokers have their own state too; otherwise they are new, and all is published again that
        they would have held.
        """
        if not carried:
            self.prepare()
            for name in self.feeds.keys() - {"signups", "audit"}:
                self.publish(range(DENIED), name)
        with code.bridge(self.config(mended=True)) as bridge, self.redis.client() as client:
            bridge.ready()
            self.publish(range(DENIED, NEXT))
            self.wait_for(NEXT)
            assert all(bridge.state(name)["lost"] == 0 for name in self.feeds)
            if "plant" in self.feeds:
                key = "dramatiq-bridge:subscriptions:plant:upgrade-plant"
                wait_until(
                    lambda: json.loads(client.get(key) or b"[]") == ["upgrade-plant"], what="the stale filter gone"
                )
            self._retry(code, bridge.path)
            bridge.terminate()
            assert bridge.wait() == 0
        assert self.messages() == self.expected(NEXT) + Counter({("signups", "mended"): 2})

    def _retry(self, code: Code, path: Path) -> None:
        listed = code.run("dead", "list", "--json", "--config", path)
        assert listed.returncode == 0, listed
        letters = [json.loads(line) for line in listed.stdout.splitlines()]
        assert [(one["source"], one["reason"]) for one in letters] == [("signups", "missing-field")] * 2
        assert sorted(one.get("retries", 0) for one in letters) == [0, 1]
        assert [one["redacted"] for one in letters if "redacted" in one] == [["payload.card"]]
        assert [len(one["earlier"]) for one in letters if "earlier" in one] == [1]
        retried = code.run("dead", "retry", "--all", "--config", path)
        assert retried.returncode == 0, retried
        with self.redis.client() as client:
            assert client.xlen(DEAD) == 0
            assert client.hmget(f"{DEAD}:books", "count", "bytes") == [b"0", b"0"]

    def messages(self) -> Counter[tuple[str, Any]]:
        """Return the messages of the queue, by source and number; list and hash agree."""
        with self.redis.client() as client:
            messages = [message["args"] for message in queue_messages(client, "default")]
        return Counter((name, n) for name, n in messages if name in self.feeds)

    def expected(self, count: int) -> Counter[tuple[str, Any]]:
        """Return the messages of the events below this number."""
        return Counter((name, n) for name in self.feeds for n in range(count))

    def wait_for(self, count: int) -> None:
        """Wait until each event below this number has its message; a message more is found too."""
        expected = self.expected(count)
        wait_until(lambda: not expected - self.messages(), what=f"the events below {count}")
        assert self.messages() == expected

    def keys(self) -> Keys:
        """Return all keys of the Redis."""
        with self.redis.client() as client:
            return read_keys(client)

    def _wait_for_spool(self, bridge: BridgeProcess) -> None:
        held = {"signups": DENIED - HEALTHY, "plant": DENIED - HEALTHY - _WINDOW}
        for name in self.feeds.keys() & held.keys():
            while bridge.state(name)["spooled"] < held[name]:
                time.sleep(0.02)


def _delete(queue: str) -> str:
    name = f'rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)'
    return f"case rabbit_amqqueue:lookup({name}) of {{ok, Q}} -> rabbit_amqqueue:delete(Q, false, false, <<>>); _ -> ok end."
