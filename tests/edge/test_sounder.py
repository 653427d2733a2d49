"""One siren: proof, sound that nobody ordered, tests, and a crash in mid-sound."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edge.siren.sounder import GROWL_EVERY_S
from firmware_bridge.gpio.simulated import Board
from lanes.keys import Mode
from lanes.orders import TESTS, Action, reference_of
from lanes.reports import SirenTrouble, Stage
from tests.kit.clock import run_virtual
from tests.kit.orders import ALL, Say
from tests.kit.siren_rig import Rig, clock_of, rig

ACCEPTED, ARMED, SOUNDING = (Stage.ACCEPTED, "evidence"), (Stage.ARMED, ""), (Stage.SOUNDING, "measured")
BEGUN = [ACCEPTED, ARMED, SOUNDING]


def run(folder: Path, test: Callable[[Rig], Awaitable[None]]) -> None:
    """One node's life in virtual time, under the relay monitor."""

    async def main() -> None:
        async with rig(folder) as r:
            await test(r)
            r.lawful()

    run_virtual(main())


# Proof.


def test_a_siren_that_is_not_heard_has_failed_and_plays_on(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.deaf.add("R1")
        await r.give(r.make.order(), "R1")
        await asyncio.sleep(4)
        assert r.told() == [ACCEPTED, ARMED, (Stage.FAILED, "no-sound")]
        assert r.on(), "a broken contact must not silence a warning"
        await asyncio.sleep(120)
        assert len(r.told()) == 3
        assert r.sirens.states()[0].stage is Stage.FAILED
        assert r.sirens.states()[0].trouble & SirenTrouble.FAILED
        r.deaf.clear()
        await r.give(r.make.order(), "R1")
        await asyncio.sleep(1)
        assert r.told()[-1] == SOUNDING, "it has not sounded: the incident may sound"
        await asyncio.sleep(125)
        assert not r.sirens.states()[0].trouble & SirenTrouble.FAILED

    run(tmp_path, test)


def test_late_proof_is_told_too(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.deaf.add("R1")
        await r.give(r.make.order(), "R1")
        await asyncio.sleep(30)
        r.board.drive("F1", True)
        await asyncio.sleep(1)
        assert r.told()[-2:] == [(Stage.FAILED, "no-sound"), SOUNDING]

    run(tmp_path, test)


def test_a_dead_driver_is_told(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.chip.dead = {True}
        await r.give(r.make.order())
        await asyncio.sleep(4)
        assert r.told()[-1] == (Stage.FAILED, "driver")
        await asyncio.sleep(120)
        assert r.monitor.activations == 0
        assert r.sirens.states()[0].stage is Stage.FAILED

    run(tmp_path, test)


def test_a_driver_that_hangs_is_off_at_the_limit(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(max_s=60), "R1", 60)
        await asyncio.sleep(20)
        r.chip.hangs = True
        await asyncio.sleep(45)
        assert r.told()[-1][0] in (Stage.DONE, Stage.FAILED)
        r.chip.hangs = False
        await r.give(r.make.order(incident=b"another."), "R1")
        await asyncio.sleep(1)
        assert r.on(), "and it can be used again"

    run(tmp_path, test)


# Unordered.


def test_a_siren_that_sounds_unordered_is_an_alarm(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await asyncio.sleep(30)
        r.board.drive("F1", True)
        await asyncio.sleep(15)
        assert r.told() == [(Stage.UNORDERED, "unordered")]
        state = r.sirens.states()[0]
        assert (state.stage, state.trouble) == (Stage.UNORDERED, SirenTrouble.UNORDERED)
        await asyncio.sleep(60)
        assert len(r.receipts) == 1, "once"
        r.board.drive("F1", False)
        await asyncio.sleep(15)
        assert r.sirens.states()[0].stage is Stage.DONE
        assert r.told()[-1] == (Stage.DONE, "quiet")
        await r.give(r.make.order(), "R1")
        assert r.on()

    run(tmp_path, test)


def test_a_siren_that_does_not_fall_silent_is_stuck(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(max_s=10), "R1", 10)
        await asyncio.sleep(5)
        r.deaf.add("R1")  # its contact no longer follows the relay
        await asyncio.sleep(40)
        assert r.told()[-2:] == [(Stage.DONE, "end"), (Stage.UNORDERED, "stuck")]

    run(tmp_path, test)


# Tests and status.


def test_checks(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        async def check(action: Action, permit: str = "") -> list[tuple[Stage, str]]:
            before = len(r.receipts)
            mode = Mode.TEST if action in TESTS else Mode.LIVE
            await r.give(r.make.seal(Say(action, pattern="", max_s=0, incident=ALL, mode=mode)), permit, 1.0)
            await asyncio.sleep(3)
            return [(x.stage, x.reason) for x in r.receipts[before:]]

        await asyncio.sleep(5)
        assert await check(Action.ARM) == [(Stage.ACCEPTED, "arm"), (Stage.DONE, "arm")]
        assert await check(Action.STATUS) == [(Stage.ACCEPTED, "status"), (Stage.DONE, "ready")]
        assert await check(Action.SILENT_TEST) == [(Stage.ACCEPTED, "silent-test"), (Stage.DONE, "silent-test")]
        assert await check(Action.GROWL_TEST, "R1") == [(Stage.ACCEPTED, "growl-test"), (Stage.DONE, "growl-test")]
        on, off = [at for at, line, _ in r.monitor.edges if line == "R1"]
        assert (off - on) / 1e9 == pytest.approx(0.5, abs=0.05)
        assert await check(Action.GROWL_TEST) == [(Stage.REFUSED, "rate")]
        await asyncio.sleep(GROWL_EVERY_S)
        assert await check(Action.GROWL_TEST, "R1") == [(Stage.ACCEPTED, "growl-test"), (Stage.DONE, "growl-test")]
        await r.give(r.make.order(), "R1")
        assert (Stage.REFUSED, "busy") in await check(Action.STATUS)

    run(tmp_path, test)


def test_a_test_gives_way_to_an_order(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.monitor.permit("R1", r.clock.monotonic_ns(), 1)
        await r.sirens.order(r.make.seal(Say(Action.GROWL_TEST, pattern="", max_s=0, mode=Mode.TEST)))
        await r.give(r.make.order(), "R1")
        await asyncio.sleep(1)
        assert r.told() == [(Stage.ACCEPTED, "growl-test"), (Stage.STOPPED, "replaced"), *BEGUN]
        assert r.on()

    run(tmp_path, test)


# The node's own life.


def test_a_crash_in_mid_sound_is_told_and_silent(tmp_path: Path) -> None:
    async def main() -> None:
        board = Board(clock_of())
        order = b""
        try:
            async with rig(tmp_path, board=board) as r:
                order = r.make.order()
                await r.give(order, "R1")
                await asyncio.sleep(3)
                shutil_copy(tmp_path, tmp_path.with_name("crashed"))
                raise KeyError("crash")
        except KeyError:
            pass
        board.levels["R1"] = True  # a relay board that kept its relay closed
        async with rig(tmp_path.with_name("crashed"), boot=b"boot-two", board=board) as r:
            assert not r.on()
            assert r.told() == [(Stage.FAILED, "restart")]
            assert r.receipts[0].order == reference_of(order)
            await asyncio.sleep(30)
            await r.give(order)
            assert r.monitor.activations == 0
            assert r.told()[-1] == (Stage.REFUSED, "counter")
            again = r.make.order(nonce=b"boot-two", counter=9999)
            await r.give(again, "R1")
            assert r.on(), "its incident has not sounded to the end: a new order may"

    run_virtual(main())


def shutil_copy(source: Path, to: Path) -> None:
    """The disk as it is at this instant, the write-ahead log included."""
    to.mkdir()
    for file in source.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
