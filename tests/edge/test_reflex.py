"""Reflex: the node acting alone, only where and when the plan and the lane let it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cython_ext import Cause, Hazard, Level, Reason, Trouble
from lanes.identity import AlarmId
from lanes.keys import Mode
from lanes.reports import Stage, TransitionData
from tests.kit.clock import run_virtual
from tests.kit.orders import BOOT, NODE, key_of
from tests.kit.siren_rig import Rig, rig

BEGUN = [(Stage.ACCEPTED, "reflex"), (Stage.ARMED, ""), (Stage.SOUNDING, "measured")]


@dataclass
class World:
    """The node, and its own points' transitions as its ledger numbers them."""

    r: Rig
    seq: int = 100

    def raises(self, point: str, level: Level, was: Level = Level.NORMAL, cause: Cause = Cause.RAISED) -> None:
        self.seq += 1
        self.r.make.seq = self.seq
        data = TransitionData(point, cause, was, level, 3.3, Reason.THRESHOLD, Trouble.NONE)
        self.r.reflex.transition(data, key_of(self.seq))

    def clears(self, point: str, was: Level = Level.ALARM) -> None:
        self.raises(point, Level.NORMAL, was, Cause.LOWERED)

    async def cut(self, wait_s: float = 1.0) -> None:
        self.r.reflex.cut_off(self.r.clock.monotonic_ns())
        await asyncio.sleep(wait_s)

    def permit(self, max_s: float = 121) -> None:
        self.r.monitor.permit("R1", self.r.clock.monotonic_ns(), max_s, 1000)

    def incident(self, seq: int, hazard: Hazard = Hazard.FLOOD) -> bytes:
        return AlarmId("ungheni", hazard, key_of(seq)).incident


def run(folder: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig(folder) as r:
            await test(World(r))
            r.lawful()

    run_virtual(main())


def test_cut_off_and_in_danger_it_sounds_once(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(20)
        assert not w.r.receipts, "connected: the controller decides"
        w.permit()
        await w.cut()
        assert w.r.told() == BEGUN
        first = w.r.receipts[0]
        assert (first.order, first.incident) == (bytes(8), w.incident(101))
        assert not w.r.on("R2"), "another zone's siren"
        await asyncio.sleep(1000)
        assert w.r.told()[3:] == [(Stage.DONE, "end")]

    run(tmp_path, test)


def test_a_raise_while_cut_off_sounds_at_once(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.permit()
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(0.05)
        assert w.r.on()

    run(tmp_path, test)


def test_a_higher_level_sounds_its_own_pattern(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.permit()
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(5)
        w.permit(241)
        w.raises("gauge", Level.DANGER, Level.ALARM)
        await asyncio.sleep(1)
        assert w.r.told() == [*BEGUN, (Stage.STOPPED, "replaced"), *BEGUN]
        assert {r.incident for r in w.r.receipts} == {w.incident(101)}, "one alarm, one incident"
        await asyncio.sleep(50)
        assert w.r.on(), "danger: 60 s of sound"

    run(tmp_path, test)


def test_what_is_not_the_reflex_s_to_sound(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.raises("gauge", Level.ATTENTION)  # below every policy
        w.raises("gauge2", Level.DANGER)  # another node's point
        w.raises("vote-a", Level.ALARM)
        w.raises("smoke-vote", Level.ALARM)  # a vote over other nodes' points
        w.raises("nothing", Level.DANGER)
        await asyncio.sleep(200)
        assert w.r.monitor.activations == 0

    run(tmp_path, test)


def test_by_hand_and_where_the_plan_says_no_reflex_it_waits_for_people(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.raises("gauge-v", Level.ALARM)  # by hand
        w.raises("smoke-v", Level.ALARM)  # automatic, without reflex
        await asyncio.sleep(700)
        assert w.r.monitor.activations == 0

    run(tmp_path, test)


def test_a_level_that_falls_before_the_cut_sounds_nothing(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("gauge", Level.ALARM)
        w.raises("gauge", Level.ATTENTION, Level.ALARM, Cause.LOWERED)
        await w.cut(60)
        assert w.r.monitor.activations == 0
        w.clears("gauge")
        assert not w.r.store.opened

    run(tmp_path, test)


def test_a_danger_that_is_over_is_not_sounded_for_while_the_disk_takes_its_time(tmp_path: Path) -> None:
    """Seed 36 of the simulated sites: the fall waited for the disk, as did the ack of an older event, which cut the node off."""

    async def test(w: World) -> None:
        w.raises("gauge", Level.ALARM)
        w.r.reflex.turned("gauge", Level.ATTENTION)
        await w.cut(60)
        assert w.r.monitor.activations == 0
        w.raises("gauge", Level.ATTENTION, Level.ALARM, Cause.LOWERED)
        w.r.reflex.turned("gauge", Level.ALARM)
        await asyncio.sleep(60)
        assert w.r.monitor.activations == 0, "not before it is durable"
        w.permit()
        w.raises("gauge", Level.ALARM, Level.ATTENTION)
        await asyncio.sleep(1)
        assert w.r.on()

    run(tmp_path, test)


def test_trouble_at_a_held_level_changes_nothing(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("gauge", Level.ALARM)
        w.raises("gauge", Level.ALARM, Level.ALARM, Cause.TROUBLE_RAISED)
        w.permit()
        await w.cut()
        assert w.r.receipts[0].incident == w.incident(101)

    run(tmp_path, test)


def test_a_new_danger_is_a_new_incident(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.permit()
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(130)
        w.clears("gauge")
        w.permit()
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(1)
        assert w.r.told()[4:] == BEGUN
        assert w.r.receipts[-1].incident == w.incident(103)

    run(tmp_path, test)


# Unless vetoed.


def test_unless_vetoed_waits_its_time(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("smoke", Level.ALARM)
        await asyncio.sleep(30)
        await w.cut(29)
        assert w.r.monitor.activations == 0
        w.permit(30)
        await asyncio.sleep(2)
        assert w.r.told() == BEGUN, "60 s after the Level was reached, not after the cut"
        await asyncio.sleep(40)
        on, off = w.r.monitor.edges[0][0], w.r.monitor.edges[-1][0]
        assert (off - on) / 1e9 == pytest.approx(25, abs=0.1), "three blasts of 5 s within the policy's 30 s"

    run(tmp_path, test)


def test_a_veto_in_time_means_silence(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.raises("smoke", Level.ALARM)
        incident = w.incident(101, Hazard.FIRE)
        assert w.r.reflex.veto(w.r.make.veto(incident)) == ""
        await asyncio.sleep(500)
        assert w.r.monitor.activations == 0
        w.clears("smoke")
        w.permit(30)
        w.raises("smoke", Level.ALARM)
        await asyncio.sleep(61)
        assert w.r.on(), "another incident"

    run(tmp_path, test)


def test_a_veto_does_not_silence_an_automatic_policy(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("gauge", Level.ALARM)
        assert w.r.reflex.veto(w.r.make.veto(w.incident(101))) == ""
        w.permit()
        await w.cut()
        assert w.r.on()

    run(tmp_path, test)


def test_who_may_veto(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("smoke", Level.ALARM)
        incident, make, veto = w.incident(101, Hazard.FIRE), w.r.make, w.r.reflex.veto
        assert veto(make.veto(incident, "eva")) == "zone"
        assert veto(make.veto(incident, "n2")) == "role"
        assert veto(make.veto(incident, mode=Mode.EXERCISE)) == "mode"
        assert veto(make.veto(incident, service="n2")) == "addressee"
        assert veto(make.veto(b"another.")) == "unknown-incident"
        assert veto(make.veto(incident)[:-1]) == "malformed"
        assert veto(make.order()) == "kind"
        assert veto(make.stop_act()) == "kind"
        assert w.r.store.vetoed(incident) is None
        assert veto(make.veto(incident, service="iasi")) == "", "passed on by the controller"

    run(tmp_path, test)


# Together with orders and stops.


def test_an_order_of_the_same_incident_is_answered_already(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.permit()
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(1)
        own = w.r.make.event("n1", "gauge", seq=101, boot=BOOT)
        await w.r.give(w.r.make.order(incident=w.incident(101), evidence=(own,)))
        await w.r.give(w.r.make.order(incident=b"merged..", evidence=(own, w.r.make.event())))
        assert w.r.told()[3:] == [(Stage.ALREADY, "incident"), (Stage.ALREADY, "reflex")]
        await asyncio.sleep(130)
        await w.r.give(w.r.make.order(incident=b"later...", evidence=(own,)))
        assert w.r.told()[-1] == (Stage.ALREADY, "reflex")

    run(tmp_path, test)


def test_what_an_order_has_sounded_the_reflex_does_not_repeat(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("gauge", Level.ALARM)
        own = w.r.make.event("n1", "gauge", seq=101, boot=BOOT)
        await w.r.give(w.r.make.order(incident=b"merged..", evidence=(own,)), "R1")
        await w.cut(300)
        assert [stage for stage, _ in w.r.told()].count(Stage.ACCEPTED) == 1

    run(tmp_path, test)


def test_a_stop_holds_the_reflex(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.permit()
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(3)
        await w.r.give_stop(w.r.make.stop(), "R1")
        await asyncio.sleep(500)
        assert not w.r.on()
        w.permit(241)
        w.raises("gauge", Level.DANGER, Level.ALARM)
        await asyncio.sleep(1)
        assert w.r.on(), "a higher Level"

    run(tmp_path, test)


def test_a_stop_before_the_cut_holds_too(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.raises("gauge", Level.ALARM)
        await w.r.give_stop(w.r.make.stop())
        await w.cut(590)
        assert w.r.monitor.activations == 0
        w.permit()
        await asyncio.sleep(20)
        assert w.r.on(), "the hold is over, the danger is not, and nobody can be reached"

    run(tmp_path, test)


def test_a_failing_siren_is_tried_three_times(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.r.chip.dead = {True}
        w.raises("gauge", Level.ALARM)
        await w.cut(2000)
        assert w.r.stages().count(Stage.FAILED) == 3
        assert w.r.monitor.activations == 0

    run(tmp_path, test)


def test_it_sounds_though_the_disk_is_dead(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.r.disk.fails = True
        w.raises("gauge", Level.ALARM)
        w.permit()
        await w.cut()
        assert w.r.on(), "local alerts fail open"
        w.r.disk.fails = False

    run(tmp_path, test)


def test_connected_again_it_waits_for_orders(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.cut()
        w.r.reflex.cut_off(None)
        w.raises("gauge", Level.ALARM)
        await asyncio.sleep(60)
        assert w.r.monitor.activations == 0

    run(tmp_path, test)


# After a restart.


def test_a_restated_danger_is_the_same_incident(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as r:
            w = World(r)
            await w.cut()
            w.permit()
            w.raises("gauge", Level.ALARM)
            await asyncio.sleep(130)
        async with rig(tmp_path, boot=b"boot-two") as r:
            w = World(r, seq=200)
            await w.cut()
            w.raises("gauge", Level.ALARM, Level.ALARM, Cause.RESTATED)
            await asyncio.sleep(30)
            assert r.monitor.activations == 0, "it has sounded before the restart"
            w.permit(241)
            w.raises("gauge", Level.DANGER, Level.ALARM)
            await asyncio.sleep(1)
            assert r.receipts[0].incident == w.incident(101)

    run_virtual(main())


def test_a_raise_from_normal_after_a_restart_is_a_new_alarm(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as r:
            w = World(r)
            await w.cut()
            w.permit()
            w.raises("gauge", Level.ALARM)
            await asyncio.sleep(130)
        async with rig(tmp_path, boot=b"boot-two") as r:
            w = World(r, seq=200)
            await w.cut()
            w.permit()
            w.raises("gauge", Level.ALARM)
            await asyncio.sleep(1)
            assert r.told() == BEGUN
            assert r.receipts[0].incident == w.incident(201)

    run_virtual(main())


def test_these_are_the_points_of_the_node() -> None:
    assert NODE == "n1"
