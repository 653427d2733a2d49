"""Bodies of all messages: they survive the wire, refuse what is malformed, and keep the size rule."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import Cause, ClockQuality, ClockSource, Hazard, Level, Reason, Trouble, WireError
from lanes import cbor
from lanes.envelope import SMALL_BYTES_MAX, Envelope, Kind, seal
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode, SigningKey
from lanes.orders import Ack, Action, Order, OrderCore
from lanes.pieces import Piece, Want
from lanes.reports import Event, PointState, ReceiptData, ResetData, SirenState, Stage, State, TransitionData
from lanes.resets import PointReset
from tests.kit.messages import bodies, digests, names, naturals, octets8, plain, seqs

KEY = SigningKey.from_seed(b"k" * 32)
TYPES = [Event, State, Ack, Order, OrderCore, TransitionData, ReceiptData, ResetData, Piece, Want, PointReset]


@given(bodies)
def test_round_trip_through_bytes(body):
    assert type(body).unpack(cbor.decode(cbor.encode(body.pack()))) == body


@given(st.sampled_from(TYPES), plain)
def test_anything_else_is_refused(kind, value):
    with pytest.raises(WireError):
        kind.unpack(value)


@given(bodies, st.data())
def test_a_field_of_another_type_is_refused(body, data):
    fields = body.pack()
    at = data.draw(st.integers(0, len(fields) - 1))
    fields[at] = {1: 2}
    with pytest.raises(WireError):
        type(body).unpack(fields)


NODE, CONTROLLER, LONG = "n" * 10, "c" * 10, "x" * 32  # the longest that a plan allows together
SEQ = (1 << 32) - 1
CLOCK = ClockQuality(ClockSource.NTP, 10**6)
WALL_US = 1_800_000_000_000_000


def size(kind: Kind, body: list, *, addressee: str = CONTROLLER) -> int:
    return len(seal(Envelope(kind, NODE, addressee, bytes(8), SEQ, WALL_US, 1 << 20, 1 << 20, body), KEY))


def test_the_longest_event_keeps_the_size_rule():
    """Ids as long as a plan allows; a vote of 8 members named."""
    data = TransitionData(
        LONG, Cause.RAISED, Level.NORMAL, Level.DANGER, 1.234567, Reason.VOTE, Trouble(0xFFFF), tuple(range(5000, 5008))
    )
    assert size(Kind.EVENT, Event(bytes(8), SEQ, 1 << 60, CLOCK, bytes(32), data).pack()) <= SMALL_BYTES_MAX


def test_the_longest_receipt_and_state_keep_the_size_rule():
    receipt = ReceiptData(LONG, bytes(8), Stage.REFUSED, "r" * 24, bytes(8), SEQ, True)
    assert size(Kind.EVENT, Event(bytes(8), SEQ, 1 << 60, CLOCK, bytes(32), receipt).pack()) <= SMALL_BYTES_MAX
    point = PointState(4000, Level.DANGER, Trouble(0xFFFF), SEQ, 1 << 31)
    state = State(
        bytes(8),
        1 << 33,
        1 << 60,
        CLOCK,
        bytes(32),
        0,
        9,
        (point,) * 2,
        (SirenState(4000, Stage.DONE, 1 << 20, 1800, 0xFFFF, 0xFF_FFFF, 28_400, 100, 3600, 86_400),),
    )
    assert size(Kind.STATE, state.pack()) <= SMALL_BYTES_MAX


def test_a_siren_row_from_before_there_were_inputs_is_read():
    row = SirenState.unpack([7, int(Stage.DONE), 3, 0, 0])
    assert row == SirenState(7, Stage.DONE, 3, 0)
    with pytest.raises(WireError):
        SirenState.unpack([7, int(Stage.DONE), 3, 0, 0, 0])


def test_an_ack_with_all_its_ranges_keeps_the_size_rule():
    ranges = tuple((SEQ - n, SEQ) for n in range(8))
    assert size(Kind.ACK, Ack(bytes(8), bytes(8), SEQ, ranges, bytes(32)).pack()) <= SMALL_BYTES_MAX


def test_a_stop_keeps_the_size_rule():
    core = OrderCore(bytes(8), (), "", Mode.LIVE, 0, 0, bytes(32))
    order = Order(Action.STOP, LONG, core, 1 << 20, bytes(8))
    envelope = Envelope(Kind.ORDER, CONTROLLER, NODE, bytes(8), 1 << 40, WALL_US, 1 << 20, 1 << 20, order.pack(), 0)
    assert len(seal(envelope, KEY)) <= SMALL_BYTES_MAX


@given(names, octets8, seqs, st.sampled_from(Hazard), names)
def test_identities_survive_text_and_bytes(node, ledger, seq, hazard, zone):
    key = EventKey(node, ledger, seq)
    assert EventKey.parse(str(key)) == key
    assert EventKey.unpack(cbor.decode(cbor.encode(key.pack()))) == key
    alarm = AlarmId(zone, hazard, key)
    assert AlarmId.parse(str(alarm)) == alarm
    assert alarm.incident == hashlib.sha256(str(alarm).encode()).digest()[:8]


@given(st.lists(st.tuples(names, octets8, naturals), min_size=2, max_size=6))
def test_keys_have_one_byte_order(rows):
    keys = [EventKey(*row) for row in rows]
    assert min(keys, key=lambda k: k.octets) == min(reversed(keys), key=lambda k: k.octets)


@given(digests)
def test_every_field_of_an_order_core_changes_its_digest(plan):
    core = OrderCore(bytes(8), ("a",), "p", Mode.LIVE, 60, 5, plan)
    others = [
        OrderCore(b"\1" * 8, ("a",), "p", Mode.LIVE, 60, 5, plan),
        OrderCore(bytes(8), ("b",), "p", Mode.LIVE, 60, 5, plan),
        OrderCore(bytes(8), ("a",), "q", Mode.LIVE, 60, 5, plan),
        OrderCore(bytes(8), ("a",), "p", Mode.TEST, 60, 5, plan),
        OrderCore(bytes(8), ("a",), "p", Mode.LIVE, 61, 5, plan),
        OrderCore(bytes(8), ("a",), "p", Mode.LIVE, 60, 6, plan),
        OrderCore(bytes(8), ("a",), "p", Mode.LIVE, 60, 5, bytes(31) + b"\1"),
    ]
    assert len({c.digest() for c in (core, *others)} | {core.digest()}) >= 7
