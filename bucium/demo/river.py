"""The flood: a Nash cascade turns rain into discharge, a rating curve turns discharge into stage. No clock, no I/O.

Theory. J. E. Nash (1957), *The form of the instantaneous unit hydrograph*, IASH Publication 45, vol. 3, pp. 114–121: a
catchment behaves as n equal linear reservoirs in a row. Each holds S = k Q (k is its storage time), so dS/dt = I − Q gives

    k dQᵢ/dt = Qᵢ₋₁ − Qᵢ,       i = 1 … n,   Q₀ = the inflow

whose answer to a unit impulse is the gamma density u(t) = (t/k)ⁿ⁻¹ e^(−t/k) / (k Γ(n)): it peaks at (n−1) k, has its mean at
n k, and its area is 1, so that no water is made or lost. A reach of river between two gauges is again such a row (Kalinin and
Milyukov, 1957), which delays the wave and flattens it.

For an inflow that is constant over a step h each reservoir has the exact solution Q(h) = Q∞ + (Q(0) − Q∞) e^(−h/k); taken in
order with the mean of its own inflow over the step, the row is stable for every h and keeps the water to rounding.

Rain to inflow: I = C · P · A / 3.6 (the rational formula; P in mm/h, A in km², I in m³/s, C the part that runs off).

Stage: the power-law rating curve Q = a (h − h₀)^b of ISO 1100-2 (now ISO 18320); turned round, h = h₀ + (Q/a)^(1/b).

The catchment and its figures below are invented for the demo: a small flashy river of 80 km².
"""

from dataclasses import dataclass
from math import exp


class Cascade:
    """n linear reservoirs of storage time `k_h` hours each, in a row, steady at `flow` m³/s in the beginning."""

    def __init__(self, n: int, k_h: float, flow: float) -> None:
        self.k_h = k_h
        self._flows = [flow] * n

    @property
    def flow(self) -> float:
        """What leaves the last reservoir now, m³/s."""
        return self._flows[-1]

    @property
    def stored(self) -> float:
        """Water in the row, m³: k ΣQ."""
        return self.k_h * 3600 * sum(self._flows)

    def step(self, hours: float, inflow: float) -> float:
        """Let `hours` pass with a constant `inflow`; returns the mean outflow of the step, m³/s, by the water's balance."""
        fade = exp(-hours / self.k_h)
        part = (1 - fade) * self.k_h / hours  # how much of a difference from the inflow lives on in the step's mean
        for at, flow in enumerate(self._flows):
            self._flows[at] = inflow + (flow - inflow) * fade
            inflow += (flow - inflow) * part
        return inflow


@dataclass(frozen=True, slots=True)
class Rating:
    """Stage (m above the gauge zero) from discharge (m³/s): Q = a (h − h0)^b."""

    a: float
    b: float
    h0_m: float

    def stage_m(self, flow: float) -> float:
        above: float = (max(flow, 0.0) / self.a) ** (1 / self.b)
        return self.h0_m + above

    def flow(self, stage_m: float) -> float:
        power: float = max(stage_m - self.h0_m, 0.0) ** self.b
        return self.a * power


@dataclass(frozen=True, slots=True)
class Storm:
    """Rain of constant strength: from `start_h` for `length_h` hours, `rain_mm_h`."""

    start_h: float
    length_h: float
    rain_mm_h: float


AREA_KM2 = 80.0
RUNOFF = 0.62  # C: wet loam on slopes
BASE_FLOW = 3.0  # m³/s before the storm
STORM = Storm(start_h=0.5, length_h=3.0, rain_mm_h=22.0)
UPSTREAM = Rating(a=9.0, b=1.7, h0_m=0.12)  # a narrow bed
TOWN = Rating(a=12.0, b=1.65, h0_m=0.20)  # wider, between dykes
STEP_H = 1 / 60


class River:
    """The catchment, the gauge above the town, a reach, and the gauge in the town."""

    def __init__(self, storm: Storm = STORM) -> None:
        self._storm = storm
        self._catchment = Cascade(3, 0.9, BASE_FLOW)
        self._reach = Cascade(2, 0.45, BASE_FLOW)
        self.hours = 0.0

    @property
    def upstream_m(self) -> float:
        return UPSTREAM.stage_m(self._catchment.flow)

    @property
    def town_m(self) -> float:
        return TOWN.stage_m(self._reach.flow)

    @property
    def rain_mm_h(self) -> float:
        storm = self._storm
        return storm.rain_mm_h if storm.start_h <= self.hours < storm.start_h + storm.length_h else 0.0

    def advance(self, to_h: float) -> None:
        """Let the time pass until `to_h` hours after the beginning, in steps of at most a minute."""
        while self.hours < to_h - 1e-9:
            hours = min(STEP_H, to_h - self.hours)
            inflow = BASE_FLOW + RUNOFF * self.rain_mm_h * AREA_KM2 / 3.6
            self._reach.step(hours, self._catchment.step(hours, inflow))
            self.hours += hours
