"""Silent tests and exercises on their calendars: once an occasion, never during an alarm, kept over a restart (issue 5)."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.activation import Result
from controller.drillnotice import DrillKind, DrillNotice
from controller.replay.engine import Replay, Verdict
from controller.siren.drills import BEGIN_US
from controller.siren.picture import people_of
from controller.siren.silent import APART_US, slots
from cython_ext import Level
from lanes.acts import CheckSiren
from lanes.envelope import peek
from lanes.exercises import Occasion
from lanes.keys import Mode
from lanes.orders import Action, Order
from lanes.plan import Plan
from lanes.reports import SirenState, Stage
from lanes.settings import parse
from tests.kit.clock import ManualClock
from tests.kit.control_room import ControlRoom
from tests.kit.plans import PLAN, key, signed, with_keys

S_US = 1_000_000
DAY_S = 86_400


def at(text: str) -> int:
    """UTC microseconds."""
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()) * S_US


TEXT = (
    PLAN.replace("circle = [47.21, 27.80, 5.0]\n", 'circle = [47.21, 27.80, 5.0]\nsilent_test = "03:10 daily"\n')
    + """
[[siren]]
id = "s2"
node = "n2"
zones = ["ungheni"]

[[exercise]]
id = "drill"
zones = ["ungheni"]
calendar = "10:00 first wednesday"
pattern = "dezastre"
source = "Miercurea Alarmelor"
"""
)


class Town(ControlRoom):
    """A control room with two sirens whose nodes answer."""

    def __init__(self, path: Path, wall: str, text: str = TEXT) -> None:
        super().__init__(path, signed(with_keys(text)), ManualClock(at(wall)))
        self.nodes = {name: self.node(name, ledger=name.encode() * 4) for name in ("n1", "n2")}
        self.log: list[tuple[str, Action, Mode]] = []
        self.told: list[DrillNotice] = []
        self.alive()

    def alive(self) -> None:
        """Both nodes say that all is well."""
        for place, node in enumerate(self.nodes.values()):
            self.hear(node, node.state(sirens=(SirenState(place, Stage.DONE, 0, 0),)))

    def heard(self) -> None:
        """Their telemetry comes."""
        for node in self.room.fold.registry.nodes.values():
            node.heard_ns = self.clock.monotonic_ns()

    def take(self, answer: tuple[Stage, str] | None = (Stage.DONE, "silent-test")) -> list[tuple[Order, bytes]]:
        """The orders that went out, each answered."""
        found = self.orders()
        for order, data in found:
            envelope = peek(data)
            assert envelope is not None
            self.log.append((order.siren, order.action, order.core.mode))
            if answer is not None:
                node = self.nodes[envelope.addressee]
                self.hear(node, node.receipt(data, *answer, measured=True))
        return found

    def go(
        self, seconds: float, step_s: float = 1.0, answer: tuple[Stage, str] | None = (Stage.DONE, "silent-test")
    ) -> None:
        """Time passes; the nodes are alive and answer."""
        left = seconds
        while left > 0:
            self.clock.advance(min(step_s, left))
            left -= step_s
            self.heard()
            self.upkeep.tick()
            self.take(answer)
            self.told += [n for n in self.room.untold.values() if isinstance(n, DrillNotice) and n not in self.told]

    def raised(self) -> None:
        node = self.nodes["n1"]
        self.hear(node, node.level("gauge", Level.NORMAL, Level.ATTENTION, 2.5))

    def cleared(self) -> None:
        node = self.nodes["n1"]
        self.hear(node, node.level("gauge", Level.ATTENTION, Level.NORMAL, 1.0))


SILENT = [("s1", Action.SILENT_TEST, Mode.TEST), ("s2", Action.SILENT_TEST, Mode.TEST)]


# Silent tests.


def test_each_siren_is_tested_once_a_day_one_after_the_other(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-01 23:30")  # 02:30 in Chisinau
    town.go(1800)
    assert not town.log
    town.go(600)  # 03:10
    assert town.log == SILENT[:1], "the second one's turn is half a minute later"
    town.go(APART_US / S_US + 1)
    assert town.log == SILENT
    for siren in ("s1", "s2"):
        known = town.room.schedule.tests[siren]
        assert (known.result, known.why) == (Result.PASS, "silent-test")
        assert known.passed_us == known.at_us > 0
    town.go(DAY_S - 120, step_s=60)
    assert town.log == SILENT
    town.go(180)
    assert town.log == SILENT * 2


def test_the_order_is_signed_with_the_test_key(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-02 00:09")
    sent = []
    for _ in range(90):
        town.clock.advance(1)
        town.alive()
        town.upkeep.tick()
        sent += town.take()
    envelope = peek(sent[0][1])
    assert envelope is not None
    assert key("iasi", Mode.TEST).kid in sent[0][1]
    assert sent[0][0].core.mode is Mode.TEST


def test_a_failed_test_is_trouble_until_one_passes(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-02 00:09")
    town.go(120, answer=(Stage.FAILED, "mains"))
    assert {("silent-test-failed", "s1"), ("silent-test-failed", "s2")} <= town.codes()
    assert town.room.schedule.tests["s1"].why == "mains"
    town.go(DAY_S + 300, step_s=60)
    assert not {code for code, _ in town.codes() if code.startswith("silent-test")}


def test_no_answer_is_a_failed_test(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-02 00:09")
    town.go(240, answer=None)
    assert ("silent-test-failed", "s1") in town.codes()
    assert town.room.schedule.tests["s1"].why == "no-answer"


def test_never_while_an_alarm_is_active_in_the_zone(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-02 00:09")
    town.raised()
    town.go(3700, step_s=5)
    assert not town.log
    assert ("silent-test-overdue", "s1") in town.codes(), "an hour late"
    town.cleared()
    town.go(60)
    assert sorted(town.log) == SILENT
    assert not {code for code, _ in town.codes() if code.startswith("silent-test")}


def test_a_node_that_is_silent_is_tested_when_it_is_back_within_the_day_or_it_is_overdue(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-02 00:09")
    town.wait(3 * 3600)
    assert not town.take()
    assert ("silent-test-overdue", "s1") in town.codes()
    town.go(40)
    assert sorted(town.log) == SILENT
    town.log.clear()
    for _ in range(3 * 24 * 60):
        town.clock.advance(60)
        town.upkeep.tick()
    assert not town.take()
    assert town.room.schedule.tests["s1"].why == "overdue"
    assert ("silent-test-overdue", "s1") in town.codes()


async def test_what_was_missed_while_down_is_made_up_once(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-01 22:00")
    town.go(5)
    town.clock.advance(5 * 3600)  # down from 01:00 to 06:00
    await town.restart()
    town.alive()
    town.go(60)
    assert sorted(town.log) == SILENT
    for clean in (True, False):
        await town.restart(clean=clean)
        town.alive()
        town.go(60)
    assert sorted(town.log) == SILENT, "never twice"
    assert town.room.schedule.tests["s1"].result is Result.PASS


async def test_ordered_and_down_before_the_answer_is_not_ordered_again(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-02 00:09")
    town.go(70, answer=None)
    assert town.log[0] == SILENT[0]
    await town.restart()
    town.alive()
    assert town.recovered_state["schedule"] == town.room.pack()["schedule"]
    numbers = len(list(town.room.fold.activations))
    town.go(20, answer=None)
    assert len([a for a in town.room.fold.activations if "s1" in a.errands]) == 1
    assert numbers


def test_a_persons_silent_test_counts(tmp_path: Path) -> None:

    town = Town(tmp_path / "j", "2026-05-02 12:00")
    town.act(CheckSiren(Action.SILENT_TEST, (), ("s1",)), mode=Mode.TEST)
    town.take()
    town.go(2)
    assert town.room.schedule.tests["s1"].result is Result.PASS


@given(st.integers(1, 6), st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=12))
def test_no_two_sirens_of_one_zone_share_an_instant(zones: int, sirens: list[set[int]]) -> None:
    text = 'version = 1\nroot = "DEMO"\ngroup = "g"\ncontroller = "c"\n'
    text += "".join(f'[[zone]]\nid = "z{n}"\n' for n in range(6))
    for n, own in enumerate(sirens):
        names = ", ".join(f'"z{zone}"' for zone in sorted(own))
        text += f'[[siren]]\nid = "s{n}"\nnode = "n"\nzones = [{names}]\n'
    plan = parse(text, Plan)
    found = slots(plan)
    for zone in plan.zones:
        own_slots = [found[siren.id] for siren in plan.sirens if zone.id in siren.zones]
        assert len(own_slots) == len(set(own_slots))


# Exercises.

STARTS = [("s1", Action.START, Mode.EXERCISE), ("s2", Action.START, Mode.EXERCISE)]
DRILL = at("2026-05-06 07:00")  # the first Wednesday, 10:00 in Chisinau


def kinds(town: Town) -> list[tuple[DrillKind, int]]:
    return [(notice.kind, notice.lead_s) for notice in town.told]


def test_the_drill_is_announced_begins_and_ends(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-05 06:59", TEXT.replace('silent_test = "03:10 daily"\n', ""))
    town.go(90)
    assert kinds(town) == [(DrillKind.ANNOUNCED, 86_400)]
    town.go(DAY_S - 900, step_s=60)
    assert kinds(town) == [(DrillKind.ANNOUNCED, 86_400), (DrillKind.ANNOUNCED, 900)]
    assert not town.log
    town.go(880, answer=(Stage.SOUNDING, "measured"))
    assert town.log == STARTS
    town.go(140, answer=(Stage.SOUNDING, "measured"))
    assert [kind for kind, _ in kinds(town)][2:] == [DrillKind.BEGUN, DrillKind.ENDED]
    assert (town.told[-1].passed, town.told[-1].total) == (2, 2)
    assert all(notice.at_us == DRILL for notice in town.told)
    town.go(3 * 3600, step_s=10)
    assert town.log == STARTS, "once"


def drill_town(path: Path, wall: str = "2026-05-06 06:50") -> Town:
    return Town(path / "j", wall, TEXT.replace('silent_test = "03:10 daily"\n', ""))


def test_its_orders_rest_on_the_plan_alone(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    sent = []
    for _ in range(610):
        town.clock.advance(1)
        town.alive()
        town.upkeep.tick()
        sent += [(order, data) for order, data in town.take() if order.action is Action.START]
    order, data = sent[0]
    exercise = town.plan.plan.exercises[0]
    assert order.core.incident == Occasion(exercise, DRILL).incident
    assert (order.core.mode, order.core.pattern, order.core.zones) == (Mode.EXERCISE, "dezastre", ("ungheni",))
    assert (order.approvals, order.evidence) == ((), ())
    assert key("iasi", Mode.EXERCISE).kid in data
    assert order.core.max_s <= 121


def test_a_siren_that_fails_in_an_exercise_is_told_and_nothing_takes_its_place(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    town.go(605, answer=(Stage.FAILED, "driver"))
    town.go(100, answer=(Stage.FAILED, "driver"))
    assert town.log == STARTS
    assert ("siren-failed", "s1") in town.codes()
    assert [kind for kind, _ in kinds(town)][-2:] == [DrillKind.ANNOUNCED, DrillKind.BEGUN]
    town.go(60)
    assert (town.told[-1].kind, town.told[-1].passed, town.told[-1].total) == (DrillKind.ENDED, 0, 2)


def test_it_does_not_begin_while_a_live_alarm_is_active(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    town.raised()
    town.go(700)
    assert not town.log
    assert kinds(town)[-1][0] is DrillKind.SUSPENDED


def test_it_is_stopped_at_once_when_a_live_alarm_arises(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    town.go(605, answer=(Stage.ARMED, ""))
    assert town.log == STARTS
    town.raised()
    town.go(1, answer=(Stage.STOPPED, "stopped"))
    assert town.log[2:] == [("s1", Action.STOP, Mode.EXERCISE), ("s2", Action.STOP, Mode.EXERCISE)]
    assert kinds(town)[-1][0] is DrillKind.SUSPENDED
    town.cleared()
    town.go(300)
    assert len(town.log) == 4, "an exercise that gave way does not come back"


def test_a_controller_that_was_down_does_not_begin_late(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    town.go(10)
    town.clock.advance(10 * BEGIN_US / S_US)
    town.go(10)
    assert not town.log
    assert kinds(town)[-1][0] is DrillKind.MISSED
    assert ("exercise-missed", "drill") in town.codes()


def test_what_nobody_announced_does_not_begin(tmp_path: Path) -> None:
    town = drill_town(tmp_path, "2026-05-06 07:01")
    town.go(300)
    assert not town.log
    assert not town.told


async def test_a_restart_in_mid_exercise_orders_nothing_twice(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    town.go(605, answer=(Stage.SOUNDING, "measured"))
    assert town.log == STARTS
    await town.restart()
    town.alive()
    assert town.recovered_state["schedule"] == town.room.pack()["schedule"]
    town.go(200, answer=(Stage.SOUNDING, "measured"))
    starts = [a for a in town.room.fold.activations if a.action is Action.START]
    assert len(starts) == 1
    assert kinds(town)[-1][0] is DrillKind.ENDED


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.sampled_from(["raise", "clear", ""])), max_size=12))
def test_whatever_happens_no_exercise_order_is_live(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, str]]
) -> None:
    """Alarms come and go around the drill: its orders are all of mode exercise, and none goes while an alarm is active."""
    town = drill_town(tmp_path_factory.mktemp("town"), "2026-05-06 06:58")
    active = False
    for seconds, move in moves:
        before = len(town.log)
        town.go(seconds, step_s=5, answer=(Stage.ARMED, ""))
        if active:
            assert not [each for each in town.log[before:] if each[1] is Action.START]
        if move == "raise" and not active:
            town.raised()
            active = True
        elif move == "clear" and active:
            town.cleared()
            active = False
    assert {mode for _, action, mode in town.log if action is Action.START} <= {Mode.EXERCISE}
    assert len([each for each in town.log if each[1] is Action.START]) in (0, 2)


# The record.


def replayed(town: Town) -> Verdict:
    return Replay(town.path, {town.plan.digest: town.plan}).run()


async def test_silent_tests_come_again_in_a_replay(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-02 00:05")
    town.go(600, step_s=2)
    town.wait(60)
    town.go(60, answer=(Stage.FAILED, "mains"))
    await town.restart()
    town.alive()
    town.go(86_400, step_s=60)
    await town.commit()
    assert len(town.log) == 4
    verdict = replayed(town)
    assert verdict.same, f"row {verdict.bad_row}: {verdict.why}"
    assert verdict.kinds["silent_test"] >= 6


async def test_an_exercise_comes_again_in_a_replay(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    town.go(605, answer=(Stage.ARMED, ""))
    town.raised()
    town.go(5, answer=(Stage.STOPPED, "stopped"))
    await town.commit()
    verdict = replayed(town)
    assert verdict.same, f"row {verdict.bad_row}: {verdict.why}"
    assert verdict.kinds["exercise"] == 3
    assert verdict.kinds["notice"] >= 3


async def test_without_the_keys_nothing_is_ordered_and_it_is_said(tmp_path: Path) -> None:
    town = Town(tmp_path / "j", "2026-05-06 00:00")
    town.without = frozenset({Mode.TEST, Mode.EXERCISE})
    await town.restart()
    town.alive()
    town.go(8 * 3600, step_s=20)
    assert not town.log
    assert {("key-missing", "test"), ("key-missing", "exercise"), ("silent-test-overdue", "s1")} <= town.codes()
    assert kinds(town)[-1][0] is DrillKind.MISSED
    await town.commit()
    verdict = replayed(town)
    assert verdict.same, f"row {verdict.bad_row}: {verdict.why}"


def test_the_desk_shows_it(tmp_path: Path) -> None:
    town = drill_town(tmp_path)
    town.go(605, answer=(Stage.SOUNDING, "measured"))
    picture = town.upkeep.picture
    (shown,) = picture.exercises()
    assert (shown["exercise"], shown["mode"], shown["last"]) == ("drill", "exercise", "begun")
    assert shown["last_us"] == DRILL
    assert datetime.fromtimestamp(shown["next_us"] / 1e6, UTC).strftime("%m-%d %H:%M") == "06-03 07:00"
    siren = picture.siren(town.room.fold.registry.sirens["s1"])
    assert siren["sounding_mode"] == "exercise"


def test_a_zone_whose_people_nobody_counted_has_no_figures() -> None:
    told = people_of(None)
    assert isinstance(told, dict)
    assert not any(isinstance(value, int | float) and value for value in told.values())
