"""The controller's own Panel: adds a raise when a node is mute, never clears, says where they differ, and judges votes."""

from pathlib import Path

import pytest

from controller.intake import Intake, resolver
from controller.telemetry.presence import Data, EventKind, NodeEvent
from cython_ext import Hazard, Level, WireError
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.topics import Verb
from cython_ext.wire import encode
from cython_ext.wire_data import AliasTable
from tests.kit.control_room import ControlRoom
from tests.kit.plans import PLAN, signed, with_keys


class Telemetry:
    """What the host would hand on."""

    def __init__(self, control: ControlRoom) -> None:
        self.control = control
        self.intake = Intake(control.room, control.watchdog)
        self.tables: dict[str, AliasTable] = {}
        resolve = resolver(control.plan.plan)
        for node, point in (("n1", "gauge"), ("n2", "gauge2")):
            table = self.tables[point] = AliasTable()
            table.bind(7, int(DataType.DOUBLE), resolve("prut", node, "radar", point))

    def say(self, point: str, value: float) -> None:
        clock = self.control.clock
        metric = Metric(alias=7, timestamp=clock.wall_us() // 1000, datatype=DataType.DOUBLE, value=value)
        payload = encode(Payload(clock.wall_us() // 1000, (metric,), 1), datatypes=False)
        node = {"gauge": "n1", "gauge2": "n2"}[point]
        self.intake.data(Data("prut", node, "radar", Verb.DDATA, payload, self.tables[point], clock.monotonic_ns()))

    def hold(self, seconds: float, **values: float) -> None:
        """Each point says its value once a second."""
        for _ in range(round(seconds)):
            for point, value in values.items():
                self.say(point, value)
            self.control.wait(1)


@pytest.fixture
def control(tmp_path: Path) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db")


def test_a_metric_feeds_the_point_of_its_name_at_its_node_in_our_group(control: ControlRoom) -> None:
    resolve = resolver(control.plan.plan)
    assert resolve("prut", "n1", "radar", "gauge") == 0
    assert resolve("prut", "n2", "radar", "gauge") is None
    assert resolve("olt", "n1", "radar", "gauge") is None


def test_telemetry_that_cannot_be_read_is_trouble_and_kept_with_its_reason(control: ControlRoom) -> None:
    intake = Intake(control.room, control.watchdog, refuse=control.refusals.count)

    def refused(reason: str, group: str = "prut", node: str = "n1") -> None:
        intake.event(NodeEvent(EventKind.REFUSED, group, node, control.clock.monotonic_ns(), 0, "", reason))

    refused("before_birth")  # after every start of ours
    refused("truncated", group="olt")
    refused("truncated", node="stranger")
    assert ("messages-refused", "") not in control.codes()
    refused("truncated")
    assert ("messages-refused", "") in control.codes()
    assert control.refusals.total == {"telemetry-truncated": 1}  # soon a row of the journal
    control.wait(61)
    assert ("messages-refused", "") not in control.codes()


def test_it_adds_a_marked_raise_when_the_nodes_own_does_not_come(control: ControlRoom) -> None:
    telemetry = Telemetry(control)
    telemetry.hold(3, gauge=1.0)
    telemetry.hold(1, gauge=3.5)
    assert len(control.room.book) == 0
    telemetry.hold(5, gauge=3.5)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert [(part.reading.point, part.watched, part.reading.level) for part in alarm.parts] == [
        ("gauge", True, Level.ALARM)
    ]
    assert alarm.id.key.node == "iasi"
    assert control.starts() == []  # no node has signed it
    assert ("watchdog-differs", "gauge") not in control.codes()
    telemetry.hold(10, gauge=3.5)
    assert ("watchdog-differs", "gauge") in control.codes()


def test_the_nodes_event_takes_its_place_and_the_difference_ends(control: ControlRoom) -> None:
    telemetry = Telemetry(control)
    telemetry.hold(3, gauge=1.0)
    telemetry.hold(15, gauge=3.5)
    node = control.node("n1")
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert [(part.reading.key, part.watched) for part in alarm.parts] == [(node.key(), False)]
    assert len(control.starts()) == 1
    control.wait(2)
    assert ("watchdog-differs", "gauge") not in control.codes()


def test_what_telemetry_said_before_the_nodes_word_adds_nothing(control: ControlRoom) -> None:
    """The broker was away; the alarm lane is back first, and says that the water has fallen."""
    telemetry = Telemetry(control)
    node = control.node("n1")
    telemetry.hold(3, gauge=1.0)
    telemetry.hold(1, gauge=3.5)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    control.wait(4)  # no telemetry, and not yet so long that the point is stale
    control.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL))
    control.wait(4)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert alarm.level is Level.NORMAL
    telemetry.hold(4, gauge=3.5)  # now it is the newer of the two
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert [(part.watched, part.reading.level) for part in alarm.parts if part.reading.level] == [(True, Level.ALARM)]


def test_it_never_clears_what_a_node_said(control: ControlRoom) -> None:
    telemetry = Telemetry(control)
    node = control.node("n1")
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    telemetry.hold(20, gauge=1.0)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert alarm.level is Level.ALARM
    assert ("watchdog-differs", "gauge") in control.codes()


def test_its_own_raise_ends_with_the_danger(control: ControlRoom) -> None:
    telemetry = Telemetry(control)
    telemetry.hold(3, gauge=1.0)
    telemetry.hold(5, gauge=3.5)
    telemetry.hold(8, gauge=1.0)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert alarm.level is Level.NORMAL


def test_a_vote_over_stations_is_the_controllers_own_to_raise_and_clear(tmp_path: Path) -> None:
    text = PLAN.replace('id = "gauge2"', 'id = "gauge2"\nalone = false').replace(
        'id = "gauge"\n', 'id = "gauge"\nalone = false\n'
    )
    text += '\n[[vote]]\nid = "both"\npoints = ["gauge", "gauge2"]\nk = 2\nwindow_s = 5\nzones = ["ungheni"]\n'
    control = ControlRoom(tmp_path / "j.db", signed(with_keys(text)))
    telemetry = Telemetry(control)
    nodes = {point: control.node(name) for point, name in (("gauge", "n1"), ("gauge2", "n2"))}
    telemetry.hold(3, gauge=1.0, gauge2=1.0)
    for point, node in nodes.items():
        control.hear(node, node.state())
        control.hear(node, node.level(point, Level.NORMAL, Level.ALARM))
    assert len(control.room.book) == 0
    telemetry.hold(3, gauge=3.5, gauge2=3.5)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert [(part.reading.point, part.watched) for part in alarm.parts] == [("both", False)]
    order, _ = control.starts()[0]
    assert len(order.evidence) == 2  # both members' own signatures
    for point, node in nodes.items():
        control.hear(node, node.level(point, Level.ALARM, Level.NORMAL))
    telemetry.hold(10, gauge=1.0, gauge2=1.0)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert alarm.level is Level.NORMAL


async def test_a_raise_of_its_own_that_is_over_after_a_restart_is_ended(control: ControlRoom) -> None:
    telemetry = Telemetry(control)
    telemetry.hold(3, gauge=1.0)
    telemetry.hold(5, gauge=3.5)
    await control.restart()
    again = Telemetry(control)
    again.hold(50, gauge=1.0)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is not None
    assert alarm.level is Level.ALARM  # not before all of it is in sight again
    again.hold(15, gauge=1.0)
    alarm = control.room.book.at("ungheni", Hazard.FLOOD)
    assert alarm is None or alarm.level is Level.NORMAL


def test_bytes_that_are_no_payload_are_refused(control: ControlRoom) -> None:
    telemetry = Telemetry(control)
    with pytest.raises(WireError):
        control.watchdog.feed(b"\xff\xff\xff", telemetry.tables["gauge"], control.clock.monotonic_ns())


def test_silence_is_trouble_by_the_kind_of_node(control: ControlRoom) -> None:
    control.wait(61)
    assert {("node-never-seen", "n1"), ("node-never-seen", "n2")} <= control.codes()
    telemetry = Telemetry(control)
    nodes = [control.node("n1"), control.node("n2")]
    for node in nodes:
        control.hear(node, node.state())
    assert not {code for code, _ in control.codes()} & {"node-never-seen", "node-silent"}
    control.wait(25)
    assert ("node-silent", "n1") in control.codes()  # it drives a siren: 20 s
    assert ("node-silent", "n2") not in control.codes()
    control.wait(70)
    assert ("node-silent", "n2") in control.codes()
    telemetry.say("gauge2", 1.0)
    control.wait(1)
    assert ("node-silent", "n2") not in control.codes()
