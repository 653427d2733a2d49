"""The circuit breaker: who may be asked, in any order of answers and silences."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.modbus.breaker import Breaker, Verdict

PROBE_NS = 5_000
QUIET_NS = 500


def breaker() -> Breaker:
    return Breaker(3, PROBE_NS, QUIET_NS)


def kill(one: Breaker, unit: int, now_ns: int) -> int:
    for _ in range(3):
        one.silent(unit, now_ns)
        now_ns += QUIET_NS
    return now_ns


def test_a_live_unit_is_always_asked() -> None:
    one = breaker()
    kill(one, 2, 0)
    assert all(one.may(1, now_ns) is Verdict.ASK for now_ns in range(0, 100_000, 100))


def test_after_a_silence_there_is_quiet() -> None:
    one = breaker()
    one.silent(1, 0)
    assert one.may(1, QUIET_NS - 1) is Verdict.SETTLING
    assert one.may(1, QUIET_NS) is Verdict.ASK


def test_an_answer_closes_the_circuit() -> None:
    one = breaker()
    now_ns = kill(one, 1, 0)
    assert one.dead == (1,)
    one.answered(1)
    assert one.dead == ()
    assert one.may(1, now_ns) is Verdict.ASK


def test_six_dead_units_are_probed_in_turn_one_in_each_period() -> None:
    one = breaker()
    now_ns = 0
    for unit in range(1, 7):
        now_ns = kill(one, unit, now_ns)
    probed = []
    for _ in range(12 * PROBE_NS // 100):
        now_ns += 100
        for unit in range(1, 7):
            if one.may(unit, now_ns) is Verdict.ASK:
                probed.append((unit, now_ns))
                one.silent(unit, now_ns)
    assert len(probed) == 12
    assert sorted(unit for unit, _ in probed) == sorted([1, 2, 3, 4, 5, 6] * 2)
    assert all(b[1] - a[1] >= PROBE_NS for a, b in pairwise(probed))


def test_when_a_line_comes_back_all_its_units_are_found_in_one_round() -> None:
    one = breaker()
    now_ns = 0
    for unit in range(1, 7):
        now_ns = kill(one, unit, now_ns)
    now_ns += PROBE_NS
    for unit in range(1, 7):
        assert one.may(unit, now_ns) is Verdict.ASK
        one.answered(unit)
    assert one.dead == ()


def test_a_dead_unit_that_nobody_polls_any_more_blocks_nobody() -> None:
    one = breaker()
    now_ns = kill(one, 1, kill(one, 2, 0))
    one.may(1, now_ns)  # probed
    one.silent(1, now_ns)
    one.may(2, now_ns + 1)  # stands first in the queue, and is never polled again
    times = [t for t in range(now_ns, now_ns + 10 * PROBE_NS, 100) if one.may(1, t) is Verdict.ASK]
    assert times


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.integers(0, 3_000)), max_size=200))
def test_silent_probes_are_never_closer_than_a_period(steps: list[tuple[int, bool, int]]) -> None:
    one = breaker()
    now_ns = 0
    last_probe_ns: int | None = None
    for unit, answers, later_ns in steps:
        now_ns += later_ns
        dead = unit in one.dead
        if one.may(unit, now_ns) is not Verdict.ASK:
            continue
        if dead:
            assert last_probe_ns is None or now_ns - last_probe_ns >= PROBE_NS
            last_probe_ns = now_ns
        if answers:
            last_probe_ns = None if dead else last_probe_ns
            one.answered(unit)
            assert unit not in one.dead
        else:
            one.silent(unit, now_ns)
