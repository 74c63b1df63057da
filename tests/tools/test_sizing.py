"""docs/scaling.md: its tables are those that the measured figures give, and the arithmetic on figures that are known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.arithmetic import needed, show, size
from bench.figures import FigureError, Figures, Row, read, tables
from bench.report import Section
from bench.scaling import merged
from bench.sizing import BLOCKS, PAGE, render
from bridge.config import load
from tests.tools.sizing_figures import RESULTS, SCALING


@pytest.fixture
def figures() -> Figures:
    """The round figures."""
    return read(RESULTS, SCALING)


def _rows(name: str, figures: Figures) -> dict[str, Row]:
    """Return the rows of a computed table by their first cell."""
    table = tables(f"## One\n\n{BLOCKS[name](figures)}\n", "One")[0]
    return {next(iter(row.values())): row for row in table}


def test_the_page_is_computed_from_the_measured_figures() -> None:
    """After a new `make bench` or `make bench-scaling` the page is stale until `python -m bench.sizing` has run."""
    page = PAGE.read_text()
    assert page == render(page, read())
    assert set(re.findall(r"<!-- computed: (\S+) -->", page)) == set(BLOCKS)


def test_a_table_that_differs_is_written_anew(figures: Figures) -> None:
    """Of the page only what stands between the marks changes."""
    page = "before\n<!-- computed: limits -->\n| old |\n<!-- end -->\nbehind\n"
    written = render(page, figures)
    assert written == page.replace("| old |", BLOCKS["limits"](figures))
    assert render(written, figures) == written


def test_a_table_that_nobody_computes_is_an_error(figures: Figures) -> None:
    """A misspelt name is not left empty."""
    with pytest.raises(KeyError, match="limit"):
        render("<!-- computed: limit -->\n<!-- end -->", figures)


def test_the_page_says_how_busy_the_machine_was(figures: Figures) -> None:
    """By report, and of the second one by section, since its parts may be measured one by one."""
    rows = [list(row.values()) for row in _rows("machines", figures).values()]
    assert rows == [
        ["results.md", "2026-11-27 06:09 UTC", "0.7"],
        ["scaling.md, Low rates", "2026-11-28 12:00 UTC", "0.4"],
    ]


def test_a_part_that_is_measured_again_leaves_the_others() -> None:
    """In the order of the whole report; a section that no part writes goes."""
    old = (
        "# Scaling\n\nWords.\n\n## Workers\n\nold\n\n| a |\n\n## Footprint\n\nkept\n\n## Machine and versions\n\n- x\n"
    )
    sections = merged(old, [Section("Workers", "new"), Section("Growth", "first")])
    assert [(section.title, section.text) for section in sections] == [
        ("Growth", "first"), ("Workers", "new"), ("Footprint", "kept"),
    ]  # fmt: skip


def test_each_source_that_was_measured_has_a_row() -> None:
    """Also the stream of RabbitMQ, which not every report has."""
    row = "| amqp-stream | bridge | 40,000 | 1.60 | rabbitmq-server 2.00, redis-server (sink) 0.40 | 1.0 |\n"
    rows = _rows("sources", read(RESULTS.replace("| mqtt  ", f"{row}| mqtt  ", 1), SCALING))
    assert list(rows) == ["AMQP", "RabbitMQ stream", "MQTT, QoS 1", "Redis stream", "Redis pub/sub"]
    assert list(rows["RabbitMQ stream"].values())[1:6] == ["1.60", "2.00", "0.40", "62,000", "31,000"]


def test_cores_are_the_rate_times_the_cost(figures: Figures) -> None:
    """100,000/s at 0.80 s and 0.50 s per 100,000; Redis writes by the dearer of both, and the workers' 3.60 s are Redis's too."""
    row = _rows("answer", figures)["100,000"]
    assert (row["bridge"], row["broker"]) == ("0.8 / 0.5", "2 / 0.5")
    assert (row["Redis: writes"], row["Redis: workers"]) == ("0.4", "3.6")
    assert row["processes of bridge and Redis to plan"] == "2 / 1 of bridge, 8 of Redis"


def test_at_a_low_rate_an_event_costs_as_measured_there(figures: Figures) -> None:
    """10/s at 800 and 1,000 us, 1,000/s at 200, 10,000/s at 40 and 50; from 100,000/s on the cost of full batches."""
    rows = _rows("answer", figures)
    assert [rows[rate]["bridge"] for rate in ("10", "1,000", "10,000")] == ["0.008 / 0.01", "0.2", "0.4 / 0.5"]


def test_the_limits_come_lowest_first(figures: Figures) -> None:
    """100,000 / (0.30 + 3.60) events/s for Redis; the worker, at 16 s, is below it."""
    rows = _rows("limits", figures)
    full = [float(row["full, events/s"].replace(",", "")) for row in rows.values()]
    assert full == sorted(full)
    assert full[:2] == [6_200, 26_000]
    assert rows["Dramatiq's Redis, MQTT events written and worked off"]["plan, events/s"] == "13,000"


def test_growth_is_told_against_one(figures: Figures) -> None:
    """The first row of what grows is 1; a stream has no broker beside Redis."""
    rows = _rows("growth", figures)
    assert list(rows["sources"].values())[2:] == ["50", "x 2.0", "x 1.0", "x 2.0"]
    assert list(rows["bytes"].values())[2:] == ["8,192", "x 3.0", "", "x 2.0"]


def test_a_window_per_round_trip_bounds_the_speed(figures: Figures) -> None:
    """1,000 events in 50 ms from the broker, 250 in 50 ms to Redis; beside them the speed that was measured, where it was."""
    rows = _rows("distance", figures)
    assert list(rows["50"].values())[1:] == ["20,000", "", "5,000", "4,500 / 4,400"]
    assert list(rows["10"].values())[1:] == ["100,000", "50,000", "25,000", ""]


def test_the_examples_multiply(figures: Figures) -> None:
    """A home's 5/s for a night, and a million's minute, 4.0 s of Redis per 100,000 or 0.07 + 0.036 of one in a hundred, and bits on the wire."""
    home, million = _rows("home", figures), _rows("million", figures)
    assert home["bridge"]["result"] == "0.6 % of a core"
    assert home["Redis, workers away for 8 h"]["result"] == "72 MB"
    assert home["a spool of 256 MiB lasts"]["result"] == "60 h"
    assert million["Redis servers, each event a message"]["result"] == "80"
    assert million["Redis servers, one event in 100 a message"]["result"] == "3"
    assert million["network, bridge to Redis"]["result"] == "2.8 Gbit/s"
    assert million["Redis memory, workers away for a minute"]["result"] == "30 GB"


@pytest.mark.parametrize(("results", "scaling", "missing"), [
    (RESULTS.replace("| mqtt         | bridge ", "| mqtt         | other  "), SCALING, "mqtt"),
    (RESULTS, SCALING.replace("remembered key, deduplicate", "key"), "remembered key"),
    (RESULTS, SCALING.replace("## Workers", "## Others"), "Workers"),
    (RESULTS, SCALING.replace("|  3.60 |", "| FAILED |"), "FAILED"),
])  # fmt: skip
def test_a_figure_that_is_missing_is_named(results: str, scaling: str, missing: str) -> None:
    """A run of some parts only, or one that failed, gives no page with gaps."""
    with pytest.raises((FigureError, KeyError), match=missing):
        render(PAGE.read_text(), read(results, scaling))


def test_numbers_show_two_digits() -> None:
    """Sizes have a unit; a part of a process is a whole one."""
    assert [show(value) for value in (0.00512, 0.3, 1.25, 12.34, 123.4, 1_666_667)] == [
        "0.0051", "0.3", "1.2", "12", "120", "1,700,000",
    ]  # fmt: skip
    assert [size(number) for number in (12, 1_500, 72e6, 3e10, 2e12)] == [
        "12 B",
        "1.5 kB",
        "72 MB",
        "30 GB",
        "2 TB",
    ]
    assert [needed(busy) for busy in (0.0, 0.5, 0.51, 7.5)] == [1, 1, 2, 15]


def test_the_home_is_a_valid_configuration(tmp_path: Path) -> None:
    """The example that a reader copies."""
    found = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    (tmp_path / "bridge.yaml").write_text(found[0])
    loaded = load(tmp_path / "bridge.yaml")
    assert list(loaded.sources) == ["home"]
