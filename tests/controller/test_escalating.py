"""Escalation: on to the next people in time, by the channel that works; ended by an answer; never lost, doubled, stuck unseen."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controller import escalating
from controller.calls import NAMED_MAX, Call, CallKind
from controller.duty import Duty, DutyFile
from controller.escalating import Escalating
from controller.record.records import Record
from cython_ext import Level
from lanes.acts import AckAlarm, ShelveAlarm
from lanes.settings import parse
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.plans import PLAN, signed, with_keys

DUTY = """
[[person]]
id = "ana"
reach = { sms = "+40700000001", mail = "ana@x.example" }
[[person]]
id = "ion"
language = "en"
reach = { sms = "+40700000002" }
[[person]]
id = "chief"
reach = { mail = "chief@x.example" }

[[rota]]
id = "desk"
timezone = "Europe/Chisinau"
[[rota.shift]]
people = ["ana", "ion"]

[[escalation]]
id = "all"
answer_s = 60
again_s = 600
[[escalation.step]]
after_s = 15
rota = ["desk"]
channels = ["sms", "mail"]
[[escalation.step]]
after_s = 180
people = ["chief"]
channels = ["mail"]
"""
NOBODY_AT_NIGHT = DUTY.replace('people = ["ana", "ion"]', 'begin = "07:00"\nend = "19:00"\npeople = ["ana"]', 1)


def duty(text: str = DUTY) -> Duty:
    return Duty(parse(text, DutyFile))


@dataclass
class Desk:
    """A room with its escalations; a channel delivers at once unless it is `down`."""

    control: ControlRoom
    duty: Duty
    down: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    _began_us: int = 0
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._began_us = self.control.clock.wall_us()
        self.open()

    def open(self) -> None:
        with self.control.room.clock.hold():
            self.escalating = Escalating(self.control.room, self.duty)

    @property
    def now_s(self) -> float:
        return (self.control.clock.wall_us() - self._began_us) / 1e6

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.control.wait(0.5)
            self.escalating.tick()
            self.deliver()

    def deliver(self) -> None:
        """What the dispatcher does with calls."""
        room = self.control.room
        for seq, each in list(room.untold.items()):
            room.told(seq)
            if isinstance(each, Call):
                self.calls.append(each)
                self.at_s.append(self.now_s)
                if each.channel not in self.down:
                    self.answer(each, "delivered")

    def answer(self, call: Call, outcome: str) -> None:
        value = [
            call.channel or "webhook",
            call.identifier,
            "call/x",
            outcome,
            "250",
            1,
            self.control.clock.wall_us(),
            1.0,
        ]
        self.control.journal.append(Record.DELIVERY, value)
        self.control.room.escalations.delivered(value)

    @property
    def told(self) -> list[tuple[str, str, int, str]]:
        return [(each.person, each.channel, each.step, each.reason) for each in self.calls]

    def rows(self) -> list[tuple[str, int, str]]:
        return [(each[5], each[6], each[7]) for each in self.values()]

    def values(self) -> list[list[Any]]:
        return [row.value for row in self.control.journal.rows(0) if row.kind is Record.ESCALATION]

    async def restart(self, down_s: float = 0.0, *, clean: bool = False) -> None:
        await self.control.commit()
        before = self.control.room.escalations.pack()
        await self.control.restart(clean=clean)
        assert self.control.room.escalations.pack() == before
        self.control.clock.advance(down_s)
        self.open()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(ControlRoom(tmp_path / "journal.db"), duty())


def raise_alarm(
    desk: Desk, level: Level = Level.ALARM, was: Level = Level.NORMAL, node: FakeNode | None = None
) -> FakeNode:
    node = node or desk.control.node("n1")
    desk.control.hear(node, node.level("gauge", was, level))
    return node


def acknowledge(desk: Desk) -> None:
    [alarm] = list(desk.control.room.book)
    desk.control.act(AckAlarm(alarm.id, alarm.unseen))


STEP_1 = [("ana", "sms", 1, "due"), ("ion", "sms", 1, "due")]
STEP_2 = [("chief", "mail", 2, "due")]


async def test_it_goes_on_to_the_next_people_in_time(desk: Desk) -> None:
    raise_alarm(desk)
    desk.wait(14)
    assert desk.calls == []
    desk.wait(2)
    assert desk.told == STEP_1
    desk.wait(160)
    assert desk.told == STEP_1
    desk.wait(10)
    assert desk.told == STEP_1 + STEP_2
    assert 15 <= desk.at_s[0] <= 16
    assert 180 <= desk.at_s[2] <= 181.5
    await desk.control.commit()
    assert desk.rows() == [("begun", 0, "unacknowledged"), ("step", 1, "due"), ("step", 2, "due")]
    assert desk.calls[0].about[0].zone == "ungheni"


async def test_an_answer_ends_it(desk: Desk) -> None:
    raise_alarm(desk)
    desk.wait(20)
    acknowledge(desk)
    desk.wait(400)
    assert desk.told == STEP_1
    await desk.control.commit()
    assert desk.rows()[-1] == ("ended", 1, "acknowledged")
    assert not len(desk.control.room.escalations)


async def test_an_answer_before_the_first_step_calls_nobody(desk: Desk) -> None:
    raise_alarm(desk)
    desk.wait(10)
    acknowledge(desk)
    desk.wait(400)
    assert desk.calls == []


async def test_worse_begins_anew_and_so_does_what_comes_after_an_answer(desk: Desk) -> None:
    node = raise_alarm(desk)
    desk.wait(20)
    raise_alarm(desk, Level.DANGER, Level.ALARM, node)
    desk.wait(20)
    assert desk.told == STEP_1 * 2
    assert desk.calls[-1].level is Level.DANGER
    acknowledge(desk)
    desk.wait(5)
    raise_alarm(desk, Level.ALARM, Level.DANGER, node)
    raise_alarm(desk, Level.DANGER, Level.ALARM, node)
    desk.wait(20)
    assert desk.told == STEP_1 * 3
    await desk.control.commit()
    assert [row[2] for row in desk.rows() if row[0] == "begun"] == ["unacknowledged", "worse", "unacknowledged"]


async def test_a_mute_of_two_people_ends_it_and_its_end_begins_it_anew(desk: Desk) -> None:
    raise_alarm(desk)
    desk.wait(1)
    [alarm] = list(desk.control.room.book)
    until_us = desk.control.clock.wall_us() + 120_000_000
    for person in ("ana", "ion"):
        desk.control.act(ShelveAlarm(alarm.id, until_us, "gauge under repair"), person)
    desk.wait(100)
    assert desk.calls == []
    desk.wait(60)
    assert desk.told == STEP_1


@pytest.mark.parametrize("clean", [False, True])
async def test_a_restart_keeps_the_time_and_doubles_no_step(desk: Desk, clean: bool) -> None:
    raise_alarm(desk)
    desk.wait(10)
    await desk.restart(3.0, clean=clean)
    desk.wait(1)
    assert desk.calls == []
    desk.wait(2)
    assert desk.told == STEP_1
    desk.wait(100)
    await desk.restart(clean=clean)
    desk.wait(60)
    assert desk.told == STEP_1
    desk.wait(10)
    assert desk.told == STEP_1 + STEP_2
    assert desk.at_s[2] <= 185


async def test_a_step_that_came_while_the_program_was_down_is_taken_at_once_by_every_channel(desk: Desk) -> None:
    raise_alarm(desk)
    desk.wait(5)
    await desk.restart(100.0)
    desk.wait(1)
    late = [("ana", "sms", 1, "late"), ("ana", "mail", 1, "late"), ("ion", "sms", 1, "late")]
    assert desk.told == late
    assert ("escalation-late", "ungheni/flood") in desk.control.codes()
    desk.wait(80)
    assert desk.told == late + STEP_2
    acknowledge(desk)
    desk.wait(1)
    assert not {code for code, _ in desk.control.codes() if code.startswith("escalation")}


async def test_a_wall_clock_set_back_forgets_no_time_that_stood_in_the_record(desk: Desk) -> None:
    raise_alarm(desk)
    desk.wait(20)
    await desk.control.commit()
    desk.control.clock.step_wall(-86_400)
    await desk.control.restart()
    desk.open()
    desk.wait(166)
    assert [each[:3] for each in desk.told] == [each[:3] for each in STEP_1 + STEP_2]


async def test_a_dead_channel_is_passed_within_a_minute(desk: Desk) -> None:
    desk.down = {"sms"}
    raise_alarm(desk)
    desk.wait(16)
    assert desk.told == STEP_1
    desk.wait(46)
    assert desk.told == [*STEP_1, ("ana", "mail", 1, "not-delivered")]
    assert desk.at_s[2] - desk.at_s[0] <= 46
    assert desk.at_s[2] <= 90, "a person is told within 90 s of the alarm (F32)"
    desk.wait(100)
    assert len(desk.calls) == 3, "once more, not again and again"
    [run] = list(desk.control.room.escalations)
    [first] = [each.identifier for each in desk.calls[:1]]
    assert desk.control.room.escalations.instead_of(first) == [desk.calls[2].identifier]
    assert run.step == 1


async def test_a_refusal_is_not_waited_for(desk: Desk) -> None:
    desk.down = {"sms"}
    raise_alarm(desk)
    desk.wait(16)
    desk.answer(desk.calls[0], "refused")
    desk.wait(1)
    assert desk.told[2:] == [("ana", "mail", 1, "not-delivered")]


async def test_a_channel_known_to_be_dead_is_not_waited_for_and_is_the_first_again_when_it_is_back(desk: Desk) -> None:
    desk.down = {"sms"}
    desk.control.room.trouble("dispatch-down", "sms", True)
    node = raise_alarm(desk)
    desk.wait(16)
    assert desk.told == [("ana", "sms", 1, "due"), ("ana", "mail", 1, "due"), ("ion", "sms", 1, "due")]
    desk.down = set()
    desk.control.room.trouble("dispatch-down", "sms", False)
    raise_alarm(desk, Level.DANGER, Level.ALARM, node)
    desk.wait(16)
    assert desk.told[3:] == STEP_1


async def test_when_nobody_of_a_step_can_be_reached_the_next_is_not_waited_for(desk: Desk) -> None:
    desk.down = {"sms", "mail"}
    raise_alarm(desk)
    desk.wait(16)
    desk.down = {"sms"}
    for call in [each for each in desk.calls if each.person == "ana"]:
        desk.answer(call, "refused")
    desk.down = {"sms", "mail"}
    desk.wait(100)
    assert ("chief", "mail", 2, "not-delivered") in desk.told
    assert desk.now_s < 180
    assert ("escalation-undelivered", "ungheni/flood") in desk.control.codes()


async def test_nobody_on_duty_falls_to_the_next_and_says_so(tmp_path: Path) -> None:
    desk = Desk(ControlRoom(tmp_path / "journal.db"), duty(NOBODY_AT_NIGHT))  # it is 05:00 in Chișinău
    raise_alarm(desk)
    desk.wait(17)
    assert desk.told == [("chief", "mail", 2, "passed-on")]
    await desk.control.commit()
    assert desk.rows()[1:] == [("step", 1, "nobody-on-duty"), ("step", 2, "passed-on")]


EVERYBODY = {("", ""), ("ana", "sms"), ("ana", "mail"), ("ion", "sms"), ("chief", "mail")}


async def test_a_stuck_escalation_is_a_trouble_and_told_by_everything_and_begins_again(desk: Desk) -> None:
    raise_alarm(desk)
    desk.wait(235)
    assert not [each for each in desk.calls if each.kind is CallKind.STUCK]
    desk.wait(15)
    stuck = [each for each in desk.calls if each.kind is CallKind.STUCK]
    assert {(each.person, each.channel) for each in stuck} == EVERYBODY
    assert {each.reason for each in stuck} == {"unanswered"}
    assert ("escalation-stuck", "ungheni/flood") in desk.control.codes()
    before = len(desk.calls)
    await desk.restart()
    desk.wait(560)
    assert len(desk.calls) == before, "stuck once, told once"
    desk.wait(60)
    assert desk.told[before:] == STEP_1
    assert ("escalation-stuck", "ungheni/flood") in desk.control.codes(), "nobody has answered yet"
    acknowledge(desk)
    desk.wait(1)
    assert ("escalation-stuck", "ungheni/flood") not in desk.control.codes()


async def test_it_is_stuck_at_once_when_the_last_step_has_nobody_or_reaches_nobody(tmp_path: Path) -> None:
    night = NOBODY_AT_NIGHT.replace('people = ["chief"]\nchannels', 'rota = ["desk"]\nchannels')
    desk = Desk(ControlRoom(tmp_path / "journal.db"), duty(night))
    raise_alarm(desk)
    desk.wait(17)
    assert {each.reason for each in desk.calls} == {"nobody-on-duty"}
    assert {(each.person, each.channel) for each in desk.calls} == {("", ""), ("ana", "sms"), ("ana", "mail")}


def storm(folder: Path, alarms: int) -> Desk:
    """So many alarms of as many zones at once."""
    zones = [f"z{n}" for n in range(alarms)]
    more = "".join(
        f'[[zone]]\nid = "{z}"\n[[point]]\nid = "p-{z}"\nnode = "n1"\nzones = ["{z}"]\nhazard = "flood"\nunit = "m"\n'
        "attention = { raise = 1.0, clear = 0.5 }\nalarm = { raise = 2.0, clear = 1.5 }\n"
        for z in zones
    )
    desk = Desk(ControlRoom(folder / "journal.db", signed(with_keys(PLAN + more))), duty())
    node = desk.control.node("n1")
    for zone in zones:
        desk.control.hear(node, node.level(f"p-{zone}", Level.NORMAL, Level.ALARM))
    return desk


async def test_alarms_of_one_moment_are_one_call(tmp_path: Path) -> None:
    desk = storm(tmp_path, 40)
    desk.wait(17)
    assert desk.told == STEP_1
    assert [(each.count, len(each.about)) for each in desk.calls] == [(40, NAMED_MAX)] * 2
    await desk.control.commit()
    assert sum(row[0] == "step" for row in desk.rows()) == 40, "each alarm has its own row"


async def test_a_storm_is_called_in_rounds_that_leave_the_loop_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(escalating, "ROUND_MAX", 10)
    desk = storm(tmp_path, 25)
    desk.wait(16)
    assert [each.count for each in desk.calls] == [10, 10]
    desk.wait(11)
    assert [each.count for each in desk.calls] == [10, 10, 10, 10, 5, 5]
    assert not [code for code, _ in desk.control.codes() if code == "escalation-late"]


async def test_a_zone_that_no_escalation_is_for_is_a_trouble(tmp_path: Path) -> None:
    text = DUTY.replace('id = "all"', 'id = "all"\nzones = ["elsewhere"]')
    desk = Desk(ControlRoom(tmp_path / "journal.db"), duty(text))
    raise_alarm(desk)
    desk.wait(300)
    assert desk.calls == []
    assert ("escalation-missing", "ungheni") in desk.control.codes()


async def test_below_its_least_level_nobody_is_called_and_from_there_on_they_are(tmp_path: Path) -> None:
    desk = Desk(ControlRoom(tmp_path / "journal.db"), duty(DUTY.replace('id = "all"', 'id = "all"\nleast = "danger"')))
    node = raise_alarm(desk)
    desk.wait(60)
    assert desk.calls == []
    raise_alarm(desk, Level.DANGER, Level.ALARM, node)
    desk.wait(17)
    assert desk.told == STEP_1


async def test_calls_wait_for_the_dispatcher_over_a_crash(desk: Desk) -> None:
    raise_alarm(desk)
    for _ in range(40):
        desk.control.wait(0.5)
        desk.escalating.tick()  # journaled; the dispatcher has not taken them yet
    await desk.restart()
    desk.deliver()
    assert desk.told == STEP_1
    assert Call.unpack(desk.calls[0].pack()) == desk.calls[0]
