"""The picture: valid, whole, honest about gaps and peaks, and readable."""

import re
from math import nan, ulp
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backtest import axis, picture, raster
from controller.backtest.instants import instant
from controller.backtest.run import run
from controller.backtest.svg import Svg
from controller.backtest.trace import BUCKETS_MAX, Trace
from controller.backtest.trial import Manner
from cython_ext import ConfigError, Level
from tests.kit.recordings import SECOND, START_US, Made, judge, plan, series

ZONE = ZoneInfo("Europe/Chisinau")
SPACE = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [str(element.text) for element in ElementTree.fromstring(svg).iter(f"{SPACE}text")]


def fills(svg: str, tag: str = "rect") -> list[str | None]:
    return [element.get("fill") for element in ElementTree.fromstring(svg).iter(f"{SPACE}{tag}")]


def test_it_shows_levels_marks_and_strips_of_both_plans() -> None:
    outcome = judge(0.5, 1.2, 2.5, nan, 1.5, 0.5, 0.4, against=plan(danger=1.4))
    svg = picture.draw(outcome, ZONE)
    shown = texts(svg)
    for words in (
        "attention 1",
        "danger 2",
        "danger 1.4 (other)",
        "this plan",
        "other plan",
        "troubles",
        "missing",
        "m",
    ):
        assert words in shown
    assert any("Europe/Chisinau" in words for words in shown)
    assert picture.TROUBLE in fills(svg)
    assert picture.COLOURS[Level.DANGER] in fills(svg)
    titles = re.findall("<title>(.*?)</title>", svg)
    assert titles == ["normal to attention", "attention to danger", "danger to attention", "attention to normal"]
    root = ElementTree.fromstring(svg)
    assert (root.get("width"), root.get("height")) == ("1200", "600")


def test_a_name_cannot_leave_its_text() -> None:
    named = plan(more='name = { en = "<script>&\\u0007" }')
    svg = picture.draw(run(Made(series(0.5, 0.6)), [("<b>", named)], Manner(), traced=True), ZONE)  # type: ignore[arg-type]
    assert "<script>& " in " ".join(texts(svg))


@pytest.mark.parametrize(
    "values", [[0.5], [nan, nan], [float("inf"), 0.5], [0.0, 1e300], [-1e-300, 1e-300], [5.0] * 50]
)
def test_strange_series_are_drawn(values: list[float]) -> None:
    ElementTree.fromstring(picture.draw(judge(*values), ZONE))


def test_many_points_are_rows_of_one_picture() -> None:
    ids = tuple(f"p{n}" for n in range(picture.ROWS_MAX + 3))
    made = Made([(s, n, 0.5, 0) for s in range(3) for n in range(len(ids))], ids)
    root = ElementTree.fromstring(picture.draw(run(made, [("this", plan(*ids))], Manner(), traced=True), ZONE))  # type: ignore[arg-type]
    assert int(str(root.get("height"))) > picture.ROWS_MAX * picture.ROW


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-10, 10)), min_size=1, max_size=300))
def test_a_trace_loses_no_peak_however_much_it_joins(values: list[tuple[int, float]]) -> None:
    trace = Trace(0)
    trace._width_us = 1
    for at_us, value in values:
        trace.note(at_us, value)
        if len(trace._buckets) > 8:
            trace._widen()
    buckets = [bucket for run_ in trace.runs() for bucket in run_]
    assert max(b.high for b in buckets) == max(v for _, v in values)
    assert min(b.low for b in buckets) == min(v for _, v in values)
    assert (buckets[0].first_us, max(b.last_us for b in buckets)) == (min(values)[0], max(values)[0])


def test_the_peak_of_a_joined_bucket_is_kept() -> None:
    trace = Trace(0)
    for second, value in enumerate([0.0, 5.0, 2.0, -5.0]):
        trace.note(second * SECOND, value)
    trace._widen()
    (run_,) = trace.runs()
    assert [(b.low, b.high, b.first_us, b.last_us) for b in run_] == [
        (0.0, 5.0, 0, SECOND),
        (-5.0, 2.0, 2 * SECOND, 3 * SECOND),
    ]


def test_a_trace_is_bounded_and_a_gap_stays_one() -> None:
    trace = Trace(10 * SECOND)
    for second in [*range(BUCKETS_MAX * 3), *range(BUCKETS_MAX * 9, BUCKETS_MAX * 9 + 50)]:
        trace.note(START_US + second * SECOND, 1.0)
    assert len(trace._buckets) <= BUCKETS_MAX
    assert len(trace.runs()) == 2


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 12))
def test_value_ticks_are_round_few_and_within(low: float, size: float, count: int) -> None:
    ticks = axis.value_ticks(low, low + size, count)
    near = size / count * 1e-6 + 4 * ulp(max(abs(low), abs(low + size)))  # as near as a double can be there
    assert len(ticks) <= count + 1
    assert all(low - near <= tick.at <= low + size + near for tick in ticks)


@given(st.integers(0, 4_000_000_000), st.integers(60, 400_000_000), st.integers(2, 12))
def test_time_ticks_are_few_in_order_and_within(from_s: int, length_s: int, count: int) -> None:
    from_us, to_us = from_s * SECOND, (from_s + length_s) * SECOND
    ticks = axis.time_ticks(from_us, to_us, ZONE, count)
    assert len(ticks) <= count + 2
    assert [t.at for t in ticks] == sorted(t.at for t in ticks)
    assert all(from_us <= tick.at <= to_us for tick in ticks)


def test_ticks_are_round_in_local_time() -> None:
    ticks = axis.time_ticks(START_US, START_US + 86_400 * SECOND, ZONE, 8)
    assert [t.label for t in ticks][:3] == ["09:00", "12:00", "15:00"]
    assert "4 Jun" in [t.label for t in ticks]


def test_an_hour_that_the_clock_skips_has_no_tick() -> None:
    # Not Chișinău: its rule differs between releases of the time zone data.
    night = instant("2026-03-28T22:00:00Z")
    labels = [t.label for t in axis.time_ticks(night, night + 6 * 3600 * SECOND, ZoneInfo("Europe/Bucharest"), 8)]
    assert labels == ["29 Mar", "01:00", "02:00", "04:00", "05:00", "06:00", "07:00"]


def test_png_and_svg_by_the_ending(tmp_path) -> None:
    svg = picture.draw(judge(0.5, 2.5), ZONE)
    raster.save(svg, tmp_path / "a.svg")
    raster.save(svg, tmp_path / "a.png")
    assert (tmp_path / "a.svg").read_text() == svg
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (1200, 600)


def test_what_cannot_be_drawn_is_refused_before_the_run(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, says in ((tmp_path / "a.pdf", r"\.svg or \.png"), (tmp_path / "no" / "a.svg", "no such folder")):
        with pytest.raises(ConfigError, match=says):
            raster.check(path)
    monkeypatch.setattr("controller.backtest.raster.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"bucium\[plot\]"):
        raster.check(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="cannot write"):
        raster.save(Svg(1, 1).document(), tmp_path / ("x" * 300 + ".svg"))
