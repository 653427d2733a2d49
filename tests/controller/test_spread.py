"""The plan's way to the nodes: who is served, at what pace, and what is done with silence and refusals."""

import pytest

from controller.spread import ACTIVE_MAX, DISK_NS, GAP_NS, HEARD_NS, REFUSED_NS, RESEND_NS, REST_NS, TRIES_MAX
from cython_ext import NS_PER_S
from lanes import planfile
from lanes.envelope import Envelope, Kind, open_envelope, peek, seal
from lanes.pieces import PIECE_BYTES, Piece, Want, unpack
from tests.kit.control_room import CONTROLLER, ControlRoom
from tests.kit.plans import key, signed, with_keys

OLD = signed(with_keys())
NEW = signed(with_keys().replace("version = 1", "version = 2"))
MANY = [f"m{n}" for n in range(ACTIVE_MAX + 4)]


def plan(version, nodes):
    return signed(with_keys(nodes=("n1", "n2", *nodes)).replace("version = 1", f"version = {version}"))


class Spreading:
    """A control room that runs a newer plan than its nodes."""

    def __init__(self, path, nodes=("n1",), old=OLD, new=NEW):
        self.room = ControlRoom(path, new)
        self.spread = self.room.spread
        self.nodes = {name: self.room.node(name) for name in nodes}
        for node in self.nodes.values():
            node.plan = old
            self.room.hear(node, node.state())

    @property
    def now_ns(self):
        return self.room.clock.monotonic_ns()

    def due(self, seconds=0.0, *, alive=True):
        """What goes out after so long: {node: piece}. `alive`: the nodes have been heard meanwhile."""
        self.room.clock.advance(seconds)
        for node in self.nodes.values() if alive else ():
            self.room.hear(node, node.state())
        found = {}
        for name, data in self.spread.due(self.now_ns):
            envelope = peek(data)
            assert (envelope.kind, envelope.addressee) == (Kind.CHUNK, name)
            assert name not in found, "one piece on its way to a node"
            found[name] = Piece.unpack(envelope.body)
        return found

    def answer(self, name, want):
        node = self.nodes[name]
        node.counter += 1
        version, now_us = node.plan.plan.version, self.room.clock.wall_us()
        envelope = Envelope(Kind.WANT, name, CONTROLLER, node.boot, node.counter, now_us, version, 0, want.pack())
        return self.room.hear(node, seal(envelope, key(name)))


@pytest.fixture
def room(tmp_path):
    return Spreading(tmp_path / "journal.db")


def test_a_node_gets_the_whole_plan_piece_by_piece_as_it_asks(room):
    data = b""
    while True:
        piece = room.due(GAP_NS / NS_PER_S).get("n1")
        assert piece is not None
        assert piece.first == len(data)
        data += piece.data
        assert room.due() == {}, "the next waits for the answer"
        assert room.answer("n1", Want(piece.packed, len(data))) == "asked"
        if len(data) == piece.size:
            break
    assert planfile.parse(unpack(data)) == NEW
    assert room.due(1) == {}
    room.nodes["n1"].plan = NEW
    assert room.due(3600) == {}
    assert ("plan-differs", "n1") not in room.room.codes()


def test_nobody_is_sent_what_it_runs_or_what_is_older(tmp_path):
    newer = signed(with_keys().replace("version = 1", "version = 3"))
    assert Spreading(tmp_path / "same.db", old=NEW).due(1) == {}
    assert Spreading(tmp_path / "newer.db", old=newer).due(1) == {}


def test_a_lost_piece_goes_again_ever_more_seldom_and_then_the_place_is_free(room):
    waits = []
    since_ns = room.now_ns
    for _ in range(TRIES_MAX):
        while not room.due(0.5):
            pass
        waits.append(room.now_ns - since_ns)
        since_ns = room.now_ns
    assert waits[1] >= RESEND_NS
    assert waits == sorted(waits)
    assert room.due(RESEND_NS * 2**TRIES_MAX / NS_PER_S) == {}, "it rests"
    assert room.due(1) == {}
    assert set(room.due(2 * REST_NS / NS_PER_S)) == {"n1"}


def test_it_goes_on_where_it_was_after_our_link_was_cut(room):
    first = room.due()["n1"]
    room.answer("n1", Want(first.packed, PIECE_BYTES))
    room.spread.reconnected()
    assert room.due(1)["n1"].first == PIECE_BYTES


def test_a_node_that_was_silent_and_asks_again_is_served_from_there(room):
    first = room.due()["n1"]
    for _ in range(TRIES_MAX + 1):
        room.due(RESEND_NS * 2**TRIES_MAX / NS_PER_S)
    assert room.due() == {}
    room.answer("n1", Want(first.packed, PIECE_BYTES))
    assert room.due(1)["n1"].first == PIECE_BYTES


def test_a_refusal_ends_it_until_the_node_starts_again_or_time_has_passed(room):
    first = room.due()["n1"]
    room.answer("n1", Want(first.packed, 0, "bindings"))
    assert room.due(30) == {}
    node = room.nodes["n1"]
    assert room.spread.progress(room.room.room.fold.registry.nodes["n1"])["refused"] == "bindings"
    node.boot = b"boot0002"
    assert room.due(1)["n1"].first == 0
    room.answer("n1", Want(first.packed, 0, "bindings"))
    assert room.due(REFUSED_NS / NS_PER_S)["n1"].first == 0


def test_only_a_few_nodes_are_served_at_once_and_a_silent_one_gives_up_its_place(tmp_path):
    room = Spreading(tmp_path / "journal.db", MANY, plan(1, MANY), plan(2, MANY))
    served = set(room.due())
    assert len(served) == ACTIVE_MAX
    late = set(MANY) - served
    seen = set()
    for _ in range(40):
        seen |= set(room.due(4))
    assert late <= seen


def test_nothing_is_sent_to_a_node_that_is_not_there(room):
    room.due()
    assert room.due(HEARD_NS / NS_PER_S + 2, alive=False) == {}


@pytest.mark.parametrize(
    "hostile",
    [
        Want(b"?" * 32, 512),  # another file
        Want(bytes(32), 0, "older"),
    ],
)
def test_a_want_of_another_file_changes_nothing(room, hostile):
    first = room.due()["n1"]
    room.answer("n1", hostile)
    assert room.due(1) == {}
    assert room.due(RESEND_NS / NS_PER_S)["n1"] == first


def test_a_want_beyond_the_end_is_no_harm(room):
    first = room.due()["n1"]
    room.answer("n1", Want(first.packed, 700_000))
    [piece] = room.due(RESEND_NS / NS_PER_S + 1).values()
    assert piece.first + len(piece.data) == first.size


def test_a_malformed_want_is_counted(room):
    node = room.nodes["n1"]
    envelope = Envelope(Kind.WANT, "n1", CONTROLLER, node.boot, 99, 1, 1, 0, ["?"])
    assert room.room.hear(node, seal(envelope, key("n1"))) == "malformed"
    assert open_envelope(seal(envelope, key("n1")), OLD.plan.roster).envelope.kind is Kind.WANT


def test_a_full_disk_is_tried_again_sooner_than_what_only_people_mend(room):
    first = room.due()["n1"]
    room.answer("n1", Want(first.packed, 0, "disk"))
    assert room.due(DISK_NS / NS_PER_S - 2) == {}
    assert room.due(3)["n1"].first == 0
