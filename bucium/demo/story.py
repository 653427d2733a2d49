"""What happens when: a flood wave from a storm, then smoke at the mill. It moves the world's devices and nothing else.

One round lasts 60 s at speed 1 (times below), and the river's 9.6 hours pass in 38 of them, 909 times faster than life. Sirens
sound at their own pace whatever the speed is.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bucium.demo.chains import Chains
from bucium.demo.happening import Teller
from bucium.demo.river import River
from cython_ext import Clock, Level
from lanes.plan import Plan

ROUND_S: Final = 60.0
RIVER_FROM_S: Final = 2.0
RIVER_H: Final = 9.6
RIVER_S: Final = 38.0
SMOKE_FROM_S: Final = 42.0
SMOKE_TO_S: Final = 53.0
STORM_FROM_S: Final = 4.0
MAINS: Final = "mill-mains"  # the storm takes it away: the mill's siren lives on its battery until all is clear
TICK_S: Final = 0.1  # the world moves ten times a second
TELL_S: Final = 0.25

SetChannel = Callable[[str, float], None]
"""(point id, value): make the device of this point hold the value."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the story, and when it begins at speed 1."""

    from_s: float
    name: str
    text: str


PHASES: Final = (
    Phase(0.0, "a calm river", "all points are normal"),
    Phase(STORM_FROM_S, "a storm in the hills", "22 mm/h of rain for three hours; the mill loses its mains"),
    Phase(12.0, "flood", "the wave passes the bridge, then the quay"),
    Phase(30.0, "the water falls", "the wave has passed"),
    Phase(SMOKE_FROM_S, "fire at the mill", "the panel's zone word says smoke"),
    Phase(SMOKE_TO_S, "all clear", "the smoke is gone"),
)


class Story:
    """One round of it."""

    def __init__(
        self, plan: Plan, set_channel: SetChannel, *, clock: Clock, teller: Teller, chains: Chains, speed: float
    ) -> None:
        self._plan = plan
        self._set = set_channel
        self._clock = clock
        self._teller = teller
        self._chains = chains
        self._speed = speed
        self.river = River()
        self.began_ns = 0
        self.crossings: dict[tuple[str, Level], int] = {}  # when a register first held a value beyond a mark
        self._values: dict[str, float] = {}
        self._phase = -1
        self._mains = 1.0
        self._told_s = -1.0

    async def play(self) -> None:
        """Play the round to its end."""
        self.began_ns = self._clock.monotonic_ns()
        while True:
            at_s = (self._clock.monotonic_ns() - self.began_ns) / 1e9 * self._speed
            self._move(at_s)
            if at_s >= ROUND_S:
                return
            await asyncio.sleep(TICK_S)

    def _move(self, at_s: float) -> None:
        while self._phase + 1 < len(PHASES) and at_s >= PHASES[self._phase + 1].from_s:
            self._phase += 1
            phase = PHASES[self._phase]
            self._teller.tell("phase", f"{phase.name}: {phase.text}", phase=phase.name)
        self.river.advance(min(max((at_s - RIVER_FROM_S) / RIVER_S, 0.0), 1.0) * RIVER_H)
        self._hold("bridge-level", round(self.river.upstream_m, 3))
        self._hold("quay-level", round(self.river.town_m, 3))
        self._hold("mill-smoke", float(SMOKE_FROM_S <= at_s < SMOKE_TO_S))
        mains = float(not STORM_FROM_S <= at_s < SMOKE_TO_S)
        if mains != self._mains:
            self._mains = mains
            self._set(MAINS, mains)
        if at_s - self._told_s >= TELL_S * self._speed:
            self._told_s = at_s
            self.tell()

    def tell(self) -> None:
        """The world as it is now."""
        rate = RIVER_H * 3600 / RIVER_S * self._speed
        words = ", ".join(f"{point} {value:.2f}" for point, value in self._values.items())
        self._teller.tell(
            "river",
            words,
            river_h=round(self.river.hours, 3),
            rain_mm_h=self.river.rain_mm_h,
            speed=round(rate),
            values=dict(self._values),
        )

    def _hold(self, point_id: str, value: float) -> None:
        was = self._values.get(point_id)
        if value == was:
            return
        self._set(point_id, value)
        now_ns = self._clock.monotonic_ns()
        self._values[point_id] = value
        point = next(p for p in self._plan.points if p.id == point_id)
        for level, rule in (
            (Level.ATTENTION, point.attention),
            (Level.ALARM, point.alarm),
            (Level.DANGER, point.danger),
        ):
            if rule and value >= rule.raise_at and (was is None or was < rule.raise_at):
                self.crossings.setdefault((point_id, level), now_ns)
                self._chains.crossed(point_id, level, now_ns)
