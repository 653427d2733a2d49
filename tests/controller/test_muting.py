"""Mutes: by two people, by a permit, by a rule of the plan; each with its reason, its end and its line in the permanent list."""

from pathlib import Path

import pytest

from controller.alarm.changes import AlarmChange
from controller.alarm.life import State
from controller.alarm.mutes import End
from controller.alarm.record import Alarm
from controller.replay.engine import Replay
from controller.report.mutelist import mutes_of
from cython_ext import BuciumError, ConfigError, Hazard, Level, Trouble
from lanes.acts import AckAlarm, RemoveAlarm, ReturnAlarm, ShelveAlarm, StopSiren, UnshelveAlarm
from lanes.control import ControlError
from lanes.keys import Mode
from lanes.reports import TransitionData
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.plans import PLAN, signed, with_keys

HOUR_US = 3_600_000_000
WORKS = """
[[point]]
id = "works"
node = "n2"
zones = ["ungheni"]
hazard = "flood"
unit = "1"
alone = false
attention = { raise = 1, clear = 0.5 }
"""
RULE = """
[[suppress]]
id = "sluice-works"
zone = "ungheni"
hazard = "flood"
while_point = "works"
max_h = 2
reason = "the sluice is being cleaned"
"""
SMOKE = """
[[point]]
id = "smoke"
node = "n2"
zones = ["ungheni"]
hazard = "fire"
unit = "%/m"
alarm = { raise = 3.0, clear = 2.0 }
"""
FLOOD, FIRE = ("ungheni", Hazard.FLOOD), ("ungheni", Hazard.FIRE)


@pytest.fixture
def control(tmp_path: Path) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db", signed(with_keys(PLAN + WORKS + SMOKE + RULE)))


def nodes(control: ControlRoom) -> tuple[FakeNode, FakeNode]:
    one, two = control.node("n1"), control.node("n2")
    control.hear(one, one.state())
    control.hear(two, two.state())
    return one, two


def state(control: ControlRoom, place: tuple[str, Hazard] = FLOOD) -> State:
    alarm = control.room.book.at(*place)
    return alarm.state if alarm else State.NORMAL


def alarm_at(control: ControlRoom, place: tuple[str, Hazard] = FLOOD) -> Alarm:
    alarm = control.room.book.at(*place)
    assert alarm is not None
    return alarm


def removal(
    control: ControlRoom, hazard: Hazard = Hazard.FIRE, *, hours: float = 48, covers: Level = Level.ALARM
) -> RemoveAlarm:
    until_us = control.clock.wall_us() + round(hours * HOUR_US)
    return RemoveAlarm("ungheni", hazard, until_us, covers, "W-118", "new detectors")


def ends(control: ControlRoom) -> list[tuple[str, End]]:
    return [(line.mute.rule or line.mute.permit or "shelf", line.end) for line in control.room.mutes]


# By a rule of the plan.


def test_a_rule_keeps_attention_quiet_from_the_first_moment_and_while_its_cause_stands(control: ControlRoom) -> None:
    one, two = nodes(control)
    control.hear(two, two.level("works", Level.NORMAL, Level.ATTENTION, 1.0))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    assert state(control) is State.SUPPRESSED
    with pytest.raises(BuciumError, match="sluice-works"):
        control.act(AckAlarm(alarm_at(control).id, alarm_at(control).unseen))
    control.hear(two, two.level("works", Level.ATTENTION, Level.NORMAL, 0.0))
    control.wait(2)
    assert state(control) is State.UNACKNOWLEDGED
    assert ends(control) == [("sluice-works", End.CAUSE)]


def test_a_rule_never_stands_between_a_greater_danger_and_its_siren(control: ControlRoom) -> None:
    one, two = nodes(control)
    control.hear(two, two.level("works", Level.NORMAL, Level.ATTENTION, 1.0))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    control.hear(one, one.level("gauge", Level.ATTENTION, Level.ALARM, 3.1))
    assert state(control) is State.UNACKNOWLEDGED
    assert len(control.starts()) == 1
    assert ends(control) == [("sluice-works", End.WORSE)]
    control.hear(one, one.level("gauge", Level.ALARM, Level.ATTENTION, 2.1))
    control.wait(2)
    assert state(control) is State.UNACKNOWLEDGED  # sirens were ordered for it: life-safety now


@pytest.mark.parametrize("doubt", ["silent", "trouble", "late"])
def test_each_doubt_about_the_cause_ends_the_mute(control: ControlRoom, doubt: str) -> None:
    one, two = nodes(control)
    if doubt == "late":
        two.boot = b"boot0009"  # nothing of this boot has been stated: how old its news is nobody knows
    control.hear(two, two.level("works", Level.NORMAL, Level.ATTENTION, 1.0))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    if doubt == "late":
        assert state(control) is State.UNACKNOWLEDGED
        return
    assert state(control) is State.SUPPRESSED
    if doubt == "silent":
        control.wait(100)
    else:
        from cython_ext import Cause, Reason

        told = TransitionData(
            "works", Cause.TROUBLE_RAISED, Level.ATTENTION, Level.ATTENTION, 1.0, Reason.QUALITY, Trouble.STALE
        )
        control.hear(two, two.event(told))
        control.wait(2)
    assert state(control) is State.UNACKNOWLEDGED


def test_a_rule_ends_after_its_hours_and_does_not_come_again_for_the_same_alarm(control: ControlRoom) -> None:
    one, two = nodes(control)
    control.hear(two, two.level("works", Level.NORMAL, Level.ATTENTION, 1.0))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    for _ in range(8):
        control.clock.advance(900)
        control.hear(two, two.state(("works", Level.ATTENTION, 1)))
        control.hear(one, one.state(("gauge", Level.ATTENTION, 1)))
        control.wait(1)
    assert state(control) is State.UNACKNOWLEDGED
    assert ends(control) == [("sluice-works", End.TIME)]
    control.hear(one, one.level("gauge", Level.ATTENTION, Level.NORMAL, 1.0))
    control.act(AckAlarm(alarm_at(control).id, alarm_at(control).unseen))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    assert state(control) is State.SUPPRESSED


async def test_a_suppression_survives_a_restart_and_a_rule_that_is_gone_ends(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", signed(with_keys(PLAN + WORKS + RULE)))
    one, two = nodes(control)
    control.hear(two, two.level("works", Level.NORMAL, Level.ATTENTION, 1.0))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    await control.restart()
    control.wait(2)
    assert state(control) is State.SUPPRESSED
    control.plan = signed(with_keys(PLAN + WORKS).replace("version = 1", "version = 2"))
    await control.restart(clean=True)
    control.wait(2)
    assert state(control) is State.UNACKNOWLEDGED
    assert ends(control) == [("sluice-works", End.PLAN)]


WORSE = RULE.replace('while_point = "works"', 'while_alarm = { zone = "ungheni", hazard = "fire" }\nat_least = "alarm"')


def test_a_worse_alarm_keeps_a_lesser_one_quiet_until_it_is_muted_itself(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", signed(with_keys(PLAN + SMOKE + WORSE)))
    one, two = nodes(control)
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    control.hear(two, two.level("smoke", Level.NORMAL, Level.ALARM, 3.5))
    control.wait(2)
    assert (state(control), state(control, FIRE)) == (State.SUPPRESSED, State.UNACKNOWLEDGED)
    act = ShelveAlarm(alarm_at(control, FIRE).id, control.clock.wall_us() + HOUR_US, "welding")
    control.act(act, "ana")
    control.act(act, "ion")
    control.wait(2)
    assert (state(control), state(control, FIRE)) == (State.UNACKNOWLEDGED, State.SHELVED)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (('reason = "the', 'up_to = "danger"\nreason = "the'), "up_to"),
        (('reason = "the', 'up_to = "alarm"\nreason = "the'), "may sound a siren"),
        (('hazard = "flood"\nwhile', 'hazard = "fire"\nup_to = "alarm"\nwhile'), "life-safety"),
        (('while_point = "works"', 'while_point = "gauge"'), "raises this very alarm"),
        (('while_point = "works"', 'while_point = "nothing"'), "which the plan has not"),
        (('while_point = "works"', ""), "while_point or while_alarm"),
        (('max_h = 2', "max_h = 25"), "max_h"),
        (('while_point = "works"', 'while_alarm = { zone = "ungheni", hazard = "flood" }'), "keep itself quiet"),
        (('while_point = "works"', 'while_alarm = { zone = "ungheni", hazard = "fire" }'), "only a worse alarm"),
        (('zone = "ungheni"', 'zone = "iasi"'), "which the plan has not"),
    ],
)  # fmt: skip
def test_a_rule_that_could_hide_a_danger_is_no_plan(change: tuple[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        signed(with_keys(PLAN + WORKS + SMOKE + RULE.replace(*change)))


# By a permit.


async def test_out_of_service_by_two_people_before_anything_happens_and_its_end(control: ControlRoom) -> None:
    _, two = nodes(control)
    waits = control.act(removal(control), "ana")
    assert waits["waits_for"].startswith("a second person")
    assert state(control, FIRE) is State.NORMAL
    assert control.act(removal(control), "ion")["state"] == "out-of-service"
    control.hear(two, two.level("smoke", Level.NORMAL, Level.ALARM, 3.5))
    assert state(control, FIRE) is State.OUT_OF_SERVICE
    assert control.room.decided["ungheni", Hazard.FIRE, Mode.LIVE].reason == "out-of-service"
    await control.restart()
    assert state(control, FIRE) is State.OUT_OF_SERVICE
    control.clock.advance(25 * 3600)
    control.wait(2)
    assert ("permit-ends", "ungheni/fire") in control.codes()
    control.clock.advance(24 * 3600)
    control.wait(2)
    assert state(control, FIRE) is State.UNACKNOWLEDGED
    assert ("permit-ends", "ungheni/fire") not in control.codes()
    assert ends(control) == [("W-118", End.TIME)]


def test_a_permit_is_renewed_ended_by_a_person_and_broken_by_what_it_does_not_cover(control: ControlRoom) -> None:
    one, two = nodes(control)
    for hours in (48, 96):
        for person in ("ana", "ion"):
            control.act(removal(control, hours=hours), person)
    assert ends(control) == [("W-118", End.NONE), ("W-118", End.RENEWED)]
    assert control.act(ReturnAlarm("ungheni", Hazard.FIRE))["state"] == "normal"
    assert state(control, FIRE) is State.NORMAL
    with pytest.raises(ControlError, match="not out of service"):
        control.act(ReturnAlarm("ungheni", Hazard.FIRE))
    for person in ("ana", "ion"):
        control.act(removal(control, Hazard.FLOOD), person)
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ALARM, 3.1))
    assert (state(control), control.starts()) == (State.OUT_OF_SERVICE, [])
    control.hear(one, one.level("gauge", Level.ALARM, Level.DANGER, 4.1))
    assert state(control) is State.UNACKNOWLEDGED
    assert len(control.starts()) == 1
    with pytest.raises(BuciumError, match="the permit covers alarm"):
        for person in ("ana", "ion"):
            control.act(removal(control, Hazard.FLOOD), person)
    assert two.seq == 0


def test_what_a_permit_must_have(control: ControlRoom) -> None:
    nodes(control)
    for wrong, why in (
        (removal(control, hours=31 * 24), "within 30 days"),
        (removal(control, hours=-1), "within 30 days"),
        (RemoveAlarm("ungheni", Hazard.FIRE, control.clock.wall_us() + HOUR_US, Level.ALARM, "", "works"), "a permit"),
        (RemoveAlarm("ungheni", Hazard.FIRE, control.clock.wall_us() + HOUR_US, Level.ALARM, "W-1", ""), "a permit"),
    ):
        control.act(wrong, "ana")
        with pytest.raises(BuciumError, match=why):
            control.act(wrong, "ion")
    control.act(removal(control), "ana")
    with pytest.raises(ControlError, match="named permit"):
        control.act(
            RemoveAlarm("ungheni", Hazard.FIRE, control.clock.wall_us() + HOUR_US, Level.ALARM, "X", "y"), "ion"
        )
    with pytest.raises(ControlError, match="no zone"):
        control.act(RemoveAlarm("iasi", Hazard.FIRE, control.clock.wall_us() + HOUR_US, Level.ALARM, "X", "y"), "ion")
    assert state(control, FIRE) is State.NORMAL
    assert ends(control) == []


# By people.


def test_nobody_alone_mutes_what_is_life_safety(control: ControlRoom) -> None:
    one, two = nodes(control)
    until_us = control.clock.wall_us() + HOUR_US
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    assert "waits_for" in control.act(ShelveAlarm(alarm_at(control).id, until_us, "it may become more"))
    control.hear(one, one.level("gauge", Level.ATTENTION, Level.ALARM, 3.1))
    control.hear(two, two.level("smoke", Level.NORMAL, Level.ALARM, 3.5))
    for place in (FLOOD, FIRE):
        act = ShelveAlarm(alarm_at(control, place).id, until_us, "x")
        assert "waits_for" in control.act(act, "ana")
        assert "waits_for" in control.act(act, "ana")
        assert state(control, place) is State.UNACKNOWLEDGED
        assert control.act(act, "ion")["state"] == "shelved"


def test_a_mute_covers_no_more_than_both_have_looked_at(control: ControlRoom) -> None:
    one, _ = nodes(control)
    until_us = control.clock.wall_us() + HOUR_US
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    act = ShelveAlarm(alarm_at(control).id, until_us, "debris")
    control.act(act, "ana")
    control.hear(one, one.level("gauge", Level.ATTENTION, Level.DANGER, 4.1))
    assert "ana agreed to less" in control.act(act, "ion")["waits_for"]
    assert state(control) is State.UNACKNOWLEDGED
    assert control.act(act, "ana")["state"] == "shelved", "ion has seen the danger; now ana has too"


def test_a_yes_to_an_alarm_that_is_over_is_none_to_the_next(control: ControlRoom) -> None:
    one, _ = nodes(control)
    until_us = control.clock.wall_us() + HOUR_US
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    first = alarm_at(control)
    control.act(ShelveAlarm(first.id, until_us, "debris"), "ana")
    control.act(AckAlarm(first.id, first.unseen))
    control.hear(one, one.level("gauge", Level.ATTENTION, Level.NORMAL, 1.0))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    assert alarm_at(control).id != first.id
    assert "waits_for" in control.act(ShelveAlarm(alarm_at(control).id, until_us, "debris"), "ion")


def test_one_person_mutes_an_attention_for_which_no_siren_ever_sounds(tmp_path: Path) -> None:
    quiet = PLAN.replace('mode = "automatic"\npattern = "dezastre"\nreflex = true', 'mode = "none"')
    control = ControlRoom(tmp_path / "journal.db", signed(with_keys(quiet)))
    one, _ = nodes(control)
    until_us = control.clock.wall_us() + HOUR_US
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    assert control.act(ShelveAlarm(alarm_at(control).id, until_us, "debris"))["state"] == "shelved"
    control.hear(one, one.level("gauge", Level.ATTENTION, Level.ALARM, 3.1))
    assert state(control) is State.UNACKNOWLEDGED
    assert "waits_for" in control.act(ShelveAlarm(alarm_at(control).id, until_us, "debris"))


def test_no_mute_stands_in_for_a_reset(control: ControlRoom) -> None:
    _, two = nodes(control)
    control.hear(two, two.level("smoke", Level.NORMAL, Level.ALARM, 3.5))
    alarm = alarm_at(control, FIRE)
    act = ShelveAlarm(alarm.id, control.clock.wall_us() + HOUR_US, "welding")
    control.act(act, "ana")
    control.act(act, "ion")
    control.hear(two, two.level("smoke", Level.ALARM, Level.NORMAL, 0.1))
    control.act(UnshelveAlarm(alarm.id), "ana")
    assert state(control, FIRE) is State.LATCHED_UNACKNOWLEDGED
    assert next(iter(control.room.mutes)).by == "ana"


def told(control: ControlRoom) -> list[tuple[str, str, str]]:
    """What others are told of the alarms: kind, the mute, who."""
    return [
        (str(each.kind), each.muted, each.by) for each in control.room.untold.values() if isinstance(each, AlarmChange)
    ]


def test_others_hear_of_a_mute_and_of_its_end_while_the_danger_lasts(control: ControlRoom) -> None:
    _, two = nodes(control)
    control.hear(two, two.level("smoke", Level.NORMAL, Level.ALARM, 3.5))
    alarm = alarm_at(control, FIRE)
    act = ShelveAlarm(alarm.id, control.clock.wall_us() + HOUR_US, "welding")
    control.act(act, "ana")
    control.act(act, "ion")
    control.act(UnshelveAlarm(alarm.id), "ana")
    assert told(control) == [("raised", "", ""), ("muted", "shelved", "ana,ion"), ("released", "", "ana")]
    control.hear(two, two.level("smoke", Level.ALARM, Level.NORMAL, 0.1))
    control.act(act, "ana")
    control.act(act, "ion")
    control.act(UnshelveAlarm(alarm.id), "ana")
    assert [kind for kind, _, _ in told(control)[3:]] == ["cleared"], "what is over is told as over, and no more"


def test_a_danger_that_outgrows_its_permit_is_told_also_where_others_have_heard_of_worse(control: ControlRoom) -> None:
    one, _ = nodes(control)
    control.hear(one, one.level("gauge", Level.NORMAL, Level.DANGER, 4.1))
    control.hear(one, one.level("gauge", Level.DANGER, Level.ATTENTION, 2.1))
    act = RemoveAlarm("ungheni", Hazard.FLOOD, control.clock.wall_us() + HOUR_US, Level.ALARM, "W-1", "works")
    control.act(act, "ana")
    control.act(act, "ion")
    control.hear(one, one.level("gauge", Level.ATTENTION, Level.DANGER, 4.1))
    assert state(control) is State.UNACKNOWLEDGED
    assert [kind for kind, _, _ in told(control)] == ["raised", "muted", "released"]


def test_stopping_acknowledges_nothing(control: ControlRoom) -> None:
    one, _ = nodes(control)
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ALARM, 3.1))
    before = alarm_at(control)
    control.act(StopSiren())
    assert alarm_at(control) == before
    assert before.unseen


async def test_the_permanent_list_is_in_the_journal_and_comes_again_bit_for_bit(control: ControlRoom) -> None:
    one, two = nodes(control)
    control.hear(two, two.level("works", Level.NORMAL, Level.ATTENTION, 1.0))
    control.hear(one, one.level("gauge", Level.NORMAL, Level.ATTENTION, 2.1))
    control.clock.advance(1)
    control.hear(two, two.level("works", Level.ATTENTION, Level.NORMAL, 0.0))
    control.wait(2)
    for person in ("ana", "ion"):
        control.clock.advance(1)
        control.act(removal(control), person)
    control.clock.advance(1)
    control.act(ReturnAlarm("ungheni", Hazard.FIRE))
    for person in ("ana", "ion"):
        control.clock.advance(1)
        control.act(removal(control), person)
    shown = [(m["state"], m["people"], m["rule"], m["end"]) for m in mutes_of_now(control)]
    assert shown == [
        ("out-of-service", ["ana", "ion"], "", ""),
        ("out-of-service", ["ana", "ion"], "", "person"),
        ("suppressed", [], "sluice-works", "cause"),
    ]
    await control.restart()
    assert mutes_of(control.path) == mutes_of_now(control)
    await control.restart(clean=True)
    assert mutes_of(control.path) == mutes_of_now(control)
    await control.commit()
    verdict = Replay(control.path, {control.plan.digest: control.plan}).run()
    assert verdict.why == ""
    await control.journal.close()


def mutes_of_now(control: ControlRoom) -> list[dict[str, object]]:
    from controller.shown import listed_of

    return [listed_of(line) for line in control.room.mutes]
