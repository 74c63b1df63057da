"""The changes that a reload finds between two configurations, and their words."""

from __future__ import annotations

from typing import Any, Final

import pytest

from bridge.config import Config
from bridge.process.changes import compare

PLANT: Final[dict[str, Any]] = {"type": "mqtt", "url": "mqtt://localhost", "client_id": "c"}
STREAM: Final[dict[str, Any]] = {"type": "redis-stream", "url": "redis://localhost", "streams": ["s"], "group": "g"}
HOT: Final[dict[str, Any]] = {"from": "plant", "topic": "a/+", "actor": "hot"}
LOG: Final[dict[str, Any]] = {"from": "stream", "actor": "log"}


def _config(**changed: Any) -> Config:
    whole = {"sources": {"plant": PLANT, "stream": STREAM}, "routes": [HOT, LOG], **changed}
    return Config.model_validate(whole)


def _sources(**changed: Any) -> dict[str, Any]:
    return {"sources": {"plant": PLANT, "stream": STREAM, **changed}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, []),
        ({"tests": [{"name": "n", "event": {"from": "stream", "payload": 1}, "expect": []}]}, []),
        ({"routes": [{**HOT, "when": "payload"}, LOG]}, ["route hot changed: when"]),
        ({"routes": [{**HOT, "from": "stream", "topic": None}, LOG]}, None),
        ({"routes": [LOG, HOT]}, ["routes are in another order"]),
        ({"drain_timeout": "5s"}, ["drain_timeout changed"]),
        ({"log": {"level": "debug"}}, ["log changed: level"]),
        ({"tracing": {"propagate": ["w3c"]}}, ["tracing changed: propagate"]),
        ({"routes": [HOT, LOG, {**LOG, "name": "more"}]}, ["route more added"]),
        ({"routes": [HOT]}, ["route log removed"]),
    ],
)
def test_no_source_restarts_without_need(changed: dict[str, Any], words: list[str] | None) -> None:
    """Routes, tests, the log and the time of a drain change while all connections stay."""
    changes = compare(_config(), _config(**changed))
    if words is None:
        assert changes.restarted == {"plant"}, "its subscriptions are what its routes need"
        return
    assert list(changes.words) == words
    assert (changes.refused, changes.sink) == ("", False)
    assert not changes.removed | changes.added | changes.restarted


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (_sources(stream={**STREAM, "window": {"events": 7}}), "source stream changed: window"),
        (
            _sources(stream={**STREAM, "password": "secret", "decode": "text"}),
            "source stream changed: password, decode",
        ),
        (_sources(stream={**STREAM, "url": "redis://u:secret@localhost"}), "source stream changed: url"),
    ],
)
def test_a_source_with_other_settings_restarts_alone(changed: dict[str, Any], word: str) -> None:
    """Its keys are named, and no value."""
    changes = compare(_config(), _config(**changed))
    assert changes.restarted == {"stream"}
    assert list(changes.words) == [word]


def test_a_source_restarts_whose_subscriptions_follow_its_routes() -> None:
    """Where it has no `topics`, an MQTT source subscribes to what its routes need."""
    wider = compare(_config(), _config(routes=[{**HOT, "topic": "#"}, LOG]))
    assert wider.restarted == {"plant"}
    assert list(wider.words) == ["source plant changed: subscriptions", "route hot changed: topic"]
    same = compare(_config(), _config(routes=[HOT, LOG, {**HOT, "name": "again", "topic": "a/b"}]))
    assert same.restarted == set(), "a/+ brings a/b"
    fixed = _sources(plant={**PLANT, "topics": ["a/#"]})
    assert compare(_config(**fixed), _config(**fixed, routes=[{**HOT, "topic": "a/b"}, LOG])).restarted == set()


@pytest.mark.parametrize(
    ("before", "after", "renamed"),
    [
        ([{**LOG, "name": "x"}], [{**LOG, "name": "y"}], [("x", "y")]),
        ([LOG], [{**HOT, "actor": "log"}, LOG], [("log", "log-2")]),
        ([LOG], [{**LOG, "actor": "other"}], []),
        ([LOG], [LOG, {**LOG, "name": "twin"}], []),
        ([LOG], [{**LOG, "when": "payload.x == 1"}], []),
    ],
)
def test_a_route_with_another_name_forgets_its_keys(
    before: list[dict[str, Any]], after: list[dict[str, Any]], renamed: list[tuple[str, str]]
) -> None:
    """Also one without a name that has got another number."""
    old, new = (
        _config(routes=[{**route, "deduplicate": {"key": "$payload.id"}} if route["from"] == "stream" else route for route in routes])
        for routes in (before, after)
    )  # fmt: skip
    words = "route {} is now {}: it has forgotten its keys of deduplicate, which belong to its name"
    found = [word for word in compare(old, new).words if "forgotten" in word]
    assert found == [words.format(*names) for names in renamed]


def test_added_removed_and_replaced_sources() -> None:
    """A source of another type is another source: the spool of the old one is not the new one's."""
    new: dict[str, Any] = {"sources": {"stream": {**PLANT, "client_id": "d"}, "more": STREAM}, "routes": []}
    changes = compare(_config(), _config(**new))
    assert [set(each) for each in (changes.removed, changes.added)] == [{"plant", "stream"}, {"stream", "more"}]
    assert not changes.restarted
    assert list(changes.words)[:2] == ["source plant removed", "source stream changed: type"]
    assert "source more added" in changes.words


@pytest.mark.parametrize("section", [{"dramatiq": {"url": "redis://localhost/1"}}, {"dead_letters": {"max_length": 7}}])
def test_another_sink_restarts_every_source(section: dict[str, Any]) -> None:
    """Everything that writes to it, and keeps its positions there."""
    changes = compare(_config(), _config(**section))
    assert changes.sink
    assert changes.restarted == {"plant", "stream"}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"processes": 2}, "processes: 1 cannot become 2 while the bridge runs: restart the bridge for it"),
        (
            {"spool": {"directory": "/spool"}},
            "spool: the spool is open while the bridge runs: restart the bridge for it",
        ),
        (
            {"admin": {"listen": "127.0.0.1:9464"}},
            "admin.listen: the admin server listens on one address while the bridge runs: restart the bridge for it",
        ),
    ],
)
def test_what_needs_a_restart_is_refused_in_words(changed: dict[str, Any], refused: str) -> None:
    """The key, why, and the remedy."""
    assert compare(_config(), _config(**changed)).refused == refused
    assert compare(_config(**changed), _config(**changed)).refused == ""


def test_the_size_of_the_spool_is_refused_by_its_key() -> None:
    """The directory's bound is given to its spools when it is opened."""
    old, new = ({"spool": {"directory": "/spool", "max_size": size}} for size in ("1MiB", "2MiB"))
    assert compare(_config(**old), _config(**new)).refused.startswith("spool: max_size: ")


def test_the_token_of_the_admin_server_is_no_reason_to_refuse() -> None:
    """It changes while the server listens."""
    old, new = ({"admin": {"listen": "127.0.0.1:9464", "token": token}} for token in ("a" * 20, "b" * 20))
    changes = compare(_config(**old), _config(**new))
    assert (changes.refused, list(changes.words)) == ("", ["admin changed: token"])


def test_so_many_changes_are_bounded() -> None:
    """A fleet of routes may change at once."""
    routes = [{**LOG, "name": f"r{n}"} for n in range(300)]
    words = compare(_config(), _config(routes=routes)).words
    assert len(words) == 101
    assert words[-1] == "and 203 more"
