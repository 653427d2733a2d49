"""What the wall clock is worth."""

import asyncio

import pytest

from cython_ext import ClockQuality, ClockSource
from edge.files import write_durably
from edge.health import (
    NodeClock,
    build_us,
    keep_time,
    load_time,
    save_time,
    tell_back_out,
)
from edge.troubles import Troubles
from lanes.kernelclock import kernel_quality
from lanes.store import run_here
from tests.kit.clock import START_WALL_US, ManualClock, run_virtual

HOUR_US = 3_600_000_000
NTP, RTC, NONE = (ClockQuality(source, 7) for source in (ClockSource.NTP, ClockSource.RTC, ClockSource.NONE))


def test_the_wall_clock_never_starts_before_what_has_been():
    inner = ManualClock(wall_us=0, quality=NONE)
    clock = NodeClock(inner, floor_us=START_WALL_US)
    assert clock.wall_us() == START_WALL_US
    inner.advance(60)
    assert clock.wall_us() == START_WALL_US + 60_000_000
    inner.step_wall(2 * START_WALL_US / 1e6)
    assert clock.wall_us() == inner.wall_us(), "later than the floor: the machine's own"


def test_a_synchronised_clock_is_believed_even_below_the_floor():
    inner = ManualClock(quality=NTP)
    assert NodeClock(inner, floor_us=2 * START_WALL_US).wall_us() == START_WALL_US


@pytest.mark.parametrize(
    ("synced_hours_ago", "source"),
    [
        (1, ClockSource.RTC),
        (71, ClockSource.RTC),
        (73, ClockSource.NONE),
        (None, ClockSource.NONE),
        (-1, ClockSource.NONE),
    ],
)
def test_a_hardware_clock_is_trusted_for_a_while_after_it_was_set(synced_hours_ago, source):
    synced_us = 0 if synced_hours_ago is None else START_WALL_US - synced_hours_ago * HOUR_US
    inner = ManualClock()
    clock = NodeClock(inner, floor_us=0, synced_us=synced_us, rtc_hours=72, probe=lambda: RTC)
    assert clock.quality().source is source
    if source is ClockSource.RTC:
        assert clock.quality().error_ms == round(synced_hours_ago * 3_600_000 * 100e-6)


def test_a_hardware_clock_that_lost_its_battery_is_not_trusted():
    inner = ManualClock(wall_us=1_000_000)
    clock = NodeClock(inner, floor_us=START_WALL_US, synced_us=500_000, rtc_hours=72, probe=lambda: RTC)
    assert not clock.quality().trusted
    assert clock.wall_us() == START_WALL_US


def test_time_and_last_synchronisation_are_persisted_every_ten_minutes(tmp_path):
    inner = ManualClock()
    said = [NTP]
    told = []

    async def main():
        clock = NodeClock(inner, floor_us=0, probe=lambda: said[-1])
        troubles = Troubles(lambda data: told.append((data.code, data.on)))
        task = asyncio.create_task(keep_time(clock, tmp_path / "time", run_here, troubles))
        await asyncio.sleep(601)
        first = load_time(tmp_path / "time")
        said.append(NONE)
        await asyncio.sleep(1200)
        second = load_time(tmp_path / "time")
        said.append(NTP)
        await asyncio.sleep(11)
        task.cancel()
        return first, second

    first, second = run_virtual(main(), inner)
    assert first.wall_us == START_WALL_US + 600_000_000
    assert second.wall_us == START_WALL_US + 1_800_000_000
    assert second.synced_us - START_WALL_US <= 610_000_000
    assert told == [("clock-untrusted", True), ("clock-untrusted", False)]


@pytest.mark.parametrize("damage", [b"", b"x", b"y" * 100])
def test_a_damaged_time_file_counts_for_nothing(tmp_path, damage):
    (tmp_path / "time").write_bytes(damage)
    assert load_time(tmp_path / "time").wall_us == 0
    assert load_time(tmp_path / "missing").wall_us == 0


def test_the_kernel_is_asked_and_answers():
    quality = kernel_quality()
    assert quality.source in (ClockSource.NONE, ClockSource.RTC, ClockSource.NTP)
    assert build_us() > START_WALL_US - 365 * 24 * HOUR_US


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    assert write_durably(path, b"one")
    assert write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert not write_durably(tmp_path / "gone" / "file", b"three")


def test_saving_on_a_disk_that_refuses_does_not_raise(tmp_path):
    clock = NodeClock(ManualClock(), floor_us=0)
    asyncio.run(save_time(clock, tmp_path / "gone" / "time", run_here))


def test_a_release_that_its_host_has_left_again_is_told(tmp_path):
    told = []
    troubles = Troubles(told.append)
    tell_back_out(tmp_path, troubles)
    assert not told
    (tmp_path / "release-backed-out").write_text("0.3.0\n")
    tell_back_out(tmp_path, troubles)
    assert [(each.code, each.on, each.subject) for each in told] == [("release-backed-out", True, "0.3.0")]
