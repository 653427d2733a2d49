"""Warnings of other centres in the control room: they raise, people see them, and no siren ever sounds by them alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from controller.alarm.changes import AlarmChange, ChangeKind
from controller.inbound.area import Ground
from controller.inbound.reading import Told, read
from controller.inbound.settings import SourceSettings
from controller.inbound.warnings import Verdict
from controller.record.records import Record
from controller.replay.engine import Replay
from cython_ext import Hazard, Level
from lanes.keys import Mode
from tests.kit.clock import START_WALL_US
from tests.kit.control_room import ControlRoom
from tests.kit.neighbour import SENDER, reference, written

SECOND_US = 1_000_000
ZONE = "<circle>47.21,27.80 3</circle>"
PLACE = ("ungheni", Hazard.FLOOD, Mode.LIVE)


class Neighbour:
    """Brings verified messages to a control room."""

    def __init__(self, control: ControlRoom, sirens: str = "by-hand") -> None:
        self.control = control
        facts = {"name": "iasi", "senders": [SENDER], "certificates": ["x"], "post": True, "sirens": sirens}
        self.settings = SourceSettings.model_validate(facts)

    def read(self, identifier: str = "one", **more: object) -> Told:
        grounds = [Ground.of(zone) for zone in self.control.room.plan.zones]
        root = etree.fromstring(written(identifier, **{"area": ZONE, **more}))
        found = read(root, self.settings, grounds, self.control.clock.wall_us())
        assert isinstance(found, Told), found
        return found

    def say(self, identifier: str = "one", **more: object) -> Verdict | None:
        return self.control.upkeep.heeding.take(self.read(identifier, **more), b"<alert/>")


def changes(control: ControlRoom) -> list[AlarmChange]:
    return [each for each in control.room.untold.values() if isinstance(each, AlarmChange)]


def run(path: Path, story: Callable[[ControlRoom], object]) -> ControlRoom:
    """The story, then the journal closed."""
    control = ControlRoom(path / "journal.db")

    async def play() -> None:
        told = story(control)
        if asyncio.iscoroutine(told):
            await told
        await control.commit()

    asyncio.run(play())
    return control


def test_a_warning_raises_an_alarm_that_only_people_may_sound_for(tmp_path: Path) -> None:
    def story(control: ControlRoom) -> None:
        assert Neighbour(control).say() is Verdict.RAISED
        alarm = control.room.book.at(*PLACE)
        assert alarm is not None
        assert (alarm.level, alarm.live_level, alarm.measured_level) == (Level.DANGER, Level.DANGER, Level.NORMAL)
        assert alarm.parts[0].reading.point == "cap:iasi"
        decision = control.room.decided[PLACE]
        assert (str(decision.move), decision.reason, decision.sirens) == ("by-hand", "others", ("s1",))
        control.wait(600)
        assert control.orders() == [], "an automatic policy stands in the plan, and nothing sounds"
        [change] = changes(control)
        assert (change.kind, change.level, change.own) == (ChangeKind.RAISED, Level.DANGER, Level.NORMAL)

    run(tmp_path, story)


def test_a_source_that_may_not_ask_is_only_shown(tmp_path: Path) -> None:
    def story(control: ControlRoom) -> None:
        Neighbour(control, "none").say()
        decision = control.room.decided[PLACE]
        assert (str(decision.move), decision.reason) == ("none", "others-shown")

    run(tmp_path, story)


def test_our_own_points_are_never_hindered_by_a_worse_warning(tmp_path: Path) -> None:
    def story(control: ControlRoom) -> None:
        Neighbour(control).say()
        node = control.node("n1")
        control.hear(node, node.state())
        control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
        assert [order.siren for order, _ in control.orders()] == ["s1"]
        alarm = control.room.book.at(*PLACE)
        assert alarm is not None
        assert (alarm.level, alarm.measured_level) == (Level.DANGER, Level.ALARM)
        newest = changes(control)[-1]
        assert (newest.level, newest.own, newest.ours.level) == (Level.DANGER, Level.ALARM, Level.ALARM)
        assert [each.point for each in newest.ours.readings] == ["gauge"]
        control.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL))
        alarm = control.room.book.at(*PLACE)
        assert alarm is not None
        assert alarm.level is Level.DANGER, "theirs stands"
        newest = changes(control)[-1]
        assert (newest.ours.kind, newest.ours.level) == (ChangeKind.CLEARED, Level.NORMAL), "ours is cancelled"

    run(tmp_path, story)


def test_what_they_end_ends_and_clears_no_point_of_ours(tmp_path: Path) -> None:
    def story(control: ControlRoom) -> None:
        theirs = Neighbour(control)
        node = control.node("n1")
        control.hear(node, node.level("gauge", Level.NORMAL, Level.ATTENTION))
        theirs.say(severity="Severe")
        later = {"sent_us": START_WALL_US + SECOND_US, "references": reference("one")}
        assert theirs.say("two", kind="Update", severity="Extreme", **later) is Verdict.UPDATED
        assert control.room.book.at(*PLACE).level is Level.DANGER  # type: ignore[union-attr]
        both = f"{reference('one')} {reference('two', START_WALL_US + SECOND_US)}"
        last = {"sent_us": START_WALL_US + 2 * SECOND_US, "references": both}
        assert theirs.say("three", kind="Cancel", **last) is Verdict.CANCELLED
        alarm = control.room.book.at(*PLACE)
        assert alarm is not None
        assert (alarm.level, [part.reading.point for part in alarm.parts]) == (Level.ATTENTION, ["gauge"])

    run(tmp_path, story)


def test_a_warning_ends_at_its_own_time(tmp_path: Path) -> None:
    def story(control: ControlRoom) -> None:
        Neighbour(control).say(expires_us=START_WALL_US + 30 * SECOND_US)
        control.wait(29)
        assert control.room.book.at(*PLACE).level is Level.DANGER  # type: ignore[union-attr]
        control.wait(2)
        assert control.room.book.at(*PLACE).level is Level.NORMAL  # type: ignore[union-attr]

    run(tmp_path, story)


def test_the_same_message_counts_once_and_a_loose_reference_is_told(tmp_path: Path) -> None:
    def story(control: ControlRoom) -> None:
        theirs = Neighbour(control)
        assert theirs.say() is Verdict.RAISED
        assert theirs.say() is None
        assert not control.room.troubles.on("cap-in-reference", "iasi")
        theirs.say("nine", kind="Cancel", references=reference("eight"))
        assert control.room.troubles.on("cap-in-reference", "iasi")
        assert len(changes(control)) == 1

    run(tmp_path, story)


@pytest.mark.parametrize(("status", "mode"), [("Exercise", Mode.EXERCISE), ("Test", Mode.TEST)])
def test_an_exercise_of_theirs_is_an_exercise_here(tmp_path: Path, status: str, mode: Mode) -> None:
    def story(control: ControlRoom) -> None:
        Neighbour(control).say(status=status)
        assert control.room.book.at(*PLACE) is None
        assert control.room.book.at("ungheni", Hazard.FLOOD, mode) is not None
        assert control.room.decided["ungheni", Hazard.FLOOD, mode].reason == "not-live"
        assert control.orders() == []

    run(tmp_path, story)


@pytest.mark.parametrize("clean", [True, False])
def test_what_stands_outlives_a_restart_and_still_ends(tmp_path: Path, clean: bool) -> None:
    async def story(control: ControlRoom) -> None:
        theirs = Neighbour(control)
        theirs.say()
        await control.restart(clean=clean)
        alarm = control.room.book.at(*PLACE)
        assert alarm is not None
        assert (alarm.level, alarm.live_level) == (Level.DANGER, Level.DANGER)
        assert theirs.say() is None, "it is known"
        later = {"sent_us": START_WALL_US + SECOND_US, "references": reference("one")}
        assert theirs.say("two", kind="Cancel", **later) is Verdict.CANCELLED
        assert control.room.book.at(*PLACE).level is Level.NORMAL  # type: ignore[union-attr]
        await control.restart(clean=clean)
        assert len(control.room.warnings) == 0
        assert control.orders() == []

    run(tmp_path, story)


def test_the_record_replays_to_the_same_decisions_and_has_the_message(tmp_path: Path) -> None:
    def story(control: ControlRoom) -> None:
        theirs = Neighbour(control)
        node = control.node("n1")
        control.hear(node, node.state())
        theirs.say(severity="Severe", expires_us=START_WALL_US + 20 * SECOND_US)
        control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
        theirs.say("two", kind="Update", references=reference("one"), sent_us=START_WALL_US + SECOND_US)
        control.wait(5)
        control.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL))
        theirs.say("four", expires_us=START_WALL_US + 10 * SECOND_US)
        control.wait(60)

    control = run(tmp_path, story)
    rows = [row.value for row in control.journal.rows(0) if row.kind is Record.HEARD]
    assert [(row[1], bool(row[2])) for row in rows] == [("raised", True), ("updated", True), ("raised", True)]
    verdict = Replay(tmp_path / "journal.db", {control.plan.digest: control.plan}).run()
    assert verdict.why == ""
    assert verdict.kinds["heard"] == 3
