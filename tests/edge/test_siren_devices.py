"""Sirens on real Modbus frames: each driver sounds and proves, a driver that lies is told, what nobody ordered is an alarm."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lanes.reports import Stage
from tests.kit.clock import run_virtual
from tests.kit.line_rig import SIREN, LineRig, line_rig

BEGUN = [(Stage.ACCEPTED, "evidence"), (Stage.ARMED, ""), (Stage.SOUNDING, "measured")]
KINDS = sorted(SIREN)


def run(folder: Path, kind: str, test: Callable[[LineRig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with line_rig(folder, kind) as r:
            await test(r)

    run_virtual(main())


@pytest.mark.parametrize("kind", KINDS)
def test_each_driver_plays_the_pattern_and_proves_it(tmp_path: Path, kind: str) -> None:
    async def test(r: LineRig) -> None:
        await r.give(r.make.order())
        await asyncio.sleep(130)
        assert r.told() == [*BEGUN, (Stage.DONE, "end")]
        edges = [at for at, _, _ in r.monitor.edges]
        blasts = [(off - on) / 1e9 for on, off in zip(edges[::2], edges[1::2], strict=True)]
        assert blasts == pytest.approx([16.0] * 5, abs=0.05)
        starts = [(at - edges[0]) / 1e9 for at in edges[::2]]
        assert starts == pytest.approx([0, 26, 52, 78, 104], abs=0.05)

    run(tmp_path, kind, test)


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_that_lies(tmp_path: Path, kind: str) -> None:
    """It accepts every act, and nothing sounds."""

    async def test(r: LineRig) -> None:
        r.deaf = True
        behaviour = r.line.units[1].behaviour
        assert behaviour is not None
        behaviour.fail("mute")
        await r.give(r.make.order())
        await asyncio.sleep(10)
        assert r.told() == [*BEGUN[:2], (Stage.FAILED, "no-sound")]
        await asyncio.sleep(120)

    run(tmp_path, kind, test)


@pytest.mark.parametrize("kind", KINDS)
def test_a_siren_that_sounds_unordered_is_a_security_alarm(tmp_path: Path, kind: str) -> None:
    async def test(r: LineRig) -> None:
        await asyncio.sleep(60)
        if kind.startswith("informer"):  # another master on the line
            behaviour = r.line.units[1].behaviour
            assert behaviour is not None
            r.monitor.permit("s1", r.clock.monotonic_ns(), 200)  # what the intruder does is not the node's doing
            behaviour.wrote("utility", 0)
            behaviour.wrote("tone", 1)
        else:  # somebody bridges the contact
            r.line.units[3].memory.set("alarm-1", 1.0)
        await asyncio.sleep(30)
        assert r.told() == [(Stage.UNORDERED, "unordered")]
        if kind.startswith("informer"):
            assert behaviour is not None
            behaviour.wrote("utility", 3)
        else:
            r.line.units[3].memory.set("alarm-1", 0.0)
        await asyncio.sleep(15)
        assert r.told()[-1] == (Stage.DONE, "quiet")

    run(tmp_path, kind, test)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_is_off_within_two_seconds(tmp_path: Path, kind: str) -> None:
    async def test(r: LineRig) -> None:
        await r.give(r.make.order())
        await asyncio.sleep(5)
        assert r.sounds
        r.monitor.stop("s1", r.clock.monotonic_ns())
        await r.sirens.order(r.make.stop())
        await asyncio.sleep(2)
        assert not r.sounds
        assert r.told()[-1] == (Stage.STOPPED, "stopped")

    run(tmp_path, kind, test)


def test_a_line_that_dies_in_mid_sound_leaves_the_board_s_own_timer(tmp_path: Path) -> None:
    async def test(r: LineRig) -> None:
        await r.give(r.make.order())
        await asyncio.sleep(5)
        r.line.refuses = True
        r.line.cut()
        await asyncio.sleep(15)
        assert not r.sounds, "by the relay board itself"
        r.line.refuses = False
        await asyncio.sleep(120)

    run(tmp_path, "coil-timed", test)
