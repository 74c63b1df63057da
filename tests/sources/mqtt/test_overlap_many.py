"""Many filters: subscribing with 10,000 of them holds up nobody."""

from __future__ import annotations

import time
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sources.mqtt.overlap import OverlapIds, _overlap, _without_share
from bridge.topics.mqtt import without_covered

_FILTERS: Final = st.tuples(
    st.sampled_from(["", "", "$share/g/"]),
    st.lists(st.sampled_from(["a", "b", "", "+"]), min_size=1, max_size=3),
    st.sampled_from([[], ["#"]]),
).map(lambda parts: parts[0] + "/".join(parts[1] + parts[2]))


@given(filters=st.lists(_FILTERS, max_size=8, unique=True))
@settings(max_examples=600, deadline=None)
def test_the_overlapping_filters_are_those_of_a_comparison_of_all_pairs(filters: list[str]) -> None:
    """Each filter that shares a topic with another one has an identifier, and no other filter."""
    expected = {
        each
        for each in filters
        for other in filters
        if each != other and _overlap(_without_share(each), _without_share(other))
    }
    assert set(OverlapIds(filters).by_filter) == expected


@pytest.mark.no_cover  # the tracer takes a multiple of the CPU time that is measured
def test_ten_thousand_filters_take_less_than_a_second() -> None:
    """Those that overlap are found without a comparison of all pairs; the tests run on any machine, so they allow tenfold."""
    filters = [f"plants/p{number}/+/t" for number in range(9_000)]
    filters += [f"plants/p{number}/oven/#" for number in range(1_000)]
    began = time.process_time()
    assert without_covered(filters) == filters
    ids = OverlapIds(filters)
    assert len(ids.by_filter) == 2_000
    for number in range(1_000):
        ids.is_counted(f"plants/p{number}/oven/t", [ids.by_filter[f"plants/p{number}/+/t"]])
    assert time.process_time() - began < 10
