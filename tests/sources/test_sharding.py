"""The sources that several processes share, and the names by which the brokers know these."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from bridge import cli
from bridge.config import Config, load
from bridge.sources.sharding import config_for_process, why_not_shareable

URL = "redis://127.0.0.1:1"
STREAM = {"type": "redis-stream", "url": URL, "streams": ["s"], "group": "g"}
CHANNEL = {"type": "redis-pubsub", "url": URL, "channels": ["c"]}
QUEUE = {"type": "amqp", "url": "amqp://127.0.0.1:1/", "queue": "q"}
TOPICS = {"type": "mqtt", "url": "mqtt://127.0.0.1:1", "client_id": "bridge"}
SHARED = ["$share/g/a/#", "$share/g/b"]


def config(tmp_path: Path, processes: int = 3, **sources: Any) -> Config:
    """Load a configuration with one route per source."""
    path = tmp_path / "bridge.yaml"
    routes = [{"from": name, "actor": "act"} for name in sources]
    path.write_text(json.dumps({"sources": sources, "routes": routes, "processes": processes}))
    return load(path, environ={})


@pytest.mark.parametrize(
    ("source", "shares"),
    [
        (QUEUE, True),
        ({**QUEUE, "declare": {"arguments": {"x-queue-type": "quorum"}}}, True),
        ({**QUEUE, "declare": {"arguments": {"x-queue-type": "stream"}}}, False),
        (STREAM, True),
        (CHANNEL, False),
        ({**TOPICS, "topics": SHARED}, True),
        ({**TOPICS, "topics": SHARED, "version": "3.1.1"}, False),
        ({**TOPICS, "topics": [*SHARED, "c"]}, False),
        (TOPICS, False),
    ],
)
def test_a_source_is_shared_where_its_broker_gives_each_event_to_one(
    tmp_path: Path, source: dict[str, Any], shares: bool
) -> None:
    """Queues, consumer groups and shared subscriptions are shared; events that every subscriber gets are not: they would come twice."""
    assert (why_not_shareable(config(tmp_path, s=source).sources["s"]) is None) is shares


def test_the_first_process_runs_the_file_as_it_is(tmp_path: Path) -> None:
    """Every broker knows process 0 by the names in the file, as it knows a single process."""
    whole = config(tmp_path, a=STREAM, b=CHANNEL, c={**TOPICS, "topics": SHARED})
    assert config_for_process(whole, 0) == whole


def test_every_other_process_has_names_of_its_own(tmp_path: Path) -> None:
    """Consumers and client ids get the process's number, the same at every start; routes keep their names."""
    whole = config(
        tmp_path,
        alone=CHANNEL,
        named={**STREAM, "consumer": "me"},
        host=STREAM,
        topics={**TOPICS, "topics": SHARED},
        anybody={**TOPICS, "topics": SHARED, "client_id": None},
        queue=QUEUE,
    )
    third: Any = config_for_process(whole, 2)
    assert list(third.sources) == ["named", "host", "topics", "anybody", "queue"]
    assert third.sources["named"].consumer == "me-2"
    assert third.sources["host"].consumer == f"{socket.gethostname()}-2"
    assert third.sources["topics"].client_id == "bridge-worker-2"
    assert third.sources["anybody"].client_id is None
    assert third.sources["queue"] == whole.sources["queue"]
    names = {route.source: route.name for route in whole.routes}
    assert {route.source: route.name for route in third.routes} == {name: names[name] for name in third.sources}
    assert config_for_process(whole, 2) == third


def test_check_notes_the_sources_that_run_in_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` names each source that more processes do not help, with the reason; with one process it has no such note."""
    config(tmp_path, signups=CHANNEL, audit=STREAM)
    assert cli.main(["check", str(tmp_path / "bridge.yaml")]) == 0
    notes = [line.partition(" note: ")[2] for line in capsys.readouterr().out.splitlines() if "note:" in line]
    assert notes == [
        "sources.signups runs in one of the 3 processes only: every subscriber of a channel gets every event"
    ]
    config(tmp_path, signups=CHANNEL)
    cli.main(["check", str(tmp_path / "bridge.yaml")])
    assert "note: processes: 3 has no effect: no source shares its events out" in capsys.readouterr().out
    config(tmp_path, processes=1, signups=CHANNEL)
    cli.main(["check", str(tmp_path / "bridge.yaml")])
    assert "note:" not in capsys.readouterr().out
