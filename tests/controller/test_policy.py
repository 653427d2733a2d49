"""Policy decides from alarm and plan alone, and says why; evidence is chosen as the siren's node will weigh it."""

from dataclasses import replace
from itertools import product

import pytest

from controller.alarm.changes import Reading
from controller.alarm.life import State
from controller.alarm.record import Alarm, Part, Seen
from controller.evidence import PIECES_MAX, Piece, Pool
from controller.policy import Decision, Move, asked_of_people, decide
from cython_ext import NS_PER_S, Hazard, Level, Reason, Trouble
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode
from lanes.plan import Plan
from lanes.settings import parse
from tests.kit.plans import PLAN, with_keys

KEY = EventKey("n1", b"ledger01", 1)


def plan_of(text: str = PLAN) -> Plan:
    return parse(with_keys(text), Plan)


def alarm_at(level: Level, *, live: bool = True, **changes: object) -> Alarm:
    reading = Reading(KEY, "gauge", 3.0, level, Reason.THRESHOLD, Trouble.NONE, 1)
    parts = (Part(reading, live),) if level else ()
    alarm = Alarm(
        AlarmId("ungheni", Hazard.FLOOD, KEY),
        Mode.LIVE,
        State.UNACKNOWLEDGED,
        KEY,
        level,
        1,
        1,
        parts,
        (Seen(KEY),),
    )
    return replace(alarm, **changes)  # type: ignore[arg-type]


def test_the_table_of_modes_levels_and_evidence() -> None:
    for mode, level, proven in product(("automatic", "unless-vetoed", "by-hand", "none"), Level, (False, True)):
        veto = "\nveto_s = 9" if mode == "unless-vetoed" else ""
        text = PLAN.replace('mode = "automatic"', f'mode = "{mode}"{veto}').replace("reflex = true", "")
        decision = decide(alarm_at(level), plan_of(text), proven=lambda _, proven=proven: proven)
        if level is Level.NORMAL:
            expected = (Move.NONE, "over")
        elif level is Level.ATTENTION:
            expected = (Move.NONE, "no-policy")
        elif mode == "none":
            expected = (Move.NONE, "policy-none")
        elif mode == "by-hand":
            expected = (Move.BY_HAND, "people")
        elif not proven:
            expected = (Move.BY_HAND, "evidence")
        elif mode == "automatic":
            expected = (Move.AUTOMATIC, "policy")
        else:
            expected = (Move.UNLESS_VETOED, "veto-time")
        assert (decision.move, decision.reason) == expected, (mode, level, proven)
        if decision.move is not Move.NONE:
            assert (decision.pattern, decision.max_s, decision.sirens) == ("dezastre", 120, ("s1",))
            assert decision.level is Level.ALARM  # the policy's
        assert Decision.unpack(decision.pack()) == decision


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": Mode.EXERCISE}, "not-live"),
        ({"state": State.SHELVED}, "shelved"),
        ({"state": State.SUPPRESSED}, "suppressed"),
        ({"state": State.OUT_OF_SERVICE}, "out-of-service"),
    ],
)
def test_what_is_muted_or_not_live_orders_nothing(changes: dict[str, object], reason: str) -> None:
    decision = decide(alarm_at(Level.DANGER, **changes), plan_of(), proven=lambda _: True)
    assert (decision.move, decision.reason) == (Move.NONE, reason)


def test_late_news_orders_nothing() -> None:
    decision = decide(alarm_at(Level.DANGER, live=False), plan_of(), proven=lambda _: True)
    assert (decision.move, decision.reason) == (Move.NONE, "late")


def test_a_pattern_that_no_siren_here_can_sound() -> None:
    text = PLAN.replace("verified = true", 'verified = true\nfamily = "compressed-air"')
    decision = decide(alarm_at(Level.ALARM), plan_of(text), proven=lambda _: True)
    assert decision.reason == "no-siren"


def test_people_and_centres_are_those_of_the_strictest_policy_that_names_the_pattern() -> None:
    text = (
        PLAN
        + """
[[policy]]
zone = "ungheni"
hazard = "flood"
level = "danger"
mode = "by-hand"
pattern = "dezastre"
approvals = 3
centres = 2
"""
    )
    assert asked_of_people(plan_of(), ("ungheni",), "dezastre") == (2, 1)
    assert asked_of_people(plan_of(text), ("ungheni",), "dezastre") == (3, 2)
    assert asked_of_people(plan_of(text), ("ungheni",), "all-clear") == (3, 2)
    assert asked_of_people(plan_of(text), ("elsewhere",), "dezastre") == (2, 1)


VOTE = (
    PLAN.replace('id = "gauge2"', 'id = "gauge2"\nalone = false').replace(
        'id = "gauge"\n', 'id = "gauge"\nalone = false\n'
    )
    + """
[[vote]]
id = "both"
points = ["gauge", "gauge2"]
k = 2
window_s = 600
zones = ["ungheni"]
"""
)


def piece(point: str, node: str, level: Level = Level.ALARM, at_s: float = 0.0) -> Piece:
    return Piece(point, node, level, round(at_s * NS_PER_S), f"{point}@{at_s}".encode())


def test_evidence_is_recent_high_enough_and_of_k_nodes() -> None:
    plan = plan_of(PLAN.replace("reflex = true", "k = 2"))
    policy = plan.policies[0]
    pool = Pool(plan)
    pool.put(piece("gauge", "n1"))
    assert pool.choose(policy, 0) == ()
    pool.put(piece("gauge2", "n2", Level.ATTENTION))
    assert pool.choose(policy, 0) == ()
    pool.put(piece("gauge2", "n2", at_s=10))
    assert set(pool.choose(policy, 10 * NS_PER_S)) == {b"gauge@0.0", b"gauge2@10"}
    assert pool.choose(policy, 271 * NS_PER_S) == ()
    pool.lower("gauge2", Level.ATTENTION)
    assert pool.choose(policy, 10 * NS_PER_S) == ()
    pool.drop("gauge")
    assert pool.choose(policy, 10 * NS_PER_S) == ()


def test_members_of_a_vote_are_evidence_when_the_vote_is_won() -> None:
    plan = plan_of(VOTE)
    pool = Pool(plan)
    pool.put(piece("gauge", "n1"))
    assert pool.choose(plan.policies[0], 0) == ()
    pool.put(piece("gauge2", "n2"))
    chosen = pool.choose(plan.policies[0], 0)
    assert len(chosen) == 2
    assert len(chosen) <= PIECES_MAX
