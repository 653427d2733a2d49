"""`duty.toml`: the people of this centre, how each channel reaches them, who is on duty when, and whom an alarm that nobody has
acknowledged goes to next.

It stands beside controller.toml with mode 0600, and not in the signed plan: telephone numbers are personal data, the plan goes to
every node; and a rota changes each week, which must not take two planners' signatures. Nothing in it can sound or stop a siren.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from cython_ext import ConfigError, Hazard, Level
from lanes import settings
from lanes.calendar import DAYS
from lanes.keys import secret_bytes
from lanes.plan_types import HazardName, Id, LevelName
from lanes.settings import Settings

from .texts import Language, instant

STEPS_MAX: Final = 16
WITHIN_MAX_S: Final = (
    55.0  # a second channel at most 60 s after the first was tried (reliability.md F32), with the look between
)
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
MIN_PER_DAY: Final = 24 * 60


def _days(text: str) -> str:
    named = text.split()
    if named != ["daily"] and (not named or not set(named) <= set(DAYS)):
        raise ValueError(f"{text[:60]!r} are no days: write 'daily' or e.g. 'monday tuesday'")
    return text


def _clock(text: str) -> str:
    if not _CLOCK.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is no time of day: write e.g. 07:00; 24:00 is the day's end")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{text[:60]!r} is no IANA time zone, e.g. Europe/Chisinau") from None
    return text


Days = Annotated[str, AfterValidator(_days)]
ClockTime = Annotated[str, AfterValidator(_clock)]
TimeZone = Annotated[str, AfterValidator(_zone)]


class Person(Settings):
    """Somebody whom this centre can call."""

    id: Id = Field(description="as in the plan's roster, where they have a key; stands in the journal")
    name: str = Field("", max_length=80, description="as colleagues say it; shown at the desk, never sent or journaled")
    language: Language = Field("ro", description="of what they are told")
    reach: dict[Id, str] = Field(
        description='channel of controller.toml = their address there, e.g. sms = "+40700000001"'
    )

    @model_validator(mode="after")
    def _sense(self) -> Self:
        for channel, address in self.reach.items():
            if not 0 < len(address) <= 254 or not address.isprintable() or address != address.strip():
                raise ValueError(f"{self.id}: reach.{channel} is no address")
        if not self.reach:
            raise ValueError(f"{self.id} cannot be reached: name a channel and their address there under reach")
        return self


class Shift(Settings):
    """Part of a week. It begins on each of `days`; one that ends before it begins ends on the next day."""

    days: Days = Field("daily", description="daily, or days as in 'monday tuesday': those on which it begins")
    begin: ClockTime = Field("00:00", description="local time")
    end: ClockTime = Field("24:00", description="local time; not later than begin: on the next day")
    people: tuple[Id, ...] = Field(min_length=1, description="who is on duty")

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether it holds at this local minute of this day (Monday is 0)."""
        begin, end = _minute(self.begin), _minute(self.end)
        days = range(7) if self.days == "daily" else {DAYS.index(day) for day in self.days.split()}
        if begin < end:
            return weekday in days and begin <= minute < end
        return (weekday in days and minute >= begin) or ((weekday - 1) % 7 in days and minute < end)


def _minute(text: str) -> int:
    if text == "24:00":
        return MIN_PER_DAY
    at = time.fromisoformat(text)
    return at.hour * 60 + at.minute


class Rota(Settings):
    """Who is on duty, week by week, by the clock of one place."""

    id: Id = Field(description="what steps call it")
    timezone: TimeZone = Field("Europe/Bucharest", description="IANA time zone of its shifts")
    shifts: tuple[Shift, ...] = Field(alias="shift", min_length=1, description="parts of the week")

    def on_duty(self, now_us: int) -> tuple[str, ...]:
        """Who is on duty at this instant (UTC microseconds), each once, in the order of the shifts."""
        local = instant(now_us).astimezone(ZoneInfo(self.timezone))
        minute = local.hour * 60 + local.minute
        found = [each for shift in self.shifts if shift.holds(local.weekday(), minute) for each in shift.people]
        return tuple(dict.fromkeys(found))


class Step(Settings):
    """Who is called next, and by what."""

    after_s: float = Field(ge=0, le=86400, description="since the alarm began to wait for a person")
    rotas: tuple[Id, ...] = Field((), alias="rota", description="whoever is on duty by these rotas")
    people: tuple[Id, ...] = Field((), description="these people, at any time")
    channels: tuple[Id, ...] = Field(
        min_length=1, description="each person by the first of these that they have; by the next when it fails"
    )
    within_s: float = Field(
        45.0,
        ge=5,
        le=WITHIN_MAX_S,
        description="a channel that has not delivered by then has failed: the next one is used",
    )

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if not self.rotas and not self.people:
            raise ValueError("a step calls somebody: name a rota or people")
        return self


class Escalation(Settings):
    """Where an alarm goes that nobody has acknowledged."""

    id: Id = Field(description="how the journal calls it")
    zones: tuple[Id, ...] = Field((), description="of these zones; empty: of all that no other names")
    hazards: tuple[HazardName, ...] = Field(("flood", "fire"), min_length=1, description="of these hazards")
    least: LevelName = Field("attention", description="from this Level on")
    answer_s: float = Field(
        180.0, ge=10, le=3600, description="after the last step: then nobody has answered, and it is stuck"
    )
    again_s: float = Field(
        900.0,
        ge=0,
        le=86400,
        description="a stuck one begins anew after this, for as long as nobody answers; 0: it does not",
    )
    steps: tuple[Step, ...] = Field(alias="step", min_length=1, max_length=STEPS_MAX, description="in their order")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        times = [step.after_s for step in self.steps]
        if times != sorted(times):
            raise ValueError(f"escalation {self.id!r}: steps stand in the order of their after_s")
        return self

    def covers(self, zone: str, hazard: Hazard, level: Level) -> bool:
        """Whether it is for alarms of this zone and hazard, from this Level on."""
        return (
            (not self.zones or zone in self.zones)
            and hazard.name.lower() in self.hazards
            and level >= Level[self.least.upper()]
        )


class DutyFile(Settings):
    """The whole of duty.toml."""

    people: tuple[Person, ...] = Field((), alias="person")
    rotas: tuple[Rota, ...] = Field((), alias="rota")
    escalations: tuple[Escalation, ...] = Field((), alias="escalation")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        for what, names in (
            ("person", [each.id for each in self.people]),
            ("rota", [each.id for each in self.rotas]),
            ("escalation", [each.id for each in self.escalations]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two [[{what}]] tables are called {twice[0]!r}")
        people, rotas = {each.id for each in self.people}, {each.id for each in self.rotas}
        for place, named, known, what in self._references(people, rotas):
            if strange := [name for name in named if name not in known]:
                raise ValueError(f"{place} names {what} {strange[0]!r}, and there is none")
        return self

    def _references(self, people: set[str], rotas: set[str]) -> Iterator[tuple[str, Sequence[str], set[str], str]]:
        for rota in self.rotas:
            for shift in rota.shifts:
                yield f"rota {rota.id!r}", shift.people, people, "person"
        for escalation in self.escalations:
            for step in escalation.steps:
                yield f"escalation {escalation.id!r}", step.people, people, "person"
                yield f"escalation {escalation.id!r}", step.rotas, rotas, "rota"


@dataclass(slots=True)
class Duty:
    """The file in use; `file` changes when another one comes into its place."""

    file: DutyFile

    @property
    def escalations(self) -> tuple[Escalation, ...]:
        return self.file.escalations

    def person(self, name: str) -> Person | None:
        return next((each for each in self.file.people if each.id == name), None)

    def escalation(self, zone: str, hazard: Hazard, level: Level) -> Escalation | None:
        """The one for such an alarm: one that names the zone comes before one for all."""
        fit = [each for each in self.file.escalations if each.covers(zone, hazard, level)]
        return next((each for each in fit if each.zones), fit[0] if fit else None)

    def on_step(self, step: Step, now_us: int) -> tuple[str, ...]:
        """Whom the step calls at this instant."""
        on = [name for rota in self.file.rotas if rota.id in step.rotas for name in rota.on_duty(now_us)]
        return tuple(dict.fromkeys((*on, *step.people)))

    def ever(self, step: Step) -> tuple[str, ...]:
        """Whom the step could call, on duty or not."""
        rotas = [rota for rota in self.file.rotas if rota.id in step.rotas]
        named = [name for rota in rotas for shift in rota.shifts for name in shift.people]
        return tuple(dict.fromkeys((*named, *step.people)))

    def everybody(self, escalation: Escalation) -> tuple[str, ...]:
        """All whom the escalation could ever call."""
        return tuple(dict.fromkeys(name for step in escalation.steps for name in self.ever(step)))

    def ways(self, person: str, channels: Sequence[str]) -> tuple[str, ...]:
        """Those of the channels by which the person can be reached, in their order."""
        known = self.person(person)
        return tuple(each for each in channels if known is not None and each in known.reach)

    def address(self, person: str, channel: str) -> str:
        """Their address there; empty: none."""
        known = self.person(person)
        return known.reach.get(channel, "") if known else ""


EMPTY: Final = DutyFile.model_validate({})
NOBODY: Final = Duty(EMPTY)


def read(path: Path) -> DutyFile:
    """The file; ConfigError when others may read it, or as `lanes.settings.load`."""
    secret_bytes(path)
    return settings.load(path, DutyFile)


class Watch:
    """Looks whether another file has come into its place: a rota changes each week, and that is no reason for a restart."""

    def __init__(self, path: Path, load: Callable[[], DutyFile]) -> None:
        """`load` reads and checks it; ConfigError: it is not to be used."""
        self._path, self._load = path, load
        self._seen = self._mark()

    def _mark(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_mtime_ns, found.st_size, found.st_ino

    def look(self) -> DutyFile | None:
        """The new file; None: it is as it was. ConfigError when the new one cannot be used."""
        mark = self._mark()
        if mark == self._seen:
            return None
        self._seen = mark
        return self._load()


def check(duty: Duty, callable_channels: Sequence[str], channels: Sequence[str], source: str) -> None:
    """ConfigError when it names a channel that controller.toml has not, or one that cannot call a person."""
    named = [(f"person {each.id!r}", name) for each in duty.file.people for name in each.reach]
    named += [
        (f"escalation {each.id!r}", name) for each in duty.escalations for step in each.steps for name in step.channels
    ]
    for place, name in named:
        if name not in channels:
            raise ConfigError(
                f"{place} names channel {name!r}; controller.toml has no such [[dispatch]]", source=source
            )
        if name not in callable_channels:
            raise ConfigError(f"{place}: {name!r} cannot call a person; kinds mail and apprise can", source=source)
    for each in duty.escalations:
        for step in each.steps:
            for person in duty.ever(step):
                if not duty.ways(person, step.channels):
                    by = ", ".join(step.channels)
                    raise ConfigError(
                        f"escalation {each.id!r} calls {person!r} by {by}, and they have no address there",
                        source=source,
                    )
