"""Another configuration over a running state: cython_ext/README.md §12, each rule by an example. The campaign swaps too."""

import math
from dataclasses import replace
from typing import Any

import pytest

from cython_ext.errors import ConfigError
from cython_ext.model import (
    NS_PER_S,
    Dependency,
    Level,
    LevelConfig,
    PanelConfig,
    PointConfig,
    RateMethod,
    Transition,
    Trouble,
)
from cython_ext.panel import Panel, pack
from tests.kit.drive import THREE, Drive, words

S = NS_PER_S
NONE = LevelConfig()


class Swapped(Drive):
    """A panel of one point, whose settings can be changed while it runs."""

    def __init__(self, point: PointConfig) -> None:
        super().__init__(point)
        self.point = point

    def swap(self, at_s: float, **change: Any) -> list[Transition]:
        self.point = replace(self.point, **change)
        return self.panel.reconfigure(PanelConfig((self.point,)), int(at_s * S))


def test_a_drift_that_is_new_starts_at_its_clean_air() -> None:
    """The rate window was there before, the drift was not: nothing has been learnt that could be compensated."""
    drive = Swapped(PointConfig("a", levels=(LevelConfig(6.0), NONE, NONE), rate_window_ns=11 * S))
    drive.see(1, 5.0)
    assert words(drive.swap(2, drift_rate=0.001, drift_total=0.5, drift_clean=5.0)) == []
    assert not [word for word in drive.panel.explain(0, 2 * S).words if "drift" in word]
    assert drive.see(3, 5.9) == []


def test_a_drift_whose_bound_is_drawn_in_hides_no_more_than_the_new_bound() -> None:
    drive = Swapped(PointConfig("a", levels=THREE, drift_rate=0.001, drift_total=0.5))
    for minute in range(30):
        drive.see(60 * minute + 1, 0.4)
    assert words(drive.swap(1800, levels=(LevelConfig(0.3), NONE, NONE), drift_total=0.1)) == [
        "0 TROUBLE_RAISED DIRTY PLAN"
    ]
    assert drive.see(1801, 0.41) == ["0 RAISED NORMAL>ATTENTION THRESHOLD"]


def test_dirty_ends_with_the_drift() -> None:
    drive = Swapped(PointConfig("a", levels=THREE, drift_rate=0.01, drift_total=0.3))
    for minute in range(10):
        drive.see(60 * minute + 1, 0.4)
    assert drive.panel.trouble(0) is Trouble.DIRTY
    assert words(drive.swap(600, drift_rate=0.0, drift_total=0.0)) == ["0 TROUBLE_CLEARED NONE PLAN"]


def test_a_lower_rate_is_seen_in_the_window_that_is_there() -> None:
    levels = (LevelConfig(500.0, rate_at=1.0), NONE, NONE)
    drive = Swapped(PointConfig("a", levels=levels, rate_window_ns=110 * S))
    for n in range(12):
        assert drive.see(1 + 10 * n, 0.5 * 10 * n) == []
    assert words(drive.swap(112, levels=(LevelConfig(500.0, rate_at=0.25), NONE, NONE))) == []
    assert drive.see(122, 55.0) == ["0 RAISED NORMAL>ATTENTION RATE"]


def test_a_danger_that_was_shown_is_not_taken_back_by_a_new_dependency() -> None:
    drive = Swapped(PointConfig("a", levels=THREE))
    drive.see(1, 3.5)
    assert words(drive.swap(2, dependency=Dependency.A)) == []
    assert drive.panel.level(0) is Level.DANGER
    assert drive.see(3, 0.1) == ["0 LOWERED DANGER>NORMAL THRESHOLD"]
    assert drive.see(4, 3.5) == []  # the next one is a first signal


def test_a_dependency_that_goes_shows_what_it_held_back() -> None:
    drive = Swapped(PointConfig("a", levels=THREE, dependency=Dependency.A))
    assert drive.see(1, 3.5) == []
    assert words(drive.swap(2, dependency=Dependency.NONE)) == ["0 RAISED NORMAL>DANGER PLAN"]


def test_a_calm_point_is_not_flat_because_nobody_looked_before() -> None:
    """A panel that looks at no flat line follows no flat line: the new check begins with the swap."""
    drive = Swapped(PointConfig("a", levels=THREE))
    for second in range(1, 500):
        drive.see(second, 0.5 if second % 20 == 1 else 0.6)
    assert words(drive.swap(500, flat_ns=60 * S, flat_tolerance=0.05, spike=0.3)) == []
    assert drive.see(500.5, 0.6) == []
    assert drive.see(501, 0.9) == ["0 TROUBLE_RAISED SPIKE QUALITY"]


def test_what_is_overdue_under_a_shorter_delay_happens_at_the_swap() -> None:
    slow = (LevelConfig(1.0, on_delay_ns=600 * S), NONE, NONE)
    drive = Swapped(PointConfig("a", levels=slow))
    drive.see(1, 1.5)
    (told,) = drive.swap(300, levels=(LevelConfig(1.0, on_delay_ns=60 * S), NONE, NONE))
    assert (told.level, told.at_ns) == (Level.ATTENTION, 300 * S)


@pytest.mark.parametrize("method", list(RateMethod))
def test_a_window_that_goes_takes_its_rate_with_it(method: RateMethod) -> None:
    drive = Swapped(PointConfig("a", levels=THREE, rate_window_ns=11 * S, rate_method=method))
    for second in range(1, 30):
        drive.see(second, 0.01 * second)
    assert drive.panel.rate_per_s(0) == pytest.approx(0.01)
    drive.swap(30, rate_window_ns=0)
    assert math.isnan(drive.panel.rate_per_s(0))
    assert drive.panel.value(0) == pytest.approx(0.29)


def test_a_configuration_that_must_not_run_changes_nothing() -> None:
    panel = Panel(PanelConfig((PointConfig("a", levels=THREE),)))
    panel.feed(pack([(0, S, 1.5, 0)]), S)
    kept = panel.snapshot(S)
    with pytest.raises(ConfigError):
        panel.reconfigure(PanelConfig((PointConfig("a", levels=THREE, period_ns=0),)), 2 * S)
    assert panel.snapshot(S) == kept
