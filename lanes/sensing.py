"""The plan's points and votes: what is judged, and how. Values in the point's unit, times in seconds."""

from itertools import pairwise
from math import inf, nan
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cython_ext import Dependency, Direction, GroupConfig, Hazard, LevelConfig, PointConfig, RateMethod, VotePolicy

from .plan_types import Finite, HazardName, Id, Named, Seconds, Texts, to_ns
from .settings import Settings


class LevelRule(Settings):
    """When a point enters and leaves one Level."""

    raise_at: Finite = Field(alias="raise")
    clear_at: Finite = Field(alias="clear")
    on_delay_s: Seconds = 0.0
    off_delay_s: Seconds = 0.0
    rate_per_min: Finite | None = Field(None, description="rate of rise that raises this Level on its own")

    def core(self) -> LevelConfig:
        return LevelConfig(
            self.raise_at,
            self.clear_at,
            to_ns(self.on_delay_s),
            to_ns(self.off_delay_s),
            self.rate_per_min / 60 if self.rate_per_min is not None else nan,
        )


class Drift(Settings):
    """Smoke: how far the clean-air value may be followed before the detector is dirty."""

    clean: Finite
    rate_per_h: Annotated[float, Field(gt=0)]
    total: Annotated[float, Field(gt=0)]


class Point(Named):
    """One sensor channel and how it is judged."""

    node: Id
    zones: tuple[Id, ...] = Field(min_length=1)
    hazard: HazardName
    name: Texts
    unit: str = Field(max_length=16)
    datum: str = Field("", description="height system of the gauge zero, e.g. Baltic or Black Sea")
    gauge_zero_m: Finite | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    direction: Literal["rising", "falling"] = "rising"
    alone: bool = Field(True, description="false: raises its zones' alarm only through a group")
    period_s: Annotated[float, Field(gt=0, le=86400)] = 1.0
    confirm_s: Seconds = 0.0
    stale_s: Seconds = 0.0
    latch: bool = False
    realarm_s: Seconds = 0.0
    minimum_on_s: Seconds = 0.0
    attention: LevelRule | None = None
    alarm: LevelRule | None = None
    danger: LevelRule | None = None
    sensor_span: tuple[float, float] = (-inf, inf)
    operator_span: tuple[float, float] = (-inf, inf)
    spike: Annotated[float, Field(ge=0)] = 0.0
    rate_limit_per_s: Annotated[float, Field(ge=0)] = 0.0
    flat_s: Seconds = 0.0
    flat_tolerance: Annotated[float, Field(ge=0)] = 0.0
    rate_window_s: Seconds = 0.0
    rate_method: Literal["robust", "delta"] = "robust"
    dependency: Literal["none", "a", "b", "c"] = "none"
    dependency_s: Seconds = 60.0
    drift: Drift | None = None

    @model_validator(mode="after")
    def _sense(self) -> Self:
        rules = [
            (n, r) for n, r in (("attention", self.attention), ("alarm", self.alarm), ("danger", self.danger)) if r
        ]
        if not rules:
            raise ValueError(f"point {self.id!r} has no Level: give attention, alarm or danger")
        sign = 1 if self.direction == "rising" else -1
        for name, rule in rules:
            if sign * rule.clear_at > sign * rule.raise_at:
                side = "above" if sign > 0 else "below"
                raise ValueError(
                    f"point {self.id!r}: {name}.clear ({rule.clear_at}) is {side} {name}.raise ({rule.raise_at}), "
                    f"so it would raise and clear at once"
                )
        for (low, first), (high, second) in pairwise(rules):
            if sign * first.raise_at > sign * second.raise_at:
                raise ValueError(f"point {self.id!r}: {high}.raise must lie beyond {low}.raise")
        for name, (low_end, high_end) in (("sensor_span", self.sensor_span), ("operator_span", self.operator_span)):
            if not low_end < high_end:
                raise ValueError(f"point {self.id!r}: {name} must be [low, high] with low < high")
        return self

    def core(self) -> PointConfig:
        none = LevelConfig()
        rules = (self.attention, self.alarm, self.danger)
        return PointConfig(
            id=self.id,
            hazard=Hazard[self.hazard.upper()],
            direction=Direction[self.direction.upper()],
            levels=tuple(rule.core() if rule else none for rule in rules),  # type: ignore[arg-type]
            period_ns=to_ns(self.period_s),
            confirm_ns=to_ns(self.confirm_s),
            stale_ns=to_ns(self.stale_s),
            latch=self.latch,
            realarm_ns=to_ns(self.realarm_s),
            minimum_on_ns=to_ns(self.minimum_on_s),
            sensor_span=self.sensor_span,
            operator_span=self.operator_span,
            spike=self.spike,
            rate_limit=self.rate_limit_per_s,
            flat_ns=to_ns(self.flat_s),
            flat_tolerance=self.flat_tolerance,
            rate_window_ns=to_ns(self.rate_window_s),
            rate_method=RateMethod[self.rate_method.upper()],
            dependency=Dependency[self.dependency.upper()],
            dependency_ns=to_ns(self.dependency_s),
            drift_rate=self.drift.rate_per_h / 3600 if self.drift else 0.0,
            drift_total=self.drift.total if self.drift else 0.0,
            drift_clean=self.drift.clean if self.drift else 0.0,
        )


class Group(Named):
    """k of n points vote within a window."""

    points: tuple[Id, ...] = Field(min_length=2)
    k: Annotated[int, Field(ge=1)]
    window_s: Annotated[float, Field(gt=0, le=86400)]
    on_failure: Literal["to-alarm", "to-silence"] = "to-alarm"
    zones: tuple[Id, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.k > len(self.points):
            raise ValueError(f"group {self.id!r}: k is {self.k} but it has {len(self.points)} points")
        return self

    def core(self, place: dict[str, int]) -> GroupConfig:
        """As the core judges it; `place` gives each point's index."""
        policy = VotePolicy.TO_ALARM if self.on_failure == "to-alarm" else VotePolicy.TO_SILENCE
        return GroupConfig(self.id, tuple(place[p] for p in self.points), self.k, to_ns(self.window_s), policy)
