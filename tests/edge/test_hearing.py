"""What counts as the controller's voice: fresh, its own, and never a recording."""

from hashlib import sha256

from cython_ext import ClockQuality, ClockSource
from edge.report.hearing import Doubt, Heard, Hearing
from edge.report.ledger import Kept
from edge.report.outbox import Outbox
from lanes.envelope import Envelope, Kind, seal
from lanes.orders import Ack, Beat
from tests.kit.clock import ManualClock
from tests.kit.nodes import CONTROLLER, KEYS, NODE, signed

PLAN = signed().plan


def beat(boot: bytes, counter: int, issued_us: int) -> bytes:
    body = Beat(b"journal1").pack()
    return seal(Envelope(Kind.BEAT, CONTROLLER, "", boot, counter, issued_us, 7, 0, body), KEYS[CONTROLLER, "live"])


def judge(hearing: Hearing, *said: tuple[bytes, int, int]) -> list[bool]:
    return [isinstance(hearing.judge(beat(*each), beat=True), Heard) for each in said]


def test_counters_must_rise():
    first, second = b"boot-001", b"boot-002"
    hearing = Hearing(PLAN, NODE)
    assert judge(hearing, (first, 5, 100), (first, 5, 100), (first, 4, 200), (first, 6, 50)) == [
        True,
        False,
        False,
        True,
    ]
    assert judge(hearing, (second, 7, 40)) == [True], "a restart counts on, whatever its wall clock says"
    assert judge(hearing, (first, 8, 40)) == [False], "a boot that is over"
    assert hearing.refused == {Doubt.REPLAYED: 3}


def test_a_recording_of_a_boot_we_never_heard_neither_counts_nor_silences_the_real_one():
    old, now = b"boot-old", b"boot-now"
    hearing = Hearing(PLAN, NODE)
    assert judge(hearing, (now, 1000, 900), (old, 500, 400), (now, 1001, 901)) == [True, False, True]


def test_a_controller_restored_from_an_old_copy_is_heard_again():
    before, restored = b"boot-001", b"boot-002"
    hearing = Hearing(PLAN, NODE)
    assert judge(hearing, (before, 1000, 900), (restored, 10, 1000), (restored, 11, 1001)) == [True, True, True]
    assert judge(hearing, (before, 1001, 901), (before, 2000, 950), (restored, 12, 1002)) == [False, False, True]


def test_a_recording_from_a_clock_that_was_years_ahead_does_not_shut_out_the_present_boot():
    ahead, now = b"boot-001", b"boot-002"
    hearing = Hearing(PLAN, NODE)
    assert judge(hearing, (ahead, 10, 10_000_000), (now, 20, 1000), (ahead, 10, 10_000_000)) == [True, True, False]
    assert judge(hearing, (now, 21, 1001)) == [True]


def test_a_date_years_ahead_of_a_trusted_clock_is_no_proof_of_a_new_boot():
    clock = ManualClock()
    now_us, years_us = clock.wall_us(), 10 * 365 * 86_400_000_000
    hearing = Hearing(PLAN, NODE, clock)
    assert judge(hearing, (b"boot-now", 1000, now_us), (b"boot-old", 500, now_us + years_us)) == [True, False]
    clock.trust(ClockQuality(ClockSource.NONE))
    assert judge(hearing, (b"boot-old", 501, now_us + years_us)) == [True], (
        "without a clock of ours the date is all there is"
    )


def ack(boot: bytes, counter: int, issued_us: int, answer: Ack) -> bytes:
    body = answer.pack()
    return seal(Envelope(Kind.ACK, CONTROLLER, NODE, boot, counter, issued_us, 7, 0, body), KEYS[CONTROLLER, "live"])


def sent(seq: int, data: bytes) -> Outbox:
    """An outbox whose event has been sent and waits for its ack."""
    outbox = Outbox(lambda: 0.5)
    outbox.add(Kept(b"ledger01", seq, True, data), 0, fresh=True)
    outbox.landed(outbox.take(0, heard=True)[0], 0, 1)
    return outbox


def test_a_controller_that_lost_its_journal_after_an_absurd_clock_is_not_shut_out_for_ever():
    """Its counters begin low, and no date is later than the one that the wrong clock wrote."""
    ahead, now, years_us = b"boot-001", b"boot-002", 10 * 365 * 86_400_000_000
    outbox = sent(9, b"event")
    hearing = Hearing(PLAN, NODE, None, outbox.proves)
    assert judge(hearing, (ahead, 1 << 40, years_us), (now, 1, 1000)) == [True, False]
    wrong = Ack(b"journal2", b"ledger01", 9, (), bytes(32))
    old = Ack(b"journal2", b"ledger01", 8, (), sha256(b"event").digest())
    other = Ack(b"journal2", b"ledger02", 9, (), sha256(b"event").digest())
    for refused in (wrong, old, other):
        assert hearing.judge(ack(now, 2, 1001, refused), beat=False) is Doubt.REPLAYED
    proof = Ack(b"journal2", b"ledger01", 9, (), sha256(b"event").digest())
    assert isinstance(hearing.judge(ack(now, 3, 1002, proof), beat=False), Heard)
    assert judge(hearing, (now, 4, 1003)) == [True]
    assert judge(hearing, (ahead, (1 << 40) + 1, years_us + 1)) == [True], "a recording that was withheld until now"
    assert isinstance(hearing.judge(ack(now, 5, 1004, proof), beat=False), Heard), "does not shut it out either"


def test_an_ack_among_gaps_proves_it_too_and_a_boot_that_we_left_proves_nothing():
    before, now = b"boot-001", b"boot-002"
    outbox = sent(9, b"event")
    hearing = Hearing(PLAN, NODE, None, outbox.proves)
    assert judge(hearing, (before, 1000, 1000), (now, 1001, 1001)) == [True, True]
    gap = Ack(b"journal2", b"ledger01", 0, ((9, 9),), bytes(32))
    assert hearing.judge(ack(before, 900, 900, gap), beat=False) is Doubt.REPLAYED
    assert isinstance(hearing.judge(ack(b"boot-003", 1, 1, gap), beat=False), Heard)
    outbox.acked(b"ledger01", ((9, 9),))
    assert hearing.judge(ack(b"boot-004", 1, 1, gap), beat=False) is Doubt.REPLAYED, "it has been acked: a recording"
