"""A new protocol costs its settings, its Source and a line in each registry; everything else asks its traits."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bridge import sources
from bridge.config.sources import SOURCES
from bridge.config.traits import Traits
from tests.support.batches import numbers
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY, wait_until
from tests.support.fifth_source.copy import BridgeCopy
from tests.support.processes import Bridges

SETTINGS = (REPOSITORY / "tests/support/fifth_source/settings.py").read_text()
LOG: dict[str, Any] = {"type": "lines", "url": "lines://localhost/var/log/lines"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> BridgeCopy:
    """The bridge with a source of type `lines`."""
    return BridgeCopy(tmp_path_factory.mktemp("copy"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a configuration file."""
    return tmp_path / "bridge.yaml"


def write(file: Path, source: dict[str, Any], *routes: dict[str, Any], **more: Any) -> str:
    """Write a configuration with the source `log`; return its path."""
    config = {"sources": {"log": source}, "routes": [{"from": "log", "actor": "act", **route} for route in routes]}
    file.write_text(json.dumps({**config, **more}))
    return str(file)


def test_check_states_its_guarantee_and_its_notes(copy: BridgeCopy, file: Path) -> None:
    """They are the source's own; as is the reason why more processes do not help, and the topics that can come."""
    said = copy.run("check", write(file, {**LOG, "only": ["a>b"]}, {"topic": "b>{x}"}, {"topic": "a>?"}, processes=2))
    assert "    guarantee: at least once, after 0 lines, from elsewhere\n" in said
    assert [line.partition(" note: ")[2] for line in said.splitlines() if "note:" in line] == [
        "sources.log runs in one of the 2 processes only: every process reads the whole file",
        "processes: 2 has no effect: no source shares its events out",
        "route act: no topic that sources.log brings fits b>{x}",
    ]
    said = copy.run("check", write(file, {**LOG, "tail": True}, {}, processes=2))
    assert [line.partition(" note: ")[2] for line in said.splitlines() if "note:" in line] == [
        "sources.log reads the end of the file only"
    ]


def test_a_look_says_that_it_shows_nothing(copy: BridgeCopy, file: Path, redis_server: Redis) -> None:
    """A source without a look of its own is no hole: `check --connect` says that nothing was seen."""
    said = copy.run("check", "--connect", write(file, LOG, {}, dramatiq={"url": redis_server.url}))
    assert "    unseen: a source of type lines shows nothing before the start\n" in said


def test_its_topics_have_its_own_syntax(copy: BridgeCopy, file: Path) -> None:
    """A route's `topic` is read in the wildcards of the source."""
    path = write(file, LOG, {"name": "own", "topic": "{first}>?", "args": ["$first"]}, {"name": "mqtt", "topic": "a/+"})
    said = copy.run("route", path, "--from", "log", "--topic", "x>y", "--payload", "{}", "--json")
    own, mqtt = json.loads(said)["routes"]
    assert own["messages"][0]["args"] == ["x"]
    assert not mqtt["fits"]


def test_all_its_mistakes_are_reported_together(copy: BridgeCopy, file: Path) -> None:
    """Mistakes in one value and across several, in its key, its topics and the routes, all in one go, each at its place."""
    file.write_text("""\
sources:
  log:
    type: lines
    url: lines://localhost/log
    skip: 1
    tail: true
    tls: {}
    identity: $payload.id
    deduplicate: {key: $payload.id + ids, within: 5}
  other: {type: lnes, url: lines://localhost/log}
routes:
  - {from: log, actor: a, topic: "a>b**"}
  - {from: log, actor: b, queue: __x}
  - {from: log, actor: c, topic: "{x}>?", args: ["$x + y"]}
""")
    said = copy.run("check", str(file), code=78)
    assert re.findall(r"^\S+yaml:(\d+:\d+: .*)$", said, re.MULTILINE) == [
        "6:11: sources.log.tail: it contradicts skip; write one of them",
        "7:5: sources.log.tls: lines:// is a connection without TLS; write liness:// in the URL, or remove tls",
        (
            "8:5: sources.log.identity: there is no 'identity' here;"
            " write deduplicate: {key: $meta.message_id, within: 1d}"
        ),
        "9:38: sources.log.deduplicate.key: there is no name 'ids'; a field of the payload is written payload.ids, a text \"ids\"",
        "9:51: sources.log.deduplicate.within: takes a duration such as 30s, 5m; a bare number has no unit",
        "10:17: sources.other.type: unknown type 'lnes'; did you mean 'lines'?",
        "12:38: routes[0].topic: ** must stand alone between two '>'; as in a>?>b",
        "13:34: routes[1].queue: a queue's name cannot begin with __; Dramatiq keeps its own keys under such names",
        "14:56: routes[2].args[0]: there is no name 'y'; a field of the payload is written payload.y, a text \"y\"",
    ]


def test_its_events_become_messages_once(
    copy: BridgeCopy, redis_server: Redis, tmp_path: Path, new_bridge: Bridges
) -> None:
    """Of two lines with the same deduplication key one is written; a line that fits no route is a dead letter."""
    lines = tmp_path / "lines"
    lines.write_text('a>b {"n": 1}\na>c {"n": 2}\na>b {"n": 1}\nelsewhere {}\n')
    bridge = new_bridge(
        {
            "dramatiq": {"url": redis_server.url_of(0)},
            "sources": {"log": {**LOG, "url": f"lines://localhost{lines}", "deduplicate": {"key": "$payload.n"}}},
            "routes": [{"from": "log", "actor": "record", "topic": "a>?", "args": ["$payload.n"]}],
        },
        env=copy.env,
    ).ready()
    with redis_server.client() as client:
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") == 1, 30, "the dead letter")
        assert numbers(client) == [1, 2]
    bridge.terminate()
    assert bridge.wait() == 0
    stopped = bridge.wait_for("bridge.stopped")
    assert (stopped["received"], stopped["messages"], stopped["deduplicated"]) == (4, 2, 1)


def test_each_process_has_the_settings_that_the_source_says(
    copy: BridgeCopy, redis_server: Redis, tmp_path: Path, new_bridge: Bridges
) -> None:
    """Process 1 skips a line, as `for_process` says; and `decode: text` has no say where the source makes the JSON."""
    lines = tmp_path / "lines"
    lines.write_text('a {"n": 1}\na {"n": 2}\n')
    source = {**LOG, "url": f"lines://localhost{lines}", "tail": True, "decode": "text"}
    new_bridge(
        {
            "dramatiq": {"url": redis_server.url_of(0)},
            "sources": {"log": source},
            "routes": [{"from": "log", "actor": "record", "args": ["$payload.n"]}],
            "processes": 2,
        },
        env=copy.env,
    ).ready()
    with redis_server.client() as client:
        wait_until(lambda: len(numbers(client)) == 3, 30, "the lines of both processes")
        assert Counter(numbers(client)) == {1: 1, 2: 2}


def test_a_source_without_its_traits_stops_the_bridge(tmp_path: Path, file: Path) -> None:
    """Every command then fails at import, and names the missing trait."""
    copy = BridgeCopy(tmp_path)
    settings = tmp_path / "bridge/config/lines.py"
    settings.write_text(_without("why_not_shareable"))
    said = copy.run("check", write(file, LOG, {}), code=1)
    assert said.splitlines()[-1].endswith("missing 1 required keyword-only argument: 'why_not_shareable'")


@pytest.mark.parametrize("trait", [field.name for field in fields(Traits)])
def test_no_trait_has_a_default(trait: str) -> None:
    """A source that leaves a question open cannot be imported."""
    with pytest.raises(TypeError, match=f"missing 1 required keyword-only argument: '{trait}'"):
        _import(_without(trait))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"    traits: .*?\n    \)\n", "", "the source Lines declares no traits of its own"),
        ("no_deduplicate=None", "no_deduplicate='reason'", "needs either `deduplicate` or a reason why not"),
        (r"class Lines\(DeduplicatedSource", "class Lines(SourceModel", "needs either `deduplicate` or a reason"),
        (r"    tls_scheme: .*?\n", "", "the source Lines has no scheme rediss, its tls_scheme"),
    ],
)
def test_traits_that_are_missing_or_contradict_the_settings(old: str, new: str, words: str) -> None:
    """A source cannot be imported without traits, nor with traits that its settings disprove."""
    text = SETTINGS.replace("import DeduplicatedSource", "import DeduplicatedSource, SourceModel")
    changed, count = re.subn(old, new, text, flags=re.DOTALL)
    assert count == 1
    with pytest.raises(TypeError, match=re.escape(words)):
        _import(changed)


def test_every_source_with_settings_can_be_made() -> None:
    """The two registries, of settings and of sources, have the same types."""
    assert set(sources._REGISTRY) == set(SOURCES)


def _without(trait: str) -> str:
    """Return the settings of the fifth source with the line of one trait taken out."""
    text, count = re.subn(rf"^        {trait}=.*\n", "", SETTINGS, flags=re.MULTILINE)
    assert count == 1
    return text


def _import(text: str) -> None:
    exec(compile(text, "lines.py", "exec"), {"__name__": "tests.support.fifth_source.settings"})  # noqa: S102
