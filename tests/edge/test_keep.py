"""What is kept while nothing can be sent: bounded, thinned honestly, shed before the ledger lacks room, there after a crash."""

import asyncio
import os
from pathlib import Path

import pytest

from cython_ext import ClockQuality, ClockSource, Status
from edge.telemetry.births import RECORD
from edge.telemetry.dating import Dating
from edge.telemetry.keep import BUFFER_BYTES_MAX, DISK_SPARE_BYTES, FLUSH_S, Keep
from edge.telemetry.segments import SEGMENT_BYTES
from edge.troubles import Troubles
from lanes.store import run_here
from tests.kit.clock import ManualClock, run_virtual

NAMES = (("level", "gauge"), ("smoke", "bank"))
BOOT = b"bootboot"
S = 1_000_000_000


class Rig:
    """A Keep in a folder, a clock, and a disk with so much room."""

    def __init__(self, folder: Path, clock: ManualClock, bytes_max: int = 64 << 20, boot: bytes = BOOT) -> None:
        self.clock = clock
        self.room = 1 << 40
        self.told: list[tuple[str, bool]] = []
        self.troubles = Troubles(lambda data: self.told.append((data.code, data.on)))
        self.keep = Keep(
            folder / "backlog",
            NAMES,
            boot=boot,
            dating=Dating(clock),
            clock=clock,
            runner=run_here,
            troubles=self.troubles,
            bytes_max=bytes_max,
            window_s=25.0,
            free=lambda _: self.room,
        )

    @property
    def codes(self) -> set[str]:
        return {code for code, _ in self.troubles.standing()}

    def add(self, count: int, point: int = 0, step_ns: int = S, status: int = 0) -> None:
        for n in range(count):
            self.clock.advance(step_ns / 1e9)
            self.keep.add(RECORD.pack(self.clock.monotonic_ns(), float(n), point, status, 0))

    async def values(self) -> list[tuple]:
        """All that is on the disk, in the order in which it would be sent."""
        found, seen = [], set()
        while (one := await self.keep.next(seen)) is not None:
            segment, content = one
            seen.add(segment)
            for batch in content.batches:
                found += RECORD.iter_unpack(batch.records)
        return found


def virtual(scenario, tmp_path: Path, **settings) -> None:
    clock = ManualClock()
    run_virtual(scenario(Rig(tmp_path, clock, **settings)), clock)


def test_what_was_sent_lately_is_kept_when_the_session_ends_and_older_is_not(tmp_path):
    async def scenario(rig: Rig):
        for n in range(60):
            rig.clock.advance(1)
            rig.keep.sent(RECORD.pack(rig.clock.monotonic_ns(), float(n), 0, 0, 0))
        rig.keep.parted()
        rig.keep.parted()
        await rig.keep.flush()
        assert [row[1] for row in await rig.values()] == [float(n) for n in range(34, 60)]

    virtual(scenario, tmp_path)


def test_it_writes_now_and_then_and_a_crash_costs_at_most_what_was_not_yet_written(tmp_path):
    async def scenario(rig: Rig):
        running = asyncio.create_task(rig.keep.run())
        writes = []
        for n in range(600):
            await asyncio.sleep(1)
            rig.keep.add(RECORD.pack(rig.clock.monotonic_ns(), float(n), 0, 0, 0))
            writes.append(rig.keep._segments.total if rig.keep._segments else 0)
        assert 600 / FLUSH_S <= len(set(writes)) <= 600 / FLUSH_S + 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        again = Rig(tmp_path, rig.clock, boot=b"other...")
        found = [row[1] for row in await again.values()]
        assert found == [float(n) for n in range(len(found))]
        assert len(found) > 600 - FLUSH_S - 11

    virtual(scenario, tmp_path)


def test_of_a_point_without_value_only_the_first_in_a_row_is_kept(tmp_path):
    async def scenario(rig: Rig):
        for status in (0, 1, 1, 1, 0, 1):
            rig.add(1, status=status)
            rig.add(1, point=1)
        await rig.keep.flush()
        assert [row[3] for row in await rig.values() if row[2] == 0] == [0, Status.MISSING, 0, Status.MISSING]
        assert len([row for row in await rig.values() if row[2] == 1]) == 6

    virtual(scenario, tmp_path)


def test_when_full_the_oldest_is_thinned_and_says_so_and_the_newest_stays_whole(tmp_path):
    async def scenario(rig: Rig):
        for _ in range(100):
            rig.add(2000)
            await rig.keep.flush()
        status = rig.keep.status()
        assert status["bytes"] <= 1 << 20
        found = await rig.values()
        assert len(found) + rig.keep.thinned + rig.keep.lost == 200_000
        assert rig.keep.lost == 0
        assert rig.codes == {"backlog-thinned"}
        ages = [row[0] for row in found]
        assert ages == sorted(ages), "oldest first, through all levels"
        assert found[0][4] in (60, 600), "the first hours are still there, thinned"
        assert found[0][0] - rig.clock.monotonic_ns() < -190_000 * S
        assert all(row[4] == 0 for row in found[-2000:])
        await rig.keep.done(*(await rig.keep.next(())))

    virtual(scenario, tmp_path, bytes_max=1 << 20)


def test_at_the_very_end_the_oldest_goes_and_is_counted(tmp_path):
    async def scenario(rig: Rig):
        for _ in range(30):
            rig.add(2000, step_ns=3600 * S)  # nothing to thin
            await rig.keep.flush()
        assert rig.keep.status()["bytes"] <= 1 << 20
        assert rig.keep.lost > 0
        assert len(await rig.values()) + rig.keep.lost == 60_000
        assert ("backlog-shed", True) in rig.told

    virtual(scenario, tmp_path, bytes_max=1 << 20)


def test_a_disk_nearly_full_gets_the_backlog_s_room_and_nothing_is_kept_until_there_is_room_again(tmp_path):
    async def scenario(rig: Rig):
        running = asyncio.create_task(rig.keep.run())
        for _ in range(40):
            rig.add(1000, step_ns=1000)
            await rig.keep.flush()
        before = rig.keep.status()["bytes"]
        assert before > 3 * SEGMENT_BYTES
        used = before - SEGMENT_BYTES  # another program takes room: a segment's worth must go
        rig.room = DISK_SPARE_BYTES - SEGMENT_BYTES
        rig.keep._free = lambda _: rig.room + before - rig.keep.status()["bytes"]
        await asyncio.sleep(15)
        assert used - SEGMENT_BYTES <= rig.keep.status()["bytes"] <= used
        assert rig.codes == {"backlog-shed"}
        rig.keep._free = lambda _: 0
        await asyncio.sleep(15)
        assert rig.keep.status()["bytes"] == 0
        rig.add(10)
        await asyncio.sleep(40)
        assert rig.keep.lost == 40_010
        rig.keep._free = lambda _: 1 << 40
        rig.add(10)
        await asyncio.sleep(700)
        assert len(await rig.values()) == 10
        assert rig.codes == set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(scenario, tmp_path)


def test_while_the_disk_refuses_it_keeps_a_mebibyte_and_goes_on_after(tmp_path, monkeypatch):
    async def scenario(rig: Rig):
        def fails(_handle):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fails)
            rig.add(20_000)
            await rig.keep.flush()
            assert rig.codes == {"backlog-not-kept"}
            rig.add(40_000)
            await rig.keep.flush()
            assert rig.keep.status()["samples"] == BUFFER_BYTES_MAX // RECORD.size
        await rig.keep.flush()
        found = await rig.values()
        assert len(found) + rig.keep.lost == 60_000
        assert found[-1][1] == 39_999.0
        assert "backlog-not-kept" not in rig.codes

    virtual(scenario, tmp_path)


def test_another_plan_s_points_do_not_take_the_names_of_the_old_ones(tmp_path):
    async def scenario(rig: Rig):
        rig.add(2, point=1)
        rig.keep.replan((("smoke", "bank"),))
        rig.add(1, point=0)
        await rig.keep.flush()
        named, seen = [], set()
        while (one := await rig.keep.next(seen)) is not None:
            seen.add(one[0])
            for batch in one[1].batches:
                named += [one[1].names[row[2]][0] for row in RECORD.iter_unpack(batch.records)]
        assert named == ["smoke"] * 3

    virtual(scenario, tmp_path)


def test_72_hours_of_16_points_at_1_hz_fit_into_256_mib():
    per_batch = 30 * 16 * RECORD.size + 44
    assert 72 * 3600 / 30 * per_batch < 0.5 * (256 << 20)


@pytest.mark.parametrize("slew_ms", [0, 5, 15])
def test_a_clock_that_is_slewed_dates_a_sample_the_same_twice(slew_ms):
    clock = ManualClock()
    dating = Dating(clock)
    at_ns = clock.monotonic_ns() + 123_456_789
    clock.advance(1)
    first = dating.moment().wall_of(at_ns)
    clock.step_wall(slew_ms / 1000)
    clock.advance(10.0001)
    assert dating.moment().wall_of(at_ns) == first
    clock.step_wall(3600)
    assert dating.moment().wall_of(at_ns) == first + 3_600_000 + slew_ms


def test_an_untrusted_clock_is_said_so(tmp_path):
    async def scenario(rig: Rig):
        rig.clock.trust(ClockQuality(ClockSource.NONE))
        rig.add(1)
        await rig.keep.flush()
        _, content = await rig.keep.next(())
        assert not content.batches[0].trusted

    virtual(scenario, tmp_path)
