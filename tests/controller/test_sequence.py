"""What the controller holds of a ledger, against a set of seqs."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from controller.sequence import RUNS_MAX, Sequence
from lanes.orders import RANGES_MAX


def digest(seq: int) -> bytes:
    return hashlib.sha256(seq.to_bytes(8, "big")).digest()


@given(st.permutations(range(1, 9)) | st.lists(st.integers(1, 60), unique=True))
def test_it_is_a_set_of_seqs_and_its_ack_says_no_more_than_it_holds(order: list[int]) -> None:
    sequence = Sequence(b"ledger01")
    held: set[int] = set()
    for seq in order:
        assert not sequence.has(seq)
        sequence.take(seq, digest(seq))
        held.add(seq)
        assert {each for each in range(1, 70) if sequence.has(each)} == held
        through = next(each for each in range(70) if each + 1 not in held)
        ack = sequence.ack(b"journal1")
        assert ack.through == through
        assert ack.last == (digest(through) if through else bytes(32))
        told = {each for first, last in ack.ranges for each in range(first, last + 1)}
        assert told <= held
        assert len(ack.ranges) <= RANGES_MAX
        assert sequence.highest == max(held)
    assert Sequence.restore(sequence.pack()) == sequence


def test_too_many_gaps_leave_room_only_for_what_closes_them() -> None:
    sequence = Sequence(b"ledger01")
    for seq in range(3, 3 + 2 * RUNS_MAX, 2):
        assert sequence.room_for(seq)
        sequence.take(seq, digest(seq))
    assert not sequence.room_for(10_000)
    assert sequence.room_for(1)
