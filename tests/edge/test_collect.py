"""Pieces of a plan put together: whatever the link does to them, the file comes out whole or not at all."""

import hashlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge.plan.collect import DAMAGED_MAX, Collector
from lanes.pieces import PIECE_BYTES, Packed, Piece, Want

FILES = [Random(seed).randbytes(size) for seed, size in enumerate((1, 511, 512, 513, 3000))]
PACKED = [Packed(bytes([n]) * 32, data, hashlib.sha256(data).digest()) for n, data in enumerate(FILES)]


@given(st.sampled_from(PACKED), st.integers(0, 1 << 32))
def test_a_link_that_loses_repeats_and_reorders_only_costs_time(packed, seed):
    """The controller sends what is wanted; the link does as it likes."""
    random = Random(seed)
    collector, flying, whole = Collector(), [packed.piece(0)], None
    for _ in range(2000):
        if not flying or random.random() < 0.2:
            want = collector.want() or Want(packed.digest, 0)
            flying.append(packed.piece(want.have))
        piece = flying.pop(random.randrange(len(flying)))
        if random.random() < 0.3:
            flying.append(piece)
        if random.random() < 0.3:
            continue
        whole = collector.take(piece)
        if whole is not None:
            break
    assert whole == packed.data


class Hostile(RuleBasedStateMachine):
    """Pieces of any plan, right and wrong ones, in any order: never anything else than a file that adds up."""

    def __init__(self) -> None:
        super().__init__()
        self.collector = Collector()

    def give(self, piece: Piece) -> None:
        whole = self.collector.take(piece)
        if whole is not None:
            assert hashlib.sha256(whole).digest() == piece.packed
            assert len(whole) == piece.size

    @rule(packed=st.sampled_from(PACKED), at=st.integers(0, 5))
    def a_right_piece(self, packed, at):
        first = min(at * PIECE_BYTES, len(packed.data) - 1)
        self.give(packed.piece(first))

    @rule(packed=st.sampled_from(PACKED))
    def the_wanted_piece(self, packed):
        want = self.collector.want()
        have = want.have if want is not None and want.packed == packed.digest else 0
        if have < len(packed.data):
            self.give(packed.piece(have))

    @rule(
        packed=st.sampled_from(PACKED),
        size=st.integers(1, 5000),
        first=st.integers(0, 5000),
        data=st.binary(min_size=1, max_size=PIECE_BYTES),
    )
    def a_lying_piece(self, packed, size, first, data):
        if first + len(data) <= size:
            self.give(Piece(packed.plan, packed.digest, size, first, data))

    @rule()
    def it_is_refused(self):
        self.collector.refuse("older")

    @invariant()
    def it_is_bounded_and_its_want_fits(self):
        want = self.collector.want()
        assert want is None or Want.unpack(want.pack()) == want
        assert len(self.collector._data) <= 5000


TestHostile = Hostile.TestCase


def test_a_file_that_does_not_add_up_is_fetched_again_and_in_the_end_refused():
    lie = Packed(b"p" * 32, b"x" * 600, bytes(32))
    collector = Collector()
    for time in range(DAMAGED_MAX):
        assert collector.want() in (None, Want(lie.digest, 0)), time
        collector.take(lie.piece(0))
        assert collector.take(lie.piece(512)) is None
    assert collector.want() == Want(lie.digest, 0, "damaged")
    assert collector.take(lie.piece(512)) is None


def test_another_file_begins_anew_and_a_refused_one_only_when_it_is_offered_again():
    collector = Collector()
    first, second = PACKED[3], PACKED[4]
    collector.take(first.piece(0))
    assert collector.want() == Want(first.digest, 512)
    collector.take(second.piece(512))
    assert collector.want() == Want(second.digest, 0)
    collector.take(second.piece(0))
    collector.refuse("bindings")
    collector.take(second.piece(512))
    assert collector.want() == Want(second.digest, 0, "bindings")
    collector.take(second.piece(0))
    assert collector.want() == Want(second.digest, 512)
    collector.forget()
    assert collector.want() is None
