"""What happened at one point (or vote), counted."""

from dataclasses import dataclass, field
from typing import Final

from cython_ext import Cause, Level, Trouble

from .verdict import Verdict

BLIND: Final = Trouble.MISSING | Trouble.STALE
GAP: Final = 1.5  # periods without a record that count as a gap: one reading is missing


@dataclass(slots=True)
class Coverage:
    """What the recording has of a point, and what it has not. Times in UTC microseconds, values in the point's unit."""

    gap_us: int  # an interval longer than this is a gap; 0: the pace is not known
    period_us: int
    samples: int = 0
    missing: int = 0  # records without a value
    first_us: int = 0
    last_us: int = 0
    lowest: float = float("inf")
    highest: float = float("-inf")
    highest_us: int = 0
    gaps: int = 0
    gaps_us: int = 0  # in all, without the one period that each interval is due
    longest_us: int = 0
    longest_from_us: int = 0

    def note(self, at_us: int, value: float) -> None:
        """One record, nan: without a value."""
        if self.samples:
            interval_us = at_us - self.last_us
            if interval_us > self.gap_us > 0:
                self.gaps += 1
                self.gaps_us += interval_us - self.period_us
                if interval_us > self.longest_us:
                    self.longest_us, self.longest_from_us = interval_us, self.last_us
            if interval_us > 0:
                self.last_us = at_us
        else:
            self.first_us = self.last_us = at_us
        self.samples += 1
        if value != value:
            self.missing += 1
            return
        if value > self.highest:
            self.highest, self.highest_us = value, at_us
        self.lowest = min(self.lowest, value)


@dataclass(slots=True)
class Tally:
    """Verdicts on a point: `finish` ends what still stands at the recording's end."""

    alarms: dict[Level, int] = field(
        default_factory=lambda: dict.fromkeys((Level.ATTENTION, Level.ALARM, Level.DANGER), 0)
    )
    at_level_us: dict[Level, int] = field(
        default_factory=lambda: dict.fromkeys((Level.ATTENTION, Level.ALARM, Level.DANGER), 0)
    )
    troubles: dict[Trouble, int] = field(default_factory=dict)
    blind_us: int = 0
    level: Level = Level.NORMAL
    trouble: Trouble = Trouble.NONE
    _level_us: int = 0
    _blind_from_us: int | None = None

    def begin(self, at_us: int) -> None:
        self._level_us = at_us

    def note(self, verdict: Verdict) -> None:
        if verdict.cause is not Cause.RESTATED and verdict.level is not self.level:
            self._stay(verdict.at_us)
            for level in self.alarms:
                self.alarms[level] += self.level < level <= verdict.level
            self.level = verdict.level
        for raised in verdict.trouble & ~self.trouble:
            self.troubles[raised] = self.troubles.get(raised, 0) + 1
        self._blind(bool(verdict.trouble & BLIND), verdict.at_us)
        self.trouble = verdict.trouble

    def finish(self, at_us: int) -> None:
        self._stay(at_us)
        self._blind(False, at_us)

    def _stay(self, at_us: int) -> None:
        """Time at exactly this Level."""
        if self.level in self.at_level_us:
            self.at_level_us[self.level] += at_us - self._level_us
        self._level_us = at_us

    def _blind(self, blind: bool, at_us: int) -> None:
        if blind and self._blind_from_us is None:
            self._blind_from_us = at_us
        elif not blind and self._blind_from_us is not None:
            self.blind_us += at_us - self._blind_from_us
            self._blind_from_us = None
