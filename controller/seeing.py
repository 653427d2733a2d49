"""Puts together what is known around a point: from the controller's Panel, the telemetry that has just come, and the plan."""

from collections import deque
from dataclasses import replace
from itertools import combinations
from math import inf, isfinite
from statistics import median
from typing import Final

from cython_ext import Level, WireError
from cython_ext.explain import time_to_next_s
from cython_ext.panel import RECORD
from cython_ext.wire_data import decode_data
from lanes.plan import Group, Point

from .alarm.changes import AlarmChange
from .alarm.sight import SAMPLES_MAX, Sight, Vote
from .room import Room
from .telemetry.presence import Data
from .watchdog import Watchdog

PAYLOADS_MAX: Final = (
    24  # of one node, kept as they came and read only when somebody asks: 5,000 nodes keep some 40 MiB
)
SLOPE_MIN: Final = 6  # samples, before anything is said of a rate
NEXT_MAX_S: Final = 86_400.0  # a day ahead a rate says nothing any more
STORM: Final = 50  # changes that wait to be told: beyond it telling comes first
PAYLOAD_BYTES_MAX: Final = 2048


class Samples:
    """The last telemetry of each node."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[Data]] = {}

    def keep(self, data: Data) -> None:
        """Costs an append; a birth of a large node is passed over."""
        if len(data.payload) <= PAYLOAD_BYTES_MAX:
            kept = self._kept.get(data.node)
            if kept is None:
                kept = self._kept[data.node] = deque(maxlen=PAYLOADS_MAX)
            kept.append(data)

    def clear(self) -> None:
        """The plan has changed, and with it which number is which point."""
        self._kept.clear()

    def of(self, node: str, index: int) -> list[tuple[int, float]]:
        """(monotonic ns, value) of the plan's point `index`, the oldest first; readings without a value are left out."""
        found: list[tuple[int, float]] = []
        for data in self._kept.get(node, ()):
            try:
                records = decode_data(data.payload, data.table, data.received_ns)
            except WireError:
                continue
            found += [(row[0], row[1]) for row in RECORD.iter_unpack(records) if row[2] == index and isfinite(row[1])]
        return found[-SAMPLES_MAX:]


class Seeing:
    """Looks at a point now."""

    def __init__(self, room: Room, watchdog: Watchdog, samples: Samples) -> None:
        self._room = room
        self._watchdog = watchdog
        self._samples = samples

    def look(self, judged: str) -> Sight:
        """What is known of it; of a point that is not the plan's only its name."""
        room = self._room
        now_us, now_ns = room.clock.wall_us(), room.clock.monotonic_ns()
        item = room.plan.judged(judged)
        if item is None:
            return Sight(judged, now_us)
        index = room.plan.judged_ids.index(judged)
        found = self._watchdog.panel.explain(index, now_ns)
        sight = Sight(judged, now_us, trouble=found.trouble, qc=found.qc)
        if isinstance(item, Group):
            return replace(sight, votes=self._votes(item), needed=item.k)
        node = room.fold.registry.nodes.get(item.node)
        samples = self._samples.of(item.node, index)
        rate, basis = found.rate_per_s if isfinite(found.rate_per_s) else None, "panel"
        if rate is None:
            rate, basis = _slope(samples), "samples"
        next_level = next((level for level in Level if level > found.level and _has(item, level)), None)
        next_s = time_to_next_s(item.core(), found.level, found.value, rate) if rate is not None else inf
        return replace(
            sight,
            samples=tuple((now_us + (at_ns - now_ns) // 1000, value) for at_ns, value in samples),
            rate_per_s=rate,
            rate_from=basis if rate is not None else "",
            next_level=next_level,
            next_s=next_s if next_level is not None and next_s <= NEXT_MAX_S else None,
            clock=node.clock if node else None,
            place=(item.latitude, item.longitude) if item.latitude is not None and item.longitude is not None else None,
        )

    def _votes(self, group: Group) -> tuple[Vote, ...]:
        points = self._room.fold.points
        return tuple(Vote(each, points.level(each), points.trouble(each)) for each in group.points)

    def told(self, change: AlarmChange) -> AlarmChange:
        """The change with what is known around its points now, for those who are told of it; in a storm as it is."""
        if len(self._room.untold) > STORM:
            return change
        ours = [reading for reading in change.readings if not reading.outside]
        return replace(change, sights=tuple(self.look(reading.point) for reading in ours))


def _slope(samples: list[tuple[int, float]]) -> float | None:
    """The median of all slopes between them (Theil–Sen): one bad sample among them does not turn it. None: too few."""
    if len(samples) < SLOPE_MIN:
        return None
    slopes = [(y - x) * 1e9 / (t - s) for (s, x), (t, y) in combinations(samples, 2) if t > s]
    return median(slopes) if slopes else None


def _has(point: Point, level: Level) -> bool:
    return (None, point.attention, point.alarm, point.danger)[level] is not None
