"""What a route costs: each row of the benchmark stands in its own table of the page."""

from __future__ import annotations

import re

from bench.routes import _ROWS, _STORED
from tests.support.documents import page, section


def test_each_row_of_the_benchmark_has_its_figure() -> None:
    """Those of the bridge in one table, those of Redis in the other, in the order in which they are printed."""
    of_bridge, of_redis = section(page("how-it-works"), "What a route costs").split("| Redis |")
    for table, rows in ((of_bridge, _ROWS), (of_redis, _STORED)):
        assert re.findall(r"^\| (.+) \| \d\.\d\d \|$", table, re.MULTILINE) == [row.name for row in rows]
