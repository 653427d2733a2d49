"""A siren's battery in the plan, and how many full activations are left in it: an estimate that always says what it rests on.

    total      `activations`, as the maker gives or somebody measured it; else capacity × usable / (draw × length of one)
    fraction   the first of these that is there:
               a measured charge · the resting voltage between empty_v and full_v · on mains with a charger that is not bad: full
               · on battery since a known time: full, less what sounding and standing by have drawn since
    left       total × fraction, rounded down; None when nothing tells

The figures of a battery come from its plate and from a discharge test: no public table stands behind them, and a battery loses
capacity with age and frost. So `source` says whose they are, and every answer carries its basis.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import floor
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from .readiness import Input, Inputs, Seen
from .reports import CHARGE_UNKNOWN, DRAWN_UNKNOWN, SirenState
from .settings import Settings

S_PER_H: Final = 3600.0
SLACK: Final = 1e-9  # 3 × 0.1 is not 0.3: what is whole but for rounding counts as whole


class Basis(StrEnum):
    """What an estimate rests on."""

    CHARGE = "measured-charge"
    VOLTAGE = "voltage"
    MAINS = "full-on-mains"
    COUNTED = "counted"  # from a full battery, since the mains went
    UNKNOWN = "unknown"


class Battery(Settings):
    """`[siren.battery]`: what the siren lives on without mains. Give `activations`, or `capacity_ah` with `draw_a`."""

    activations: Annotated[float, Field(ge=0, le=10_000)] = Field(
        0.0, description="full activations from a full battery; 0: reckon them from capacity_ah and draw_a"
    )
    capacity_ah: Annotated[float, Field(ge=0, le=10_000)] = Field(0.0, description="what its plate says")
    usable: Annotated[float, Field(gt=0, le=1)] = Field(0.8, description="the part of it that may be drawn")
    draw_a: Annotated[float, Field(ge=0, le=10_000)] = Field(0.0, description="current while it sounds")
    standby_a: Annotated[float, Field(ge=0, le=1_000)] = Field(0.0, description="current at rest")
    activation_s: Annotated[float, Field(gt=0, le=900)] = Field(120.0, description="sound of one full activation")
    empty_v: Annotated[float, Field(ge=0, le=1_000)] = Field(0.0, description="resting voltage when empty; 0: not used")
    full_v: Annotated[float, Field(ge=0, le=1_000)] = Field(0.0, description="resting voltage when full; 0: not used")
    least: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="Trouble when fewer full activations are left; 0: never"
    )
    source: str = Field("", description="whose figures these are: plate, discharge test, maker's sheet")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if not self.activations and not (self.capacity_ah and self.draw_a):
            raise ValueError("a battery needs activations, or capacity_ah and draw_a")
        if bool(self.empty_v) != bool(self.full_v) or self.empty_v > self.full_v:
            raise ValueError("a battery has both empty_v and full_v, empty_v the lower, or neither")
        if self.least > self.total:
            raise ValueError(f"least = {self.least}, but full it has only {self.total:g} activations")
        return self

    @property
    def total(self) -> float:
        """Full activations from a full battery."""
        if self.activations:
            return self.activations
        return self.capacity_ah * self.usable * S_PER_H / (self.draw_a * self.activation_s)


@dataclass(frozen=True, slots=True)
class Left:
    """Full activations that are left; None: nothing tells. `total`: of a full battery."""

    activations: int | None
    total: float
    basis: Basis

    def short(self, least: int) -> bool:
        """Fewer than the plan asks for, or it cannot be told."""
        return least > 0 and (self.activations is None or self.activations < least)


def left(battery: Battery, state: SirenState, inputs: Inputs) -> Left:
    """The estimate for what a siren's node last said."""
    fraction, basis = _fraction(battery, state, inputs)
    if fraction is None:
        return Left(None, battery.total, basis)
    return Left(floor(battery.total * min(1.0, max(0.0, fraction)) + SLACK), battery.total, basis)


def _fraction(battery: Battery, state: SirenState, inputs: Inputs) -> tuple[float | None, Basis]:
    mains = inputs.get(Input.MAINS, Seen.ABSENT)
    charging = inputs.get(Input.CHARGER, Seen.ABSENT) not in (Seen.BAD, Seen.UNSEEN)
    if state.charge_percent != CHARGE_UNKNOWN:
        return state.charge_percent / 100, Basis.CHARGE
    if state.battery_mv and battery.full_v:
        span_v = battery.full_v - battery.empty_v
        above_v = state.battery_mv / 1000 - battery.empty_v
        return (above_v / span_v if span_v else float(above_v >= 0)), Basis.VOLTAGE
    if mains is Seen.GOOD:
        return (1.0, Basis.MAINS) if charging else (None, Basis.UNKNOWN)
    if mains is Seen.BAD and state.drawn_s != DRAWN_UNKNOWN:
        sounded = state.drawn_s / battery.activation_s
        resting_ah = battery.standby_a * state.on_battery_s / S_PER_H
        capacity_ah = battery.capacity_ah * battery.usable
        rested = resting_ah / capacity_ah if capacity_ah else 0.0
        return 1.0 - sounded / battery.total - rested, Basis.COUNTED
    return None, Basis.UNKNOWN
