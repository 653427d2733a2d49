"""One transition of a backtest: the Panel's, with the point's id and the recording's time."""

from dataclasses import dataclass

from cython_ext import Cause, Level, Reason, Trouble


@dataclass(frozen=True, slots=True)
class Verdict:
    """`at_us`: UTC microseconds. `trouble`: the point's after it, `trouble_was` before it. `evidence`: ids of the voters."""

    judged: str
    at_us: int
    cause: Cause
    was: Level
    level: Level
    value: float
    reason: Reason
    trouble: Trouble
    trouble_was: Trouble
    evidence: tuple[str, ...] = ()

    @property
    def of_level(self) -> bool:
        """Whether the Level changed (or was said again), not only a trouble."""
        return self.cause in (Cause.RAISED, Cause.LOWERED, Cause.RESTATED)
