"""What counts as the controller's voice: fresh, its own, and never a recording."""

from cython_ext import ClockQuality, ClockSource
from edge.report.hearing import Doubt, Heard, Hearing
from lanes.envelope import Envelope, Kind, seal
from lanes.orders import Beat
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
