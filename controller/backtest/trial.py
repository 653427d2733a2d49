"""A configuration on trial: the real Panel of one plan over a recording, every verdict kept and counted.

Times: the Panel's monotonic nanoseconds are those since `origin_us`, the recording's first instant, so that time passes for it
as it would at a node. How samples are grouped into chunks changes nothing (cython_ext/README.md §2).
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from cython_ext import ConfigError, PanelConfig, Trouble
from cython_ext.panel import LATEST_NS, RECORD, Panel
from lanes.plan import Group, Plan, Point

from .pace import Paced, pace
from .recording import Sample
from .tally import Tally
from .verdict import Verdict

VERDICTS_MAX: Final = 100_000  # transitions kept: 30 MB; beyond it they are counted, and the report says so


@dataclass(frozen=True, slots=True)
class Manner:
    """How to judge. `period_s`: None, the recording's pace where it is coarser than the plan's; 0, the plan's; else this."""

    period_s: float | None = None
    latch: bool = True


class Trial:
    """`ids`: the recording's points, in which samples count, and the pace of each; those `heard` are judged.

    Points of the plan that the recording lacks, and votes that need them, are left out and named.
    """

    def __init__(
        self, name: str, plan: Plan, ids: Sequence[str], heard: Set[str], paces_ns: Sequence[int], manner: Manner
    ) -> None:
        self.name = name
        self.plan = plan
        recorded = {point: place for place, point in enumerate(ids) if point in heard}
        points = [point for point in plan.points if point.id in recorded]
        if not points:
            raise ConfigError(
                f"none of its points is in the recording, which has {', '.join(sorted(heard))}", source=name
            )
        place = {point.id: n for n, point in enumerate(points)}
        groups = [group for group in plan.groups if all(p in place for p in group.points)]
        self.judged: tuple[Point | Group, ...] = (*points, *groups)
        self.left_out = tuple(j for j in plan.judged_ids if j not in {one.id for one in self.judged})
        self.paced = tuple(_paced(point, paces_ns[recorded[point.id]], manner) for point in points)
        self.panel = Panel(PanelConfig(tuple(p.config for p in self.paced), tuple(g.core(place) for g in groups)), 0)
        self._places = tuple(place.get(point, -1) for point in ids)
        self._all = self._places == tuple(range(len(ids)))
        self._ids = tuple(one.id for one in self.judged)
        self._troubles = [Trouble.NONE] * len(self.judged)
        self._now_ns = 0
        self.origin_us = 0
        self.verdicts: list[Verdict] = []
        self.unkept = 0
        self.tallies = {judged: Tally() for judged in self._ids}

    def begin(self, origin_us: int) -> None:
        """Time begins."""
        self.origin_us = origin_us
        for tally in self.tallies.values():
            tally.begin(origin_us)

    def feed(self, chunk: list[Sample]) -> None:
        """Judge a chunk of samples, in the order in which they were recorded."""
        origin_us, pack, places = self.origin_us, RECORD.pack, self._places
        if self._all:
            batch = b"".join([pack((at - origin_us) * 1000, v, n, status, 0) for at, n, v, status in chunk])
        else:
            batch = b"".join(
                [pack((at - origin_us) * 1000, v, places[n], s, 0) for at, n, v, s in chunk if places[n] >= 0]
            )
        self._judge(batch, max(chunk)[0])

    def finish(self, at_us: int) -> None:
        """The recording ends: what was due by then happens; nothing after it is known."""
        self._judge(b"", at_us)
        for tally in self.tallies.values():
            tally.finish(at_us)

    def _judge(self, batch: bytes, until_us: int) -> None:
        self._now_ns = max(self._now_ns, (until_us - self.origin_us) * 1000)
        if self._now_ns > LATEST_NS:
            raise ConfigError("the recording spans more than 36 years; judge a part of it with --from and --to")
        for found in (*self.panel.feed(batch, self._now_ns), *self.panel.advance(self._now_ns)):
            verdict = Verdict(
                self._ids[found.point],
                self.origin_us + found.at_ns // 1000,
                found.cause,
                found.was,
                found.level,
                found.value,
                found.reason,
                found.trouble,
                self._troubles[found.point],
                tuple(self._ids[voter] for voter in found.evidence),
            )
            self._troubles[found.point] = found.trouble
            self.tallies[verdict.judged].note(verdict)
            if len(self.verdicts) < VERDICTS_MAX:
                self.verdicts.append(verdict)
            else:
                self.unkept += 1

    # What a person should know before trusting the result.

    def words(self, judged: str) -> tuple[str, ...]:
        """Why a point is where it is at the end."""
        return self.panel.explain(self._ids.index(judged), self._now_ns).words


def _paced(point: Point, recorded_ns: int, manner: Manner) -> Paced:
    config = point.core() if manner.latch else replace(point.core(), latch=False)
    return pace(config, recorded_ns, given_s=manner.period_s or None, as_planned=manner.period_s == 0)
