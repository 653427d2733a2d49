"""Levels, delays, suspect samples, latches: each rule of cython_ext/README.md §6, §7, §10 by an example."""

from math import inf, nan

import pytest

from cython_ext.errors import WireError
from cython_ext.model import (
    NS_PER_S,
    Direction,
    Hazard,
    Level,
    LevelConfig,
    PanelConfig,
    PointConfig,
    QcFlag,
    Status,
    Trouble,
)
from cython_ext.panel import RECORD, RECORD_SIZE, Panel, pack
from tests.kit.drive import THREE, Drive

S = NS_PER_S


def test_levels_are_raised_and_cleared_with_their_deadband() -> None:
    drive = Drive(PointConfig("a", levels=THREE))
    assert drive.see(1, 0.5) == []
    assert drive.see(2, 1.0) == ["0 RAISED NORMAL>ATTENTION THRESHOLD"]
    assert drive.see(3, 3.5) == ["0 RAISED ATTENTION>DANGER THRESHOLD"]
    assert drive.see(4, 2.8) == []
    assert drive.see(5, 1.9) == ["0 LOWERED DANGER>ALARM THRESHOLD"]
    assert drive.see(6, 0.8) == ["0 LOWERED ALARM>ATTENTION THRESHOLD"]
    assert drive.see(7, 0.79) == ["0 LOWERED ATTENTION>NORMAL THRESHOLD"]


def test_a_falling_point_is_the_mirror() -> None:
    levels = (LevelConfig(3.0, 3.2), LevelConfig(2.0, 2.2), LevelConfig(1.0, 1.2))
    drive = Drive(PointConfig("a", direction=Direction.FALLING, levels=levels))
    assert drive.see(1, 3.1) == []
    assert drive.see(2, 0.5) == ["0 RAISED NORMAL>DANGER THRESHOLD"]
    assert drive.see(3, 1.3) == ["0 LOWERED DANGER>ALARM THRESHOLD"]


def test_an_on_delay_ends_by_time_and_a_good_sample_below_ends_it() -> None:
    levels = (LevelConfig(1.0, 0.8, on_delay_ns=10 * S), LevelConfig(), LevelConfig())
    drive = Drive(PointConfig("a", levels=levels))
    assert drive.see(1, 1.5) == []
    assert drive.see(5, 0.9) == []
    assert drive.see(6, 1.5) == []
    assert drive.panel.next_deadline_ns() == 16 * S
    assert drive.panel.explain(0, 6 * S).pending is Level.ATTENTION
    assert drive.wait(20) == [(16.0, "0 RAISED NORMAL>ATTENTION ON_DELAY")]


def test_an_off_delay_and_the_minimum_on_time_hold_a_level() -> None:
    levels = (LevelConfig(1.0, 0.8, off_delay_ns=5 * S), LevelConfig(), LevelConfig())
    drive = Drive(PointConfig("a", levels=levels, minimum_on_ns=20 * S))
    drive.see(1, 1.0)
    assert drive.see(2, 0.5) == []
    assert drive.wait(20.9) == []
    assert drive.wait(21) == [(21.0, "0 LOWERED ATTENTION>NORMAL OFF_DELAY")]


@pytest.mark.parametrize(
    "status", [Status.MISSING, Status.SENTINEL, Status.LOOP_FAULT, Status.DEVICE_FAULT, Status.TEST]
)
def test_a_blind_sample_neither_raises_nor_clears(status: Status) -> None:
    levels = (LevelConfig(1.0, 0.8, off_delay_ns=5 * S), LevelConfig(), LevelConfig())
    drive = Drive(PointConfig("a", levels=levels))
    assert not any("RAISED NORMAL" in word for word in drive.see(1, 9.0, status=status))
    drive.see(2, 1.0)
    drive.see(3, 0.5)
    assert any("TROUBLE_RAISED" in word for word in drive.see(4, 0.5, status=status))
    assert drive.wait(100) == []
    assert drive.panel.level(0) is Level.ATTENTION
    drive.see(101, 0.5)
    assert drive.wait(106)[-1] == (106.0, "0 LOWERED ATTENTION>NORMAL OFF_DELAY")


def test_a_lost_point_holds_its_level_with_trouble() -> None:
    levels = (LevelConfig(1.0, 0.8, off_delay_ns=60 * S), LevelConfig(), LevelConfig())
    drive = Drive(PointConfig("a", levels=levels, stale_ns=10 * S))
    drive.see(1, 1.0)
    drive.see(2, 0.5)
    assert drive.wait(1000) == [(12.0, "0 TROUBLE_RAISED STALE TIME")]
    assert drive.panel.level(0) is Level.ATTENTION


def test_a_point_never_heard_of_goes_stale() -> None:
    drive = Drive(PointConfig("a", levels=THREE, stale_ns=10 * S))
    assert drive.wait(10) == [(10.0, "0 TROUBLE_RAISED STALE TIME")]


def test_a_single_spike_raises_nothing() -> None:
    drive = Drive(PointConfig("a", levels=THREE, spike=1.0))
    drive.see(1, 0.5)
    drive.see(2, 0.5)
    assert drive.see(3, 9.0) == ["0 TROUBLE_RAISED SPIKE QUALITY"]
    assert drive.panel.qc(0) is QcFlag.SUSPECT
    assert drive.see(4, 0.5) == []
    assert drive.panel.qc(0) is QcFlag.GOOD
    assert drive.see(5, 0.5) == []
    assert drive.panel.counters["spikes"] == 3  # QARTOD marks a tall spike's neighbours too
    assert drive.see(6, 0.5) == ["0 TROUBLE_CLEARED NONE QUALITY"]
    assert drive.wait(1000) == []


def test_a_leap_that_stays_raises_with_its_second_sample() -> None:
    drive = Drive(PointConfig("a", levels=THREE, spike=1.0))
    drive.see(1, 0.5)
    drive.see(2, 9.0)
    assert "0 RAISED NORMAL>DANGER THRESHOLD" in drive.see(3, 9.2)


def test_a_suspect_danger_is_raised_after_three_periods_even_in_silence() -> None:
    drive = Drive(PointConfig("a", levels=THREE, operator_span=(0.0, 3.2)))
    assert drive.see(1, 3.5) == ["0 TROUBLE_RAISED OPERATOR_SPAN QUALITY"]
    assert drive.wait(60) == [(4.0, "0 RAISED NORMAL>DANGER OUT_OF_SPAN")]


def test_three_successive_suspect_samples_raise_at_once() -> None:
    drive = Drive(PointConfig("a", levels=THREE, operator_span=(0.0, 3.2), confirm_ns=60 * S))
    assert len(drive.see(1.0, 3.5)) == 1
    assert drive.see(1.5, 3.6) == []
    assert drive.see(2.0, 3.7) == ["0 RAISED NORMAL>DANGER OUT_OF_SPAN"]


def test_a_good_sample_contradicts_and_a_suspect_one_does_not() -> None:
    drive = Drive(PointConfig("a", levels=THREE, operator_span=(0.0, 3.2)))
    drive.see(1, 3.5)
    drive.see(2, 0.5)
    assert drive.wait(60) == []
    drive.see(61, 3.5)
    drive.see(62, -1.0)
    assert drive.wait(70)[-1] == (64.0, "0 RAISED NORMAL>DANGER OUT_OF_SPAN")


def test_smoke_is_confirmed_within_ten_seconds() -> None:
    point = PointConfig("a", Hazard.FIRE, levels=THREE, period_ns=30 * S, operator_span=(0.0, 3.2))
    drive = Drive(point)
    drive.see(1, 3.5)
    assert drive.wait(100) == [(11.0, "0 RAISED NORMAL>DANGER OUT_OF_SPAN")]


def test_infinity_on_the_danger_side_counts_and_nan_does_not() -> None:
    drive = Drive(PointConfig("a", levels=THREE), PointConfig("b", levels=THREE), PointConfig("c", levels=THREE))
    for point, value in enumerate((inf, -inf, nan)):
        drive.see(1, value, point=point)
    assert [word for _, word in drive.wait(60)] == ["0 RAISED NORMAL>DANGER OUT_OF_SPAN"]
    assert drive.panel.trouble(1) is drive.panel.trouble(2) is Trouble.NOT_A_NUMBER


def test_namur_limits_and_sentinels_are_faults_not_dangers() -> None:
    looped = PointConfig("a", levels=THREE, loop_span=(0.0, 4.0))
    coded = PointConfig("b", levels=THREE, sentinels=(9999.0,))
    drive = Drive(looped, coded)
    assert drive.see(1, 4.26) == ["0 TROUBLE_RAISED DEVICE QUALITY"]  # above 21 mA
    assert drive.see(1, 9999.0, point=1) == ["1 TROUBLE_RAISED DEVICE QUALITY"]
    assert drive.wait(60) == []
    assert "SENSOR_SPAN" in drive.see(61, 4.2)[-1]  # 20.8 mA: saturated, towards danger
    assert drive.wait(70)[-1] == (64.0, "0 RAISED NORMAL>DANGER OUT_OF_SPAN")


def test_a_latched_level_waits_for_a_person() -> None:
    drive = Drive(PointConfig("a", levels=THREE, latch=True))
    drive.see(1, 3.5)
    assert drive.panel.reset(0, 2 * S) == []
    assert drive.see(3, 1.5) == []
    assert [each.level for each in drive.panel.reset(0, 4 * S)] == [Level.ATTENTION]
    assert drive.see(5, 0.1) == []
    drive.see(6, 0.1, status=Status.MISSING)
    assert drive.panel.reset(0, 7 * S) == []
    drive.see(8, 0.1)
    assert [each.level for each in drive.panel.reset(0, 9 * S)] == [Level.NORMAL]


def test_a_standing_level_is_restated() -> None:
    drive = Drive(PointConfig("a", levels=THREE, realarm_ns=60 * S))
    drive.see(1, 1.0)
    assert drive.wait(61) == [(61.0, "0 RESTATED ATTENTION>ATTENTION REALARM")]
    assert drive.wait(170) == [(121.0, "0 RESTATED ATTENTION>ATTENTION REALARM")]
    assert drive.panel.next_deadline_ns() == 181 * S


def test_order_duplicates_history_and_strangers_are_told_apart() -> None:
    drive = Drive(PointConfig("a", levels=THREE))
    drive.see(10, 0.5)
    assert drive.see(10, 0.5) == ["0 TROUBLE_RAISED DUPLICATE QUALITY"]
    assert drive.see(9, 0.5, now_s=11) == ["0 TROUBLE_RAISED OUT_OF_ORDER|DUPLICATE QUALITY"]
    assert drive.see(11, 9.0, status=Status.HISTORICAL) == []
    assert drive.see(11, 9.0, point=7) == []
    assert drive.see(12, 0.5) == ["0 TROUBLE_CLEARED NONE QUALITY"]
    counters = drive.panel.counters
    assert [counters[name] for name in ("duplicate", "out_of_order", "historical", "unknown_point")] == [1, 1, 1, 1]


def test_a_late_danger_is_not_hidden() -> None:
    drive = Drive(PointConfig("a", levels=THREE))
    drive.see(10, 0.5)
    drive.see(9, 3.5, now_s=11)
    assert drive.wait(60) == [(13.0, "0 RAISED NORMAL>DANGER CONFIRMED_SUSPECT")]


def test_the_future_is_confined_to_now_and_doubted() -> None:
    drive = Drive(PointConfig("a", levels=THREE, stale_ns=5 * S), PointConfig("b", stale_ns=5 * S))
    assert drive.see(10**9, 0.5, now_s=2) == ["0 TROUBLE_RAISED CLOCK QUALITY"]
    assert drive.panel.trouble(1) is Trouble.NONE
    assert drive.panel.next_deadline_ns() == 5 * S


def test_chatter_is_reported_and_mutes_nothing() -> None:
    drive = Drive(PointConfig("a", levels=THREE))
    told = []
    for k in range(3):
        told += drive.see(1 + 2 * k, 1.0)
        told += drive.see(2 + 2 * k, 0.5)
    assert told[-2:] == ["0 TROUBLE_RAISED CHATTER QUALITY", "0 LOWERED ATTENTION>NORMAL THRESHOLD"]
    assert drive.see(9, 3.5) == ["0 RAISED NORMAL>DANGER THRESHOLD"]
    assert drive.see(10, 0.1) == ["0 LOWERED DANGER>NORMAL THRESHOLD"]
    assert drive.wait(200) == [(69.0, "0 TROUBLE_CLEARED NONE TIME")]


def test_a_flood_that_climbs_three_levels_in_a_minute_is_no_chatter() -> None:
    drive = Drive(PointConfig("a", levels=THREE))
    for at_s, value in enumerate((1.0, 2.0, 3.0), 1):
        drive.see(at_s, value)
    assert drive.panel.trouble(0) is Trouble.NONE


def test_a_sensor_that_comes_and_goes_is_gathered_into_flapping() -> None:
    drive = Drive(PointConfig("a", levels=THREE, operator_span=(0.0, 9.0)))
    told = []
    for k in range(50):
        told += drive.see(2 * k + 1, 0.5)
        told += drive.see(2 * k + 2, -0.5)
    assert len(told) == 5
    assert told[-1] == "0 TROUBLE_RAISED OPERATOR_SPAN|FLAPPING QUALITY"
    drive.see(101, 0.5)
    assert drive.wait(500) == [(160.0, "0 TROUBLE_CLEARED NONE TIME")]


def test_misuse_is_refused_before_anything_is_judged() -> None:
    panel = Panel(PanelConfig((PointConfig("a", levels=THREE),)))
    with pytest.raises(WireError, match="batch"):
        panel.feed(pack([(0, 1, 9.0, 0)]) + b"x", 5)
    for wrong in (-1, (1 << 60) + 1):
        with pytest.raises(ValueError, match="now_ns"):
            panel.feed(b"", wrong)
    with pytest.raises(IndexError):
        panel.level(1)
    with pytest.raises(IndexError):
        panel.qc(-1)
    with pytest.raises(TypeError):
        panel.feed("text", 5)  # type: ignore[arg-type]
    assert panel.counters["samples"] == 0
    assert RECORD_SIZE == RECORD.size == 24


def test_an_empty_panel_and_an_empty_batch_are_fine() -> None:
    panel = Panel(PanelConfig(()))
    assert panel.feed(b"", 1) == panel.advance(2) == []
    assert panel.feed(pack([(0, 1, 1.0, 0)]), 3) == []
    assert panel.next_deadline_ns() is None


def test_any_buffer_is_a_batch() -> None:
    batch = pack([(0, S, 1.5, 0)])
    for kind in (bytes, bytearray, memoryview, lambda raw: memoryview(b"123" + raw)[3:]):
        panel = Panel(PanelConfig((PointConfig("a", levels=THREE),)))
        assert len(panel.feed(kind(batch), S)) == 1


def test_an_explanation_says_why() -> None:
    drive = Drive(PointConfig("a", levels=THREE, rate_window_ns=11 * S, stale_ns=60 * S))
    for at_s in range(1, 14):
        drive.see(at_s, 0.1 * at_s)
    seen = drive.panel.explain(0, 13 * S)
    assert (seen.level, seen.since_ns, seen.qc) == (Level.ATTENTION, 10 * S, QcFlag.GOOD)
    assert seen.rate_per_s == pytest.approx(0.1)
    assert seen.time_to_next_s == pytest.approx(7.0)
    assert any("attention raised 3.000 s ago" in word for word in seen.words)
