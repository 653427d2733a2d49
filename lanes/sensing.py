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

    raise_at: Finite = Field(alias="raise", description="the value at which the Level is entered")
    clear_at: Finite = Field(alias="clear", description="the value at which it is left; not beyond `raise`")
    on_delay_s: Seconds = Field(0.0, description="the value must stay beyond `raise` for so long")
    off_delay_s: Seconds = Field(0.0, description="the value must stay back of `clear` for so long")
    rate_per_min: Finite | None = Field(None, description="rate of rise, units a minute, that raises this Level alone")

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

    clean: Finite = Field(description="the clean-air value to begin with")
    rate_per_h: Annotated[float, Field(gt=0)] = Field(description="how fast it may be followed, units an hour")
    total: Annotated[float, Field(gt=0)] = Field(description="how far in all; beyond it the detector is `dirty`")


class Point(Named):
    """One sensor channel and how it is judged."""

    node: Id = Field(description="the node that reads it")
    zones: tuple[Id, ...] = Field(min_length=1, description="the zones that it endangers")
    hazard: HazardName = Field(description="what people are warned of")
    name: Texts = Field(description="by language: ro, en, ru, uk", default_factory=dict)
    unit: str = Field(max_length=16, description="of its values, e.g. m, mm/h; 1: a contact")
    datum: str = Field("", description="height system of the gauge zero, e.g. Baltic or Black Sea")
    gauge_zero_m: Finite | None = Field(None, description="height of the gauge zero in that system")
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = Field(None, description="degrees north")
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = Field(None, description="degrees east")
    direction: Literal["rising", "falling"] = Field("rising", description="the side on which danger lies")
    alone: bool = Field(True, description="false: raises its zones' alarm only through a group")
    period_s: Annotated[float, Field(gt=0, le=86400)] = Field(1.0, description="how often it is read")
    confirm_s: Seconds = Field(
        0.0, description="suspect samples raise after so long, or three periods, whichever is longer"
    )
    stale_s: Seconds = Field(0.0, description="no good sample for so long is trouble `stale`; 0: never")
    latch: bool = Field(False, description="true: a Level stays until a person resets it")
    realarm_s: Seconds = Field(0.0, description="a Level that lasts is told again after so long; 0: never")
    minimum_on_s: Seconds = Field(0.0, description="a Level lasts at least so long")
    attention: LevelRule | None = Field(None, description="Level 1: CA, yellow")
    alarm: LevelRule | None = Field(None, description="Level 2: CI, orange; fire alarm")
    danger: LevelRule | None = Field(None, description="Level 3: CP, red")
    sensor_span: tuple[float, float] = Field((-inf, inf), description="[low, high] that the sensor can measure")
    operator_span: tuple[float, float] = Field((-inf, inf), description="[low, high] that can be true here")
    spike: Annotated[float, Field(ge=0)] = Field(0.0, description="a jump up and back of this size is suspect; 0: off")
    rate_limit_per_s: Annotated[float, Field(ge=0)] = Field(
        0.0, description="a change of more than so many units a second is suspect; 0: off"
    )
    flat_s: Seconds = Field(0.0, description="so long within flat_tolerance is trouble `flat`; 0: off")
    flat_tolerance: Annotated[float, Field(ge=0)] = Field(0.0, description="what still counts as no change")
    rate_window_s: Seconds = Field(0.0, description="over which rate_per_min is measured")
    rate_method: Literal["robust", "delta"] = Field("robust", description="robust: Theil–Sen; delta: last minus first")
    dependency: Literal["none", "a", "b", "c"] = Field("none", description="EN 54-2 dependency on a second signal")
    dependency_s: Seconds = Field(60.0, description="how long a first signal waits for its second")
    drift: Drift | None = Field(None, description="smoke: following the clean-air value")

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
        least = self.sensor_span[0] if sign > 0 else self.sensor_span[1]
        for name, rule in rules:
            if sign * rule.clear_at <= sign * least:
                raise ValueError(
                    f"point {self.id!r}: {name}.clear ({rule.clear_at}) can never be passed: the sensor ends at {least}; "
                    f"a Level ends strictly beyond its clear, so a contact of 0 and 1 takes 0.5"
                )
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

    points: tuple[Id, ...] = Field(min_length=2, description="who votes; all of one hazard")
    k: Annotated[int, Field(ge=1)] = Field(description="votes that raise a Level")
    window_s: Annotated[float, Field(gt=0, le=86400)] = Field(description="votes count together for so long")
    on_failure: Literal["to-alarm", "to-silence"] = Field(
        "to-alarm", description="a failed point counts as a vote for the alarm, or for nothing"
    )
    zones: tuple[Id, ...] = Field(min_length=1, description="the zones that the vote endangers")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.k > len(self.points):
            raise ValueError(f"group {self.id!r}: k is {self.k} but it has {len(self.points)} points")
        return self

    def core(self, place: dict[str, int]) -> GroupConfig:
        """As the core judges it; `place` gives each point's index."""
        policy = VotePolicy.TO_ALARM if self.on_failure == "to-alarm" else VotePolicy.TO_SILENCE
        return GroupConfig(self.id, tuple(place[p] for p in self.points), self.k, to_ns(self.window_s), policy)
