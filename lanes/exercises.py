"""The plan's exercises: when sirens sound to be heard, and what lets a node obey one without anybody's approval.

The people who signed the plan stand for it: they named zones, calendar and pattern. A node that gets an exercise order without
approvals therefore asks its own plan, and obeys only what stands there: this pattern, these zones, this instant by its own
trusted clock, mode exercise. The incident is made from exercise and instant, so that each sounds a siren once (design §2.4).
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from .calendar import Calendar
from .identity import INCIDENT_BYTES
from .orders import SOUND_MAX_S, ZONES_MAX
from .plan_types import Id, Named, Texts

WITHIN_US: Final = 5 * 60_000_000  # how far from its instant an exercise may still begin, at the node
LEADS_MAX: Final = 4
LEAD_MAX_S: Final = 14 * 86_400


def calendar_text(text: str) -> str:
    """`text`, if it is a calendar. ValueError."""
    if text:
        Calendar.parse(text)
    return text


def _leads(leads: tuple[int, ...]) -> tuple[int, ...]:
    if any(not 0 < lead <= LEAD_MAX_S for lead in leads):
        raise ValueError(f"a lead is 1 to {LEAD_MAX_S} s")
    return tuple(sorted(set(leads), reverse=True))


CalendarText = Annotated[str, AfterValidator(calendar_text)]


class Exercise(Named):
    """Sirens that sound on a calendar, so that people know them and we know that they work."""

    name: Texts = Field(description="by language: ro, en, ru, uk", default_factory=dict)
    zones: tuple[Id, ...] = Field(min_length=1, max_length=ZONES_MAX, description="the zones whose sirens sound")
    calendar: CalendarText = Field(
        min_length=1, description="`10:00 first wednesday`, `09:30 monday`, `12:00 daily`; in the zones' own time"
    )
    pattern: Id = Field(description="the signal")
    max_s: Annotated[int, Field(ge=0, le=SOUND_MAX_S)] = Field(0, description="0: the pattern's own length")
    announce_s: Annotated[tuple[int, ...], AfterValidator(_leads)] = Field(
        (86_400, 900), max_length=LEADS_MAX, description="how long before it dispatch is told, each time"
    )
    source: str = Field("", description="the law, order or note that fixes it")

    @cached_property
    def times(self) -> Calendar:
        """The calendar, read."""
        return Calendar.parse(self.calendar)


@dataclass(frozen=True, slots=True)
class Occasion:
    """One exercise at one instant (UTC microseconds)."""

    exercise: Exercise
    at_us: int

    @property
    def incident(self) -> bytes:
        """The same for every siren and every restart: an order for another instant is another incident."""
        facts = f"bucium-exercise|{self.exercise.id}|{self.at_us}"
        return hashlib.sha256(facts.encode()).digest()[:INCIDENT_BYTES]


def occasion_near(exercise: Exercise, timezone: str, now_us: int) -> Occasion | None:
    """The occasion of this exercise that may begin at `now_us`; None when none may."""
    at_us = exercise.times.near_us(now_us, ZoneInfo(timezone), WITHIN_US)
    return Occasion(exercise, at_us) if at_us else None
