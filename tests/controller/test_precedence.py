"""Which reports are opened first: those that may sound a siren, and yet nobody waits for ever, or is heard out of turn."""

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controller.precedence import FIRST_IN_A_ROW, Precedence, Waiting, nodes_first
from lanes.link import Message
from lanes.plan import Plan
from lanes.settings import parse
from tests.kit.plans import PLAN, QUIET

BY_HAND = (
    QUIET
    + """
[[siren]]
id = "s4"
node = "n4"
zones = ["sculeni"]

[[policy]]
zone = "sculeni"
hazard = "flood"
level = "alarm"
mode = "by-hand"
pattern = "dezastre"
"""
)
VOTE = (
    QUIET
    + """
[[vote]]
id = "vote"
points = ["gauge2", "gauge3"]
k = 2
window_s = 60.0
zones = ["ungheni"]
"""
)


@cache
def plan(text: str = PLAN + QUIET) -> Plan:
    return parse(text, Plan)


def waiting(node: str, data: bytes) -> Waiting:
    return Waiting(node, Message(f"bucium/1/prut/{node}/report", data, 1, False), acked=False)


def test_who_may_sound_a_siren_without_a_person_is_first() -> None:
    assert nodes_first(plan()) == {"n1", "n2"}
    by_hand = plan(PLAN + BY_HAND)
    assert nodes_first(by_hand) == {"n1", "n2", "n4"}, "who drives a siren answers orders; the gauge only asks people"
    vetoed = PLAN.replace('mode = "automatic"', 'mode = "unless-vetoed"\nveto_s = 30')
    assert nodes_first(plan(vetoed + QUIET)) == {"n1", "n2"}
    none = PLAN.replace('mode = "automatic"', 'mode = "none"').replace("reflex = true", "")
    assert nodes_first(plan(none + QUIET)) == {"n1"}, "its siren's receipts"


def test_a_point_that_votes_for_a_zone_with_a_siren_is_first() -> None:
    assert "n3" not in nodes_first(plan())
    assert "n3" in nodes_first(plan(PLAN + VOTE))


def test_the_same_bytes_wait_once_and_may_come_again_when_they_have_been_opened() -> None:
    one = Precedence(plan())
    assert one.put(waiting("n1", b"raise"))
    assert not one.put(waiting("n1", b"raise"))
    assert one.put(waiting("n2", b"raise")), "what another says is not for us to compare: it may be a forgery"
    assert len(one) == 2
    assert one.next() == waiting("n1", b"raise")
    assert one.put(waiting("n1", b"raise"))


def test_another_plan_orders_anew_what_waits() -> None:
    one = Precedence(plan())
    for each in (waiting("n3", b"1"), waiting("n4", b"2"), waiting("n1", b"3")):
        one.put(each)
    one.replan(plan(PLAN + BY_HAND))
    assert [one.next() for _ in range(4)] == [waiting("n1", b"3"), waiting("n4", b"2"), waiting("n3", b"1"), None]


def test_what_a_lost_connection_leaves_comes_again() -> None:
    one = Precedence(plan())
    one.put(waiting("n1", b"raise"))
    one.clear()
    assert (len(one), one.next()) == (0, None)
    assert one.put(waiting("n1", b"raise"))


STEPS = st.lists(
    st.one_of(st.none(), st.tuples(st.sampled_from(["n1", "n2", "n3", "n5"]), st.integers(0, 9))), max_size=80
)


@given(STEPS)
def test_nothing_is_lost_nor_out_of_turn_and_no_one_waits_for_ever(steps: list[tuple[str, int] | None]) -> None:
    one, first = Precedence(plan()), nodes_first(plan())
    model: list[Waiting] = []
    others_passed = 0
    for step in [*steps, *[None] * len(steps)]:
        if step is not None:
            each = waiting(step[0], bytes([step[1]]))
            assert one.put(each) is (each not in model)
            model += [] if each in model else [each]
            continue
        found = one.next()
        assert (found is None) is (not model)
        if found is None:
            continue
        assert found == next(each for each in model if each.node == found.node), "a node's own in turn"
        waits = any(each.node not in first for each in model)
        others_passed = others_passed + 1 if waits and found.node in first else 0
        assert others_passed <= FIRST_IN_A_ROW
        sirens = [each for each in model if each.node in first]
        assert not sirens or found.node in first or others_passed == 0
        model.remove(found)
        assert len(one) == len(model)
    assert not model


def test_sirens_take_all_places_but_one_of_five() -> None:
    one = Precedence(plan())
    for n in range(20):
        one.put(waiting("n3", bytes([n])))
        one.put(waiting("n1", bytes([n])))
    opened = [one.next() for _ in range(25)]
    nodes = [each.node for each in opened if each is not None]
    assert nodes[:20].count("n1") == 16
    assert all(a == "n1" or b == "n1" for a, b in pairwise(nodes[:20]))
