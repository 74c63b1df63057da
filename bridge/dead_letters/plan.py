"""The outcome of a retry: messages by today's routes, new letters of the routes that fail, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from bridge.config import Config
from bridge.config.source_model import DeduplicatedSource
from bridge.dead_letters.letters import Letter
from bridge.errors import BadEvent, BridgeError
from bridge.model.batch import DeadLetter
from bridge.model.event import Event, already_parsed
from bridge.model.message import Gate, MessageIds
from bridge.routing import router
from bridge.routing.compiler import compile_routes
from bridge.routing.expressions.lists import flatten
from bridge.routing.payloads import payload_of, readable
from bridge.routing.repair import DroppedBody
from bridge.routing.route_function import ASKED
from bridge.routing.routes import ROUTE_ERRORS, Matches, Route
from bridge.sink.dead_letters import DEAD_LETTER_VERSION
from bridge.topics.mismatch import mismatch


class Refused(BridgeError):
    """A letter that can't be retried, and stays as it is; `reason` is for machines."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Plan:
    """The outcome of a letter's event: each message, with its route, queue, redis_message_id, body and gate; new letters.

    `seen_prefix` and `seen_key` name the key that remembers the routes which are written, "" without `deduplicate`; a key
    that is there is kept for `lifetime_ms`, one that is not for `new_lifetime_ms`.
    """

    event: Event
    messages: list[tuple[str, str, bytes, bytes, Gate | None]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    seen_prefix: str = ""
    seen_key: bytes = b""
    lifetime_ms: int = 0
    new_lifetime_ms: int = 0


class RedactedValue:
    """Stands for a value that was removed: a route that does anything with it reads a redacted field."""

    def __init__(self) -> None:
        self.was_read = False

    def read(self, *_: object) -> NoReturn:
        """Raise BadEvent."""
        self.was_read = True
        raise BadEvent("missing-field", "a redacted field is read")

    @property  # type: ignore[misc]
    def __class__(self) -> type[RedactedValue]:
        """Note that somebody asks for its type, to say that it is of a wrong one."""
        self.was_read = True
        return RedactedValue

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = read
    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = __hash__ = __index__ = read
    __str__ = __repr__ = __format__ = __int__ = __float__ = read
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = read


def _asked(value: object) -> object:
    """Return a value that is asked whether it is null, true or false."""
    if type(value) is RedactedValue:
        value.read()
    return value


def _flatten(value: object) -> list[object]:
    """`flatten(list)`: a removed value may have been a list."""
    for element in value if type(value) is list else ():
        _asked(element)
    return flatten(value)


#: The functions that ask for no more than a value's identity or type, which a RedactedValue does not notice.
_ASKING: Final = {ASKED: _asked, "_flatten": _flatten}


class Planner:
    """Makes the plans of letters by the routes of `config`, which have no mistakes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tables = compile_routes(config, expires=False, others=_ASKING)[0]
        self._routers = {name: router.make(config.sources[name], table) for name, table in self._tables.items()}
        self._sources = {str(route.name): route.source for route in config.routes}

    def plan(self, letter: Letter, ids: MessageIds, route: str | None = None, *, as_is: bool = False) -> Plan:
        """Return the plan of a letter: by `route`; or by all of today's with `as_is`; or else by the route that failed.

        Raises:
            Refused: the letter can't be retried so.
        """
        self._check(letter)
        name = route if route is not None else ("" if as_is else letter.route)
        matches = self._matches(letter, name)
        event, secret = letter.event(self._config), RedactedValue()
        plan = Plan(event)
        try:
            payload = self._routers[letter.source].payload(event)
        except DroppedBody as error:
            raise Refused("filtered", f"nothing would be written: {error.detail}") from None
        except BadEvent as error:
            if error.reason == "invalid" and any(path.startswith("payload.") for path in letter.redacted):
                what = "the schema of its source can't be asked without the fields that were redacted"
                raise Refused("redacted", f"{what}: {error.detail}") from None
            plan.letters.append(DeadLetter(event, error.reason, error.detail, name))
            return plan
        self._run(plan, matches, _restored(event, payload, letter, secret), payload, ids, secret, letter.redacted)
        if not plan.messages and not plan.letters:
            of = f"`when` of the route {name} is false" if name else "every fitting route's `when` is false"
            raise Refused("filtered", f"{of} today: nothing would be written")
        self._deduplicate(plan, _restored(event, payload, letter, secret), payload, secret, ids.now_ms)
        return plan

    def _check(self, letter: Letter) -> None:
        """Refuse a letter whose event is not known as it was."""
        if letter.version > DEAD_LETTER_VERSION:
            raise Refused(
                "newer", "a newer version has written it: retry it with that version, this one may lose a part of it"
            )
        if letter.source not in self._tables:
            raise Refused("no-source", f"the configuration has no source {letter.source or '(none)'}")
        if "payload" in letter.redacted:
            raise Refused("redacted", "its body was left out by dead_letters.redact: nobody can retry it")
        if letter.body_cut:
            sizes = f"{len(letter.body)} of its {letter.body_size} bytes are here"
            raise Refused("cut", f"its body was cut, {sizes}: it can't be retried")
        if letter.topic_cut:
            raise Refused("cut", "its topic was cut: it can't be retried")

    def _matches(self, letter: Letter, name: str) -> Matches:
        """Return the routes that a retry goes through."""
        table = self._tables[letter.source]
        source = self._config.sources[letter.source]
        if not name:
            matches = table.matches(letter.topic)
            if not matches:
                raise Refused("unmatched", f"no route's topic fits {letter.topic[:200]!r} today")
        else:
            if name not in self._sources:
                raise Refused("no-route", f"the configuration has no route {name}; take another, or --as-is for all")
            if self._sources[name] != letter.source:
                raise Refused("no-route", f"the route {name} is one of the source {self._sources[name]}")
            matches = tuple(match for match in table.matches(letter.topic) if match[0].name == name)
            if not matches:
                (route,) = (one for one in table.routes if one.name == name)
                text = "" if route.pattern is None else route.pattern.text
                why = mismatch(source.traits.topics, text, letter.topic) if text else "it is too long"
                raise Refused("unmatched", f"the topic does not fit that of the route {name} today: {why}")
        if letter.details_error:
            reader = next((match[0] for match in matches if _reads_details(match[0])), None)
            if reader is not None:
                why = f"the route {reader.name} reads headers or meta, and not all are here: {letter.details_error}"
                raise Refused("cut", why)
        return matches

    def _run(  # noqa: PLR0917 - the arguments of a route
        self,
        plan: Plan,
        matches: Matches,
        event: Event,
        payload: object,
        ids: MessageIds,
        secret: RedactedValue,
        redacted: Sequence[str],
    ) -> None:
        is_taken = False
        for route, captures in matches:
            if route.otherwise and is_taken:
                continue
            if any(path.startswith("payload.") for path in redacted) and _reads_as_text(route, payload):
                detail = f"the route {route.name} reads the body as text, of which fields were redacted"
                raise Refused("redacted", detail)
            try:
                for message in route.messages(event, payload, captures, ids) or ():
                    plan.messages.append((route.name, message.queue, message.id, message.body, message.gate))
            except ROUTE_ERRORS as error:
                if event is not plan.event and "RedactedValue" in str(error):
                    secret.was_read = True  # JSON can't hold it
                cause = route.dead_letter_reason(error)
                if cause is not None:
                    plan.letters.append(DeadLetter(plan.event, cause.reason, cause.detail, route.name))
            if secret.was_read:
                raise Refused("redacted", f"the route {route.name} reads a field that was redacted")
            if not route.otherwise:  # these stand behind all others
                is_taken = bool(plan.messages or plan.letters)

    def _deduplicate(self, plan: Plan, event: Event, payload: object, secret: RedactedValue, now_ms: int) -> None:
        source, deduplication = self._config.sources[event.source], self._tables[event.source].deduplication
        if deduplication is None or not isinstance(source, DeduplicatedSource) or source.deduplicate is None:
            return
        deduplication.try_mark(event, payload)
        if secret.was_read:
            raise Refused("redacted", "the deduplication key of its source reads a field that was redacted")
        if event.write_once is None:
            return
        within_ms = source.deduplicate.within
        plan.seen_prefix, plan.seen_key = f"{event.source}:", event.deduplication_key
        plan.lifetime_ms = within_ms
        # An event that comes again within the rest of its time is a duplicate; later its key may mean another event.
        plan.new_lifetime_ms = max(0, min(within_ms, event.received_at_ms + within_ms - now_ms))


def _reads_details(route: Route) -> bool:
    return any(not expression.names.isdisjoint(("headers", "meta")) for _, expression in route.source_map.values())


def _reads_as_text(route: Route, payload: object) -> bool:
    """Tell whether the route's payload is all of the body, in which nothing stands for a removed field."""
    if all("payload" not in expression.names for _, expression in route.source_map.values()):
        return False
    try:
        return isinstance(payload_of(route.decode, payload), str)
    except BadEvent:
        return False


def _restored(event: Event, payload: object, letter: Letter, secret: RedactedValue) -> Event:
    """Put `secret` into the payload wherever a field was removed; return the event with it in headers and meta."""
    if not letter.redacted:
        return event
    headers, meta = map(dict, event.details())
    roots: dict[str, list[Any]] = {"payload": list(readable(payload)), "headers": [headers], "meta": [meta]}
    for path in letter.redacted:
        root, *names = path.split(".")
        for node in roots.get(root, ()) if names else ():
            for place, name in list(_places(node, names)):
                place.setdefault(name, secret)
    return Event(
        event.source,
        event.topic,
        event.body,
        event.received_at_ms,
        raw=(headers, meta),
        read=already_parsed,
        size=event.size,
        grown=event.grown,
    )


def _places(node: Any, names: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the mappings from which a field may have been removed, each with the field's name; a name may have dots."""
    # Not isinstance: a RedactedValue that stands there already would take that for a read.
    if type(node) is list:
        for item in node:
            yield from _places(item, names)
    elif type(node) is dict:
        deeper = [
            place
            for count in range(1, len(names))
            if (name := ".".join(names[:count])) in node
            for place in _places(node[name], names[count:])
        ]
        yield from deeper or [(node, ".".join(names))]
