"""Exercises of the plan's calendar: the node obeys what its own signed plan names, at its time, once, and nothing else.

Through the whole node; what is judged here: `edge.siren.exercise`.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext import Cause, ClockQuality, ClockSource, Hazard, Level, Reason, Trouble
from edge.siren.moment import Moment
from edge.siren.orders import Accepted, Already, Verdict, judge, open_order
from edge.siren.orderstore import OrderStore
from edge.siren.reflex import Reflex
from edge.siren.refusals import Refused, Why
from edge.siren.sirens import Sirens
from edge.siren.standing import Standing
from firmware_bridge.driver import Device
from firmware_bridge.settings import SirenSettings
from firmware_bridge.simulators.record import Entry
from firmware_bridge.sirens.make import make_siren
from lanes.exercises import Occasion
from lanes.keys import Mode, Role
from lanes.orders import Action
from lanes.planfile import SignedPlan
from lanes.reports import ReceiptData, Stage, TransitionData
from lanes.store import run_here
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.modbus import SOUNDS, MemoryLine, device
from tests.kit.orders import BOOT, CONTROLLER, NODE, PLAN, ZONES, Maker, Say, key_of
from tests.kit.plans import key_entry, signed
from tests.kit.relay_monitor import RelayMonitor

AT_US = int(datetime(2026, 12, 2, 8, 0, tzinfo=UTC).timestamp()) * 1_000_000  # first Wednesday, 10:00 in Bucharest
MIN_US = 60_000_000
DRILL = """
[[exercise]]
id = "drill"
zones = ["ungheni"]
calendar = "10:00 first wednesday"
pattern = "dezastre"
source = "Romania: Miercurea Alarmelor"

[[exercise]]
id = "valley"
zones = ["valea"]
calendar = "11:00 first wednesday"
pattern = "incetare"
max_s = 60
"""


@cache
def plan() -> SignedPlan:
    text = PLAN + DRILL
    for mode in Mode:
        for node in ("n1", "n2", "n3"):
            text += key_entry(node, Role.NODE, mode)
        text += key_entry(CONTROLLER, Role.CONTROLLER, mode)
        text += key_entry("ana", Role.OPERATOR, mode, ZONES)
    return signed(text)


def incident(at_us: int = AT_US, number: int = 0) -> bytes:
    return Occasion(plan().plan.exercises[number], at_us).incident


SAY = Say(mode=Mode.EXERCISE, incident=incident())


class Bench:
    """A node that judges."""

    def __init__(self, folder: Path, at_us: int = AT_US) -> None:
        self.clock = ManualClock(at_us)
        self.make = Maker(self.clock, plan=plan())
        self.store = OrderStore(
            folder / "orders.db", anchor=folder / "anchor", clock=self.clock, runner=run_here, entropy=bytes
        )
        self.standing = Standing(plan(), NODE, BOOT, self.store)

    def judge(self, data: bytes) -> Verdict:
        opened = open_order(data, self.standing)
        if isinstance(opened, Refused):
            return opened
        (verdict,) = judge(opened, self.standing, Moment.of(self.clock))
        return verdict

    def why(self, say: Say) -> Why | None:
        verdict = self.judge(self.make.seal(say))
        return verdict.why if isinstance(verdict, Refused) else None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


@pytest.mark.parametrize("away_us", [-5 * MIN_US, -MIN_US, 0, MIN_US, 5 * MIN_US])
def test_the_drill_of_the_plan_is_obeyed_within_five_minutes(bench: Bench, away_us: int) -> None:
    bench.clock.step_wall(away_us / 1e6)
    verdict = bench.judge(bench.make.seal(SAY))
    assert isinstance(verdict, Accepted)
    assert verdict.opened.order.core.mode is Mode.EXERCISE
    assert verdict.calendar
    assert not verdict.people
    assert verdict.limit_s <= 121


@pytest.mark.parametrize(
    ("say", "away_us", "why"),
    [
        (SAY, -5 * MIN_US - 1_000_000, Why.CALENDAR),
        (SAY, 5 * MIN_US + 1_000_000, Why.CALENDAR),
        (SAY, 7 * 86_400_000_000, Why.CALENDAR),  # the second Wednesday
        (SAY, -86_400_000_000, Why.CALENDAR),
        (replace(SAY, incident=incident(AT_US + 35 * 86_400_000_000)), 0, Why.CALENDAR),  # another month's
        (replace(SAY, incident=incident(AT_US, 1)), 0, Why.CALENDAR),  # another exercise's
        (replace(SAY, incident=b"whatever"), 0, Why.CALENDAR),
        (replace(SAY, pattern="incetare"), 0, Why.CALENDAR),
        (replace(SAY, pattern="danger", max_s=100), 0, Why.CALENDAR),
        (replace(SAY, zones=("ungheni", "valea")), 0, Why.CALENDAR),
        (replace(SAY, siren="s2", zones=("valea",)), 0, Why.CALENDAR),
        (replace(SAY, siren="s2"), 0, Why.ZONE),
        (replace(SAY, mode=Mode.LIVE), 0, Why.AUTHORITY),
        (replace(SAY, mode=Mode.TEST), 0, Why.AUTHORITY),
        (replace(SAY, signed_mode=Mode.LIVE), 0, Why.MODE),
        (replace(SAY, mode=Mode.LIVE, signed_mode=Mode.EXERCISE), 0, Why.MODE),
        (replace(SAY, mode=Mode.TEST, signed_mode=Mode.EXERCISE), 0, Why.MODE),
        (replace(SAY, issuer="ana"), 0, Why.ROLE),
        (replace(SAY, signer="ana"), 0, Why.ISSUER),
        (replace(SAY, max_s=122), 0, Why.DURATION),
    ],
)
def test_anything_else_is_refused(bench: Bench, say: Say, away_us: int, why: Why) -> None:
    bench.clock.step_wall(away_us / 1e6)
    assert bench.why(say) is why


def test_the_exercise_may_be_shorter_than_its_pattern(tmp_path: Path) -> None:
    bench = Bench(tmp_path, AT_US + 3_600_000_000)
    say = Say(
        siren="s2",
        zones=("valea",),
        pattern="incetare",
        mode=Mode.EXERCISE,
        max_s=61,
        incident=incident(AT_US + 3_600_000_000, 1),
    )
    assert bench.why(say) is Why.FAMILY, "the pattern is for electric sirens, as ever"
    bench.store.close()


def test_without_a_trusted_clock_nothing_rests_on_a_calendar(bench: Bench) -> None:
    bench.clock.trust(ClockQuality(ClockSource.NONE))
    assert bench.why(SAY) is Why.CALENDAR


def test_an_open_alarm_of_our_own_forbids_it(bench: Bench) -> None:
    bench.store.open_alarm("ungheni", Hazard.FIRE, key_of(1))
    assert bench.why(SAY) is Why.CALENDAR
    bench.store.close_alarm("ungheni", Hazard.FIRE)
    bench.store.open_alarm("valea", Hazard.FIRE, key_of(2))
    assert bench.why(SAY) is None


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-40 * 86_400, 40 * 86_400),
    st.sampled_from(Mode),
    st.sampled_from(Mode),
    st.sampled_from(["dezastre", "incetare", "danger", "fire"]),
    st.sampled_from([("ungheni",), ("valea",), ("ungheni", "valea")]),
    st.sampled_from([SAY.incident, b"whatever", incident(AT_US, 1)]),
    st.integers(1, 120),
)
def test_no_exercise_key_makes_a_live_sound(
    tmp_path_factory: pytest.TempPathFactory,
    away_s: int,
    says: Mode,
    signs: Mode,
    pattern: str,
    zones: tuple[str, ...],
    of: bytes,
    max_s: int,
) -> None:
    """Whatever is signed without approvals or evidence: accepted is only the drill, as an exercise, in its ten minutes."""
    bench = Bench(tmp_path_factory.mktemp("node"), AT_US + away_s * 1_000_000)
    say = Say(mode=says, signed_mode=signs, pattern=pattern, zones=zones, incident=of, max_s=max_s)
    verdict = bench.judge(bench.make.seal(say))
    if isinstance(verdict, Accepted):
        assert (says, signs, pattern, zones, of) == (
            Mode.EXERCISE,
            Mode.EXERCISE,
            "dezastre",
            ("ungheni",),
            SAY.incident,
        )
        assert abs(away_s) <= 300
    else:
        assert not isinstance(verdict, Already)
    bench.store.close()


# At work.


class Station:
    """Node n1 with an Informer as s1."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.line = MemoryLine(clock)
        self.line.add("federal-informer", 1)
        self.bus = self.line.bus(timeout_s=0.2)
        self.receipts: list[ReceiptData] = []
        self.monitor = RelayMonitor({"s1": "s1"})
        self.line.record.watch(self._entry)
        self.make = Maker(clock, plan=plan())
        devices: dict[str, Device] = {"informer": device(self.bus, "federal-informer", 1, clock)}
        self.siren = make_siren(
            SirenSettings.model_validate({"id": "s1", "device": "informer", "sound": SOUNDS}), devices, clock
        )
        self.store = OrderStore(
            folder / "orders.db", anchor=folder / "orders.anchor", clock=clock, runner=run_here, entropy=bytes
        )
        self.sirens = Sirens(
            signed=plan(),
            node=NODE,
            drivers={"s1": self.siren},
            store=self.store,
            clock=clock,
            boot=BOOT,
            record=self._record,
        )
        self.reflex = Reflex(signed=plan(), node=NODE, sirens=self.sirens, store=self.store, clock=clock)

    async def _record(self, receipt: ReceiptData) -> None:
        self.receipts.append(receipt)

    def _entry(self, entry: Entry) -> None:
        if entry.what == "sound":
            self.monitor.edge("s1", bool(entry.value), entry.at_ns)

    async def give(self, data: bytes) -> None:
        """A valid order."""
        self.monitor.permit("s1", self.clock.monotonic_ns(), 120.0)
        await self.sirens.order(data)

    def told(self) -> list[tuple[Stage, str]]:
        return [(one.stage, one.reason) for one in self.receipts]

    def sounds(self) -> bool:
        heard = [one.value for one in self.line.record if one.what == "sound"]
        return bool(heard and heard[-1])


def at_work(folder: Path, scenario) -> None:  # type: ignore[no-untyped-def]
    clock = ManualClock(AT_US)

    async def main() -> None:
        station = Station(folder, clock)
        await station.bus.open()
        await station.siren.open()
        task = asyncio.create_task(station.sirens.run())
        await asyncio.sleep(1)
        await scenario(station)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        station.monitor.check(clock.monotonic_ns())
        assert not station.monitor.findings, station.monitor.findings

    run_virtual(main(), clock)


def test_it_sounds_once(tmp_path: Path) -> None:
    async def scenario(s: Station) -> None:
        await s.give(s.make.seal(SAY))
        await asyncio.sleep(5)
        assert s.sounds()
        assert s.told()[0] == (Stage.ACCEPTED, "calendar")
        await asyncio.sleep(150)
        assert not s.sounds()
        assert s.told()[-1] == (Stage.DONE, "end")
        await s.sirens.order(s.make.seal(SAY))
        await asyncio.sleep(5)
        assert not s.sounds()
        assert s.told()[-1] == (Stage.ALREADY, "incident")

    at_work(tmp_path, scenario)


def test_a_live_order_takes_its_place(tmp_path: Path) -> None:
    async def scenario(s: Station) -> None:
        await s.give(s.make.seal(SAY))
        await asyncio.sleep(5)
        await s.give(s.make.order())
        await asyncio.sleep(5)
        assert (Stage.STOPPED, "replaced") in s.told()
        assert (Stage.ACCEPTED, "evidence") in s.told()
        assert s.sounds()
        current = s.sirens.sounders["s1"].current
        assert current is not None
        assert current.mode is Mode.LIVE
        await s.sirens.order(s.make.seal(replace(SAY, incident=SAY.incident)))
        await asyncio.sleep(1)
        assert s.sounds()
        assert s.sirens.sounders["s1"].current is current, "an exercise never takes a live sound's place"

    at_work(tmp_path, scenario)


def test_it_gives_way_to_an_alarm_of_the_nodes_own(tmp_path: Path) -> None:
    async def scenario(s: Station) -> None:
        await s.give(s.make.seal(SAY))
        await asyncio.sleep(5)
        raised = TransitionData("gauge", Cause.RAISED, Level.NORMAL, Level.ALARM, 3.2, Reason.THRESHOLD, Trouble.NONE)
        s.reflex.transition(raised, key_of(5))
        await asyncio.sleep(2)
        assert not s.sounds()
        assert s.told()[-1] == (Stage.STOPPED, "danger")
        await s.sirens.order(s.make.seal(SAY))
        await asyncio.sleep(2)
        assert s.told()[-1] == (Stage.REFUSED, "calendar")

    at_work(tmp_path, scenario)


def test_an_exercise_stop_ends_it_and_a_late_resend_does_not_begin_it_again(tmp_path: Path) -> None:
    async def scenario(s: Station) -> None:
        await s.give(s.make.seal(SAY))
        await asyncio.sleep(5)
        await s.sirens.order(s.make.stop(mode=Mode.EXERCISE))
        await asyncio.sleep(2)
        assert not s.sounds()
        await s.sirens.order(s.make.seal(replace(SAY, order_epoch=s.store.order_epoch)))
        await asyncio.sleep(2)
        assert not s.sounds()
        assert s.told()[-1] == (Stage.REFUSED, "held")

    at_work(tmp_path, scenario)


def test_an_exercise_stop_does_not_end_a_live_sound(tmp_path: Path) -> None:
    async def scenario(s: Station) -> None:
        await s.give(s.make.order())
        await asyncio.sleep(5)
        await s.sirens.order(s.make.stop(mode=Mode.EXERCISE))
        await asyncio.sleep(2)
        assert s.sounds()

    at_work(tmp_path, scenario)


def test_silent_tests_of_the_calendar_need_the_test_key(bench: Bench) -> None:
    for mode, why in ((Mode.TEST, None), (Mode.LIVE, Why.MODE), (Mode.EXERCISE, Why.MODE)):
        assert bench.why(Say(Action.SILENT_TEST, pattern="", max_s=0, mode=mode)) is why
