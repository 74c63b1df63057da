"""A real event as a test: the YAML of an item of `tests:`, which holds for the routes as they are now."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from pydantic import ValidationError

from bridge.config import Config, SourceConfig
from bridge.config.cases import Case, CaseFile
from bridge.config.reader import parse
from bridge.config.substitution import Substitution
from bridge.config.units import spell_duration
from bridge.dry_run.comparison import compare, message_fields
from bridge.dry_run.events import described_event
from bridge.dry_run.results import Result
from bridge.dry_run.runs import DryRun
from bridge.errors import BadEvent, InvalidValue
from bridge.model.event import Event
from bridge.observe.log_fields import cut, escape
from bridge.routing.body_reader import Reader, route_kinds, source_kind
from bridge.routing.redaction import RedactedEvent
from bridge.routing.repair import Repairs

#: The last millisecond of the year 9999.
_LAST_MS: Final = 253_402_300_799_999
_WIDTH: Final = 110
#: Of an item, with and without `tests:` above: as the tutorial writes it, so that the text can be added to any file of tests.
_INDENT: Final = "  "
#: A larger body is written as one text, and arguments that are larger are not expected: YAML takes 10 us for each byte.
_MAX_READABLE: Final = 32 << 10
#: A test lists each message.
_MAX_MESSAGES: Final = 200
_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def as_test(config: Config, event: Event, name: str, dry_run: DryRun | None = None) -> str:
    """Return the event as an item of the list `tests:`, with all that today's routes make of it.

    The text is loaded and run here: it holds. Parts of a message that `${...}` has put there are not expected, since they
    may be secrets. Headers and properties that the protocol does not have are left out. `dry_run` is that of `config`, where the
    caller has it.

    Raises:
        InvalidValue: no test can have this event.
    """
    source = config.sources[event.source]
    dry_run = dry_run or DryRun(config)
    given = _given(event, source)
    problem: InvalidValue | None = None
    for body in _bodies(event, source):
        try:
            return _tried(config, dry_run, event, {"name": escape(cut(name)) or "an event", **_case(given, body)})
        except InvalidValue as error:
            problem = error
    raise problem or InvalidValue("no test can have this event")


def _tried(config: Config, dry_run: DryRun, event: Event, fields: dict[str, Any]) -> str:
    """Return the test with its expectations. Raises InvalidValue if it does not hold."""
    case = _loaded(_yaml([{**fields, "expect": []}], ""))
    now_ms = event.received_at_ms if case.now is None else case.now
    made = described_event(case.event, config.sources[event.source], Path(), now_ms)
    if made.topic != event.topic or not _is_same_payload(config, made, event):
        raise InvalidValue("the source would bring another event")
    result = dry_run.run(made, now_ms)
    if len(result.messages) > _MAX_MESSAGES:
        raise InvalidValue(f"a test of its {len(result.messages)} messages would be too large")
    text = _yaml([{**fields, **_expected(config, result, now_ms)}], _comment(event))
    case = _loaded(text)
    messages = [message_fields(one, now_ms) for one in result.messages]
    if differences := compare(case.expect or [], messages, config.actor_queues):
        raise InvalidValue(f"the test would not hold: {differences[0]}")
    return text


def _loaded(text: str) -> Case:
    document = parse(f"tests:\n{text}".encode("utf-8", "surrogatepass"), "tests", Substitution({}))
    if not document.complete or not document.flawless:
        raise InvalidValue("YAML can't hold this event")
    try:
        return CaseFile.model_validate(document.value, by_alias=True, by_name=False).tests[0]
    except ValidationError:
        raise InvalidValue("a test can't hold this event") from None


def _given(event: Event, source: SourceConfig) -> dict[str, Any]:
    """Return all of an event but its body, as a test writes it."""
    try:
        headers, meta = event.details()
    except BadEvent:
        headers, meta = {}, {}
    given: dict[str, Any] = {"from": event.source}
    if event.topic:
        given["topic"] = event.topic
    properties = source.traits.properties(source)

    def fits(headers: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
        try:
            properties.read(headers, meta)
        except InvalidValue:
            return False
        return True

    kept_headers = {key: value for key, value in headers.items() if fits({key: value}, {})}
    kept_meta = {
        key: _spelled(key, value)
        for key, value in meta.items()
        if value is not None and fits({}, {key: value}) and value != properties.meta[key].default
    }
    return (
        given
        | ({"headers": kept_headers} if kept_headers else {})
        | ({"meta": kept_meta} if kept_meta else {})
        | {"received_at": event.received_at_ms}
    )


def _spelled(name: str, value: object) -> object:
    return _time(value) if name == "timestamp" and isinstance(value, int) and 0 <= value <= _LAST_MS else value


def _bodies(event: Event, source: SourceConfig) -> Iterator[tuple[str, Any]]:
    """Yield the ways to write the body, the most readable first."""
    if len(event.body) <= _MAX_READABLE:
        with suppress(BadEvent):
            yield "payload", _payload(source, event)
    with suppress(UnicodeDecodeError):
        yield "body", event.body.decode()
    yield "payload_base64", base64.b64encode(event.body).decode()


def _payload(source: SourceConfig, event: Event) -> object:
    read = Reader(source_kind(source), Repairs.of(source)).read(event)
    if read.kind == "bytes":
        raise BadEvent("decode", "bytes are written in base64")
    if read.is_repaired:
        raise BadEvent("decode", "the body is written as it came: its repair is a part of the test")
    return read.payload


def _is_same_payload(config: Config, made: Event, event: Event) -> bool:
    source = config.sources[event.source]
    if made.body == event.body:
        return True
    if route_kinds(config, event.source):
        return False  # another format may show the difference
    try:
        # As JSON: 1, 1.0 and true are equal for Python.
        payloads = [msgspec.json.encode(_payload(source, one), order="sorted") for one in (made, event)]
    except (BadEvent, ValueError, TypeError, RecursionError):
        return False
    return payloads[0] == payloads[1]


def _case(given: Mapping[str, Any], body: tuple[str, Any]) -> dict[str, Any]:
    event = dict(given)
    received_at = event.pop("received_at")
    topic = {key: event.pop(key) for key in ("from", "topic") if key in event}
    now = {"now": _time(received_at)} if 0 <= received_at <= _LAST_MS else {}
    return {**now, "event": {**topic, body[0]: body[1], **event}}


def _time(milliseconds: int) -> str:
    time = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    return time.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds").removesuffix("+00:00") + "Z"


def _expected(config: Config, result: Result, now_ms: int) -> dict[str, Any]:
    routes = {route.name: route for route in config.routes}
    messages = []
    for one in result.messages:
        fields = message_fields(one, now_ms)
        route = routes[one.route]
        left_out = route.hidden
        fields["then"] = [_step(step, is_named=route.then[at].message_id is not None)
                          for at, step in enumerate(fields["then"])]  # fmt: skip
        if len(msgspec.json.encode([fields["args"], fields["kwargs"], fields["then"]])) > _MAX_READABLE:
            left_out |= {"args", "kwargs", "then"}
        kept = {key: value for key, value in fields.items() if key not in left_out}
        if kept.get("delay") is not None:
            kept["delay"] = spell_duration(kept["delay"])
        messages.append({key: value for key, value in kept.items() if value not in (None, {}, [])})
    letters = [
        {"reason": letter.reason, **({} if route is None else {"route": route})}
        for letter, route in result.dead_letters
    ]
    expected: dict[str, Any] = {"expect": messages} if messages or not letters else {}
    if letters:
        expected["expect_dead_letter"] = letters[0] if len(letters) == 1 else letters
    if counts := {name: count for name, count in result.counts.items() if count}:
        expected["expect_counts"] = counts
    return expected


def _step(step: Mapping[str, Any], *, is_named: bool) -> dict[str, Any]:
    """Return a step as a test expects it; an id that is new in each run is none of it."""
    kept = {name: value for name, value in step.items() if value not in (None, {}, [], False)}
    if not is_named:
        del kept["message_id"]
    if "delay" in kept:
        kept["delay"] = spell_duration(kept["delay"])
    return kept


def _comment(event: Event) -> str:
    if isinstance(event, RedactedEvent) and event.redacted:
        return f"# without {escape(cut(', '.join(event.redacted)))}, by dead_letters.redact\n"
    return ""


def _yaml(cases: list[dict[str, Any]], comment: str) -> str:
    # YAML escapes no mark that turns a line of text around: such an event is written in ASCII.
    for allow_unicode in (True, False):
        text: str = yaml.dump(
            _without_references(cases),
            Dumper=_DUMPER,
            sort_keys=False,
            allow_unicode=allow_unicode,
            width=_WIDTH,
            default_flow_style=False,
        )
        if text.replace("\n", "").isprintable():
            break
    return "".join(f"{_INDENT}{line}\n" for line in (comment + text).rstrip("\n").split("\n"))


def _without_references(value: Any) -> Any:
    """Return a value whose texts have no `${...}` that would be replaced, and no two parts that are one object: no anchors."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: _without_references(item) for key, item in value.items()}
    return [_without_references(item) for item in value] if isinstance(value, (list, tuple)) else value
