"""A latched point's reset: carried to its node, answered, and the alarm released when it is over. No siren is touched."""

import pytest

from controller.resets import RELEASE_US, UNANSWERED
from cython_ext import Cause, Level, Reason, Trouble
from cython_ext.panel import pack
from lanes import acts
from lanes.envelope import Kind, Opened, open_envelope
from lanes.orders import reference_of
from lanes.reports import ResetData, TransitionData
from lanes.resets import PointReset
from tests.kit import plans
from tests.kit.control_room import ControlRoom
from tests.kit.plans import signed, with_keys

LATCHED = plans.PLAN.replace('id = "gauge"\n', 'id = "gauge"\nlatch = true\n')


class Latched:
    """An alarm of a latched gauge, acknowledged."""

    def __init__(self, path):
        self.room = ControlRoom(path, signed(with_keys(LATCHED)))
        self.node = self.room.node("n1")
        self.room.hear(self.node, self.node.state())
        self.room.hear(self.node, self.node.level("gauge", Level.NORMAL, Level.ALARM))
        self.orders = self.room.orders()

    @property
    def alarm(self):
        [alarm] = list(self.room.room.book)
        return alarm

    def acknowledge(self):
        self.room.act(acts.AckAlarm(self.alarm.id, self.alarm.unseen))

    def reset(self):
        return self.room.act(acts.ResetAlarm(self.alarm.id))

    def carried(self):
        """The resets that went out since the last look."""
        self.room.orders()
        found, self.room.carried = self.room.carried, []
        return found

    def answer(self, data, *, done, why):
        return self.room.hear(self.node, self.node.event(ResetData("gauge", reference_of(data), done, why)))

    def cleared(self):
        facts = (Cause.LOWERED, Level.ALARM, Level.NORMAL, 1.0, Reason.RESET, Trouble.NONE)
        return self.room.hear(self.node, self.node.event(TransitionData("gauge", *facts)))


@pytest.fixture
def it(tmp_path):
    return Latched(tmp_path / "journal.db")


def test_the_persons_own_act_goes_to_the_node_and_the_alarm_is_released(it):
    it.acknowledge()
    answer = it.reset()
    assert [each.shown()["why"] for each in answer["asked"]] == ["no-answer-yet"]
    [data] = it.carried()
    opened = open_envelope(data, it.room.plan.plan.roster)
    assert isinstance(opened, Opened)
    assert (opened.envelope.kind, opened.envelope.addressee) == (Kind.RESET, "n1")
    body = PointReset.unpack(opened.envelope.body)
    act = acts.open_act(body.act, it.room.plan.plan.roster, service="iasi", now_us=it.room.clock.wall_us())
    assert (act.person, act.act, body.point, body.nonce) == ("ana", acts.ResetAlarm(it.alarm.id), "gauge", it.node.boot)
    it.answer(data, done=True, why="reset")
    assert len(list(it.room.room.book)) == 1, "its event has not come yet"
    it.cleared()
    it.room.wait(1)
    assert list(it.room.room.book) == [], "the act that reset the point releases the alarm"
    assert answer["asked"][0].shown() == {"point": "gauge", "node": "n1", "reset": True, "why": "reset"}
    assert it.room.orders() == []


def test_a_node_that_still_sees_the_danger_says_so_and_everything_stands(it):
    it.acknowledge()
    answer = it.reset()
    [data] = it.carried()
    it.answer(data, done=False, why="above")
    it.room.wait(120)
    assert answer["asked"][0].shown()["why"] == "above"
    assert it.alarm.level is Level.ALARM
    assert it.carried() == []


def test_it_is_sent_again_until_it_is_answered_and_then_it_is_a_trouble(it):
    it.acknowledge()
    answer = it.reset()
    it.room.wait(59)
    sent = it.carried()
    assert len(set(sent)) == 1, "the same bytes each time"
    assert 4 <= len(sent) <= 8
    it.room.wait(3)
    assert answer["asked"][0].shown()["why"] == "no-answer"
    assert (UNANSWERED, "gauge") in it.room.codes()
    it.room.wait(RELEASE_US / 1e6)
    assert it.carried() == []
    it.reset()
    [data] = it.carried()
    it.answer(data, done=True, why="reset")
    assert (UNANSWERED, "gauge") not in it.room.codes()


def test_what_nobody_has_acknowledged_is_not_reset(it):
    with pytest.raises(Exception, match="alarm ack"):
        it.reset()
    assert it.carried() == []


def test_a_danger_that_does_not_latch_lasts(tmp_path):
    room = ControlRoom(tmp_path / "journal.db")
    node = room.node("n1")
    room.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [alarm] = list(room.room.book)
    room.act(acts.AckAlarm(alarm.id, alarm.unseen))
    with pytest.raises(Exception, match="the danger lasts"):
        room.act(acts.ResetAlarm(alarm.id))


def test_another_nodes_answer_counts_for_nothing(it):
    it.acknowledge()
    answer = it.reset()
    [data] = it.carried()
    other = it.room.node("n2")
    it.room.hear(other, other.event(ResetData("gauge", reference_of(data), True, "reset")))
    assert answer["asked"][0].shown()["why"] == "no-answer-yet"


def test_our_own_panel_is_reset_with_it(it):
    """Else the watchdog would hold a danger that is over, and raise it again."""
    panel, clock = it.room.watchdog.panel, it.room.clock
    for metres in (3.4, 1.0, 1.0):
        clock.advance(1)
        panel.feed(pack([(0, clock.monotonic_ns(), metres, 0)]), clock.monotonic_ns())
    assert panel.level(0) is Level.ALARM
    it.acknowledge()
    it.reset()
    [data] = it.carried()
    it.answer(data, done=True, why="reset")
    it.cleared()
    it.room.wait(15)
    assert panel.level(0) is Level.NORMAL
    assert list(it.room.room.book) == []
    assert ("watchdog-differs", "gauge") not in it.room.codes()


async def test_after_a_restart_the_act_still_stands_and_nothing_is_carried_any_more(it):
    it.acknowledge()
    it.reset()
    [data] = it.carried()
    await it.room.restart()
    it.room.wait(5)
    assert it.carried() == []
    it.answer(data, done=True, why="reset")
    it.cleared()
    assert it.alarm.level is Level.NORMAL
    it.reset()
    assert list(it.room.room.book) == []
