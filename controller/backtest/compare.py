"""Two configurations over the same recording: what would have alarmed under one and not the other, and how much earlier.

An *episode* is the time in which a point stood at a Level or above. Episodes of the two sides that overlap in time, directly or
through each other, are one happening: both saw it, and the lead is the difference of their beginnings. One that overlaps
nothing of the other side was seen by one only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cython_ext import Level

from .verdict import Verdict

LEVELS: Final = (Level.ATTENTION, Level.ALARM, Level.DANGER)
Seen = Literal["both", "this", "other"]


@dataclass(frozen=True, slots=True)
class Episode:
    """A point at `level` or above, in UTC microseconds. `to_us` None: it still stood at the recording's end."""

    judged: str
    level: Level
    from_us: int
    to_us: int | None


@dataclass(frozen=True, slots=True)
class Happening:
    """What one or both sides saw: their episodes, in order of time."""

    judged: str
    level: Level
    this: tuple[Episode, ...]
    other: tuple[Episode, ...]

    @property
    def seen(self) -> Seen:
        return "both" if self.this and self.other else "this" if self.this else "other"

    @property
    def from_us(self) -> int:
        return min(side[0].from_us for side in (self.this, self.other) if side)

    @property
    def lead_us(self) -> int:
        """How much earlier this side was; negative: later. Only when both saw it."""
        return self.other[0].from_us - self.this[0].from_us


def episodes(verdicts: Iterable[Verdict]) -> list[Episode]:
    """Every episode of every Level, in order of their beginnings."""
    level: dict[str, Level] = {}
    open_: dict[tuple[str, Level], int] = {}
    found = []
    for verdict in verdicts:
        if not verdict.of_level:
            continue
        was, level[verdict.judged] = level.get(verdict.judged, Level.NORMAL), verdict.level
        for each in LEVELS:
            key = verdict.judged, each
            if was < each <= verdict.level:
                open_[key] = verdict.at_us
            elif verdict.level < each <= was:
                found.append(Episode(*key, open_.pop(key), verdict.at_us))
    found += [Episode(*key, from_us, None) for key, from_us in open_.items()]
    return sorted(found, key=lambda e: (e.from_us, e.judged, e.level))


def compare(this: Sequence[Verdict], other: Sequence[Verdict]) -> list[Happening]:
    """Every happening, in order of time."""
    sides: dict[tuple[str, Level], list[tuple[Episode, bool]]] = {}
    for verdicts, ours in ((this, True), (other, False)):
        for episode in episodes(verdicts):
            sides.setdefault((episode.judged, episode.level), []).append((episode, ours))
    found = []
    for (judged, level), both in sides.items():
        for together in _together(sorted(both, key=lambda pair: pair[0].from_us)):
            ours_, others = (tuple(e for e, own in together if own is side) for side in (True, False))
            found.append(Happening(judged, level, ours_, others))
    return sorted(found, key=lambda h: (h.from_us, h.judged, h.level))


def _together(both: list[tuple[Episode, bool]]) -> Iterable[list[tuple[Episode, bool]]]:
    """Runs of episodes that overlap; `both` in order of their beginnings."""
    run: list[tuple[Episode, bool]] = []
    end_us: float = float("-inf")
    for episode, ours in both:
        if run and episode.from_us > end_us:
            yield run
            run, end_us = [], float("-inf")
        run.append((episode, ours))
        end_us = max(end_us, float("inf") if episode.to_us is None else episode.to_us)
    if run:
        yield run
