"""Every configuration that must not run is refused with the point's id, what is wrong, and why."""

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from cython_ext.errors import ConfigError
from cython_ext.model import Dependency, Direction, GroupConfig, LevelConfig, PanelConfig, PointConfig
from cython_ext.panel import Panel
from tests.kit.drive import THREE

GOOD = PointConfig("bridge-1", levels=THREE)
NONE = LevelConfig()
BAD: list[tuple[dict[str, Any], str]] = [
    ({"id": "No Such Id"}, "not valid"),
    ({"levels": (LevelConfig(1.0, 1.5), NONE, NONE)}, "clears at 1.5, above its raise at 1.0"),
    ({"levels": (LevelConfig(1.0, 0.5), NONE, NONE), "direction": Direction.FALLING}, "below its raise"),
    ({"levels": (LevelConfig(2.0), LevelConfig(1.0), NONE)}, "alarm raises at 1.0, not beyond attention"),
    ({"levels": (LevelConfig(2.0), NONE, LevelConfig(2.0))}, "danger raises at 2.0, not beyond attention"),
    ({"levels": (LevelConfig(inf), NONE, NONE)}, "finite"),
    ({"levels": (LevelConfig(1.0, -inf), NONE, NONE)}, "finite"),
    ({"levels": (LevelConfig(nan, 1.0), NONE, NONE)}, "no raise_at"),
    ({"levels": (NONE, NONE)}, "2 levels"),
    ({"levels": (LevelConfig(1.0, on_delay_ns=-1), NONE, NONE)}, "attention.on_delay_ns is -1"),
    ({"levels": (LevelConfig(rate_at=0.1), NONE, NONE)}, "no rate_window_ns"),
    ({"levels": (LevelConfig(rate_at=-0.1), NONE, NONE), "rate_window_ns": 10**9}, "above 0"),
    ({"sensor_span": (0.0, 2.5)}, "never shows"),
    ({"sensor_span": (5.0, 0.0)}, "sensor_span"),
    ({"operator_span": (nan, 1.0)}, "operator_span"),
    ({"period_ns": 0}, "period_ns is 0"),
    ({"stale_ns": 1 << 62}, "stale_ns"),
    ({"realarm_ns": 5}, "at least a second"),
    ({"spike": nan}, "spike"),
    ({"rate_limit": -1.0}, "rate_limit"),
    ({"flat_tolerance": inf}, "flat_tolerance"),
    ({"chatter_count": 1}, "chatter_count"),
    ({"rate_window_ns": 3}, "rate_window_ns"),
    ({"dependency": Dependency.A, "dependency_ns": 61 * 10**9}, "60 s"),
    ({"drift_rate": 0.1}, "drift_total"),
    ({"drift_rate": 0.1, "drift_total": 1.5}, "could hide"),
    ({"sentinels": (1.0, 2.0, 3.0, 4.0, 5.0)}, "sentinels"),
    ({"sentinels": (nan,)}, "sentinels"),
    ({"loop_span": (1.0, 1.0)}, "loop_span"),
    ({"loop_span": (0.0, 2.0)}, "never shows"),
]


@pytest.mark.parametrize(("change", "says"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_a_point_that_must_not_run_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        Panel(PanelConfig((replace(GOOD, **change),)))
    assert change.get("id", "bridge-1") in str(refused.value)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (GroupConfig("g", (), 1, 0), "0 members"),
        (GroupConfig("g", (0, 0), 1, 0), "different points"),
        (GroupConfig("g", (0, 2), 1, 0), "different points"),
        (GroupConfig("g", (0,), 2, 0), "k is 2"),
        (GroupConfig("g", (0,), 0, 0), "k is 0"),
        (GroupConfig("g", (0,), 1, -1), "window_ns"),
        (GroupConfig("bridge-1", (0,), 1, 0), "twice"),
        (GroupConfig("G", (0,), 1, 0), "not valid"),
    ],
)
def test_a_group_that_must_not_run_is_refused(group: GroupConfig, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Panel(PanelConfig((GOOD,), (group,)))


def test_an_id_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        Panel(PanelConfig((GOOD, GOOD)))


def test_points_alike_share_a_rule_and_the_digest_sees_every_change() -> None:
    alike = tuple(replace(GOOD, id=f"p{k}") for k in range(100))
    many, mixed = Panel(PanelConfig(alike)), Panel(PanelConfig((*alike[:-1], replace(alike[-1], spike=1.0))))
    assert mixed.state_bytes - many.state_bytes <= 448
    assert many.digest != mixed.digest
    assert many.digest == Panel(PanelConfig(alike)).digest
    assert many.digest != Panel(PanelConfig(alike, (GroupConfig("g", (0, 1), 1, 0),))).digest


def test_a_point_keeps_256_bytes() -> None:
    sizes = [Panel(PanelConfig(tuple(replace(GOOD, id=f"p{k}") for k in range(n)))).state_bytes for n in (1000, 5000)]
    assert (sizes[1] - sizes[0]) / 4000 == pytest.approx(256, abs=0.1)
