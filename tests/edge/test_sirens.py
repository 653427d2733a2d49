"""Sirens at work: real drivers on a simulated board, and the relay's own witness on every test."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cython_ext import ClockQuality, ClockSource, Level
from lanes.keys import Mode
from lanes.orders import reference_of
from lanes.reports import SirenTrouble, Stage
from tests.kit.clock import run_virtual
from tests.kit.orders import NODE, Maker
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


def high(make: Maker, incident: bytes = b"incident", **changes: object) -> bytes:
    evidence = tuple(make.event(n, p, Level.DANGER) for n, p in (("n2", "gauge2"), ("n3", "gauge3")))
    return make.order(**{"pattern": "danger", "max_s": 240, "evidence": evidence, "incident": incident, **changes})


def test_an_order_sounds_its_pattern_and_tells_each_step(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        order = r.make.order()
        await r.give(order, "R1")
        began_ns = r.monitor.edges[-1][0]
        await asyncio.sleep(125)
        assert r.told() == [*BEGUN, (Stage.DONE, "end")]
        assert {receipt.order for receipt in r.receipts} == {reference_of(order)}
        assert [receipt.measured for receipt in r.receipts] == [False, False, True, True]
        at = [((at_ns - began_ns) / 1e9, on) for at_ns, line, on in r.monitor.edges if line == "R1"]
        expected = [(t, on) for start in (0, 26, 52, 78, 104) for t, on in ((start, True), (start + 16, False))]
        assert [on for _, on in at] == [on for _, on in expected]
        assert [t for t, _ in at] == pytest.approx([t for t, _ in expected], abs=0.05)

    run(tmp_path, test)


def test_two_people_sound_a_siren_in_its_own_timing(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.by_people("ana", "ion"), "R2", 61)
        await asyncio.sleep(62)
        assert r.told("s2")[0] == (Stage.ACCEPTED, "people")
        assert r.told("s2")[-1] == (Stage.DONE, "end")
        assert len([1 for _, line, on in r.monitor.edges if line == "R2" and on]) == 5

    run(tmp_path, test)


def test_max_s_ends_a_pattern_early(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(max_s=20), "R1", 20)
        await asyncio.sleep(15)
        assert r.on()
        await asyncio.sleep(100)
        assert r.monitor.activations == 1
        assert r.told()[-1] == (Stage.DONE, "end")

    run(tmp_path, test)


# Stop.


def test_a_stop_ends_the_sound_and_holds(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        await asyncio.sleep(5)
        stop = r.make.stop(incident=b"incident")
        await r.give_stop(stop, "R1")
        assert not r.on()
        assert r.told() == [*BEGUN, (Stage.STOPPED, "stop"), (Stage.STOPPED, "stopped")]
        assert r.receipts[-1].order == reference_of(stop)
        assert r.sirens.states()[0].stage is Stage.STOPPED
        assert r.sirens.states()[0].hold_s == 600
        await r.give(r.make.order())
        assert r.told()[-1] == (Stage.REFUSED, "order-epoch")
        assert r.receipts[-1].order_epoch == 1, "the sender learns what to quote"
        await r.give(r.make.order(order_epoch=1))
        assert r.told()[-1] == (Stage.REFUSED, "held")
        await r.give(high(r.make, order_epoch=1), "R1", 240)
        assert r.told()[-2:] == [ACCEPTED, ARMED]

    run(tmp_path, test)


def test_after_the_hold_the_incident_may_sound_again(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        await r.give_stop(r.make.stop(incident=b"incident"), "R1")
        await asyncio.sleep(611)
        assert r.sirens.states()[0].stage is Stage.DONE
        assert r.sirens.states()[0].hold_s == 0
        await r.give(r.make.order(order_epoch=1), "R1")
        assert r.on()

    run(tmp_path, test)


def test_what_was_stopped_does_not_go_on_under_another_name(tmp_path: Path) -> None:
    """Who has the controller's key may call an incident what he likes, but the danger behind it stays the same."""

    async def test(r: Rig) -> None:
        raised = r.make.event(seq=9)
        await r.give(r.make.order(evidence=(raised,)), "R1")
        await r.give_stop(r.make.stop(), "R1")
        stated = r.make.state("n2", {"gauge2": Level.ALARM})  # it names the same raise
        for name, proof in ((b"renamed1", raised), (b"renamed2", stated)):
            await r.give(r.make.order(order_epoch=1, incident=name, evidence=(proof,)))
            assert r.told()[-1] == (Stage.REFUSED, "held")
        raised_again = r.make.event(seq=200)
        await r.give(r.make.order(order_epoch=1, incident=b"new.....", evidence=(raised_again,)), "R1")
        assert r.on(), "a new raise is a new danger"

    run(tmp_path, test)


def test_a_repeated_stop_has_no_effect_and_is_answered(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        stop = r.make.stop()
        await r.give_stop(stop)
        await r.give_stop(stop)
        assert r.told() == [(Stage.STOPPED, "not-sounding"), (Stage.STOPPED, "not-sounding")]
        assert r.store.order_epoch == 1

    run(tmp_path, test)


def test_a_stop_of_another_incident_leaves_the_sound(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        await r.give_stop(r.make.stop(incident=b"another."))
        assert r.on()
        await r.give_stop(r.make.stop(mode=Mode.EXERCISE))
        assert r.on(), "an exercise key stops no live sound"
        await r.give_stop(r.make.stop(issuer="ana"), "R1")
        assert not r.on(), "one person of the zone does"

    run(tmp_path, test)


def test_a_stop_overtakes_a_start_that_waits_for_the_disk(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.disk.takes_s = 3.0
        await r.give(r.make.order())
        await r.give_stop(r.make.stop())
        await asyncio.sleep(10)
        assert r.monitor.activations == 0
        assert (Stage.STOPPED, "overtaken") in r.told()

    run(tmp_path, test)


def test_a_stop_works_while_the_disk_hangs(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        r.disk.takes_s = 1000.0
        await r.give_stop(r.make.stop(), "R1")
        assert not r.on()

    run(tmp_path, test)


def test_an_off_that_is_not_confirmed_is_told_and_tried_again(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        await asyncio.sleep(1)
        r.chip.dead = {False}
        await r.sirens.order(r.make.stop())
        await asyncio.sleep(3)
        assert r.told()[-1] == (Stage.FAILED, "not-off")
        assert r.sirens.states()[0].trouble & SirenTrouble.NOT_OFF
        r.chip.dead = set()
        await asyncio.sleep(2)
        assert r.told()[-1] == (Stage.STOPPED, "stopped")
        assert not r.sirens.states()[0].trouble & SirenTrouble.NOT_OFF

    run(tmp_path, test)


# Durable first.


def test_the_counter_is_durable_before_the_relay_moves(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.disk.takes_s = 2.0
        before = r.disk.commits
        await r.sirens.order(r.make.order())
        await asyncio.sleep(1.9)
        assert (r.disk.commits, r.on()) == (before, False)
        r.monitor.permit("R1", clock_of().monotonic_ns(), 120)
        await asyncio.sleep(0.2)
        assert (r.disk.commits, r.on()) == (before + 1, True)

    run(tmp_path, test)


def test_without_a_disk_no_order_sounds_and_it_is_said(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.disk.fails = True
        order = r.make.order()
        await r.give(order)
        assert r.told() == [(Stage.REFUSED, "store")]
        assert r.sirens.states()[0].trouble & SirenTrouble.STORE
        r.disk.fails = False
        await asyncio.sleep(10)
        await r.give(r.make.order(), "R1")
        assert r.on()
        assert not r.sirens.states()[0].trouble & SirenTrouble.STORE

    run(tmp_path, test)


def test_no_relay_waits_for_the_ledger(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.recording.clear()
        await r.give(r.make.order(), "R1")
        assert r.on()
        assert not r.receipts
        r.recording.set()
        await asyncio.sleep(1)
        assert r.told() == BEGUN

    run(tmp_path, test)


# Twice.


def test_the_same_bytes_again_change_nothing(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        order = r.make.order()
        await r.give(order, "R1")
        await r.give(order)
        assert r.told()[:3] == [ACCEPTED, ARMED, ARMED]
        bad = r.make.order(order_epoch=9)
        await r.give(bad)
        await r.give(bad)
        assert r.reasons() == ["order-epoch", "order-epoch"]
        await asyncio.sleep(200)
        await r.give(order)
        assert r.told()[-1] == (Stage.REFUSED, "expired"), "a replay is told as one"

    run(tmp_path, test)


def test_an_incident_sounds_once(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        await r.give(r.make.order())
        assert (Stage.ALREADY, "incident") in r.told()
        await asyncio.sleep(125)
        await r.give(r.make.order())
        assert r.told()[-1] == (Stage.ALREADY, "incident")

    run(tmp_path, test)


def test_two_orders_at_once(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        await asyncio.sleep(3)
        await r.give(r.make.order(incident=b"another."))
        assert r.told()[-1] == (Stage.REFUSED, "busy")
        await r.give(high(r.make), "R1", 240)
        await asyncio.sleep(1)
        assert r.told()[-4:] == [(Stage.STOPPED, "replaced"), ACCEPTED, ARMED, SOUNDING]
        await asyncio.sleep(50)
        assert r.on(), "the higher Level's own pattern plays"
        await asyncio.sleep(200)
        assert r.told()[-1] == (Stage.DONE, "end")

    run(tmp_path, test)


def test_an_exercise_gives_way_to_the_real_thing(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        exercise = r.make.order(mode=Mode.EXERCISE, evidence=(r.make.event(mode=Mode.EXERCISE),))
        await r.give(exercise, "R1")
        await r.give(r.make.order(), "R1")
        assert (Stage.STOPPED, "replaced") in r.told()
        again = r.make.order(mode=Mode.EXERCISE, incident=b"exercise", evidence=(r.make.event(mode=Mode.EXERCISE),))
        await r.give(again)
        assert r.told()[-1] == (Stage.REFUSED, "busy")

    run(tmp_path, test)


def test_states_say_how_far_a_siren_can_be_trusted(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        assert r.sirens.states()[0].trouble == SirenTrouble.NOT_SEEN, "nobody has looked yet"
        await asyncio.sleep(2)
        first, second = r.sirens.states()
        assert (first.siren, second.siren) == (0, 1)
        assert (first.stage, first.trouble, first.hold_s) == (Stage.DONE, 0, 0)
        r.clock.trust(ClockQuality(ClockSource.NONE))
        assert r.sirens.states()[0].trouble == SirenTrouble.DOUBT
        await r.give(r.make.order(), "R1")
        assert r.sirens.states()[0].stage in (Stage.ARMED, Stage.SOUNDING)

    run(tmp_path, test)


def test_a_flood_of_orders_is_refused_and_bounded(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        r.disk.takes_s = 1000.0
        for _ in range(300):
            await r.sirens.order(r.make.order())
        await asyncio.sleep(1)
        assert set(r.reasons()) == {"busy"}
        assert len(r.receipts) < 100
        assert r.sirens.answers.refused > 200

    run(tmp_path, test)


def test_a_plan_that_gives_a_node_a_siren_without_a_driver(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        del r.sirens.sounders["s1"]
        assert r.sirens.undriven == ("s1",)
        await r.give(r.make.order())
        assert r.told() == [(Stage.REFUSED, "unsupported")]
        assert r.sirens.states()[0].trouble & SirenTrouble.UNREACHABLE

    run(tmp_path, test)


def test_the_node_is_the_one_of_the_plan() -> None:
    assert NODE == "n1"
