"""The taps of a process: the class of each event, what may be shown of it, and bounds that no event and no filter exceeds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.config import Config
from bridge.config.loading import load
from bridge.delivery.observers import Observers
from bridge.delivery.taps import Taps, check_names
from bridge.errors import BadEvent
from bridge.model.accounting import Outcome
from bridge.model.batch import Batch, DeadLetter, Written
from bridge.model.event import Event
from bridge.model.taps import MAX_TAPS, Dropped, Tap, TapFilter, TooManyTaps, UnknownTapName
from bridge.routing.compiler import compile_routes
from bridge.routing.router import make
from tests.support.admin import until

ROUTES: list[dict[str, Any]] = [
    {"name": "hot", "topic": "a/+", "actor": "alarm", "when": "payload.c > 250", "args": ["$payload.c"]},
    {"name": "log", "topic": "a/log", "actor": "note", "queue": "notes", "kwargs": {"all": "$payload"}},
    {"name": "need", "topic": "b/#", "actor": "greet", "args": ["$payload.name"]},
]
SHOWN = TapFilter(contents=True)


def _config(routes: list[dict[str, Any]] | None = None, **more: Any) -> Config:
    source = {"type": "mqtt", "url": "mqtt://localhost", "client_id": "c"}
    return Config.model_validate({
        "sources": {"s": source, "t": {**source, "client_id": "d"}},
        "routes": [{"from": "s", **route} for route in (ROUTES if routes is None else routes)],
        **more,
    })  # fmt: skip


class Process:
    """Routes batches, and shows them to taps."""

    def __init__(self, config: Config | None = None) -> None:
        self.observers = Observers()
        self.taps = Taps(self.observers)
        self.use(config or _config())

    def use(self, config: Config) -> None:
        """Run by this configuration."""
        tables = compile_routes(config)[0]
        self.router = make(config.sources["s"], tables["s"])
        self.taps.use(config, tables)

    def show(self, *events: Event, outcome: Outcome = Outcome.WRITTEN, **written: Any) -> Batch:
        """Route events, and show the batch with its outcome."""
        batch = Batch(list(events))
        self.router.route(batch)
        if written:
            batch.written = Written(messages=0, **written)
        self.observers.written(batch, outcome, redelivers=True)
        return batch


def _event(topic: str, payload: object = None, **more: Any) -> Event:
    body = payload if isinstance(payload, bytes) else json.dumps(payload or {}).encode()
    return Event("s", topic, body, 1_700_000_000_123, **{"size": len(body), **more})


def _lines(tap: Tap) -> list[dict[str, Any]]:
    return [json.loads(each) for each in tap.take(1 << 30) if isinstance(each, bytes)]


async def _test(tap: Tap) -> dict[str, Any]:
    """Return the next event as a test: a thread makes it."""
    await until(lambda: tap.waits)
    (line,) = _lines(tap)
    return line


def _dropped(tap: Tap) -> tuple[int, int, int]:
    taken = tap.take(1 << 30)
    dropped = [each for each in taken if isinstance(each, Dropped)]
    return len(taken) - len(dropped), sum(each.events for each in dropped), sum(each.unexamined for each in dropped)


async def test_nobody_is_called_while_nobody_taps() -> None:
    """The path of an event asks one attribute a batch; the routes for taps are compiled for the first one, and forgotten."""
    process = Process()
    assert list(process.observers.present) == []
    tap = await process.taps.open(SHOWN)
    assert list(process.observers.present) == [process.taps]
    process.taps.close(tap)
    process.taps.close(tap)
    assert list(process.observers.present) == []
    assert process.taps._lines is None


async def test_each_event_has_its_class() -> None:
    """By the words that the accounts have."""
    process = Process()
    tap = await process.taps.open(SHOWN)
    once = _event("a/log", {"c": 1}, token=1)
    process.show(_event("a/log", {"c": 300}), _event("a/x"), _event("c"), _event("b/1"), _event("a/x", b"{"))
    process.show(once, duplicate_indexes=[0])
    for outcome in (Outcome.SPOOLED, Outcome.RETURNED, Outcome.LOST):
        process.show(once, outcome=outcome)
    process.show(_event("a/log"), outcome=Outcome.LOST)
    lines = _lines(tap)
    assert [line["outcome"] for line in lines] == [
        *("enqueued", "filtered", "unmatched", "dead-lettered", "dead-lettered"),
        *("deduplicated", "spooled", "returned", "returned", "lost"),
    ]
    assert lines[5]["duplicate"] is True
    # Only messages that are in Redis by this write are shown.
    assert [len(line["messages"]) for line in lines] == [2, *[0] * 9]
    assert [message["actor"] for message in lines[0]["messages"]] == ["alarm", "note"]
    assert lines[0]["received_at"] == "2023-11-14T22:13:20.123Z"
    assert lines[3]["dead_letter"] == {
        "reason": "missing-field", "route": "need", "detail": "args.0: no field 'name' in `payload.name`"
    }  # fmt: skip
    assert "does not subscribe" in lines[2]["cause"]


async def test_a_half_that_was_written_is_so() -> None:
    """Of a batch that is spooled, or lost, while a part of it is in Redis already."""
    process = Process()
    tap = await process.taps.open(SHOWN)
    batch = Batch([_event("a/log", {"n": n}) for n in range(2)])
    process.router.route(batch)
    batch.halves = batch.split()
    batch.halves[0].written = Written(messages=1)
    process.observers.written(batch, Outcome.SPOOLED, redelivers=False)
    assert [line["outcome"] for line in _lines(tap)] == ["enqueued", "spooled"]


async def test_filters() -> None:
    """By source, topic and route: a route's events are those that its topic fits, whatever it made of them."""
    process = Process()
    names = {
        "all": TapFilter(), "other": TapFilter(source="t"), "own": TapFilter(source="s"),
        "glob": TapFilter(topic="a/*"), "hot": TapFilter(route="hot"), "both": TapFilter(route="hot", topic="*g"),
    }  # fmt: skip
    taps = {name: await process.taps.open(wanted) for name, wanted in names.items()}
    for _ in range(2):  # the second time by what is remembered
        process.show(_event("a/log"), _event("a/x", b"{"), _event("b/1"), _event("c"))
        assert {name: [line["topic"] for line in _lines(tap)] for name, tap in taps.items()} == {
            "all": ["a/log", "a/x", "b/1", "c"], "other": [], "own": ["a/log", "a/x", "b/1", "c"],
            "glob": ["a/log", "a/x"], "hot": ["a/log", "a/x"], "both": ["a/log"],
        }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "kind", "known"),
    [
        (TapFilter(source="x"), "source", ["s", "t"]),
        (TapFilter(route="x"), "route", ["hot", "log", "need"]),
        (TapFilter(source="t", route="hot"), "route of source t", []),
    ],
)
def test_unknown_names(wanted: TapFilter, kind: str, known: list[str]) -> None:
    """They are errors with the names that there are."""
    with pytest.raises(UnknownTapName) as unknown:
        check_names(wanted, _config())
    assert (unknown.value.kind, unknown.value.known) == (kind, known)


async def test_without_contents_no_value_is_shown() -> None:
    """Neither of the body, nor of headers, arguments, reasons or details."""
    process = Process()
    tap = await process.taps.open(TapFilter())
    secret = "s3cret-value"
    headers = {"x": secret}
    details = (headers, {"message_id": "m1", "reply_to": secret})
    for topic in ("a/log", "a/x", "b/1"):
        process.show(_event(topic, {"c": secret, "name": {"a": secret}}, raw=details))
        process.show(_event(topic, {"c": -987_654_321}, raw=details))
    lines = _lines(tap)
    assert len(lines) == 6
    assert secret not in str(lines)
    assert "987" not in str(lines)
    assert {line["message_id"] for line in lines} == {"m1"}
    assert {key for line in lines for route in line["routes"].values() for key in route} <= {"verdict", "why"}


async def test_contents_are_bounded() -> None:
    """Of a body 16 KiB, whole characters of it; large headers and arguments are left out with a word."""
    process = Process()
    tap = await process.taps.open(SHOWN)
    long = "é" * 10_000
    broken: Any = _raise
    process.show(
        _event("a/log", json.dumps({"x": long}, ensure_ascii=False).encode()),
        _event("a/log", b'"' + b"\xff" * 20_000),
        _event("a/log", {}, raw=({"h": "x" * 20_000}, {"correlation_id": "c"})),
        _event("a/log", {}, raw=({"h": b"\xff", "n": {"deep": [1, {"x": object}]}}, {})),
        _event("a/log", {}, raw=({"h": "\ud800"}, {})),
        _event("a/log", {}, read=broken),
        _event("a/" + "é" * 2000, {}),
    )
    one, two, three, four, five, six, seven = _lines(tap)
    assert one["body"] == ('{"x": "' + long)[: len(one["body"])]
    assert 16_380 <= len(one["body"].encode()) <= 16_384
    assert one["body_cut"] is True
    assert one["messages"][0]["arguments"] == "too large"
    assert len(two["body_base64"]) <= 22_000
    assert three["headers"] == five["headers"] == "too large, or no JSON can hold them"
    assert three["meta"] == {"correlation_id": "c"}
    assert four["headers"]["h"] == "/w=="
    assert six["headers_error"] == "the headers are broken"
    assert len(seven["topic"]) < 1100


def _raise(_: object) -> Any:
    raise BadEvent("decode", "the headers are broken")


async def test_an_event_that_ended_a_process_is_not_run_again() -> None:
    """It is shown as it is."""
    process = Process()
    tap = await process.taps.open(SHOWN)
    batch = Batch([_event("a/log", {})])
    batch.dead_letters.append((0, DeadLetter(batch.events[0], "poison", "it has ended 5 processes")))
    process.observers.written(batch, Outcome.WRITTEN, redelivers=True)
    (line,) = _lines(tap)
    assert line["cause"] == "it has ended a process before, and is not run again"
    assert line["dead_letter"]["reason"] == "poison"


async def test_redaction_holds_for_everything() -> None:
    """The body, headers, ids, arguments, reasons and details; what does not speak of the field is shown."""
    routes: list[dict[str, Any]] = [
        {"name": "card", "actor": "pay", "args": ["$payload.card"]},
        {"name": "plain", "actor": "count", "kwargs": {"n": "$payload.n"}},
        {"name": "which", "actor": "x", "when": "payload.card == 'other'"},
        {"name": "wrong", "actor": "x", "delay": "$payload.card"},
        {"name": "small", "actor": "x", "when": "payload.n > 5"},
    ]
    redact = ["payload.card", "headers.Authorization", "meta.correlation_id"]
    process = Process(_config(routes, dead_letters={"redact": redact}))
    tap, test = await process.taps.open(SHOWN), await process.taps.open(TapFilter(contents=True, as_test=True))
    details = ({"authorization": "Bearer s3cret", "x": "y"}, {"correlation_id": "s3cret-id"})
    process.show(_event("t", {"card": "4111-1111", "n": 2}, raw=details))
    (line,), as_test = _lines(tap), await _test(test)
    for each in (line, as_test):
        assert not {"4111", "s3cret"} & {word for word in ("4111", "s3cret") if word in str(each)}
    assert json.loads(line["body"]) == {"n": 2}
    assert line["headers"] == {"x": "y"}
    calls = {each["actor"]: each for each in line["messages"]}
    assert calls["pay"]["arguments"] == "redacted"
    assert calls["count"]["kwargs"] == {"n": 2}
    assert "why" not in line["routes"]["which"]
    assert "why" not in line["routes"]["wrong"]
    assert "payload.n is 2" in line["routes"]["small"]["why"]
    assert sorted(line["redacted"]) == ["headers.authorization", "meta.correlation_id", "payload.card"]


async def test_a_flood_is_counted_exactly() -> None:
    """Shown and dropped are all events that fit, of each tap; the time that all of them take is bounded."""
    process = Process()
    taps = [
        await process.taps.open(TapFilter(topic="a/*", contents=shown)) for shown in (False, True) for _ in range(4)
    ]
    events = [_event("a/log" if n % 2 else "c", {"n": n}) for n in range(1000)]
    begin = time.thread_time()
    for _ in range(20):
        process.show(*events)
    assert time.thread_time() - begin < 10
    for tap in taps:
        shown, dropped, unexamined = _dropped(tap)
        assert shown > 0
        assert (shown + dropped, unexamined) == (10_000, 0)


@pytest.mark.parametrize(("size", "kept"), [(1, 1000), (1 << 16, 16), (1 << 22, 1)])
def test_the_ring_has_a_bound_in_bytes(size: int, kept: int) -> None:
    """A reader that takes nothing leaves 1,000 lines, or 1 MiB and its last line; all others are counted."""
    tap = Tap(SHOWN)
    for _ in range(2000):
        tap.put(b"x" * size)
    taken = tap.take(1 << 30)
    assert taken == [b"x" * size] * kept + [Dropped(2000 - kept)]


async def test_comparisons_have_a_bound_too() -> None:
    """Of topics that are all new, and long, those that nobody has the time for are counted by themselves."""
    process = Process()
    tap = await process.taps.open(TapFilter(topic="*a" * 100))
    counts = [0, 0, 0]
    for batch in range(20):
        process.show(*[_event("b" * 900 + f"{batch}.{n}") for n in range(1000)])
        counts = [sum(pair) for pair in zip(counts, _dropped(tap), strict=True)]
    assert counts[:2] == [0, 0]
    assert 0 <= counts[2] <= 20_000


async def test_one_event_of_each_tap_is_shown_at_least() -> None:
    """Also where the others have taken the time of a batch."""
    process = Process()
    taps = [await process.taps.open(TapFilter(contents=n % 2 == 0, topic="*" * (n + 1))) for n in range(8)]
    process.show(*[_event("a/log", {"n": n}) for n in range(500)])
    assert all(_dropped(tap)[0] > 0 for tap in taps)


async def test_taps_are_bounded_in_number() -> None:
    """The ninth is refused; it takes no place."""
    process = Process()
    taps = [await process.taps.open(SHOWN) for _ in range(MAX_TAPS)]
    with pytest.raises(TooManyTaps):
        await process.taps.open(SHOWN)
    process.taps.close(taps[0])
    await process.taps.open(SHOWN)


async def test_a_reload_keeps_taps_and_ends_those_without_their_names() -> None:
    """With words; the routes of the new file explain from then on."""
    process = Process()
    kept, gone = await process.taps.open(SHOWN), await process.taps.open(TapFilter(route="need"))
    process.use(_config([{**ROUTES[0], "when": "payload.c > 0"}]))
    assert gone.end == ("reload", "a reload has removed the route 'need'")
    assert process.taps._compiling is not None
    process.show(_event("a/x", {"c": 1}))  # by the routes before
    await process.taps._compiling
    process.show(_event("a/x", {"c": 1}))
    before, after = _lines(kept)
    assert (before["routes"]["hot"]["verdict"], after["routes"]["hot"]["verdict"]) == ("when", "message")
    assert list(after["routes"]) == ["hot"]


async def test_a_fault_ends_the_taps_and_not_the_bridge() -> None:
    """One of an event, that event; any other, the taps with words, and the log has the traceback."""
    process = Process()
    tap = await process.taps.open(SHOWN)
    batch = Batch([_event("a/log"), _event("a/x")])
    column = batch.column("q")
    column.event_indexes.append(0)
    column.messages.append((b"id", b"no message"))
    process.observers.written(batch, Outcome.WRITTEN, redelivers=True)
    first, second = _lines(tap)
    assert first["cause"].startswith("a fault of the bridge: no line can be made of it")
    assert second["outcome"] == "filtered"
    batch.events[0] = None  # type: ignore[call-overload] # a fault
    with structlog.testing.capture_logs() as logs:
        process.observers.written(batch, Outcome.WRITTEN, redelivers=True)
    assert tap.end == ("failed", "a fault of the bridge: its log says more")
    assert [line["event"] for line in logs] == ["tap.failed"]
    assert list(process.observers.present) == []


async def test_values_of_the_environment_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A route may hold a secret by `${...}`: neither its arguments nor its reasons are shown then, and no test expects them."""
    secret = "s3cret-of-the-file"
    monkeypatch.setenv("KEY", secret)
    file = tmp_path / "bridge.yaml"
    source = {"type": "mqtt", "url": "mqtt://localhost", "client_id": "c"}
    routes = [
        {"name": "args", "from": "s", "topic": "a/#", "actor": "a", "args": ["${KEY}", "$payload.n"]},
        {"name": "when", "from": "s", "topic": "a/#", "actor": "b", "when": "payload.key == '${KEY}'"},
        {"name": "plain", "from": "s", "topic": "a/#", "actor": "c", "args": ["$payload.n"]},
    ]
    file.write_text(json.dumps({"sources": {"s": source}, "routes": routes}))
    process = Process(load(str(file)))
    tap, test = await process.taps.open(SHOWN), await process.taps.open(TapFilter(contents=True, as_test=True))
    process.show(_event("a/1", {"n": 1, "key": "x"}))
    (line,), as_test = _lines(tap), await _test(test)
    assert secret not in f"{line} {as_test}"
    assert {each["actor"]: each["args"] for each in line["messages"]} == {"a": "***", "c": [1]}
    assert line["routes"]["when"] == {"verdict": "when"}
    assert "tapped 1: s at 2023" in as_test["test"]


async def test_tests_are_made_beside_the_event_loop() -> None:
    """One after another; a hundred wait, and the others are dropped and counted. Those of a tap that ended are not made."""
    process = Process()
    tap, gone = [await process.taps.open(TapFilter(contents=True, as_test=True)) for _ in range(2)]
    process.taps.close(gone)
    process.show(*[_event("a/log", {"n": n}) for n in range(300)])
    shown = dropped = 0
    for _ in range(3):
        await until(lambda: tap.waits)
        counts = _dropped(tap)
        shown, dropped = shown + counts[0], dropped + counts[1]
    assert dropped == 200
    assert 0 < shown <= 100
    process.taps.close(tap)
    assert len(process.taps._tests._waiting) == 0
    assert process.taps._tests._size == 0


async def test_no_test_is_made_of_poison_and_of_large_events() -> None:
    """A comment says why."""
    process = Process()
    tap = await process.taps.open(TapFilter(contents=True, as_test=True))
    batch = Batch([_event("a/log", {})])
    batch.dead_letters.append((0, DeadLetter(batch.events[0], "poison", "it has ended 5 processes")))
    process.observers.written(batch, Outcome.WRITTEN, redelivers=True)
    assert (await _test(tap))["no_test"] == "it has ended a process before"
    process.show(_event("a/log", {"x": "y" * 20_000}))
    assert (await _test(tap))["no_test"] == "its body has more than 16384 bytes"


async def test_the_ids_of_large_events_are_redacted() -> None:
    """As those of others: an event that is not looked at shows none of its ids, in lines and as a test."""
    process = Process(_config(dead_letters={"redact": ["meta.correlation_id"]}))
    shown = await process.taps.open(SHOWN)
    tests = await process.taps.open(TapFilter(contents=True, as_test=True))
    process.show(_event("a/log", {"x": "y" * 100_000}, raw=({}, {"correlation_id": "4111-1111"})))
    (line,) = _lines(shown)
    assert "4111" not in f"{line}{await _test(tests)}"


@pytest.mark.parametrize("redact", [[], ["payload.card"]])
async def test_large_events_are_not_run_again(redact: list[str]) -> None:
    """It would take as long as the event itself; where fields are to be redacted nothing of it is shown."""
    process = Process(_config(dead_letters={"redact": redact}))
    tap = await process.taps.open(SHOWN)
    process.show(_event("a/log", {"card": "4111-1111", "x": "y" * 100_000}, raw=({"h": "z"}, {})))
    (line,) = _lines(tap)
    assert line["cause"] == "it is too large to be run again"
    assert line["messages"][0]["arguments"] == ("redacted" if redact else "too large")
    assert ("4111" in str(line)) is not bool(redact)
    assert line.get("headers") == (None if redact else {"h": "z"})
