"""An event with several messages of one route: in taps, in traces, and in a batch that is split."""

from __future__ import annotations

import json
from typing import Any, Final

from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.taps import TapFilter
from bridge.routing.trace_headers import Trace
from tests.delivery.test_taps import SHOWN, Process, _config, _event, _lines, _test
from tests.routing.test_tracing import RESET, TRACEPARENT, options, traced_router, with_headers
from tests.support.routing import event, router

EACH: Final[dict[str, Any]] = {
    "name": "each", "actor": "pick", "foreach": "$payload.l", "args": ["$item.sku"],
    "queue_by": {"key": "$item.sku", "queues": {"b": "slow"}},
}  # fmt: skip
REST: Final[dict[str, Any]] = {"name": "rest", "actor": "keep", "otherwise": True}


async def test_a_tap_shows_the_messages_of_a_list() -> None:
    """With their queues, of a long list the first of them; the rest says which route has taken the event."""
    process = Process(_config([EACH, REST]))
    tap, as_test = await process.taps.open(SHOWN), await process.taps.open(TapFilter(contents=True, as_test=True))
    process.show(_event("t", {"l": [{"sku": "a"}, {"sku": "b"}]}), _event("t", {"l": []}))
    full, empty = _lines(tap)
    assert [(one["args"], one["queue"]) for one in full["messages"]] == [(["a"], "default"), (["b"], "slow")]
    assert full["routes"]["rest"] == {"verdict": "otherwise", "why": "otherwise: the route each fits"}
    assert (empty["outcome"], empty["routes"]["each"]["why"]) == ("enqueued", "foreach: the list is empty")
    assert [one["actor"] for one in empty["messages"]] == ["keep"]
    assert "- route: each" in (await _test(as_test))["test"]
    process.show(_event("t", {"l": [{"sku": str(n)} for n in range(30)]}))
    (long,) = _lines(tap)
    assert [one["args"] for one in long["messages"]] == [[str(n)] for n in range(20)]


async def test_a_tap_shows_no_redacted_field_of_an_element() -> None:
    """Neither in the arguments, nor in the reason of a dead letter."""
    route = {**EACH, "args": ["$item.sku", "$default(item.card, null)"]}
    process = Process(_config([route], dead_letters={"redact": ["payload.l.card"]}))
    tap = await process.taps.open(SHOWN)
    process.show(_event("t", {"l": [{"sku": "a"}, {"sku": "b", "card": "4111"}]}))
    (line,) = _lines(tap)
    assert "4111" not in json.dumps(line)
    assert [one.get("arguments") for one in line["messages"]] == [None, "redacted"]


def test_each_message_and_each_step_carries_the_trace() -> None:
    """Of all elements, in every form; an event without a trace has none in them."""
    routes = {"foreach": "$[1, 2]", "then": [{"actor": "b"}, {"actor": "c"}]}
    for headers, trace in (({"traceparent": TRACEPARENT}, TRACEPARENT), ({}, None)):
        made = options(traced_router(routes, propagate=("w3c", "otel-instrumentor")), with_headers(**headers))
        assert len(made) == 2
        for each in made:
            second = each["pipe_target"]["options"]
            third = second["pipe_target"]["options"]
            for carrier in (each, second, third):
                assert carrier.get("traceparent") == trace
                assert (carrier["options"] == RESET) == (trace is None)
            assert "pipe_target" not in third


class _Spans:
    """Notes the queue of each span, and opens none."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def open(self, _event: Event, _trace: Trace, queue: str) -> None:
        self.queues.append(queue)


def test_the_span_of_an_event_names_no_expression() -> None:
    """Where its messages may go to several queues, none of them; and one span is opened for all of them."""
    chosen = {"queue": "$payload.q", "allow": {"queue": ["q-1", "q-2"]}, "args": []}
    for route, queue in (
        ({"foreach": "$[1, 2]"}, "default"),
        (chosen, "*"),
        ({**EACH, "foreach": "$[{'sku': 1}]"}, "*"),
    ):
        traced = traced_router(route)
        assert traced.table.tracing is not None
        traced.table.tracing.spans = spans = _Spans()
        traced.route(Batch([event("t", b'{"q": "q-1"}', raw=({"traceparent": TRACEPARENT}, {}))]))
        assert spans.queues == [queue]


def test_a_batch_is_split_between_events_and_never_within_one() -> None:
    """All messages of an event are written at once, also where Redis takes no whole batch."""
    batch = Batch([event("t", json.dumps({"l": [{"sku": "a"}, {"sku": "b"}]}).encode()) for _ in range(4)])
    counts = router([EACH]).route(batch)
    assert (counts.enqueued, counts.routes["each"].matched) == (4, 4)
    batch.assign_number()
    for half in batch.split():
        assert [column.event_indexes for column in half.queues.values()] == [[0, 1], [0, 1]]
    batch.refuse([1], "too large")
    assert [column.event_indexes for column in batch.queues.values()] == [[0, 2, 3], [0, 2, 3]]


def test_a_batch_ends_where_its_messages_are_too_many() -> None:
    """The bytes of all messages count, so that no write keeps Redis for long."""
    body = json.dumps({"l": [{"sku": "x" * 1000}] * 1000}).encode()
    batch = Batch([event("t", body) for _ in range(10)])
    counts = router([EACH], max_body="4MiB").route(batch)
    assert 1 < counts.received < 10
