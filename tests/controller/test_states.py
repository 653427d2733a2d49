"""State reports of a node whose ledger was replaced: each ledger counts its own, and an old one's are not heard again."""

from controller.hearing import Heard
from controller.registry import Registry
from cython_ext import Hazard, Level
from lanes import cbor
from lanes.keys import Mode
from tests.controller.test_room import control, live_node  # noqa: F401 - a fixture
from tests.kit.control_room import ControlRoom, FakeNode

ZONE = ("ungheni", Hazard.FLOOD, Mode.LIVE)


def renewed(node: FakeNode) -> FakeNode:
    """The node with another ledger: its events and its state reports are counted anew."""
    return FakeNode(node.id, node.clock, node.plan, ledger=b"ledger02", boot=node.boot)


def test_a_replaced_ledger_is_heard_at_once_and_its_danger_sounds(control: ControlRoom) -> None:  # noqa: F811
    node = live_node(control)
    for _ in range(5):
        control.hear(node, node.state())
    other = renewed(node)
    other.boot = b"boot0002"
    assert control.hear(other, other.level("gauge", Level.NORMAL, Level.ALARM)) is Heard.TAKEN
    assert control.starts() == []  # how old that is nobody knows yet
    assert control.hear(other, other.state(("gauge", Level.ALARM, 1))) is Heard.TAKEN
    assert len(control.starts()) == 1


def test_the_old_ledgers_reports_are_not_heard_again(control: ControlRoom) -> None:  # noqa: F811
    node = live_node(control)
    recorded = node.state(("gauge", Level.DANGER, 1))
    assert control.hear(node, recorded) is Heard.TAKEN
    other = renewed(node)
    assert control.hear(other, other.state()) is Heard.TAKEN
    assert control.hear(node, recorded) is Heard.STALE


def test_counters_outlive_a_restart_and_a_former_programs_snapshot(control: ControlRoom) -> None:  # noqa: F811
    node = live_node(control)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.NORMAL))
    control.hear(node, node.state())
    packed = control.room.fold.registry.pack()
    again = Registry(control.plan)
    again.restore(packed)
    assert again.nodes["n1"].state_counter == node.counter == 2
    nodes, sirens = packed
    before = [[*heads, [sequence[:4] for sequence in sequences]] for *heads, sequences in nodes]
    again.restore([before, sirens])
    assert again.nodes["n1"].state_counter == 2


def test_a_state_whose_nodes_have_gaps_is_read_back(control: ControlRoom) -> None:  # noqa: F811
    node = live_node(control)
    first = node.level("gauge", Level.NORMAL, Level.NORMAL)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.NORMAL))  # the second comes first
    state = cbor.encode_document(control.room.pack())
    assert cbor.decode_document(state) == cbor.decode_document(cbor.encode_document(cbor.decode_document(state)))
    again = Registry(control.plan)
    again.restore(cbor.decode_document(state)["registry"])
    assert again.nodes["n1"].has(node.ledger, 2)
    assert not again.nodes["n1"].has(node.ledger, 1)
    assert control.hear(node, first) is Heard.TAKEN
