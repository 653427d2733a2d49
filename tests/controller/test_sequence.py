"""What the controller holds of a ledger, against a set of seqs."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from controller.sequence import RECENT, RUNS_MAX, Sequence
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


@given(st.integers(1, 200), st.integers(1, 200))
def test_another_event_under_a_seq_that_is_here_forks_it_and_its_ack_names_ours(count: int, other: int) -> None:
    """An old copy of a node's disk was put back: it uses seqs again. What is no longer at hand is not called another."""
    sequence = Sequence(b"ledger01")
    for seq in range(1, count + 1):
        sequence.take(seq, digest(seq))
        assert not sequence.again(seq, digest(seq))
    seq = min(other, count)
    recent = seq > count - RECENT
    assert sequence.again(seq, b"x" * 32) is recent
    ack = sequence.ack(b"journal1")
    assert (ack.through, ack.last) == ((seq, digest(seq)) if recent else (count, digest(count)))
    if recent:
        assert ack.ranges == ()
        assert sequence.again(count, b"y" * 32)
        assert sequence.ack(b"journal1").through == seq, "the lowest"
    assert not Sequence.restore(sequence.pack()).again(seq, b"x" * 32), "after a restart none is at hand"


@given(st.lists(st.integers(1, 200), unique=True, min_size=1))
def test_an_event_that_comes_again_is_no_other_in_whatever_order_all_came(order: list[int]) -> None:
    """A backlog comes with its alarms first, the newest of them before all."""
    sequence = Sequence(b"ledger01")
    for seq in order:
        sequence.take(seq, digest(seq))
        assert not any(sequence.again(each, digest(each)) for each in order if sequence.has(each))
    assert not sequence.forked
