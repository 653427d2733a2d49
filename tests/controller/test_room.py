"""From a node's signed event to an alarm, a decision and an order; and the same again from the journal."""

from hashlib import sha256
from pathlib import Path

import pytest

from controller.alarm.life import State as Life
from controller.alarm.record import Alarm
from controller.hearing import Heard
from controller.policy import Move
from controller.record.verify import verify_journal
from cython_ext import Hazard, Level, Trouble
from lanes.envelope import Opened, open_envelope
from lanes.identity import AlarmId
from lanes.keys import Mode
from lanes.orders import Action
from lanes.reports import BootData, SirenState, Stage, TransitionData
from tests.kit.clock import ManualClock
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.plans import PLAN, key, signed, with_keys

ZONE = ("ungheni", Hazard.FLOOD, Mode.LIVE)


@pytest.fixture
def control(tmp_path: Path) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db")


def alarm_of(control: ControlRoom) -> Alarm:
    alarm = control.room.book.at(*ZONE)
    assert alarm is not None
    return alarm


def live_node(control: ControlRoom, name: str = "n1") -> FakeNode:
    """A node whose boot has shown itself, so that the age of its events is known."""
    node = control.node(name)
    assert control.hear(node, node.state()) is Heard.TAKEN
    return node


async def test_a_live_danger_orders_its_siren_with_the_nodes_own_evidence(control: ControlRoom) -> None:
    node = live_node(control)
    raised = node.level("gauge", Level.NORMAL, Level.ALARM)
    assert control.hear(node, raised) is Heard.TAKEN
    alarm = alarm_of(control)
    assert alarm.id == AlarmId("ungheni", Hazard.FLOOD, node.key())
    assert (alarm.state, alarm.level, alarm.live_level) == (Life.UNACKNOWLEDGED, Level.ALARM, Level.ALARM)
    [(order, data)] = control.starts()
    assert (order.siren, order.action, order.evidence) == ("s1", Action.START, (raised,))
    assert order.core.incident == alarm.id.incident
    assert order.nonce == node.boot
    opened = open_envelope(data, control.plan.plan.roster)
    assert isinstance(opened, Opened)
    assert opened.envelope.not_after_us - opened.envelope.issued_us == 60_000_000
    assert len(data) <= 2048


def test_one_order_for_one_incident_and_level(control: ControlRoom) -> None:
    node = live_node(control)
    other = live_node(control, "n2")
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    assert len(control.starts()) == 1
    control.hear(other, other.level("gauge2", Level.NORMAL, Level.ALARM))
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert control.starts() == []
    assert len(alarm_of(control).parts) == 2


def test_a_new_danger_after_the_old_one_is_a_new_incident(control: ControlRoom) -> None:
    node = live_node(control)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [(first, _)] = control.starts()
    control.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL))
    assert alarm_of(control).state is Life.LATCHED_UNACKNOWLEDGED  # a siren was ordered for it
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [(second, _)] = control.starts()
    assert second.core.incident != first.core.incident
    assert second.core.incident == AlarmId("ungheni", Hazard.FLOOD, node.key()).incident


def test_a_repeated_event_changes_nothing_and_is_acked_again(control: ControlRoom) -> None:
    node = live_node(control)
    raised = node.level("gauge", Level.NORMAL, Level.ALARM)
    control.hear(node, raised)
    control.starts()
    control.hearing.owed.clear()
    before = control.room.pack()
    assert control.hear(node, raised) is Heard.AGAIN
    assert control.room.pack() == before
    assert len(control.hearing.owed) == 1
    assert control.starts() == []


def test_late_news_opens_an_alarm_and_sounds_nothing_until_a_state_says_it_is_so(control: ControlRoom) -> None:
    node = live_node(control)
    raised = node.level("gauge", Level.NORMAL, Level.ALARM)
    control.clock.advance(600)
    control.hear(node, node.state())  # a younger message shows how old the event is
    control.hear(node, raised)
    assert alarm_of(control).live_level is Level.NORMAL
    assert control.room.decided[ZONE].reason == "late"
    assert control.starts() == []
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert alarm_of(control).live_level is Level.ALARM
    [(order, _)] = control.starts()
    assert len(order.evidence) == 1


def test_an_age_is_unknown_until_the_boot_has_shown_itself(control: ControlRoom) -> None:
    node = control.node("n1")
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    assert alarm_of(control).live_level is Level.NORMAL
    assert control.starts() == []
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert len(control.starts()) == 1


def test_a_wall_clock_that_jumps_makes_no_event_late(control: ControlRoom) -> None:
    node = live_node(control)
    raised = node.level("gauge", Level.NORMAL, Level.ALARM)
    control.clock.step_wall(86_400 * 365)
    control.hear(node, raised)
    assert alarm_of(control).live_level is Level.ALARM


def test_a_danger_that_came_and_went_while_we_were_away_is_still_shown(control: ControlRoom) -> None:
    node = control.node("n1")
    rose = node.level("gauge", Level.NORMAL, Level.ALARM)
    fell = node.level("gauge", Level.ALARM, Level.NORMAL)
    control.hear(node, fell)  # in whatever order
    assert control.room.book.at(*ZONE) is None
    control.hear(node, rose)
    assert alarm_of(control).state is Life.RETURNED
    assert alarm_of(control).unseen == (node.key(1),)
    assert control.starts() == []


def test_a_replayed_state_report_is_dropped(control: ControlRoom) -> None:
    node = control.node("n1")
    old = node.state(("gauge", Level.ALARM, 0))
    control.hear(node, node.state())
    assert control.hear(node, old) is Heard.STALE
    assert len(control.room.book) == 0


def test_a_state_report_that_an_event_has_overtaken_raises_nothing(control: ControlRoom) -> None:
    node = live_node(control)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    overtaken = node.state(("gauge", Level.ALARM, 1))
    control.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL))
    assert control.hear(node, overtaken) is Heard.TAKEN
    assert alarm_of(control).level is Level.NORMAL


def test_a_state_report_ahead_of_its_event_raises_at_once(control: ControlRoom) -> None:
    node = live_node(control)
    raised = node.level("gauge", Level.NORMAL, Level.ALARM, 3.7)
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert alarm_of(control).live_level is Level.ALARM
    assert len(control.starts()) == 1
    control.hear(node, raised)
    [part] = alarm_of(control).parts
    assert part.reading.value == 3.7
    assert alarm_of(control).unseen == (node.key(1),)
    assert control.starts() == []


def test_a_node_speaks_only_for_its_own_points(control: ControlRoom) -> None:
    node = live_node(control)
    assert control.hear(node, node.level("gauge2", Level.NORMAL, Level.ALARM)) is Heard.UNUSABLE
    assert control.hear(node, node.level("nowhere", Level.NORMAL, Level.ALARM)) is Heard.UNUSABLE
    assert len(control.room.book) == 0
    assert ("report-unusable", "n1") in control.codes()
    sequence = control.room.fold.registry.nodes["n1"].sequences[node.ledger]
    assert sequence.through == 2  # acked all the same: it never blocks its ledger
    assert control.hear("n2", node.level("gauge", Level.NORMAL, Level.ALARM)) is Heard.TOPIC


def test_an_event_judged_under_another_plan_is_taken_and_flagged(control: ControlRoom) -> None:
    node = live_node(control)
    change = TransitionData.unpack(["gauge", 1, 0, 2, 3.5, 1, 0, []])
    assert control.hear(node, node.event(change, plan=bytes(32))) is Heard.TAKEN
    assert ("plan-differs", "n1") in control.codes()
    assert len(control.room.book) == 1


def test_a_new_ledger_is_trouble_and_a_sequence_of_its_own(control: ControlRoom) -> None:
    node = live_node(control)
    control.hear(node, node.trouble("disk", True))
    replaced = control.node("n1", ledger=b"ledger02", boot=b"boot0002", counter=5)
    control.hear(replaced, replaced.state())
    control.hear(replaced, replaced.trouble("disk", False))
    assert ("ledger-new", "n1") in control.codes()
    sequences = control.room.fold.registry.nodes["n1"].sequences
    assert {ledger: s.through for ledger, s in sequences.items()} == {b"ledger01": 1, b"ledger02": 1}


def test_a_rolled_back_ledger_is_trouble(control: ControlRoom) -> None:
    node = live_node(control)
    for _ in range(3):
        control.hear(node, node.trouble("disk", True))
    node.events = node.events[:1]
    control.hear(node, node.state())
    assert ("ledger-rolled-back", "n1") in control.codes()


def test_a_node_that_uses_a_seq_again_is_told_by_an_ack_of_our_own_event(control: ControlRoom) -> None:
    node = live_node(control)
    first = node.trouble("disk", True)
    control.hear(node, first)
    node.events = node.events[:-1]
    control.hear(node, node.trouble("clock", True))
    assert ("ledger-rolled-back", "n1") in control.codes()
    assert ("clock", "") not in control.codes()
    ack = control.room.fold.registry.nodes["n1"].sequences[b"ledger01"].ack(b"journal1")
    assert ack.last == sha256(first).digest()


def test_a_boot_ends_the_troubles_of_the_boot_before(control: ControlRoom) -> None:
    node = live_node(control)
    control.hear(node, node.trouble("disk", True))
    assert ("disk", "") in control.codes()
    control.hear(node, node.event(BootData("bucium 0.1", "power")))
    assert ("disk", "") not in control.codes()


def test_an_exercise_never_becomes_a_live_alarm(control: ControlRoom) -> None:
    node = live_node(control)
    node.mode = Mode.EXERCISE
    control.hear(node, node.level("gauge", Level.NORMAL, Level.DANGER))
    assert control.room.book.at(*ZONE) is None
    exercise = control.room.book.at("ungheni", Hazard.FLOOD, Mode.EXERCISE)
    assert exercise is not None
    assert control.starts() == []


def test_a_flooded_point_that_loses_its_sensor_holds_its_level(control: ControlRoom) -> None:
    node = live_node(control)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    lost = TransitionData.unpack(["gauge", 3, 2, 2, 3.5, 8, int(Trouble.MISSING), []])
    control.hear(node, node.event(lost))
    alarm = alarm_of(control)
    assert alarm.level is Level.ALARM
    assert [part.reading.trouble for part in alarm.parts] == [Trouble.MISSING]
    assert alarm.unseen == (node.key(1),)  # trouble is no new danger to acknowledge


async def test_everything_comes_back_from_the_journal(control: ControlRoom) -> None:
    node, other = live_node(control), live_node(control, "n2")
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [(_, order)] = control.starts()
    control.hear(node, node.receipt(order, Stage.ACCEPTED))
    control.hear(other, other.level("gauge2", Level.NORMAL, Level.ALARM))
    control.hear(other, other.trouble("clock", True))
    control.hear(node, node.state(("gauge", Level.ALARM, 1), sirens=(SirenState(0, Stage.SOUNDING, 3, 0),)))
    before = control.room.pack()
    await control.restart()
    assert control.recovered_state == before
    assert control.recovered > 10
    running = control.room.pack()
    await control.restart(clean=True)
    assert control.recovered <= 4  # the snapshot has the rest
    assert control.recovered_state == running
    verdict = verify_journal(control.path, {key("iasi").kid: key("iasi").public})
    assert verdict.whole, verdict


async def test_after_a_restart_nothing_is_live_until_a_node_says_so(control: ControlRoom) -> None:
    node = control.node("n1")
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))  # age unknown: late
    await control.restart()
    assert alarm_of(control).live_level is Level.NORMAL
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert len(control.starts()) == 1


async def test_an_order_once_given_is_not_given_again_after_a_restart(control: ControlRoom) -> None:
    node = live_node(control)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [(_, first)] = control.starts()
    await control.restart()
    control.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert control.starts() == []
    control.wait(1)
    assert [data for _, data in control.orders()] == [first]  # unanswered: the same bytes again


async def test_counters_rise_across_restarts(control: ControlRoom) -> None:
    before = [control.room.next_counter() for _ in range(3)]
    await control.restart()
    assert control.room.next_counter() > max(before)


@pytest.mark.parametrize("copied", [False, True], ids=["lost", "an older copy"])
async def test_counters_rise_though_the_journal_is_lost(control: ControlRoom, tmp_path: Path, copied: bool) -> None:
    """Its nodes remember our counters: else every order, and every stop, would be a replay to them."""
    await control.commit()
    await control.journal.close()
    image = control.path.read_bytes()
    control.open()
    for _ in range(4):
        control.clock.advance(60)
        await control.restart()
    before = control.room.next_counter()
    control.clock.advance(3600)
    other = tmp_path / "new" / "journal.db"
    other.parent.mkdir()
    if copied:
        other.write_bytes(image)
    assert ControlRoom(other, clock=control.clock).room.next_counter() > before


@pytest.mark.parametrize("wall_us", [-1, 0, 253_402_300_800_000_000])
def test_counters_are_counted_on_where_the_clock_says_nothing(tmp_path: Path, wall_us: int) -> None:
    first = ControlRoom(tmp_path / "j.db", clock=ManualClock(wall_us))
    assert 0 < first.room.next_counter() < 1 << 63
    assert first.room.ordinal == 1


def test_a_vote_needs_its_members_reports_as_evidence(tmp_path: Path) -> None:
    text = with_keys(
        PLAN.replace('id = "gauge2"', 'id = "gauge2"\nalone = false')
        + """
[[vote]]
id = "both"
points = ["gauge", "gauge2"]
k = 2
window_s = 600
zones = ["ungheni"]
"""
    )
    control = ControlRoom(tmp_path / "j.db", signed(text.replace('node = "n2"', 'node = "n1"')))
    node = live_node(control)
    control.hear(node, node.level("gauge2", Level.NORMAL, Level.ALARM))
    assert len(control.room.book) == 0  # not alone
    control.hear(node, node.level("both", Level.NORMAL, Level.ALARM))
    assert len(control.room.book) == 1


def test_by_hand_and_none_order_nothing(tmp_path: Path) -> None:
    for mode, reason in (("by-hand", "people"), ("none", "policy-none")):
        text = with_keys(PLAN.replace('mode = "automatic"', f'mode = "{mode}"').replace("reflex = true", ""))
        control = ControlRoom(tmp_path / f"{mode}.db", signed(text))
        node = live_node(control)
        control.hear(node, node.level("gauge", Level.NORMAL, Level.DANGER))
        assert control.starts() == []
        decision = control.room.decided[ZONE]
        assert decision.reason == reason
        assert decision.move is (Move.BY_HAND if mode == "by-hand" else Move.NONE)


async def test_after_a_restart_an_age_is_unknown_until_the_boot_shows_itself_again(control: ControlRoom) -> None:
    node = live_node(control)
    raised = node.level("gauge", Level.NORMAL, Level.ALARM)
    control.clock.advance(600)
    await control.restart()  # its state report stands among the rows that are read again
    control.hear(node, raised)
    assert alarm_of(control).live_level is Level.NORMAL
    assert control.starts() == []
