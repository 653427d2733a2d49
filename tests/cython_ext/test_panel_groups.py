"""Votes, dependencies, rate of rise, drift, flat line: cython_ext/README.md §3–§5, §8, §9 by examples."""

import pytest

from cython_ext.model import (
    NS_PER_S,
    Dependency,
    GroupConfig,
    Level,
    LevelConfig,
    PointConfig,
    RateMethod,
    Status,
    Trouble,
    VotePolicy,
)
from tests.kit.drive import THREE, Drive

S = NS_PER_S
A, B, C = (PointConfig(name, levels=THREE) for name in "abc")


def group(policy: VotePolicy = VotePolicy.TO_ALARM, window_ns: int = 0) -> GroupConfig:
    return GroupConfig("g", (0, 1, 2), 2, window_ns, policy)


def test_two_of_three_with_the_evidence() -> None:
    drive = Drive(A, B, C, groups=(group(),))
    drive.see(1, 1.5, point=2)
    assert drive.panel.level(3) is Level.NORMAL
    assert drive.see(2, 3.5, point=0)[-1] == "3 RAISED NORMAL>ATTENTION VOTE"
    assert drive.panel.explain(3, 2 * S).words[-1] == "voting: a, c"
    assert drive.see(3, 0.1, point=2)[-1] == "3 LOWERED ATTENTION>NORMAL VOTE"


def test_a_vote_is_remembered_for_the_window() -> None:
    drive = Drive(A, B, C, groups=(group(window_ns=60 * S),))
    drive.see(1, 1.5, point=0)
    drive.see(2, 0.1, point=0)
    assert drive.see(61, 1.5, point=1)[-1] == "3 RAISED NORMAL>ATTENTION VOTE"
    assert drive.wait(100) == [(62.0, "3 LOWERED ATTENTION>NORMAL VOTE")]


@pytest.mark.parametrize(("policy", "raised"), [(VotePolicy.TO_ALARM, True), (VotePolicy.TO_SILENCE, False)])
def test_a_failed_point_votes_as_the_policy_says(policy: VotePolicy, raised: bool) -> None:
    drive = Drive(A, B, C, groups=(group(policy),))
    drive.see(1, 0.1, point=0, status=Status.MISSING)
    assert ("3 RAISED NORMAL>ATTENTION VOTE" in drive.see(2, 1.5, point=1)) is raised
    drive.see(3, 1.5, point=2)
    assert drive.panel.level(3) is Level.ATTENTION


def test_absence_alone_never_makes_an_alarm() -> None:
    drive = Drive(A, B, C, groups=(group(),))
    told = [word for point in range(3) for word in drive.see(1, 0.1, point=point, status=Status.MISSING)]
    assert "3 TROUBLE_RAISED VOTE_DEGRADED VOTE" in told
    assert drive.panel.level(3) is Level.NORMAL


def dependent(kind: Dependency) -> PointConfig:
    return PointConfig("a", levels=THREE, dependency=kind, dependency_ns=60 * S)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (Dependency.A, []),
        (Dependency.B, ["0 RAISED NORMAL>ATTENTION DEPENDENCY"]),
        (Dependency.C, ["0 RAISED NORMAL>ALARM DEPENDENCY"]),
    ],
)
def test_a_first_signal_shows_what_its_type_allows(kind: Dependency, first: list[str]) -> None:
    drive = Drive(dependent(kind))
    assert drive.see(1, 3.5) == first
    assert drive.see(60, 3.5) == []
    told = drive.wait(100)
    assert told[0][0] == 61.0
    assert told[0][1].endswith(">DANGER DEPENDENCY")


def test_a_second_detector_of_the_zone_confirms_both() -> None:
    other = PointConfig("b", levels=THREE, dependency=Dependency.A, dependency_ns=60 * S)
    drive = Drive(dependent(Dependency.A), other, groups=(GroupConfig("zone", (0, 1), 2, 0),))
    assert drive.see(1, 3.5) == []
    told = drive.see(2, 2.5, point=1)
    assert told == [
        "0 RAISED NORMAL>DANGER DEPENDENCY",
        "1 RAISED NORMAL>ALARM DEPENDENCY",
        "2 RAISED NORMAL>ALARM VOTE",
    ]


def test_a_first_signal_that_goes_is_forgotten() -> None:
    drive = Drive(dependent(Dependency.A))
    drive.see(1, 3.5)
    drive.see(2, 0.1)
    assert drive.panel.next_deadline_ns() == (1 + 30 * 60) * S
    assert drive.wait(1802) == []
    assert drive.see(1803, 3.5) == []
    drive.see(1804, 0.1)
    assert drive.see(1900, 3.5) == ["0 RAISED NORMAL>DANGER DEPENDENCY"]


@pytest.mark.parametrize("method", list(RateMethod))
def test_a_fast_rise_raises_on_its_own(method: RateMethod) -> None:
    levels = (LevelConfig(50.0, 49.0, rate_at=0.05), LevelConfig(), LevelConfig())
    drive = Drive(PointConfig("a", levels=levels, rate_window_ns=60 * S, rate_method=method))
    told = [(at_s, word) for at_s in range(1, 120) for word in drive.see(at_s, 0.01 * at_s)]
    assert told == []
    told = [(at_s, word) for at_s in range(120, 300) for word in drive.see(at_s, 1.2 + 0.1 * (at_s - 120))]
    assert [word for _, word in told] == ["0 RAISED NORMAL>ATTENTION RATE"]
    assert 120 < told[0][0] < 180
    assert drive.panel.rate_per_s(0) == pytest.approx(0.1)
    told = [(at_s, word) for at_s in range(300, 420) for word in drive.see(at_s, 19.2)]
    assert [word for _, word in told] == ["0 LOWERED ATTENTION>NORMAL THRESHOLD"]


def test_wild_values_do_not_move_the_robust_rate() -> None:
    drive = Drive(PointConfig("a", levels=THREE, rate_window_ns=110 * S))
    for k in range(12):
        drive.see(1 + 10 * k, 5.0 if k in (4, 9) else 0.02 * k)
    assert drive.panel.rate_per_s(0) == pytest.approx(0.002)


def test_a_flat_line_is_a_fault() -> None:
    drive = Drive(PointConfig("a", levels=THREE, flat_ns=60 * S, flat_tolerance=0.001))
    told = [(at_s, word) for at_s in range(1, 70) for word in drive.see(at_s, 0.5 + 0.0001 * (at_s % 2))]
    assert told == [(61, "0 TROUBLE_RAISED FLAT QUALITY")]
    assert drive.see(70, 0.52) == ["0 TROUBLE_CLEARED NONE QUALITY"]


def test_drift_is_compensated_within_its_bounds_and_then_dirty() -> None:
    smoke = PointConfig("a", levels=THREE, drift_rate=0.0001, drift_total=0.3, drift_clean=0.0)
    drive = Drive(smoke)
    told = []
    for minute in range(600):  # dust: 0.0015 a minute, a quarter of what may be followed
        told += [(minute, word) for word in drive.see(60 * minute + 1, 0.0015 * minute)]
    assert [word for _, word in told] == ["0 TROUBLE_RAISED DIRTY DRIFT"]
    assert told[0][0] == 200
    assert "drift compensated by 0.3 of 0.3" in drive.panel.explain(0, 36_000 * S).words
    assert drive.panel.trouble(0) is Trouble.DIRTY
    assert drive.see(36_001, 1.31) == ["0 RAISED NORMAL>ATTENTION THRESHOLD"]


def test_a_slow_fire_is_not_compensated_away() -> None:
    smoke = PointConfig("a", levels=THREE, drift_rate=0.00001, drift_total=0.3)
    drive = Drive(smoke)
    told = [(at_s, word) for at_s in range(0, 4 * 3600, 10) for word in drive.see(at_s + 1, at_s / 3600)]
    assert told[0][1] == "0 RAISED NORMAL>ATTENTION THRESHOLD"
    assert told[0][0] < 3600 * 1.04  # four hours to 4.0: at most 0.036 lost in the first hour
