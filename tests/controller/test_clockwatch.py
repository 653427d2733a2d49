"""The controller's wall clock in the journal: what it is worth, and each jump; and no jump decides anything."""

from pathlib import Path

from controller.record.records import Record
from cython_ext import ClockQuality, ClockSource, Hazard, Level
from lanes.keys import Mode
from tests.kit.control_room import ControlRoom


def clocks(control: ControlRoom) -> list[tuple[int, int]]:
    """(source, wall − monotonic µs) of each CLOCK row so far."""
    rows = [row for row in control.journal._pending if row.kind is Record.CLOCK]
    assert all(row.value[0] == control.room.boot for row in rows)
    return [(row.value[1], row.value[3]) for row in rows]


def test_each_jump_and_each_source_is_a_row(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "j.db")
    control.wait(30)
    [(source, offset_us)] = clocks(control)
    assert source == ClockSource.NTP
    assert offset_us == control.clock.wall_us() - control.clock.monotonic_ns() // 1000
    control.clock.step_wall(0.4)  # slewed away
    control.wait(30)
    assert len(clocks(control)) == 1
    control.clock.step_wall(-3600)
    control.wait(2)
    assert clocks(control)[1:] == [(ClockSource.NTP, offset_us - 3_599_600_000)]
    assert ("clock-stepped", "") in control.codes()
    control.clock.trust(ClockQuality(ClockSource.NONE))
    control.wait(11)
    assert clocks(control)[2:] == [(ClockSource.NONE, offset_us - 3_599_600_000)]
    assert ("clock-untrusted", "") in control.codes()
    control.clock.trust(ClockQuality(ClockSource.GNSS, 1))
    control.wait(11)
    assert ("clock-untrusted", "") not in control.codes()


def test_a_jump_makes_clears_and_hides_nothing(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "j.db")
    node = control.node("n1")
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    assert len(control.starts()) == 1
    before = control.room.book.at("ungheni", Hazard.FLOOD, Mode.LIVE)
    for years in (-9, 10, -1):
        control.clock.step_wall(years * 365 * 86_400)
        control.wait(5)
        after = control.room.book.at("ungheni", Hazard.FLOOD, Mode.LIVE)
        assert after is not None
        assert before is not None
        assert (after.level, after.live_level, after.parts) == (before.level, before.live_level, before.parts)
    assert ("node-silent", "n1") not in control.codes()
