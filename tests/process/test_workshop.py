"""The tools of the page on a running configuration, with a real Redis: dead letters, their retry, and dry runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from bridge.config import Config, load
from bridge.model.batch import DeadLetter
from bridge.model.event import Event, already_parsed
from bridge.model.workshop import Trial, WorkshopError
from bridge.process import trials
from bridge.process.workshop import LiveWorkshop
from bridge.redis_io.keys import dead_letters_key
from bridge.routing.redaction import Redaction
from bridge.sink.dead_letters import encode_letter
from tests.support.processes import queue_messages

if TYPE_CHECKING:
    from tests.support.brokers import Redis

SECRET = "hunter2-of-production"
ROUTES: list[dict[str, Any]] = [
    {"name": "small", "from": "feed", "actor": "record", "queue": "default", "args": ["$payload.n"]},
    {"name": "large", "from": "feed", "actor": "record", "queue": "bulk", "when": "payload.n > 1000", "args": ["$payload.n"]},
    {"name": "secret", "from": "feed", "actor": "call", "queue": "default", "kwargs": {"key": "${SECRET}"}},
    {"name": "hidden", "from": "feed", "actor": "call", "queue": "default", "when": "payload.key == '${SECRET}'"},
]  # fmt: skip


def configured(directory: Path, url: str, routes: list[dict[str, Any]] | None = None) -> Config:
    """Return a configuration with one stream."""
    source = {"type": "redis-stream", "url": url, "streams": ["events"], "group": "bridge", "field": "data"}
    text = yaml.safe_dump({"dramatiq": {"url": url}, "sources": {"feed": source}, "routes": routes or ROUTES})
    path = directory / "bridge.yaml"
    path.write_text(text)
    return load(str(path), environ={"SECRET": SECRET})


def workshop_of(config: Config) -> LiveWorkshop:
    """Return the tools on a configuration."""
    return LiveWorkshop(lambda: config)


def write_letter(
    redis_server: Redis,
    body: bytes = b'{"m": "private"}',
    error: str = "args.0: no field 'n' in `payload.n`",
    earlier: str = "[]",
) -> str:
    """Write a dead letter of the route `small` as the bridge does; return its id."""
    raw = ({"x-tenant": "north"}, {"entry_id": "1-0"})
    event = Event("feed", "events", body, 1_795_759_200_000, raw=raw, read=already_parsed)
    made = DeadLetter(event, "missing-field", error, "small")
    with redis_server.client() as client:
        fields = [*encode_letter(made, 1 << 20), "earlier", earlier]
        return str(client.execute_command("XADD", dead_letters_key("dramatiq"), "*", *fields).decode())


async def test_the_newest_letters_have_reason_and_place_and_no_contents(redis_server: Redis, tmp_path: Path) -> None:
    """An error may quote the event: without the right to see contents there is only the place of it."""
    ids = [write_letter(redis_server) for _ in range(3)]
    workshop = workshop_of(configured(tmp_path, redis_server.url_of(0)))
    answer = await workshop.newest(2, with_contents=False)
    assert ([each.id for each in answer.letters], answer.total) == ([ids[2], ids[1]], 3)
    letter = answer.letters[0]
    assert (letter.reason, letter.place, letter.source, letter.route, letter.topic) == (
        "missing-field",
        "args.0",
        "feed",
        "small",
        "events",
    )
    assert letter.error is None
    assert b"private" not in msgspec.json.encode(answer)
    shown = (await workshop.newest(2, with_contents=True)).letters[0]
    assert shown.error == "args.0: no field 'n' in `payload.n`"
    assert shown.body is None


async def test_one_letter_is_whole_for_those_who_may_see_it(redis_server: Redis, tmp_path: Path) -> None:
    """Its body as text or in base64, headers and meta as JSON; without the right nothing of them; one that is gone is none."""
    text, binary = write_letter(redis_server), write_letter(redis_server, b"\xff\x00")
    workshop = workshop_of(configured(tmp_path, redis_server.url_of(0)))
    (letter,) = (await workshop.letter(text, with_contents=True)).letters
    assert (letter.body, letter.headers, letter.body_shown) == ('{"m": "private"}', '{"x-tenant":"north"}', 16)
    (letter,) = (await workshop.letter(binary, with_contents=True)).letters
    assert (letter.body, letter.body_base64) == (None, "/wA=")
    (letter,) = (await workshop.letter(text, with_contents=False)).letters
    assert (letter.body, letter.headers, letter.error) == (None, None, None)
    assert (await workshop.letter("1-0", with_contents=True)).letters == []
    assert (await workshop.letter("no id", with_contents=True)).letters == []


async def test_an_older_letter_is_redacted_when_it_is_shown(redis_server: Redis, tmp_path: Path) -> None:
    """A letter that was written before `dead_letters.redact` named its fields shows none of them, nor does its error."""
    earlier = """[{"reason": "wrong-type", "error": "args.1: 'private' is no list"}]"""
    letter_id = write_letter(redis_server, error="args.0: 'private' is no number", earlier=earlier)
    config = configured(tmp_path, redis_server.url_of(0))
    letters = config.dead_letters.model_copy(update={"redact": ["payload.m", "headers.x-tenant"]})
    workshop = workshop_of(config.model_copy(update={"dead_letters": letters}))
    whole = await workshop.letter(letter_id, with_contents=True)
    listed = await workshop.newest(1, with_contents=True)
    assert "private" not in msgspec.json.encode([whole, listed]).decode()
    assert "north" not in msgspec.json.encode([whole, listed]).decode()
    assert set(whole.letters[0].redacted) == {"payload.m", "headers.x-tenant"}
    assert whole.letters[0].body == "{}"


async def test_a_letter_names_each_redacted_field_once(redis_server: Redis, tmp_path: Path) -> None:
    """Also one that the protocol always has, which is removed again when the letter is shown."""
    config = configured(tmp_path, redis_server.url_of(0))
    letters = config.dead_letters.model_copy(update={"redact": ["meta.entry_id"]})
    redacting = config.model_copy(update={"dead_letters": letters})
    event = Event("feed", "events", b"{}", 1, raw=({}, {"entry_id": "1-0"}), read=already_parsed)
    letter = Redaction.of(redacting).letter(DeadLetter(event, "missing-field", "x", "small"))
    with redis_server.client() as client:
        fields = encode_letter(letter, 1 << 20)
        letter_id = str(client.execute_command("XADD", dead_letters_key("dramatiq"), "*", *fields).decode())
    (shown,) = (await workshop_of(redacting).letter(letter_id, with_contents=True)).letters
    assert list(shown.redacted) == ["meta.entry_id"]


async def test_a_letter_is_retried_by_the_routes_of_now(redis_server: Redis, tmp_path: Path) -> None:
    """It fails again with the reason; after a reload that mends the route its message is written, and it is gone."""
    letter_id = write_letter(redis_server)
    config = configured(tmp_path, redis_server.url_of(0))
    workshop = LiveWorkshop(lambda: config)
    failed = await workshop.retry(letter_id)
    assert (failed.outcome, failed.reason) == ("failed", "missing-field")
    config = configured(tmp_path, redis_server.url_of(0), [{**ROUTES[0], "args": ["$payload.m"]}])
    retried = await workshop.retry(failed.new_id)
    assert (retried.outcome, retried.messages) == ("retried", 1)
    with redis_server.client() as client:
        assert [message["args"] for message in queue_messages(client, "default")] == [["private"]]
    assert (await workshop.retry(failed.new_id)).outcome == "gone"


async def test_a_redis_that_is_away_is_said(tmp_path: Path) -> None:
    """The error has words, and none of the URL's secrets."""
    workshop = workshop_of(configured(tmp_path, "redis://:pa55word@127.0.0.1:1/0"))
    with pytest.raises(WorkshopError, match="refused") as caught:
        await workshop.newest(1, with_contents=False)
    assert "pa55word" not in caught.value.words
    assert not caught.value.is_mistake


@contextmanager
def mistake(words: str) -> Iterator[None]:
    """Expect a mistake of the asker with these words."""
    with pytest.raises(WorkshopError, match=words) as caught:
        yield
    assert caught.value.is_mistake


async def test_an_event_is_tried_by_the_routes_that_run(tmp_path: Path) -> None:
    """Messages of the routes that fit, the reason of those that do not, and a test that expects the same; no Redis is asked."""
    workshop = workshop_of(configured(tmp_path, "redis://127.0.0.1:1/0"))
    tried = await workshop.try_event(Trial(source="feed", topic="events", payload={"n": 7}))
    assert tried.result == "fits"
    routes = {each.route: each for each in tried.routes}
    assert msgspec.json.decode(routes["small"].messages[0])["args"] == [7]
    assert (routes["large"].verdict, routes["large"].fits) == ("when", False)
    assert "payload.n is 7" in routes["large"].why
    (case,) = yaml.safe_load(tried.test)
    assert case["event"]["payload"] == {"n": 7}
    assert {"route": "small", "actor": "record", "queue": "default", "args": [7]} in case["expect"]
    dead = await workshop.try_event(Trial(source="feed", topic="events", body="{no json"))
    assert (dead.result, dead.dead_letter) == ("dead-letter", "decode")


async def test_a_dry_run_shows_no_substituted_value(tmp_path: Path) -> None:
    """Neither in messages, nor in the reason why a condition is false, nor in the test."""
    workshop = workshop_of(configured(tmp_path, "redis://127.0.0.1:1/0"))
    tried = await workshop.try_event(Trial(source="feed", topic="events", payload={"n": 7, "key": "guess"}))
    assert SECRET not in msgspec.json.encode(tried).decode()
    routes = {each.route: each for each in tried.routes}
    assert msgspec.json.decode(routes["secret"].messages[0])["kwargs"] == "***"
    assert routes["hidden"].why == "when: `payload.key == '***'` is false"


async def test_a_mistake_in_an_event_is_said_with_its_place(tmp_path: Path) -> None:
    """An unknown source with the known ones, a header of a protocol that has none, two bodies."""
    workshop = workshop_of(configured(tmp_path, "redis://127.0.0.1:1/0"))
    with mistake("there is no source 'x'; there are feed"):
        await workshop.try_event(Trial(source="x"))
    with mistake("headers"):
        await workshop.try_event(Trial(source="feed", topic="events", headers={"a": 1}))
    with mistake("one body"):
        await workshop.try_event(Trial(source="feed", topic="events", payload=1, body="1"))


async def test_the_answer_of_thousands_of_routes_is_bounded(tmp_path: Path) -> None:
    """200 routes are listed, 1 MiB of messages is shown; the others are counted, and no test of them is made."""
    many = [{**ROUTES[0], "name": f"r{number}", "args": ["$payload"]} for number in range(300)]
    workshop = workshop_of(configured(tmp_path, "redis://127.0.0.1:1/0", many))
    tried = await workshop.try_event(Trial(source="feed", topic="events", payload={"n": "x" * 100_000}))
    assert (len(tried.routes), tried.left_out) == (200, 100)
    assert sum(len(text) for each in tried.routes for text in each.messages) <= trials._MAX_MESSAGES
    assert tried.routes[-1].why == "1 of its 1 messages are not shown"
    assert (tried.test, tried.no_test) == ("", "a test of this event and its messages would be too large for the page")


def test_a_trial_shows_no_value_of_a_table_that_came_from_outside(tmp_path: Path) -> None:
    """The parts of a message that look up a table, as those that have such a value themselves; nor does an error."""
    path = tmp_path / "bridge.yaml"
    routes = [
        {"from": "feed", "actor": "call", "args": ['$lookup("t", "a")'], "kwargs": {"n": "$payload.n"}},
        {"from": "feed", "actor": "fail", "args": ['$int(lookup("t", "a"))']},
        {"from": "feed", "actor": "not", "when": 'lookup("t", "a") == "x"'},
    ]
    source = {
        "type": "redis-stream",
        "url": "redis://localhost",
        "streams": ["events"],
        "group": "bridge",
        "field": "data",
    }
    tables = {"t": {"values": {"a": "${SECRET}"}}}
    path.write_text(yaml.safe_dump({"sources": {"feed": source}, "tables": tables, "routes": routes}))
    tried = trials.TrialRun(load(str(path), environ={"SECRET": SECRET}), "feed").run(
        Trial(source="feed", topic="events", payload={"n": 1})
    )
    assert {one.route: one.verdict for one in tried.routes} == {"call": "message", "fail": "dead-letter", "not": "when"}
    assert '"args":"***"' in str(tried.routes)
    assert '"kwargs":{"n":1}' in str(tried.routes)
    assert SECRET not in str(tried)
