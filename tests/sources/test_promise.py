"""The promise that `check` and the documents state for a source, with a spool and without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge import sources
from bridge.config import load
from bridge.config.promises import PROMISES
from bridge.sources.promise import promise
from tests.support.children import REPOSITORY
from tests.support.documents import page

MQTT = "{type: mqtt, url: mqtt://localhost, client_id: a, session_expiry: 2h}"
QOS_0 = "{type: mqtt, url: mqtt://localhost, qos: 0, window: {events: 50, bytes: 1MiB}}"
PUBSUB = "{type: redis-pubsub, url: redis://localhost, channels: [a], window: {events: 50, bytes: 1MiB}}"
STREAM = "{type: redis-stream, streams: [a], group: b, url: "


@pytest.mark.parametrize("spool", [True, False], ids=["spool", "no-spool"])
@pytest.mark.parametrize(
    ("source", "with_spool", "without"),
    [
        ("{type: amqp, url: amqp://localhost, queue: a}", "at least once", ""),
        (STREAM + "redis://localhost:6379/0}", "exactly once enqueued", ""),
        (STREAM + "redis://elsewhere}", "at least once", ""),
        (
            MQTT,
            "at least once of what the broker holds for 2h",
            "at least once of what the broker holds for 2h; no spool, so in an outage of Redis its limits count",
        ),
        (
            QOS_0,
            "at most once until received; then an outage of Redis loses nothing up to 8MiB",
            "at most once; no spool, so in an outage of Redis what comes beyond 50 events or 1MiB is lost",
        ),
        (
            PUBSUB,
            "at most once until received; then an outage of Redis loses nothing up to 8MiB",
            "at most once; no spool, so in an outage of Redis what comes beyond 50 events or 1MiB is lost",
        ),
    ],
    ids=["amqp", "stream", "stream-elsewhere", "mqtt", "mqtt-qos-0", "pubsub"],
)
def test_the_guarantee_is_restated(tmp_path: Path, spool: bool, source: str, with_spool: str, without: str) -> None:
    """Without a spool it states the cost of an outage of Redis."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources: {{a: {source}}}\n" + ("spool: {directory: x, max_size: 8MiB}\n" if spool else ""))
    config = load(str(path), environ={})
    assert promise(config, config.sources["a"]).guarantee == (with_spool if spool else without or with_spool)


@pytest.mark.parametrize(
    "source", ["{type: amqp, url: amqp://localhost, queue: a}", STREAM + "redis://elsewhere}", MQTT, QOS_0, PUBSUB]
)
def test_guarantee_is_promised_where_the_source_says_that_its_broker_redelivers(tmp_path: Path, source: str) -> None:
    """The promise in the settings and `redelivers` of the Source, which acknowledgements rely on, agree."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources: {{a: {source}}}")
    config = load(str(path), environ={})
    guarantee = promise(config, config.sources["a"]).guarantee
    assert guarantee.startswith("at least once") == sources.make("a", config).redelivers
    assert guarantee.startswith("at most once") != sources.make("a", config).redelivers


def test_each_window_counts(tmp_path: Path) -> None:
    """Several processes have a window each, so the duplicates after a crash may be as many as all of them hold."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"processes: 4\nsources: {{a: {{type: amqp, url: amqp://localhost, queue: a}}, b: {MQTT}}}\n")
    config = load(str(path), environ={})
    for source in config.sources.values():
        assert "the window (1,000 by default) of each process" in promise(config, source).duplicates


def test_an_outage_of_redis_loses_nothing_only_with_a_spool() -> None:
    """The table says so of each source whose events no broker keeps, and names both bounds."""
    for each in (PROMISES["MQTT, QoS 0"], PROMISES["Redis pub/sub"]):
        assert "with a spool an outage of Redis loses no received event up to its `max_size`" in each.guarantee
        assert "without one those beyond the window" in each.guarantee


def test_the_documents_have_the_table_of_the_code() -> None:
    """Source, guarantee, duplicates; condition, order, and the fault rows, which exist: in the chapter of each source."""
    text, results = page("guarantees"), (REPOSITORY / "tests/faults/results.md").read_text()
    overview, _, chapters = text.partition("\n## Each source\n")
    chapters = chapters.partition("\n## ")[0]
    assert re.findall(r"^### (.*)$", chapters, re.MULTILINE) == list(PROMISES)
    for name, each in PROMISES.items():
        cells = f" | {each.guarantee} | {each.duplicates} |"
        assert re.search(rf"^\| \[{re.escape(name)}\]\(#[a-z0-9-]+\){re.escape(cells)}$", overview, re.MULTILINE), name
        rows = ", ".join(f"[{row}](../tests/faults/results.md#{row})" for row in each.rows)
        chapter = f"- **On condition that**: {each.condition}\n- **Order**: {each.order}\n- **Shown by**: {rows}\n"
        assert f"### {name}\n\n{chapter}" in chapters, chapter
        for row in each.rows:
            assert f"\n### {row}\n" in results or f"\n## {row}\n" in results or f'id="{row}"' in results, row


def test_a_spool_that_is_too_small_is_refused(mistakes: object, tmp_path: Path) -> None:
    """A size below 1 MiB, and a spool without a directory, are mistakes with their place."""
    assert callable(mistakes)
    errors = mistakes("sources: {a: {type: amqp, url: amqp://localhost, queue: a}}\nspool: {max_size: 10KiB}\n")
    assert "spool.max_size: takes a size of at least 1MiB" in errors
    assert "the key 'directory' is missing" in errors
