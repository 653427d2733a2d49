"""What is known around a point at one moment: its last samples, rate, time to the next Level, votes, quality, clock and place.

Nothing is invented: what is not known is None or empty, and whoever shows it says so.
"""

from dataclasses import dataclass
from typing import Any, Final

from cython_ext import ClockQuality, ClockSource, Level, QcFlag, Trouble

SAMPLES_MAX: Final = 32  # of one point: half a minute of a quick sensor, half an hour of a slow one


@dataclass(frozen=True, slots=True)
class Vote:
    """One member of a vote, as its node last said."""

    point: str
    level: Level
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Sight:
    """`samples`: (UTC µs of arrival, value) of the telemetry, the oldest first. `place`: latitude, longitude. Times in UTC µs.

    `next_s`: seconds until `next_level` at the present rate; None: not rising, or not known. `votes`, `needed`: of a vote only.
    """

    point: str
    at_us: int
    samples: tuple[tuple[int, float], ...] = ()
    rate_per_s: float | None = None
    rate_from: str = ""  # "panel": over the plan's rate_window_s; "samples": the median slope of those shown here
    next_level: Level | None = None
    next_s: float | None = None
    trouble: Trouble = Trouble.NONE
    qc: QcFlag = QcFlag.UNKNOWN
    votes: tuple[Vote, ...] = ()
    needed: int = 0
    clock: ClockQuality | None = None
    place: tuple[float, float] | None = None

    def pack(self) -> list[Any]:
        votes = [[vote.point, int(vote.level), int(vote.trouble)] for vote in self.votes]
        clock = [int(self.clock.source), self.clock.error_ms] if self.clock else None
        level = None if self.next_level is None else int(self.next_level)
        numbers = [self.rate_per_s, level, self.next_s, int(self.trouble), int(self.qc)]
        tail = [votes, self.needed, clock, list(self.place) if self.place else None, self.rate_from]
        return [self.point, self.at_us, [list(each) for each in self.samples], *numbers, *tail]

    @classmethod
    def unpack(cls, value: list[Any]) -> "Sight":
        point, at_us, samples, rate, level, next_s, trouble, qc, votes, needed, clock, place, rate_from = value
        return cls(
            point,
            at_us,
            tuple((at, sample) for at, sample in samples),
            rate,
            rate_from,
            None if level is None else Level(level),
            next_s,
            Trouble(trouble),
            QcFlag(qc),
            tuple(Vote(voter, Level(said), Trouble(bits)) for voter, said, bits in votes),
            needed,
            ClockQuality(ClockSource(clock[0]), clock[1]) if clock else None,
            (place[0], place[1]) if place else None,
        )

    def shown(self) -> dict[str, Any]:
        """As JSON: null where it is not known."""
        return {
            "samples": [{"at_us": at_us, "value": value} for at_us, value in self.samples],
            "rate_per_s": self.rate_per_s,
            "rate_from": self.rate_from,
            "next_level": None if self.next_level is None else int(self.next_level),
            "next_s": self.next_s,
            "trouble": [flag.name.lower() for flag in self.trouble if flag.name],
            "qc": self.qc.name.lower(),
            "votes": [
                {"point": v.point, "level": int(v.level), "trouble": [f.name.lower() for f in v.trouble if f.name]}
                for v in self.votes
            ],
            "votes_needed": self.needed,
            "clock": {"source": self.clock.source.name.lower(), "error_ms": self.clock.error_ms}
            if self.clock
            else None,
            "position": {"latitude": self.place[0], "longitude": self.place[1]} if self.place else None,
        }
