"""/metrics: names, help, types, units and labels as Prometheus wants them, the numbers of one state, and what they cost."""

from __future__ import annotations

import asyncio
import gc
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from bridge.admin import exposition, metrics
from bridge.errors import DeadLetterReason
from bridge.model.accounting import Counts
from bridge.model.state import SECONDS_BUCKETS, BridgeState, RouteState, SourceState
from tests.support.admin import state_of

PREFIX: Final = "dramatiq_bridge_"
_BY_SOURCE: Final = (
    *(f"events_{each}_total" for each in ("received", "recovered", "enqueued", "filtered", "unmatched")),
    *(f"events_{each}_total" for each in ("deduplicated", "expired", "returned", "lost")),
    *("messages_written_total", "dead_letters_trimmed_total", "invalid_traces_total", "source_reconnects_total"),
    *("events_missed_total", "source_gaps_total"),
    *("events_in_flight", "events_perishable", "events_spooled", "events_held", "events_window", "window_fill_ratio"),
    *(
        "unacknowledged_seconds",
        "source_connected",
        "source_disconnected_seconds",
        "source_paused",
        "source_pressure",
        "source_stuck",
    ),
    *("spool_bytes", "accounting_error", "batch_events", "event_age_seconds"),
)
_BY_ROUTE: Final = (
    *(f"route_events_{each}_total" for each in ("matched", "filtered", "dead_lettered", "expired")),
    "route_messages_deduplicated_total",
    "route_paused",
)
_BY_NOTHING: Final = (
    *("sink_available", "sink_retries_total", "enqueue_duration_seconds", "loop_lag_seconds", "ready"),
    *("processes", "processes_expected", "config_loaded_timestamp_seconds", "start_timestamp_seconds"),
    *("last_reload_successful", "process_restarts_total", "cpu_seconds_total", "memory_bytes", "spool_fill_ratio"),
    "log_lines_left_out_total",
)
#: Every metric of the contract, with its labels.
CONTRACT: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(_BY_SOURCE, frozenset({"source"})),
    **dict.fromkeys(_BY_ROUTE, frozenset({"source", "route"})),
    **dict.fromkeys(_BY_NOTHING, frozenset()),
    "events_dead_lettered_total": frozenset({"source", "reason"}),
    "bodies_repaired_total": frozenset({"source", "repair"}),
    "queue_messages": frozenset({"queue", "state"}),
    "reloads_total": frozenset({"result"}),
    "config_info": frozenset({"fingerprint", "version", "namespace"}),
}
UNITS: Final = ("seconds", "bytes", "ratio")


def openmetrics_families(text: str) -> Iterator[Metric]:
    """Parse OpenMetrics, as strictly as the library does."""
    families: Iterator[Metric] = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return families


async def _render(state: BridgeState, *, openmetrics: bool = False) -> str:
    body, _ = await exposition.render(state, openmetrics=openmetrics)
    return body.decode()


async def _values(state: BridgeState) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_families(await _render(state))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def _key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return PREFIX + name, frozenset(labels.items())


async def test_the_text_has_every_metric_once() -> None:
    """Each has one HELP and one TYPE before its lines, a legal name with the prefix, and the labels of the contract."""
    text = await _render(state_of())
    comments = Counter(re.findall(r"^# (HELP|TYPE) (\S+)", text, re.MULTILINE))
    assert set(comments.values()) == {1}
    names = {name for kind, name in comments if kind == "TYPE"}
    assert names == {PREFIX + name for name in CONTRACT}
    assert all(re.fullmatch(r"dramatiq_bridge_[a-z]+(_[a-z]+)*", name) for name in names)
    for family in text_families(text):
        name = family.name.removeprefix(PREFIX)
        expected = CONTRACT.get(name) or CONTRACT.get(f"{name}_total", frozenset())
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == expected, sample.name


async def test_no_line_comes_twice() -> None:
    """Prometheus would refuse the scrape."""
    lines = [line.rpartition(" ")[0] for line in (await _render(state_of())).splitlines() if line[0] != "#"]
    assert len(lines) == len(set(lines))


async def test_types_and_names_agree() -> None:
    """Counters alone end in `_total`, and no name has its type in it; a unit is a base unit, at the end of the name."""
    for family in openmetrics_families(await _render(state_of(), openmetrics=True)):
        name = family.name
        assert family.type in {"counter", "gauge", "histogram", "info"}, name
        assert (f"{name}_total".removeprefix(PREFIX) in CONTRACT) == (family.type == "counter"), name
        assert not re.search(r"counter|gauge|histogram|summary|milli|micro|_ms|minutes|kilo|mega|percent", name), name
        assert family.unit == next((unit for unit in UNITS if name.endswith(f"_{unit}")), ""), name


async def test_the_help_is_a_sentence() -> None:
    """A person on call understands a number by it alone."""
    for family in text_families(await _render(state_of())):
        assert re.match(r"[A-Z0-9].{15,}\.$", family.documentation), family.name


async def test_both_formats_have_the_same_samples() -> None:
    """And OpenMetrics is, byte for byte, as the library itself writes it."""
    state = state_of()
    state.sources['a"\\\n é'] = SourceState("amqp")
    text, openmetrics = await _render(state), await _render(state, openmetrics=True)

    def samples(families: Any) -> list[tuple[str, dict[str, str], float]]:
        return sorted(((s.name, s.labels, s.value) for each in families for s in each.samples), key=str)

    assert samples(text_families(text)) == samples(openmetrics_families(openmetrics))

    class All:
        def collect(self) -> list[Metric]:
            return list(metrics.families(state))

    assert generate_latest(All()).decode() == openmetrics  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0", True),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0", False),
        ("APPLICATION/OpenMetrics-Text ; Q=0.8 , text/plain ; q=0.3", True),
        ("application/openmetrics-text;q=nonsense", False),
        (",;,;q=;=", False),
    ],
)
def test_the_format_is_the_one_that_is_liked_better(accept: str, expected: bool) -> None:
    """Text unless OpenMetrics is asked for, whatever a client sends."""
    assert exposition.wants_openmetrics(accept) is expected


async def test_the_numbers_are_those_of_the_state() -> None:
    """Of counts, gauges, booleans, histograms, queues and times."""
    state = state_of(reloads={"invalid": 3}, reload_cause="a mistake", lag_s=0.25, processes=2, expected=4, restarts=5)
    state.cpu_s, state.memory_bytes, state.spool_fill, state.lines_left_out = 1.5, 4096, 0.75, 9
    state.sources["plant"].missed, state.sources["plant"].gaps = 8, 2
    values = await _values(state)
    expected = {
        _key("events_received_total", source="orders"): 100,
        _key("events_enqueued_total", source="orders"): 80,
        _key("events_dead_lettered_total", source="orders", reason="decode"): 7,
        _key("events_recovered_total", source="plant"): 4,
        _key("events_spooled", source="plant"): 4,
        _key("events_spooled", source="orders"): 0,
        _key("spool_bytes", source="plant"): 400,
        _key("messages_written_total", source="orders"): 90,
        _key("invalid_traces_total", source="orders"): 6,
        _key("bodies_repaired_total", source="orders", repair="compressed"): 12,
        _key("bodies_repaired_total", source="orders", repair="bom"): 0,
        _key("events_held", source="orders"): 5,
        _key("events_window", source="orders"): 1000,
        _key("window_fill_ratio", source="orders"): 0.005,
        _key("source_connected", source="orders"): 1,
        _key("source_paused", source="orders"): 0,
        _key("route_events_matched_total", source="orders", route="a"): 80,
        _key("route_events_dead_lettered_total", source="orders", route="b"): 7,
        _key("batch_events_bucket", source="orders", le="10.0"): 0,
        _key("batch_events_bucket", source="orders", le="30.0"): 1,
        _key("batch_events_bucket", source="orders", le="+Inf"): 1,
        _key("batch_events_sum", source="orders"): 30,
        _key("event_age_seconds_count", source="orders"): 1,
        _key("enqueue_duration_seconds_bucket", le="0.003"): 0,
        _key("enqueue_duration_seconds_bucket", le="0.01"): 1,
        _key("queue_messages", queue="default", state="waiting"): 9,
        _key("queue_messages", queue="default", state="in_flight"): 2,
        _key("queue_messages", queue="default", state="dead"): 3,
        _key("reloads_total", result="invalid"): 3,
        _key("last_reload_successful"): 0,
        _key("process_restarts_total"): 5,
        _key("cpu_seconds_total"): 1.5,
        _key("memory_bytes"): 4096,
        _key("spool_fill_ratio"): 0.75,
        _key("log_lines_left_out_total"): 9,
        _key("events_missed_total", source="plant"): 8,
        _key("events_missed_total", source="orders"): 0,
        _key("source_gaps_total", source="plant"): 2,
        _key("loop_lag_seconds"): 0.25,
        _key("processes"): 2,
        _key("processes_expected"): 4,
        _key("ready"): 0,
        _key("config_loaded_timestamp_seconds"): 1_700_000_000,
        _key("config_info", fingerprint="ab" * 32, version="1.2.3", namespace="dramatiq"): 1,
        _key("sink_available"): 1,
    }
    assert {key: values.get(key) for key in expected} == expected


async def test_everything_that_can_be_counted_is_there_from_the_start() -> None:
    """With 0: a rate or an alert needs the first value too. All reasons, results, routes and sources."""
    state = state_of()
    for source in state.sources.values():
        source.counts = Counts()
        source.batches.buckets = []
    values = await _values(state)
    for source_name in state.sources:
        for reason in get_args(DeadLetterReason):
            assert values[_key("events_dead_lettered_total", source=source_name, reason=reason)] == 0
        assert values[_key("accounting_error", source=source_name)] in {-3, -4}
        assert values[_key("batch_events_count", source=source_name)] == 0
    for name, route in state.routes.items():
        for each in ("matched", "filtered", "dead_lettered"):
            assert values[_key(f"route_events_{each}_total", source=route.source, route=name)] == 0
    for result in ("ok", "refused", "invalid", "failed"):
        assert values[_key("reloads_total", result=result)] == 0


async def test_the_identity_holds_at_every_scrape() -> None:
    """Its terms are all exported, from one snapshot; the difference has a metric of its own."""
    for difference in (0, 2):
        state = state_of()
        state.sources["orders"].counts.received += difference
        values = await _values(state)
        for source in state.sources:
            classes = ("enqueued", "filtered", "unmatched", "deduplicated", "expired", "returned", "lost")
            settled = sum(values[_key(f"events_{each}_total", source=source)] for each in classes)
            settled += sum(
                values[_key("events_dead_lettered_total", source=source, reason=each)]
                for each in get_args(DeadLetterReason)
            )
            came = sum(values[_key(f"events_{each}_total", source=source)] for each in ("received", "recovered"))
            waiting = values[_key("events_in_flight", source=source)] + values[_key("events_spooled", source=source)]
            error = values[_key("accounting_error", source=source)]
            assert came == settled + waiting + error
            assert error == (difference if source == "orders" else 0)


async def test_a_route_that_is_gone_is_not_shown() -> None:
    """After a reload labels are those of the configuration that is live."""
    state = state_of()
    del state.routes["a"]
    assert 'route="a"' not in await _render(state)


async def test_a_name_of_any_characters_forges_no_line() -> None:
    """A quotation mark, a backslash and a line break are escaped."""
    state = state_of()
    name = 'x"} 1\ndramatiq_bridge_ready 0\\'
    state.sources[name] = SourceState("amqp")
    values = await _values(state)
    assert values[_key("source_connected", source=name)] == 0
    assert values[_key("events_received_total", source="orders")] == 100


async def test_histograms_grow_with_their_bounds() -> None:
    """Buckets are cumulative, the last one is the count."""
    state = state_of()
    age = state.sources["plant"].age
    for seconds in (0.0005, 0.001, 0.02, 5, 1_000):
        age.observe(seconds, SECONDS_BUCKETS)
    values = await _values(state)
    bounds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, "+Inf"]
    found = [values[_key("event_age_seconds_bucket", source="plant", le=str(bound))] for bound in bounds]
    assert found == [2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5]
    assert values[_key("event_age_seconds_sum", source="plant")] == pytest.approx(1005.0215)


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_five_thousand_routes_are_cheap(openmetrics: bool) -> None:
    """Some 0.15 s of the processor's time here; and no step of it holds events up for longer than a part of that."""
    state = state_of()
    state.routes = {f"route-{n}": RouteState("orders", "actor", "default") for n in range(5_000)}
    begin = time.process_time()
    body, cost = await exposition.render(state, openmetrics=openmetrics)
    spent = time.process_time() - begin
    assert body.count(b"\n") > 20_000
    assert spent < 3
    assert 0 < cost <= spent


@pytest.mark.no_cover  # it takes long enough without the tracer
def test_ten_thousand_scrapes_take_no_memory() -> None:
    """Nothing is kept of a scrape: neither an object nor a byte, in either format."""
    state = BridgeState("1", "running", "f", "h", 0.0, 0.0, "redis://h", "n", sources={"s": SourceState("amqp")})

    async def scrape(times: int) -> None:
        for number in range(times):
            await exposition.render(state, openmetrics=number % 2 == 0)

    with asyncio.Runner() as runner:
        runner.run(scrape(200))
        gc.collect()
        objects = len(gc.get_objects())
        runner.run(scrape(9_600))
        gc.collect()
        assert len(gc.get_objects()) - objects < 1_000
        tracemalloc.start()
        try:
            runner.run(scrape(100))
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            runner.run(scrape(100))
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - before < 20_000
        finally:
            tracemalloc.stop()
