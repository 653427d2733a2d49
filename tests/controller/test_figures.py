"""The figures of the alarm system: against a count done the slow way, over restarts, and as the desk tells them."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from controller.alarm.figurebook import read_out
from controller.alarm.figures import DAY_US, FLOOD_OVER, FLOOD_UNDER, HOUR_US, MINUTE_US, TEN_US, Figures
from controller.alarm.life import State
from cython_ext import Level
from lanes.acts import AckAlarm, RemoveAlarm
from tests.kit.control_room import ControlRoom
from tests.kit.plans import PLAN, signed, with_keys

START_US = 1_780_000_000_000_000 // DAY_US * DAY_US


def said(figures: Figures, at_us: int, source: str = "quay/flood", level: Level = Level.ALARM) -> None:
    """One annunciation: it comes, and is over at once."""
    figures.saw(source, State.UNACKNOWLEDGED, level, level, at_us)
    figures.saw(source, State.NORMAL, Level.NORMAL, level, at_us)


def slow_floods(times: list[int], until_us: int) -> list[tuple[int, int]]:
    """(start, end; 0 lasts): looked at whenever anything can change."""
    looks = sorted({*times, *(t + TEN_US for t in times if t + TEN_US <= until_us)})
    floods: list[tuple[int, int]] = []
    for now in looks:
        inside = [t for t in times if now - TEN_US < t <= now]
        open_ = bool(floods) and not floods[-1][1]
        if open_ and len(inside) < FLOOD_UNDER:
            floods[-1] = (floods[-1][0], now)
        elif not open_ and len(inside) > FLOOD_OVER:
            floods.append((inside[0], 0))
    return floods


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(0, 1500))
def test_floods_begin_and_end_as_a_slow_count_says(gaps_s: list[int], after_s: int) -> None:
    figures, now_us, times = Figures(), START_US, []
    for gap_s in gaps_s:
        now_us += gap_s * 1_000_000
        times.append(now_us)
        said(figures, now_us)
    now_us += after_s * 1_000_000
    figures.advance(now_us)
    assert [(f.start_us, f.end_us) for f in figures.floods] == slow_floods(times, now_us)
    assert figures.recent == sum(t > now_us - TEN_US for t in times)


def test_the_figures_of_a_bad_day() -> None:
    figures = Figures()
    figures.begin(START_US)
    for minute in range(12):  # a flood of 12 in 6 min, from two sources
        said(
            figures,
            START_US + HOUR_US + minute * MINUTE_US // 2,
            ("quay/flood", "mill/fire")[minute % 2],
            Level(1 + minute % 3),
        )
    for second in range(3):
        said(figures, START_US + 3 * HOUR_US + second * 1_000_000, "school/fire")
    found = read_out(figures, [], START_US + 10 * HOUR_US)
    assert found["annunciations"] == {"total": 15, "last_10_min": 0, "last_hour": 0, "last_day": 15}
    assert found["average_per_hour"] == 1.5
    assert found["average_per_day"] is None  # not a day has been seen yet
    assert (found["peak_10_min"], found["peak_hour"], found["peak_minute"]) == (12, 12, 3)
    assert {name: each["count"] for name, each in found["levels"].items()} == {"danger": 4, "alarm": 7, "attention": 4}
    assert found["chattering"] == [{"alarm": "school/fire", "times": 1}]
    assert {each["alarm"] for each in found["fleeting"]} == {"quay/flood", "mill/fire", "school/fire"}
    assert found["top"][0] == {"alarm": "quay/flood", "count": 6, "percent": 40.0}
    # From the first of its alarms until only four are left within ten minutes: 3.5 min + 10 min after the beginning.
    assert [(f["start_us"] - START_US - HOUR_US, f["end_us"] - f["start_us"]) for f in found["flood"]["floods"]] == [
        (0, 7 * MINUTE_US // 2 + TEN_US)
    ]
    assert found["flood_percent_of_time"] == 2.25


def test_what_is_old_is_forgotten_and_what_is_kept_is_bounded() -> None:
    figures = Figures()
    figures.begin(START_US)
    for day in range(60):
        said(figures, START_US + day * DAY_US, f"zone-{day}/flood")
    assert len(figures.days) == 31
    assert len(figures.tens) == 31
    found = read_out(figures, [], START_US + 59 * DAY_US, days=7)
    assert found["annunciations"]["total"] == 8  # the day that began seven days ago too
    again = Figures()
    again.restore(figures.pack())
    assert again.pack() == figures.pack()


async def test_they_are_the_same_after_a_restart_with_and_without_a_snapshot(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", signed(with_keys(PLAN)))
    node = control.node("n1")
    control.hear(node, node.state())
    for turn in range(12):
        control.clock.advance(20)
        control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
        control.clock.advance(5)
        control.hear(node, node.level("gauge", Level.ALARM, Level.DANGER))
        control.clock.advance(5)
        control.hear(node, node.level("gauge", Level.DANGER, Level.NORMAL))
        alarm = next(iter(control.room.book))
        control.act(AckAlarm(alarm.id, alarm.unseen))
        if turn == 3:
            await control.restart(clean=True)
    control.wait(1)
    assert ("alarm-flood", "") in control.codes()
    before = read_out(control.room.figures, control.room.book, control.clock.wall_us())
    assert before["annunciations"]["total"] == 13  # it got worse once; later it was known to have been so bad
    assert before["flood"]["now"]
    await control.restart()
    assert read_out(control.room.figures, control.room.book, control.clock.wall_us()) == before
    control.clock.advance(600)
    control.wait(1)
    assert ("alarm-flood", "") not in control.codes()
    await control.journal.close()


def test_what_is_muted_or_no_live_alarm_counts_for_nothing(tmp_path: Path) -> None:
    from cython_ext import Hazard
    from lanes.keys import Mode

    control = ControlRoom(tmp_path / "journal.db", signed(with_keys(PLAN)))
    until_us = control.clock.wall_us() + HOUR_US
    for person in ("ana", "ion"):
        control.act(RemoveAlarm("ungheni", Hazard.FLOOD, until_us, Level.ALARM, "W-1", "works"), person)
    node, drill = control.node("n1"), control.node("n2", mode=Mode.EXERCISE)
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    control.hear(drill, drill.level("gauge2", Level.NORMAL, Level.ALARM))
    assert sum(control.room.figures.tens.values()) == 0
    control.hear(node, node.level("gauge", Level.ALARM, Level.DANGER))
    assert sum(control.room.figures.tens.values()) == 1
