"""The traces of events: which headers are read, and what routes write into messages."""

from __future__ import annotations

import ast
import json
import re
import string
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan

from bridge.config import Config
from bridge.errors import BadEvent
from bridge.model.batch import Batch, BatchSequence
from bridge.model.event import Event
from bridge.routing import router as routing
from bridge.routing import tracing
from bridge.routing.compiler import compile_routes
from bridge.routing.router import Router, make
from bridge.routing.spans import WriteSpan
from bridge.routing.trace_headers import (
    InvalidTrace,
    Trace,
    combined,
    read_baggage,
    read_traceparent,
    read_tracestate,
)
from tests.support.routing import MQTT, event

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID: Final = "b7ad6b7169203331"
TRACEPARENT: Final = f"00-{TRACE_ID}-{SPAN_ID}-01"
RESET: Final = {"trace_context": {"baggage": "trace=none"}}
HEX: Final = "0123456789abcdef"


def traced_router(*routes: dict[str, Any], propagate: tuple[str, ...] = ("w3c",), **settings: Any) -> Router:
    """Return a router whose messages carry traces in these forms."""
    source = settings.pop("source", MQTT)
    config = Config.model_validate({
        "tracing": {"propagate": list(propagate), **settings},
        "sources": {"s": source},
        "routes": [{"from": "s", "actor": "a", **route} for route in routes or ({},)],
    })  # fmt: skip
    return make(config.sources["s"], compile_routes(config)[0]["s"])


def options(router: Router, *events: Event) -> list[dict[str, Any]]:
    """Return the options of each message of these events, without the redis_message_id."""
    batch = Batch(list(events))
    router.route(batch)
    assert batch.dead_letters == []
    found = [json.loads(body)["options"] for column in batch.queues.values() for _, body in column.messages]
    for each in found:
        assert each.pop("redis_message_id")
    return found


def with_headers(**headers: object) -> Event:
    """Return an event with these headers."""
    return event("t", raw=(headers, {}))


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (TRACEPARENT, "01"),
        (f"00-{TRACE_ID}-{SPAN_ID}-00", "00"),
        (f"00-{TRACE_ID}-{SPAN_ID}-03", "03"),
        (f"00-{TRACE_ID}-{SPAN_ID}-ff", "ff"),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01", "01"),
        (f"cc-{TRACE_ID}-{SPAN_ID}-02", "00"),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-", "01"),
        (f"01-{TRACE_ID}-{SPAN_ID}-fd-what.the/future-will-be", "01"),
        (f"fe-{TRACE_ID}-{SPAN_ID}-01-{'x' * (512 - 56)}", "01"),
    ],
)
def test_a_traceparent_is_read(text: str, flags: str) -> None:
    """Version 00 as it stands; of a newer one the ids and whether it is sampled, which are written as version 00."""
    trace = read_traceparent(text)
    assert trace == Trace(TRACE_ID, SPAN_ID, flags)
    assert trace.traceparent == f"00-{TRACE_ID}-{SPAN_ID}-{flags}"
    assert trace.sampled == (int(flags, 16) % 2 == 1)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (None, "it is no text"),
        (1, "it is no text"),
        (TRACEPARENT.encode(), "it is no text"),
        ([TRACEPARENT], "it is no text"),
        ("", "lower-case digits"),
        (TRACEPARENT.upper(), "lower-case digits"),
        (f" {TRACEPARENT}", "lower-case digits"),
        (f"{TRACEPARENT}\n", "lower-case digits"),
        (f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01", "lower-case digits"),
        (f"00-{TRACE_ID}-{SPAN_ID}", "lower-case digits"),
        (f"00-{TRACE_ID}-{SPAN_ID}-1", "lower-case digits"),
        (f"00-{TRACE_ID}-{SPAN_ID}-0x", "lower-case digits"),
        (f"00-{TRACE_ID}-{SPAN_ID}-01x", "lower-case digits"),
        (f"00-{TRACE_ID[:-1]}\u0661-{SPAN_ID}-01", "lower-case digits"),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01.more", "lower-case digits"),
        (f"{TRACEPARENT},{TRACEPARENT}", "there are several of them"),
        (f"{TRACEPARENT}-", "version 00 has 55 characters"),
        (f"{TRACEPARENT}-more", "version 00 has 55 characters"),
        (f"ff-{TRACE_ID}-{SPAN_ID}-01", "there is no version ff"),
        (f"00-{'0' * 32}-{SPAN_ID}-01", "an id is all zeros"),
        (f"00-{TRACE_ID}-{'0' * 16}-01", "an id is all zeros"),
        (f"cc-{TRACE_ID}-{'0' * 16}-01", "an id is all zeros"),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-{'x' * 457}", "longer than 512 characters"),
    ],
)
def test_a_malformed_traceparent_is_refused(value: object, cause: str) -> None:
    """With its cause, and without its value: that is any publisher's."""
    with pytest.raises(InvalidTrace, match=re.escape(cause)):
        read_traceparent(value)


def reference(text: str) -> tuple[str, str, bool] | None:
    """Read a traceparent as the recommendation's sections 3.2 and 4.3 say in prose, character by character."""
    fields = (text[:2], text[3:35], text[36:52], text[53:55])
    if len(text) < 55 or len(text) > 512 or any(text[at] != "-" for at in (2, 35, 52)):
        return None
    if any(char not in HEX for part in fields for char in part):
        return None
    version, trace_id, span_id, flags = fields
    if version == "ff" or set(trace_id) == {"0"} or set(span_id) == {"0"}:
        return None
    if len(text) > 55 and (version == "00" or text[55] != "-" or "\n" in text):
        return None
    return trace_id, span_id, flags[1] in "13579bdf"


_NEAR = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["00", "00", "01", "cc", "ff", "0", "0G"]),
        st.sampled_from(["-", "-", "-", "_", ""]),
        st.one_of(st.text(HEX, min_size=32, max_size=32), st.just("0" * 32), st.text(HEX + "gA", max_size=33)),
        st.sampled_from(["-", "-", "-", " "]),
        st.one_of(st.text(HEX, min_size=16, max_size=16), st.just("0" * 16)),
        st.just("-"),
        st.text(HEX, min_size=1, max_size=2),
        st.sampled_from(["", "", "-", "-x", "x", " ", ","]),
    ),
)


@given(st.one_of(_NEAR, st.text(HEX + "-", max_size=60), st.text(max_size=60)))
def test_a_traceparent_is_read_as_the_recommendation_says(text: str) -> None:
    """The same texts are refused, and of the others the same ids and flag come out, as by a reading of its prose."""
    try:
        trace = read_traceparent(text)
    except InvalidTrace:
        assert reference(text) is None
    else:
        assert reference(text) == (trace.trace_id, trace.span_id, trace.sampled)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", ""),
        (",", ""),
        ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
        ("rojo=1, congo=2\t,\t,a@b=3", "rojo=1,congo=2,a@b=3"),
        ("1a@b=x", "1a@b=x"),
        (f"{'a' * 256}={'x' * 255}", f"{'a' * 256}={'x' * 255}"),
        (f"a_-*/0= {string.punctuation.replace(',', '').replace('=', '')}", None),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
    ],
)
def test_a_tracestate_is_read(text: str, read: str | None) -> None:
    """Its members, without spaces around them and without empty ones."""
    assert read_tracestate(text) == (text if read is None else read)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (1, "it is no text"),
        ("rojo", "a member is no key and value"),
        ("rojo=", "a member is no key and value"),
        ("=1", "a member is no key and value"),
        ("Rojo=1", "a member is no key and value"),
        ("1a=1", "a member is no key and value"),
        ("a=b=c", "a member is no key and value"),
        ("a@1b=c", "a member is no key and value"),
        ("a=é", "a member is no key and value"),
        ("a=b\x00", "a member is no key and value"),
        (f"{'a' * 257}=x", "a member is no key and value"),
        (f"a={'x' * 257}", "a member is no key and value"),
        (f"a={'x' * 200},b={'x' * 200},c={'x' * 200}", "longer than 512 characters"),
        (",".join(f"k{n}=v" for n in range(33)), "more than 32 members"),
    ],
)
def test_a_malformed_tracestate_is_left_out_alone(value: object, cause: str) -> None:
    """The trace itself goes on; the event is counted."""
    with pytest.raises(InvalidTrace, match=re.escape(cause)):
        read_tracestate(value)
    router = traced_router()
    batch = Batch([with_headers(traceparent=TRACEPARENT, tracestate=value)])
    assert router.route(batch).invalid_traces == 1
    assert options(router, *batch.events) == [{"traceparent": TRACEPARENT}]


@pytest.mark.parametrize("text", ["a=1", "a=1;p;q=2", "a = 1 ; p , b=%20", "", f"a={'x' * 8190}"])
def test_a_baggage_is_read(text: str) -> None:
    """Members with properties, and spaces around the signs."""
    assert read_baggage(text) == ",".join(part.strip() for part in text.split(","))


@pytest.mark.parametrize(
    "value", [None, "a", "a b=1", "=1", 'a="1"', "a=é", "a=1\n", f"a={'x' * 8191}", ",".join(["a=1"] * 181)]
)
def test_a_malformed_baggage_is_refused(value: object) -> None:
    """Also one beyond the recommendation's bounds: 8,192 bytes and 180 members."""
    with pytest.raises(InvalidTrace):
        read_baggage(value)


def test_w3c_is_two_flat_options() -> None:
    """`traceparent` and `tracestate`, the second where the event has one; an event without a trace has neither."""
    router = traced_router()
    events = [
        with_headers(traceparent=TRACEPARENT, tracestate='a="\\ b', baggage="b=1"),
        with_headers(),
        with_headers(traceparent=TRACEPARENT),
    ]
    assert options(router, *events) == [
        {"traceparent": TRACEPARENT, "tracestate": 'a="\\ b'},
        {},
        {"traceparent": TRACEPARENT},
    ]


@pytest.mark.parametrize(("flags", "sampled"), [("01", "1"), ("00", "0"), ("03", "1"), ("02", "0")])
def test_sentry_is_a_mapping_of_headers(flags: str, sampled: str) -> None:
    """In Sentry's own form; an event without a trace has no option."""
    router = traced_router(propagate=("sentry",))
    found = options(router, with_headers(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-{flags}", baggage="b=1"), with_headers())
    assert found == [{"_sentry_headers": {"sentry-trace": f"{TRACE_ID}-{SPAN_ID}-{sampled}"}}, {}]


def test_the_instrumentors_carrier_is_on_every_message() -> None:
    """Without a trace it is one that no trace comes of."""
    router = traced_router(propagate=("otel-instrumentor",))
    events = [with_headers(traceparent=TRACEPARENT, tracestate="a=1"), with_headers(), with_headers(traceparent="x")]
    carrier = {"traceparent": TRACEPARENT, "tracestate": "a=1"}
    assert options(router, *events) == [{"options": {"trace_context": carrier}}, {"options": RESET}, {"options": RESET}]


def test_baggage_goes_on_where_it_is_asked_for() -> None:
    """With its trace, in the forms that have a place for it; a malformed one is left out alone, and counted."""
    router = traced_router(propagate=("w3c", "sentry", "otel-instrumentor"), baggage=True)
    events = [with_headers(traceparent=TRACEPARENT, baggage=each) for each in ("a=1, b=2;p", "a")]
    assert options(router, *events) == [
        {
            "traceparent": TRACEPARENT,
            "_sentry_headers": {"sentry-trace": f"{TRACE_ID}-{SPAN_ID}-1", "baggage": "a=1,b=2;p"},
            "options": {"trace_context": {"traceparent": TRACEPARENT, "baggage": "a=1,b=2;p"}},
        },
        {
            "traceparent": TRACEPARENT,
            "_sentry_headers": {"sentry-trace": f"{TRACE_ID}-{SPAN_ID}-1"},
            "options": {"trace_context": {"traceparent": TRACEPARENT}},
        },
    ]
    assert router.route(Batch(events)).invalid_traces == 1


@pytest.mark.parametrize(
    "route",
    [
        {},
        {"options": {"max_retries": 3}},
        {"options": {"max_retries": 3, "x": "$payload.x"}},
        {"delay": "10s"},
        {"delay": "$payload.ms", "options": {"x": "$payload.x"}},
        {"args": "$payload.args", "kwargs": "$payload.kwargs"},
    ],
)
def test_every_kind_of_route_writes_traces(route: dict[str, Any]) -> None:
    """Beside its own options, the delay's eta, and those that an expression gives; nothing else of a message changes."""
    body = b'{"x":"y","ms":5,"args":[1],"kwargs":{"k":2}}'
    headers = {"traceparent": TRACEPARENT}
    (traced,), (plain,) = (
        options(traced_router(route, propagate=forms), event("t", body, raw=(headers, {}))) for forms in (("w3c",), ())
    )
    assert traced.pop("traceparent") == TRACEPARENT
    for each in (traced, plain):
        each.pop("eta", None)
    assert traced == plain


@pytest.mark.parametrize(
    ("own", "rest"),
    [
        ({"traceparent": "$payload.t"}, {"_sentry_headers", "options"}),
        ({"tracestate": "mine=1"}, {"_sentry_headers", "options"}),
        ({"_sentry_headers": {}}, {"traceparent", "options"}),
        ({"options": {"mine": "$payload.t"}}, {"traceparent", "_sentry_headers"}),
        ({"traceparent": "a", "_sentry_headers": {}, "options": {}}, set()),
    ],
)
def test_an_option_of_the_route_wins(own: dict[str, Any], rest: set[str]) -> None:
    """The form that has an option of this name is left out of the route's messages, and no option stands twice."""
    router = traced_router({"options": own}, propagate=("w3c", "sentry", "otel-instrumentor"))
    batch = Batch([event("t", b'{"t":"mine"}', raw=({"traceparent": TRACEPARENT}, {}))])
    router.route(batch)
    ((_, body),) = batch.queues["default"].messages
    found = json.loads(body, object_pairs_hook=_unique)["options"]
    assert found.keys() - {"redis_message_id"} == own.keys() | rest
    for name, value in own.items():
        assert json.dumps(found[name]) == json.dumps(value).replace("$payload.t", "mine")


@pytest.mark.parametrize("extra", [{}, {"args": ["$payload.x"]}])
def test_each_message_of_a_pipeline_has_the_trace(extra: dict[str, Any]) -> None:
    """Its later steps are messages of their own: a worker enqueues them as they stand. An option of a step wins there alone."""
    last = {"actor_name": "c", "options": {"traceparent": "mine", "max_retries": 1}}
    target = {"actor_name": "b", "options": {"pipe_target": last}, **extra}
    callbacks = [{"actor_name": "d"}, {"actor_name": "e", "options": {"options": {}}}]
    route = {"options": {"pipe_target": target, "group_completion_callbacks": callbacks}}
    router = traced_router(route, propagate=("w3c", "otel-instrumentor"))
    body = b'{"x":"y"}'
    traced, plain = options(router, event("t", body, raw=({"traceparent": TRACEPARENT}, {})), event("t", body))
    carrier = {"trace_context": {"traceparent": TRACEPARENT}}
    for found, trace, reset in ((traced, {"traceparent": TRACEPARENT}, carrier), (plain, {}, RESET)):
        step = found["pipe_target"]
        assert step["queue_name"] == "default"
        assert {**step["options"], "pipe_target": 0} == {**trace, "options": reset, "pipe_target": 0}
        assert step["options"]["pipe_target"]["options"] == {"traceparent": "mine", "max_retries": 1, "options": reset}
        first, second = found["group_completion_callbacks"]
        assert first["options"] == {**trace, "options": reset}
        assert second["options"] == {**trace, "options": {}}


def test_a_pipeline_needs_no_trace_of_its_first_message() -> None:
    """Where the route's own options win, the later steps still have the trace of their event, and not of the one before."""
    route = {"options": {"traceparent": "mine", "pipe_target": {"actor_name": "b"}}}
    router = traced_router(route)
    events = [with_headers(traceparent=TRACEPARENT), with_headers(), with_headers(traceparent=TRACEPARENT)]
    found = [each["pipe_target"]["options"] for each in options(router, *events)]
    assert found == [{"traceparent": TRACEPARENT}, {}, {"traceparent": TRACEPARENT}]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


@pytest.mark.parametrize("name", ["Traceparent", "TRACEPARENT", "traceParent"])
def test_names_are_exact(name: str) -> None:
    """Brokers do not change the case of a name: another one is another header."""
    router = traced_router()
    batch = Batch([with_headers(**{name: TRACEPARENT})])
    assert router.route(batch).invalid_traces == 0
    assert options(router, *batch.events) == [{}]


@pytest.mark.parametrize("value", ["x", 1, None, b"", {"a": 1}, "00-" + "0" * 32 + f"-{SPAN_ID}-01"])
def test_a_malformed_trace_costs_no_message(value: object) -> None:
    """It is left out; the event is counted once, however many routes it has, and the next one keeps its own trace."""
    router = traced_router({}, {"name": "b"})
    batch = Batch([with_headers(traceparent=value), with_headers(traceparent=TRACEPARENT)])
    counts = router.route(batch)
    assert (counts.enqueued, counts.dead_lettered) == (2, 0)
    assert counts.invalid_traces == (value is not None)
    assert options(router, *batch.events) == [{}, {}, {"traceparent": TRACEPARENT}, {"traceparent": TRACEPARENT}]


def test_headers_that_cannot_be_read_cost_no_message() -> None:
    """A route that uses none of them still makes its message; the event is counted."""

    def unreadable(_raw: Any) -> Any:
        raise BadEvent("decode", "a property can't be read")

    batch = Batch([event("t", read=unreadable)])
    counts = traced_router().route(batch)
    assert (counts.enqueued, counts.invalid_traces, batch.dead_letters) == (1, 1, [])


def test_an_event_that_comes_again_is_read_again() -> None:
    """Its object may be in a second batch, by another router of the same routes, or of others."""
    again = with_headers(traceparent="x")
    router = traced_router()
    assert [router.route(Batch([again])).invalid_traces for _ in range(2)] == [1, 1]


def test_a_trace_is_read_only_for_a_message() -> None:
    """An event that a route's `when` drops costs no look at its headers, and its trace is not counted."""
    router = traced_router({"when": "payload.x == 1"})
    batch = Batch([event("t", b'{"x":2}', raw=({"traceparent": "x"}, {}))])
    counts = router.route(batch)
    assert (counts.filtered, counts.invalid_traces) == (1, 0)


def test_an_entry_without_a_chosen_field_has_its_trace_among_its_fields() -> None:
    """A stream without `field` makes its payload of all fields, and its events have no headers."""
    source = {"type": "redis-stream", "url": "redis://localhost", "streams": ["t"], "group": "g"}
    router = traced_router({"args": ["$payload.n"]}, source=source)
    events = [event("t", json.dumps({"n": "1", "traceparent": each}).encode()) for each in (TRACEPARENT, "x")]
    assert options(router, *events) == [{"traceparent": TRACEPARENT}, {}]


def test_a_header_that_stands_twice_is_combined() -> None:
    """As HTTP combines it: two traceparents are none, a tracestate goes on, and of other names the last one stays."""
    assert combined("tracestate", "a=1", "b=2") == "a=1,b=2"
    assert combined("other", "a", "b") == "b"
    with pytest.raises(InvalidTrace, match="several"):
        read_traceparent(combined("traceparent", TRACEPARENT, TRACEPARENT))
    long: object = ""
    for _ in range(50_000):
        long = combined("baggage", long, "a=1")
    assert len(str(long)) < 9_000


def test_turns_do_not_mix_the_traces_of_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of one source that are routed in turns, since they take long, have their own counts."""
    router = traced_router({"args": ["$payload.x"]})

    def large(start: str) -> Batch:
        body = json.dumps({"x": "y" * 40_000}).encode()
        events = [event("t", body, raw=({"traceparent": start}, {})) for _ in range(60)]
        return Batch(events, BatchSequence(), number=1)

    monkeypatch.setattr(routing, "_MAX_ROUTING_S", 0.0)  # each look at the clock ends a turn
    bad, good = large("x"), large(TRACEPARENT)
    steps = [router._steps(batch) for batch in (bad, good)]
    counts, turns = [], 0
    while steps:
        for each in list(steps):
            try:
                next(each)
                turns += 1
            except StopIteration as end:
                counts.append(end.value.invalid_traces)
                steps.remove(each)
    assert turns > 20
    assert sorted(counts) == [0, 60]
    assert all(b"traceparent" in body for _, body in good.queues["default"].messages)


def test_without_tracing_nothing_is_compiled_in() -> None:
    """The routes' functions, and so the bytes and the time of each message, are those of a bridge without this feature."""
    config = Config.model_validate({"sources": {"s": MQTT}, "routes": [{"from": "s", "actor": "a"}]})
    table = compile_routes(config)[0]["s"]
    assert table.tracing is None
    assert not {"_trace"} & {*table.routes[0].run.__code__.co_names, *table.routes[0].run.__globals__}


def test_a_trace_is_no_name_of_an_expression() -> None:
    """A route can't reach the function that writes traces."""
    config = Config.model_validate({
        "tracing": {"propagate": ["w3c"]}, "sources": {"s": MQTT},
        "routes": [{"from": "s", "actor": "a", "args": ["$_trace"]}],
    })  # fmt: skip
    (mistake,) = compile_routes(config)[1]
    assert "_trace" in mistake.message


def test_every_form_names_its_options() -> None:
    """Else an option could stand twice in a message, and the reader would choose one of them."""
    for form, write in tracing._WRITERS.items():
        for trace in (None, Trace(TRACE_ID, SPAN_ID, "01", "a=1", "b=2")):
            assert write(trace)[:1] in {b"", b","}
            written = ast.literal_eval("{" + write(trace).decode().removeprefix(",") + "}")
            assert written.keys() <= tracing.OPTIONS[form]


class _Broken:
    """A processor of spans that fails."""

    def open(self, *_: object) -> None:
        """See `Spans`."""
        raise RuntimeError("a sampler's own fault")


def test_a_fault_of_opentelemetry_costs_no_message() -> None:
    """Where its sampler or processor fails, the publisher's trace goes on; a span that can't end keeps no batch from its outcome."""
    router = traced_router()
    assert router.table.tracing is not None
    router.table.tracing.spans = _Broken()
    assert options(router, with_headers(traceparent=TRACEPARENT)) == [{"traceparent": TRACEPARENT}]
    span = NonRecordingSpan(INVALID_SPAN_CONTEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(span, "end", _Broken().open)
        WriteSpan(span).end("written")
