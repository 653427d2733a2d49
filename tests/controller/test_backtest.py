"""The run: the real Panel over a recording, what is counted, and two plans compared."""

from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backtest import report
from controller.backtest.columns import Columns
from controller.backtest.compare import compare, episodes
from controller.backtest.csvfile import CsvFile
from controller.backtest.pace import paces
from controller.backtest.recording import Span
from controller.backtest.run import Outcome, run
from controller.backtest.tally import Coverage
from controller.backtest.trial import Manner, Trial
from controller.backtest.verdict import Verdict
from cython_ext import Cause, ConfigError, Level, Reason, Trouble
from cython_ext.panel import Panel, pack
from lanes.plan import Plan
from lanes.settings import parse
from tests.kit.recordings import SECOND, START_US, Made, judge, plan, series

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "dead_run_2018-06.csv"


def changes(outcome: Outcome) -> list[tuple[int, str, str]]:
    return [
        ((v.at_us - START_US) // SECOND, v.was.name.lower(), v.level.name.lower())
        for v in outcome.this.verdicts
        if v.of_level
    ]


def test_every_transition_has_its_time_and_reason() -> None:
    outcome = judge(0.5, 1.2, 2.5, 1.5, 0.5)
    assert changes(outcome) == [
        (1, "normal", "attention"),
        (2, "attention", "danger"),
        (3, "danger", "attention"),
        (4, "attention", "normal"),
    ]
    assert {v.reason for v in outcome.this.verdicts} <= {Reason.THRESHOLD, Reason.ON_DELAY, Reason.OFF_DELAY}
    tally = outcome.this.tallies["gauge"]
    assert tally.alarms == {Level.ATTENTION: 1, Level.ALARM: 1, Level.DANGER: 1}
    assert tally.at_level_us == {Level.ATTENTION: 2 * SECOND, Level.ALARM: 0, Level.DANGER: SECOND}


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 1.0, 7.0, 600.0]), st.sampled_from([0.2, 0.95, 1.1, 2.4, nan])), min_size=4
    ),
    st.integers(1, 9),
)
def test_it_is_the_panel_of_a_node_that_gets_each_sample_at_its_time(
    steps: list[tuple[float, float]], chunk: int
) -> None:
    """Chunks change nothing: the same transitions as one sample at a time with time passing between them."""
    samples, second = [], 0.0
    for step, value in steps:
        samples.append((second, 0, value, int(value != value)))
        second += step
    outcome = run(Made(samples, chunk=chunk), [("this", plan(stale_s=3.0))], Manner(period_s=0))  # type: ignore[arg-type]
    panel = Panel(plan(stale_s=3.0).panel(), 0)
    live = []
    for at_s, _, value, status in samples:
        at_ns = round(at_s * SECOND) * 1000
        live += panel.advance(at_ns)
        live += panel.feed(pack([(0, at_ns, value, status)]), at_ns)
    ours = [((v.at_us - START_US) * 1000, v.cause, v.level, v.reason, v.trouble) for v in outcome.this.verdicts]
    assert ours == [(t.at_ns // 1000 * 1000, t.cause, t.level, t.reason, t.trouble) for t in live]


def test_missing_values_and_gaps_hold_the_level_and_are_counted() -> None:
    samples = [(s, 0, 2.5, 0) for s in range(5)] + [(5, 0, nan, 1), (6, 0, 2.5, 0), (30, 0, 2.5, 0)]
    outcome = run(Made(samples), [("this", plan())], Manner())  # type: ignore[arg-type]
    cover, tally = outcome.coverage["gauge"], outcome.this.tallies["gauge"]
    assert (cover.samples, cover.missing, cover.gaps, cover.longest_us) == (8, 1, 1, 24 * SECOND)
    assert (cover.gaps_us, cover.longest_from_us) == (23 * SECOND, START_US + 6 * SECOND)
    assert (tally.troubles[Trouble.MISSING], tally.troubles[Trouble.STALE]) == (1, 1)
    assert tally.blind_us == (1 + 24 - 5) * SECOND
    assert changes(outcome) == [(0, "normal", "danger")]
    assert tally.level is Level.DANGER


def test_chatter_duplicates_and_disorder_are_counted() -> None:
    outcome = judge(*[0.5, 1.5] * 6)
    assert outcome.this.tallies["gauge"].troubles[Trouble.CHATTER] == 1
    again = run(Made([(0, 0, 1.5, 0), (2, 0, 1.5, 0), (2, 0, 1.5, 0), (1, 0, 1.5, 0)]), [("this", plan())], Manner())  # type: ignore[arg-type]
    counters = again.this.panel.counters
    assert (counters["duplicate"], counters["out_of_order"]) == (1, 1)


def test_a_file_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ConfigError, match="oldest row first"):
        run(Made((100 - s, 0, 0.5, 0) for s in range(60)), [("this", plan())], Manner())  # type: ignore[arg-type]


def test_a_coarse_recording_is_judged_at_its_own_pace_and_says_so() -> None:
    recording = lambda: Made(series(*[0.5] * 20, step_s=300))  # noqa: E731
    coarse = run(recording(), [("this", plan())], Manner())  # type: ignore[arg-type]
    assert coarse.this.verdicts == []
    assert "as if read each 300 s, stale after 1500 s" in coarse.notes[0]
    planned = run(recording(), [("this", plan())], Manner(period_s=0))  # type: ignore[arg-type]
    assert planned.this.tallies["gauge"].troubles[Trouble.STALE] == 19
    given_ = run(recording(), [("this", plan())], Manner(period_s=60.0))  # type: ignore[arg-type]
    assert given_.this.paced[0].config.stale_ns == 300 * 10**9
    assert paces([(0, 0, 1.0, 0), (5, 0, 1.0, 0)], 1) == [0]


def test_a_rate_that_cannot_be_known_is_said() -> None:
    text = plan(more="rate_window_s = 60")
    point = text.points[0].model_copy(
        update={"attention": text.points[0].attention.model_copy(update={"rate_per_min": 0.1})}
    )  # type: ignore[union-attr]
    outcome = run(
        Made(series(*[0.5] * 9, step_s=60)), [("this", text.model_copy(update={"points": (point,)}))], Manner()
    )  # type: ignore[arg-type]
    assert any("rate of rise cannot be known" in note for note in outcome.notes)


def test_points_and_votes_without_a_recording_are_left_out_and_named() -> None:
    vote = '\n[[vote]]\nid = "both"\npoints = ["gauge", "weir"]\nk = 2\nwindow_s = 60\nzones = ["ungheni"]\n'
    whole = plan("gauge", "weir", tail=vote)
    outcome = run(Made(series(*[2.5] * 9)), [("this", whole)], Manner())  # type: ignore[arg-type]
    assert outcome.this.left_out == ("weir", "both")
    assert "weir, both" in outcome.notes[0]
    both = [(s, place, 2.5, 0) for s in range(9) for place in (0, 1)]
    voted = run(Made(both, ("gauge", "weir")), [("this", whole)], Manner())  # type: ignore[arg-type]
    assert [v.evidence for v in voted.this.verdicts if v.judged == "both" and v.evidence] == [("gauge", "weir")]
    with pytest.raises(ConfigError, match="none of its points"):
        run(Made(series(1.0), ("elsewhere",)), [("this", whole)], Manner())  # type: ignore[arg-type]


def test_a_latch_may_be_left_off() -> None:
    def level(latch: bool) -> Level:
        latched = plan(more="latch = true")
        outcome = run(Made(series(0.5, 2.5, 0.5, 0.5)), [("this", latched)], Manner(latch=latch))  # type: ignore[arg-type]
        return outcome.this.tallies["gauge"].level

    assert (level(True), level(False)) == (Level.DANGER, Level.NORMAL)


def test_two_plans_over_one_pass() -> None:
    outcome = judge(0.5, 1.2, 1.7, 2.5, 0.5, 1.2, 1.8, 0.5, against=plan(danger=1.5))
    found = [(h.level.name, h.seen, len(h.this), len(h.other)) for h in outcome.happenings()]
    danger = [row for row in found if row[0] == "DANGER"]
    assert danger == [("DANGER", "both", 1, 1), ("DANGER", "other", 0, 1)]
    both = next(h for h in outcome.happenings() if h.level is Level.DANGER)
    assert both.lead_us == -SECOND
    text = report.document(outcome)["comparison"]
    assert [row["lead_s"] for row in text if row["level"] == "danger"] == [-1.0, None]


def test_plans_of_other_points_are_compared_by_id() -> None:
    both = [(s, place, 2.5, 0) for s in range(4) for place in (0, 1)]
    outcome = run(Made(both, ("gauge", "weir")), [("this", plan("gauge")), ("other", plan("weir", "gauge"))], Manner())  # type: ignore[arg-type]
    seen = {(h.judged, h.seen) for h in outcome.happenings()}
    assert seen == {("gauge", "both"), ("weir", "other")}


spans = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([Level.NORMAL, Level.ATTENTION, Level.DANGER])), max_size=8
)


def verdicts(steps: list[tuple[int, Level]]) -> list[Verdict]:
    found, at_us, level = [], 0, Level.NORMAL
    for step, new in steps:
        at_us += step
        if new is not level:
            found.append(
                Verdict("p", at_us, Cause.RAISED, level, new, 1.0, Reason.THRESHOLD, Trouble.NONE, Trouble.NONE)
            )
            level = new
    return found


@given(spans, spans)
def test_every_episode_is_in_one_happening_and_both_sides_mirror(
    one: list[tuple[int, Level]], two: list[tuple[int, Level]]
) -> None:
    this, other = verdicts(one), verdicts(two)
    found = compare(this, other)
    assert sorted(e.from_us for h in found for e in h.this) == sorted(e.from_us for e in episodes(this))
    mirrored = compare(other, this)
    swap = {"both": "both", "this": "other", "other": "this"}
    assert sorted((h.judged, h.level, h.from_us, swap[h.seen]) for h in found) == sorted(
        (h.judged, h.level, h.from_us, h.seen) for h in mirrored
    )


def test_coverage_of_what_has_no_value_is_a_number_for_programs() -> None:
    cover = Coverage(0, 0)
    cover.note(5, nan)
    outcome = judge(0.5, 0.5)
    found = report.document(replace(outcome, coverage={"gauge": cover}))["this"]["judged"][0]
    assert (found["highest"], found["missing"]) == (None, 1)
    assert "never a value" in "".join(report.summary(outcome.this, "gauge", cover, report.ZoneInfo("UTC")))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1.3929360000000002, "1.393 m"),
        (120.0, "120 m"),
        (-0.25, "-0.25 m"),
        (0.0123456, "0.0123 m"),
        (1e300, "1e+300 m"),
    ],
)
def test_people_read_what_a_sensor_can_know(value: float, says: str) -> None:
    assert report.amount(value, "m") == says


def test_a_longer_time_than_a_panel_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="36 years"):
        run(Made([(0, 0, 1.0, 0), (40 * 366 * 86400, 0, 1.0, 0)]), [("this", plan())], Manner())  # type: ignore[arg-type]


def test_transitions_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.backtest.trial.VERDICTS_MAX", 3)
    outcome = judge(*[0.5, 1.5] * 6)
    assert (len(outcome.this.verdicts), outcome.this.unkept > 5) == (3, True)
    assert any("only counted" in note for note in outcome.notes)
    assert outcome.this.tallies["gauge"].alarms[Level.ATTENTION] == 6
    assert isinstance(outcome.this, Trial)


DEAD_RUN = """
version = 1
root = "EXAMPLE"
group = "dead-run"
controller = "centre"
[[zone]]
id = "franklintown"
timezone = "America/New_York"
[[point]]
id = "gauge"
node = "n1"
zones = ["franklintown"]
hazard = "flood"
unit = "m"
period_s = 300
stale_s = 1800
attention = { raise = 0.80, clear = 0.70 }
alarm = { raise = 1.20, clear = 1.05 }
danger = { raise = 1.60, clear = 1.45 }
"""


@pytest.mark.skip_allowed("the recorded flood is not part of the repository")
@pytest.mark.skipif(not RECORDED.is_file(), reason="the recorded flood is not beside the repository")
def test_a_real_flash_flood() -> None:
    """USGS 01589330, June 2018: the peaks of 3 and 11 June reach danger, and nothing else does."""
    mapped = Columns.model_validate({"column": [{"point": "gauge", "column": "gage_height_ft", "scale": 0.3048}]})
    recording = CsvFile(RECORDED, mapped, ["gauge"], Span())
    outcome = run(recording, [("this", parse(DEAD_RUN, Plan))], Manner())
    raised = [report.utc(v.at_us) for v in outcome.this.verdicts if v.level is Level.DANGER and v.was < v.level]
    assert raised == ["2018-06-03T21:40:00Z", "2018-06-11T09:50:00Z"]
    cover = outcome.coverage["gauge"]
    assert (cover.samples, cover.missing, cover.gaps, recording.defects.count) == (8928, 0, 0, 0)
    assert cover.highest == pytest.approx(1.8806, abs=1e-4)
