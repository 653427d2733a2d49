"""People's acts: signed, single-use, within their zones; two people for a sound and for a mute; a veto and a stop bind."""

from dataclasses import replace
from pathlib import Path

import pytest

from controller.activation import Result
from controller.alarm.life import State
from controller.alarm.record import Alarm
from cython_ext import BuciumError, Hazard, Level, WireError
from lanes import acts
from lanes.acts import ALL, AckAlarm, CheckSiren, RequestSiren, ResetAlarm, ShelveAlarm, StopSiren, VetoSiren
from lanes.control import ControlError
from lanes.keys import Mode, Role
from lanes.orders import Action, Approval
from lanes.reports import SirenState, Stage
from tests.kit.control_room import CONTROLLER, ControlRoom, FakeNode
from tests.kit.plans import PLAN, key, key_entry, signed, with_keys

REQUEST = RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 0, "dam")


@pytest.fixture
def control(tmp_path: Path) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db")


def danger(control: ControlRoom, level: Level = Level.ALARM) -> tuple[FakeNode, Alarm]:
    node = control.node("n1")
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, level))
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    return node, alarm


def test_an_acknowledgement_covers_the_events_it_lists_and_stops_no_siren(control: ControlRoom) -> None:
    node, alarm = danger(control)
    assert len(control.starts()) == 1
    control.hear(node, node.level("gauge", Level.ALARM, Level.DANGER))
    control.orders()
    first, second = node.key(1), node.key(2)
    assert control.act(AckAlarm(alarm.id, (first,)))["state"] == "unacknowledged"
    assert control.act(AckAlarm(alarm.id, (second,)))["state"] == "acknowledged"
    assert control.orders() == []
    with pytest.raises(BuciumError, match="not events of the alarm"):
        control.act(AckAlarm(alarm.id, (node.key(3),)))


def test_a_reset_waits_for_the_end_of_the_danger_and_for_people(control: ControlRoom) -> None:
    node, alarm = danger(control)
    with pytest.raises(BuciumError, match="danger lasts"):
        control.act(ResetAlarm(alarm.id))
    control.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL))
    with pytest.raises(BuciumError, match="not all of its events are acknowledged"):
        control.act(ResetAlarm(alarm.id))
    control.act(AckAlarm(alarm.id, (node.key(1),)))
    assert control.act(ResetAlarm(alarm.id))["state"] == "normal"
    assert len(control.room.book) == 0
    assert not control.room.decided
    assert not control.room.ordered


def test_an_act_counts_once_for_its_service_verb_and_time(control: ControlRoom) -> None:
    data = control.signed_act(REQUEST)
    control.acting.act(data, REQUEST.VERB)
    with pytest.raises(ControlError, match="taken already"):
        control.acting.act(data, REQUEST.VERB)
    with pytest.raises(ControlError, match=r"signed for siren\.request"):
        control.acting.act(control.signed_act(REQUEST), "siren.stop")
    late = control.signed_act(REQUEST)
    control.clock.advance(61)
    with pytest.raises(WireError, match="expired"):
        control.acting.act(late, REQUEST.VERB)
    early = control.signed_act(REQUEST)
    control.clock.step_wall(-30)
    with pytest.raises(WireError, match="future"):
        control.acting.act(early, REQUEST.VERB)


async def test_an_act_counts_once_across_a_restart(control: ControlRoom) -> None:
    data = control.signed_act(REQUEST)
    control.acting.act(data, REQUEST.VERB)
    await control.restart()
    with pytest.raises(ControlError, match="taken already"):
        control.acting.act(data, REQUEST.VERB)


def test_no_changed_bit_of_an_act_counts(control: ControlRoom) -> None:
    data = control.signed_act(StopSiren())
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BuciumError):
            control.acting.act(bytes(changed), "siren.stop")
    assert control.orders() == []


def test_only_operators_act_and_only_in_their_zones_and_mode(tmp_path: Path) -> None:
    text = with_keys() + '\n[[zone]]\nid = "other"\n' + key_entry("eva", Role.OPERATOR, Mode.LIVE, ("other",))
    control = ControlRoom(tmp_path / "j.db", signed(text))
    _, alarm = danger(control)
    control.orders()
    for act in (REQUEST, ResetAlarm(alarm.id), StopSiren(zones=("ungheni",)), StopSiren(sirens=("s1",))):
        with pytest.raises(ControlError, match="not named for"):
            control.act(act, "eva")
    with pytest.raises(ControlError, match="no siren"):
        control.act(StopSiren(), "eva")
    with pytest.raises(WireError, match="is controller in the plan"):
        control.act(StopSiren(), "iasi")
    with pytest.raises(ControlError, match="live request needs your live key"):
        control.act(REQUEST, "ana", Mode.EXERCISE)
    with pytest.raises(ControlError, match="your key is test"):
        control.act(AckAlarm(alarm.id, alarm.unseen), "ana", Mode.TEST)
    assert control.orders() == []


def test_a_request_sounds_nothing_until_two_people_have_said_yes(control: ControlRoom) -> None:
    request = control.act(REQUEST)
    assert control.orders() == []
    assert (request["sirens"], request["missing"]) == (["s1"], "2 more of 2 people")
    once = control.approve(request, "ana")
    assert once["missing"] == "1 more of 2 people"
    assert control.approve(request, "ana")["missing"] == "1 more of 2 people"  # twice one person is one
    assert control.orders() == []
    answer = control.approve(request, "ion")
    assert answer["missing"] == ""
    [(order, data)] = control.orders()
    assert order.core.digest().hex() == request["digest"]
    assert len(order.approvals) == 2
    assert len(data) <= 2048
    assert len(control.room.requests) == 0
    with pytest.raises(ControlError, match="no open request"):
        control.approve(request, "ion")


def test_the_very_bytes_of_an_approval_count_once(control: ControlRoom) -> None:
    yes = control.signed_approval(control.act(REQUEST), "ana")
    control.acting.approve(yes)
    with pytest.raises(ControlError, match="taken already"):
        control.acting.approve(yes)


def test_an_approval_is_for_one_core_one_mode_and_one_time(control: ControlRoom) -> None:
    request = control.act(REQUEST)
    other = {**request, "digest": "00" * 32}
    with pytest.raises(ControlError, match="no open request"):
        control.approve(other, "ana")
    with pytest.raises(ControlError, match="sign it with your live key"):
        control.approve(request, "ana", Mode.EXERCISE)
    control.approve(request, "ana")
    control.wait(61)  # ana's yes is over
    assert control.approve(request, "ion")["missing"] == "1 more of 2 people"
    control.wait(60)
    with pytest.raises(WireError, match="expired"):
        control.approve(request, "ana")
    assert len(control.room.requests) == 0
    assert control.orders() == []


def test_people_of_two_centres_where_the_policy_asks_for_them(tmp_path: Path) -> None:
    text = with_keys(PLAN.replace("reflex = true", "centres = 2")).replace(
        f'public = "{key("ion").public.hex()}"', f'centre = "balti"\npublic = "{key("ion").public.hex()}"'
    )
    for name, centre in (("ana", "balti"), ("eva", "iasi")):
        at = f'public = "{key(name).public.hex()}"'
        if at not in text:
            text += key_entry(name, Role.OPERATOR, Mode.LIVE, ("ungheni",))
        text = text.replace(at, f'centre = "{centre}"\n{at}')
    control = ControlRoom(tmp_path / "j.db", signed(text))
    request = control.act(REQUEST)
    assert request["missing"] == "2 more of 2 people, of 2 centres"
    control.approve(request, "ana")
    assert control.approve(request, "ion")["missing"] == "a person of another centre"
    assert control.orders() == []
    assert control.approve(request, "eva")["missing"] == ""
    [(order, _)] = control.orders()
    assert len(order.approvals) == 2, "as many as are asked, of both centres"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (RequestSiren(("ungheni",), "nothing", Mode.LIVE, 0, "x"), "no pattern"),
        (RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 400, "x"), "longer than dezastre"),
        (RequestSiren((), "dezastre", Mode.LIVE, 0, "x"), "at least one zone"),
        (RequestSiren(("moon",), "dezastre", Mode.LIVE, 0, "x"), "no zone 'moon'; it has: ungheni"),
        (replace(REQUEST, sirens=("s9",)), "siren s9 is none of ungheni"),
        (replace(REQUEST, sirens=("s1", "s9")), "siren s9 is none of ungheni"),
    ],
)
def test_a_request_that_makes_no_sense_says_why(control: ControlRoom, request_: RequestSiren, said: str) -> None:
    with pytest.raises(BuciumError, match=said):
        control.act(request_)
    assert len(control.room.requests) == 0


async def test_a_request_may_name_sirens_and_only_they_are_ordered(tmp_path: Path) -> None:
    more = "".join(f'[[siren]]\nid = "{name}"\nnode = "n2"\nzones = ["ungheni"]\n\n' for name in ("s2", "s3"))
    control = ControlRoom(tmp_path / "j.db", signed(with_keys(PLAN.replace("[[pattern]]", more + "[[pattern]]", 1))))
    request = control.act(replace(REQUEST, sirens=("s3", "s1")))
    assert request["sirens"] == ["s1", "s3"]
    control.approve(request, "ana")
    await control.restart()
    [shown] = [control.acting.describe(each) for each in control.room.requests]
    assert (shown["sirens"], shown["digest"]) == (["s1", "s3"], request["digest"])
    control.approve(request, "ion")
    assert sorted(order.siren for order, _ in control.starts()) == ["s1", "s3"]
    control.approve(whole := control.act(REQUEST), "ana")
    control.approve(whole, "ion")
    assert len(whole["sirens"]) == 3, "none named: all of the zone's"


def test_an_act_of_an_earlier_version_is_read() -> None:
    assert len(REQUEST.pack()) == 6
    assert RequestSiren.unpack(REQUEST.pack()) == REQUEST
    named = replace(REQUEST, sirens=("s1",))
    assert RequestSiren.unpack(named.pack()) == named
    for wrong in (REQUEST.pack()[:5], [*REQUEST.pack(), ["NO"]], [*named.pack(), 1], [*REQUEST.pack(), ["a"] * 17]):
        with pytest.raises(WireError):
            RequestSiren.unpack(wrong)


def test_a_zone_without_a_siren_says_so(tmp_path: Path) -> None:
    text = with_keys(PLAN.replace('family = "electric"', "")).replace(
        '[[siren]]\nid = "s1"\nnode = "n1"\nzones = ["ungheni"]\n', ""
    )
    control = ControlRoom(tmp_path / "j.db", signed(text))
    with pytest.raises(BuciumError, match="no siren of ungheni"):
        control.act(REQUEST)


def test_a_stop_goes_to_every_siren_withdraws_starts_and_holds_the_incident(control: ControlRoom) -> None:
    node, alarm = danger(control)
    control.orders()
    answer = control.act(StopSiren())
    [(stop, data)] = control.orders()
    assert (stop.action, stop.siren, stop.core.incident) == (Action.STOP, "s1", ALL)
    assert len(data) <= 300
    assert control.room.decided["ungheni", Hazard.FLOOD, Mode.LIVE].reason == "stopped"
    assert alarm.state is State.UNACKNOWLEDGED  # a stop never acknowledges
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    control.wait(3)
    again = control.orders()
    assert {order.action for order, _ in again} == {Action.STOP}  # the start is not sent again
    control.hear(node, node.receipt(data, Stage.STOPPED, epoch=1))
    control.wait(40)
    assert control.orders() == []
    activation = control.room.fold.activations.get(answer["activation"])
    assert activation is not None
    assert activation.count(Result.PASS) == 1
    control.hear(
        node, node.level("gauge", Level.ALARM, Level.DANGER)
    )  # but a higher Level has no policy of its own here
    assert control.orders() == []


def test_what_is_left_of_a_hold_runs_down_at_the_desk(control: ControlRoom) -> None:
    """The node says it once; a receipt that comes later does not make it young again."""
    node = control.node("n1")
    control.hear(node, node.state(sirens=(SirenState(0, Stage.STOPPED, 1, 60),)))
    view = control.room.fold.registry.sirens["s1"]
    began_us = control.clock.wall_us()
    view.heard_us = began_us + 40_000_000
    assert [view.held_s(began_us + at_s * 1_000_000) for at_s in (-5, 0, 15, 60, 500)] == [60, 60, 45, 0, 0]


def test_a_higher_level_may_sound_after_a_stop(tmp_path: Path) -> None:
    more = (
        PLAN
        + """
[[policy]]
zone = "ungheni"
hazard = "flood"
level = "danger"
mode = "automatic"
pattern = "dezastre"
"""
    )
    control = ControlRoom(tmp_path / "j.db", signed(with_keys(more)))
    node, _ = danger(control)
    [(first, _)] = control.starts()
    control.act(StopSiren(first.core.incident, ("ungheni",)))
    control.orders()
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert control.starts() == []
    control.hear(node, node.level("gauge", Level.ALARM, Level.DANGER))
    assert len(control.starts()) == 1


def test_a_veto_ends_the_veto_time_and_open_requests(tmp_path: Path) -> None:
    text = with_keys(PLAN.replace('mode = "automatic"', 'mode = "unless-vetoed"\nveto_s = 20'))
    control = ControlRoom(tmp_path / "j.db", signed(text))
    node, alarm = danger(control)
    control.wait(19)
    assert control.starts() == []
    control.act(VetoSiren(alarm.incident, "a test of the gauge"))
    control.wait(30)
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    control.wait(30)
    assert control.starts() == []
    assert control.room.decided["ungheni", Hazard.FLOOD, Mode.LIVE].reason == "vetoed"
    request = control.act(REQUEST)
    control.act(VetoSiren(bytes.fromhex(request["incident"]), "no"))
    with pytest.raises(ControlError, match="no open request"):
        control.approve(request, "ana")
    with pytest.raises(ControlError, match="nothing waits"):
        control.act(VetoSiren(b"12345678", "no"))


def test_without_a_veto_it_sounds_when_the_time_is_over(tmp_path: Path) -> None:
    text = with_keys(PLAN.replace('mode = "automatic"', 'mode = "unless-vetoed"\nveto_s = 20'))
    control = ControlRoom(tmp_path / "j.db", signed(text))
    danger(control)
    control.clock.step_wall(86_400)  # the wall clock has no say
    control.wait(19)
    assert control.starts() == []
    control.wait(2)
    [(order, _)] = control.starts()
    assert len(order.evidence) == 1
    control.wait(30)
    assert {order.core.incident for order, _ in control.starts()} <= {order.core.incident}


async def test_a_veto_binds_across_a_restart(tmp_path: Path) -> None:
    text = with_keys(PLAN.replace('mode = "automatic"', 'mode = "unless-vetoed"\nveto_s = 20'))
    control = ControlRoom(tmp_path / "j.db", signed(text))
    node, alarm = danger(control)
    control.act(VetoSiren(alarm.incident, "no"))
    await control.restart()
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    control.wait(40)
    assert control.starts() == []


def test_nobody_mutes_an_alarm_alone(control: ControlRoom) -> None:
    _, alarm = danger(control)
    act = ShelveAlarm(alarm.id, control.clock.wall_us() + 3_600_000_000, "works on the quay")
    assert "waits_for" in control.act(act, "ana")
    assert "waits_for" in control.act(act, "ana")
    assert alarm.state is State.UNACKNOWLEDGED
    assert control.act(act, "ion")["state"] == "shelved"
    assert control.room.decided["ungheni", Hazard.FLOOD, Mode.LIVE].reason == "shelved"
    control.wait(3601)
    again = control.room.book.at("ungheni", Hazard.FLOOD)
    assert again is not None
    assert again.state is State.UNACKNOWLEDGED


def test_a_check_of_a_siren_is_an_order_of_its_own(control: ControlRoom) -> None:
    control.act(CheckSiren(Action.SILENT_TEST, sirens=("s1",)), "ana", Mode.TEST)
    [(order, _)] = control.orders()
    assert (order.action, order.core.mode, order.approvals, order.evidence) == (
        Action.SILENT_TEST,
        Mode.TEST,
        (),
        (),
    )
    with pytest.raises(WireError, match="a test is not a START"):
        control.act(CheckSiren(Action.START, sirens=("s1",)))


async def test_requests_and_approvals_come_back_from_the_journal(control: ControlRoom) -> None:
    request = control.act(REQUEST)
    control.approve(request, "ana")
    await control.restart()
    assert control.approve(request, "ion")["missing"] == ""
    assert len(control.starts()) == 1


def test_an_approval_is_an_approval_envelope(control: ControlRoom) -> None:
    request = control.act(REQUEST)
    approval = Approval(bytes.fromhex(request["digest"]))
    act = control.signed_act(REQUEST)
    with pytest.raises(WireError, match="this is ACT, not APPROVAL"):
        control.acting.approve(act)
    assert approval.digest == bytes.fromhex(request["digest"])
    assert acts.APPROVE == "siren.approve"
    assert control.room.plan.controller == CONTROLLER
