"""Dispatch while its disk takes nothing: told at once from memory, durable when the disk is well, told again after a crash."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.dispatch.dispatcher import DISK_RETRY_S
from controller.teller import AGAIN_S, FEW, GIVE_WAY_S, Teller
from tests.controller.test_outbox import Desk, World, change, run_clocked, world
from tests.kit.clock import ManualClock
from tests.kit.disk import Disk, faulty_disk

WAYS = ("full", "sync", "write")


def break_(disk: Disk, how: str) -> None:
    disk.room = disk.used() if how == "full" else None
    disk.sync_fails, disk.write_fails = how == "sync", how == "write"


def heal(disk: Disk) -> None:
    disk.room, disk.sync_fails, disk.write_fails = None, False, False


def disk_troubles(w: World) -> list[bool]:
    return [on for code, on, _ in w.troubles if code == "dispatch-disk"]


@pytest.mark.parametrize("how", WAYS)
def test_people_are_told_though_the_disk_takes_nothing_and_once(tmp_path: Path, how: str) -> None:
    desk = Desk()

    async def main(clock: ManualClock, disk: Disk) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            assert await w.dispatcher.tell(change())
            assert await w.dispatcher.settled(1)
            break_(disk, how)
            assert not await w.dispatcher.tell(change(seq=2))
            assert await w.dispatcher.settled(1)
            assert len(desk.seen) == 2
            assert disk_troubles(w) == [True]
            heal(disk)
            await asyncio.sleep(2 * DISK_RETRY_S)
            assert disk_troubles(w) == [True, False]
            assert await w.dispatcher.tell(change(seq=2))  # now it is durable
        async with world(tmp_path / "o.db", clock, desk) as w:
            assert await w.dispatcher.tell(change(seq=2))
            assert await w.dispatcher.settled(1)

    with faulty_disk(tmp_path) as disk:
        run_clocked(lambda clock: main(clock, disk))
    assert len(desk.identifiers) == len(set(desk.identifiers)) == 2


@pytest.mark.parametrize("how", WAYS)
def test_what_only_memory_had_is_told_again_after_a_crash(tmp_path: Path, how: str) -> None:
    desk = Desk()

    async def main(clock: ManualClock, disk: Disk) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            assert await w.dispatcher.tell(change())
            assert await w.dispatcher.settled(1)
            break_(disk, how)
            assert not await w.dispatcher.tell(change(seq=2))
            assert await w.dispatcher.settled(1)
        heal(disk)
        async with world(tmp_path / "o.db", clock, desk) as w:
            assert await w.dispatcher.tell(change(seq=2))  # as the journal does, which counts it as untold
            assert await w.dispatcher.settled(1)

    with faulty_disk(tmp_path) as disk:
        run_clocked(lambda clock: main(clock, disk))
    assert len(set(desk.identifiers)) == 2
    assert len(desk.identifiers) == 3  # twice under one identifier


@dataclass
class Ear:
    """Takes changes up; durably when `durable`."""

    durable: bool = False
    heard: list[int] = field(default_factory=list)

    async def __call__(self, one: Any) -> bool:
        self.heard.append(one)
        return self.durable


def test_a_change_is_told_again_until_that_is_durable_and_holds_nobody_back() -> None:
    ear = Ear()

    async def main(clock: ManualClock) -> None:
        del clock
        untold = {1: 11}

        async def durable() -> None:
            return

        def told(seq: int) -> None:
            del untold[seq]

        room: Any = SimpleNamespace(untold=untold, journal=SimpleNamespace(durable=durable), told=told)
        teller = Teller(room, ear)
        task = asyncio.create_task(teller.run())
        await asyncio.sleep(1)
        untold[2] = 22
        teller.wake()
        await asyncio.sleep(1)
        assert ear.heard == [11, 22]
        assert untold == {1: 11, 2: 22}
        ear.durable = True
        await asyncio.sleep(2 * AGAIN_S)
        assert ear.heard == [11, 22, 11, 22]
        assert not untold
        task.cancel()

    run_clocked(main)


def test_in_a_storm_a_few_are_told_at_once_and_the_rest_gives_way_for_a_while() -> None:
    ear = Ear(durable=True)

    async def main(clock: ManualClock) -> None:
        del clock
        untold = {seq: seq for seq in range(1, 501)}
        crowded = True

        async def durable() -> None:
            return

        room: Any = SimpleNamespace(untold=untold, journal=SimpleNamespace(durable=durable), told=untold.pop)
        teller = Teller(room, ear, lambda: crowded)
        task = asyncio.create_task(teller.run())
        await asyncio.sleep(0.5)
        assert len(ear.heard) == FEW, "people know that it has begun"
        await asyncio.sleep(GIVE_WAY_S / 2)
        assert len(ear.heard) <= FEW * (GIVE_WAY_S / 2 + 2)
        await asyncio.sleep(GIVE_WAY_S / 2 + 1)
        assert ear.heard == list(range(1, 501)), "nobody is held back for longer, in their order"
        untold |= {seq: seq for seq in range(501, 701)}
        teller.wake()
        await asyncio.sleep(1.5)
        assert len(ear.heard) < 600
        crowded = False
        await asyncio.sleep(1.0)
        assert len(ear.heard) == 700, "at once when the reports are in"
        task.cancel()

    run_clocked(main)
