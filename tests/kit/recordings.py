"""Recordings and plans for backtests: made by rule, so that runs repeat."""

from collections.abc import Iterable
from pathlib import Path

from controller.backtest.recording import Defects, Sample
from controller.backtest.run import Outcome, run
from controller.backtest.trial import Manner
from lanes.plan import Plan
from lanes.settings import parse

START_US = 1_528_000_000_000_000  # 2018-06-03T04:26:40Z
SECOND = 1_000_000
AS_RECORDED = Manner()
HEAD = """
version = 1
root = "EXAMPLE"
group = "prut"
controller = "iasi"
[[zone]]
id = "ungheni"
timezone = "Europe/Chisinau"
"""
POINT = """
[[point]]
id = "{id}"
node = "n1"
zones = ["ungheni"]
hazard = "flood"
unit = "m"
period_s = {period_s}
stale_s = {stale_s}
{more}
attention = {{ raise = 1.0, clear = 0.9 }}
danger = {{ raise = {danger}, clear = {danger} }}
"""


def plan_text(
    *ids: str, danger: float = 2.0, period_s: float = 1.0, stale_s: float = 5.0, more: str = "", tail: str = ""
) -> str:
    points = (
        POINT.format(id=i, danger=danger, period_s=period_s, stale_s=stale_s, more=more) for i in ids or ("gauge",)
    )
    return HEAD + "".join(points) + tail


def plan(
    *ids: str, danger: float = 2.0, period_s: float = 1.0, stale_s: float = 5.0, more: str = "", tail: str = ""
) -> Plan:
    return parse(plan_text(*ids, danger=danger, period_s=period_s, stale_s=stale_s, more=more, tail=tail), Plan)


class Made:
    """A recording in memory. `samples`: (second, place, value, status)."""

    name = "made"

    def __init__(
        self, samples: Iterable[tuple[float, int, float, int]], points: tuple[str, ...] = ("gauge",), chunk: int = 7
    ):
        self.points = points
        self.defects = Defects()
        self._samples = [(START_US + round(s * SECOND), p, v, status) for s, p, v, status in samples]
        self.rows = len(self._samples)
        self._chunk = chunk

    def chunks(self) -> Iterable[list[Sample]]:
        for at in range(0, len(self._samples), self._chunk):
            yield self._samples[at : at + self._chunk]


def series(*values: float, step_s: float = 1.0) -> list[tuple[float, int, float, int]]:
    """A value each step; nan: a missing one."""
    return [(n * step_s, 0, value, int(value != value)) for n, value in enumerate(values)]


def judge(*values: float, against: Plan | None = None, manner: Manner = AS_RECORDED, **of_plan: float) -> Outcome:
    plans = [("this", plan(**of_plan))] + ([("other", against)] if against else [])  # type: ignore[arg-type]
    return run(Made(series(*values)), plans, manner, traced=True)  # type: ignore[arg-type]


def rows(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
