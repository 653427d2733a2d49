"""A second, independent oracle for the quality checks: IOOS's own `ioos_qc`, flag for flag."""

import warnings
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ioos_qc import qartod

from cython_ext.model import NS_PER_S, PanelConfig, PointConfig, Trouble
from cython_ext.panel import Panel, pack

S = NS_PER_S
# A sensor with a resolution of an eighth: coarser than any tolerance used here (README §3, flat line).
series = st.lists(st.integers(-80, 80).map(lambda eighth: eighth / 8), min_size=4, max_size=60)


def judged(point: PointConfig, values: list[float], step_s: int = 1) -> tuple[list[int], list[Trouble], list[int]]:
    """Flag, troubles, and hindsight spikes after each sample."""
    panel = Panel(PanelConfig((point,)))
    flags, troubles, spikes = [], [], []
    for n, value in enumerate(values):
        at_ns = (1 + n * step_s) * S
        panel.feed(pack([(0, at_ns, value, 0)]), at_ns)
        flags.append(int(panel.qc(0)))
        troubles.append(panel.trouble(0))
        spikes.append(panel.counters["spikes"])
    return flags, troubles, spikes


@settings(max_examples=150, deadline=None)
@given(values=series)
def test_gross_range(values: list[float]) -> None:
    flags, _, _ = judged(PointConfig("a", sensor_span=(-5.0, 5.0), operator_span=(-2.0, 3.0)), values)
    theirs = qartod.gross_range_test(values, fail_span=(-5.0, 5.0), suspect_span=(-2.0, 3.0))
    assert flags == list(theirs)


@settings(max_examples=150, deadline=None)
@given(values=series, limit=st.sampled_from((0.125, 0.3, 1.0, 4.0)), step_s=st.sampled_from((1, 3, 60)))
def test_rate_of_change(values: list[float], limit: float, step_s: int) -> None:
    flags, troubles, _ = judged(PointConfig("a", rate_limit=limit, chatter_count=0), values, step_s)
    times = np.arange(len(values)) * step_s
    theirs = list(qartod.rate_of_change_test(values, tinp=times, threshold=limit))
    assert flags == theirs
    assert [bool(trouble & Trouble.RATE) for trouble in troubles] == [flag == 3 for flag in theirs]


@settings(max_examples=150, deadline=None)
@given(values=series, height=st.sampled_from((0.1, 0.5, 1.0, 5.0)))
def test_spike_in_hindsight(values: list[float], height: float) -> None:
    _, _, spikes = judged(PointConfig("a", spike=height), values)
    found = [after - before for before, after in pairwise(spikes)]
    theirs = list(qartod.spike_test(values, suspect_threshold=height))
    assert found[1:] == [int(flag == 3) for flag in theirs[1:-1]]


@settings(max_examples=150, deadline=None)
@given(values=st.lists(st.sampled_from((0.0, 0.125, 0.25)), min_size=8, max_size=60), flat_s=st.integers(2, 6))
def test_flat_line(values: list[float], flat_s: int) -> None:
    point = PointConfig("a", flat_ns=flat_s * S, flat_tolerance=0.05, chatter_count=0)
    flags, _, _ = judged(point, values)
    times = np.arange(len(values))
    theirs = qartod.flat_line_test(values, tinp=times, suspect_threshold=flat_s, fail_threshold=flat_s, tolerance=0.05)
    assert flags == [int(flag) for flag in theirs]


def test_missing_is_nine_and_a_gap_fails() -> None:
    panel = Panel(PanelConfig((PointConfig("a", stale_ns=10 * S),)))
    assert panel.qc(0) == 2
    panel.feed(pack([(0, S, 0.0, 1)]), S)
    assert panel.qc(0) == 9
    panel.feed(pack([(0, 2 * S, 0.0, 0)]), 2 * S)
    assert panel.qc(0) == 1
    panel.advance(12 * S)
    assert panel.qc(0) == 4
    assert panel.explain(0, 12 * S).qc == 4


@pytest.mark.parametrize("value", [inf, -inf])
def test_infinity_fails(value: float) -> None:
    assert judged(PointConfig("a"), [0.0, value])[0] == [1, 4]
