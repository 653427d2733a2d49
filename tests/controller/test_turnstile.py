"""Nobody waits behind another, nothing grows without end, and quarantines end by themselves."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.turnstile import LONGEST_NS, QUIET_NS, Bucket, Entry, Ration, Turnstile
from cython_ext import NS_PER_S

SMALL = Ration(rate=10.0, burst=3.0, queue=5, waiting=8, turned_away=4, day=1000.0)


def turnstile(ration: Ration = SMALL) -> tuple[Turnstile[int], list[tuple[str, bool]]]:
    told: list[tuple[str, bool]] = []
    return Turnstile(ration, lambda name, on: told.append((name, on))), told


def test_a_bucket_fills_with_time_and_no_further_than_its_burst() -> None:
    bucket = Bucket(10.0, 3.0, 0)
    assert [bucket.spend(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.next_ns(0) == NS_PER_S // 10 + 1
    assert sum(bucket.spend(10_000 * NS_PER_S) for _ in range(50)) == 3


def test_within_the_burst_at_once_then_in_turn_then_not_at_all() -> None:
    gate, told = turnstile()
    entries = [gate.enter("a", n, 0) for n in range(10)]
    assert entries == [Entry.NOW] * 3 + [Entry.LATER] * 5 + [Entry.TURNED_AWAY] * 2
    assert gate.enter("b", 0, 0) is Entry.NOW
    assert told == []


def test_turns_are_one_message_each() -> None:
    gate, _ = turnstile()
    for name in ("a", "b"):
        for n in range(6):
            gate.enter(name, n, 0)
    later = NS_PER_S // 5 + 10
    assert gate.next(0) is None
    assert [gate.next(later) for _ in range(5)] == [("a", 3), ("b", 3), ("a", 4), ("b", 4), None]
    wait_ns = gate.wait_ns(later)
    assert wait_ns is not None
    assert gate.next(later + wait_ns) == ("a", 5)


def flooded(gate: Turnstile[int], now_ns: int, name: str = "a") -> None:
    for n in range(100):
        gate.enter(name, n, now_ns)


def test_a_flood_is_quarantined_and_released_when_it_is_over() -> None:
    gate, told = turnstile()
    flooded(gate, 0)
    assert told == [("a", True)]
    assert gate.waiting == 0
    assert gate.enter("a", 1, NS_PER_S) is Entry.NOW  # a trickle comes in: a wronged node can still raise an alarm
    gate.tick(QUIET_NS - 1)
    assert told == [("a", True)]
    gate.tick(QUIET_NS)
    assert told == [("a", True), ("a", False)]
    assert gate.enter("a", 1, QUIET_NS) is Entry.NOW


def test_a_flood_that_goes_on_stays_in_quarantine() -> None:
    gate, told = turnstile()
    for second in range(100):
        flooded(gate, second * NS_PER_S)
        gate.tick(second * NS_PER_S)
    assert told == [("a", True)]
    gate.tick(99 * NS_PER_S + QUIET_NS)
    assert told == [("a", True), ("a", False)]


def test_each_relapse_lasts_longer_up_to_a_limit() -> None:
    gate, told = turnstile()
    now_ns, terms = 0, []
    for _ in range(9):
        flooded(gate, now_ns)
        began_ns = now_ns
        while told[-1][1]:
            now_ns += NS_PER_S
            gate.tick(now_ns)
        terms.append((now_ns - began_ns) // NS_PER_S)
        now_ns += NS_PER_S
    assert terms == [10, 20, 40, 80, 160, 320, 640, 640, 640]
    assert LONGEST_NS == 640 * NS_PER_S
    now_ns += 2 * 3600 * NS_PER_S
    flooded(gate, now_ns)
    gate.tick(now_ns + QUIET_NS)
    assert told[-1] == ("a", False)  # after a quiet hour it is trusted again


def test_a_steady_stream_of_valid_events_ends_with_the_days_ration() -> None:
    gate, told = turnstile(Ration(rate=100.0, burst=50.0, queue=5, waiting=8, turned_away=1000, day=100.0, trickle=1.0))
    entered = sum(gate.enter("a", n, n * NS_PER_S // 20) is Entry.NOW for n in range(400))
    assert told[0] == ("a", True)
    assert entered < 100 + 20 + 10


@given(seed=st.integers(0, 1000), rogues=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_whatever_others_do_a_node_within_its_rate_comes_in_at_once(seed: int, rogues: int) -> None:
    rng, (gate, told) = Random(seed), turnstile()
    now_ns = 0
    for _ in range(60):
        now_ns += rng.randrange(NS_PER_S // 10 + 1, NS_PER_S // 5)
        for n in range(rng.randrange(40)):
            gate.enter(f"rogue-{rng.randrange(rogues)}", n, now_ns)
        while gate.next(now_ns) is not None:
            pass
        assert gate.enter("good", 0, now_ns) is Entry.NOW
        assert gate.waiting <= SMALL.waiting
        gate.tick(now_ns)
    assert ("good", True) not in told
