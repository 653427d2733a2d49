"""The compiled panel against the oracle: seeded random cases in bulk, and hypothesis with its own hostility."""

import os
from collections.abc import Callable
from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext.model import NS_PER_S
from cython_ext.panel import Panel, pack
from tests.kit import campaign, streams
from tests.kit.oracle import Oracle

S = NS_PER_S
# `make fuzz` sets more; by hand: python -m tests.kit.campaign --cases 10000000
CASES = int(os.environ.get("BUCIUM_ORACLE_CASES", "100000"))
PARTS = 8  # so that xdist can share them


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_core_equals_oracle(part: int, record_property: Callable[[str, object], None]) -> None:
    share = -(-CASES // PARTS)
    done, samples, differences = campaign.campaign(share, seed=1 + part * 10_000_000)
    record_property("oracle", [done, samples, len(differences)])  # their sum ends the run: tests/conftest.py
    assert done == share
    assert not differences, "\n".join(differences)


def test_a_case_that_once_differed() -> None:
    """The quiet band of a drifting point took the drift into the ceiling of its rate of rise."""
    _, _, differences = campaign.campaign(1, seed=200_082_572)
    assert not differences


instants = st.one_of(
    st.integers(0, 200).map(lambda quarter: quarter * S // 4),
    st.integers(0, 60 * S),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
values = st.one_of(
    st.integers(-8, 40).map(lambda eighth: eighth / 8),
    st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True),
    st.sampled_from((nan, inf, -inf, 0.0, -0.0, 5e-324, 1.7e308)),
)
statuses = st.one_of(st.just(0), st.just(0), st.just(0), st.integers(0, 65535))


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    stream=st.lists(st.tuples(st.integers(0, 4), instants, values, statuses), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    now_s=st.integers(0, 100),
)
def test_any_stream_in_any_split_equals_the_oracle(
    seed: int, stream: list[streams.Sample], cuts: list[int], now_s: int
) -> None:
    config = streams.panel(campaign.Random(seed))
    panel, oracle = Panel(config), Oracle(config)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    told = []
    for start, end in pairwise(edges):
        told += panel.feed(pack(stream[start:end]), now_s * S)
    assert [campaign.plain(each) for each in told] == [campaign.plain(each) for each in oracle.feed(stream, now_s * S)]
    later = (now_s + 50) * S
    assert [campaign.plain(each) for each in panel.advance(later)] == [
        campaign.plain(each) for each in oracle.advance(later)
    ]
    assert campaign.readings_differ(panel, oracle) == ""


@settings(max_examples=200, deadline=None)
@given(batch=st.binary(max_size=24 * 30), now_ns=st.integers(0, 1 << 60))
def test_any_bytes_are_a_batch_or_refused(batch: bytes, now_ns: int) -> None:
    panel = Panel(streams.panel(campaign.Random(len(batch))))
    whole = batch[: len(batch) // 24 * 24]
    for transition in panel.feed(whole, now_ns):
        assert -1 < transition.at_ns <= now_ns
    counters = panel.counters
    seen = counters["samples"] + counters["unknown_point"] + counters["historical"]
    assert seen == len(whole) // 24


def test_the_campaign_sees_a_difference() -> None:
    """A test that cannot fail is a defect: an oracle that is told a little less must be caught."""
    broken = 0
    for seed in range(60):
        case = campaign.Case(seed)
        case.oracle.vote = lambda *_: None  # type: ignore[method-assign]
        try:
            case.run()
        except campaign.Difference:
            broken += 1
    assert broken > 0
