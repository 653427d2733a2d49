"""Hypothesis strategies for every message of the alarm lane."""

from hypothesis import strategies as st

from cython_ext import Cause, ClockQuality, ClockSource, Level, Reason, Trouble
from lanes.envelope import Envelope, Kind
from lanes.keys import Mode
from lanes.orders import Ack, Action, Approval, Beat, Order, OrderCore
from lanes.pieces import Piece, Want
from lanes.reports import (
    BootData,
    Event,
    PointState,
    ReceiptData,
    ResetData,
    SirenState,
    Stage,
    State,
    TransitionData,
    TroubleData,
)
from lanes.resets import PointReset

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
naturals = st.integers(0, 2**63 - 1)
small = st.integers(0, 1000)
seqs = st.integers(0, 2**32 - 1)
codes = st.from_regex(r"[a-z0-9-]{1,24}", fullmatch=True)
octets8 = st.binary(min_size=8, max_size=8)
digests = st.binary(min_size=32, max_size=32)
clocks = st.builds(ClockQuality, st.sampled_from(ClockSource), st.integers(0, 65_535))
troubles = st.integers(0, 0xFFFF).map(Trouble)

transitions = st.builds(
    TransitionData,
    names,
    st.sampled_from(Cause),
    st.sampled_from(Level),
    st.sampled_from(Level),
    st.floats(allow_nan=False),
    st.sampled_from(Reason),
    troubles,
    st.lists(st.integers(0, 200), max_size=8).map(tuple),
)
receipts = st.builds(
    ReceiptData, names | st.just(""), octets8, st.sampled_from(Stage), codes, octets8, small, st.booleans()
)
data = (
    transitions
    | receipts
    | st.builds(TroubleData, names, st.booleans(), names)
    | st.builds(BootData, names, names)
    | st.builds(ResetData, names, octets8, st.booleans(), codes)
)
events = st.builds(Event, octets8, seqs, naturals, clocks, digests, data)
point_states = st.builds(PointState, small, st.sampled_from(Level), troubles, seqs, naturals)
siren_states = st.builds(
    SirenState,
    small,
    st.sampled_from(Stage),
    small,
    small,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFF_FFFF),
    st.integers(0, 1_000_000),
    st.integers(0, 100) | st.just(255),
    st.integers(0, 65_535),
    st.integers(0, 86_400),
)
states = st.builds(
    State,
    octets8,
    seqs,
    naturals,
    clocks,
    digests,
    st.integers(0, 255),
    st.integers(0, 255),
    st.lists(point_states, max_size=5).map(tuple),
    st.lists(siren_states, max_size=5).map(tuple),
)
acks = st.builds(Ack, octets8, octets8, seqs, st.lists(st.tuples(seqs, seqs), max_size=8).map(tuple), digests)
cores = st.builds(
    OrderCore,
    octets8,
    st.lists(names, max_size=8).map(tuple),
    names | st.just(""),
    st.sampled_from(Mode),
    st.integers(0, 900),
    naturals,
    digests,
)
orders = st.builds(
    Order,
    st.sampled_from(Action),
    names | st.just(""),
    cores,
    small,
    octets8,
    st.lists(st.binary(max_size=300), max_size=2).map(tuple),
    st.lists(st.binary(max_size=300), max_size=2).map(tuple),
)
approvals = st.builds(Approval, digests, st.lists(octets8, max_size=8).map(tuple))
beats = st.builds(Beat, octets8)
pieces = st.builds(
    lambda plan, packed, first, data, more: Piece(plan, packed, first + len(data) + more, first, data),
    digests,
    digests,
    small,
    st.binary(min_size=1, max_size=512),
    small,
)
wants = st.builds(Want, digests, st.integers(0, 720 << 10), codes | st.just(""))
resets = st.builds(PointReset, names, st.binary(max_size=640), octets8)
bodies = events | states | acks | cores | orders | approvals | beats | pieces | wants | resets

kinds = st.sampled_from(Kind)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 1000), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    kind = draw(kinds)
    expires = kind in (Kind.ORDER, Kind.APPROVAL, Kind.ACT, Kind.RESET)
    body = draw(st.lists(st.integers(0, 100) | st.binary(max_size=8), max_size=4))
    return Envelope(
        kind,
        draw(names),
        draw(names | st.just("")),
        draw(octets8),
        draw(naturals),
        draw(naturals),
        draw(small),
        draw(small),
        body,
        draw(naturals) if expires else 0,
    )
