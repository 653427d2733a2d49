"""Rebirths are asked for seldom, whatever gives reason for them."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controller.telemetry.rebirths import BURST, JITTER_NS, LONGEST_GAP_NS, RATE_PER_S, Rebirths
from cython_ext import NS_PER_S as S

KEY = ("g", "n")


def play(wants: dict[int, list[tuple[str, str]]], until_s: int) -> list[tuple[int, tuple[str, str]]]:
    """Want at given seconds, take ten times a second; when each was asked."""
    rebirths, asked = Rebirths(random.Random(1)), []
    for tenth in range(until_s * 10):
        now_ns = tenth * S // 10
        for key in wants.get(tenth // 10, []) if tenth % 10 == 0 else []:
            rebirths.want(key, now_ns)
        asked += [(now_ns, key) for key in rebirths.take(now_ns)]
    return asked


def test_the_first_is_asked_at_once_and_the_next_ever_later():
    asked = [at for at, _ in play({second: [KEY] for second in range(400)}, 400)]
    assert asked[0] <= JITTER_NS + S // 10
    gaps = [(b - a) / S for a, b in pairwise(asked)]
    for gap, least in zip(gaps, [5, 10, 20, 40, 60, 60, 60], strict=False):
        assert least <= gap <= least + 2


def test_a_node_that_was_quiet_for_long_is_trusted_again():
    quiet_s = 2 * LONGEST_GAP_NS // S + 10
    asked = [at for at, _ in play({0: [KEY], 1: [KEY], 20 + quiet_s: [KEY]}, 40 + quiet_s)]
    assert len(asked) == 3
    assert asked[2] <= (20 + quiet_s) * S + JITTER_NS + S // 10


def test_all_nodes_together_are_asked_at_a_bounded_rate():
    asked = play({0: [("g", f"n{i}") for i in range(500)]}, 120)
    assert len(asked) == len({key for _, key in asked}) == 500
    assert all(sum(1 for at, _ in asked if s * S <= at < (s + 1) * S) <= RATE_PER_S + BURST for s in range(120))


def test_a_birth_or_our_own_loss_makes_asking_needless():
    for forget in (lambda r: r.born(KEY), lambda r: r.clear()):
        rebirths = Rebirths(random.Random(1))
        assert rebirths.want(KEY, 0)
        assert not rebirths.want(KEY, 0)
        forget(rebirths)
        assert rebirths.next_ns() is None
        assert rebirths.take(10 * S) == []


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3 * S)), max_size=60))
def test_take_gives_something_when_next_said_so(wants):
    rebirths, now_ns = Rebirths(random.Random(2)), 0
    waiting: set[tuple[str, str]] = set()
    for node, wait_ns in wants:
        now_ns += wait_ns
        rebirths.want(("g", f"n{node}"), now_ns)
        waiting.add(("g", f"n{node}"))
        waiting -= set(rebirths.take(now_ns))
    for _ in range(1000):
        due_ns = rebirths.next_ns()
        if due_ns is None:
            break
        now_ns = max(now_ns + 1, due_ns)
        waiting -= set(rebirths.take(now_ns))
    assert not waiting
